"""What the opening cost, found from the broker's average, and prices of adjustments: exact where it can be known, and None where not."""

import random
from fractions import Fraction
from typing import NamedTuple

import pytest

from execpos.domain import opening, positions
from execpos.domain.opening import Holding, Opening, Step, Traded, TrueUp
from execpos.domain.positions import EMPTY, CostMethod, Entry, Row

METHODS: tuple[CostMethod, ...] = ("average", "fifo", "day_pair_average")


def micros(price: float) -> int:
    return round(price * 1_000_000)


def traded(*fills: tuple[int, float]) -> list[Traded]:
    return [Traded(quantity, micros(price)) for quantity, price in fills]


def replay(before: Opening, fills: list[Traded], method: CostMethod) -> Row:
    """Book the opening, then the fills, as the ledger does."""
    assert before.price is not None
    row = EMPTY
    lines = [Traded(before.quantity, before.price, -1), *fills]
    for seq, line in enumerate(lines):
        row = positions.apply(row, Entry(seq, "f", line.quantity, line.quantity * line.price, 0, 0, line.trading_date), method, 256)
    return row


def test_formula_1_an_opening_before_an_addition_and_a_reduction_ends_at_120_for_10_50() -> None:
    fills = traded((50, 12), (-30, 13))

    found = opening.opening(Holding(120, micros(10.5)), fills, "average")

    # 100 at 9.75: (975 + 600) / 150 = 10.50, and the sale leaves the average alone.
    assert found == Opening(100, micros(9.75))
    row = replay(found, fills, "average")
    assert (row.quantity, positions.average_price(row, 1), row.realized) == (120, micros(10.5), micros(30 * 2.5))


def test_formula_2_an_opening_before_a_reduction_and_an_addition_ends_at_80_for_9_75() -> None:
    fills = traded((-40, 12), (20, 9))

    found = opening.opening(Holding(80, micros(9.75)), fills, "average")

    # 100 at 10: 60 are left, (600 + 180) / 80 = 9.75.
    assert found == Opening(100, micros(10))
    row = replay(found, fills, "average")
    assert (row.quantity, positions.average_price(row, 1), row.realized) == (80, micros(9.75), micros(80))


def test_formula_3_a_true_up_that_reduces_realizes_nothing_and_leaves_the_rest_to_the_cost_basis() -> None:
    current, target = Holding(100, micros(10)), Holding(60, micros(9))

    assert opening.adjust_price(current, target) == micros(10)
    assert opening.true_up(current, target) == TrueUp((Step(-40, None),), 60 * micros(9) - 60 * micros(10))


def test_formula_4_a_closed_cycle_whose_opening_is_lost_has_no_price_and_profits_nothing() -> None:
    fills = traded((-60, 11), (-40, 12))

    found = opening.opening(Holding(0, 0), fills, "average")

    assert found == Opening(100, None)
    neutral = opening.neutral_price(found.quantity, fills)
    assert neutral == micros(11.4)
    assert replay(Opening(100, neutral), fills, "average").realized == 0


@pytest.mark.parametrize(
    ("broker", "fills", "method", "expected"),
    [
        # Through zero: what is held now was bought after it.
        (Holding(50, micros(12)), traded((-100, 11), (100, 12)), "average", Opening(50, None)),
        (Holding(-20, micros(12)), traded((-70, 12)), "average", Opening(50, None)),
        # Exactly to zero and again up.
        (Holding(30, micros(12)), traded((-50, 11), (30, 12)), "average", Opening(50, None)),
        # The fills explain everything.
        (Holding(30, micros(12)), traded((30, 12)), "average", Opening(0, None)),
        # No fills at all: the broker's own average.
        (Holding(-3, micros(18_000)), [], "fifo", Opening(-3, micros(18_000))),
        # First in, first out: the opening is sold first; what is left of it decides.
        (Holding(80, micros(9.75)), traded((-40, 12), (20, 9)), "fifo", Opening(100, micros(10))),
        (Holding(120, micros(10.5)), traded((50, 12), (-30, 13)), "fifo", Opening(100, 9_428_571)),
        (Holding(20, micros(9)), traded((20, 9), (-100, 12)), "fifo", Opening(100, None)),
        # An average that no price above zero explains.
        (Holding(150, micros(3)), traded((50, 12)), "average", Opening(100, None)),
    ],
)
def test_an_opening_is_inferred_where_its_price_left_a_trace(
    broker: Holding, fills: list[Traded], method: CostMethod, expected: Opening
) -> None:
    assert opening.opening(broker, fills, method) == expected


class Case(NamedTuple):
    """A position whose opening is known, to be found again."""

    quantity: int
    price: int
    fills: list[Traded]


def drawn(seed: int) -> Case:
    rng = random.Random(seed)
    sign = rng.choice((1, -1))
    fills = [Traded(rng.choice((1, -1)) * rng.randrange(1, 40), rng.randrange(1, 500) * 50_000, rng.randrange(2)) for _ in range(6)]
    return Case(sign * rng.randrange(1, 200), rng.randrange(1, 500) * 50_000, sorted(fills, key=lambda fill: fill.trading_date))


@pytest.mark.parametrize("method", METHODS)
def test_the_inferred_opening_brings_back_the_broker_s_average_whatever_came_after_it(method: CostMethod) -> None:
    told = 0
    for seed in range(2_000):
        quantity, price, fills = drawn(seed)
        row = replay(Opening(quantity, price), fills, method)
        if not row.quantity:
            continue
        average = positions.average_price(row, 1)
        found = opening.opening(Holding(row.quantity, average), fills, method)
        assert found.quantity == quantity, seed
        if found.price is not None:
            told += 1
            again = replay(found, fills, method)
            assert again.quantity == row.quantity, seed
            # Prices have six decimals, so the average comes back to within one of them for each unit that the opening weighs less.
            assert abs(again.open_cost - row.open_cost) <= abs(quantity) + len(fills) + abs(row.quantity), seed
    assert told > 500


@pytest.mark.parametrize(
    ("current", "target", "price", "expected"),
    [
        # To flat: at cost.
        (Holding(100, 10), Holding(0, 0), 10, TrueUp((Step(-100, None),), 0)),
        # From flat: the broker's average.
        (Holding(0, 0), Holding(-5, 12), 12, TrueUp((Step(-5, 12),), 0)),
        # Through zero: out at cost, and in at the broker's average.
        (Holding(100, 10), Holding(-50, 12), 12, TrueUp((Step(-100, None), Step(-50, 12)), 0)),
        # The same side, more: the price that makes the averages agree.
        (Holding(100, 10), Holding(150, 12), 16, TrueUp((Step(50, 16),), 0)),
        (Holding(-100, 10), Holding(-150, 12), 16, TrueUp((Step(-50, 16),), 0)),
        # That price would be negative: the broker's average, and the rest is a matter of cost.
        (Holding(100, 10), Holding(110, 5), None, TrueUp((Step(10, 5),), 550 - 1000 - 50)),
        # The same side, less: at cost.
        (Holding(-100, 10), Holding(-60, 9), 10, TrueUp((Step(40, None),), -540 + 600)),
        # The same quantity: cost alone.
        (Holding(100, 10), Holding(100, 9), None, TrueUp((), -100)),
    ],
)
def test_the_price_of_an_adjustment_by_where_it_starts_and_ends(
    current: Holding, target: Holding, price: int | None, expected: TrueUp
) -> None:
    assert opening.adjust_price(current, target) == price
    assert opening.true_up(current, target) == expected


def test_a_true_up_ends_in_the_broker_s_quantity_and_with_its_basis_in_the_broker_s_cost() -> None:
    rng = random.Random(7)
    for _ in range(2_000):
        current = Holding(rng.randrange(-9, 10), rng.randrange(1, 10**6))
        target = Holding(rng.randrange(-9, 10), rng.randrange(1, 10**6))
        quantity, cost = current.quantity, Fraction(current.quantity * current.average)
        steps, basis = opening.true_up(current, target)
        for change, price in steps:
            cost += change * (price if price is not None else cost / quantity)
            quantity += change
        assert quantity == target.quantity
        assert not target.quantity or cost + basis == target.quantity * target.average
