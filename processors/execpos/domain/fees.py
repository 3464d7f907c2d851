"""Estimates of commission and transaction tax, cumulative for one order.

The callbacks carry neither, so each fill gets the difference it makes on its order's estimate; the broker's statement replaces it later.
Rates are integers per 10^9 and money is in 10^-6 of the currency, so every result is exact.
"""

from typing import Literal, TypeVar

import msgspec

from execpos.domain.events import Side
from execpos.domain.instruments import DERIVATIVE, Product

Rounding = Literal["floor", "half_up", "none"]

RATE_UNIT = 1_000_000_000
"""Rates are so many parts of this."""

# Commission and tax are charged in whole TWD.
_WHOLE = 1_000_000

# Products x books x trading days that one process meets between restarts, with much room.
_MEMO_LIMIT = 65_536


class FeeRate(msgspec.Struct, frozen=True):
    """A commission in force between two trading dates (days since the epoch, both included, None is open).

    Attributes:
        rate: parts per 10^9 of the turnover.
        per_contract: 10^-6 TWD for each share or contract.
        minimum: least of one order, 10^-6 TWD.
        odd_lot_minimum: least of one odd-lot order, 10^-6 TWD.
        rounding: how the order's sum becomes whole TWD.
        books: only these books; every book when empty.
    """

    rate: int = 0
    per_contract: int = 0
    minimum: int = 0
    odd_lot_minimum: int = 0
    rounding: Rounding = "floor"
    books: tuple[str, ...] = ()
    valid_from: int | None = None
    valid_to: int | None = None


class TaxRate(msgspec.Struct, frozen=True):
    """A transaction tax in force between two trading dates; `sides` are those that pay it, `rate` is in parts per 10^9 of the turnover."""

    rate: int
    sides: tuple[Side, ...]
    rounding: Rounding = "floor"
    books: tuple[str, ...] = ()
    valid_from: int | None = None
    valid_to: int | None = None


class DayTrade(msgspec.Struct, frozen=True):
    """Which sales pay less when a buy of the same day pairs with them: the tax that falls -> the one that is due, books, and order lots."""

    taxes: dict[str, str] = {}
    books: frozenset[str] = frozenset()
    lots: frozenset[str] = frozenset()


class FeeSchedule(msgspec.Struct, frozen=True, eq=False):
    """The tables of `config/fees.yaml`. Pure; not thread-safe (it fills a memo), one a thread.

    Args:
        fees: name -> rates, those for certain books first, gapless in time (the settings see to it).
        taxes: likewise.
        odd_lots: order lots whose unit is one share.
        day_trade: which sales of stocks may turn out to be day trades.
        settlement: name of a tax -> the one that is due when such a contract is settled.
    """

    fees: dict[str, tuple[FeeRate, ...]]
    taxes: dict[str, tuple[TaxRate, ...]]
    odd_lots: frozenset[str]
    day_trade: DayTrade = DayTrade()
    settlement: dict[str, str] = {}
    _memo: dict[tuple[str, str, str, int], tuple[FeeRate, TaxRate]] = {}

    def estimate(
        self, product: Product, book: str, order_lot: str, side: Side, amount_micros: int, quantity: int, trading_date: int
    ) -> tuple[int, int]:
        """Return (commission, tax) of everything that an order has filled, each in 10^-6 TWD.

        Args:
            product: what was traded.
            book: shelf of the position.
            order_lot: as reported; empty for futures and options.
            side: of the order.
            amount_micros: turnover of the order so far, multiplier included, 0 or more.
            quantity: shares or contracts of the order so far, 0 or more.
            trading_date: of the order's session, days since the epoch.
        """
        if quantity == 0:
            return 0, 0
        key = (product.fee, product.tax, book, trading_date)
        rates = self._memo.get(key)
        if rates is None:
            rates = (_in_force(self.fees[product.fee], book, trading_date), _in_force(self.taxes[product.tax], book, trading_date))
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            self._memo[key] = rates
        fee, tax = rates
        charged = _rounded(amount_micros * fee.rate + quantity * fee.per_contract * RATE_UNIT, fee.rounding)
        commission = max(charged, fee.odd_lot_minimum if order_lot in self.odd_lots else fee.minimum)
        return commission, _rounded(amount_micros * tax.rate, tax.rounding) if side in tax.sides else 0

    def day_tradable(self, product: Product, book: str, order_lot: str) -> bool:
        """Tell whether a buy and a sale of it on one day are a day trade."""
        rule = self.day_trade
        return product.tax in rule.taxes and book in rule.books and order_lot in rule.lots

    def day_trade_tax(self, product: Product, book: str, side: Side, amount_micros: int, paired_micros: int, trading_date: int) -> int:
        """Return the tax of an order of which a part was day-traded, 10^-6 TWD: both parts at their rates, rounded once together.

        Args:
            product: one that is day-tradable.
            book: shelf of the position.
            side: of the order.
            amount_micros: turnover of the whole order.
            paired_micros: turnover of the part that was paired, at most `amount_micros`.
            trading_date: of the order's session, days since the epoch.
        """
        full = _in_force(self.taxes[product.tax], book, trading_date)
        less = _in_force(self.taxes[self.day_trade.taxes[product.tax]], book, trading_date)
        rate_full, rate_less = (rate.rate if side in rate.sides else 0 for rate in (full, less))
        return _rounded((amount_micros - paired_micros) * rate_full + paired_micros * rate_less, full.rounding)

    def settlement_tax(self, product: Product, quantity: int, price: int, trading_date: int) -> int:
        """Return the tax on a contract that is settled at `price` (10^-6 a point), 10^-6 TWD; 0 where the table names none.

        Args:
            product: the contract's.
            quantity: contracts, signed: a long is sold, a short bought back.
            price: settlement price of the contract, and for an option that of what it is on.
            trading_date: day of settlement, days since the epoch.
        """
        name = self.settlement.get(product.tax)
        if name is None or not quantity:
            return 0
        tax = _in_force(self.taxes[name], DERIVATIVE, trading_date)
        side: Side = "SELL" if quantity > 0 else "BUY"
        return _rounded(abs(quantity) * price * product.multiplier * tax.rate, tax.rounding) if side in tax.sides else 0


RateT = TypeVar("RateT", FeeRate, TaxRate)


def _in_force(rates: tuple[RateT, ...], book: str, trading_date: int) -> RateT:
    for rate in rates:
        if (
            (not rate.books or book in rate.books)
            and (rate.valid_from is None or trading_date >= rate.valid_from)
            and (rate.valid_to is None or trading_date <= rate.valid_to)
        ):
            return rate
    msg = f"no rate is in force for book {book!r} on day {trading_date}: the table has a gap"
    raise AssertionError(msg)


def _rounded(scaled: int, rounding: Rounding) -> int:
    """Return `scaled` (10^-6 TWD times 10^9) in 10^-6 TWD: whole TWD, or for `none` down to 10^-6."""
    if rounding == "none":
        return scaled // RATE_UNIT
    unit = _WHOLE * RATE_UNIT
    return (scaled + (unit // 2 if rounding == "half_up" else 0)) // unit * _WHOLE
