"""Order states: the table is total, and what an order is follows from reports and fills alone."""

from itertools import permutations, product
from typing import Any, get_args

import msgspec
import pytest

from execpos.domain import orders
from execpos.domain.normalize import Operation, OrderReport, operation
from execpos.domain.orders import TRANSITIONS, Order, Reported

STATES, OPERATIONS = get_args(Reported), get_args(Operation)
PLACED = orders.new_order("e|S|b|a", "2026-05-21D", "x", "1", "UNASSIGNED", "")


def told(op_type: str, op_code: str = "00", *, quantity: int = 10, cancelled: int = 0, price: int = 5, ts: int = 1) -> OrderReport:
    values: dict[str, Any] = dict.fromkeys(OrderReport.__struct_fields__, "")
    values |= {"op_type": op_type, "op_code": op_code, "quantity": quantity, "cancel_quantity": cancelled, "price": price}
    values |= {"exchange_ts": ts}
    return OrderReport(**values)


def after(*reports: OrderReport) -> Order:
    order = PLACED
    for report in reports:
        order = orders.after_report(order, report)
    return order


def test_the_transition_table_knows_every_state_and_operation() -> None:
    assert set(TRANSITIONS) == set(product(STATES, OPERATIONS))
    assert set(TRANSITIONS.values()) <= set(STATES)


@pytest.mark.parametrize("state", STATES)
def test_a_failed_operation_leaves_the_state_as_it_was(state: Reported) -> None:
    assert TRANSITIONS[state, "FAILED"] == state
    assert TRANSITIONS[state, "OTHER"] == state


@pytest.mark.parametrize("what", OPERATIONS)
def test_an_ended_order_stays_ended(what: Operation) -> None:
    assert TRANSITIONS["CANCELLED", what] == "CANCELLED"
    assert TRANSITIONS["REJECTED", what] == "REJECTED"


@pytest.mark.parametrize(
    ("op_type", "op_code", "expected"),
    [
        ("New", "00", "NEW_OK"),
        ("New", "88", "NEW_FAILED"),
        ("New", "0", "NEW_FAILED"),
        ("New", "", "NEW_FAILED"),
        ("Cancel", "00", "CANCEL_OK"),
        ("Cancel", "99Q9", "FAILED"),
        ("UpdatePrice", "00", "UPDATE_OK"),
        ("UpdatePrice", "9938", "FAILED"),
        ("UpdateQty", "00", "UPDATE_OK"),
        ("UpdateQty", "48", "FAILED"),
        ("Reject", "00", "REJECT"),
        ("Reject", "88", "REJECT"),
        ("new", "00", "OTHER"),
        ("Expire", "00", "OTHER"),
        ("", "", "OTHER"),
    ],
)
def test_only_code_00_is_success_and_an_unknown_type_is_kept_as_other(op_type: str, op_code: str, expected: str) -> None:
    assert operation(op_type, op_code) == expected


def test_a_new_that_comes_after_a_reduction_still_gives_the_quantity_as_placed() -> None:
    reports = [told("New", quantity=10), told("UpdateQty", quantity=8, cancelled=2), told("UpdateQty", quantity=7, cancelled=1)]

    ends = {(order.quantity, order.cancelled, order.leaves) for order in (after(*these) for these in permutations(reports))}

    assert ends == {(10, 3, 7)}


def test_a_price_moves_with_success_only() -> None:
    assert after(told("New", price=5), told("UpdatePrice", price=6)).price == 6
    assert after(told("New", price=5), told("UpdatePrice", "99", price=6)).price == 5
    assert after(told("New", "88", price=5)).price == 5


@pytest.mark.parametrize(
    ("reports", "filled", "status", "leaves"),
    [
        ([], 0, "UNKNOWN", 0),
        ([], 3, "UNKNOWN", 0),
        ([told("New")], 0, "SUBMITTED", 10),
        ([told("New")], 3, "PART_FILLED", 7),
        ([told("New")], 10, "FILLED", 0),
        ([told("New")], 12, "FILLED", 0),
        ([told("New"), told("Cancel", cancelled=7)], 3, "CANCELLED", 0),
        ([told("New"), told("Cancel", cancelled=7)], 10, "FILLED", 0),
        ([told("New", "88")], 3, "REJECTED", 0),
        ([told("New"), told("UpdateQty", cancelled=4)], 6, "FILLED", 0),
        ([told("Cancel", "99")], 0, "UNKNOWN", 0),
    ],
)
def test_status_and_leaves_follow_from_reports_and_fills(reports: list[OrderReport], filled: int, status: str, leaves: int) -> None:
    order = orders.after_fill(after(*reports), filled, 0, 0, 0)

    assert (order.status, order.leaves) == (status, leaves)
    assert order.leaves >= 0


@pytest.mark.parametrize(("quantity", "filled", "over"), [(0, 5, False), (5, 5, False), (5, 6, True), (5, 0, False)])
def test_more_than_ordered_is_an_overfill_once_the_quantity_is_known(quantity: int, filled: int, *, over: bool) -> None:
    assert msgspec.structs.replace(PLACED, quantity=quantity, cum_filled=filled).overfilled is over
