"""What the ledger writes in a transaction: encoded, and placed on the partition of the record that caused it."""

from collections.abc import Mapping

import msgspec

from execpos.codecs.avro import Encoder
from execpos.domain.events import DeadLetter, FillEvent, OrderEvent, PositionDelta, PositionState, Progress
from execpos.kafka.ports import Output

RECORDS: tuple[type[msgspec.Struct], ...] = (OrderEvent, FillEvent, PositionDelta, PositionState, Progress, DeadLetter)


class Names(msgspec.Struct, frozen=True):
    """Full names of the topics that the ledger reads and writes."""

    raw: str
    intents: str
    orders: str
    fills: str
    deltas: str
    positions: str
    progress: str
    dead_letters: str

    @classmethod
    def of(cls, prefix: str) -> "Names":
        """Return the names under a prefix."""
        return cls(*(f"{prefix}exec.{field.replace('_', '-')}.v1" for field in cls.__struct_fields__))


class Writer:
    """Encodes records and adds them to the open transaction.

    Args:
        names: topics.
        schema_ids: the registered id of each class in `RECORDS`.
    """

    def __init__(self, names: Names, schema_ids: Mapping[type[msgspec.Struct], int]) -> None:
        self._names = names
        self._order = Encoder(OrderEvent, schema_ids[OrderEvent])
        self._fill = Encoder(FillEvent, schema_ids[FillEvent])
        self._delta = Encoder(PositionDelta, schema_ids[PositionDelta])
        self._state = Encoder(PositionState, schema_ids[PositionState])
        self._progress = Encoder(Progress, schema_ids[Progress])
        self._dead_letter = Encoder(DeadLetter, schema_ids[DeadLetter])
        self._out: Output = _closed

    def open(self, out: Output) -> None:
        """Write to `out` from now on."""
        self._out = out

    def close(self) -> None:
        """Refuse to write until the next `open`, so that nothing can go out past a transaction."""
        self._out = _closed

    def order(self, partition: int, event: OrderEvent) -> None:
        self._out(self._names.orders, partition, event.account.encode(), self._order(event))

    def fill(self, partition: int, event: FillEvent) -> None:
        self._out(self._names.fills, partition, event.account.encode(), self._fill(event))

    def delta(self, partition: int, event: PositionDelta) -> None:
        self._out(self._names.deltas, partition, event.account.encode(), self._delta(event))

    def position(self, partition: int, state: PositionState) -> None:
        self._out(self._names.positions, partition, state.position_key.encode(), self._state(state))

    def progress(self, progress: Progress) -> None:
        self._out(self._names.progress, progress.partition, str(progress.partition).encode(), self._progress(progress))

    def dead_letter(self, letter: DeadLetter) -> None:
        key = f"{letter.source_topic}-{letter.source_partition}".encode()
        self._out(self._names.dead_letters, letter.source_partition, key, self._dead_letter(letter))


def _closed(topic: str, partition: int, key: bytes, value: bytes) -> None:
    del key, value
    msg = f"a record for {topic} partition {partition} outside a transaction"
    raise AssertionError(msg)


class PartitionSink:
    """Sends what one partition's pipeline makes to the writer; the pipeline's `Sink`."""

    def __init__(self, partition: int, writer: Writer) -> None:
        self._partition = partition
        self._writer = writer

    def order(self, event: OrderEvent) -> None:
        self._writer.order(self._partition, event)

    def fill(self, event: FillEvent) -> None:
        self._writer.fill(self._partition, event)

    def delta(self, event: PositionDelta) -> None:
        self._writer.delta(self._partition, event)
