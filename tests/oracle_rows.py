"""What trades make of one row, from nothing: the arithmetic of the oracle, apart from the domain, as `oracle` says."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any


@dataclass
class Row:
    """One row; money in 10⁻⁶. `lots` are [quantity, cost] from the oldest, under `fifo`; `realized_day` under `day_pair_average`."""

    quantity: int = 0
    open_cost: int = 0
    realized: int = 0
    realized_day: int = 0
    fees: int = 0
    taxes: int = 0
    lots: list[list[int]] = field(default_factory=list)


Trade = tuple[Any, int, int]
"""Its day (anything that compares), signed quantity, and signed amount in 10⁻⁶."""


def row_of(trades: Iterable[Trade], method: str, max_lots: int = 10**9) -> Row:
    """The row that trades make from nothing, in the order given."""
    row = Row()
    if method == "day_pair_average":
        _pair_days(row, list(trades))
        return row
    for _, quantity, amount in trades:
        book_trade(row, quantity, amount, method, max_lots)
    return row


def _pair_days(row: Row, trades: list[Trade]) -> None:
    """Pair each day's buys and sales; the rest meets the morning. What comes late for an earlier day comes before today."""
    runs: list[tuple[Any, list[Trade]]] = []
    for trade in trades:
        if not runs or trade[0] > runs[-1][0]:
            runs.append((trade[0], []))
        runs[-1][1].append(trade)
    for today, run in runs:
        for day, quantity, amount in run:
            if day < today:
                book_trade(row, quantity, amount, "average", 1)
        before = row.realized
        sides = [[(q, a) for day, q, a in run if day == today and (q > 0) is buy] for buy in (True, False)]
        (bought, spent), (sold, received) = ((abs(sum(q for q, _ in side)), sum(a for _, a in side)) for side in sides)
        pairs = min(bought, sold)
        cost, proceeds = share_of(spent, pairs, bought), share_of(-received, pairs, sold)
        row.realized += proceeds - cost
        if bought != sold:
            book_trade(row, bought - sold, spent - cost + received + proceeds, "average", 1)
        row.realized_day = row.realized - before


def share_of(amount: int, part: int, whole: int) -> int:
    """Of an amount, what falls on a part of the whole: to the even neighbour on a tie, as round() of a Fraction goes."""
    return amount if part == whole else round(Fraction(amount * part, whole))


def book_trade(row: Row, quantity: int, amount: int, method: str, max_lots: int) -> None:
    """One trade into a row. Under `average` the row is one big lot, so both methods are the same walk."""
    lots = row.lots if method == "fifo" else ([[row.quantity, row.open_cost]] if row.quantity else [])
    left = quantity
    while left and lots and (lots[0][0] > 0) != (left > 0):
        held, cost = lots[0]
        if abs(left) >= abs(held):
            left += held
            lots.pop(0)
        else:
            lots[0] = [held + left, cost - share_of(cost, -left, held)]
            left = 0
    if left:
        # What closes takes its share, what opens the rest.
        lots.append([left, amount - share_of(amount, quantity - left, quantity)])
    while method == "fifo" and len(lots) > max_lots:
        lots[:2] = [[lots[0][0] + lots[1][0], lots[0][1] + lots[1][1]]]
    before = row.open_cost
    row.quantity, row.open_cost = sum(held for held, _ in lots), sum(cost for _, cost in lots)
    row.lots = lots if method == "fifo" else []
    row.realized += row.open_cost - before - amount
