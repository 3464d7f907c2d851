"""What the rows of an account were at an earlier moment: the checkpoint before it, and the deltas after that.

A moment is one of the bridge's clock (`ingest_ts`): what had been taken by then. The deltas count in the order of their log, up to the
first one that is newer.
"""

from collections.abc import Iterator

import msgspec

from execpos.codecs.avro import Decoder
from execpos.codecs.registry import Schemas
from execpos.domain.events import PositionDelta, PositionSnapshot
from execpos.domain.invariants import InvariantBroken
from execpos.domain.rebuild import Rows, add, sums_of
from execpos.domain.snapshot import Parts
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import Cluster, Message, Reader, Span, TopicPartition

_METADATA_S = 30.0

# A transaction's records carry the time at which each was written, so a delta that follows a checkpoint may be a little older by its
# stamp; two ledger processes' clocks differ by less than this.
_SLACK_MS = 600_000

# Below it the whole log is read at once: finding a place costs about 15 reads of one record.
_SEARCH_FROM = 20_000

# Checkpoints are twice a day; this spans the longest closure of the market.
_CHECKPOINT_DAYS_MS = 14 * 86_400_000


class Reached(msgspec.Struct, frozen=True):
    """The rows of an account at a moment.

    Attributes:
        rows: position_key → sums, NET included.
        session_id: session whose checkpoint it began with; empty when it began at the beginning of exec.deltas.
        deltas: how many were added to the checkpoint.
        as_of_ts: ingest_ts of the newest record inside, in µs UTC; 0 when there is nothing.
    """

    rows: Rows
    session_id: str
    deltas: int
    as_of_ts: int


class Step(msgspec.Struct, frozen=True):
    """One delta, and the rows that it changed as they were after it: position_key → sums, NET included."""

    delta: PositionDelta
    rows: Rows


class History:
    """Reads exec.checkpoints and exec.deltas of one installation. One thread; every call blocks for what it reads.

    Args:
        cluster: where the topics are.
        schemas: what the registry says of our records.
        prefix: of the topics.
        timeout_s: longest wait for one answer.

    Calls raise DependencyError when Kafka is not reachable, and InvariantBroken when a delta is missing.
    """

    def __init__(self, cluster: Cluster, schemas: Schemas, prefix: str = "", timeout_s: float = 30.0) -> None:
        self._cluster = cluster
        self._reader: Reader = cluster.reader()
        self._delta = Decoder(PositionDelta, schemas.writers[PositionDelta])
        self._snapshot = Decoder(PositionSnapshot, schemas.writers[PositionSnapshot])
        self._deltas_topic = f"{prefix}exec.deltas.v1"
        self._checkpoints_topic = f"{prefix}exec.checkpoints.v1"
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Let go. A second call does nothing."""
        self._reader.close()

    def positions_at(self, account: str, ts_us: int) -> Reached:
        """Return the rows of an account at a moment, in µs UTC."""
        reached, _ = self._walk(account, ts_us)
        return reached

    def steps(self, account: str, from_us: int, to_us: int) -> Iterator[Step]:
        """Yield each change of an account's rows after `from_us`, up to `to_us`, in order."""
        _, rest = self._walk(account, from_us)
        rows, deltas = rest
        for delta in deltas:
            if delta.ingest_ts > to_us:
                return
            changed = add(rows, delta)
            if changed:
                yield Step(delta, {key: rows[key] for key in changed})

    def checkpoint(self, account: str, ts_us: int) -> tuple[PositionSnapshot, int] | None:
        """Return the newest checkpoint of an account that is not later than a moment, put together, and Kafka's time of it in ms."""
        place = self._place(self._checkpoints_topic, account)
        low, high = self._cluster.watermarks([place], self._timeout_s)[place]
        start = self._first_after(place, low, high, ts_us // 1000 - _CHECKPOINT_DAYS_MS)
        return self._checkpoint(place, account, ts_us, start, high) or (
            self._checkpoint(place, account, ts_us, low, start) if start > low else None
        )

    # --- inside ----------------------------------------------------------------------------------------------------------------------

    def _checkpoint(self, place: TopicPartition, account: str, ts_us: int, start: int, end: int) -> tuple[PositionSnapshot, int] | None:
        parts, found = Parts(), None
        for message in self._read(place, start, end):
            if message.key() != account.encode():
                continue
            part = self._snapshot(message.value() or b"")
            if part.as_of_ts > ts_us:
                break
            whole = parts.take(part)
            if whole is not None:
                found = (whole, message.timestamp()[1])
        return found

    def _walk(self, account: str, ts_us: int) -> tuple[Reached, tuple[Rows, Iterator[PositionDelta]]]:
        """Return what was reached at a moment, and for what follows its rows and the deltas that are left."""
        base = self.checkpoint(account, ts_us)
        place = self._place(self._deltas_topic, account)
        low, high = self._cluster.watermarks([place], self._timeout_s)[place]
        start = low if base is None else self._first_after(place, low, high, base[1] - _SLACK_MS)
        try:
            return self._sum(ts_us, base[0] if base else None, self._deltas(place, account, start, high))
        except InvariantBroken:
            if start == low:
                raise
        # The clocks were further apart than the slack: from the beginning, and the versions tell what is inside already.
        return self._sum(ts_us, base[0] if base else None, self._deltas(place, account, low, high))

    @staticmethod
    def _sum(
        ts_us: int, base: PositionSnapshot | None, deltas: Iterator[PositionDelta]
    ) -> tuple[Reached, tuple[Rows, Iterator[PositionDelta]]]:
        rows: Rows = {state.position_key: sums_of(state) for state in base.positions} if base else {}
        count, as_of_ts = 0, base.as_of_ts if base else 0
        rest = deltas
        for delta in deltas:
            if delta.ingest_ts > ts_us:
                rest = _again(delta, deltas)
                break
            if add(rows, delta):
                count, as_of_ts = count + 1, max(as_of_ts, delta.ingest_ts)
        return Reached(dict(rows), base.session_id if base else "", count, as_of_ts), (rows, rest)

    def _deltas(self, place: TopicPartition, account: str, start: int, end: int) -> Iterator[PositionDelta]:
        key = account.encode()
        for message in self._read(place, start, end):
            if message.key() == key:
                yield self._delta(message.value() or b"")

    def _place(self, topic: str, account: str) -> TopicPartition:
        return TopicPartition(topic, partition_for(account.encode(), self._cluster.partition_count(topic, _METADATA_S)))

    def _read(self, place: TopicPartition, start: int, end: int) -> Iterator[Message]:
        return self._reader.read([Span(place, start, end)], self._timeout_s) if start < end else iter(())

    def _first_after(self, place: TopicPartition, low: int, high: int, ts_ms: int) -> int:
        """Return an offset at or before the first record written at `ts_ms` or later; `low` when the log is short."""
        while high - low > _SEARCH_FROM:
            middle = (low + high) // 2
            first = next(iter(self._read(place, middle, high)), None)
            if first is None or first.timestamp()[1] >= ts_ms:
                high = middle
            else:
                low = middle
        return low


def _again(first: PositionDelta, rest: Iterator[PositionDelta]) -> Iterator[PositionDelta]:
    yield first
    yield from rest
