"""What a position cost before we began to watch, and at which price a difference from the broker is booked. Exact, and never a guess.

The broker says what it holds now and at which average; we know the fills since. Replaying them from an opening at an unknown price p, the
average stays affine in p (avg = a + b·p) until the position goes through zero, so p = (average - a) / b. Where b is 0 the price left no
trace: the answer is None, and whatever is booked instead is ESTIMATED. Prices are per unit, in 10⁻⁶, so no multiplier is needed.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple

from execpos.domain.positions import CostMethod


class Holding(NamedTuple):
    """So many units (negative: short) at this average price, 10⁻⁶."""

    quantity: int
    average: int


class Traded(NamedTuple):
    """One fill since the opening: signed units, price in 10⁻⁶, trading date in days since the epoch (for `day_pair_average`)."""

    quantity: int
    price: int
    trading_date: int = 0


class Opening(NamedTuple):
    """What was held before the fills. `price` is half-even in 10⁻⁶; None where the broker's average does not tell it."""

    quantity: int
    price: int | None


class Step(NamedTuple):
    """One booking: signed units at a price in 10⁻⁶, or at the cost of what is held (None), which realizes nothing."""

    quantity: int
    price: int | None


class TrueUp(NamedTuple):
    """What brings a position to the broker's.

    `basis` is the cost that still differs then, 10⁻⁶ without the multiplier: a matter for COST_BASIS, never for a price.
    """

    steps: tuple[Step, ...]
    basis: int


def opening(broker: Holding, fills: Sequence[Traded], method: CostMethod) -> Opening:
    """Return what was held before `fills`, so that replaying them ends in what the broker says; a price of 0 or less is none."""
    quantity = broker.quantity - sum(fill.quantity for fill in fills)
    if not quantity or not broker.quantity:
        return Opening(quantity, None)
    if method == "fifo":
        exact = _fifo(quantity, broker, fills)
    elif method == "day_pair_average":
        exact = _average(quantity, broker, _days(fills))
    else:
        exact = _average(quantity, broker, ((fill.quantity, Fraction(fill.price)) for fill in fills))
    price = None if exact is None else round(exact)
    return Opening(quantity, price if price is not None and price > 0 else None)


def _average(quantity: int, broker: Holding, trades: Iterable[tuple[int, Fraction]]) -> Fraction | None:
    held, known, weight = quantity, Fraction(0), Fraction(1)
    for signed, price in trades:
        after = held + signed
        if (held > 0) == (signed > 0):
            known = (known * held + price * signed) / after
            weight = weight * held / after
        elif after == 0 or (after > 0) != (held > 0):
            # Closed: from here on nothing is left of the opening.
            return None
        held = after
    return (broker.average - known) / weight


def _fifo(quantity: int, broker: Holding, fills: Sequence[Traded]) -> Fraction | None:
    left, rest = quantity, Fraction(broker.average) * broker.quantity
    for fill in fills:
        if (fill.quantity > 0) == (quantity > 0):
            rest -= fill.quantity * fill.price
        else:
            left += fill.quantity
            if left == 0 or (left > 0) != (quantity > 0):
                return None
    return rest / left


def _days(fills: Sequence[Traded]) -> Iterable[tuple[int, Fraction]]:
    """Yield what each trading date leaves after its pairs: one trade at the average of the larger side."""
    dated = sorted(fills, key=lambda fill: fill.trading_date)
    for _, group in groupby(dated, key=lambda fill: fill.trading_date):
        day = list(group)
        left = sum(fill.quantity for fill in day)
        if left:
            side = [fill for fill in day if (fill.quantity > 0) == (left > 0)]
            yield left, Fraction(sum(fill.quantity * fill.price for fill in side), sum(fill.quantity for fill in side))


def neutral_price(quantity: int, fills: Sequence[Traded]) -> int | None:
    """Return the average price at which `fills` closed an opening of `quantity`: booked at it, what is lost of its profit is not invented.

    None when they did not close any of it. Half-even, 10⁻⁶.
    """
    left, amount, units = quantity, Fraction(0), 0
    for fill in fills:
        if left and (fill.quantity > 0) != (left > 0):
            taken = min(abs(fill.quantity), abs(left))
            amount, units = amount + taken * fill.price, units + taken
            left += taken if fill.quantity > 0 else -taken
    return round(amount / units) if units else None


def adjust_price(current: Holding, target: Holding) -> int | None:
    """Return the price at which one trade takes `current` to `target`, 10⁻⁶ half-even; None when there is none, or no difference.

    Towards zero it is the current average, so that nothing is realized; from zero, and through it, the broker's; and on the same side the
    one that makes the two averages agree, unless it would have to be 0 or less.
    """
    if current.quantity == target.quantity:
        return None
    if not current.quantity or (target.quantity and (target.quantity > 0) != (current.quantity > 0)):
        return target.average
    if abs(target.quantity) < abs(current.quantity):
        return current.average
    difference = target.quantity * target.average - current.quantity * current.average
    price = round(Fraction(difference, target.quantity - current.quantity))
    return price if price > 0 else None


def true_up(current: Holding, target: Holding) -> TrueUp:
    """Return the bookings that take `current` to `target` without inventing profit; through zero it closes at cost and opens anew."""
    held, wanted = current.quantity, target.quantity
    cost = wanted * target.average
    if held == wanted:
        return TrueUp((), cost - held * current.average)
    if held and (not wanted or (wanted > 0) != (held > 0)):
        closing = Step(-held, None)
        return TrueUp((closing, Step(wanted, target.average)) if wanted else (closing,), 0)
    if abs(wanted) < abs(held):
        return TrueUp((Step(wanted - held, None),), cost - wanted * current.average)
    price = adjust_price(current, target)
    if price is None:
        price = target.average
    return TrueUp((Step(wanted - held, price),), cost - held * current.average - (wanted - held) * price)
