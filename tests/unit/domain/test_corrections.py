"""Each kind of correction by itself: what it does to rows, what it leaves alone, and when it is refused."""

from typing import Any

import msgspec
import pytest

from corrections import DAY_US, HALF_DAY_US, MICROS, STOCK, correction
from execpos import settings
from execpos.domain.book import Position
from execpos.domain.events import CorrectionOutcome, PositionDelta
from execpos.domain.positions import CostMethod
from execpos.domain.rules import Rules
from scenarios import Plan, Record, deal, fill_id, intent
from state import Harness, assert_same

BASE = settings.load(None).rules()
ODD = Plan(1, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "", "Buy")
ALPHA = Plan(2, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "alpha", "Buy")
NEXT = Plan(3, "S", "2890", "2890", "Cash", "IntradayOdd", 2, "", "Buy")

AVERAGE: dict[str, CostMethod] = {}
FIFO: dict[str, CostMethod] = {"cash": "fifo"}


def rules(methods: dict[str, CostMethod] = AVERAGE, **changes: Any) -> Rules:
    return msgspec.structs.replace(BASE, cost_methods=methods, **changes)


def run(*records: Record, methods: dict[str, CostMethod] = AVERAGE) -> Harness:
    return Harness(rules(methods)).run(records)


def buy(seq: int, quantity: int, price: float, plan: Plan = ODD) -> Record:
    return deal(plan, seq, "Buy", quantity, price, "")


def sell(seq: int, quantity: int, price: float, plan: Plan = ODD) -> Record:
    return deal(plan, seq, "Sell", quantity, price, "")


def position(harness: Harness, strategy_id: str = "UNASSIGNED", symbol: str = "2890", book: str = "cash") -> Position:
    return harness.rows()[STOCK, symbol, book, strategy_id]


def amounts(harness: Harness, strategy_id: str = "UNASSIGNED", symbol: str = "2890", book: str = "cash") -> tuple[int, float, float]:
    """Quantity, open cost and realized profit of a row, money in TWD."""
    row = position(harness, strategy_id, symbol, book).row
    return row.quantity, row.open_cost / MICROS, row.realized / MICROS


def answer(harness: Harness) -> CorrectionOutcome:
    return harness.committed.outcomes[-1]


def delta(harness: Harness) -> PositionDelta:
    return harness.committed.deltas[-1]


def rows(harness: Harness) -> Any:
    return {key: found["rows"] for key, found in harness.dump().items()}


# --- one answer for each ------------------------------------------------------------------------------------------------------------------


def test_one_made_against_another_version_is_rejected_with_the_version_found_and_touches_nothing() -> None:
    harness = run(buy(1, 3, 10.0), buy(2, 1, 12.0))
    before = rows(harness)

    harness.run([correction("c1", "ADJUST", quantity=1, price=MICROS, expected_net_version=1)])

    assert (answer(harness).outcome, answer(harness).reason) == ("REJECTED", "stale_version")
    assert (answer(harness).net_version_found, answer(harness).net_version_after) == (2, 2)
    assert_same(rows(harness), before)
    harness.run([correction("c2", "ADJUST", quantity=1, price=MICROS, expected_net_version=2)])
    assert (answer(harness).outcome, answer(harness).net_version_found, answer(harness).net_version_after) == ("APPLIED", 2, 3)


@pytest.mark.parametrize("quantity", [1, 0])
def test_a_repeat_is_a_duplicate_whether_the_first_was_applied_or_rejected(quantity: int) -> None:
    harness = run(buy(1, 3, 10.0))
    once = correction("c1", "ADJUST", quantity=quantity, price=MICROS)
    harness.run([once])
    before = harness.dump()

    outcome = harness.feed(once)
    harness.commit()

    assert outcome is not None
    assert outcome.disposition == "duplicate"
    assert len(harness.committed.outcomes) == 1
    assert_same(harness.dump(), before)


@pytest.mark.parametrize("changes", [{"correction_id": ""}, {"correction_id": "x" * 65}, {"account": "replay|S|9A95"}, {"ts": 0}])
def test_one_that_no_outcome_could_name_goes_to_the_dead_letters(changes: dict[str, Any]) -> None:
    record = correction("c1", "ADJUST", quantity=1, price=MICROS)
    harness = Harness(rules())

    outcome = harness.feed((record[0], record[1] | changes))

    assert outcome is not None
    assert (outcome.disposition, outcome.reason) == ("dead_letter", "bad_correction")
    assert not harness.sink.outputs.outcomes


@pytest.mark.parametrize(
    ("kind", "changes", "reason"),
    [
        ("NONSENSE", {}, "bad_correction"),
        ("ADJUST", {"symbol": ""}, "bad_correction"),
        ("ADJUST", {"symbol": "2" * 33}, "bad_correction"),
        ("ADJUST", {"quantity": 10**15, "price": 10**15}, "bad_correction"),
        ("ADJUST", {"quantity": 10**19}, "bad_correction"),
        ("ADJUST", {"book": "derivative"}, "bad_correction"),
        ("ADJUST", {"symbol": "-?-", "quantity": 1, "price": 1}, "unknown_instrument"),
        ("ADJUST", {"read_began_ts": 2, "read_ended_ts": 1}, "bad_correction"),
        ("ADJUST", {"quantity": 1, "read_ended_ts": DAY_US + 3 * HALF_DAY_US}, "bad_correction"),
        ("ADJUST", {"symbol": "*", "book": "*", "quantity": 1}, "bad_correction"),
        ("ADJUST", {"quantity": 10**18, "price": 1}, "bad_correction"),
        ("SETTLEMENT", {"price": 10**18}, "bad_correction"),
        ("COST_BASIS", {"amount": 10**18 - 1}, "bad_correction"),
        ("FEES", {"fees": 10**18 - 1, "taxes": 1}, "bad_correction"),
        ("FEES", {"fill_id": f"{STOCK}|2026-05-21D|id%7C1%25|000001", "fees": 10**18 - 1}, "bad_correction"),
        ("CORPORATE_ACTION", {"numerator": 10**18 - 1, "denominator": 1}, "bad_correction"),
        ("TRANSFER", {"to_strategy_id": "beta", "quantity": 1, "amount": 10**18 - 1}, "bad_correction"),
        ("QUALITY", {"quality": "GOOD"}, "bad_correction"),
        ("QUALITY", {"quality": ""}, "bad_correction"),
        ("CORPORATE_ACTION", {"numerator": 1, "denominator": 0}, "bad_correction"),
        ("COST_BASIS", {"amount": 0}, "bad_correction"),
        ("VOID", {"fill_id": "junk"}, "bad_correction"),
        ("VOID", {"fill_id": f"{STOCK}|2026-05-21D|~c9|1"}, "unknown_fill"),
        ("FEES", {"fill_id": f"{STOCK}|2026-05-21D|other|1"}, "unknown_fill"),
        ("TRANSFER", {"quantity": 1, "strategy_id": "alpha"}, "not_held"),
        ("TRANSFER", {"quantity": 1}, "bad_correction"),
        ("SETTLEMENT", {"symbol": "2330"}, "not_held"),
        ("REPLAY", {}, "not_found"),
        ("REBUILD", {}, "rebuild_failed"),
    ],
)
def test_one_that_cannot_be_applied_is_rejected_with_its_reason_and_touches_nothing(
    kind: str, changes: dict[str, Any], reason: str
) -> None:
    harness = run(buy(1, 3, 10.0))
    before = rows(harness)

    harness.run([correction("c1", kind, **changes)])

    assert (answer(harness).outcome, answer(harness).reason) == ("REJECTED", reason)
    assert answer(harness).detail
    assert_same(rows(harness), before)
    assert_same(harness.restored().dump(), harness.dump())


def test_one_older_than_the_window_is_rejected_each_time_and_not_remembered() -> None:
    harness = Harness(rules(window_sessions=1)).run([buy(1, 1, 10.0, NEXT)])

    for number in (1, 2):
        harness.run([correction("old", "ADJUST", quantity=1, price=MICROS)])
        assert [outcome.reason for outcome in harness.committed.outcomes] == ["outside_window"] * number


# --- OPENING ------------------------------------------------------------------------------------------------------------------------------


def test_an_opening_stands_before_all_fills_and_is_no_trade_of_the_day() -> None:
    harness = run(sell(1, 40, 12.0), buy(2, 20, 9.0))
    assert amounts(harness)[0] == -20

    harness.run([correction("open", "OPENING", quantity=100, price=10 * MICROS)])

    assert amounts(harness) == amounts(harness, "*") == (80, 780.0, 80.0)
    row = position(harness).row
    assert (row.day_buy_quantity, row.day_sell_quantity) == (20, 40)
    assert answer(harness).seqs == (0,)
    assert position(harness).quality == "ESTIMATED"


@pytest.mark.parametrize("methods", [AVERAGE, FIFO])
def test_a_second_opening_or_one_on_a_key_with_a_past_is_refused(methods: dict[str, CostMethod]) -> None:
    harness = run(correction("one", "OPENING", quantity=5, price=MICROS), methods=methods)
    harness.run([correction("two", "OPENING", quantity=5, price=MICROS)])
    assert answer(harness).reason == "not_opening"

    settled = Harness(rules(methods, window_sessions=1)).run([buy(1, 1, 10.0), buy(2, 1, 10.0, NEXT)])
    settled.run([correction("late", "OPENING", quantity=5, price=MICROS, ts=DAY_US + 2 * HALF_DAY_US)])
    assert answer(settled).reason == "not_opening"


# --- ADJUST -------------------------------------------------------------------------------------------------------------------------------


def test_an_adjust_acts_on_net_and_on_unassigned_alone() -> None:
    harness = run(buy(1, 10, 10.0, ALPHA), correction("c1", "ADJUST", quantity=-4, price=11 * MICROS))

    assert amounts(harness, "alpha") == (10, 100.0, 0.0)
    assert amounts(harness) == (-4, -44.0, 0.0)
    assert amounts(harness, "*") == (6, 60.0, 4.0)
    assert (delta(harness).cause, delta(harness).quality_after, delta(harness).net_quality_after) == ("ADJUST", "ESTIMATED", "ESTIMATED")


def test_a_true_up_without_a_price_that_reduces_invents_no_profit() -> None:
    harness = run(buy(1, 2, 10.0), buy(2, 1, 10.1))

    harness.run([correction("c1", "ADJUST", quantity=-1)])

    row = position(harness).row
    assert (row.quantity, row.realized) == (2, 0)
    assert row.open_cost == 30_100_000 - 10_033_333
    assert row.basis == 0
    harness.run([correction("c2", "ADJUST", quantity=-2)])
    row = position(harness).row
    # Two at the average, 10.033334, are worth 10⁻⁶ more than what is left of the cost; that is basis.
    assert (row.quantity, row.open_cost, row.realized, row.basis) == (0, 0, 0, 1)


def test_a_true_up_without_a_price_that_adds_takes_the_average() -> None:
    harness = run(buy(1, 2, 10.0), correction("c1", "ADJUST", quantity=3))

    assert amounts(harness, "*") == (5, 50.0, 0.0)


@pytest.mark.parametrize(("records", "quantity"), [([], 5), ([buy(1, 2, 10.0)], -3)])
def test_an_adjust_that_opens_needs_a_price(records: list[Record], quantity: int) -> None:
    harness = run(*records, correction("c1", "ADJUST", quantity=quantity))

    assert answer(harness).reason == "price_needed"


def test_a_fill_that_a_late_intent_moves_leaves_an_adjust_at_cost_without_profit() -> None:
    harness = run(buy(1, 4, 10.0), buy(2, 4, 20.0, NEXT), correction("c1", "ADJUST", quantity=-4))
    assert position(harness).row.realized == 0

    harness.run([intent(NEXT, "beta")])

    assert amounts(harness) == (0, 0.0, 0.0)
    assert position(harness).row.basis == 20 * MICROS
    assert amounts(harness, "*") == (4, 60.0, 0.0)


# --- SETTLEMENT ---------------------------------------------------------------------------------------------------------------------------


def test_a_settlement_closes_every_strategy_by_its_own_quantity_at_one_price() -> None:
    harness = run(buy(1, 6, 10.0, ALPHA), sell(2, 2, 11.0))

    harness.run([correction("c1", "SETTLEMENT", price=12 * MICROS, fees=100, taxes=9, evidence={"price_source": "statement"})])

    assert amounts(harness, "alpha") == (0, 0.0, 12.0)
    assert amounts(harness) == (0, 0.0, -2.0)
    assert position(harness, "*").row.quantity == 0
    made = harness.committed.fills[-2:]
    assert [(fill.strategy_id, fill.side, fill.quantity, fill.fee_est, fill.tax_est) for fill in made] == [
        ("UNASSIGNED", "BUY", 2, 25, 2),
        ("alpha", "SELL", 6, 75, 7),
    ]
    assert {fill.quality for fill in made} == {"CONFIRMED"}


def test_an_option_may_expire_at_nothing_and_without_a_source_the_figure_is_an_estimate() -> None:
    option = Plan(9, "F", "TX127900L5", "TX1", "", "", 0, "", "Buy")
    account = "replay|F|F002000|7654321"
    harness = run(buy(1, 2, 100.0, option), correction("c1", "SETTLEMENT", "TX127900L5", "derivative", account=account))

    closed = harness.rows()[account, "TX127900L5", "derivative", "*"]
    assert (closed.row.quantity, closed.row.realized) == (0, -2 * 100 * closed.multiplier * MICROS)
    assert harness.committed.fills[-1].quality == "ESTIMATED"


# --- COST_BASIS ---------------------------------------------------------------------------------------------------------------------------


def test_a_cost_basis_changes_the_cost_of_what_is_open_and_realizes_nothing() -> None:
    harness = run(buy(1, 4, 10.0), correction("c1", "COST_BASIS", amount=-2 * MICROS))

    for strategy_id in ("UNASSIGNED", "*"):
        row = position(harness, strategy_id).row
        assert (row.quantity, row.open_cost, row.realized, row.basis) == (4, 38 * MICROS, 0, -2 * MICROS)


def test_a_cost_basis_of_the_whole_key_is_shared_by_quantity_and_over_the_lots() -> None:
    harness = run(buy(1, 1, 10.0, ALPHA), buy(2, 2, 10.0), buy(3, 3, 10.0), methods=FIFO)

    harness.run([correction("c1", "COST_BASIS", strategy_id="*", amount=60)])

    assert [position(harness, name).row.basis for name in ("alpha", "UNASSIGNED", "*")] == [10, 50, 60]
    lots = position(harness).row.lots
    assert [lot.cost - lot.quantity * 10 * MICROS for lot in lots] == [20, 30]


def test_a_cost_basis_of_a_row_that_a_late_intent_emptied_has_no_effect() -> None:
    harness = run(buy(1, 4, 10.0), buy(2, 1, 10.0, ALPHA), correction("c1", "COST_BASIS", amount=7), intent(ODD, "beta"))

    assert amounts(harness) == (0, 0.0, 0.0)
    assert position(harness).row.basis == 0


def test_the_broker_s_own_cost_clears_an_estimate_and_nothing_worse() -> None:
    opened = correction("c1", "OPENING", quantity=4, price=MICROS)
    confirmed = correction("c2", "COST_BASIS", amount=1, quality="CONFIRMED")

    assert position(run(opened, confirmed)).quality == "CONFIRMED"
    incomplete = correction("c3", "QUALITY", quality="INCOMPLETE")
    assert position(run(opened, incomplete, confirmed)).quality == "INCOMPLETE"


# --- TRANSFER -----------------------------------------------------------------------------------------------------------------------------


def test_a_transfer_between_strategies_moves_cost_and_leaves_net_alone() -> None:
    harness = run(buy(1, 4, 10.0), buy(2, 2, 13.0))
    net = position(harness, "*").version

    harness.run([correction("c1", "TRANSFER", strategy_id="UNASSIGNED", to_strategy_id="beta", quantity=4)])

    assert amounts(harness) == (2, 22.0, 0.0)
    assert amounts(harness, "beta") == (4, 44.0, 0.0)
    assert position(harness, "*").version == net
    assert [(item.strategy_id, item.quantity, item.amount) for item in answer(harness).entries] == [
        ("UNASSIGNED", -4, -44 * MICROS),
        ("beta", 4, 44 * MICROS),
    ]


def test_a_transfer_under_fifo_moves_the_oldest_lots_and_they_keep_their_fills() -> None:
    harness = run(buy(1, 2, 10.0), buy(2, 2, 20.0), methods=FIFO)

    harness.run([correction("c1", "TRANSFER", strategy_id="UNASSIGNED", to_strategy_id="beta", quantity=3)])

    assert [(lot.quantity, lot.cost, lot.fill_id) for lot in position(harness, "beta").row.lots] == [
        (2, 20 * MICROS, fill_id(ODD, 1)),
        (1, 20 * MICROS, fill_id(ODD, 2)),
    ]
    assert amounts(harness) == (1, 20.0, 0.0)


def test_a_receiver_that_was_short_realizes_against_the_giver_s_cost() -> None:
    harness = run(buy(1, 4, 10.0), sell(2, 3, 12.0, ALPHA))

    harness.run([correction("c1", "TRANSFER", strategy_id="UNASSIGNED", to_strategy_id="alpha", quantity=4)])

    assert amounts(harness, "alpha") == (1, 10.0, 6.0)
    assert amounts(harness) == (0, 0.0, 0.0)
    assert position(harness, "alpha").row.day_buy_quantity == 0


def test_what_moved_keeps_its_amount_when_the_giver_is_folded_again() -> None:
    harness = run(buy(1, 4, 10.0), buy(2, 4, 20.0, NEXT))
    harness.run([correction("c1", "TRANSFER", strategy_id="UNASSIGNED", to_strategy_id="beta", quantity=4)])
    assert amounts(harness, "beta") == (4, 60.0, 0.0)

    harness.run([("void", fill_id(NEXT, 2))])

    assert amounts(harness, "beta") == (4, 60.0, 0.0)
    assert amounts(harness) == (0, 0.0, 20.0)


def test_a_transfer_between_books_moves_net_at_net_s_own_cost() -> None:
    harness = run(buy(1, 2, 10.0, ALPHA), buy(2, 2, 20.0))

    harness.run([correction("c1", "TRANSFER", strategy_id="alpha", to_book="margin", quantity=2)])

    assert amounts(harness, "alpha") == (0, 0.0, 0.0)
    assert amounts(harness, "alpha", book="margin") == (2, 20.0, 0.0)
    assert amounts(harness, "*") == (2, 30.0, 0.0)
    assert amounts(harness, "*", book="margin") == (2, 30.0, 0.0)
    assert position(harness, "alpha", book="margin").multiplier == 1


def test_shares_leave_at_cost_and_come_in_at_the_cost_named() -> None:
    harness = run(buy(1, 4, 10.0), correction("out", "TRANSFER", strategy_id="UNASSIGNED", quantity=1))
    assert amounts(harness) == amounts(harness, "*") == (3, 30.0, 0.0)

    harness.run([correction("in", "TRANSFER", to_strategy_id="beta", quantity=2, amount=50 * MICROS)])
    assert amounts(harness, "beta") == (2, 50.0, 0.0)
    assert amounts(harness, "*") == (5, 80.0, 0.0)
    harness.run([correction("free", "TRANSFER", to_strategy_id="beta", quantity=2)])
    assert answer(harness).reason == "price_needed"


@pytest.mark.parametrize("quantity", [5, -1])
def test_nobody_gives_what_he_does_not_hold(quantity: int) -> None:
    harness = run(buy(1, 4, 10.0))

    harness.run([correction("c1", "TRANSFER", strategy_id="UNASSIGNED", to_strategy_id="beta", quantity=quantity)])

    assert answer(harness).reason == "not_held"


# --- CORPORATE_ACTION ---------------------------------------------------------------------------------------------------------------------


def test_fractions_floor_toward_zero_and_what_they_make_whole_together_is_nobody_s() -> None:
    harness = run(buy(1, 3, 10.0, ALPHA), buy(2, 3, 10.0), intent(ODD, "beta"))

    harness.run([correction("c1", "CORPORATE_ACTION", numerator=3, denominator=2)])

    assert [amounts(harness, name) for name in ("alpha", "beta", "UNASSIGNED", "*")] == [
        (4, 30.0, 0.0),
        (4, 30.0, 0.0),
        (1, 0.0, 0.0),
        (9, 60.0, 0.0),
    ]


def test_lots_scale_one_by_one_and_keep_their_cost() -> None:
    harness = run(buy(1, 1, 10.0), buy(2, 2, 20.0), correction("c1", "CORPORATE_ACTION", numerator=1, denominator=2), methods=FIFO)

    # One and a half becomes one: the first lot becomes nothing, and its cost goes on in the next.
    assert [(lot.quantity, lot.cost) for lot in position(harness).row.lots] == [(1, 50 * MICROS)]


def test_cash_in_lieu_is_realized_where_the_fractions_were() -> None:
    harness = run(buy(1, 3, 10.0, ALPHA), buy(2, 2, 10.0))

    harness.run([correction("c1", "CORPORATE_ACTION", numerator=1, denominator=2, amount=4 * MICROS)])

    assert amounts(harness, "alpha") == (1, 30.0, 4.0)
    assert amounts(harness) == (1, 20.0, 0.0)
    assert amounts(harness, "*") == (2, 50.0, 4.0)


def test_what_a_reverse_split_leaves_nothing_of_is_lost() -> None:
    harness = run(buy(1, 3, 10.0), correction("c1", "CORPORATE_ACTION", numerator=1, denominator=10, amount=5 * MICROS))

    assert amounts(harness) == amounts(harness, "*") == (0, 0.0, -25.0)


def test_under_a_new_name_what_is_open_moves_and_what_was_earned_stays() -> None:
    harness = run(buy(1, 4, 10.0), sell(2, 2, 11.0))

    harness.run([correction("c1", "CORPORATE_ACTION", numerator=2, denominator=1, to_symbol="2891")])

    assert amounts(harness) == amounts(harness, "*") == (0, 0.0, 2.0)
    assert amounts(harness, symbol="2891") == amounts(harness, "*", symbol="2891") == (4, 20.0, 0.0)
    again = correction("c2", "CORPORATE_ACTION", "2891", numerator=1, denominator=1, to_symbol="2892")
    harness.run([buy(3, 1, 9.0, Plan(4, "S", "2892", "2892", "Cash", "IntradayOdd", 0, "", "Buy")), again])
    assert answer(harness).reason == "target_held"


def test_after_a_corporate_action_no_earlier_fill_moves_or_is_voided_and_later_ones_do() -> None:
    split = correction("c1", "CORPORATE_ACTION", numerator=2, denominator=1)
    harness = run(buy(1, 3, 10.0), split, buy(2, 1, 5.0, NEXT))
    before = rows(harness)

    moved = harness.feed(intent(ODD, "beta"))
    voided = harness.feed(("void", fill_id(ODD, 1)))
    harness.run([correction("c2", "VOID", fill_id=fill_id(ODD, 1))])

    assert moved is not None
    assert voided is not None
    assert [(outcome.disposition, outcome.reason) for outcome in (moved, voided)] == [("parked", "settled")] * 2
    assert answer(harness).reason == "settled"
    assert_same(rows(harness), before)
    assert_same(harness.restored().dump(), harness.dump())
    harness.run([intent(NEXT, "beta"), ("void", fill_id(NEXT, 2))])
    assert (amounts(harness), amounts(harness, "beta")) == ((6, 30.0, 0.0), (0, 0.0, 0.0))


@pytest.mark.parametrize("owner", ["", "beta"])
def test_a_voided_fill_that_comes_late_stays_with_its_settled_order_live_and_restored(owner: str) -> None:
    first, whose = ([intent(ODD, owner)], owner) if owner else ([], "UNASSIGNED")
    split = correction("c1", "CORPORATE_ACTION", numerator=2, denominator=1)
    harness = run(("void", fill_id(ODD, 1)), *first, buy(2, 3, 10.0), split, intent(ODD, "alpha"), buy(1, 1, 10.0))

    assert [(fill.voided, fill.strategy_id) for fill in harness.committed.fills[-2:]] == [(False, whose), (True, whose)]
    assert [order.strategy_id for order in harness.pipeline.account(STOCK).orders.values()] == [whose]
    assert_same(harness.restored().dump(), harness.dump())


# --- FEES ---------------------------------------------------------------------------------------------------------------------------------


def test_the_charges_of_a_fill_become_the_broker_s_and_the_row_is_confirmed_once_all_are() -> None:
    harness = run(buy(1, 3, 10.0), buy(2, 3, 10.0))
    others = position(harness).row.fees - harness.committed.fills[0].fee_est

    harness.run([correction("c1", "FEES", fill_id=fill_id(ODD, 1), fees=5 * MICROS, taxes=7, quality="CONFIRMED")])

    revision = harness.committed.fills[-1]
    assert (revision.revision, revision.cause, revision.fee_est, revision.tax_est) == (2, "FEES", 5 * MICROS, 7)
    assert (delta(harness).cause, delta(harness).d_taxes, delta(harness).d_realized) == ("FEES", 7, 0)
    assert position(harness).row.fees == position(harness, "*").row.fees == others + 5 * MICROS
    assert position(harness).fee_quality == "ESTIMATED"
    harness.run([correction("c2", "FEES", fill_id=fill_id(ODD, 2), fees=1, taxes=0, quality="CONFIRMED")])
    assert position(harness).fee_quality == position(harness, "*").fee_quality == "CONFIRMED"
    harness.run([buy(3, 1, 10.0)])
    assert position(harness).fee_quality == "ESTIMATED"


def test_settled_fills_take_charges_too() -> None:
    harness = run(buy(1, 3, 10.0), correction("c1", "CORPORATE_ACTION", numerator=2, denominator=1))

    harness.run([correction("c2", "FEES", fill_id=fill_id(ODD, 1), fees=9, taxes=1)])

    assert (position(harness).row.fees, position(harness).row.taxes) == (9, 1)
    assert_same(harness.restored().dump(), harness.dump())


def test_the_charges_of_a_row_change_by_what_is_named() -> None:
    harness = run(buy(1, 3, 10.0))
    fees = position(harness).row.fees

    harness.run([correction("c1", "FEES", fees=-3, taxes=2, quality="CONFIRMED")])

    assert (position(harness).row.fees, position(harness).row.taxes) == (fees - 3, 2)
    assert position(harness).fee_quality == position(harness, "*").fee_quality == "CONFIRMED"


# --- QUALITY ------------------------------------------------------------------------------------------------------------------------------


def test_quality_is_set_for_better_and_net_is_as_bad_as_the_worst_row() -> None:
    blocked = correction("c1", "QUALITY", strategy_id="*", quality="BLOCKED")
    harness = run(buy(1, 1, 10.0), buy(2, 1, 10.0, ALPHA), blocked, buy(3, 1, 10.0))
    assert harness.outcomes[-1].reason == "key_blocked"

    harness.run([correction("c2", "QUALITY", quality="CONFIRMED")])
    assert [position(harness, name).quality for name in ("UNASSIGNED", "alpha", "*")] == ["CONFIRMED", "BLOCKED", "BLOCKED"]
    harness.run([correction("c3", "QUALITY", strategy_id="*", quality="CONFIRMED"), buy(4, 1, 10.0)])
    assert [position(harness, name).quality for name in ("UNASSIGNED", "alpha", "*")] == ["CONFIRMED"] * 3
    assert position(harness).row.quantity == 2


def test_the_mark_of_a_whole_account_is_cleared_by_its_own_key() -> None:
    harness = Harness(rules()).run([("callback", "SDEAL", {"account_id": "1234567", "broker_id": "9A95"})])
    marked = (STOCK, "*", "*", "*")
    assert harness.rows()[marked].quality == "INCOMPLETE"

    harness.run([correction("c1", "QUALITY", "*", "*", strategy_id="*", quality="CONFIRMED")])

    assert harness.rows()[marked].quality == "CONFIRMED"
    harness.run([correction("c2", "QUALITY", "*", "*", strategy_id="*", quality="CONFIRMED")])
    assert answer(harness).reason == "no_effect"


# --- VOID and requests --------------------------------------------------------------------------------------------------------------------


def test_a_void_takes_a_fill_out_and_a_synthetic_one_too() -> None:
    harness = run(buy(1, 3, 10.0), correction("c1", "ADJUST", quantity=2, price=MICROS))

    harness.run([correction("c2", "VOID", fill_id=fill_id(ODD, 1))])
    assert amounts(harness) == (2, 2.0, 0.0)
    harness.run([correction("c3", "VOID", fill_id=f"{STOCK}|2026-05-21D|~c1|1")])
    assert amounts(harness) == (0, 0.0, 0.0)
    harness.run([correction("c4", "VOID", fill_id=fill_id(ODD, 1))])
    assert answer(harness).reason == "no_effect"


def test_a_void_may_come_before_its_fill() -> None:
    harness = run(correction("c1", "VOID", fill_id=fill_id(ODD, 1)), buy(1, 3, 10.0))

    assert answer(harness).outcome == "APPLIED"
    assert not any(row.row.quantity for row in harness.rows().values())


def test_a_request_stands_until_the_transaction_ends_and_a_rollback_takes_it_back() -> None:
    harness = Harness(rules())
    pipeline = harness.pipeline

    harness.feed(correction("c1", "SNAPSHOT", "", ""))
    assert [request.correction_id for request, _ in pipeline.requests] == ["c1"]
    harness.rollback()
    assert pipeline.requests == []
    harness.feed(correction("c1", "SNAPSHOT", "", ""))
    harness.commit()
    assert pipeline.requests == []
    assert answer(harness).outcome == "APPLIED"


def test_the_day_of_a_row_moves_back_only_when_the_one_fill_of_a_newer_day_is_voided() -> None:
    harness = run(buy(1, 3, 10.0), sell(2, 1, 11.0), buy(3, 1, 10.0, NEXT))
    newest = position(harness).row.trading_date
    assert position(harness).row.realized_day == 0

    harness.run([("void", fill_id(NEXT, 3))])

    assert position(harness).row.trading_date == newest - 1
    assert position(harness).row.realized_day == MICROS


def test_net_is_confirmed_only_with_the_last_of_its_rows() -> None:
    harness = run(correction("c1", "OPENING", quantity=4, price=MICROS), buy(1, 1, 10.0, ALPHA))
    harness.run([correction("c2", "QUALITY", strategy_id="alpha", quality="ESTIMATED")])

    harness.run([correction("c3", "COST_BASIS", amount=1, quality="CONFIRMED")])
    assert [position(harness, name).quality for name in ("UNASSIGNED", "alpha", "*")] == ["CONFIRMED", "ESTIMATED", "ESTIMATED"]
    harness.run([correction("c4", "COST_BASIS", strategy_id="alpha", amount=1, quality="CONFIRMED")])
    assert position(harness, "*").quality == "CONFIRMED"


def test_a_row_that_was_asked_for_and_never_published_is_no_row() -> None:
    harness = run(correction("c1", "ADJUST", quantity=1))
    assert answer(harness).reason == "price_needed"

    for record in (correction("c2", "QUALITY", strategy_id="*", quality="BLOCKED"), correction("c3", "FEES", fees=1)):
        harness.run([record])
        assert answer(harness).reason == "not_held"


def test_what_a_restart_found_past_the_retention_stands_and_cannot_be_booked_again_moved_or_voided() -> None:
    live = run(buy(1, 3, 10.0), buy(2, 1, 12.0, ALPHA))
    live.committed.fills.clear()
    live.committed.orders.clear()
    again = live.restored()

    again.run([buy(1, 3, 10.0), intent(ODD, "beta"), ("void", fill_id(ODD, 1))])
    late = [outcome.reason for outcome in again.outcomes]
    assert late == ["outside_window"]
    assert again.feed(("void", fill_id(ODD, 1))) == again.feed(("void", fill_id(ALPHA, 2)))
    assert (amounts(again), amounts(again, "alpha")) == ((3, 30.0, 0.0), (1, 12.0, 0.0))

    later = DAY_US + 60 * HALF_DAY_US
    again.run([correction("c1", "ADJUST", quantity=-3, ts=later), buy(3, 1, 10.0, NEXT)])
    assert answer(again).outcome == "APPLIED"
    assert amounts(again) == (1, 10.0, 0.0)
