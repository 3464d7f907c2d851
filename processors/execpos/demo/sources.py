"""Reads, after the fact, what the topics and ClickHouse say; from the beginning, committed records only."""

from typing import Any, NamedTuple, TypeVar

import msgspec

from execpos.codecs.avro import Decoder
from execpos.codecs.registry import Schemas
from execpos.demo.check import Figures, Key
from execpos.domain.events import DeadLetter, FillEvent, OrderEvent, PositionDelta, PositionState, Progress
from execpos.domain.money import MICROS
from execpos.kafka.follow import Follower
from execpos.kafka.ports import Cluster, TopicPartition
from execpos.ledger.outputs import Names

T = TypeVar("T", bound=msgspec.Struct)

_METADATA_S = 30.0


class Topics(NamedTuple):
    """What stands in the ledger's output topics."""

    orders: list[OrderEvent]
    fills: list[FillEvent]
    deltas: list[PositionDelta]
    positions: list[PositionState]
    dead_letters: list[DeadLetter]


class TopicSource:
    """Reads the ledger's topics of one installation. Every method blocks and may be called again."""

    def __init__(self, cluster: Cluster, names: Names, schemas: Schemas) -> None:
        self._cluster = cluster
        self._names = names
        self._schemas = schemas

    def read(self, record: type[T], topic: str) -> list[T]:
        """Return every committed record of a topic, in order within a partition."""
        decode = Decoder(record, self._schemas.writers[record])
        follower = Follower(self._cluster, [topic])
        try:
            return [decode(value) for message in follower.poll() if (value := message.value()) is not None]
        finally:
            follower.close()

    def all(self) -> Topics:
        """Return what the ledger wrote; of positions the newest of each key."""
        newest = {state.position_key: state for state in self.read(PositionState, self._names.positions)}
        return Topics(
            orders=self.read(OrderEvent, self._names.orders),
            fills=self.read(FillEvent, self._names.fills),
            deltas=self.read(PositionDelta, self._names.deltas),
            positions=list(newest.values()),
            dead_letters=self.read(DeadLetter, self._names.dead_letters),
        )

    def records(self, topic: str) -> int:
        """Return how many records a topic holds that is written outside transactions and not compacted."""
        return sum(self._ends(topic).values())

    def behind(self) -> int:
        """Return how many input records the ledger has not committed yet, by its progress records."""
        applied: dict[tuple[str, int], int] = {}
        for progress in self.read(Progress, self._names.progress):
            for item in progress.inputs:
                applied[item.topic, progress.partition] = item.offset + 1
        ends = {(tp.topic, tp.partition): end for topic in (self._names.raw, self._names.intents) for tp, end in self._ends(topic).items()}
        return sum(max(0, end - applied.get(at, 0)) for at, end in ends.items())

    def _ends(self, topic: str) -> dict[TopicPartition, int]:
        count = self._cluster.partition_count(topic, _METADATA_S)
        return self._cluster.high_watermarks([TopicPartition(topic, partition) for partition in range(count)], _METADATA_S)


class Warehouse:
    """Reads ClickHouse. Every method blocks and may be called again.

    Args:
        client: of clickhouse-connect.
        database: of the tables.
    """

    def __init__(self, client: Any, database: str) -> None:
        self._client = client
        self._database = database

    def positions(self) -> dict[Key, Figures]:
        """Return the newest row of each position."""
        query = f"SELECT account, symbol, book, strategy_id, quantity, open_cost, realized_pnl, fees, taxes FROM {self._database}.positions FINAL"  # noqa: S608, E501 (the name is checked by the settings)
        return {
            (account, symbol, book, strategy_id): Figures(quantity, *(int(amount * MICROS) for amount in amounts))
            for account, symbol, book, strategy_id, quantity, *amounts in self._client.query(query).result_rows
        }

    def fills(self) -> int:
        """Return how many fills there are, each counted once."""
        return int(self._client.query(f"SELECT uniqExact(fill_id) FROM {self._database}.fills").result_rows[0][0])  # noqa: S608 (as above)
