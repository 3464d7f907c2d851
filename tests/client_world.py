"""Topics on the in-memory twin as a client sees them, records to put there, and a view that is moved by hand."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from execpos import settings
from execpos.client.link import Ages, Link
from execpos.client.view import PositionView
from execpos.codecs.avro import RECORDS, Encoder, schema_text
from execpos.domain import control, ids, snapshot
from execpos.domain.calendar import Calendar
from execpos.domain.events import (
    AccountProgress,
    BridgeHeartbeat,
    BridgeProgress,
    FillEvent,
    InputPosition,
    Mark,
    OrderEvent,
    PositionSnapshot,
    PositionState,
    Progress,
    TradingControl,
)
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.clock import VirtualClock
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition

PREFIX = "t."
PARTITIONS = 3
ACCOUNT = "simulation|S|9A95|1234567"
OTHER = "simulation|F|F002|7654321"
BRIDGE = "bridge-0"
IDS = {record: number for number, record in enumerate(RECORDS, 1)}
WRITERS = {record: {IDS[record]: schema_text(record)} for record in RECORDS}


R = TypeVar("R", bound=msgspec.Struct)


def blank(record: type[R], **fields: Any) -> R:
    """Return a record whose other fields are empty."""
    empty: dict[Any, Any] = {str: "", int: 0, bool: False, bytes: b""}
    made: dict[str, Any] = {}
    for field in msgspec.structs.fields(record):
        if field.name in fields:
            made[field.name] = fields.pop(field.name)
        elif field.type in empty:
            made[field.name] = empty[field.type]
        else:
            made[field.name] = {} if str(field.type).startswith("dict") else ()
    assert not fields, fields
    return record(**made)


def position(quantity: int, version: int, strategy_id: str = "alpha", symbol: str = "2330", **more: Any) -> PositionState:
    account = more.pop("account", ACCOUNT)
    book = more.pop("book", "cash")
    key = ids.position_key(account, symbol, book, strategy_id)
    defaults = {"multiplier": 1, "quality": "CONFIRMED", "ledger_epoch": 1, "trading_date": 20_594, "open_cost": quantity * 600_000_000}
    fields = {"symbol": symbol, "book": book, "strategy_id": strategy_id, "quantity": quantity, "version": version, **defaults, **more}
    return blank(PositionState, position_key=key, account=account, **fields)


def order(order_id: str, revision: int = 1, quantity: int = 1000, **more: Any) -> OrderEvent:
    defaults = {
        "account": ACCOUNT, "strategy_id": "alpha", "symbol": "2330", "market": "S", "side": "BUY", "order_cond": "Cash",
        "reported": "OPEN", "source_topic": f"{PREFIX}exec.raw.v1", "price": 600_000_000,
    }  # fmt: skip
    fields = {**defaults, **more}
    key = ids.order_key(fields["account"], "2026-05-21D", order_id)
    return blank(OrderEvent, order_key=key, order_id=order_id, revision=revision, quantity=quantity, **fields)


def fill(number: int, order_id: str, cum: int, quantity: int = 100, revision: int = 1, **more: Any) -> FillEvent:
    defaults = {
        "account": ACCOUNT, "strategy_id": "alpha", "symbol": "2330", "market": "S", "side": "BUY", "book": "cash",
        "source_topic": f"{PREFIX}exec.raw.v1", "price": 600_000_000,
    }  # fmt: skip
    fields = {**defaults, **more}
    account = fields["account"]
    return blank(
        FillEvent,
        fill_id=ids.fill_id(account, "2026-05-21D", order_id, str(number)),
        order_key=ids.order_key(account, "2026-05-21D", order_id),
        digest=b"12345678",
        revision=revision,
        fill_seq=number,
        quantity=quantity,
        order_cum_filled=cum,
        **fields,
    )


class ClientWorld:
    """Topics, and what ledger, bridge and reconciler would write."""

    def __init__(self, calendar: Calendar | None = None, **ages: Any) -> None:
        self.clock = VirtualClock()
        self.broker = MemoryBroker(self.clock, self.clock.sleep)
        self.cluster = MemoryCluster(self.broker)
        rules = settings.load(None, {}).rules()
        # The twin stamps with its own clock, far from today: every order and close is to be looked at.
        limits = Ages(**{"orders_within_s": 1e12, "closes_within_s": 1e12, **ages})
        self.link = Link(self.cluster, WRITERS, IDS, PREFIX, "simulation", limits, rules.instruments, calendar)
        for name in ("positions", "orders", "fills", "progress", "heartbeats", "intents", "checkpoints"):
            self.broker.create(self.link.topic(name), PARTITIONS)
        self.broker.create(self.link.topic("marks"), 2)
        self.broker.create(self.link.topic("control"), 1)
        self._encoders = {record: Encoder(record, IDS[record]) for record in RECORDS}
        self.seq = 0

    def put(self, name: str, key: str, record: msgspec.Struct | bytes | None, partition: int | None = None) -> tuple[TopicPartition, int]:
        """Write one record; None is a tombstone."""
        topic = self.link.topic(name)
        place = partition_for(key.encode(), len(self.broker.topics[topic].logs)) if partition is None else partition
        value = record if record is None or isinstance(record, bytes) else self._encoders[type(record)](record)
        message = self.broker.append(TopicPartition(topic, place), key.encode(), value)
        return TopicPartition(topic, place), message.offset()

    def account_partition(self, account: str = ACCOUNT) -> int:
        return partition_for(account.encode(), PARTITIONS)

    def position(self, state: PositionState) -> None:
        self.put("positions", state.position_key, state, self.account_partition(state.account))

    def order(self, event: OrderEvent) -> None:
        self.put("orders", event.account, event)

    def fill(self, event: FillEvent) -> None:
        self.put("fills", event.account, event)

    def mark(self, symbol: str, price: int, exchange_ts: int = 1, market: Any = "S") -> None:
        key = ids.join("simulation", market, symbol)
        self.put("marks", key, Mark("simulation", market, symbol, price, exchange_ts, exchange_ts, BRIDGE))

    def close(
        self,
        session_id: str,
        trading_date: int,
        rows: Sequence[PositionState],
        marks: Mapping[str, int] | None = None,
        parts: int = 1,
        mark_ts: int = 7,
    ) -> list[PositionSnapshot]:
        """Let the ledger close a session of the rows' account; return the parts. Valuations stand in the last one."""
        found = self.parts(session_id, trading_date, rows, marks, parts, mark_ts)
        for part in found:
            self.put("checkpoints", part.account, part)
        return found

    def parts(
        self,
        session_id: str,
        trading_date: int,
        rows: Sequence[PositionState],
        marks: Mapping[str, int] | None = None,
        parts: int = 1,
        mark_ts: int = 7,
    ) -> list[PositionSnapshot]:
        """Return the parts that `close` writes."""
        account = rows[0].account
        valuations = tuple(
            snapshot.valued(row.position_key, row.quantity, row.open_cost, row.multiplier, marks[row.symbol], mark_ts)
            for row in rows
            if row.quantity and marks and row.symbol in marks
        )
        return [
            blank(
                PositionSnapshot,
                snapshot_id=f"{account}|SESSION_CLOSE|{session_id}",
                account=account,
                reason="SESSION_CLOSE",
                session_id=session_id,
                trading_date=trading_date,
                part=number,
                parts=parts,
                rows=len(rows),
                positions=tuple(rows[number - 1 :: parts]),
                valuations=valuations if number == parts else (),
            )
            for number in range(1, parts + 1)
        ]

    def control(self, scope: str, state: str, source: str = "reconciler", **more: Any) -> None:
        record = blank(
            TradingControl, scope=scope, source=source, state=state, control_id=more.pop("control_id", f"{source}-{state}"), **more
        )
        self.put("control", control.key(scope, source), record)

    def beat(self, account: str = ACCOUNT, kind: str = "BEAT", *, answered: bool = True, incarnation: int = 1) -> None:
        """Let the bridge beat, and the ledger answer unless it does not."""
        self.seq += 1
        made = blank(
            BridgeHeartbeat, account=account, bridge_id=BRIDGE, bridge_epoch=1, incarnation=incarnation, kind=kind, published_seq=self.seq
        )
        self.put("heartbeats", account, made)
        if answered:
            self.progress(account)

    def progress(self, account: str = ACCOUNT, seq: int | None = None, closed: str = "", **offsets: int) -> None:
        """Let the ledger say how far it is."""
        partition = self.account_partition(account)
        inputs = tuple(InputPosition(self.link.topic(name), "id", offset) for name, offset in offsets.items())
        bridges = (BridgeProgress(account, BRIDGE, 1, self.seq if seq is None else seq, 0),)
        made = blank(
            Progress,
            partition=partition,
            inputs=inputs,
            bridges=bridges,
            accounts=(AccountProgress(account, closed, ()),),
            ledger_epoch=1,
            instance="ledger-0",
        )
        self.put("progress", str(partition), made, partition)


class Moved:
    """A view without a thread: `look` lets it read what is there."""

    def __init__(self, world: ClientWorld, accounts: list[str] | None = None) -> None:
        self.world = world
        self.view = PositionView(world.link, accounts, world.clock)
        self.look()

    def look(self) -> PositionView:
        """Read everything that is there, and the end."""
        self.view.step()
        self.view.step()
        return self.view

    def live(self, account: str = ACCOUNT, *, control: bool = True) -> PositionView:
        """Let bridge, ledger and reconciler speak once more while the view watches, so that everything is fresh."""
        self.look()
        self.world.beat(account)
        if control:
            self.world.control("*", "ACTIVE")
        return self.look()
