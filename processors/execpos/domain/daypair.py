"""One row under `day_pair_average`: the day's buys and sells meet each other first, and what is left trades against the morning.

The row is a function of the morning (quantity, cost and profit before today) and of the sums of the day's fills, so the order in which the
fills of one day come changes nothing. Pairs are taken at the day's average prices; the rest of the larger side is one trade against the
morning's position under moving average. A fill of an earlier day, and whatever is no fill, changes the morning, and today is computed
again. Amounts are integers of 10⁻⁶, and each division is rounded half-even once, its rest going to the other part, so that
realized = cash flow + open_cost - basis holds exactly at every step.
"""

from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from execpos.domain.money import divide_half_even

if TYPE_CHECKING:
    from execpos.domain.positions import Entry, Row


class Morning(NamedTuple):
    """What was held before today's fills: signed quantity, and its open cost in 10⁻⁶ (negative for a short)."""

    quantity: int
    cost: int


class Day(NamedTuple):
    """Sums of the fills of one trading date: quantities and amounts of the buys and of the sells, all 0 or more but for prices below 0."""

    buys: int
    bought: int
    sells: int
    sold: int


def trade(morning: Morning, quantity: int, amount: int) -> tuple[Morning, int]:
    """Return the position after one trade under moving average, and what it realized.

    Args:
        morning: position before.
        quantity: signed.
        amount: what is paid, 10⁻⁶; negative for what is received.
    """
    held, cost = morning
    if not quantity:
        return morning, 0
    if not held or (held > 0) == (quantity > 0):
        return Morning(held + quantity, cost + amount), 0
    taken = min(abs(quantity), abs(held))
    removed = part(cost, taken, abs(held))
    closing = part(amount, taken, abs(quantity))
    return Morning(held + quantity, cost - removed + amount - closing), -closing - removed


def evening(morning: Morning, day: Day) -> tuple[Morning, int]:
    """Return the position after today's fills, and what today realized: the pairs, and the rest against the morning."""
    paired = min(day.buys, day.sells)
    spent, received = part(day.bought, paired, day.buys), part(day.sold, paired, day.sells)
    after, gained = trade(morning, day.buys - day.sells, day.bought - spent - (day.sold - received))
    if not after.quantity and after.cost:
        # Basis that was added to what today bought, and sold again: it is lost with it.
        return Morning(0, 0), received - spent + gained - after.cost
    return after, received - spent + gained


def part(amount: int, taken: int, whole: int) -> int:
    """Return the share of `amount` that `taken` of `whole` units have, half-even; all of it when they are all of them."""
    return amount if taken == whole else divide_half_even(amount * taken, whole)


def apply(row: "Row", entry: "Entry") -> "Row":
    """Return `row` after one entry. Pure. A correction is no trade of the day: it changes the morning, and so what today left of it."""
    kind, date = entry.kind, entry.trading_date
    if kind == "FEES":
        return structs.replace(row, fees=row.fees + entry.fee, taxes=row.taxes + entry.tax)
    if kind == "COST_BASIS" and not row.quantity:
        return row
    day, today = Day(row.day_buy_quantity, row.day_buy_amount, row.day_sell_quantity, row.day_sell_amount), row.trading_date
    morning, earlier = Morning(row.quantity - day.buys + day.sells, row.day_open_cost), row.realized - row.realized_day
    if date > today and kind != "COST_BASIS":
        morning, earlier, day, today = Morning(row.quantity, row.open_cost), row.realized, Day(0, 0, 0, 0), date
    basis = row.basis
    if kind == "COST_BASIS":
        morning, basis = Morning(morning.quantity, morning.cost + entry.amount), basis + entry.amount
    elif kind or date < today:
        morning, gained = trade(morning, entry.quantity, entry.amount)
        earlier += gained
    elif entry.quantity > 0:
        day = day._replace(buys=day.buys + entry.quantity, bought=day.bought + entry.amount)
    else:
        day = day._replace(sells=day.sells - entry.quantity, sold=day.sold - entry.amount)
    after, realized_day = evening(morning, day)
    realized = earlier + realized_day
    if kind == "AT_COST":
        # No profit: where the cost that goes differs from the amount, the difference is one of basis.
        basis, realized = basis + realized - row.realized, row.realized
    return structs.replace(
        row,
        quantity=after.quantity,
        open_cost=after.cost,
        realized=realized,
        realized_day=realized_day,
        trading_date=today,
        fees=row.fees + entry.fee,
        taxes=row.taxes + entry.tax,
        basis=basis,
        day_buy_quantity=day.buys,
        day_buy_amount=day.bought,
        day_sell_quantity=day.sells,
        day_sell_amount=day.sold,
        day_open_cost=morning.cost,
    )
