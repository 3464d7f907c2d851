"""What an instrument is: its multiplier, its kind, and which charges apply; which shelf an order condition means; what a lot holds.

The tables come from `config/instruments.yaml`. What no table names is parked, never guessed: a wrong multiplier is a wrong position.
"""

import re

import msgspec

from execpos.domain.events import Market
from execpos.errors import Park

DERIVATIVE = "derivative"
"""Book of every futures and options position."""

# No product here has a smaller step than 0.01, in 10⁻⁶.
_TICK_LEAST = 10_000

# More distinct contracts than Taiwan lists at any time (about 30 000 warrants); beyond it the memo starts anew.
_MEMO_LIMIT = 65_536


class Product(msgspec.Struct, frozen=True):
    """One kind of instrument.

    Attributes:
        name: its name in `config/instruments.yaml`.
        market: S (stocks) or F (futures and options).
        security_type: STK, ETF, WRT, FUT, OPT...
        multiplier: TWD per point and contract; 1 for stocks.
        currency: ISO 4217.
        fee: name of an entry under `fees` in `config/fees.yaml`.
        tax: name of an entry under `taxes` there.
    """

    name: str
    market: Market
    security_type: str
    multiplier: int
    currency: str
    fee: str
    tax: str


class StockRule(msgspec.Struct, frozen=True):
    """Stock codes that `pattern` matches as a whole are this product; the first rule that matches decides."""

    pattern: re.Pattern[str]
    product: Product


class ContractOverride(msgspec.Struct, frozen=True):
    """One contract that differs from its root, as after a corporate action. Dates are days since the epoch, both ends included."""

    full_code: str
    product: Product
    valid_from: int | None = None
    valid_to: int | None = None

    def applies(self, trading_date: int | None) -> bool | None:
        """Return whether it holds on that date; None when it depends on a date and none is given."""
        if self.valid_from is None and self.valid_to is None:
            return True
        if trading_date is None:
            return None
        return (self.valid_from is None or trading_date >= self.valid_from) and (self.valid_to is None or trading_date <= self.valid_to)


class Instruments(msgspec.Struct, frozen=True, eq=False):
    """The tables of `config/instruments.yaml`. Lookups are pure and fast; not thread-safe (they fill a memo), one a thread.

    Args:
        stock_rules: in the order in which they are tried.
        roots: 3-letter root of a futures or options contract -> product.
        overrides: contracts that differ from their root, by full code.
        books: order condition of stocks -> book.
        lots: order lot of stocks -> shares per unit.
        ticks: name of a product -> (below this price, step), both in 10⁻⁶, by price; the last one has no end.
    """

    stock_rules: tuple[StockRule, ...]
    roots: dict[str, Product]
    overrides: dict[str, tuple[ContractOverride, ...]]
    books: dict[str, str]
    lots: dict[str, int]
    ticks: dict[str, tuple[tuple[int | None, int], ...]] = {}
    _memo: dict[tuple[str, str, str, str, int | None], Product] = {}

    def product(self, market: Market, code: str, full_code: str, security_type: str, trading_date: int | None = None) -> Product:
        """Return what the instrument is.

        Args:
            market: S or F.
            code: stock code, or the 3-letter root of a contract.
            full_code: tradable code of a contract; empty for stocks.
            security_type: as the broker reports it; empty when it reports none (stock deals).
            trading_date: days since the epoch; needed only where an override of that contract has dates.

        Raises:
            Park: no table names it, or what the broker says contradicts the table (reason `unknown_instrument`).
        """
        # The date is part of the key only where it can matter, so that the memo does not grow by a copy a day.
        key = (market, code, full_code, security_type, trading_date if full_code in self.overrides else None)
        found = self._memo.get(key)
        if found is None:
            found = self._stock(code, security_type) if market == "S" else self._contract(code, full_code, security_type, trading_date)
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            self._memo[key] = found
        return found

    def book(self, market: Market, order_cond: str) -> str:
        """Return the shelf on which the broker keeps such a position.

        Raises:
            Park: an order condition that the table does not name (reason `unknown_order_cond`).
        """
        if market == "F":
            return DERIVATIVE
        book = self.books.get(order_cond)
        if book is None:
            raise Park("unknown_order_cond", f"order_cond {order_cond!r} is none of {', '.join(self.books)}", order_cond=order_cond)
        return book

    def shares(self, order_lot: str, quantity: int) -> int:
        """Return the shares in `quantity` units of a stock order lot.

        Raises:
            Park: an order lot that the table does not name (reason `unknown_order_lot`).
        """
        size = self.lots.get(order_lot)
        if size is None:
            raise Park("unknown_order_lot", f"order_lot {order_lot!r} is none of {', '.join(self.lots)}", order_lot=order_lot)
        return quantity * size

    def tick(self, product: Product, price: int) -> int:
        """Return the price step at `price`, both in 10⁻⁶; the smallest of any product when the table has none."""
        return next((step for below, step in self.ticks.get(product.name, ()) if below is None or price < below), _TICK_LEAST)

    def _stock(self, code: str, security_type: str) -> Product:
        for rule in self.stock_rules:
            if rule.pattern.fullmatch(code):
                # The broker calls every stock, ETF and receipt STK; any other word has to agree.
                if security_type not in {"", "STK", rule.product.security_type}:
                    raise _contradiction(code, security_type, rule.product)
                return rule.product
        raise Park("unknown_instrument", f"no rule under `stocks` in instruments.yaml matches the stock code {code!r}", code=code)

    def _contract(self, code: str, full_code: str, security_type: str, trading_date: int | None) -> Product:
        found = self._override(full_code, trading_date) or self.roots.get(code)
        if found is None:
            raise Park("unknown_instrument", f"root {code!r} of {full_code!r} is not under `roots` in instruments.yaml", code=code)
        if security_type not in {"", found.security_type}:
            raise _contradiction(full_code, security_type, found)
        return found

    def _override(self, full_code: str, trading_date: int | None) -> Product | None:
        for override in self.overrides.get(full_code, ()):
            applies = override.applies(trading_date)
            if applies is None:
                raise Park("unknown_instrument", f"{full_code!r} has dated overrides, and the event has no trading date", code=full_code)
            if applies:
                return override.product
        return None


def _contradiction(code: str, reported: str, product: Product) -> Park:
    return Park(
        "unknown_instrument",
        f"the broker reports {code!r} as {reported}, and instruments.yaml as {product.security_type} ({product.name})",
        code=code,
    )
