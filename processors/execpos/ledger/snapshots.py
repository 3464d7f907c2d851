"""When the ledger writes the whole book of an account, and as of which record.

Markers, requests and closes of sessions are decided by records alone, so a replay decides them alike, and each is answered in the
transaction of its record. Start and interval are timers: they are written between two records, at the end of a transaction.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from zlib import crc32

import msgspec

from execpos.domain import ids, sessions
from execpos.domain.account import Account
from execpos.domain.book import Source
from execpos.domain.calendar import Calendar
from execpos.domain.events import Correction, InputPosition, Market, PositionSnapshot, RawExecEvent
from execpos.domain.limits import TS_US_MAX
from execpos.domain.vocabulary import SnapshotReason
from execpos.ledger.cut import Cut, Cutter, MarkOf, no_mark
from execpos.ledger.outputs import Writer
from execpos.ledger.state import PartitionState
from execpos.telemetry import metrics

# Timers' snapshots of one transaction: at 100 MB/s of the client library it adds 10 ms.
_TIMER_BYTES_MAX = 1 << 20

# Rows that one transaction encodes for timers' snapshots, at 8 µs a row; what is encoded stays, so a large book is ready after a few.
_TIMER_ROWS_MAX = 1_000

# Markers of one account that are remembered beside the number of the newest record: enough for every read of one round, twice.
_MARKERS_MAX = 16

# The id of a request, which is 256 at most, and what was read; a longer one names nothing and is not answered.
_MARKER_CHARS_MAX = 320

# Parts of the interval over which the accounts are spread.
_SPREAD = 1_000

_SECOND_US = 1_000_000


class SnapshotOptions(msgspec.Struct, frozen=True):
    """`snapshots:` of `config/execution.yaml`."""

    interval_s: float = 60.0
    idle_interval_s: float = 900.0
    session_close_delay_s: float = 300.0
    max_part_bytes: int = 262_144


DEFAULTS = SnapshotOptions()


class _Plan(msgspec.Struct):
    """When an account's next snapshot by a timer is due, and what the last one said."""

    partition: int
    account: str
    due_s: float
    reason: SnapshotReason
    digest: str = ""
    written_s: float = 0.0


_due = attrgetter("due_s")


class Snapshots:
    """Writes the snapshots of one ledger task. One thread; called within transactions but for `restored` and `revoked`.

    Args:
        options: when.
        calendar: when sessions end.
        writer: where they go.
        schema_id: of PositionSnapshot.
        mark_of: last mark of a symbol.
    """

    def __init__(self, options: SnapshotOptions, calendar: Calendar, writer: Writer, schema_id: int, mark_of: MarkOf = no_mark) -> None:
        self._options = options
        self._calendar = calendar
        self._writer = writer
        self._delay_us = round(options.session_close_delay_s * _SECOND_US)
        self._cutter = Cutter(schema_id, options.max_part_bytes, mark_of)
        self._plans: dict[str, _Plan] = {}
        self._now_s = 0.0
        # What the open transaction wrote or looked at: (account, digest) for the plans, and counts for the metrics.
        self._written: list[tuple[str, str]] = []
        self._served: list[_Plan] = []
        self._counts: Counter[str] = Counter()
        self._bytes = 0
        self._bytes_total = metrics.counter("execpos_ledger_snapshot_bytes_total")
        self._seconds = metrics.histogram("execpos_ledger_snapshot_seconds")

    def restored(self, states: Mapping[int, PartitionState]) -> None:
        """Plan a STARTUP snapshot of every account of partitions that were just restored."""
        for state in states.values():
            for key in state.pipeline.accounts:
                self._plans[key] = _Plan(state.partition, key, 0.0, "STARTUP")

    def revoked(self, partitions: Sequence[int]) -> None:
        """Forget the accounts of partitions that are gone."""
        self._cutter.forget(partitions)
        self._plans = {key: plan for key, plan in self._plans.items() if plan.partition not in partitions}

    # --- by records ------------------------------------------------------------------------------------------------------------------

    def close(self, state: PartitionState, raw: RawExecEvent, source: Source) -> None:
        """Close the account's newest session that is over at `raw`, once, before `raw` is applied. Call it when `state.closes` says so."""
        account = state.pipeline.account(raw.account)
        market = _market(account)
        moment_us = raw.ingest_ts - self._delay_us
        following_us = sessions.next_end(self._calendar, market, moment_us)
        state.pipeline.undo.put(state.closes, raw.account, TS_US_MAX + 1 if following_us is None else following_us + self._delay_us)
        ended = sessions.last_ended(self._calendar, market, moment_us)
        if ended is None or ended.ordinal <= account.closed:
            return
        state.pipeline.close_session(account, ended.session_id, source)
        state.tell = True
        cut = self._cutter.cut(state, account)
        if cut.empty:
            return
        name = ids.join("SESSION_CLOSE", ended.session_id)
        snapshot = self._snapshot(state, account, cut, "SESSION_CLOSE", name, source, raw.ingest_ts)
        date = self._calendar.trading_date(ended.end_us - 1, market)
        self._write(state, cut, msgspec.structs.replace(snapshot, session_id=ended.session_id, trading_date=date))

    def marker(self, state: PartitionState, raw: RawExecEvent, source: Source) -> None:
        """Answer a MARKER that was not answered before, at this record; call it before the bridge's record is noted as seen.

        A repeat is told by its number, which a bridge that publishes again keeps, and by its id.
        """
        seen = state.bridges.get((raw.account, source.bridge_id))
        answered = state.markers.get(raw.account, ())
        if raw.kind != "MARKER" or raw.marker_id in answered or len(raw.marker_id) > _MARKER_CHARS_MAX:
            return
        if seen is not None and (source.bridge_epoch, source.bridge_seq) <= (seen.bridge_epoch, seen.bridge_seq):
            return
        state.pipeline.undo.put(state.markers, raw.account, (*answered, raw.marker_id)[-_MARKERS_MAX:])
        state.tell = True
        account = state.pipeline.account(raw.account)
        cut = self._cutter.cut(state, account)
        snapshot = self._snapshot(state, account, cut, "MARKER", ids.join("MARKER", raw.marker_id), source, raw.ingest_ts)
        self._write(state, cut, msgspec.structs.replace(snapshot, marker_id=raw.marker_id))

    def request(self, state: PartitionState, correction: Correction, source: Source) -> None:
        """Answer a request, at this record; that it comes once is the pipeline's care."""
        account = state.pipeline.account(correction.account)
        cut = self._cutter.cut(state, account)
        name = ids.join("REQUEST", correction.correction_id)
        snapshot = self._snapshot(state, account, cut, "REQUEST", name, source, _newest(state, account.key))
        self._write(state, cut, msgspec.structs.replace(snapshot, request_id=correction.correction_id))

    # --- by timers -------------------------------------------------------------------------------------------------------------------

    def tick(self, states: Mapping[int, PartitionState], now_s: float, now_us: int) -> None:
        """Write what is due by time, up to a bound of rows and bytes; what is beyond stays due. Cheap when nothing is.

        Args:
            states: the partitions.
            now_s: monotonic seconds, for intervals.
            now_us: UTC in µs, for the records.
        """
        self._now_s = now_s
        for state in states.values():
            self._plan(state)
        due = [plan for plan in self._plans.values() if plan.due_s <= self._now_s]
        rows_left, bytes_max = _TIMER_ROWS_MAX, self._bytes + _TIMER_BYTES_MAX
        written = {account for account, _ in self._written}
        for plan in sorted(due, key=_due):
            state = states[plan.partition]
            account = state.pipeline.accounts.get(plan.account)
            if account is None or account.key in written:
                continue
            rows_left -= self._cutter.warm(state, account, rows_left)
            if rows_left <= 0 or self._bytes >= bytes_max:
                return
            self._served.append(plan)
            cut = self._cutter.cut(state, account)
            idle = cut.digest == plan.digest and self._now_s < plan.written_s + self._options.idle_interval_s
            if cut.empty or idle:
                continue
            name = ids.join(plan.reason, f"{state.epoch}-{now_us}")
            source = Source("", plan.partition, -1, 0, 0, "", 0, 0, state.epoch, now_us)
            self._write(state, cut, self._snapshot(state, account, cut, plan.reason, name, source, _newest(state, account.key)))

    def _plan(self, state: PartitionState) -> None:
        """Plan the accounts that are new."""
        for key in state.pipeline.accounts:
            if key not in self._plans:
                self._plans[key] = _Plan(state.partition, key, self._next_s(key), "PERIODIC")

    def _next_s(self, account: str) -> float:
        """Return when an account is due next: each has a place of its own in the interval, and keeps it after a start or a stall."""
        interval_s = self._options.interval_s
        place_s = interval_s * (crc32(account.encode()) % _SPREAD) / _SPREAD
        return self._now_s + interval_s - (self._now_s - place_s) % interval_s

    def committed(self) -> None:
        """Make what the transaction wrote count."""
        for plan in self._served:
            plan.due_s, plan.reason = self._next_s(plan.account), "PERIODIC"
        for key, digest in self._written:
            known = self._plans.get(key)
            if known is not None:
                known.digest, known.written_s = digest, self._now_s
        for reason, count in self._counts.items():
            metrics.counter("execpos_ledger_snapshots_total").labels(reason=reason).inc(count)
        self._bytes_total.inc(self._bytes)
        self._forget()

    def rolled_back(self) -> None:
        """Forget what the transaction wrote, and every row encoded within it: the same version may come again with other content."""
        self._cutter.clear()
        self._forget()

    def _forget(self) -> None:
        if self._written or self._served:
            self._written.clear()
            self._served.clear()
            self._counts.clear()
            self._bytes = 0

    # --- one snapshot ----------------------------------------------------------------------------------------------------------------

    def _snapshot(
        self, state: PartitionState, account: Account, cut: Cut, reason: SnapshotReason, name: str, source: Source, as_of_ts: int
    ) -> PositionSnapshot:
        return PositionSnapshot(
            snapshot_id=f"{account.key}|{name}",
            account=account.key,
            reason=reason,
            marker_id="",
            request_id="",
            session_id="",
            trading_date=self._calendar.trading_date(as_of_ts, _market(account)) if as_of_ts else 0,
            as_of_ts=as_of_ts,
            part=1,
            parts=1,
            rows=len(cut.rows),
            digest=cut.digest,
            positions=(),
            orders=(),
            valuations=(),
            inputs=tuple(_inputs(state, None if reason == "SESSION_CLOSE" else source)),
            ledger_epoch=state.epoch,
            source_topic=source.topic,
            source_partition=source.partition,
            source_offset=source.offset,
            ts=source.now,
        )

    def _write(self, state: PartitionState, cut: Cut, snapshot: PositionSnapshot) -> None:
        began_s = time.perf_counter()
        checkpoint = snapshot.reason == "SESSION_CLOSE"
        for value in self._cutter.parts(snapshot, cut):
            self._writer.snapshot(state.partition, snapshot.account, value, checkpoint=checkpoint)
            self._bytes += len(value)
        self._seconds.observe(cut.seconds + time.perf_counter() - began_s)
        self._counts[snapshot.reason] += 1
        self._written.append((snapshot.account, snapshot.digest))


def _market(account: Account) -> Market:
    return "S" if account.market == "S" else "F"


def _newest(state: PartitionState, account: str) -> int:
    """Return the ingest_ts of the newest record of the account's bridges; 0 before the first."""
    return max((seen.beat_ts for (key, _), seen in state.bridges.items() if key == account), default=0)


def _inputs(state: PartitionState, source: Source | None) -> Iterable[InputPosition]:
    """Return the offsets applied, `source` included: the task notes it only after the record."""
    for which, topic in enumerate(state.topics):
        inside = source is not None and source.offset >= 0 and which == source.input
        yield InputPosition(topic.name, topic.topic_id, source.offset if source and inside else state.offsets[which])
