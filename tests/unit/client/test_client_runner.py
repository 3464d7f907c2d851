"""StrategyRunner, its stores, and IntentWriter."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from client_world import ACCOUNT, OTHER, ClientWorld, fill, order, position
from execpos.client import runner as runner_module
from execpos.client.cursor import Cursor, FileStore, SqliteStore, Store, decoded, encoded
from execpos.client.intents import IntentWriter
from execpos.client.runner import StrategyRunner
from execpos.client.strategy import Delivery, Strategy
from execpos.client.view import PositionView
from execpos.codecs.avro import Decoder
from execpos.domain.events import FillEvent, Intent, OrderEvent, PositionState
from execpos.errors import ContractError, DependencyError, Fenced, UsageError
from execpos.kafka.ports import TopicPartition


@pytest.fixture
def world() -> ClientWorld:
    made = ClientWorld()
    # Records are stamped with the time of day, by which a runner looks for the owners of the last week.
    made.broker.clock, made.broker.sleep = time.time, time.sleep
    return made


class Noting(Strategy):
    """Remembers what it was handed."""

    def __init__(self, strategy_id: str, fail_at: int | None = None) -> None:
        super().__init__(strategy_id)
        self.fills: list[tuple[str, int, bool]] = []
        self.orders: list[tuple[str, int, bool]] = []
        self.positions: list[int] = []
        self.told: list[str] = []
        self.fail_at = fail_at

    def on_fill(self, fill: FillEvent, delivery: Delivery) -> None:
        if self.fail_at == len(self.fills):
            raise RuntimeError("a mistake of the strategy")
        self.fills.append((fill.fill_id.rsplit("|", 1)[-1], fill.revision, delivery.withdrawn))

    def on_order(self, order: OrderEvent, delivery: Delivery) -> None:
        self.orders.append((order.order_id, delivery.revision, delivery.withdrawn))

    def on_position(self, position: PositionState) -> None:
        self.positions.append(position.quantity)

    def on_halt(self, account: str, trading: Any) -> None:
        self.told.append(f"{trading.state} {trading.unheard}".strip())

    def on_stale(self, account: str, freshness: Any) -> None:
        self.told.append(freshness.reason or "fresh")


class Booking(Strategy):
    """Writes each fill into the database of its store, as the exactly-once contract wants it."""

    def __init__(self, strategy_id: str, store: SqliteStore, fail_at: int | None = None) -> None:
        super().__init__(strategy_id)
        self.store = store
        self.fail_at = fail_at
        self.count = 0

    def on_fill(self, fill: FillEvent, delivery: Delivery) -> None:
        if self.count == self.fail_at:
            raise RuntimeError("a mistake of the strategy")
        self.count += 1
        self.store.connection.execute("CREATE TABLE IF NOT EXISTS book (strategy TEXT, fill TEXT, revision INTEGER)")
        self.store.connection.execute("INSERT INTO book VALUES (?, ?, ?)", (self.strategy_id, fill.fill_id, fill.revision))


def deliver(world: ClientWorld, store: Store, *strategies: Strategy, until: Callable[[], bool], **more: Any) -> StrategyRunner:
    """Run until something holds."""
    made = StrategyRunner(world.link, strategies, store, first="begin", **more)
    stop = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.run(stop)
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    end_s = time.monotonic() + 30
    while not until() and thread.is_alive():
        assert time.monotonic() < end_s
        time.sleep(0.005)
    stop.set()
    thread.join()
    if failed:
        raise failed[0]
    return made


def test_each_strategy_gets_its_own_fills_and_orders_in_order(world: ClientWorld, tmp_path: Path) -> None:
    for number in range(1, 8):
        world.fill(fill(number, "a", cum=number, strategy_id=("alpha", "beta", "gamma")[number % 3]))
    world.order(order("a"))
    world.order(order("b", strategy_id="beta"))
    world.order(order("a", revision=2))
    alpha, beta = Noting("alpha"), Noting("beta")
    made = deliver(world, FileStore(tmp_path / "cursor"), alpha, beta, until=lambda: len(alpha.fills + alpha.orders + beta.fills) == 7)

    assert alpha.fills == [("3", 1, False), ("6", 1, False)]
    assert beta.fills == [("1", 1, False), ("4", 1, False), ("7", 1, False)]
    assert alpha.orders == [("a", 1, False), ("a", 2, False)]
    assert beta.orders == [("b", 1, False)]
    assert made.delivered == 8


def test_a_fill_that_moves_is_taken_back_from_the_one_and_given_to_the_other_over_a_restart_too(world: ClientWorld, tmp_path: Path) -> None:
    world.fill(fill(1, "a", cum=1))
    alpha, beta = Noting("alpha"), Noting("beta")
    deliver(world, FileStore(tmp_path / "cursor"), alpha, beta, until=lambda: len(alpha.fills) == 1)
    world.fill(fill(1, "a", cum=1, revision=2, strategy_id="beta", cause="REATTRIBUTED"))
    world.fill(fill(1, "a", cum=0, revision=3, strategy_id="beta", cause="VOID", voided=True))
    deliver(world, FileStore(tmp_path / "cursor"), alpha, beta, until=lambda: len(beta.fills) == 2)

    assert alpha.fills == [("1", 1, False), ("1", 2, True)]
    assert beta.fills == [("1", 2, False), ("1", 3, False)]


def test_a_restarted_runner_goes_on_where_it_was(world: ClientWorld, tmp_path: Path) -> None:
    for number in (1, 2):
        world.fill(fill(number, "a", cum=number))
    first = Noting("alpha")
    deliver(world, FileStore(tmp_path / "cursor"), first, until=lambda: len(first.fills) == 2)
    world.fill(fill(3, "a", cum=3))
    second = Noting("alpha")
    deliver(world, FileStore(tmp_path / "cursor"), second, until=lambda: len(second.fills) == 1)
    assert second.fills == [("3", 1, False)]


def test_a_new_runner_begins_at_the_end_and_misses_nothing_that_comes_before_its_first_delivery(world: ClientWorld, tmp_path: Path) -> None:
    world.fill(fill(1, "a", cum=1))
    store = FileStore(tmp_path / "cursor")
    stop = threading.Event()
    stop.set()
    StrategyRunner(world.link, [Noting("alpha")], store).run(stop)
    world.fill(fill(2, "a", cum=2))
    later = Noting("alpha")
    deliver(world, FileStore(tmp_path / "cursor"), later, until=lambda: len(later.fills) == 1)
    assert later.fills == [("2", 1, False)]


def test_only_the_accounts_that_are_wanted_are_delivered(world: ClientWorld, tmp_path: Path) -> None:
    world.fill(fill(1, "a", cum=1, account=OTHER))
    world.fill(fill(2, "a", cum=2))
    alpha = Noting("alpha")
    deliver(world, FileStore(tmp_path / "cursor"), alpha, until=lambda: len(alpha.fills) == 1, accounts=[ACCOUNT])
    assert alpha.fills == [("2", 1, False)]


def test_what_a_handler_raises_ends_the_runner_and_its_batch_comes_again(world: ClientWorld, tmp_path: Path) -> None:
    for number in range(1, 6):
        world.fill(fill(number, "a", cum=number))
    failing = Noting("alpha", fail_at=3)
    with pytest.raises(RuntimeError, match="mistake"):
        deliver(world, FileStore(tmp_path / "cursor"), failing, until=lambda: False)
    again = Noting("alpha")
    deliver(world, FileStore(tmp_path / "cursor"), again, until=lambda: len(again.fills) == 5)
    assert [number for number, _, _ in again.fills] == ["1", "2", "3", "4", "5"]


def test_an_error_of_kafka_that_a_handler_raises_is_the_handlers_and_ends_the_runner(world: ClientWorld, tmp_path: Path) -> None:
    class Producing(Strategy):
        def on_fill(self, fill: FillEvent, delivery: Delivery) -> None:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    world.fill(fill(1, "a", cum=1))
    with pytest.raises(KafkaException):
        deliver(world, FileStore(tmp_path / "cursor"), Producing("alpha"), until=lambda: False)


def test_sqlite_keeps_effects_and_cursor_together_through_a_failure(
    world: ClientWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "_BATCH", 2)
    for number in range(1, 8):
        world.fill(fill(number, "a", cum=number))
    path = tmp_path / "book.db"
    for fail_at in (1, 3, 0, 2):
        store = SqliteStore(path)
        with pytest.raises(RuntimeError, match="mistake"):
            deliver(world, store, Booking("alpha", store, fail_at), until=lambda: False)
    store = SqliteStore(path)
    last = Booking("alpha", store)
    deliver(world, store, last, until=lambda: last.count >= 3)

    import sqlite3  # noqa: PLC0415 (only here)

    connection = sqlite3.connect(path)
    booked = [row[0].rsplit("|", 1)[-1] for row in connection.execute("SELECT fill FROM book ORDER BY rowid")]
    connection.close()
    assert booked == ["1", "2", "3", "4", "5", "6", "7"]


def test_a_second_process_on_the_same_database_ends_the_first_one(tmp_path: Path) -> None:
    first, second = SqliteStore(tmp_path / "book.db"), SqliteStore(tmp_path / "book.db")
    cursor = Cursor({"t": "id"}, {TopicPartition("t", 0): 5})
    assert first.load() is None
    first.begin()
    first.commit(cursor)
    assert second.load() == cursor
    first.begin()
    first.connection.execute("CREATE TABLE effects (x)")
    with pytest.raises(Fenced):
        first.commit(Cursor({"t": "id"}, {TopicPartition("t", 0): 9}))
    second.begin()
    second.commit(Cursor({"t": "id"}, {TopicPartition("t", 0): 6}))
    assert second.connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'effects'").fetchone() == (0,)
    first.close()
    second.close()
    second.close()


def test_two_runners_share_a_database_under_their_names(tmp_path: Path) -> None:
    one, two = SqliteStore(tmp_path / "book.db", "one"), SqliteStore(tmp_path / "book.db", "two")
    for number, store in enumerate((one, two)):
        assert store.load() is None
        store.begin()
        store.commit(Cursor({"t": "id"}, {TopicPartition("t", 0): number}))
        store.close()
    again = SqliteStore(tmp_path / "book.db", "two")
    found = again.load()
    again.close()
    assert found is not None
    assert dict(found.offsets) == {TopicPartition("t", 0): 1}


def test_a_handler_that_commits_by_itself_is_found_out(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "book.db")
    store.load()
    store.begin()
    store.connection.execute("COMMIT")
    with pytest.raises(DependencyError, match="committed by itself"):
        store.commit(Cursor({}, {}))
    store.close()
    with pytest.raises(DependencyError, match="not open"):
        _ = store.connection


def test_a_second_runner_on_the_same_file_is_kept_out(tmp_path: Path) -> None:
    first, second = FileStore(tmp_path / "cursor"), FileStore(tmp_path / "cursor")
    assert first.load() is None
    with pytest.raises(Fenced):
        second.load()
    second.close()
    first.close()
    third = FileStore(tmp_path / "cursor")
    assert third.load() is None
    third.close()


def test_a_cursor_is_the_same_after_it_was_written_and_anything_else_is_refused() -> None:
    cursor = Cursor({"a": "x", "b": "y"}, {TopicPartition("a", 1): 5, TopicPartition("b", 0): 0})
    assert decoded(encoded(cursor), "there") == cursor
    for wrong in (b"", b"{}", b"[]", b'{"format": 2}', b'{"format": 1, "topic_ids": {}, "offsets": {"a": {"x": 1}}}'):
        with pytest.raises(ContractError, match="there"):
            decoded(wrong, "there")


def stored(world: ClientWorld, path: Path, **offsets: int) -> None:
    """Write a cursor at these offsets of partition 0 of fills."""
    ids = world.cluster.topic_ids([world.link.topic("fills"), world.link.topic("orders")], 1)
    store = FileStore(path)
    store.load()
    store.commit(Cursor(ids, {TopicPartition(world.link.topic(name), world.account_partition()): at for name, at in offsets.items()}))
    store.close()


def test_a_cursor_that_does_not_fit_the_topics_is_refused(world: ClientWorld, tmp_path: Path) -> None:
    for number in range(1, 6):
        world.fill(fill(number, "a", cum=number))
    stored(world, tmp_path / "ahead", fills=6)
    with pytest.raises(ContractError, match="were not delivered"):
        deliver(world, FileStore(tmp_path / "ahead"), Noting("alpha"), until=lambda: False)
    stored(world, tmp_path / "behind", fills=1)
    world.broker.truncate(TopicPartition(world.link.topic("fills"), world.account_partition()), 3)
    with pytest.raises(ContractError, match="were not delivered"):
        deliver(world, FileStore(tmp_path / "behind"), Noting("alpha"), until=lambda: False)
    stored(world, tmp_path / "anew", fills=5)
    world.broker.delete(world.link.topic("orders"))
    world.broker.create(world.link.topic("orders"), 3)
    with pytest.raises(ContractError, match="made anew"):
        deliver(world, FileStore(tmp_path / "anew"), Noting("alpha"), until=lambda: False)


def test_a_record_that_cannot_be_read_ends_the_runner_instead_of_being_passed_over(world: ClientWorld, tmp_path: Path) -> None:
    world.put("fills", ACCOUNT, b"no record")
    with pytest.raises(DependencyError, match="cannot be read"):
        deliver(world, FileStore(tmp_path / "cursor"), Noting("alpha"), until=lambda: False)


def test_the_cursor_moves_past_what_belongs_to_others(world: ClientWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_IDLE_COMMIT_S", 0.0)
    world.fill(fill(1, "a", cum=1, strategy_id="gamma"))
    path = tmp_path / "cursor"
    tp = TopicPartition(world.link.topic("fills"), world.account_partition())
    deliver(world, FileStore(path), Noting("alpha"), until=lambda: path.exists() and decoded(path.read_bytes(), "x").offsets[tp] == 1)


def test_strategies_need_ids_of_their_own(world: ClientWorld, tmp_path: Path) -> None:
    for wrong in ([], [Strategy("a"), Strategy("a")]):
        with pytest.raises(UsageError):
            StrategyRunner(world.link, wrong, FileStore(tmp_path / "cursor"))


def test_positions_halts_and_staleness_are_told_on_the_runners_thread(world: ClientWorld, tmp_path: Path) -> None:
    alpha = Noting("alpha")
    with PositionView(world.link, clock=time.time) as view:
        view.wait_ready(30)

        def speak() -> bool:
            world.beat()
            world.control("*", "ACTIVE")
            time.sleep(0.02)
            return "fresh" in alpha.told and "ACTIVE" in alpha.told

        def rest() -> Iterator[Callable[[], bool]]:
            yield speak
            world.position(position(300, 1))
            world.position(position(1, 1, "beta"))
            yield lambda: alpha.positions == [300]
            world.control(ACCOUNT, "HALTED", "operator")
            yield lambda: alpha.told[-1].startswith("HALTED")

        steps = rest()
        step = [next(steps)]

        def done() -> bool:
            while step[0]():
                following = next(steps, None)
                if following is None:
                    return True
                step[0] = following
            return False

        deliver(world, FileStore(tmp_path / "cursor"), alpha, until=done, view=view)
    assert alpha.positions == [300]


# --- intents ---------------------------------------------------------------------------------------------------------------------------


def intents(world: ClientWorld) -> list[Intent]:
    decode = Decoder(Intent, world.link.writers[Intent])
    topic = world.broker.topics[world.link.topic("intents")]
    return [decode(message.value() or b"") for log in topic.logs for message in log.committed(0, log.high)]


def test_an_intent_is_written_to_the_accounts_partition_under_an_id_made_of_what_it_says() -> None:
    world = ClientWorld()
    with IntentWriter(world.link, lambda: 1_779_331_286_650_000) as writer:
        first = writer.place("alpha", ACCOUNT, order_id="348d1c6a", tags={"signal": "breakout"})
        again = writer.place("alpha", ACCOUNT, order_id="348d1c6a", session_id="2026-05-21D", tags={"signal": "breakout"})
        other = writer.place("beta", ACCOUNT, order_id="348d1c6a")
        writer.flush(1)
    assert first == again != other
    written = intents(world)
    assert [one.strategy_id for one in written] == ["alpha", "alpha", "beta"]
    assert written[0] == written[1]
    assert written[0].session_id == "2026-05-21D"
    log = world.broker.log(TopicPartition(world.link.topic("intents"), world.account_partition()))
    assert log.high == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"strategy_id": ""},
        {"strategy_id": "*"},
        {"order_id": ""},
        {"account": "production|S|9A95|1234567"},
        {"account": "simulation|S|9A95"},
        {"session_id": "today"},
        {"order_id": "x" * 300},
    ],
)
def test_an_intent_that_the_ledger_would_not_take_is_refused_at_once(wrong: dict[str, Any]) -> None:
    world = ClientWorld()
    writer = IntentWriter(world.link)
    with pytest.raises(UsageError):
        writer.place(**{"strategy_id": "alpha", "account": ACCOUNT, "order_id": "1", **wrong})
    writer.close()
    assert intents(world) == []


def test_a_flush_says_what_is_not_there_yet_and_succeeds_later() -> None:
    world = ClientWorld()
    writer = IntentWriter(world.link)
    world.broker.reachable = False
    writer.place("alpha", ACCOUNT, order_id="1")
    with pytest.raises(DependencyError, match="1 intents are not acknowledged"):
        writer.flush(0)
    world.broker.reachable = True
    writer.flush(1)
    writer.close()
    writer.close()
    assert len(intents(world)) == 1


def test_an_intent_that_kafka_refuses_is_told() -> None:
    world = ClientWorld()
    writer = IntentWriter(world.link)
    world.broker.plan("produce", lambda: KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
    writer.place("alpha", ACCOUNT, order_id="1")
    with pytest.raises(DependencyError, match="refused 1 intents"):
        writer.flush(1)
    with pytest.raises(DependencyError, match="refused"):
        writer.place("alpha", ACCOUNT, order_id="2")
    with pytest.raises(DependencyError, match="refused"):
        writer.close()
