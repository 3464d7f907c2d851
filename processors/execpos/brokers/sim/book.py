"""The simulated broker's own account book: the truth that positions are checked against.

Written from the rules alone and apart from `execpos.domain`, slowly and plainly: every call of `rows` folds all fills again.

Rules. Money is in whole 10⁻⁶ of the currency. Cash stocks are kept at moving average, every other book as lots, first in first out.
Taking x out of q removes cost·x/q, rounded half to even to 10⁻⁶, and all of it when x = q; under FIFO the same for each lot. A fill that
goes through zero closes first and opens with the rest. Fees are not in this book. A fill belongs to the owner its order has in the end: an
intent if there is one, else the text of custom_field, else UNASSIGNED. Fills of a row are folded in the order in which they were first
delivered, or in one that the reader gives: averages and lots depend on it. What the broker took back is in no row.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

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


class Identity(NamedTuple):
    """What makes a fill one fill: account (`env|market|broker|account`), trading date (ISO), order id, exchange's number."""

    account: str
    trading_date: str
    trade_id: str
    exchange_seq: str


class BookFill(NamedTuple):
    """A fill as the book folds it. `value` is that of one share or contract in 10⁻⁶ TWD; `side` is 1 for a buy, -1 for a sale."""

    account: str
    trading_date: str
    trade_id: str
    exchange_seq: str
    symbol: str
    book: str
    strategy_id: str
    side: int
    units: int
    value: int
    busted: bool = False

    @property
    def identity(self) -> Identity:
        """Its identity."""
        return Identity(self.account, self.trading_date, self.trade_id, self.exchange_seq)


def in_order(fills: Iterable[BookFill], order: Iterable[Sequence[str]]) -> list[BookFill]:
    """Return fills in the order of identities (a repeat counts the first time); those that it lacks come last, as they were.

    Raises:
        ValueError: the order names a fill that does not exist.
    """
    known = {fill.identity: fill for fill in fills}
    sorted_out: dict[Identity, BookFill] = {}
    for each in order:
        identity = Identity(*each)
        if identity not in known:
            msg = f"no such fill: {' '.join(identity)}"
            raise ValueError(msg)
        sorted_out.setdefault(identity, known[identity])
    return [*sorted_out.values(), *(fill for identity, fill in known.items() if identity not in sorted_out)]


def fold_rows(fills: Iterable[BookFill]) -> list[dict[str, Any]]:
    """Fold fills in the order given; see `SimBook.rows` for what is returned."""
    rows: dict[tuple[str, str, str, str], _Row] = {}
    for fill in fills:
        if fill.busted:
            continue
        for strategy in (fill.strategy_id, NET):
            key = (fill.account, fill.symbol, fill.book, strategy)
            row = rows.get(key)
            if row is None:
                row = rows[key] = _Row(average=fill.book == "cash")
            row.add(fill.side * fill.units, fill.value)
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


class SimBook:
    """Who holds what, by strategy and net. Hears of every match, and of every first delivery, in that order."""

    def __init__(self, env: str = "simulation") -> None:
        self._env = env
        self._fills: list[Fill] = []
        self._matched: list[Fill] = []

    def match(self, fill: Fill) -> None:
        """Note a fill when it happens."""
        self._matched.append(fill)

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

    def fills(self) -> list[BookFill]:
        """Return every fill that happened, delivered or not, in the order in which they happened."""
        return [self._fill(fill) for fill in self._matched]

    def facts(self) -> list[dict[str, Any]]:
        """Return `fills` as plain data, with `at_us` and the `receipts` under which each was sent out."""
        return [self._fill(fill)._asdict() | {"at_us": fill.at_us, "receipts": sorted(fill.receipts)} for fill in self._matched]

    def _fill(self, fill: Fill) -> BookFill:
        order = fill.order
        return BookFill(
            self.account(order.account),
            order.trading_date,
            order.id,
            fill.exchange_seq,
            order.instrument.full_code,
            order.book,
            self.owner(fill),
            order.side,
            fill.units,
            fill.price * _MICROS_PER_CENT * order.instrument.multiplier,
            fill.busted,
        )

    def rows(self, order: Iterable[Sequence[str]] | None = None) -> list[dict[str, Any]]:
        """Return every position that was ever touched, flat ones too, by account, symbol, book and strategy (`*` is net).

        Keys: account, symbol, book, strategy_id, quantity (shares or contracts), open_cost and realized (10⁻⁶ TWD).

        Args:
            order: without it, what was delivered is folded, in order of first delivery. With it, everything that happened is folded, in
                this
                order of identities (see `in_order`): the one in which a reader first met the fills.

        Raises:
            ValueError: the order names a fill that does not exist.
        """
        if order is None:
            return fold_rows(self._fill(fill) for fill in self._fills)
        return fold_rows(in_order(self.fills(), order))

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
