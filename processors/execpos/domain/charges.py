"""What each fill of an order bears of the order's charges, once it is known which fills stand and which sales were day trades.

A fill bears the difference that it makes on the order's cumulative estimate, fills taken in the order of the log. So the charges are a
function of the fills that stand: any order of voids among them ends in the same.
"""

from collections.abc import Mapping, Sequence

from execpos.domain.events import FillEvent
from execpos.domain.fees import FeeSchedule
from execpos.domain.instruments import Product


def charges(
    fees: FeeSchedule, product: Product, fills: Sequence[FillEvent], relieved: Mapping[str, int] | None = None
) -> list[tuple[int, int]]:
    """Return (commission, tax) of each fill, 10⁻⁶ TWD; a later one may be negative where the table has a day-trade rate.

    Args:
        fees: the tables.
        product: what was traded.
        fills: those of one order that stand, by `fill_seq`.
        relieved: fill id -> units of it that pay the day-trade tax; those that it lacks pay the full one.
    """
    shares = []
    fee = tax = amount = quantity = spared = 0
    for fill in fills:
        value = abs(fill.price * fill.multiplier)
        quantity += fill.quantity
        amount += fill.quantity * value
        total_fee, total_tax = fees.estimate(product, fill.book, fill.order_lot, fill.side, amount, quantity, fill.trading_date)
        if relieved:
            spared += relieved.get(fill.fill_id, 0) * value
            if spared:
                total_tax = fees.day_trade_tax(product, fill.book, fill.side, amount, spared, fill.trading_date)
        shares.append((total_fee - fee, total_tax - tax))
        fee, tax = total_fee, total_tax
    return shares
