"""The arithmetic of one position row: how a fill changes quantity, cost and profit, under moving average and FIFO.

Everything is exact: amounts are integers of 10⁻⁶ and the only rounding is the share of open cost that a partial reduction removes
(half-even; all of it when the position closes). At every moment realized = cash flow + open_cost - basis, with
cash flow = -Σ signed quantity x price x multiplier; so at flat, realized is the net cash flow exactly.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from execpos.domain.events import Lot
from execpos.domain.money import divide_half_even

CostMethod = Literal["average", "fifo"]


class Row(msgspec.Struct, frozen=True):
    """What is held, what it cost, and what was earned. Quantities signed in shares or contracts, amounts in 10⁻⁶.

    The day's figures belong to `trading_date` (days since the epoch), which never moves back.
    """

    quantity: int = 0
    open_cost: int = 0
    realized: int = 0
    realized_day: int = 0
    trading_date: int = 0
    fees: int = 0
    taxes: int = 0
    basis: int = 0
    day_buy_quantity: int = 0
    day_buy_amount: int = 0
    day_sell_quantity: int = 0
    day_sell_amount: int = 0
    lots: tuple[Lot, ...] = ()
    lots_merged: bool = False


EMPTY = Row()


class Entry(msgspec.Struct, frozen=True):
    """One fill as a row sees it: `quantity` signed, `price` in 10⁻⁶ per unit; `seq` is its place in the account's log."""

    seq: int
    fill_id: str
    quantity: int
    price: int
    multiplier: int
    fee: int
    tax: int
    trading_date: int


def _close_average(row: Row, taken: int) -> tuple[int, tuple[Lot, ...]]:
    held = abs(row.quantity)
    return (row.open_cost if taken == held else divide_half_even(row.open_cost * taken, held)), row.lots


def _close_fifo(row: Row, taken: int) -> tuple[int, tuple[Lot, ...]]:
    removed = 0
    for index, lot in enumerate(row.lots):
        size = abs(lot.quantity)
        if taken < size:
            part = divide_half_even(lot.cost * taken, size)
            signed = taken if lot.quantity > 0 else -taken
            rest = Lot(quantity=lot.quantity - signed, cost=lot.cost - part, fill_id=lot.fill_id)
            return removed + part, (rest, *row.lots[index + 1 :])
        removed += lot.cost
        taken -= size
        if not taken:
            return removed, row.lots[index + 1 :]
    raise AssertionError("more was closed than the lots hold")


def _with_lot(lots: tuple[Lot, ...], lot: Lot, max_lots: int) -> tuple[tuple[Lot, ...], bool]:
    lots = (*lots, lot)
    if len(lots) <= max_lots:
        return lots, False
    first, second, *rest = lots
    merged = Lot(quantity=first.quantity + second.quantity, cost=first.cost + second.cost, fill_id=second.fill_id)
    return (merged, *rest), True


def apply(row: Row, entry: Entry, method: CostMethod, max_lots: int) -> Row:
    """Return `row` after one fill. Pure: the same arguments give the same row."""
    quantity, open_cost, lots, merged = row.quantity, row.open_cost, row.lots, row.lots_merged
    signed = entry.quantity
    unit = entry.price * entry.multiplier
    opening, gained = signed, 0
    if quantity and (quantity > 0) != (signed > 0):
        taken = min(abs(signed), abs(quantity))
        removed, lots = _close_fifo(row, taken) if method == "fifo" else _close_average(row, taken)
        closing = taken if signed > 0 else -taken
        gained = -closing * unit - removed
        open_cost -= removed
        opening = signed - closing
    if opening:
        cost = opening * unit
        open_cost += cost
        if method == "fifo":
            lots, now_merged = _with_lot(lots, Lot(quantity=opening, cost=cost, fill_id=entry.fill_id), max_lots)
            merged = merged or now_merged
    day, same_day = row.trading_date, True
    realized_day, buys, bought, sells, sold = (
        row.realized_day,
        row.day_buy_quantity,
        row.day_buy_amount,
        row.day_sell_quantity,
        row.day_sell_amount,
    )
    if entry.trading_date > day:
        day, realized_day, buys, bought, sells, sold = entry.trading_date, 0, 0, 0, 0, 0
    elif entry.trading_date < day:
        same_day = False
    if same_day:
        realized_day += gained
        if signed > 0:
            buys, bought = buys + signed, bought + signed * unit
        else:
            sells, sold = sells - signed, sold - signed * unit
    return Row(
        quantity=quantity + signed,
        open_cost=open_cost,
        realized=row.realized + gained,
        realized_day=realized_day,
        trading_date=day,
        fees=row.fees + entry.fee,
        taxes=row.taxes + entry.tax,
        basis=row.basis,
        day_buy_quantity=buys,
        day_buy_amount=bought,
        day_sell_quantity=sells,
        day_sell_amount=sold,
        lots=lots,
        lots_merged=merged,
    )


def refold(base: Row, entries: Iterable[Entry], method: CostMethod, max_lots: int) -> Row:
    """Return the row that `entries`, in this order, make of `base`."""
    row = base
    for entry in entries:
        row = apply(row, entry, method, max_lots)
    return row


def average_price(row: Row, multiplier: int) -> int:
    """Return open_cost per unit in 10⁻⁶, half-even; 0 when flat."""
    units = row.quantity * multiplier
    if not units:
        return 0
    return divide_half_even(row.open_cost, units) if units > 0 else divide_half_even(-row.open_cost, -units)
