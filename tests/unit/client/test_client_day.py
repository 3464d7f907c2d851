"""The result since the last close: from which close it counts, what it is exactly, and when it is not known."""

from functools import partial
from typing import Any

import pytest

from client_world import ACCOUNT, OTHER, ClientWorld, Moved, position
from execpos import settings
from execpos.cli import positions as command
from execpos.cli.standing import Standing
from execpos.client import view as view_module
from execpos.client.book import DayPnl, Position
from execpos.client.link import current_day
from execpos.client.view import PositionView
from execpos.codecs.framing import header
from execpos.domain.events import PositionSnapshot, PositionState
from execpos.domain.ids import NET

CALENDAR = settings.load(None, {}).rules().calendar
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
# Thursday 2026-05-21, and its midnight in Taipei.
THURSDAY = 20_594
FRIDAY, MONDAY = THURSDAY + 1, THURSDAY + 4
MIDNIGHT_US = THURSDAY * DAY_US - 8 * HOUR_US
PRICE = 600_000_000
MXF: dict[str, Any] = {"account": OTHER, "symbol": "MXFF6", "book": "derivative", "multiplier": 50}


def row(quantity: int, version: int, strategy_id: str = NET, **more: Any) -> PositionState:
    return position(quantity, version, strategy_id, **{"trading_date": FRIDAY, **more})


def shown(view: PositionView, strategy_id: str = NET, account: str = ACCOUNT, symbol: str = "2330", book: str = "cash") -> Position:
    found = view.position(account, symbol, book, strategy_id)
    assert found is not None
    return found


def at(monkeypatch: pytest.MonkeyPatch, moment_us: int) -> None:
    """Let views take this moment for now."""
    monkeypatch.setattr(view_module, "current_day", partial(current_day, wall_us=lambda: moment_us))


# --- what it is --------------------------------------------------------------------------------------------------------------------------


def test_it_is_what_realized_and_unrealized_have_gained_together_and_exact() -> None:
    world = ClientWorld()
    # 3 000 at 1.8 million and a millionth; a third of them is sold at 620 the next day.
    world.close("2026-05-21D", THURSDAY, [row(3000, 4, open_cost=1_800_000_000_001, realized_pnl=17)], {"2330": 610_000_000})
    world.position(row(2000, 5, open_cost=1_200_000_000_001, realized_pnl=20_000_000_017, realized_pnl_day=20_000_000_000))
    world.mark("2330", 625_000_000)
    held = shown(Moved(world).view)

    assert held.day_pnl == 1000 * 10_000_000 + 2000 * 15_000_000
    assert held.unrealized is not None
    assert held.day_pnl == held.realized + held.unrealized - 17 - (3000 * 610_000_000 - 1_800_000_000_001)
    close = held.last_close
    assert close is not None
    assert (close.session_id, close.quantity, close.realized, close.mark_price, close.mark_ts) == (
        "2026-05-21D", 3000, 17, 610_000_000, 7
    )  # fmt: skip


def test_a_row_that_nobody_traded_gains_what_its_price_does() -> None:
    world = ClientWorld()
    state = row(-2, 1, **MXF, open_cost=-2_000_000_000_000)
    world.close("2026-05-21D", THURSDAY, [state], {"MXFF6": 20_000_000_000})
    world.position(state)
    world.mark("MXFF6", 20_010_000_000, market="F")
    held = shown(Moved(world).view, account=OTHER, symbol="MXFF6", book="derivative")
    assert held.realized_day == 0
    assert held.day_pnl == -2 * 50 * 10_000_000


def test_what_was_flat_at_the_close_or_was_not_there_needs_no_mark_of_it() -> None:
    world = ClientWorld()
    world.close("2026-05-21D", THURSDAY, [row(0, 6, realized_pnl=40)])
    world.position(row(1000, 7, realized_pnl=40))
    world.position(row(1000, 1, symbol="2317", realized_pnl=3))
    world.mark("2330", PRICE + 5)
    world.mark("2317", PRICE + 7)
    view = Moved(world).view
    assert shown(view).day_pnl == 5_000
    new = shown(view, symbol="2317")
    assert new.day_pnl == 7_003
    assert new.last_close is not None
    assert (new.last_close.quantity, new.last_close.unrealized, new.last_close.mark_ts) == (0, 0, None)


def test_what_was_closed_since_needs_no_mark_now() -> None:
    world = ClientWorld()
    world.close("2026-05-21D", THURSDAY, [row(1000, 1)], {"2330": PRICE + 10_000_000})
    world.position(row(0, 2, open_cost=0, realized_pnl=12_000_000_000))
    assert shown(Moved(world).view).day_pnl == 2_000_000_000


def test_a_mark_that_is_missing_now_or_then_leaves_it_unknown() -> None:
    world = ClientWorld()
    world.close("2026-05-21D", THURSDAY, [row(1000, 1), row(1000, 1, symbol="2317")], {"2330": PRICE})
    world.position(row(1000, 1))
    world.position(row(1000, 1, symbol="2317"))
    world.position(row(0, 1, symbol="9999", realized_pnl=8))
    world.mark("2317", PRICE)
    moved = Moved(world)
    assert shown(moved.view).day_pnl is None
    then = shown(moved.view, symbol="2317")
    assert then.day_pnl is None
    assert then.unrealized == 0
    assert then.last_close is not None
    assert then.last_close.unrealized is None
    assert shown(moved.view, symbol="9999").day_pnl == 8
    keys = tuple(one.state.position_key for one in (shown(moved.view, symbol="2317"), shown(moved.view)))
    assert moved.view.day_pnl(ACCOUNT) == DayPnl(None, keys, "2026-05-21D")
    world.mark("2330", PRICE + 1)
    assert shown(moved.look()).day_pnl == 1_000


def test_a_corporate_action_counts_by_its_cash_and_by_price_and_quantity_of_each_moment() -> None:
    world = ClientWorld()
    world.close("2026-05-21D", THURSDAY, [row(1000, 1)], {"2330": PRICE})
    # Two for one with 500 in cash: the same cost on twice the shares.
    world.position(row(2000, 2, open_cost=1000 * PRICE, realized_pnl=500_000_000))
    world.mark("2330", PRICE // 2 + 3)
    assert shown(Moved(world).view).day_pnl == 500_000_000 + 6_000


def test_a_transfer_moves_it_between_strategies_and_leaves_net_alone() -> None:
    world = ClientWorld()
    world.close("2026-05-21D", THURSDAY, [row(1000, 1), row(1000, 1, "alpha")], {"2330": PRICE + 10})
    world.position(row(1000, 1))
    world.position(row(0, 2, "alpha"))
    world.position(row(1000, 1, "beta"))
    world.mark("2330", PRICE + 12)
    view = Moved(world).view
    assert [shown(view, name).day_pnl for name in ("alpha", "beta", NET)] == [-10_000, 12_000, 2_000]


# --- of an account -----------------------------------------------------------------------------------------------------------------------


def test_an_account_has_the_sum_of_its_net_rows() -> None:
    world = ClientWorld()
    rows = [row(1000, 1), row(1000, 1, "alpha"), row(5, 1, symbol="2317"), row(0, 1, symbol="*", book="*", quality="INCOMPLETE")]
    world.close("2026-05-21D", THURSDAY, rows, {"2330": PRICE, "2317": PRICE})
    for state in rows:
        world.position(state)
    world.position(row(3, 1, **MXF))
    world.position(row(0, 1, **{**MXF, "symbol": "*", "book": "*"}, quality="INCOMPLETE"))
    world.mark("2330", PRICE + 2)
    world.mark("2317", PRICE - 1)
    view = Moved(world).view
    assert view.day_pnl(ACCOUNT) == DayPnl(1_995, (), "2026-05-21D")
    lacking = view.day_pnl(OTHER)
    assert lacking == DayPnl(None, (row(3, 1, **MXF).position_key,), "")
    assert view.day_pnl("simulation|S|9A95|nobody") == DayPnl(None, (), "")


def test_a_row_that_was_held_at_the_close_and_is_not_here_is_missing_and_a_forgotten_flat_one_is_not() -> None:
    world = ClientWorld()
    world.close("2026-05-21D", THURSDAY, [row(1000, 1), row(0, 3, symbol="2317", realized_pnl=9)], {"2330": PRICE})
    world.position(row(0, 1, symbol="1101"))
    moved = Moved(world)
    assert moved.view.day_pnl(ACCOUNT) == DayPnl(None, (row(1000, 1).position_key,), "2026-05-21D")
    world.position(row(1000, 1))
    world.mark("2330", PRICE)
    assert moved.look().day_pnl(ACCOUNT) == DayPnl(0, (), "2026-05-21D")


def test_a_row_older_than_the_close_is_not_compared_with_it() -> None:
    world = ClientWorld()
    world.close("2026-05-21D", THURSDAY, [row(0, 6, realized_pnl=40)])
    world.position(row(0, 5, realized_pnl=0))
    moved = Moved(world)
    assert shown(moved.view).day_pnl is None
    world.position(row(0, 6, realized_pnl=40))
    assert shown(moved.look()).day_pnl == 0


# --- which close -------------------------------------------------------------------------------------------------------------------------


def test_without_a_calendar_the_newest_close_before_the_newest_date_counts() -> None:
    world = ClientWorld()
    for number, date in enumerate(range(THURSDAY - 3, FRIDAY + 1)):
        world.close(f"2026-05-{date - THURSDAY + 21}D", date, [row(0, 1, realized_pnl=number)])
    world.position(row(0, 1, realized_pnl=100))
    assert shown(Moved(world).view).day_pnl == 97
    world = ClientWorld()
    world.close("2026-05-22D", FRIDAY, [row(0, 1)])
    world.position(row(0, 1))
    held = shown(Moved(world).view)
    assert (held.day_pnl, held.last_close) == (None, None)


def test_a_close_of_the_same_date_that_comes_again_takes_the_place_of_the_first() -> None:
    world = ClientWorld()
    for realized in (1, 2):
        world.close("2026-05-20D", THURSDAY - 1, [row(0, 1)])
        world.close("2026-05-21D", THURSDAY, [row(0, 1, realized_pnl=realized)])
    world.position(row(0, 1, realized_pnl=100))
    assert shown(Moved(world).view).day_pnl == 98


def test_the_day_of_stocks_ends_at_midnight_and_monday_follows_on_friday(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ClientWorld(CALENDAR)
    moved = Moved(world)
    world.close("2026-05-21D", THURSDAY, [row(0, 1, realized_pnl=1)])
    world.position(row(0, 1, realized_pnl=100))
    at(monkeypatch, MIDNIGHT_US + DAY_US + 14 * HOUR_US)
    assert shown(moved.look()).day_pnl == 99
    world.close("2026-05-22D", FRIDAY, [row(0, 1, realized_pnl=10)])
    moved.look()
    for hours, expected in ((38, 99), (47, 99), (48, 90), (24 * 4 + 10, 90)):
        at(monkeypatch, MIDNIGHT_US + hours * HOUR_US)
        world.clock.sleep(2)
        assert shown(moved.view).day_pnl == expected, hours
    # Tuesday without a close of Monday: the one of Friday is not the last one.
    at(monkeypatch, MIDNIGHT_US + (24 * 5 + 10) * HOUR_US)
    world.clock.sleep(2)
    assert shown(moved.view).last_close is None
    assert moved.view.day_pnl(ACCOUNT) == DayPnl(None, (row(0, 1).position_key,), "")


def test_the_night_of_futures_belongs_to_the_next_date_and_its_own_close_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ClientWorld(CALENDAR)
    moved = Moved(world)

    def pnl(hours: float) -> int | None:
        at(monkeypatch, MIDNIGHT_US + round(hours * HOUR_US))
        world.clock.sleep(2)
        return shown(moved.look(), account=OTHER, symbol="MXFF6", book="derivative").day_pnl

    def closed(session_id: str, date: int, realized: int) -> None:
        world.close(session_id, date, [row(0, 1, **MXF, realized_pnl=realized)])

    world.position(row(0, 1, **MXF, realized_pnl=1000))
    closed("2026-05-20D", THURSDAY - 1, 1)
    closed("2026-05-20N", THURSDAY, 2)
    assert pnl(10) == 999
    closed("2026-05-21D", THURSDAY, 10)
    assert pnl(14) == 999
    assert pnl(15) == 990
    assert pnl(28) == 990
    closed("2026-05-21N", FRIDAY, 20)
    assert pnl(30) == 990
    assert pnl(24 + 13.9) == 990
    # The bridge was away at the day's end, so only the night after it was closed: from where Friday ended is not known.
    closed("2026-05-22N", MONDAY, 30)
    assert pnl(24 + 15) is None
    assert pnl(24 * 4 + 10) is None


def test_the_date_before_is_the_last_one_with_trading() -> None:
    assert CALENDAR.previous_trading_day(MONDAY, "S") == FRIDAY
    assert CALENDAR.previous_trading_day(MONDAY - 1, "F") == FRIDAY
    with pytest.raises(AssertionError, match="the calendar is wrong"):
        type(CALENDAR)({"S": frozenset(range(MONDAY))}, {}, 0, MONDAY).previous_trading_day(MONDAY, "S")


# --- how it is read ----------------------------------------------------------------------------------------------------------------------


def test_a_view_that_starts_later_shows_the_same() -> None:
    world = ClientWorld()
    moved = Moved(world)
    rows = [row(1000 + number, 2, symbol=str(number)) for number in range(5)]
    world.close("2026-05-20D", THURSDAY - 1, [row(1, 1)])
    world.close("2026-05-21D", THURSDAY, rows, {str(number): PRICE for number in range(5)}, parts=3)
    for state in rows:
        world.position(state)
        world.mark(state.symbol, PRICE + 1)
    live, late = moved.look(), Moved(world).view
    assert live.positions() == late.positions()
    assert live.day_pnl(ACCOUNT) == late.day_pnl(ACCOUNT) == DayPnl(sum(state.quantity for state in rows), (), "2026-05-21D")


def test_a_close_counts_only_when_all_its_parts_are_here() -> None:
    world = ClientWorld()
    moved = Moved(world)
    rows = [row(0, 1, symbol=str(number), realized_pnl=1) for number in range(4)]
    for state in rows:
        world.position(state)
    other = "simulation|S|9A95|7654321"
    beside = [row(0, 1, account=other, symbol=str(number)) for number in range(2)]
    first, second, third = world.parts("2026-05-21D", THURSDAY, rows, parts=3)
    left, right = world.parts("2026-05-21D", THURSDAY, beside, parts=2)
    place = world.account_partition()

    def put(*parts: PositionSnapshot) -> tuple[str, int | None]:
        for part in parts:
            world.put("checkpoints", part.account, part, place)
        found = moved.look().day_pnl(ACCOUNT)
        return found.session_id, found.amount

    assert put(second, third) == ("", None)
    assert put(first, third) == ("", None)
    assert put(first, second) == ("", None)
    assert put(first, left, second, right, third) == ("2026-05-21D", 0)
    assert put(third) == ("2026-05-21D", 0)
    # The end of one close never follows on the beginning of another.
    assert put(world.parts("2026-05-20D", THURSDAY - 1, rows, parts=2)[0], world.parts("2026-05-21D", THURSDAY, rows, parts=2)[1]) == (
        "2026-05-21D",
        0,
    )
    assert not moved.view._intakes[1]._closes._arriving


def test_an_account_keeps_two_closes_and_their_bytes_only_until_they_are_read() -> None:
    world = ClientWorld()
    for date in range(THURSDAY - 9, FRIDAY + 1):
        world.close(f"{date}D", date, [row(0, 1)], parts=2)
        world.close(f"{date}N", date, [row(0, 1)])
    world.position(row(0, 1))
    moved = Moved(world)
    closes = moved.view._intakes[1]._closes
    assert [one.trading_date for one in closes._kept[ACCOUNT]] == [THURSDAY, FRIDAY]
    assert all(isinstance(one.content, tuple) for one in closes._kept[ACCOUNT])
    first = shown(moved.view).last_close
    assert first is not None
    assert [isinstance(one.content, tuple) for one in closes._kept[ACCOUNT]] == [False, True]
    assert shown(moved.view).last_close is first


def test_a_view_is_ready_without_its_closes() -> None:
    world = ClientWorld()
    world.position(row(0, 1))
    producer = world.cluster.transactional_producer("ledger")
    producer.init(1)
    producer.begin()
    (part,) = world.parts("2026-05-21D", THURSDAY, [row(0, 1)])
    producer.produce(world.link.topic("checkpoints"), world.account_partition(), ACCOUNT.encode(), world._encoders[PositionSnapshot](part))
    moved = Moved(world)
    assert moved.view.ready
    assert shown(moved.view).day_pnl is None
    producer.commit(1)
    assert shown(moved.look()).day_pnl == 0


def test_a_start_looks_back_so_far_and_no_further() -> None:
    world = ClientWorld(closes_within_s=1_209_600.0)
    # The twin's clock is decades behind, so what is there is too old.
    world.close("2026-05-21D", THURSDAY, [row(0, 1)])
    world.position(row(0, 1))
    moved = Moved(world)
    assert shown(moved.view).day_pnl is None
    world.close("2026-05-21D", THURSDAY, [row(0, 1)])
    assert shown(moved.look()).day_pnl == 0


def test_a_close_that_cannot_be_read_leaves_the_account_fresh_and_the_result_unknown() -> None:
    world = ClientWorld()
    world.position(row(0, 1))
    moved = Moved(world)
    moved.live()
    for wrong in (b"", b"no record", header(77) + b"abc"):
        world.put("checkpoints", ACCOUNT, wrong)
    assert moved.look().unreadable == 3
    (part,) = world.parts("2026-05-21D", THURSDAY, [row(0, 1)])
    world.put("checkpoints", ACCOUNT, world._encoders[PositionSnapshot](part)[:-40])
    assert shown(moved.look()).day_pnl is None
    assert moved.view.freshness(ACCOUNT).fresh
    world.close("2026-05-21D", THURSDAY, [row(0, 1)])
    assert shown(moved.look()).day_pnl == 0


# --- the command -------------------------------------------------------------------------------------------------------------------------


def test_the_command_shows_what_a_view_does() -> None:
    world = ClientWorld()
    before = [row(1000, 1), row(2000, 1, symbol="2317", account="production|S|9A95|1234567")]
    for state in before:
        world.close("2026-05-21D", THURSDAY, [state], {"2330": PRICE}, mark_ts=1_779_341_400_000_000)
        world.position(state)
    world.mark("2330", PRICE + 2_000_000)
    world.put("marks", "simulation|S|2317", b"no record")
    world.put("checkpoints", ACCOUNT, b"no record")
    standing = Standing(world.link)
    standing.refresh()
    net = {state.position_key for state in before}
    found = list(standing.positions(lambda state: state.position_key in net))
    assert [one.state for one in found] == [before[1], before[0]]
    assert found[1] == shown(Moved(world).view)
    lacking, plain = (command._plain(one) for one in found)
    assert (plain["day_pnl"], plain["close_session"], plain["close_mark_ts"]) == (
        "2000", "2026-05-21D", "2026-05-21T05:30:00.000000+00:00"
    )  # fmt: skip
    assert (lacking["day_pnl"], lacking["close_session"], lacking["close_mark_ts"]) == (None, "2026-05-21D", None)
    shape = command._table(found, "Positions")
    assert [[str(cell) for cell in column.cells] for column in shape.columns if column.header == "day"] == [["-", "2000"]]

    world.put("positions", before[0].position_key, None, world.account_partition())
    standing.refresh()
    assert [one.state for one in standing.positions(lambda _: True)] == [before[1]]
    standing.close()


def test_the_command_leaves_out_closes_that_are_too_old() -> None:
    world = ClientWorld(closes_within_s=1_209_600.0)
    world.close("2026-05-21D", THURSDAY, [row(0, 1)])
    world.position(row(0, 1))
    standing = Standing(world.link)
    standing.refresh()
    (found,) = standing.positions(lambda _: True)
    assert found.last_close is None
    world.close("2026-05-21D", THURSDAY, [row(0, 1)])
    standing.refresh()
    (found,) = standing.positions(lambda _: True)
    assert found.day_pnl == 0
    standing.close()
