"""PositionView: what it shows, how it moves, and what it does not show."""

import threading
import time
from typing import Any

import pytest

from client_world import ACCOUNT, OTHER, ClientWorld, Moved, fill, order, position
from execpos.client.stall import BEHIND_LOOKS, REOPEN_LOOKS
from execpos.client.view import PositionView
from execpos.domain.events import PositionState
from execpos.errors import DependencyError


def test_a_view_is_ready_with_what_was_committed_and_shows_only_the_newest_of_each_row() -> None:
    world = ClientWorld()
    for version in range(1, 51):
        world.position(position(100 * version, version))
    world.position(position(700, 1, "*"))
    moved = Moved(world)
    view = moved.look()

    assert view.ready
    held = view.position(ACCOUNT, "2330", "cash", "alpha")
    net = view.net(ACCOUNT, "2330", "cash")
    assert held is not None
    assert net is not None
    assert (held.quantity, held.state.version) == (5000, 50)
    assert net.quantity == 700
    assert view.position(ACCOUNT, "2330", "margin", "alpha") is None
    assert {found.state.strategy_id for found in view.positions(ACCOUNT)} == {"alpha", "*"}
    assert [found.quantity for found in view.positions(strategy_id="*")] == [700]


def test_a_row_only_moves_forwards() -> None:
    world = ClientWorld()
    moved = Moved(world)
    world.position(position(200, 2))
    world.position(position(100, 1))
    world.position(position(200, 2))
    seen: list[int] = []
    moved.view.on_change(lambda state: seen.append(state.version))

    assert moved.look().positions()[0].quantity == 200
    assert seen == [2]
    world.position(position(50, 1, ledger_epoch=2))
    assert moved.look().positions()[0].quantity == 50


def test_nothing_of_an_open_or_aborted_transaction_is_shown() -> None:
    world = ClientWorld()
    moved = Moved(world)
    producer = world.cluster.transactional_producer("ledger")
    producer.init(1)
    producer.begin()
    state = position(100, 1)
    value = world._encoders[PositionState](state)
    producer.produce(world.link.topic("positions"), world.account_partition(), state.position_key.encode(), value)
    assert moved.look().positions() == ()
    producer.abort(1)
    assert moved.look().positions() == ()
    producer.begin()
    producer.produce(world.link.topic("positions"), world.account_partition(), state.position_key.encode(), value)
    producer.commit(1)
    assert [found.quantity for found in moved.look().positions()] == [100]


def test_a_tombstone_forgets_a_row_and_the_row_may_begin_anew() -> None:
    world = ClientWorld()
    world.position(position(0, 9))
    moved = Moved(world)
    world.put("positions", position(0, 9).position_key, None, world.account_partition())
    assert moved.look().positions() == ()
    world.position(position(100, 1))
    assert moved.look().positions()[0].quantity == 100


def test_records_of_another_env_and_of_accounts_not_followed_are_left_out() -> None:
    world = ClientWorld()
    world.position(position(1, 1, account="production|S|9A95|1234567"))
    world.position(position(2, 1, account=OTHER, symbol="TXFF6", book="derivative"))
    world.position(position(3, 1))
    assert {found.quantity for found in Moved(world).look().positions()} == {2, 3}
    followed = Moved(world, [ACCOUNT]).look()
    assert followed.accounts() == (ACCOUNT,)


def test_unrealized_is_exact_and_absent_without_a_mark() -> None:
    world = ClientWorld()
    world.position(position(3000, 1, open_cost=1_800_000_000_001))
    world.position(position(0, 1, symbol="2317"))
    world.position(position(-2, 1, account=OTHER, symbol="TXFF6", book="derivative", multiplier=200, open_cost=-8_000_000_000_000))
    moved = Moved(world)
    held = moved.view.position(ACCOUNT, "2330", "cash", "alpha")
    flat = moved.view.position(ACCOUNT, "2317", "cash", "alpha")
    assert held is not None
    assert flat is not None
    assert held.unrealized is None
    assert flat.unrealized == 0
    world.mark("2330", 615_000_000)
    world.mark("TXFF6", 19_000_000_000, market="F")
    moved.look()
    held = moved.view.position(ACCOUNT, "2330", "cash", "alpha")
    short = moved.view.position(OTHER, "TXFF6", "derivative", "alpha")
    assert held is not None
    assert short is not None
    assert held.unrealized == 3000 * 615_000_000 - 1_800_000_000_001
    assert short.unrealized == -2 * 200 * 19_000_000_000 + 8_000_000_000_000


def test_an_older_mark_does_not_replace_a_newer_one() -> None:
    world = ClientWorld()
    moved = Moved(world)
    world.mark("2330", 1, exchange_ts=20)
    world.mark("2330", 2, exchange_ts=10)
    mark = moved.look().mark(ACCOUNT, "2330")
    assert mark is not None
    assert mark.price == 1


def test_the_result_of_an_older_day_counts_as_nothing_today() -> None:
    world = ClientWorld()
    world.position(position(1, 1, "alpha", realized_pnl_day=5, trading_date=20_594))
    world.position(position(1, 1, "beta", realized_pnl_day=7, trading_date=20_595))
    view = Moved(world).view
    found = {one.state.strategy_id: one.realized_day for one in view.positions()}
    assert found == {"alpha": 0, "beta": 7}


def test_a_mark_on_the_account_or_the_symbol_makes_every_position_under_it_worse() -> None:
    world = ClientWorld()
    world.position(position(1, 1))
    world.position(position(1, 1, "*"))
    world.position(position(1, 1, "*", symbol="2317", quality="ESTIMATED"))
    moved = Moved(world)
    assert moved.view.quality(ACCOUNT, "2330", "cash") == "CONFIRMED"
    world.position(position(0, 1, "*", book="*", quality="INCOMPLETE"))
    moved.look()
    held = moved.view.position(ACCOUNT, "2330", "cash", "alpha")
    assert held is not None
    assert held.quality == "INCOMPLETE"
    assert moved.view.quality(ACCOUNT, "2317", "cash") == "ESTIMATED"
    world.position(position(0, 1, "*", symbol="*", book="*", quality="BLOCKED"))
    moved.look()
    assert moved.view.quality(ACCOUNT, "2317", "cash") == "BLOCKED"
    assert moved.view.quality(ACCOUNT, "never traded", "cash") == "BLOCKED"


# --- working orders --------------------------------------------------------------------------------------------------------------------


def test_a_fill_between_two_reports_takes_from_what_is_left() -> None:
    world = ClientWorld()
    world.order(order("a", source_offset=1))
    moved = Moved(world)
    assert [(one.leaves, one.book) for one in moved.view.open_orders()] == [(1000, "cash")]
    world.fill(fill(1, "a", cum=300, source_offset=2))
    moved.look()
    assert moved.view.working(ACCOUNT, "2330", "cash").buy == 700
    # A report that was made before the second fill counts what it knew, and the fill after it the rest.
    world.order(order("a", revision=2, cum_filled=300, cancelled=100, source_offset=3))
    world.fill(fill(2, "a", cum=500, source_offset=4))
    moved.look()
    assert [(one.cum_filled, one.leaves) for one in moved.view.open_orders(ACCOUNT, "2330", "alpha")] == [(500, 400)]


def test_a_report_that_comes_after_a_fill_it_knew_of_does_not_count_it_twice() -> None:
    world = ClientWorld()
    world.fill(fill(1, "a", cum=300, source_offset=1))
    world.order(order("a", cum_filled=300, source_offset=2))
    assert [one.leaves for one in Moved(world).view.open_orders()] == [700]


@pytest.mark.parametrize(
    "closing",
    [
        {"reported": "CANCELLED", "cancelled": 700},
        {"reported": "REJECTED"},
        {"cum_filled": 1000},
    ],
)
def test_an_order_that_ends_is_no_longer_working(closing: dict[str, Any]) -> None:
    world = ClientWorld()
    world.order(order("a", source_offset=1))
    moved = Moved(world)
    world.order(order("a", revision=2, source_offset=2, **closing))
    moved.look()
    assert moved.view.open_orders() == ()
    assert moved.view.working(ACCOUNT, "2330", "cash") == moved.view.working(ACCOUNT, "none", "cash")


def test_an_order_filled_by_fills_alone_is_no_longer_working_from_the_start_and_live() -> None:
    world = ClientWorld()
    world.order(order("a", source_offset=1))
    world.fill(fill(1, "a", cum=1000, quantity=1000, source_offset=2))
    assert Moved(world).view.open_orders() == ()


def test_sums_are_kept_by_side_strategy_and_book() -> None:
    world = ClientWorld()
    world.order(order("a", quantity=100))
    world.order(order("b", quantity=10, strategy_id="beta", side="SELL"))
    world.order(order("c", quantity=1, order_cond="MarginTrading"))
    world.order(order("d", quantity=5, order_cond="what is that"))
    view = Moved(world).view

    net, own = view.working(ACCOUNT, "2330", "cash"), view.working(ACCOUNT, "2330", "cash", "beta")
    assert (net.buy, net.sell) == (105, 10)
    assert (own.buy, own.sell) == (0, 10)
    assert view.working(ACCOUNT, "2330", "margin").buy == 6


def test_an_order_that_gets_another_owner_counts_for_that_one() -> None:
    world = ClientWorld()
    world.order(order("a", strategy_id="UNASSIGNED"))
    moved = Moved(world)
    world.order(order("a", revision=2, cause="REATTRIBUTED", source_topic=f"{world.link.prefix}exec.intents.v1", normalized_ts=9))
    moved.look()
    assert moved.view.working(ACCOUNT, "2330", "cash", "UNASSIGNED").buy == 0
    assert moved.view.working(ACCOUNT, "2330", "cash", "alpha").buy == 1000


def test_an_order_of_a_session_that_the_ledger_has_closed_works_no_more() -> None:
    world = ClientWorld()
    world.order(order("a"))
    moved = Moved(world)
    world.progress(closed="2026-05-20N")
    assert moved.look().working(ACCOUNT, "2330", "cash").buy == 1000
    world.progress(closed="2026-05-21D")
    assert moved.look().working(ACCOUNT, "2330", "cash").buy == 0
    world.order(order("a", revision=2))
    assert moved.look().open_orders() == ()


# --- freshness -------------------------------------------------------------------------------------------------------------------------


def test_what_lay_there_at_the_start_is_not_fresh_however_lately_it_was_read() -> None:
    world = ClientWorld()
    world.beat()
    moved = Moved(world)
    assert moved.view.freshness(ACCOUNT).reason == "bridge_silent"
    world.beat()
    assert moved.look().freshness(ACCOUNT).fresh


def test_freshness_ends_with_the_beats_and_with_the_answers() -> None:
    world = ClientWorld()
    moved = Moved(world)
    assert moved.view.freshness(ACCOUNT).reason == "bridge_unknown"
    moved.live()
    fresh = moved.view.freshness(ACCOUNT)
    assert (fresh.fresh, fresh.reason) == (True, "")
    assert fresh.age_s is not None
    for _ in range(6):
        world.clock.sleep(1)
        world.beat(answered=False)
        moved.look()
    assert moved.view.freshness(ACCOUNT).reason == "ledger_silent"
    world.progress(seq=1)
    world.clock.sleep(0.1)
    moved.look()
    world.progress(seq=1)
    moved.look()
    assert moved.view.freshness(ACCOUNT).reason == "ledger_behind"
    world.progress()
    assert moved.look().freshness(ACCOUNT).fresh
    for _ in range(11):
        world.clock.sleep(1)
        world.progress()
        moved.look()
    assert moved.view.freshness(ACCOUNT).reason == "bridge_silent"


def test_the_age_is_never_less_than_the_truth_even_after_a_pause_of_the_reader() -> None:
    world = ClientWorld()
    moved = Moved(world)
    moved.live()
    world.beat()
    # The reader stands still for a minute; what it finds then may have been written at any moment of it.
    world.clock.sleep(60)
    moved.view.step()
    freshness = moved.view.freshness(ACCOUNT)
    assert not freshness.fresh
    assert freshness.age_s is not None
    assert freshness.age_s >= 60
    moved.look()
    world.beat()
    assert moved.look().freshness(ACCOUNT).fresh


def test_a_bridge_that_was_closed_or_replaced_is_not_listened_to() -> None:
    world = ClientWorld()
    moved = Moved(world)
    moved.live()
    world.beat(kind="CLOSED")
    assert moved.look().freshness(ACCOUNT).reason == "bridge_closed"
    world.beat(incarnation=2)
    assert moved.look().freshness(ACCOUNT).fresh
    world.beat(kind="CLOSED", incarnation=1)
    assert moved.look().freshness(ACCOUNT).fresh


def test_a_position_that_cannot_be_read_makes_its_account_stale() -> None:
    world = ClientWorld()
    moved = Moved(world)
    moved.live()
    world.put("positions", position(1, 1).position_key, b"no record", world.account_partition())
    moved.look()
    assert moved.view.unreadable == 1
    assert moved.view.freshness(ACCOUNT).reason == "record_unreadable"


# --- with its thread -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def running() -> tuple[ClientWorld, PositionView]:
    world = ClientWorld()
    world.broker.clock, world.broker.sleep = time.monotonic, time.sleep
    return world, PositionView(world.link)


def test_a_view_starts_reads_and_stops(running: tuple[ClientWorld, PositionView]) -> None:
    world, view = running
    world.position(position(100, 1))
    with view:
        view.wait_ready(30)
        assert view.positions()[0].quantity == 100
        seen = threading.Event()
        end = view.on_change(lambda state: seen.set() if view.positions()[0].state == state else None)
        world.position(position(200, 2))
        assert seen.wait(30)
        end()
    view.stop()
    assert view.positions()[0].quantity == 200
    assert view.freshness(ACCOUNT).reason == "stopped"


def test_a_listener_that_raises_ends_neither_the_reading_nor_the_others(running: tuple[ClientWorld, PositionView]) -> None:
    world, view = running
    seen = threading.Event()

    def broken(state: PositionState) -> None:
        raise RuntimeError(state.symbol)

    view.on_change(broken)
    view.on_change(lambda _: seen.set())
    with view:
        view.wait_ready(30)
        world.position(position(200, 2))
        assert seen.wait(30)
        seen.clear()
        world.position(position(300, 3))
        assert seen.wait(30)


def test_a_view_without_its_topics_says_so_and_starts_when_they_come(running: tuple[ClientWorld, PositionView]) -> None:
    world, view = running
    world.broker.delete(world.link.topic("marks"))
    with view:
        with pytest.raises(DependencyError, match=r"exec\.marks\.v1 does not exist"):
            view.wait_ready(0.3)
        assert view.freshness(ACCOUNT).reason == "starting"
        world.broker.create(world.link.topic("marks"), 1)
        view.wait_ready(30)


def test_waiting_for_a_fill_ends_when_its_row_shows_it(running: tuple[ClientWorld, PositionView]) -> None:
    world, view = running
    raw = world.link.topic("raw")
    made = fill(1, "a", cum=100, source_offset=7)
    with view:
        view.wait_ready(30)
        assert not view.wait_for(fill_id=made.fill_id, timeout_s=0.05)
        world.fill(made)
        assert not view.wait_for(fill_id=made.fill_id, timeout_s=0.2)
        from execpos.domain.events import InputPosition  # noqa: PLC0415 (only here)

        world.position(position(100, 1, inputs=(InputPosition(raw, "id", 7),)))
        assert view.wait_for(fill_id=made.fill_id, timeout_s=30)


def test_waiting_for_an_offset_ends_when_the_ledger_is_there(running: tuple[ClientWorld, PositionView]) -> None:
    world, view = running
    at = (world.link.topic("raw"), world.account_partition(), 12)
    with view:
        view.wait_ready(30)
        world.progress(raw=11)
        assert not view.wait_for(offset=at, timeout_s=0.1)
        world.progress(raw=12)
        assert view.wait_for(offset=at, timeout_s=30)
        with pytest.raises(ValueError, match="either"):
            view.wait_for(timeout_s=1)


def test_a_fill_that_was_there_at_the_start_is_not_waited_for(running: tuple[ClientWorld, PositionView]) -> None:
    world, view = running
    made = fill(1, "a", cum=100)
    world.fill(made)
    with view:
        assert view.wait_for(fill_id=made.fill_id, timeout_s=30)


def test_the_view_stays_with_its_data_while_kafka_is_away_and_goes_on_afterwards() -> None:
    world = ClientWorld()
    world.position(position(100, 1))
    moved = Moved(world)
    moved.live()
    world.broker.reachable = False
    for _ in range(15):
        world.clock.sleep(1)
        moved.look()
    assert moved.view.positions()[0].quantity == 100
    assert moved.view.freshness(ACCOUNT).reason == "bridge_silent"
    world.broker.reachable = True
    world.position(position(200, 2))
    moved.live()
    moved.live()
    assert moved.view.positions()[0].quantity == 200
    assert moved.view.freshness(ACCOUNT).fresh


def test_a_view_that_has_read_nothing_is_not_ready() -> None:
    world = ClientWorld()
    view = PositionView(world.link, None, world.clock)
    assert not view.ready
    view.step()
    assert view.ready


def test_each_part_of_a_view_that_stands_still_makes_it_stale() -> None:
    for stuck in (0, 1):
        world = ClientWorld()
        moved = Moved(world)
        moved.live()
        for _ in range(12):
            world.clock.sleep(1)
            world.beat()
            for number, lane in enumerate(moved.view._lanes):
                if number != stuck:
                    lane.step(0.0)
                    lane.step(0.0)
        assert moved.view.freshness(ACCOUNT).reason == "bridge_silent"
        assert moved.look() is moved.view
        world.beat()
        assert moved.look().freshness(ACCOUNT).fresh


def test_a_partition_that_is_not_read_on_makes_the_view_stale_and_brings_another_consumer() -> None:
    world = ClientWorld()
    moved = Moved(world)
    moved.live()
    lane = moved.view._lanes[0]
    producer = world.cluster.transactional_producer("hanging")
    producer.init(1)
    producer.begin()
    producer.produce(world.link.topic("positions"), world.account_partition(), b"key", b"value")
    for look in range(REOPEN_LOOKS + 1):
        moved.live()
        lane.look()
        assert moved.view.freshness(ACCOUNT).reason == ("reader_behind" if look >= BEHIND_LOOKS else "")
        assert lane._reopen.is_set() is (look >= REOPEN_LOOKS)
    producer.abort(1)
    moved.live()
    lane.look()
    assert moved.view.freshness(ACCOUNT).fresh
    world.broker.reachable = False
    moved.view._lanes[1].look()
    assert not moved.view._lanes[1].behind
