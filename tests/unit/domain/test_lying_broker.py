"""A broker that lies: no correction comes of it, and after the bounded tries a difference stands open, trading stops when limits say so.

Each world is clean first, and a gap would explain whatever is missing: nothing but the rules of comparing keeps a lie from being booked.
"""

from collections.abc import Callable

import msgspec
import pytest

from execpos.domain.events import BrokerPositionRow
from execpos.domain.reconciliation import reconcile
from reconcile_world import FUTURES, STOCK, World, row

Rows = list[BrokerPositionRow]

# Small, so that a day of them is a few seconds of test.
RESOLVE_S = 120
HOLDINGS = {"1301": 700, "2317": 2000, "2330": 1000, "2454": -1500}


def world(account: str = STOCK, holdings: dict[str, int] | None = None) -> World:
    """Return a clean world that is ACTIVE."""
    rules = World(account).rules
    made = World(account, mind=reconcile, rules=msgspec.structs.replace(rules, resolve_within_us=RESOLVE_S * 1_000_000))
    for symbol, quantity in (HOLDINGS if holdings is None else holdings).items():
        made.done(quantity, 100.0, symbol)
    # Long past: none of these fills can be what a list is late by.
    made.now_us += 1_200_000_000
    made.start()
    made.run(6)
    assert [one.verdict for one in made.rounds] == ["EQUAL"]
    assert made.controls[account].state == "ACTIVE"
    return made


def halves(rows: Rows) -> Rows:
    return rows[: len(rows) // 2]


def nothing(rows: Rows) -> Rows:
    del rows
    return []


def in_lots(rows: Rows) -> Rows:
    return [msgspec.structs.replace(one, quantity=int(one.quantity / 1000)) for one in rows]


def taken_as_lots(rows: Rows) -> Rows:
    return [msgspec.structs.replace(one, quantity=one.quantity * 1000) for one in rows]


def twice(rows: Rows) -> Rows:
    return [one for one in rows for _ in range(2)]


def strange_shelf(rows: Rows) -> Rows:
    return [msgspec.structs.replace(one, order_cond="Gift") for one in rows]


def zeros(rows: Rows) -> Rows:
    return [msgspec.structs.replace(one, quantity=0) for one in rows]


LIES: dict[str, Callable[[Rows], Rows]] = {
    "empty": nothing,
    "half a list": halves,
    "lots": in_lots,
    "shares taken as lots": taken_as_lots,
    "each row twice": twice,
    "an unknown shelf": strange_shelf,
    "quantities of 0": zeros,
}


def right(of: World) -> None:
    """Hold the ledger's book against the trades."""
    for symbol in HOLDINGS:
        assert of.net(symbol) == of.truth(symbol)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_about_positions_is_never_booked_and_stands_open_until_it_halts(lie: str) -> None:
    of = world()
    of.lie = LIES[lie]
    of.gaps += 1

    of.run(100)

    assert of.corrections == []
    right(of)
    standing = [one for one in of.discrepancies.values() if one.status == "OPEN"]
    assert {one.kind for one in standing} <= {"MISSING_ROW", "UNKNOWN_ROW", "QUANTITY"}
    assert standing
    assert of.rounds[-1].verdict == "DIFFERENT"

    of.run(RESOLVE_S + 60)

    assert of.corrections == []
    assert any(one.state == "HALTED" and one.latched for one in of.controls.values())
    assert {one.status for one in of.discrepancies.values()} == {"EXPIRED"}
    assert len(of.asked) < 120


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_that_ends_in_time_is_explained(lie: str) -> None:
    of = world()
    of.lie = LIES[lie]
    of.gaps += 1
    of.run(60)
    of.lie = list

    of.run(90)

    assert of.corrections == []
    right(of)
    assert {one.status for one in of.discrepancies.values()} == {"EXPLAINED"}
    assert of.rounds[-1].verdict == "EQUAL"


def test_answers_that_fail_say_nothing_and_halt_at_their_limit() -> None:
    of = world()
    of.outcome = "FAILED"
    of.gaps += 1

    of.run(600)

    assert of.corrections == []
    assert {one.kind for one in of.discrepancies.values()} <= {"UNREADABLE"}
    assert {one.verdict for one in of.rounds[1:]} == {"UNREADABLE"}
    assert of.controls[STOCK].state == "HALTED"


def test_a_list_that_is_late_by_one_fill_is_waited_for() -> None:
    of = world()
    late = of.trade(500, 100.0, "2330")
    of.call(late)
    of.gaps += 1

    of.run(100)

    assert of.corrections == []
    right(of)
    assert {one.cause for one in of.discrepancies.values()} <= {"BROKER_LAG"}

    of.enlist(late)
    of.run(90)

    assert of.corrections == []
    assert of.rounds[-1].verdict == "EQUAL"
    assert {one.status for one in of.discrepancies.values()} <= {"EXPLAINED"}


def test_two_rows_of_one_symbol_are_one_position() -> None:
    def split(rows: Rows) -> Rows:
        return [part for one in rows for part in (msgspec.structs.replace(one, quantity=one.quantity - 100), row(one.symbol, 100))]

    of = world()
    of.lie = split
    of.gaps += 1

    of.run(90)

    assert of.corrections == []
    assert of.rounds[-1].verdict == "EQUAL"
    assert of.discrepancies == {}


@pytest.mark.parametrize("known", [False, True])
def test_orders_of_yesterday_are_no_witness_of_a_missing_row(*, known: bool) -> None:
    """Sales of everything, under ids that were never seen, or that come again today for other orders."""
    of = world()
    sold = [of.order_row(trade._replace(quantity=-trade.quantity), seqno=f"y{trade.number}") for trade in of.trades]
    of.orders = sold if known else [msgspec.structs.replace(one, order_id=f"y{one.order_id}") for one in sold]
    of.lie = nothing
    of.gaps += 1

    of.run(100)

    assert of.corrections == []
    right(of)
    assert {one.kind for one in of.discrepancies.values()} <= {"MISSING_ROW", "ORDER"}
    assert of.rounds[-1].verdict == "DIFFERENT"


def test_an_expired_contract_that_is_gone_is_named_so_and_not_settled_without_a_price() -> None:
    # The contract of May ended the day before.
    of = world(FUTURES, {"TXFE6": 1})
    of.lie = nothing
    of.gaps += 1

    of.run(100)

    assert of.corrections == []
    assert of.net("TXFE6", "derivative") == 1
    (found,) = of.discrepancies.values()
    assert (found.kind, found.cause, found.status) == ("MISSING_ROW", "EXPIRED_CONTRACT", "OPEN")


def test_a_true_fill_that_was_lost_is_still_found_beside_the_lies() -> None:
    """The rules that keep lies out do not keep the truth out: an unrecorded fill, which a gap explains, is corrected once."""
    of = world()
    of.lost(300, 100.0, "2330")
    of.gaps += 1

    of.run(60)

    right(of)
    assert [one.quantity for one in of.corrections] == [300]
    assert of.rounds[-1].verdict == "EQUAL"
