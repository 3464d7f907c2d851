"""Whether the quantities of a broker's stock list can be shares. Pure.

They were asked for in shares. Known defects give them in lots, with odd lots cut off, or multiply what is in shares already; such a number
looks like a large difference and is none. A defect is of the whole list more often than of a row.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from execpos.domain.money import MICROS

# Shares in a board lot; the defects are of this factor, whatever the table of order lots says.
SHARES_PER_LOT = 1_000

# Charges of both sides (0.585 % at the most), and a year's interest of a margin loan.
_COSTS_PERCENT = 10

# The least commission of both sides, in 10⁻⁶ TWD.
_COSTS_LEAST = 50 * MICROS

# A price that has moved by less than this leaves the result to the charges, which are not known.
_MOVED_PERCENT = 5

# Between what a result can be in shares (once its bound) and in lots (a thousand times the same), by ratio.
_IN_LOTS = 30


# A book that is further off than by this factor in the other unit makes that unit no likelier than a large difference.
_FAR = 10


class Line(msgspec.Struct, frozen=True):
    """One row of the list, signed shares beside ours; prices and the broker's own result of the row in 10⁻⁶."""

    ours: int
    theirs: int
    price: int
    last_price: int
    pnl: int


def misfit(ours: int, theirs: int) -> str:
    """Return why `theirs` is our own number in another unit, or empty. Both signed; equal ones, and 0, always fit."""
    if ours == theirs or not ours or not theirs:
        return ""
    held, told = abs(ours), abs(theirs)
    if told == held // SHARES_PER_LOT:
        return f"{theirs} is {ours} in lots"
    return f"{theirs} is {ours} taken as lots" if told == held * SHARES_PER_LOT else ""


def _may_be(ours: int, theirs: int) -> str:
    """Return why a number that nothing proves to be in shares may be in another unit, or empty."""
    held, told = abs(ours), abs(theirs)
    if 0 < told < SHARES_PER_LOT and (told * SHARES_PER_LOT <= _FAR * held or not held):
        return f"{theirs} may be lots beside {ours}: nothing in the list says that it is in shares"
    if held and told >= SHARES_PER_LOT and told % SHARES_PER_LOT == 0 and held < SHARES_PER_LOT and told * _FAR >= held * SHARES_PER_LOT:
        return f"{theirs} may be {theirs // SHARES_PER_LOT} taken as lots: {ours} is an odd lot"
    return ""


def by_result(line: Line) -> Literal["shares", "lots", ""]:
    """Return which unit the broker's own result of the row speaks for, or empty: the price has not moved enough to tell."""
    value = abs(line.last_price * line.theirs)
    moved = abs((line.last_price - line.price) * line.theirs)
    most = moved + value * _COSTS_PERCENT // 100 + _COSTS_LEAST
    if abs(line.pnl) > _IN_LOTS * most:
        return "lots"
    return "shares" if abs(line.pnl) <= most and moved * 100 >= value * _MOVED_PERCENT and value > _COSTS_LEAST else ""


class Units:
    """What a list says of its own unit.

    Args:
        lines: its rows; those whose own number moves are left out.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self._agrees = any(line.ours == line.theirs != 0 for line in lines)
        self._doubt = "" if self._agrees else next(filter(None, map(_doubt, lines)), "")
        # In lots, a quantity of whole thousands would be a holding of millions.
        self._whole = any(line.theirs and line.theirs % SHARES_PER_LOT == 0 for line in lines)

    def doubt(self, line: Line) -> str:
        """Return why the number of a row that differs cannot be trusted, or empty."""
        if why := _doubt(line):
            return why
        if self._doubt:
            return f"another row of the list: {self._doubt}"
        if self._agrees or by_result(line) == "shares" or (self._whole and not line.ours):
            return ""
        return _may_be(line.ours, line.theirs)


def _doubt(line: Line) -> str:
    """Return why one row alone cannot be in shares, or empty."""
    if why := misfit(line.ours, line.theirs):
        return why
    return f"{line.theirs} may be lots: the result of the row is that of a thousand times as many" if by_result(line) == "lots" else ""
