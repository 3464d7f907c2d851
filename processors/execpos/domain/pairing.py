"""The day trades of one stock and one day, so kept that one more fill or void tells which sales it touches without a look at the others.

Sales are paired in the order of the log until the day's buys are used up. So what is paired is a stretch from the first sale on: a buy
moves its end, and a sale is touched only where the stretch ends.
"""

from bisect import bisect_right
from collections.abc import Iterable

from execpos.domain.events import FillEvent


class PairedDay:
    """Buys and sales of one symbol, book and session. Mutable; who changes it takes care of what an abort takes back.

    Args:
        fills: those that stand and whose kind can be day-traded, in any order.
    """

    __slots__ = ("_bought", "_ends", "_places", "_sales")

    def __init__(self, fills: Iterable[FillEvent]) -> None:
        self._bought = 0
        self._sales: list[FillEvent] = []
        # Sum of the sales up to and with each, and where each stands.
        self._ends: list[int] = []
        self._places: dict[str, int] = {}
        for fill in sorted(fills, key=lambda fill: fill.fill_seq):
            self.add(fill)

    def sales(self) -> list[FillEvent]:
        """Return every sale, as it was when it came."""
        return list(self._sales)

    def paired(self, fill_id: str) -> int:
        """Return the units of a sale that are paired; 0 for a buy and for what is not known here."""
        at = self._places.get(fill_id)
        return 0 if at is None else self._paired(at)

    def _paired(self, at: int) -> int:
        quantity = self._sales[at].quantity
        return max(0, min(quantity, self._bought - self._ends[at] + quantity))

    def add(self, fill: FillEvent) -> list[FillEvent]:
        """Take in a fill whose place in the log is behind all others, and return the sales whose pairs changed."""
        if fill.side == "BUY":
            before, self._bought = self._bought, self._bought + fill.quantity
            return self._between(before, self._bought)
        self._places[fill.fill_id] = len(self._sales)
        self._sales.append(fill)
        self._ends.append((self._ends[-1] if self._ends else 0) + fill.quantity)
        return [fill]

    def remove(self, fill: FillEvent) -> list[FillEvent]:
        """Leave out a fill that is in it, and return the other sales whose pairs changed."""
        if fill.side == "BUY":
            before, self._bought = self._bought, self._bought - fill.quantity
            return self._between(self._bought, before)
        at = self._places[fill.fill_id]
        following, later = self._sales[at + 1 :], self._ends[at + 1 :]
        del self._sales[at:], self._ends[at:], self._places[fill.fill_id]
        for sale in following:
            self.add(sale)
        # Those behind it move up by its size: one that was not paired fully may be paired by more now.
        return [sale for sale, end in zip(following, later, strict=True) if end > self._bought > end - sale.quantity - fill.quantity]

    def _between(self, low: int, high: int) -> list[FillEvent]:
        """Return the sales of which a unit lies between two ends of the paired stretch."""
        first = bisect_right(self._ends, low)
        found = []
        for at in range(first, len(self._sales)):
            if self._ends[at] - self._sales[at].quantity >= high:
                break
            found.append(self._sales[at])
        return found
