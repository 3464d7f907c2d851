"""One row under fills: cost, profit, lots and the day's figures."""

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execpos.domain import invariants, positions
from execpos.domain.events import Lot
from execpos.domain.invariants import InvariantBroken
from execpos.domain.positions import EMPTY, CostMethod, Entry, Row
from scenarios import examples

METHODS = st.sampled_from(["average", "fifo"])


def trade(seq: int, quantity: int, unit: int, trading_date: int) -> Entry:
    return Entry(seq, f"f{seq}", quantity, quantity * unit, 3 * seq, seq, trading_date)


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    multiplier = draw(st.sampled_from([1, 10, 200]))
    signed = st.integers(-9, 9).filter(bool)
    return [
        trade(seq, draw(signed), draw(st.integers(-(10**6), 10**9)) * multiplier, draw(st.integers(20_000, 20_003)))
        for seq in range(1, draw(st.integers(1, 12)) + 1)
    ]


def rows_of(fills: list[Entry], method: CostMethod) -> list[Row]:
    rows = [EMPTY]
    for fill in fills:
        rows.append(positions.apply(rows[-1], fill, method, 256))
    return rows


@examples(150)
@given(entries(), METHODS)
def test_realized_is_cash_flow_plus_open_cost_at_every_moment(fills: list[Entry], method: CostMethod) -> None:
    cash = 0
    for (before, after), fill in zip(pairwise(rows_of(fills, method)), fills, strict=True):
        cash -= fill.amount
        assert after.realized == cash + after.open_cost - after.basis
        invariants.conservation(before, after, fill)
        invariants.row_consistent(after, method)
        assert after.quantity == before.quantity + fill.quantity


@examples(150)
@given(entries(), METHODS)
def test_the_day_s_figures_are_those_of_the_fills_of_the_newest_trading_date(fills: list[Entry], method: CostMethod) -> None:
    rows = rows_of(fills, method)
    last = rows[-1]

    newest = max(fill.trading_date for fill in fills)
    today = [(fill, after.realized - before.realized) for (before, after), fill in zip(pairwise(rows), fills, strict=True)]
    today = [(fill, gained) for fill, gained in today if fill.trading_date == newest]
    assert last.trading_date == newest
    assert last.realized_day == sum(gained for _, gained in today)
    assert last.day_buy_quantity - last.day_sell_quantity == sum(fill.quantity for fill, _ in today)
    assert last.day_buy_amount - last.day_sell_amount == sum(fill.amount for fill, _ in today)
    assert (last.fees, last.taxes) == (sum(fill.fee for fill in fills), sum(fill.tax for fill in fills))


@examples(100)
@given(entries(), METHODS, st.integers(0, 12))
def test_a_refold_from_any_base_gives_the_same_row(fills: list[Entry], method: CostMethod, cut: int) -> None:
    base = positions.refold(EMPTY, fills[:cut], method, 4)

    assert positions.refold(base, fills[cut:], method, 4) == positions.refold(EMPTY, fills, method, 4)


@examples(100)
@given(entries())
def test_fifo_closes_the_oldest_lot_first_and_the_rest_keeps_its_fill(fills: list[Entry]) -> None:
    open_lots: list[tuple[int, str]] = []
    for fill in fills:
        left = fill.quantity
        while left and open_lots and (open_lots[0][0] > 0) != (left > 0):
            quantity, name = open_lots[0]
            closed = min(abs(quantity), abs(left)) * (1 if quantity > 0 else -1)
            open_lots[:1] = [(quantity - closed, name)] if quantity != closed else []
            left += closed
        if left:
            open_lots.append((left, fill.fill_id))

    assert [(lot.quantity, lot.fill_id) for lot in rows_of(fills, "fifo")[-1].lots] == open_lots


@examples(150)
@given(st.integers(-(10**6), 10**6), st.integers(-(10**18), 10**18), st.sampled_from([1, 50, 4000]))
def test_the_average_price_is_open_cost_per_unit_half_even(quantity: int, open_cost: int, multiplier: int) -> None:
    row = Row(quantity=quantity, open_cost=open_cost)

    expected = round(Fraction(open_cost, quantity * multiplier)) if quantity else 0
    assert positions.average_price(row, multiplier) == expected


@pytest.mark.parametrize(
    "row",
    [
        Row(quantity=0, open_cost=1),
        Row(quantity=1, open_cost=5, lots=()),
        Row(quantity=1, open_cost=5, lots=(Lot(1, 4, "f"),)),
        Row(quantity=1, open_cost=5, lots=(Lot(2, 4, "f"), Lot(-1, 1, "g"))),
    ],
)
def test_a_row_that_its_lots_do_not_explain_breaks_a_named_invariant(row: Row) -> None:
    with pytest.raises(InvariantBroken):
        invariants.row_consistent(row, "fifo")


def test_lots_under_average_a_version_gap_and_strategies_that_miss_net_break_named_invariants() -> None:
    with pytest.raises(InvariantBroken, match="average"):
        invariants.row_consistent(Row(quantity=1, open_cost=4, lots=(Lot(1, 4, "f"),)), "average")
    with pytest.raises(InvariantBroken, match="goes from 3 to 5"):
        invariants.version_follows(3, 5, "key")
    with pytest.raises(InvariantBroken, match="hold 4, NET 5"):
        invariants.strategies_sum_to_net(4, 5, "key")
    with pytest.raises(InvariantBroken, match="conservation"):
        invariants.conservation(EMPTY, Row(quantity=1, open_cost=10), Entry(1, "f", 1, 9, 0, 0, 0))
