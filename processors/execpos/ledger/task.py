"""The ledger's task: records of one batch in, everything that follows from them out, in one transaction."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from execpos.codecs.avro import Decoder
from execpos.domain import ids, invariants, limits
from execpos.domain.book import Source, state_of
from execpos.domain.events import DeadLetter, Intent, RawExecEvent
from execpos.domain.pipeline import Outcome, parked
from execpos.domain.rules import Rules
from execpos.errors import Park
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import Message, Output, RestoreContext
from execpos.ledger.outputs import Names, Writer
from execpos.ledger.restore import Decoders, Restorer
from execpos.ledger.state import PartitionState
from execpos.telemetry import metrics

# A quarter of a day's 12 partitions' progress would hide a stall of seconds; once a second is what readers' freshness rests on.
PROGRESS_INTERVAL_S = 1.0

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
        clock_us: UTC clock in µs; only stamps records, decides nothing.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        names: Names,
        decoders: Decoders,
        schema_ids: Mapping[type[msgspec.Struct], int],
        partitions: int,
        instance: str,
        clock_us: Callable[[], int] = _clock_us,
    ) -> None:
        self.states: dict[int, PartitionState] = {}
        self.counts: Counter[str] = Counter()
        self._rules = rules
        self._names = names
        self._partitions = partitions
        self._instance = instance
        self._clock_us = clock_us
        self._writer = Writer(names, schema_ids)
        self._restorer = Restorer(rules, names, decoders, self._writer)
        self._raw: Decoder[RawExecEvent] = decoders.raw
        self._intent: Decoder[Intent] = decoders.intents
        self._inputs = {names.raw: 0, names.intents: 1}
        self._pending: Counter[str] = Counter()
        self._due_s = 0.0
        self._last_progress_s = 0.0

    @property
    def input_topics(self) -> tuple[str, ...]:
        return tuple(self._inputs)

    def restore(self, partitions: Sequence[int], context: RestoreContext) -> None:
        self.states.update(self._restorer.restore(partitions, context))
        self._due_s = 0.0

    def revoke(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self.states.pop(partition, None)

    def due(self, now_monotonic_s: float) -> bool:
        self._last_progress_s = now_monotonic_s
        return bool(self.states) and now_monotonic_s >= self._due_s

    def tick(self, out: Output) -> None:
        self._writer.open(out)
        now = self._clock_us()
        for state in self.states.values():
            self._writer.progress(state.progress(self._instance, now))
        self._due_s = self._last_progress_s + PROGRESS_INTERVAL_S
        self._writer.close()

    def process(self, batch: Sequence[Message], out: Output) -> None:
        self._writer.open(out)
        now = self._clock_us()
        touched: dict[int, PartitionState] = {}
        for message in batch:
            state = self.states[message.partition()]
            touched[state.partition] = state
            which = self._inputs[message.topic()]
            if which == 0:
                self._apply_raw(state, message, now)
            else:
                self._apply_intent(state, message, now)
            state.advance(which, message.offset())
        for state in touched.values():
            self._publish(state)
        self._writer.close()

    def committed(self) -> None:
        for state in self.states.values():
            state.pipeline.commit()
        for name, count in self._pending.items():
            metrics.counter("execpos_ledger_records_total").labels(outcome=name).inc(count)
        self.counts.update(self._pending)
        self._pending.clear()

    def rolled_back(self) -> None:
        self._writer.close()
        for state in self.states.values():
            state.pipeline.rollback()
        self._pending.clear()
        self._due_s = 0.0

    # --- one record --------------------------------------------------------------------------------------------------------------------

    def _apply_raw(self, state: PartitionState, message: Message, now: int) -> None:
        source = self._source(state, message, 0, now)
        try:
            self._check_place(message)
            raw = self._raw(message.value() or b"")
            if raw.account.encode() != message.key():
                raise Park("wrong_account", f"the record's key is {message.key()!r}, its account {raw.account}")
            if not 0 <= raw.ingest_ts <= limits.TS_US_MAX:
                raise Park("bad_number", f"ingest_ts is {raw.ingest_ts}, not in the years 1970 to 2100")
        except Park as park:
            self._unreadable(state, message, source, park)
            return
        bridge_id = limits.cut(raw.bridge_id, limits.WORD_CHARS_MAX)
        source = Source(
            source.topic,
            source.partition,
            source.offset,
            0,
            raw.ingest_ts,
            bridge_id,
            raw.bridge_epoch,
            raw.bridge_seq,
            state.epoch,
            now,
        )
        outcome = state.pipeline.apply_raw(raw, source)
        state.see_bridge(raw.account, bridge_id, raw.bridge_epoch, raw.bridge_seq, raw.ingest_ts)
        self._settle(state, message, outcome, raw.account, source)

    def _apply_intent(self, state: PartitionState, message: Message, now: int) -> None:
        source = self._source(state, message, 1, now)
        try:
            self._check_place(message)
            intent = self._intent(message.value() or b"")
            if intent.account.encode() != message.key():
                raise Park("wrong_account", f"the intent's key is {message.key()!r}, its account {intent.account}")
        except Park as park:
            # An intent moves no quantity of the account, so nothing is marked.
            self._settle(state, message, parked(park, ""), _account_of(message), source)
            return
        outcome = state.pipeline.apply_intent(intent, source)
        self._settle(state, message, outcome, intent.account, source)

    def _source(self, state: PartitionState, message: Message, which: int, now: int) -> Source:
        ingest_ts = _timestamp_us(message)
        return Source(message.topic(), message.partition(), message.offset(), which, ingest_ts, "", 0, 0, state.epoch, now)

    def _check_place(self, message: Message) -> None:
        key = message.key() or b""
        if len(key) > limits.ACCOUNT_BYTES_MAX:
            raise Park("wrong_account", f"a key of {len(key)} bytes names no account")
        expected = partition_for(key, self._partitions)
        if expected != message.partition():
            raise Park("wrong_partition", f"key {key!r} belongs on partition {expected}, not {message.partition()}")

    def _unreadable(self, state: PartitionState, message: Message, source: Source, park: Park) -> None:
        account = _account_of(message)
        marked = state.pipeline.mark_account(account, source) if account and park.reason != "wrong_partition" else ""
        self._settle(state, message, parked(park, marked), account, source)

    def _settle(self, state: PartitionState, message: Message, outcome: Outcome, account: str, source: Source) -> None:
        self._pending[outcome.disposition] += 1
        if outcome.disposition in _STATE_CLASSES:
            return
        key, value, missing = limits.kept(message.key() or b"", message.value() or b"")
        self._writer.dead_letter(
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
        for position in state.pipeline.touched:
            invariants.row_consistent(position.row, position.method)
            self._writer.position(state.partition, state_of(position, topics, state.epoch))


def _timestamp_us(message: Message) -> int:
    """Return Kafka's time of a record, which its producer may have set to anything, within what a calendar reaches; 0 for none."""
    return min(max(message.timestamp()[1], 0) * 1000, limits.TS_US_MAX)


def _account_of(message: Message) -> str:
    """Return the account key that a record's key is, or nothing when it is none."""
    if len(message.key() or b"") > limits.ACCOUNT_BYTES_MAX:
        return ""
    try:
        key = (message.key() or b"").decode()
    except UnicodeDecodeError:
        return ""
    parts = ids.split(key)
    return key if len(parts) == 4 and parts[1] in {"S", "F"} and ids.join(*parts) == key else ""
