"""Charges that are known only later: those of an order that lost a fill, and the tax of sales that turn out to be day trades.

A sale pays the full tax at first. When the session of its market is over, the day's buys and sales of a stock are paired, and what the
paired ones pay less goes out as FEES revisions of those fills. A fill, or a void, that comes for a closed session pairs its stock again.
Charges are a function of the fills that stand, so any order of fills, voids and the close ends in the same. What the broker stated stays.
"""

from collections.abc import Callable, Iterable
from functools import partial

from execpos.domain import ids
from execpos.domain.account import Account
from execpos.domain.book import Source
from execpos.domain.charges import charges
from execpos.domain.desk import Desk, Sink
from execpos.domain.events import FillEvent
from execpos.domain.instruments import Product
from execpos.domain.pairing import PairedDay
from execpos.domain.rules import Rules
from execpos.errors import Park

# A symbol and its book: what the broker pairs within a session. Stocks have one session a day, so a session is a day.
_Key = tuple[str, str, str]

# Days that fills come late for are few; beyond it all are forgotten, and built anew as they are needed.
_DAYS_MAX = 256


class Closing(Desk):
    """Keeps the charges of fills what they would be had everything been known from the start."""

    def __init__(self, rules: Rules, sink: Sink) -> None:
        super().__init__(rules, sink)
        # Closed days for which something came late: no state, each can be built from the fills at any time.
        self._days: dict[tuple[str, str, str, str], PairedDay] = {}

    def close_session(self, account: Account, session: str, source: Source) -> None:
        """Pair what was bought and sold in a session that is over, and in those before it that were not closed; again does nothing.

        Raises:
            ValueError: `session` is none.
        """
        ordinal, before = ids.session_ordinal(session), account.closed
        if ordinal <= before:
            return
        self._close_to(account, ordinal)
        found: dict[_Key, list[FillEvent]] = {}
        for fill in _of_sessions(account, before + 1, ordinal):
            if not fill.voided and self._day_tradable(fill):
                found.setdefault((fill.session_id, fill.symbol, fill.book), []).append(fill)
        for fills in found.values():
            day = PairedDay(fills)
            self._charge(account, dict.fromkeys(sale.order_key for sale in day.sales() if day.paired(sale.fill_id)), day.paired, source)

    @staticmethod
    def _close_to(account: Account, ordinal: int) -> None:
        account.undo.later(partial(setattr, account, "closed", account.closed))
        account.closed = ordinal

    def _recount(self, account: Account, fill: FillEvent, source: Source) -> None:
        """After a fill came for a closed session or was voided: charge its order again, and the day trades of its stock."""
        orders, day = {fill.order_key: None}, None
        if ids.session_ordinal(fill.session_id) <= account.closed and self._day_tradable(fill):
            day, touched = self._day(account, fill)
            orders |= dict.fromkeys(sale.order_key for sale in touched)
        self._charge(account, orders, day.paired if day else _nothing, source)

    def _day(self, account: Account, fill: FillEvent) -> tuple[PairedDay, list[FillEvent]]:
        """Return the day that a fill belongs to, now that it came or was voided, and the sales whose pairs that changed."""
        key = (account.key, fill.session_id, fill.symbol, fill.book)
        # An abort takes fills back that are in it; then it is built anew.
        account.undo.later(partial(self._days.pop, key, None))
        day = self._days.get(key)
        if day is not None:
            return day, day.remove(fill) if fill.voided else day.add(fill)
        if len(self._days) >= _DAYS_MAX:
            self._days.clear()
        session = ids.session_ordinal(fill.session_id)
        fills = (other for other in _of_sessions(account, session, session) if (other.symbol, other.book) == (fill.symbol, fill.book))
        day = self._days[key] = PairedDay(other for other in fills if not other.voided and self._day_tradable(other))
        return day, day.sales()

    def _charge(self, account: Account, orders: Iterable[str], paired: Callable[[str], int], source: Source) -> None:
        for order_key in orders:
            fills = [account.fills[fill_id] for fill_id in account.fills_of_order.get(order_key, ())]
            # What a correction made bears the charges that the correction names.
            ours = [fill for fill in fills if fill.digest and not fill.voided and not ids.is_synthetic(fill.order_id)]
            standing = sorted(ours, key=lambda fill: fill.fill_seq)
            product = self._product(standing[0]) if standing else None
            if product is None:
                continue
            relieved = {fill.fill_id: units for fill in standing if (units := paired(fill.fill_id))}
            for fill, (fee, tax) in zip(standing, charges(self._rules.fees, product, standing, relieved), strict=True):
                if (fee, tax) != (fill.fee_est, fill.tax_est) and fill.fee_quality != "CONFIRMED":
                    self._recharge(account, fill, fee, tax, source)

    def _day_tradable(self, fill: FillEvent) -> bool:
        rule = self._rules.fees.day_trade
        if fill.order_lot not in rule.lots or fill.book not in rule.books:
            return False
        product = self._product(fill)
        return product is not None and self._rules.fees.day_tradable(product, fill.book, fill.order_lot)

    def _product(self, fill: FillEvent) -> Product | None:
        """Return what was traded; None when the tables no longer name it: then its charges stay as they are."""
        code = fill.symbol if fill.market == "S" else fill.symbol[:3]
        try:
            return self._rules.instruments.product(fill.market, code, fill.symbol, fill.security_type, fill.trading_date)
        except Park:
            return None


def _of_sessions(account: Account, first: int, last: int) -> Iterable[FillEvent]:
    """Yield the fills of the window that belong to sessions `first` to `last`."""
    return (account.fills[fill_id] for _, session, fill_id in account.fill_log if first <= session <= last)


def _nothing(fill_id: str) -> int:
    del fill_id
    return 0
