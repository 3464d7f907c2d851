"""Whether anything beside the position list says that a position is gone. Pure.

A missing row and an empty list are what a broker in trouble answers, too. So they are believed only with a second witness: another answer
that shows the closing fills, or a contract that has ended. Each is of another call than the list.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Literal

import msgspec

from execpos.domain import ids
from execpos.domain.calendar import Calendar
from execpos.domain.events import BrokerOrderRow, BrokerProfitRow, FillEvent
from execpos.domain.instruments import DERIVATIVE
from execpos.domain.reconciliation.comparison import CompareRules, Finding
from execpos.domain.reconciliation.expiry import expiry_day
from execpos.domain.reconciliation.sides import Book, Key, NetRow

_EPOCH = date(1970, 1, 1)
_SIGNS = {"BUY": 1, "SELL": -1}


class Known(msgspec.Struct, frozen=True):
    """What the ledger knows of one order of the session; `filled` in shares or contracts."""

    order_id: str
    seqno: str
    symbol: str
    side: str
    filled: int


def known_orders(fills: Iterable[FillEvent], book: Book, session_id: str) -> tuple[Known, ...]:
    """Return the orders of one session that its fills (newest revisions, voided ones too) and the book tell of."""
    found = {
        order.order_id: Known(order.order_id, order.seqno, order.symbol, order.side, order.cum_filled)
        for order in book.orders
        if order.session_id == session_id
    }
    summed: dict[str, Known] = {}
    for fill in fills:
        if fill.session_id == session_id and not ids.is_synthetic(fill.order_id):
            before = summed.get(fill.order_id, Known(fill.order_id, fill.seqno, fill.symbol, fill.side, 0))
            summed[fill.order_id] = msgspec.structs.replace(before, filled=before.filled + (0 if fill.voided else fill.quantity))
    # An open order counts every fill of its own, those that are not among `fills` any more included.
    return tuple((summed | found).values())


class Evidence(msgspec.Struct, frozen=True):
    """What else the broker said, later than the list, and what the ledger knew by then. None: not asked, or no good answer.

    Attributes:
        orders: ORDERS.
        known: `known_orders`.
        profits: PROFIT_LOSS.
        begin_date: first day that `profits` covers, days since the epoch.
        trading_date: of the comparison.
    """

    orders: tuple[BrokerOrderRow, ...] | None = None
    known: tuple[Known, ...] = ()
    profits: tuple[BrokerProfitRow, ...] | None = None
    begin_date: int = 0
    trading_date: int = 0


class Witness(msgspec.Struct, frozen=True):
    """What says that a position is gone; `detail` is for people."""

    cause: Literal["NONE", "EXPIRED_CONTRACT"]
    by: Literal["orders", "profits", "expiry"]
    detail: str


def witnessed(account: str, finding: Finding, row: NetRow, evidence: Evidence, rules: CompareRules, calendar: Calendar) -> Witness | None:
    """Return a second witness of a MISSING row; None when there is none yet, or for another verdict.

    Args:
        account: account key.
        finding: what the list says.
        row: our NET row, as the finding has it.
        evidence: other answers.
        rules: the tables.
        calendar: for expiries.
    """
    if finding.verdict != "MISSING":
        return None
    expired = expiry_day(finding.symbol, row.trading_date or evidence.trading_date, calendar) if finding.book == DERIVATIVE else None
    if expired is not None and evidence.trading_date > expired:
        return Witness("EXPIRED_CONTRACT", "expiry", f"{finding.symbol} was traded for the last time on {_iso(expired)}")
    books = rules.instruments.books if ids.split(account)[1] == "S" else None
    excess = _excess(finding.key, evidence.orders or (), evidence.known, books)
    if excess and excess == -finding.ledger_quantity:
        return Witness("NONE", "orders", f"the order list has fills of {excess} that are not here")
    closed = _closed(finding.key, row, evidence, books)
    if closed == abs(finding.ledger_quantity):
        return Witness("NONE", "profits", f"realized profit shows {closed} closed that are open here")
    return None


def _book(order_cond: str, books: Mapping[str, str] | None) -> str:
    return DERIVATIVE if books is None else books.get(order_cond, "")


def _excess(key: Key, orders: Sequence[BrokerOrderRow], known: Sequence[Known], books: Mapping[str, str] | None) -> int:
    """Return the signed quantity that the broker's orders have filled beyond what is known of the same orders.

    An order that the ledger does not know says nothing: the list has orders of yesterday too, under ids that come again, and no dates.
    """
    here = {(one.order_id, one.symbol, one.side): one for one in known}
    excess = 0
    for order in orders:
        one = here.get((order.order_id, order.symbol, order.action.upper()))
        if one is None or (order.symbol, _book(order.order_cond, books)) != key or order.filled < 0:
            continue
        if one.seqno == order.seqno or not one.seqno or not order.seqno:
            excess += _SIGNS.get(one.side, 0) * max(0, order.filled - one.filled)
    return excess


def _closed(key: Key, row: NetRow, evidence: Evidence, books: Mapping[str, str] | None) -> int:
    """Return what the broker's profits have closed beyond what the ledger saw closed, since the day of the row's last fill."""
    whole_day = evidence.begin_date <= row.trading_date
    first = row.trading_date if whole_day else row.trading_date + 1
    closed = sum(
        profit.quantity
        for profit in evidence.profits or ()
        if (profit.symbol, _book(profit.order_cond, books)) == key and profit.day >= _iso(first)
    )
    # Of a day that went through zero this is more than was closed, and then nothing is proven.
    seen = row.day_sell_quantity if row.quantity > 0 else row.day_buy_quantity
    return closed - (seen if whole_day else 0)


def _iso(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).isoformat()
