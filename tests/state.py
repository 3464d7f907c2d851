"""A pipeline without Kafka: its whole state as plain data, what it wrote so far, and a restore from that, to compare states."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from execpos.domain import ids, normalize, vocabulary
from execpos.domain.account import Account
from execpos.domain.book import Position, Source, state_of
from execpos.domain.correction_rules import BLANK
from execpos.domain.events import Correction, CorrectionOutcome, FillEvent, Intent, OrderEvent, PositionDelta, PositionState, RawExecEvent
from execpos.domain.pipeline import Outcome, Pipeline
from execpos.domain.rules import Rules
from execpos.kafka.ports import Watermarks
from execpos.ledger.outputs import Names
from execpos.ledger.restore import Decoders, Restorer

NAMES = Names.of("")
TOPICS = ((NAMES.raw, "id-of-raw"), (NAMES.intents, "id-of-intents"), (NAMES.corrections, "id-of-corrections"))

_NOT_STATE = {"rules", "undo", "book"}


def dump(pipeline: Pipeline) -> dict[str, Any]:
    """Return everything that the pipeline knows, as data that compares with `==`; what was never published is left out.

    Accounts and positions are read slot by slot, so a field that somebody adds later is compared too.
    """
    return {key: found for key, account in pipeline.accounts.items() if any((found := _account(account)).values())}


def _account(account: Account) -> dict[str, Any]:
    names = [name for name in Account.__slots__ if name not in _NOT_STATE]
    found = {name: getattr(account, name) for name in names}
    found["fill_log"] = list(account.fill_log)
    found |= {name: dict(value) for name, value in found.items() if isinstance(value, dict)}
    found["rows"] = {key: _position(position) for key, position in account.book.rows.items() if position.version}
    if not any(found[name] for name in ("rows", "fills", "orders", "claims", "reports", "corrections")):
        return {}
    return found


def _position(position: Position) -> dict[str, Any]:
    found = {name: getattr(position, name) for name in Position.__slots__}
    found["siblings"] = sorted(row.key for row in position.siblings if row.version)
    found["entries"] = list(position.entries)
    return found


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Return what differs between two dumps, a line a field; empty when they are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = list(dict.fromkeys([*one, *other]))
        return [line for key in keys for line in differences(one.get(key), other.get(key), f"{path}/{key}")]
    return [] if one == other else [f"{path}: {one!r} != {other!r}"]


class Outputs(msgspec.Struct):
    """What stands committed in the topics, in order of writing."""

    orders: list[OrderEvent] = []
    fills: list[FillEvent] = []
    deltas: list[PositionDelta] = []
    positions: list[PositionState] = []
    intents: list[tuple[int, Intent]] = []
    outcomes: list[CorrectionOutcome] = []


class _Open:
    """Takes what a transaction makes until it ends; the pipeline's `Sink`."""

    def __init__(self) -> None:
        self.outputs = Outputs()

    def order(self, event: OrderEvent) -> None:
        self.outputs.orders.append(event)

    def fill(self, event: FillEvent) -> None:
        self.outputs.fills.append(event)

    def delta(self, event: PositionDelta) -> None:
        self.outputs.deltas.append(event)

    def outcome(self, outcome: CorrectionOutcome) -> None:
        self.outputs.outcomes.append(outcome)


class Harness:
    """A pipeline of one partition with its topics: what a ledger is, without Kafka.

    Takes the records of `oracle.fold`, and ("correction", fields of a Correction). Outputs count only once `commit` is called; `rollback`
    forgets them.
    """

    def __init__(self, rules: Rules, *, env: str = "replay", pipeline: Pipeline | None = None) -> None:
        self.sink = _Open()
        self.pipeline = pipeline or Pipeline(rules, self.sink)
        self.pipeline._sink = self.sink
        self.committed = Outputs()
        self.outcomes: list[Outcome] = []
        self.offsets = [0, 0, 0]
        self._rules = rules
        self._env = env

    def feed(self, record: tuple[Any, ...]) -> Outcome | None:
        """Apply one record within the open transaction."""
        if record[0] == "callback":
            outcome = self.pipeline.apply_raw(self.raw_event(*record[1:]), self._source(0, record[3] if len(record) > 3 else 0))
            self.outcomes.append(outcome)
            return outcome
        if record[0] == "intent":
            source = self._source(1, 0)
            intent = intent_of(record[1], source.offset)
            self.sink.outputs.intents.append((source.offset, intent))
            return self.pipeline.apply_intent(intent, source)
        if record[0] == "close":
            self.pipeline.close_session(self.pipeline.account(record[1]), record[2], self._source(0, 0))
            return None
        if record[0] == "correction":
            correction = correction_of(record[1])
            return self.pipeline.apply_correction(correction, self._source(2, correction.ts))
        account = ids.join(*ids.split(record[1])[:4])
        return self.pipeline.apply_void(account, record[1], self._source(0, 0))

    def run(self, records: Iterable[tuple[Any, ...]], *, per_commit: int = 1) -> "Harness":
        """Apply records, committing after each `per_commit` of them and at the end."""
        for number, record in enumerate(records, 1):
            self.feed(record)
            if number % per_commit == 0:
                self.commit()
        self.commit()
        return self

    def commit(self) -> None:
        made, self.sink.outputs = self.sink.outputs, Outputs()
        self.pipeline.check()
        for position in self.pipeline.touched:
            made.positions.append(state_of(position, TOPICS, 1))
        self.pipeline.commit()
        for name in Outputs.__struct_fields__:
            getattr(self.committed, name).extend(getattr(made, name))

    def rollback(self) -> None:
        self.sink.outputs = Outputs()
        self.pipeline.rollback()

    def dump(self) -> dict[str, Any]:
        return dump(self.pipeline)

    def raw_event(self, kind: str, payload: Any, ingest_ts: int = 0) -> RawExecEvent:
        """Return the record of exec.raw for a callback: a payload as a dictionary, or as it is when it is bytes."""
        callback = kind.removeprefix(vocabulary.CATCHUP)
        body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        parts = normalize.account_parts(callback, payload) if isinstance(payload, Mapping) else ("9A95", "1234567")
        market: Any = "F" if callback.startswith("F") else "S"
        return RawExecEvent(
            env=self._env,
            account=ids.account_key(self._env, market, *parts),
            kind=kind,
            payload=body,
            broker_event_id="",
            bridge_id="b",
            bridge_epoch=1,
            bridge_seq=self.offsets[0],
            ingest_ts=ingest_ts,
            ingest_monotonic_ns=0,
            marker_id="",
            sdk_version="",
        )

    def _source(self, which: int, ingest_ts: int) -> Source:
        offset = self.offsets[which]
        self.offsets[which] += 1
        return Source(TOPICS[which][0], 0, offset, which, ingest_ts, "b", 1, offset, 1, 0)

    # --- reading -----------------------------------------------------------------------------------------------------------------------

    def rows(self) -> dict[tuple[str, str, str, str], Position]:
        """Return the rows by (account, symbol, book, strategy), as `oracle.Book.rows` has them."""
        return {
            (account.key, position.symbol, position.book, position.strategy_id): position
            for account in self.pipeline.accounts.values()
            for position in account.book
        }

    def restored(self) -> "Harness":
        """Return another ledger, restored from what this one has committed, by the code that the ledger itself uses."""
        pipeline = restore(self.committed, self._rules, self.offsets)
        other = Harness(self._rules, env=self._env, pipeline=pipeline)
        other.offsets = list(self.offsets)
        for key, account in self.pipeline.accounts.items():
            # The ledger has it from its progress.
            if account.closed:
                pipeline.account(key).closed = account.closed
        pipeline.commit()
        return other


def correction_of(fields: Mapping[str, Any]) -> Correction:
    """Return a correction for any NET version, with these fields and nothing in the others."""
    return msgspec.structs.replace(BLANK, **{"requested_by": "tests", **fields})


def intent_of(intent: Mapping[str, str], number: int) -> Intent:
    """Return an intent record for the fields of a line of `execpos fold --intents`."""
    return Intent(
        intent_id=f"i{number}",
        account=intent["account"],
        strategy_id=intent["strategy_id"],
        session_id=intent["session_id"],
        order_id=intent.get("order_id") or "",
        seqno=intent.get("seqno") or "",
        tags={},
        created_ts=0,
    )


# --- restore ----------------------------------------------------------------------------------------------------------------------------


class _Message(NamedTuple):
    """One record of a topic; its value is not encoded, and the decoders given to the restorer leave it as it is."""

    name: str
    at: int
    record_key: bytes
    record: Any

    def topic(self) -> str:
        return self.name

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes | None:
        return self.record_key

    def value(self) -> Any:
        return self.record

    def timestamp(self) -> tuple[int, int]:
        return (1, 0)


class _Context:
    """What the ledger's restorer reads from: the topics of `Outputs`, all on partition 0."""

    def __init__(self, outputs: Outputs, next_offsets: Sequence[int]) -> None:
        self._next = dict(zip((name for name, _ in TOPICS), next_offsets, strict=True))
        self._records: dict[str, list[_Message]] = {
            NAMES.orders: [_Message(NAMES.orders, at, b"", event) for at, event in enumerate(outputs.orders)],
            NAMES.fills: [_Message(NAMES.fills, at, b"", event) for at, event in enumerate(outputs.fills)],
            NAMES.positions: [
                _Message(NAMES.positions, at, event.position_key.encode(), event) for at, event in enumerate(outputs.positions)
            ],
            NAMES.intents: [_Message(NAMES.intents, at, b"", event) for at, event in outputs.intents],
            NAMES.correction_outcomes: [_Message(NAMES.correction_outcomes, at, b"", event) for at, event in enumerate(outputs.outcomes)],
            NAMES.progress: [],
        }

    def topic_id(self, topic: str) -> str:
        return dict(TOPICS)[topic]

    def committed(self, topic: str, partition: int) -> int:
        del partition
        return self._next[topic]

    def watermarks(self, topic: str, partition: int) -> Watermarks:
        del partition
        return Watermarks(0, len(self._records[topic]))

    def read_all(self, topic: str, partitions: Sequence[int]) -> Iterator[_Message]:
        del partitions
        return iter(self._records[topic])

    def read_all_below(self, topic: str, ends: Mapping[int, int]) -> Iterator[_Message]:
        return iter(message for message in self._records[topic] if message.at < ends[0])

    def progress(self, what: str, done: int, total: int) -> None:
        del what, done, total


def restore(outputs: Outputs, rules: Rules, next_offsets: Sequence[int]) -> Pipeline:
    """Return the pipeline that the ledger's `Restorer` makes of what stands in the topics."""
    same: Any = _unchanged
    restorer = Restorer(rules, NAMES, Decoders(*[same] * len(Decoders.__struct_fields__)), same)
    context: Any = _Context(outputs, next_offsets)
    return restorer.restore([0], context)[0].pipeline


def _unchanged(value: Any) -> Any:
    return value


def assert_same(one: Any, other: Any) -> None:
    """Fail with a line for each field that differs."""
    found = differences(one, other)
    assert not found, "\n".join(found)
