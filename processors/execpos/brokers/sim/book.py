"""The simulated broker's own account book: the truth that positions are checked against.

Written from the rules alone and apart from `execpos.domain`, slowly and plainly: every call of `rows` folds all fills again.

Rules. Money is in whole 10⁻⁶ of the currency. Cash stocks are kept at moving average, every other book as lots, first in first out.
Taking x out of q removes cost·x/q, rounded half to even to 10⁻⁶, and all of it when x = q; under FIFO the same for each lot. A fill that
goes through zero closes first and opens with the rest. Fees are not in this book. A fill belongs to the owner its order has in the end: an
intent if there is one, else the text of custom_field, else UNASSIGNED. Fills of a row are folded in the order in which they were first
delivered.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from execpos.brokers.sim.config import SimAccount
from execpos.brokers.sim.market import CENT
from execpos.brokers.sim.orders import Fill

NET = "*"
UNASSIGNED = "UNASSIGNED"

_MICROS_PER_CENT = 1_000_000 // CENT
_FIGURES = ("quantity", "open_cost", "realized")


def _share(cost: int, part: int, whole: int) -> int:
    """Return cost·part/whole, half to even."""
    return cost if part == whole else round(Fraction(cost * part, whole))


class _Row:
    """One position: signed lots in order, each (quantity, cost); average cost keeps a single one."""

    def __init__(self, *, average: bool) -> None:
        self._average = average
        self._lots: list[tuple[int, int]] = []
        self.realized = 0

    @property
    def quantity(self) -> int:
        return sum(quantity for quantity, _ in self._lots)

    @property
    def open_cost(self) -> int:
        return sum(cost for _, cost in self._lots)

    def add(self, units: int, value: int) -> None:
        """Book a fill: signed units, and the value of one unit."""
        sign = 1 if units > 0 else -1
        while units and self._lots and self._lots[0][0] * sign < 0:
            held, cost = self._lots[0]
            closing = min(abs(units), abs(held))
            removed = _share(cost, closing, abs(held))
            # Closing a long brings in its value and gives up its cost; for a short both are negative.
            self.realized += -sign * closing * value - removed
            self._lots[0] = (held + sign * closing, cost - removed)
            if self._lots[0][0] == 0:
                del self._lots[0]
            units -= sign * closing
        if units:
            self._lots.append((units, units * value))
            if self._average:
                self._lots = [(self.quantity, self.open_cost)]


class SimBook:
    """Who holds what, by strategy and net. Takes what is delivered, in that order."""

    def __init__(self, env: str = "simulation") -> None:
        self._env = env
        self._fills: list[Fill] = []

    def add(self, fill: Fill) -> None:
        """Book a fill at its first delivery."""
        self._fills.append(fill)

    @staticmethod
    def owner(fill: Fill) -> str:
        """Return the strategy that owns a fill, as far as was delivered until now."""
        order = fill.order
        return order.intent or order.custom_field or UNASSIGNED

    def account(self, account: SimAccount) -> str:
        """Return the account's name in the rows: `env|market|broker|account`."""
        return f"{self._env}|{account.market}|{account.broker_id}|{account.account_id}"

    def rows(self) -> list[dict[str, Any]]:
        """Return every position that was ever touched, flat ones too, by account, symbol, book and strategy (`*` is net).

        Keys: account, symbol, book, strategy_id, quantity (shares or contracts), open_cost and realized (10⁻⁶ TWD).
        """
        rows: dict[tuple[str, str, str, str], _Row] = {}
        for fill in self._fills:
            order = fill.order
            value = fill.price * _MICROS_PER_CENT * order.instrument.multiplier
            for strategy in (self.owner(fill), NET):
                key = (self.account(order.account), order.instrument.full_code, order.book, strategy)
                row = rows.get(key)
                if row is None:
                    row = rows[key] = _Row(average=order.book == "cash")
                row.add(order.side * fill.units, value)
        return [
            {
                "account": account,
                "symbol": symbol,
                "book": book,
                "strategy_id": strategy,
                "quantity": row.quantity,
                "open_cost": row.open_cost,
                "realized": row.realized,
            }
            for (account, symbol, book, strategy), row in sorted(rows.items())
        ]

    def differences(self, found: Iterable[Mapping[str, Any]]) -> list[str]:
        """Return one line for each figure in which `found` differs from this book; a row that is missing counts as all zero.

        Args:
            found: rows with the keys of `rows`; more keys do no harm.
        """
        names = ("account", "symbol", "book", "strategy_id")
        mine = {tuple(row[name] for name in names): row for row in self.rows()}
        theirs = {tuple(row[name] for name in names): row for row in found}
        lines = []
        for key in sorted(mine.keys() | theirs.keys()):
            for figure in _FIGURES:
                expected = mine[key][figure] if key in mine else 0
                actual = theirs[key][figure] if key in theirs else 0
                if expected != actual:
                    lines.append(f"{' '.join(key)}: {figure} is {actual}, the broker's book says {expected}")
        return lines
