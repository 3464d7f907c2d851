"""The arithmetic of one position row: how fills and corrections change quantity, cost and profit, under moving average and FIFO.

The third method, which pairs the day's fills first, is in `daypair`.

Everything is exact: amounts are integers of 10⁻⁶ and the only rounding is the share of open cost that a partial reduction removes
(half-even; all of it when the position closes). At every moment realized = cash flow + open_cost - basis, with
cash flow = -Σ signed amount of what was traded; so at flat, realized is the net cash flow exactly, as far as no basis was changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import msgspec

from execpos.domain import daypair
from execpos.domain.events import Lot
from execpos.domain.money import divide_half_even

CostMethod = Literal["average", "fifo", "day_pair_average"]


class Row(msgspec.Struct, frozen=True, gc=False):
    """What is held, what it cost, and what was earned. Quantities signed in shares or contracts, amounts in 10⁻⁶.

    The day's figures belong to `trading_date` (days since the epoch), the newest among the entries that stand (ADR 0011).
    `day_open_cost` is the open cost before them, kept only under `day_pair_average`.
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
    day_open_cost: int = 0
    lots: tuple[Lot, ...] = ()
    lots_merged: bool = False


EMPTY = Row()


def method_of(methods: Mapping[str, CostMethod], security_type: str, book: str) -> CostMethod:
    """Return how a row keeps its cost: as said for `TYPE.book`, else for its security type, else for its book, else `average`.

    `security_type` is empty while no fill told it.
    """
    found = (methods.get(f"{security_type}.{book}") or methods.get(security_type)) if security_type else None
    return found or methods.get(book, "average")


EntryKind = Literal["", "AT_COST", "TRANSFER", "COST_BASIS", "FEES"]


_KINDS: dict[str, EntryKind] = {kind: kind for kind in get_args(EntryKind)}


def kind_of(word: str) -> EntryKind:
    """Return the kind of that name.

    Raises:
        KeyError: there is none.
    """
    return _KINDS[word]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One line of a row: a fill, or what a correction does in its place of the account's log.

    Attributes:
        seq: place in the account's log; 0 for an opening balance, which stands before all fills.
        fill_id: the fill; for a TRANSFER the fill that opened the lot.
        quantity: signed.
        amount: signed as the quantity, 10⁻⁶: quantity x price x multiplier of a fill, the cost that moves with a TRANSFER; the change of
            open cost for COST_BASIS.
        fee: 10⁻⁶.
        tax: 10⁻⁶.
        trading_date: days since the epoch.
        kind: empty for a trade. AT_COST closes at the row's own cost, TRANSFER is an internal trade, COST_BASIS and FEES move nothing.
    """

    seq: int
    fill_id: str
    quantity: int
    amount: int
    fee: int
    tax: int
    trading_date: int
    kind: EntryKind = ""


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
            rest = Lot(lot.quantity - signed, lot.cost - part, lot.fill_id)
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
    """Return `row` after one entry. Pure: the same arguments give the same row."""
    if entry.kind or method == "day_pair_average":
        return _apply_other(row, entry, method, max_lots)
    quantity, open_cost, lots, merged = row.quantity, row.open_cost, row.lots, row.lots_merged
    opening, opened = signed, amount = entry.quantity, entry.amount
    gained = 0
    if quantity and (quantity > 0) != (signed > 0):
        taken, size = abs(quantity), abs(signed)
        if size <= taken:
            taken, closed = size, amount
            opening = opened = 0
        else:
            # A flip. The parts of a fill's amount are exact; of an internal trade's one is rounded and the other takes the rest.
            closed = divide_half_even(amount * taken, size)
            opening, opened = signed + quantity, amount - closed
        removed, lots = _close_fifo(row, taken) if method == "fifo" else _close_average(row, taken)
        gained = -closed - removed
        open_cost -= removed
    if opening:
        open_cost += opened
        if method == "fifo":
            lots, now_merged = _with_lot(lots, Lot(opening, opened, entry.fill_id), max_lots)
            merged = merged or now_merged
    day, realized_day = row.trading_date, row.realized_day
    buys, bought, sells, sold = row.day_buy_quantity, row.day_buy_amount, row.day_sell_quantity, row.day_sell_amount
    if entry.trading_date > day:
        day, realized_day, buys, bought, sells, sold = entry.trading_date, 0, 0, 0, 0, 0
    if entry.trading_date == day:
        realized_day += gained
        if signed > 0:
            buys += signed
            bought += amount
        else:
            sells -= signed
            sold -= amount
    # Field by field in the order of the class; keywords would cost 0.5 µs.
    return Row(
        quantity + signed,
        open_cost,
        row.realized + gained,
        realized_day,
        day,
        row.fees + entry.fee,
        row.taxes + entry.tax,
        row.basis,
        buys,
        bought,
        sells,
        sold,
        0,  # day_open_cost
        lots,
        merged,
    )


def _apply_other(row: Row, entry: Entry, method: CostMethod, max_lots: int) -> Row:
    """Return `row` after what is not the plain case: another method, or an entry that is no trade in the market.

    The latter leaves the day's purchases and sales alone.
    """
    if method == "day_pair_average":
        return daypair.apply(row, entry)
    if entry.kind == "COST_BASIS":
        return _with_basis(row, entry.amount, method) if row.quantity else row
    if entry.kind == "FEES":
        return msgspec.structs.replace(row, fees=row.fees + entry.fee, taxes=row.taxes + entry.tax)
    after = apply(row, msgspec.structs.replace(entry, kind=""), method, max_lots)
    same_day = after.trading_date == row.trading_date
    realized, realized_day, basis = after.realized, after.realized_day, after.basis
    if entry.kind == "AT_COST":
        # What is closed takes its own cost along: no profit. Where the amount says otherwise, the difference is one of basis.
        basis += realized - row.realized
        realized, realized_day = row.realized, row.realized_day if same_day else 0
    return msgspec.structs.replace(
        after,
        realized=realized,
        realized_day=realized_day,
        basis=basis,
        day_buy_quantity=row.day_buy_quantity if same_day else 0,
        day_buy_amount=row.day_buy_amount if same_day else 0,
        day_sell_quantity=row.day_sell_quantity if same_day else 0,
        day_sell_amount=row.day_sell_amount if same_day else 0,
    )


def _with_basis(row: Row, change: int, method: CostMethod) -> Row:
    """Change what is open by `change`, over the lots by quantity, the newest taking the rest."""
    lots = row.lots
    if method == "fifo":
        each = zip(lots, shares(change, [abs(lot.quantity) for lot in lots]), strict=True)
        lots = tuple(Lot(lot.quantity, lot.cost + share, lot.fill_id) for lot, share in each)
    return msgspec.structs.replace(row, open_cost=row.open_cost + change, basis=row.basis + change, lots=lots)


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Return `total` split by weights (not all 0), each share half-even and the last one taking the rest."""
    whole = sum(weights)
    parts = [divide_half_even(total * weight, whole) for weight in weights[:-1]]
    return [*parts, total - sum(parts)]


class Part(NamedTuple):
    """A part of what a row holds: signed quantity, its open cost, and the fill that opened it (empty where cost is not kept by lot)."""

    quantity: int
    cost: int
    fill_id: str


def parts(row: Row, taken: int, method: CostMethod, trading_date: int) -> list[Part]:
    """Return what a TRANSFER of `taken` (more than 0, at most what is held) takes out of a row: its oldest lots, or one part.

    At that cost the row realizes nothing; only under `day_pair_average` it may, when more goes than the morning held.
    """
    sign = 1 if row.quantity > 0 else -1
    if method == "day_pair_average":
        after = apply(row, Entry(0, "", -sign * taken, 0, 0, 0, trading_date, "TRANSFER"), method, 0)
        return [Part(sign * taken, row.open_cost - after.open_cost, "")]
    if method == "average":
        return [Part(sign * taken, _close_average(row, taken)[0], "")]
    found = []
    for lot in row.lots:
        size = min(taken, abs(lot.quantity))
        cost = lot.cost if size == abs(lot.quantity) else divide_half_even(lot.cost * size, abs(lot.quantity))
        found.append(Part(sign * size, cost, lot.fill_id))
        taken -= size
        if not taken:
            break
    return found


def scaled(row: Row, quantity: int, cash: int, trading_date: int, method: CostMethod) -> Row:
    """Return `row` with another quantity at the same cost, and `cash` earned. The cost of what became nothing, or changed sides, is lost.

    Under `day_pair_average` today begins anew: what was traded before the action no longer pairs with what comes after it.
    """
    lost = row.open_cost if quantity * row.quantity <= 0 else 0
    gained = cash - lost
    after = msgspec.structs.replace(
        row,
        quantity=quantity,
        open_cost=row.open_cost - lost,
        realized=row.realized + gained,
        realized_day=row.realized_day + gained if trading_date == row.trading_date else row.realized_day,
        lots=_scaled_lots(row, quantity) if method == "fifo" else (),
    )
    if trading_date <= row.trading_date and method != "day_pair_average":
        return after
    return msgspec.structs.replace(
        after,
        trading_date=max(trading_date, row.trading_date),
        realized_day=0 if method == "day_pair_average" else gained,
        day_buy_quantity=0,
        day_buy_amount=0,
        day_sell_quantity=0,
        day_sell_amount=0,
        day_open_cost=after.open_cost if method == "day_pair_average" else 0,
    )


def _scaled_lots(row: Row, quantity: int) -> tuple[Lot, ...]:
    """Return the lots of a row at another quantity, each at its cost; one that becomes nothing leaves its cost to the next."""
    if quantity * row.quantity <= 0:
        return (Lot(quantity, 0, ""),) if quantity else ()
    before, seen, made, cost, through = abs(row.quantity), 0, list[Lot](), 0, 0
    for lot in row.lots:
        seen += abs(lot.quantity)
        cost += lot.cost
        size = abs(quantity) * seen // before - through
        if size:
            through += size
            made.append(Lot(size if quantity > 0 else -size, cost, lot.fill_id))
            cost = 0
    last = made[-1]
    return (*made[:-1], Lot(last.quantity, last.cost + cost, last.fill_id))


def without_open(row: Row) -> Row:
    """Return `row` without what it holds, which goes elsewhere at its cost."""
    return msgspec.structs.replace(row, quantity=0, open_cost=0, day_open_cost=0, lots=())


def with_open(row: Row, other: Row) -> Row:
    """Return a flat row with what `other` holds."""
    return msgspec.structs.replace(
        row,
        quantity=other.quantity,
        open_cost=other.open_cost,
        lots=other.lots,
        lots_merged=other.lots_merged,
        day_open_cost=other.day_open_cost,
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
