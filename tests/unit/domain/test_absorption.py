"""A synthetic fill gives way to the real one that it stood for, and to no other."""

from typing import Any

import msgspec
import pytest

from corrections import DAY_US, MICROS, STOCK, correction
from execpos import settings
from execpos.domain.events import FillEvent
from scenarios import DAY_S, Plan, Record, deal, fill_id, intent
from state import Harness, assert_same

RULES = msgspec.structs.replace(settings.load(None).rules(), cost_methods={})
ODD = Plan(1, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "alpha", "Buy")

# The broker read from 10 s to 12 s after the session's first fill.
BEGAN, ENDED = DAY_US + 10 * MICROS, DAY_US + 12 * MICROS


def synthetic(correction_id: str, quantity: int, kind: str = "ADJUST", **fields: Any) -> Record:
    read = {"read_began_ts": BEGAN, "read_ended_ts": ENDED, "ts": ENDED + MICROS}
    return correction(correction_id, kind, quantity=quantity, price=10 * MICROS, **(read | fields))


def late(seq: int, quantity: int, at_s: float, side: str = "Buy", plan: Plan = ODD) -> Record:
    return deal(plan, seq, side, quantity, 11.0, "", ts=DAY_S + at_s)


def held(*records: Record) -> tuple[Harness, dict[str, int]]:
    harness = Harness(RULES).run(records)
    assert_same(harness.restored().dump(), harness.dump())
    return harness, {key[3]: row.row.quantity for key, row in harness.rows().items() if row.row.quantity}


def newest(harness: Harness) -> dict[str, FillEvent]:
    return {fill.fill_id: fill for fill in harness.committed.fills}


def name(correction_id: str) -> str:
    return f"{STOCK}|2026-05-21D|~{correction_id}|1"


@pytest.mark.parametrize("kind", ["ADJUST", "OPENING"])
def test_a_fill_of_before_the_read_takes_the_place_of_what_stood_for_it(kind: str) -> None:
    harness, rows = held(synthetic("c1", 5, kind), late(1, 5, 9.0))

    assert rows == {"alpha": 5, "*": 5}
    assert harness.rows()[STOCK, "2890", "cash", "*"].row.open_cost == 55 * MICROS
    gone = newest(harness)[name("c1")]
    assert (gone.voided, gone.cause, gone.revision) == (True, "VOID", 2)


def test_the_moment_at_which_the_read_began_still_counts_as_before() -> None:
    assert held(synthetic("c1", 5), late(1, 5, 10.0))[1] == {"alpha": 5, "*": 5}


def test_one_synthetic_fill_gives_way_to_two_real_ones_part_by_part() -> None:
    harness, rows = held(synthetic("c1", 5), late(1, 2, 8.0))
    assert rows == {"UNASSIGNED": 3, "alpha": 2, "*": 5}
    rest = newest(harness)[name("c1")]
    assert (rest.quantity, rest.voided, rest.cause) == (3, False, "ADJUST")

    assert held(synthetic("c1", 5), late(1, 2, 8.0), late(2, 4, 9.0))[1] == {"alpha": 6, "*": 6}


def test_one_real_fill_takes_the_place_of_two_synthetic_ones_oldest_first() -> None:
    harness, rows = held(synthetic("c1", 2), synthetic("c2", 2), late(1, 3, 9.0))

    assert rows == {"UNASSIGNED": 1, "alpha": 3, "*": 4}
    assert newest(harness)[name("c1")].voided
    assert newest(harness)[name("c2")].quantity == 1


def test_a_fill_of_after_the_read_counts_beside_it() -> None:
    harness, rows = held(synthetic("c1", 5), late(1, 5, 12.5))

    assert rows == {"UNASSIGNED": 5, "alpha": 5, "*": 10}
    assert harness.rows()[STOCK, "2890", "cash", "*"].quality == "ESTIMATED"


@pytest.mark.parametrize(("at_s", "side"), [(11.0, "Buy"), (12.0, "Buy"), (9.0, "Sell"), (11.0, "Sell")])
def test_one_that_cannot_be_told_is_booked_and_marks_the_key(at_s: float, side: str) -> None:
    harness, rows = held(synthetic("c1", 5), late(1, 2, at_s, side))

    assert rows["UNASSIGNED"] == 5
    assert rows["alpha"] == (2 if side == "Buy" else -2)
    assert harness.rows()[STOCK, "2890", "cash", "alpha"].quality == "INCOMPLETE"
    assert harness.rows()[STOCK, "2890", "cash", "*"].quality == "INCOMPLETE"


def test_without_a_read_time_the_moment_of_the_correction_decides() -> None:
    by_hand = correction("c1", "ADJUST", quantity=5, price=MICROS, ts=BEGAN)

    assert held(by_hand, late(1, 5, 9.0))[1] == {"alpha": 5, "*": 5}
    assert held(by_hand, late(1, 5, 10.5))[1] == {"UNASSIGNED": 5, "alpha": 5, "*": 10}


def test_what_was_absorbed_does_not_come_back_when_the_real_fill_is_voided_or_moves() -> None:
    harness, _ = held(synthetic("c1", 5), late(1, 5, 9.0), intent(ODD, "beta"))
    assert {key[3]: row.row.quantity for key, row in harness.rows().items() if row.row.quantity} == {"beta": 5, "*": 5}

    assert held(synthetic("c1", 5), late(1, 5, 9.0), ("void", fill_id(ODD, 1)))[1] == {}


def test_a_repeat_of_the_real_fill_absorbs_nothing_more() -> None:
    assert held(synthetic("c1", 5), late(1, 2, 9.0), late(1, 2, 9.0))[1] == {"UNASSIGNED": 3, "alpha": 2, "*": 5}


def test_a_voided_fill_absorbs_nothing() -> None:
    assert held(("void", fill_id(ODD, 1)), synthetic("c1", 5), late(1, 2, 9.0))[1] == {"UNASSIGNED": 5, "*": 5}


def test_what_a_corporate_action_settled_cannot_give_way_and_the_key_is_marked() -> None:
    split = correction("c2", "CORPORATE_ACTION", numerator=2, denominator=1, ts=ENDED + 2 * MICROS)
    harness, rows = held(synthetic("c1", 5), split, late(1, 2, 9.0))

    assert rows == {"UNASSIGNED": 10, "alpha": 2, "*": 12}
    assert harness.rows()[STOCK, "2890", "cash", "*"].quality == "INCOMPLETE"


def test_another_book_and_a_settlement_are_left_alone() -> None:
    margin = Plan(2, "S", "2890", "2890", "MarginTrading", "IntradayOdd", 0, "alpha", "Buy")
    settled = correction("c2", "SETTLEMENT", price=MICROS, read_began_ts=BEGAN, read_ended_ts=ENDED, ts=ENDED)

    harness, rows = held(synthetic("c1", 5), late(1, 5, 9.0, plan=margin))
    assert rows == {"UNASSIGNED": 5, "alpha": 5, "*": 5}
    _, rows = held(late(1, 2, 8.0), settled, late(2, 2, 9.0, "Sell"))
    assert rows == {"alpha": -2, "*": -2}
    assert harness.rows()[STOCK, "2890", "margin", "*"].quality == "CONFIRMED"
