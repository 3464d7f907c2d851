"""What is proposed brings the book to the broker's and invents no profit; what is done without an operator stays within every limit."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrections import MICROS, STOCK
from execpos import settings
from execpos.domain.correction_rules import CORRECTION_ID_CHARS_MAX
from execpos.domain.events import FillEvent
from execpos.domain.positions import average_price
from execpos.domain.reconciliation import repair
from execpos.domain.reconciliation.comparison import Finding
from execpos.domain.reconciliation.repair import Allowed, AutoLimits, Coverage, Gap, Proposal, Settlement, Spent, TypeLimit, spend
from repair_world import (
    BEGAN,
    ENDED,
    MARGIN,
    NOW,
    ODD,
    READ,
    TODAY,
    book,
    difference,
    filled,
    finding,
    held,
    ledger,
    micros,
    net,
    net_row,
    proposed,
    record,
    traded,
)
from state import Harness, assert_same

GAP = Coverage((Gap(BEGAN - MICROS, BEGAN, "reconnect"),))
LIMITS = AutoLimits(True, {"STK": TypeLimit(2_000, micros(500_000))}, 3, micros(5_000_000))

# --- after it the book is the broker's, and nobody has earned anything -----------------------------------------------------------------

_ADJUSTED = [
    # held, the broker's, price of the booking (None: at cost)
    ((), (5, 20.0), 20.0),
    ((), (-5, 20.0), 20.0),
    (((10, 10.0),), (15, 12.0), 16.0),
    (((10, 10.0),), (4, 10.0), None),
    (((10, 10.0),), (4, 9.0), None),
    (((10, 10.0),), (0, 0.0), None),
    (((-10, 10.0),), (-15, 12.0), 16.0),
    (((-10, 10.0),), (-4, 9.0), None),
    (((10, 10.0),), (-4, 9.0), 9.0),
    (((-10, 10.0),), (4, 9.0), 9.0),
    # The price that would make the averages agree is below zero.
    (((10, 10.0),), (11, 8.0), 8.0),
]


@pytest.mark.parametrize("plan", ["cash", "margin"])
@pytest.mark.parametrize(("fills", "broker", "price"), _ADJUSTED)
def test_an_adjust_brings_the_quantity_to_the_brokers_and_earns_nothing(
    fills: tuple[tuple[int, float], ...], broker: tuple[int, float], price: float | None, plan: str
) -> None:
    order = MARGIN if plan == "margin" else ODD
    harness = ledger(*(filled(seq, *fill, plan=order) for seq, fill in enumerate(fills, 1)))
    ours = net_row(net(harness, book=plan))
    found = msgspec.structs.replace(finding(None, *broker), book=plan)
    if ours:
        found = msgspec.structs.replace(found, ledger_quantity=ours.quantity, ledger_average=ours.average, net_version=ours.version)

    made = book(harness, found, method="fifo" if plan == "margin" else "average", net=ours)

    assert made[-1].price == (micros(price) if price else 0)
    quantity, average, realized = held(harness, shelf=plan)
    assert (quantity, realized) == (broker[0], 0)
    reduced = ours and ours.quantity * broker[0] > 0 and abs(broker[0]) < abs(ours.quantity)
    if broker[0] and not reduced and price != 8.0:
        assert average == micros(broker[1])
    assert_same(harness.restored().dump(), harness.dump())


def test_through_zero_it_closes_at_cost_and_opens_anew_each_at_the_version_that_it_finds() -> None:
    harness = ledger(filled(1, 10, 10.0))

    closing, opening = book(harness, finding(harness, -4, 9.0))

    assert [(one.quantity, one.price, one.expected_net_version) for one in (closing, opening)] == [(-10, 0, 1), (-4, micros(9), 2)]
    assert held(harness) == (-4, micros(9), 0)


def test_one_that_comes_after_another_fill_is_rejected_and_made_anew_for_the_version_found() -> None:
    harness = ledger(filled(1, 10, 10.0))
    found = finding(harness, 15, 10.0)
    late = repair.corrections(difference(found), proposed(harness, found), READ, NOW, by="reconciler")
    harness.run([filled(2, 5, 10.0), record(late[0])])
    assert harness.committed.outcomes[-1].reason == "stale_version"

    again = finding(harness, 20, 10.0)
    made = book(harness, again)

    assert made[0].correction_id != late[0].correction_id
    assert held(harness) == (20, micros(10), 0)


def test_the_same_proposal_at_the_same_version_has_the_same_id_and_is_applied_once() -> None:
    harness = ledger(filled(1, 10, 10.0))
    found = finding(harness, 15, 10.0)
    made = book(harness, found)

    again = repair.corrections(difference(found), repair.proposal(found, method="average", net=None), READ, NOW + 1, by="reconciler")
    outcome = harness.feed(record(again[0]))
    harness.commit()

    assert [one.correction_id for one in again] == [one.correction_id for one in made]
    assert outcome is not None
    assert outcome.disposition == "duplicate"
    assert held(harness)[0] == 15


@pytest.mark.parametrize(
    "changes",
    [{"quantity": 6}, {"price": 1}, {"amount": 1}, {"fees": 1}, {"taxes": 1}, {"expected_net_version": 8}, {"symbol": "x"}, {"book": "x"},
     {"kind": "OPENING"}, {"to_symbol": "x"}, {"to_book": "x"}, {"to_strategy_id": "x"}, {"strategy_id": "x"}, {"numerator": 1},
     {"denominator": 1}, {"fill_id": "x"}, {"quality": "x"}],
)  # fmt: skip
def test_what_books_something_else_has_another_id(changes: dict[str, Any]) -> None:
    found = finding(None, 5, 10.0, net_version=7)
    (made,) = repair.corrections(difference(found), repair.proposal(found, method="average", net=None), READ, NOW, by="reconciler")

    assert repair.correction_id("0123456789abcdef", msgspec.structs.replace(made, **changes)) != repair.correction_id(
        "0123456789abcdef", made
    )


@pytest.mark.parametrize("source", ["0" * 16, "0" * 300, "op-1"])
def test_an_id_fits_whatever_it_is_made_of(source: str) -> None:
    found = finding(None, 5, 10.0, net_version=2**63 - 1)
    (made,) = repair.corrections(difference(found), repair.proposal(found, method="average", net=None), READ, NOW, by="reconciler")

    assert len(repair.correction_id(source, made)) <= CORRECTION_ID_CHARS_MAX
    assert repair.correction_id(source, made).startswith(source if len(source) < 17 else "")


def test_a_correction_carries_the_read_the_markers_the_version_and_the_evidence() -> None:
    found = finding(None, 5, 10.0)
    one = difference(found, evidence={"broker_row": "5 at 10"})

    (made,) = repair.corrections(
        one, repair.proposal(found, method="average", net=None), READ, NOW, by="reconciler", approved_by="ann, bob"
    )

    assert (made.read_began_ts, made.read_ended_ts, made.marker_before, made.marker_after) == (BEGAN, ENDED, "r/1/before", "r/2/after")
    assert (made.expected_net_version, made.requested_by, made.approved_by, made.ts) == (0, "reconciler", "ann, bob", NOW)
    assert made.evidence == {"broker_row": "5 at 10"}
    assert one.discrepancy_id in made.reason


def test_the_brokers_rounding_makes_no_price() -> None:
    """A million shares at 10.004 and one more: the broker says 10.00, and no share costs -3 990."""
    for average in (10.0, 10.01):
        found = finding(None, 1_000_001, average, ledger_quantity=1_000_000, ledger_average=micros(10.004))

        made = repair.proposal(found, method="average", net=None)

        assert made.price == micros(average)


@pytest.mark.parametrize(
    ("held_before", "quantity", "last", "price"),
    [(0, 5, 21.0, 21.0), (10, -5, 21.0, 21.0), (10, 15, 21.0, 0.0), (10, 5, 21.0, 0.0)],
)
def test_without_an_average_of_the_brokers_it_is_our_average_or_the_last_price(
    held_before: int, quantity: int, last: float, price: float
) -> None:
    harness = ledger(*([filled(1, held_before, 10.0)] if held_before else []))
    found = finding(harness, quantity, 0.0, last_price=micros(last))

    made = book(harness, found)

    assert made[-1].price == micros(price)
    assert (held(harness)[0], held(harness)[2]) == (quantity, 0)


@pytest.mark.parametrize(
    ("changes", "lacks"),
    [({"broker_average": 0}, "a price"), ({"multiplier": 0}, "the product"), ({"verdict": "UNKNOWN"}, "a correction"),
     ({"verdict": "MOVED"}, "a correction"), ({"verdict": "ORDER"}, "a correction"), ({"verdict": "PROFIT"}, "a correction")],
)  # fmt: skip
def test_what_cannot_be_known_is_proposed_without_it_and_makes_no_correction(changes: dict[str, Any], lacks: str) -> None:
    found = finding(None, 5, 10.0, **changes)

    made = repair.proposal(found, method="average", net=None)

    assert made.lacks == lacks
    assert made.why
    assert repair.corrections(difference(found), made, READ, NOW, by="reconciler") == ()


@given(
    fills=st.lists(st.tuples(st.integers(-20, 20).filter(bool), st.integers(500, 5_000)), max_size=5),
    broker=st.tuples(st.integers(-40, 40), st.integers(500, 5_000)),
)
def test_whatever_both_sides_hold_the_quantity_becomes_the_brokers_and_the_profit_stays(
    fills: list[tuple[int, int]], broker: tuple[int, int]
) -> None:
    harness = ledger(*(filled(seq, quantity, price / 100) for seq, (quantity, price) in enumerate(fills, 1)))
    found = finding(harness, broker[0], broker[1] / 100)
    if not found.difference:
        return
    before = held(harness)

    book(harness, found)

    assert (held(harness)[0], held(harness)[2]) == (broker[0], before[2])


# --- openings --------------------------------------------------------------------------------------------------------------------------


def first_start(harness: Harness, quantity: int, average: float, fills: tuple[tuple[int, float], ...]) -> Proposal:
    found = finding(harness, quantity, average)
    made = proposed(harness, found, fills=traded(*fills), first_start=True)
    if made.steps:
        harness.run([record(one) for one in repair.corrections(difference(found), made, READ, NOW, by="reconciler")])
    return made


@pytest.mark.parametrize(
    ("fills", "broker", "price", "realized"),
    [
        (((50, 12.0), (-30, 13.0)), (120, 10.5), 9.75, 75.0),
        (((-40, 12.0), (20, 9.0)), (80, 9.75), 10.0, 80.0),
        # Closed on the way: what it had cost is lost, and so is its profit; nothing takes the place of that.
        (((-60, 11.0), (-40, 12.0)), (0, 0.0), 11.4, 0.0),
        (((-100, 11.0), (50, 12.0)), (50, 12.0), 11.0, 0.0),
    ],
)
def test_an_opening_is_what_the_broker_has_less_todays_fills_at_the_price_that_its_average_tells(
    fills: tuple[tuple[int, float], ...], broker: tuple[int, float], price: float, realized: float
) -> None:
    harness = ledger(*(filled(seq, *fill) for seq, fill in enumerate(fills, 1)))

    made = first_start(harness, *broker, fills)

    assert (made.kind, made.quantity, made.price) == ("OPENING", broker[0] - sum(fill[0] for fill in fills), micros(price))
    assert held(harness) == (broker[0], micros(broker[1]), micros(realized))
    row = net(harness)
    assert row is not None
    assert row.quality == "ESTIMATED"


def test_without_fills_the_opening_costs_the_brokers_average() -> None:
    harness = ledger()

    made = first_start(harness, 100, 12.34, ())

    assert (made.kind, made.price) == ("OPENING", micros(12.34))
    assert held(harness) == (100, micros(12.34), 0)


def test_an_opening_of_which_the_fills_left_next_to_nothing_is_not_priced_by_the_brokers_rounding() -> None:
    fills = ((100_000, 12.0),)

    made = repair.proposal(
        finding(None, 100_001, 12.01, ledger_quantity=100_000, ledger_average=micros(12)),
        method="average", net=None, fills=traded(*fills), first_start=True,
    )  # fmt: skip

    assert (made.kind, made.quantity, made.price) == ("OPENING", 1, micros(12.01))


def test_where_the_book_has_a_past_it_is_an_adjust() -> None:
    harness = ledger(filled(1, 10, 10.0))

    assert proposed(harness, finding(harness, 15, 10.0), fills=traded((4, 10.0)), first_start=True).kind == "ADJUST"
    assert proposed(harness, finding(harness, 15, 10.0), fills=traded((10, 10.0))).kind == "ADJUST"


def test_a_second_opening_is_rejected_and_adjusted_instead() -> None:
    harness = ledger(filled(1, 10, 10.0))
    first_start(harness, 15, 10.0, ((10, 10.0),))
    found = finding(harness, 17, 10.0)
    twice = repair.corrections(
        difference(found), Proposal("OPENING", (repair.Booking(2, micros(10)),), 2, micros(10)), READ, NOW, by="reconciler"
    )
    harness.run([record(twice[0])])
    assert harness.committed.outcomes[-1].reason == "not_opening"

    book(harness, found)

    assert held(harness)[0] == 17


# --- cost and settlement ---------------------------------------------------------------------------------------------------------------


def test_a_difference_of_cost_alone_is_proposed_to_the_operator_and_takes_over_the_brokers_cost_without_profit() -> None:
    harness = ledger(filled(1, 3, 10.0), filled(2, 4, 10.01))
    found = finding(harness, 7, 9.5, "COST")
    made = proposed(harness, found)

    assert (made.kind, made.amount) == ("COST_BASIS", micros(7 * 9.5) - micros(3 * 10.0 + 4 * 10.01))
    assert not repair.may_correct(found, GAP, Spent(), LIMITS, proposal=made, trading_date=TODAY).allowed
    book(harness, found)
    assert held(harness) == (7, micros(9.5), 0)


def test_no_single_average_gives_no_cost() -> None:
    assert repair.proposal(finding(None, 7, 0.0, "COST"), method="average", net=None).lacks == "an amount"


def test_an_expired_contract_is_settled_when_somebody_says_the_price_and_stays_open_until_then() -> None:
    harness = ledger(filled(1, 3, 10.0))
    found = finding(harness, 0, 0.0, "MISSING")

    open_ = proposed(harness, found, expired=True)
    made = proposed(harness, found, expired=True, settlement=Settlement(micros(11), "statement", taxes=micros(2)))

    assert (open_.kind, open_.lacks) == ("SETTLEMENT", "its final price")
    assert (made.kind, made.quantity, made.price, made.lacks) == ("SETTLEMENT", -3, micros(11), "")
    corrections = repair.corrections(difference(found), made, READ, NOW, by="reconciler")
    harness.run([record(one) for one in corrections])
    assert held(harness) == (0, 0, micros(3))
    position = net(harness)
    assert position is not None
    assert (position.row.taxes, position.quality) == (micros(2), "CONFIRMED")
    assert not repair.may_correct(found, GAP, Spent(), LIMITS, proposal=made, trading_date=TODAY, witnessed=True).allowed


def test_a_mark_is_taken_away_by_the_operator_at_any_version_and_leaves_an_estimate() -> None:
    marks = ("correction", {"correction_id": "c1", "account": STOCK, "kind": "QUALITY", "symbol": "2890", "book": "cash",
                            "strategy_id": "*", "quality": "INCOMPLETE", "ts": NOW})  # fmt: skip
    harness = ledger(filled(1, 3, 10.0), marks, filled(2, 3, 10.0))
    made = repair.unmarked("INCOMPLETE")

    harness.run([record(one) for one in repair.corrections(difference(finding(None, 3, 10.0)), made, READ, NOW, by="reconciler")])

    position = net(harness)
    assert position is not None
    assert (harness.committed.outcomes[-1].outcome, position.quality) == ("APPLIED", "ESTIMATED")
    assert {row.quality for row in harness.rows().values()} == {"ESTIMATED"}
    assert repair.unmarked("BLOCKED").lacks
    assert not repair.may_correct(SMALL, GAP, Spent(), LIMITS, proposal=made, trading_date=TODAY).allowed


# --- what may be done alone ------------------------------------------------------------------------------------------------------------


def asked(found: Finding, **changes: Any) -> Allowed:
    given: dict[str, Any] = {"coverage": GAP, "spent": Spent(), "limits": LIMITS, "trading_date": TODAY} | changes
    made = given.pop("proposal", None) or repair.proposal(found, method="average", net=None)
    return repair.may_correct(found, given.pop("coverage"), given.pop("spent"), given.pop("limits"), proposal=made, **given)


def limits(**changes: Any) -> AutoLimits:
    return msgspec.structs.replace(LIMITS, **changes)


SMALL = finding(None, 1_000, 100.0)


def test_within_every_limit_and_explained_by_a_gap_it_may_be_done() -> None:
    allowed = asked(SMALL)

    assert allowed == Allowed(True, "explained by a gap: reconnect")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"coverage": Coverage()}, "no gap"),
        ({"limits": limits(enabled=False)}, "auto_correct.enabled"),
        ({"limits": limits(limits={})}, "has no STK"),
        ({"limits": limits(limits={"STK": TypeLimit(999, micros(500_000))})}, "STK.quantity (999)"),
        ({"limits": limits(limits={"STK": TypeLimit(2_000, micros(99_999))})}, "STK.notional_twd (99,999)"),
        ({"limits": limits(daily_count_per_key=2), "spent": Spent(TODAY, {("2890", "cash"): 2}, 0)}, "daily_count_per_key"),
        ({"limits": limits(daily_notional=micros(150_000)), "spent": Spent(TODAY, {}, micros(50_001))}, "daily_notional_twd_per_account"),
        ({"quality": "BLOCKED"}, "BLOCKED"),
        ({"quality": "CONFLICT"}, "CONFLICT"),
        ({"proposal": Proposal("COST_BASIS")}, "COST_BASIS is for the operator"),
        ({"proposal": Proposal("CORPORATE_ACTION")}, "CORPORATE_ACTION is for the operator"),
        ({"proposal": Proposal("TRANSFER")}, "TRANSFER is for the operator"),
        ({"proposal": Proposal("ADJUST", lacks="a price", why="none")}, "a price is missing"),
    ],
)
def test_anything_beyond_is_for_the_operator_and_says_why(changes: dict[str, Any], why: str) -> None:
    found = asked(SMALL, **changes)

    assert not found.allowed
    assert why in found.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": limits(limits={"STK": TypeLimit(1_000, micros(100_000))})},
        {"limits": limits(daily_count_per_key=2), "spent": Spent(TODAY, {("2890", "cash"): 1, ("2891", "cash"): 9}, 0)},
        {"limits": limits(daily_notional=micros(150_000)), "spent": Spent(TODAY, {}, micros(50_000))},
        {"limits": limits(daily_count_per_key=1), "spent": Spent(TODAY - 1, {("2890", "cash"): 9}, micros(10**9))},
        {"quality": "ESTIMATED"},
        {"quality": "INCOMPLETE"},
    ],
)
def test_at_a_limit_it_is_still_allowed_and_another_day_has_a_budget_of_its_own(changes: dict[str, Any]) -> None:
    assert asked(SMALL, **changes).allowed


def test_a_missing_row_needs_a_witness_and_what_nobody_can_value_needs_an_operator() -> None:
    missing = finding(None, 0, 0.0, "MISSING", ledger_quantity=10, ledger_average=micros(10), notional=micros(100))

    assert "nothing else says" in asked(missing).reason
    assert asked(missing, witnessed=True).allowed
    assert asked(msgspec.structs.replace(SMALL, notional=0)).reason == "nothing tells what it is worth"


def test_an_opening_obeys_the_same_limits() -> None:
    found = finding(None, 2_001, 10.0)
    made = repair.proposal(found, method="average", net=None, first_start=True)

    assert made.kind == "OPENING"
    assert "STK.quantity" in asked(found, proposal=made).reason
    assert asked(SMALL, proposal=repair.proposal(SMALL, method="average", net=None, first_start=True)).allowed


def test_what_is_spent_adds_up_within_a_trading_date() -> None:
    key, other = ("2890", "cash"), ("2330", "cash")

    once = spend(Spent(), key, 5, TODAY)
    twice = spend(spend(once, key, 7, TODAY), other, 1, TODAY)

    assert twice == Spent(TODAY, {key: 2, other: 1}, 13)
    assert spend(twice, key, 4, TODAY + 1) == Spent(TODAY + 1, {key: 1}, 4)


def test_the_defaults_allow_what_they_say() -> None:
    auto = settings.load(None).reconciliation.auto_correct

    assert {kind: (limit.quantity, limit.notional_twd) for kind, limit in auto.limits.items()}["STK"] == (2_000, 500_000)
    assert (auto.daily_count_per_key, auto.daily_notional_twd_per_account) == (3, 5_000_000)


# --- the real fills come late ----------------------------------------------------------------------------------------------------------


def newest(harness: Harness) -> dict[str, FillEvent]:
    return {fill.fill_id: fill for fill in harness.committed.fills}


def short_of(*missing: tuple[int, float]) -> tuple[Harness, Harness]:
    """Return a ledger that lacks these fills and was adjusted for them, and one that had them from the start."""
    known = filled(1, 100, 10.0)
    lost = [filled(seq, *fill, at_s=2.0) for seq, fill in enumerate(missing, 2)]
    complete, harness = ledger(known, *lost), ledger(known)
    quantity, average, _ = held(complete)
    book(harness, finding(harness, quantity, average / MICROS))
    assert held(harness)[0] == quantity
    return harness, complete


def assert_as_complete(harness: Harness, complete: Harness) -> None:
    for key, position in complete.rows().items():
        ours = harness.rows()[key].row
        assert (ours.quantity, ours.open_cost, ours.realized) == (position.row.quantity, position.row.open_cost, position.row.realized), key
    assert all(fill.voided for fill_id, fill in newest(harness).items() if "|~" in fill_id)
    assert_same(harness.restored().dump(), harness.dump())


@pytest.mark.parametrize(
    "missing",
    [((30, 11.0),), ((10, 11.0), (20, 12.0)), ((-30, 11.0),), ((-10, 11.0), (-20, 12.0)), ((-100, 11.0),), ((-150, 11.0),)],
)
def test_late_fills_take_the_place_of_the_adjust_and_the_book_is_as_if_they_had_never_been_late(
    missing: tuple[tuple[int, float], ...],
) -> None:
    harness, complete = short_of(*missing)

    harness.run([filled(seq, *fill, at_s=2.0) for seq, fill in enumerate(missing, 2)])

    assert_as_complete(harness, complete)


def test_one_adjust_for_two_fills_gives_way_part_by_part() -> None:
    harness, complete = short_of((10, 11.0), (20, 12.0))

    harness.run([filled(3, 20, 12.0, at_s=2.0)])
    assert held(harness)[0] == 130
    assert [fill.quantity for fill_id, fill in newest(harness).items() if "|~" in fill_id] == [10]

    harness.run([filled(2, 10, 11.0, at_s=2.0)])
    assert held(harness) == held(complete)


def test_a_late_fill_after_an_opening_shrinks_it_and_is_counted_once() -> None:
    known = ((50, 12.0),)
    harness = ledger(filled(1, *known[0]))
    # 100 were held before; 10 bought today at 11 never came.
    average = (100 * 9.0 + 50 * 12.0 + 10 * 11.0) / 160
    first_start(harness, 160, average, known)
    assert held(harness)[0] == 160

    harness.run([filled(2, 10, 11.0, at_s=2.0)])

    assert held(harness)[0] == 160
    (opening,) = [fill for fill_id, fill in newest(harness).items() if "|~" in fill_id]
    assert (opening.cause, opening.quantity, opening.voided) == ("OPENING", 100, False)
    rows = {key[3]: position.row.quantity for key, position in harness.rows().items()}
    assert rows == {"UNASSIGNED": 100, "alpha": 60, "*": 160}


@pytest.mark.parametrize(
    ("at_s", "held_after", "quality"),
    [
        # Another clock, still before the read: absorbed. Within the read: it cannot be told, so it counts and the key is marked, and the
        # next round compares it. After it: a new fill.
        (9.9, 130, "ESTIMATED"),
        (11.0, 160, "INCOMPLETE"),
        (12.5, 160, "ESTIMATED"),
    ],
)
def test_a_record_with_another_number_and_another_time_is_absorbed_or_asks_for_a_round(at_s: float, held_after: int, quality: str) -> None:
    harness, _ = short_of((30, 11.0))
    record_ = filled(999, 30, 11.0, at_s=at_s - 0.999)

    harness.run([record_])

    assert held(harness)[0] == held_after
    position = net(harness)
    assert position is not None
    assert position.quality == quality
    if quality == "INCOMPLETE":
        # The round that the mark starts finds what is double, and takes it away at cost.
        book(harness, finding(harness, 130, 10.0 + 3 / 13))
        assert (held(harness)[0], held(harness)[2]) == (130, 0)


def test_the_same_fill_under_two_numbers_is_absorbed_once_and_the_rest_is_taken_away() -> None:
    harness, _ = short_of((30, 11.0))
    harness.run([filled(2, 30, 11.0, at_s=2.0), filled(999, 30, 11.0, at_s=2.0)])
    # Nothing can tell that both are one: it counts, and differs.
    assert held(harness)[0] == 160

    book(harness, finding(harness, 130, average_price(net(harness).row, 1) / MICROS))  # type: ignore[union-attr]  # It was traded above.

    assert held(harness)[0] == 130


_FILL = st.tuples(st.integers(-20, 20).filter(bool), st.integers(500, 5_000))


@given(fills=st.lists(st.tuples(_FILL, st.booleans()), min_size=1, max_size=8), seed=st.randoms(use_true_random=False))
def test_whatever_was_lost_and_in_whatever_order_it_comes_at_last_each_fill_counts_once(
    fills: list[tuple[tuple[int, int], bool]], seed: Any
) -> None:
    records = [(filled(seq, quantity, price / 100), lost) for seq, ((quantity, price), lost) in enumerate(fills, 1)]
    complete = ledger(*(one for one, _ in records))
    harness = ledger(*(one for one, lost in records if not lost))
    truth = held(complete)
    found = finding(harness, truth[0], truth[1] / MICROS, last_price=micros(10))
    if found.difference:
        book(harness, found)
    assert held(harness)[0] == truth[0]

    late = [one for one, lost in records if lost]
    seed.shuffle(late)
    harness.run([*late, *late[:2]])

    assert all(fill.voided for fill_id, fill in newest(harness).items() if "|~" in fill_id)
    ours, theirs = net(harness), net(complete)
    assert ours is not None
    assert theirs is not None
    # The order in which fills first came decides what each of them earned; what was paid in all is the same.
    assert (ours.row.quantity, ours.row.realized - ours.row.open_cost) == (theirs.row.quantity, theirs.row.realized - theirs.row.open_cost)
    assert ours.row.basis == 0
    assert_same(harness.restored().dump(), harness.dump())
