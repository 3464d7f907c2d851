"""The ledger's task: records of one batch in, everything that follows from them out, in one transaction."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from execpos.codecs.avro import Decoder
from execpos.domain import ids, limits
from execpos.domain.book import Source, state_of
from execpos.domain.correction_rules import Refused
from execpos.domain.events import Correction, DeadLetter, Intent, PositionSnapshot, RawExecEvent
from execpos.domain.pipeline import Outcome, parked
from execpos.domain.rules import Rules
from execpos.errors import Park
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import Message, Output, RestoreContext
from execpos.ledger.cut import MarkOf, no_mark
from execpos.ledger.outputs import Names, Writer
from execpos.ledger.requests import Rebuilding, Rereading
from execpos.ledger.restore import Decoders, Restorer
from execpos.ledger.snapshots import DEFAULTS, SnapshotOptions, Snapshots
from execpos.ledger.state import PartitionState
from execpos.telemetry import metrics

# Once a second is what readers' freshness rests on.
PROGRESS_INTERVAL_S = 1.0

# More partitions than these in one transaction (a start, a pause) are given different moments from then on: each one costs a request to
# the broker of 0.3 ms, which twelve at once made 4 ms for whatever report came then.
_TOLD_TOGETHER = 2

# Records of a batch whose outputs are sent together: some twenty for each partition of each topic, while the library sends the last ones.
_SEND_EVERY = 512

# Accounts are few; the bound only keeps a flood of wrong keys from filling memory.
_KEYS_LIMIT = 65_536

_STATE_CLASSES = frozenset({"order", "fill", "duplicate", "control"})


def _clock_us() -> int:
    return time.time_ns() // 1000


class LedgerTask:
    """Implements `execpos.kafka.ports.Task` for the ledger.

    Args:
        rules: the domain's rules.
        names: topics.
        decoders: readers of the records that it consumes or restores from.
        schema_ids: registered ids of the records that it writes.
        partitions: count of the account-keyed topics, to find records on a wrong partition.
        instance: name of this ledger instance, for progress records.
        progress_s: longest time between two progress records of a partition.
        snapshots: when it writes whole books.
        mark_of: last mark of a symbol, for the valuations in them.
        reread: reads a record again, for a REPLAY; without it none is found.
        rebuilds: folds accounts anew, for a REBUILD; without it none is done.
        clock_us: UTC clock in µs; only stamps records, decides nothing.
    """

    snapshots_class = Snapshots

    def __init__(
        self,
        *,
        rules: Rules,
        names: Names,
        decoders: Decoders,
        schema_ids: Mapping[type[msgspec.Struct], int],
        partitions: int,
        instance: str,
        progress_s: float = PROGRESS_INTERVAL_S,
        snapshots: SnapshotOptions = DEFAULTS,
        mark_of: MarkOf = no_mark,
        reread: Rereading | None = None,
        rebuilds: Rebuilding | None = None,
        clock_us: Callable[[], int] = _clock_us,
    ) -> None:
        self.states: dict[int, PartitionState] = {}
        self.counts: Counter[str] = Counter()
        self._rules = rules
        self._names = names
        self._partitions = partitions
        self._instance = instance
        self._progress_s = progress_s
        self._clock_us = clock_us
        self.writer = Writer(names, schema_ids)
        self._restorer = Restorer(rules, names, decoders, self.writer)
        self._reread = reread
        self._rebuilds = rebuilds
        self._applied = False
        self._snapshots = self.snapshots_class(snapshots, rules.calendar, self.writer, schema_ids[PositionSnapshot], mark_of)
        self._raw: Decoder[RawExecEvent] = decoders.raw
        self._intent: Decoder[Intent] = decoders.intents
        self._correction: Decoder[Correction] = decoders.corrections
        self._inputs = {names.raw: 0, names.intents: 1, names.corrections: 2}
        self._keys: dict[bytes | None, tuple[int, str | None]] = {}
        self._pending: Counter[str] = Counter()
        self._due_s = 0.0
        # Partition → when its next progress record is due.
        self._told_s: dict[int, float] = {}
        self._last_progress_s = 0.0

    @property
    def input_topics(self) -> tuple[str, ...]:
        return tuple(self._inputs)

    def restore(self, partitions: Sequence[int], context: RestoreContext) -> None:
        restored = self._restorer.restore(partitions, context)
        self.states.update(restored)
        self._snapshots.restored(restored)
        self._due_s = 0.0

    def revoke(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self.states.pop(partition, None)
            self._told_s.pop(partition, None)
        self._snapshots.revoked(partitions)
        if self._rebuilds is not None:
            self._rebuilds.revoked(partitions)

    def close(self) -> None:
        """Let go of what reads beside the loop. A second call does nothing."""
        for one in (self._reread, self._rebuilds):
            if one is not None:
                one.close()

    def due(self, now_monotonic_s: float) -> bool:
        self._last_progress_s = now_monotonic_s
        return bool(self.states) and (now_monotonic_s >= self._due_s or (self._rebuilds is not None and self._rebuilds.ready))

    def tick(self, out: Output) -> None:
        self.writer.open(out)
        if not self._applied:
            rebuilt = self._rebuilds.answer(self.states) if self._rebuilds is not None else None
            if rebuilt is not None:
                self._publish(rebuilt)
                self._told_s.pop(rebuilt.partition, None)
                rebuilt.tell = False
        now = self._clock_us()
        now_s = self._last_progress_s
        told = [partition for partition in self.states if self._told_s.get(partition, 0.0) <= now_s]
        for place, partition in enumerate(told, 1):
            self.writer.progress(self.states[partition].progress(self._instance, now))
            self._told_s[partition] = now_s + self._progress_s * (place / len(told) if len(told) > _TOLD_TOGETHER else 1.0)
        self._snapshots.tick(self.states, now_s, now)
        self._due_s = min(self._told_s.values(), default=0.0)
        self.writer.close()

    def process(self, batch: Sequence[Message], out: Output) -> None:
        self.writer.open(out)
        now = self._clock_us()
        touched: dict[int, PartitionState] = {}
        states, inputs = self.states, self._inputs
        self._applied = True
        rebuilt = self._rebuilds.answer(states) if self._rebuilds is not None else None
        if rebuilt is not None:
            touched[rebuilt.partition] = rebuilt
        for start in range(0, len(batch), _SEND_EVERY):
            for message in batch[start : start + _SEND_EVERY]:
                partition = message.partition()
                state = touched.get(partition)
                if state is None:
                    state = touched[partition] = states[partition]
                    state.begin()
                which = inputs[message.topic()]
                if which == 0:
                    self._apply_raw(state, message, now)
                elif which == 1:
                    self._apply_intent(state, message, now)
                else:
                    self._apply_correction(state, message, now)
                state.offsets[which] = message.offset()
            self.writer.send()
        for state in touched.values():
            self._publish(state)
            if state.tell:
                self.writer.progress(state.progress(self._instance, now))
                state.tell = False
        self.writer.close()

    def committed(self) -> None:
        for state in self.states.values():
            state.pipeline.commit()
        self._snapshots.committed()
        self._applied = False
        if self._rebuilds is not None:
            self._rebuilds.committed(self.states.values())
        for name, count in self._pending.items():
            metrics.counter("execpos_ledger_records_total").labels(outcome=name).inc(count)
        self.counts.update(self._pending)
        self._pending.clear()

    def rolled_back(self) -> None:
        self.writer.drop()
        for state in self.states.values():
            state.pipeline.rollback()
            state.tell = False
        self._snapshots.rolled_back()
        self._applied = False
        if self._rebuilds is not None:
            self._rebuilds.rolled_back()
        self._pending.clear()
        self._told_s.clear()
        self._due_s = 0.0

    # --- one record --------------------------------------------------------------------------------------------------------------------

    def _apply_raw(self, state: PartitionState, message: Message, now: int) -> None:
        try:
            account = self._account(message)
            raw = self._raw(message.value() or b"")
            if raw.account != account:
                raise Park("wrong_account", f"the record's key is {message.key()!r}, its account {raw.account}")
            if not 0 <= raw.ingest_ts <= limits.TS_US_MAX:
                raise Park("bad_number", f"ingest_ts is {raw.ingest_ts}, not in the years 1970 to 2100")
        except Park as park:
            self._unreadable(state, message, self._source(state, message, 0, now), park)
            return
        ingest_ts, bridge_id = raw.ingest_ts, limits.cut(raw.bridge_id, limits.WORD_CHARS_MAX)
        source = Source(
            self._names.raw,
            state.partition,
            message.offset(),
            0,
            ingest_ts,
            bridge_id,
            raw.bridge_epoch,
            raw.bridge_seq,
            state.epoch,
            now,
        )
        if ingest_ts >= state.closes.get(account, 0):
            self._snapshots.close(state, raw, source)
        outcome = state.pipeline.apply_raw(raw, source)
        if raw.marker_id:
            self._snapshots.marker(state, raw, source)
        state.see_bridge(account, bridge_id, raw.bridge_epoch, raw.bridge_seq, ingest_ts)
        self._settle(state, message, outcome, account, source)

    def _apply_intent(self, state: PartitionState, message: Message, now: int) -> None:
        source = self._source(state, message, 1, now)
        try:
            account = self._account(message)
            intent = self._intent(message.value() or b"")
            if intent.account != account:
                raise Park("wrong_account", f"the intent's key is {message.key()!r}, its account {intent.account}")
        except Park as park:
            # An intent moves no quantity of the account, so nothing is marked.
            self._settle(state, message, parked(park, ""), _account_of(message), source)
            return
        outcome = state.pipeline.apply_intent(intent, source)
        self._settle(state, message, outcome, account, source)

    def _apply_correction(self, state: PartitionState, message: Message, now: int) -> None:
        source = self._source(state, message, 2, now)
        try:
            account = self._account(message)
            correction = self._correction(message.value() or b"")
            if correction.account != account:
                raise Park("wrong_account", f"the correction's key is {message.key()!r}, its account {correction.account}")
        except Park as park:
            # It changed nothing, so nothing is marked.
            self._settle(state, message, parked(park, ""), _account_of(message), source)
            return
        if correction.kind == "REBUILD" and self._rebuilds is not None and self._rebuilds.ask(state, correction, source):
            # Answered later, in a transaction of its own.
            self._pending["control"] += 1
            return
        again: RawExecEvent | Refused | None = None
        if correction.kind == "REPLAY" and self._reread is not None:
            again = self._reread(correction, state.partition, state.offsets[0])
        asked = len(state.pipeline.requests)
        outcome = state.pipeline.apply_correction(correction, source, again)
        for request, _ in state.pipeline.requests[asked:]:
            if request.kind == "SNAPSHOT":
                self._snapshots.request(state, request, source)
        answer = outcome.reason or ("applied" if outcome.disposition == "control" else outcome.disposition)
        metrics.counter("execpos_ledger_corrections_total").labels(outcome=answer).inc()
        self._settle(state, message, outcome, account, source)

    def _source(self, state: PartitionState, message: Message, which: int, now: int) -> Source:
        ingest_ts = _timestamp_us(message)
        return Source(message.topic(), message.partition(), message.offset(), which, ingest_ts, "", 0, 0, state.epoch, now)

    def _account(self, message: Message) -> str | None:
        """Return a record's key as text, None when it is none; Park when the record does not belong where it stands."""
        key = message.key()
        known = self._keys.get(key)
        if known is None:
            known = self._place(key)
        expected, account = known
        if expected != message.partition():
            raise Park("wrong_partition", f"key {key or b''!r} belongs on partition {expected}, not {message.partition()}")
        return account

    def _place(self, key: bytes | None) -> tuple[int, str | None]:
        """Return the partition of a key, and the key as text. Remembered: checking it anew would cost 0.3 µs a record."""
        data = key or b""
        if len(data) > limits.ACCOUNT_BYTES_MAX:
            raise Park("wrong_account", f"a key of {len(data)} bytes names no account")
        account = _account_of_key(data) or None
        if len(self._keys) >= _KEYS_LIMIT:
            self._keys.clear()
        found = self._keys[key] = (partition_for(data, self._partitions), account)
        return found

    def _unreadable(self, state: PartitionState, message: Message, source: Source, park: Park) -> None:
        account = _account_of(message)
        marked = state.pipeline.mark_account(account, source) if account and park.reason != "wrong_partition" else ""
        self._settle(state, message, parked(park, marked), account, source)

    def _settle(self, state: PartitionState, message: Message, outcome: Outcome, account: str, source: Source) -> None:
        self._pending[outcome.disposition] += 1
        if outcome.disposition in _STATE_CLASSES:
            return
        key, value, missing = limits.kept(message.key() or b"", message.value() or b"")
        self.writer.dead_letter(
            DeadLetter(
                source_topic=source.topic,
                source_partition=source.partition,
                source_offset=source.offset,
                source_topic_id=state.topics[source.input].topic_id,
                disposition=outcome.disposition,
                reason=outcome.reason,
                detail=outcome.detail + missing,
                account=account,
                position_key=outcome.position_key,
                record_key=key,
                record_value=value,
                record_timestamp=_timestamp_us(message),
                ledger_epoch=state.epoch,
                ts=source.now,
            )
        )
        metrics.counter("execpos_ledger_dead_letters_total").labels(reason=outcome.reason).inc()

    def _publish(self, state: PartitionState) -> None:
        """Write each row that changed once, however many fills of the batch changed it."""
        topics = [(topic.name, topic.topic_id) for topic in state.topics]
        state.pipeline.check()
        for position in state.pipeline.touched:
            self.writer.position(state.partition, state_of(position, topics, state.epoch))


def _timestamp_us(message: Message) -> int:
    """Return Kafka's time of a record, which its producer may have set to anything, within what a calendar reaches; 0 for none."""
    return min(max(message.timestamp()[1], 0) * 1000, limits.TS_US_MAX)


def _account_of(message: Message) -> str:
    """Return the account key that a record's key is, or nothing when it is none."""
    return _account_of_key(message.key() or b"")


def _account_of_key(data: bytes) -> str:
    if len(data) > limits.ACCOUNT_BYTES_MAX:
        return ""
    try:
        key = data.decode()
    except UnicodeDecodeError:
        return ""
    parts = ids.split(key)
    return key if len(parts) == 4 and parts[1] in {"S", "F"} and ids.join(*parts) == key else ""
