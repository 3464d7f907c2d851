"""What the ledger writes in a transaction: encoded, and placed on the partition of the record that caused it."""

from collections.abc import Mapping

import msgspec

from execpos.codecs.avro import Encoder
from execpos.domain.events import (
    CorrectionOutcome,
    DeadLetter,
    FillEvent,
    OrderEvent,
    PositionDelta,
    PositionSnapshot,
    PositionState,
    Progress,
)
from execpos.kafka.ports import Output

RECORDS: tuple[type[msgspec.Struct], ...] = (
    OrderEvent,
    FillEvent,
    PositionDelta,
    PositionState,
    CorrectionOutcome,
    PositionSnapshot,
    Progress,
    DeadLetter,
)


class Names(msgspec.Struct, frozen=True):
    """Full names of the topics that the ledger reads and writes."""

    raw: str
    intents: str
    corrections: str
    correction_outcomes: str
    orders: str
    fills: str
    deltas: str
    positions: str
    progress: str
    dead_letters: str
    snapshots: str
    checkpoints: str
    marks: str

    @classmethod
    def of(cls, prefix: str) -> "Names":
        """Return the names under a prefix."""
        return cls(*(f"{prefix}exec.{field.replace('_', '-')}.v1" for field in cls.__struct_fields__))


_Held = tuple[str, int, bytes, bytes]


class Writer:
    """Encodes records and adds them to the open transaction.

    What is written is held until `send`: many records at once make few large requests of what would else be a request for every few
    records, which costs the client library a quarter of the ledger's whole time. Not to be used after an error before the next `open`.

    Args:
        names: topics.
        schema_ids: the registered id of each class in `RECORDS`.
    """

    def __init__(self, names: Names, schema_ids: Mapping[type[msgspec.Struct], int]) -> None:
        self._names = names
        self.orders, self.fills, self.deltas, self._positions = names.orders, names.fills, names.deltas, names.positions
        self.encode_order = Encoder(OrderEvent, schema_ids[OrderEvent]).encode
        self.encode_fill = Encoder(FillEvent, schema_ids[FillEvent]).encode
        self.encode_delta = Encoder(PositionDelta, schema_ids[PositionDelta]).encode
        self._state = Encoder(PositionState, schema_ids[PositionState]).encode
        self._outcome = Encoder(CorrectionOutcome, schema_ids[CorrectionOutcome])
        self._progress = Encoder(Progress, schema_ids[Progress])
        self._dead_letter = Encoder(DeadLetter, schema_ids[DeadLetter])
        self.held: list[_Held] = _CLOSED
        self._out: Output = _no_output

    def open(self, out: Output) -> None:
        """Write to `out` from now on."""
        self.held, self._out = [], out

    def send(self) -> None:
        """Hand on what is held, in the order in which it was written. May block while the client's queue is full."""
        out = self._out
        for topic, partition, key, value in self.held:
            out(topic, partition, key, value)
        self.held.clear()

    def close(self) -> None:
        """Hand on what is held, and refuse to write until the next `open`, so that nothing can go out past a transaction."""
        self.send()
        self.drop()

    def drop(self) -> None:
        """Forget what is held, and refuse to write until the next `open`."""
        self.held, self._out = _CLOSED, _no_output

    def position(self, partition: int, state: PositionState) -> None:
        self.held.append((self._positions, partition, state.position_key.encode(), self._state(state)))

    def outcome(self, partition: int, outcome: CorrectionOutcome) -> None:
        self.held.append((self._names.correction_outcomes, partition, outcome.account.encode(), self._outcome(outcome)))

    def progress(self, progress: Progress) -> None:
        self.held.append((self._names.progress, progress.partition, str(progress.partition).encode(), self._progress(progress)))

    def dead_letter(self, letter: DeadLetter) -> None:
        key = f"{letter.source_topic}-{letter.source_partition}".encode()
        self.held.append((self._names.dead_letters, letter.source_partition, key, self._dead_letter(letter)))

    def snapshot(self, partition: int, account: str, value: bytes, *, checkpoint: bool) -> None:
        """Add one part of a snapshot, encoded already; of a session's close to both topics."""
        self.held.append((self._names.snapshots, partition, account.encode(), value))
        if checkpoint:
            self.held.append((self._names.checkpoints, partition, account.encode(), value))


def _no_output(topic: str, partition: int, key: bytes, value: bytes) -> None:
    del key, value
    msg = f"a record for {topic} partition {partition} outside a transaction"
    raise AssertionError(msg)


class _Closed(list[_Held]):
    """Holds nothing: a record outside a transaction is a defect."""

    def append(self, held: _Held, /) -> None:
        _no_output(*held)


_CLOSED = _Closed()


class PartitionSink:
    """Sends what one partition's pipeline makes to the writer; the pipeline's `Sink`."""

    def __init__(self, partition: int, writer: Writer) -> None:
        self._partition = partition
        self._writer = writer

    # Straight to what the writer holds: one call less for each of the records of a report.

    def order(self, event: OrderEvent) -> None:
        writer = self._writer
        writer.held.append((writer.orders, self._partition, event.account.encode(), writer.encode_order(event)))

    def fill(self, event: FillEvent) -> None:
        writer = self._writer
        writer.held.append((writer.fills, self._partition, event.account.encode(), writer.encode_fill(event)))

    def delta(self, event: PositionDelta) -> None:
        writer = self._writer
        writer.held.append((writer.deltas, self._partition, event.account.encode(), writer.encode_delta(event)))

    def outcome(self, outcome: CorrectionOutcome) -> None:
        self._writer.outcome(self._partition, outcome)
