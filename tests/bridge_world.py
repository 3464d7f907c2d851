"""A bridge on the in-memory twin: topics, schema ids, a scripted broker, and what stands on the topics afterwards."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from execpos.bridge.claim import Claim
from execpos.bridge.desk import DeskOptions
from execpos.bridge.journal.journal import Journal
from execpos.bridge.options import BridgeOptions
from execpos.bridge.service import Bridge
from execpos.bridge.tail import Wire
from execpos.brokers.protocol import (
    BrokerAccount,
    BrokerError,
    BrokerLot,
    BrokerPosition,
    BrokerProfit,
    BrokerTrade,
    BudgetState,
    CacheHealth,
    ConnectionCallback,
    ConnectionEvent,
    OrderCallback,
    Quote,
    QuoteCallback,
    SessionState,
)
from execpos.codecs.avro import RECORDS, Decoder, Encoder, schema_text
from execpos.domain.events import BridgeHeartbeat, BrokerRequest, BrokerSnapshot, Mark, PositionState, RawExecEvent
from execpos.errors import DependencyError
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition

T = TypeVar("T", bound=msgspec.Struct)

PARTITIONS = 4
IDS = {record: number for number, record in enumerate(RECORDS, 11)}
TOPICS: dict[str, type[msgspec.Struct]] = {
    "exec.raw.v1": RawExecEvent,
    "exec.intents.v1": RECORDS[1],
    "exec.heartbeats.v1": BridgeHeartbeat,
    "exec.broker-requests.v1": BrokerRequest,
    "exec.broker-snapshots.v1": BrokerSnapshot,
    "exec.positions.v1": PositionState,
    "exec.marks.v1": Mark,
}

# Long enough for a loaded machine; a test that is right never waits for it.
PATIENCE_S = 60.0

ACCOUNT = BrokerAccount("S", "9A95", "1")
KEY = "simulation|S|9A95|1"
QUICK = DeskOptions(orders_interval_s=3600.0, tick_s=0.005, maintain_s=0.02)
OFTEN = msgspec.structs.replace(QUICK, orders_interval_s=0.05)


def wait_for(what: str, done: Callable[[], Any]) -> None:
    """Wait until `done` is true."""
    limit = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < limit, f"waited in vain for {what}"
        time.sleep(0.005)


class World:
    """One Kafka and its registry, which can both be away."""

    def __init__(self, topics: Collection[str] = TOPICS.keys()) -> None:
        self.broker = MemoryBroker()
        for topic in topics:
            self.broker.create(f"t.{topic}", PARTITIONS)
        self.cluster = MemoryCluster(self.broker)
        self.reachable = True

    def connect(self) -> Wire:
        if not self.reachable:
            raise DependencyError("Kafka is away")
        return Wire(self.cluster, IDS, {record: {number: schema_text(record)} for record, number in IDS.items()})

    def go(self, *, up: bool) -> None:
        """Take Kafka and the registry away, or bring them back."""
        self.reachable = self.broker.reachable = up

    def read(self, topic: str, record: type[T]) -> list[T]:
        """Return all records of a topic; in order within a partition."""
        decode = Decoder(record, {IDS[record]: schema_text(record)})
        found = []
        for partition in range(PARTITIONS):
            tp = TopicPartition(f"t.{topic}", partition)
            end = self.cluster.high_watermarks([tp], 1.0)[tp]
            found += [decode(message.value() or b"") for message in self.cluster.read(tp, 0, end, PATIENCE_S)]
        return found

    def write(self, topic: str, key: str, record: msgspec.Struct) -> None:
        """Write one record, placed by its key."""
        tp = TopicPartition(f"t.{topic}", partition_for(key.encode(), PARTITIONS))
        self.broker.append(tp, key.encode(), Encoder(type(record), IDS[type(record)])(record))

    def raw(self) -> list[RawExecEvent]:
        """Return exec.raw by epoch and number."""
        return sorted(self.read("exec.raw.v1", RawExecEvent), key=lambda record: (record.bridge_epoch, record.bridge_seq))

    def heartbeats(self) -> list[BridgeHeartbeat]:
        """Return all heartbeats."""
        return self.read("exec.heartbeats.v1", BridgeHeartbeat)

    def snapshots(self) -> list[BrokerSnapshot]:
        """Return all answers."""
        return self.read("exec.broker-snapshots.v1", BrokerSnapshot)

    def request(self, request_id: str, *what: str, **fields: Any) -> BrokerRequest:
        """Write a request and return it."""
        now = time.time_ns() // 1000
        known = {"reads": 1, "begin_date": 0, "end_date": 0, "requested_by": "test", "reason": "", "ts": now}
        made = BrokerRequest(
            **{"request_id": request_id, "account": KEY, "what": what, "expires_ts": now + 3_600_000_000, **known, **fields}
        )
        self.write("exec.broker-requests.v1", made.account, made)
        return made

    def send(self, what: str) -> None:
        """Ask for one read."""
        self.request("sent", what)

    def claim(self, claim: Claim, bridge_id: str = "b") -> None:
        """Write what another bridge of that name would."""
        fields: dict[str, Any] = dict.fromkeys(BridgeHeartbeat.__struct_fields__, 0)
        texts = ("journal_error", "publish_error", "sdk_version")
        fields |= dict.fromkeys(texts, "") | {"cache_health": "Unknown", "cache_reasons": (), "session": "up", "kind": "CLAIM"}
        fields |= {"account": KEY, "bridge_id": bridge_id, "incarnation": claim.incarnation, "claim_id": claim.claim_id}
        self.write("exec.heartbeats.v1", KEY, BridgeHeartbeat(**fields))


class ScriptedBroker:
    """A login that does what a test says. `calls` are the names of what was asked, in order."""

    env = "simulation"
    sdk_version = "test"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.raising: dict[str, Callable[[], Exception]] = {}
        self.session: SessionState = "up"
        self.records: list[tuple[Any, Any]] = []
        self.rows: list[BrokerPosition] = []
        self.lots: list[BrokerLot] = []
        self.orders: list[BrokerTrade] = []
        self.profits: list[BrokerProfit] = []
        self.cache = CacheHealth("Healthy", ())
        self.budgets: dict[str, BudgetState] = {"accounting": BudgetState(20, 0), "orders": BudgetState(200, 0)}
        self.watching: frozenset[Any] = frozenset()
        self.during: dict[str, Callable[[], None]] = {}
        self.report: OrderCallback = lambda state, event: None
        self.link: ConnectionCallback = lambda event: None
        self.quote: QuoteCallback = lambda quote: None

    def called(self, name: str) -> int:
        return self.calls.count(name)

    def fail(self, name: str, kind: Any = "failed", **fields: Any) -> None:
        """Let every call of `name` raise until `heal`."""
        self.raising[name] = lambda: BrokerError(f"{name} went wrong", kind=kind, **fields)

    def heal(self) -> None:
        self.raising.clear()

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.during:
            self.during[name]()
        if name in self.raising:
            error = self.raising[name]()
            raise error

    def accounts(self) -> Sequence[BrokerAccount]:
        self._call("accounts")
        return [ACCOUNT]

    def private_words(self) -> tuple[str, ...]:
        return ()

    def connect(self) -> None:
        self._call("connect")

    def set_order_callback(self, callback: OrderCallback) -> None:
        self._call("set_order_callback")
        self.report = callback

    def set_connection_callback(self, callback: ConnectionCallback) -> None:
        self._call("set_connection_callback")
        self.link = callback

    def set_quote_callback(self, callback: QuoteCallback) -> None:
        self._call("set_quote_callback")
        self.quote = callback

    def start(self) -> None:
        self._call("start")

    def finished(self) -> bool:
        return False

    def stop(self) -> None:
        self._call("stop")
        self.session = "closed"

    def maintain(self) -> None:
        self._call("maintain")

    def update_status(self, account: BrokerAccount) -> None:
        assert account == ACCOUNT
        self._call("update_status")

    def order_deal_records(self, account: BrokerAccount) -> Sequence[tuple[Any, Any]]:
        assert account == ACCOUNT
        self._call("order_deal_records")
        return list(self.records)

    def trades(self, account: BrokerAccount) -> Sequence[BrokerTrade]:
        assert account == ACCOUNT
        self._call("trades")
        return list(self.orders)

    def cache_health(self, account: BrokerAccount) -> CacheHealth:
        assert account == ACCOUNT
        self._call("cache_health")
        return self.cache

    def positions(self, account: BrokerAccount) -> Sequence[BrokerPosition]:
        assert account == ACCOUNT
        self._call("positions")
        return list(self.rows)

    def position_lots(self, account: BrokerAccount, row_id: int) -> Sequence[BrokerLot]:
        assert account == ACCOUNT
        self._call("position_lots")
        return [lot for lot in self.lots if lot.ordno == str(row_id)]

    def profit_loss(self, account: BrokerAccount, begin: date, end: date) -> Sequence[BrokerProfit]:
        assert account == ACCOUNT
        self._call("profit_loss")
        assert begin <= end
        return list(self.profits)

    def watch(self, symbols: Collection[tuple[Literal["S", "F"], str]]) -> Collection[tuple[Literal["S", "F"], str]]:
        self._call("watch")
        self.watching = frozenset(symbols)
        return []

    def budget(self) -> Mapping[str, BudgetState]:
        self._call("budget")
        return self.budgets

    def tell(self, kind: Any, code: int = -1) -> None:
        """Say that something happened to the link."""
        self.link(ConnectionEvent(kind, code, "test"))

    def deal(self, seq: int, reset: str = "r1", **fields: Any) -> dict[str, Any]:
        """Return a deal's payload with the receipt number `seq`."""
        known = {
            "event_id": f"v1:SD:st:{reset}:{seq}",
            "trade_id": f"o{seq}",
            "exchange_seq": str(seq),
            "broker_id": "9A95",
            "account_id": "1",
        }
        return {**known, **fields}

    def send(self, *seqs: int, reset: str = "r1") -> None:
        """Deliver deals with these receipt numbers."""
        for seq in seqs:
            self.report("SDEAL", self.deal(seq, reset))

    def trade(self, symbol: str, price: float, exchange_ts: int) -> None:
        """Deliver a quote."""
        self.quote(Quote("S", symbol, price, exchange_ts))


def options(**fields: Any) -> BridgeOptions:
    """Return options that make a test quick."""
    known: dict[str, Any] = {
        "prefix": "t.",
        "bridge_id": "b",
        "beat_interval_s": 0.02,
        "drain_timeout_s": 30.0,
        "marks_interval_s": 0.02,
        "desk": QUICK,
        "inbox_poll_s": 0.01,
    }
    return BridgeOptions(**{**known, **fields})


class Reachable(Protocol):
    """A Kafka with its registry: the twin's or a real one."""

    def connect(self) -> Wire: ...


def made(world: Reachable, broker: ScriptedBroker, folder: Path, **fields: Any) -> Bridge:
    """Return a bridge of a login, not running."""
    blackout = fields.pop("blackout", None)
    chosen = options(**fields)
    journal = Journal.open(folder, env=broker.env, bridge_id=chosen.bridge_id)
    known = {} if blackout is None else {"blackout": blackout}
    return Bridge(chosen, broker, journal, world.connect, broker=broker, **known)


class Running:
    """A bridge on a thread of its own."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="bridge under test")
        self._thread.start()

    def _run(self) -> None:
        try:
            self.bridge.run(self.stopping)
        except BaseException as error:  # noqa: BLE001 (the test looks at it)
            self.error = error

    def join(self) -> BaseException | None:
        """Wait for the end and return what it raised."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the bridge did not end"
        return self.error

    def stop(self) -> BaseException | None:
        """Stop it, wait, and return what it raised."""
        self.stopping.set()
        return self.join()


@contextmanager
def running(bridge: Bridge) -> Iterator[Running]:
    """Run a bridge for the length of a block, and see it end without an error."""
    run = Running(bridge)
    try:
        yield run
    finally:
        error = run.stop()
    assert error is None, error
