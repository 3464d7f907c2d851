"""What is compared beside positions: open orders, the realized profit of a day, and the charges in its rows. Pure.

These findings report and correct nothing: an order list has no dates, and profits of stocks come after charges that only the broker knows.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import msgspec

from execpos.domain import ids, money
from execpos.domain.events import BrokerOrderRow, BrokerProfitRow, OpenOrder
from execpos.domain.instruments import DERIVATIVE
from execpos.domain.reconciliation.comparison import CompareRules, Finding, Verdict
from execpos.domain.reconciliation.sides import NO_ROW, Book, Key

# The broker's words for an order that may still be filled.
_WORKING = frozenset({"PendingSubmit", "PreSubmitted", "Submitted", "PartFilled"})

# Orders that a finding names; the rest is counted.
_NAMED_MAX = 5

# Commission of both sides and tax are 0.585 % of a stock's turnover at the most; interest of a loan comes on top.
_CHARGES_PERMILLE = 10

# The least commission of both sides of one row, and the broker's rounding to whole TWD, in 10⁻⁶.
_CHARGES_LEAST = 50 * money.MICROS

_EPOCH = date(1970, 1, 1)


class Charges(msgspec.Struct, frozen=True):
    """Fees and taxes of what was closed of one key on one ISO date, those of the opening side included; 10⁻⁶ TWD."""

    symbol: str
    book: str
    day: str
    quantity: int
    fee: int
    tax: int


class _Pair(msgspec.Struct, frozen=True):
    """One order that differs: signed shares or contracts still working at each side, and in words why."""

    ours: int
    theirs: int
    price: int
    why: str


def compare_orders(
    account: str, orders: Sequence[BrokerOrderRow], books: Sequence[Book], rules: CompareRules, session_id: str
) -> tuple[Finding, ...]:
    """Return where the broker's order list and ours differ: one finding of verdict ORDER a key, with quantities still working, signed.

    Orders are the same when id, symbol, side and, where both have one, seqno agree; only those of the session count, and a row that is not
    working and that we do not have open is history, ours or of another day. What changed between the markers is left out.

    Args:
        account: account key.
        orders: rows of one good ORDERS answer.
        books: ours at the markers around it, at least one; the last one counts.
        rules: the tables.
        session_id: the session that is open.
    """
    differing: defaultdict[Key, list[_Pair]] = defaultdict(list)
    conditions = rules.instruments.books if ids.split(account)[1] == "S" else None
    still = [order for order in books[-1].orders if order.session_id == session_id and all(order in book.orders for book in books)]
    moving = {order.order_id for book in books for order in book.orders} - {order.order_id for order in still}
    matched: set[int] = set()
    for order in still:
        rows = [(at, row) for at, row in enumerate(orders) if _same(order, row)]
        matched.update(at for at, _ in rows)
        pair = _differs(order, [row for _, row in rows])
        if pair is not None:
            differing[order.symbol, _book(order.order_cond, conditions)].append(pair)
    for at, row in enumerate(orders):
        leaves = _leaves(row)
        if at not in matched and row.order_id not in moving and row.status in _WORKING and leaves > 0:
            pair = _Pair(0, _sign(row.action) * leaves, row.price, f"{row.order_id} is {row.status} at the broker and not open here")
            differing[row.symbol, _book(row.order_cond, conditions)].append(pair)
    return tuple(_order_finding(key, differing[key], books[-1]) for key in sorted(differing))


def _same(order: OpenOrder, row: BrokerOrderRow) -> bool:
    if (order.order_id, order.symbol, order.side) != (row.order_id, row.symbol, row.action.upper()):
        return False
    return order.seqno == row.seqno or not order.seqno or not row.seqno


def _differs(order: OpenOrder, rows: Sequence[BrokerOrderRow]) -> _Pair | None:
    """Return how one of our open orders differs from every row that can be it; None when it agrees with one, or a unit is unknown."""
    ours = _sign(order.side) * order.leaves
    if not rows and not order.leaves:
        # Of an order without a report nothing is known but its fills; it may have ended with the broker.
        return None
    if not rows:
        return _Pair(ours, 0, order.price, f"{order.order_id} is open here and not in the broker's list")
    if any(_agrees(order, row) for row in rows):
        return None
    row = rows[-1]
    theirs = _sign(row.action) * _leaves(row) if row.status in _WORKING else 0
    why = f"{order.order_id} is {order.status} with {order.cum_filled} filled here, {row.status} with {row.filled} at the broker"
    return _Pair(ours, theirs, order.price, why)


def _agrees(order: OpenOrder, row: BrokerOrderRow) -> bool:
    if min(row.quantity, row.filled, row.cancelled) < 0:
        return True
    # Whether the broker's quantity is before or after what was cancelled is told in two ways.
    left = {row.quantity - row.filled - row.cancelled, row.quantity - row.filled} if row.status in _WORKING else {0}
    return row.filled == order.cum_filled and order.leaves in left


def _leaves(row: BrokerOrderRow) -> int:
    return max(0, row.quantity - row.filled - row.cancelled) if min(row.quantity, row.filled, row.cancelled) >= 0 else 0


def _order_finding(key: Key, pairs: Sequence[_Pair], book: Book) -> Finding:
    net = book.rows.get(key, NO_ROW)
    worth = sum(abs(pair.theirs - pair.ours) * pair.price for pair in pairs) * max(1, net.multiplier)
    named = [pair.why for pair in pairs[:_NAMED_MAX]] + [f"{len(pairs) - _NAMED_MAX} more"] * (len(pairs) > _NAMED_MAX)
    return Finding(
        symbol=key[0],
        book=key[1],
        verdict="ORDER",
        ledger_quantity=sum(pair.ours for pair in pairs),
        broker_quantity=sum(pair.theirs for pair in pairs),
        ledger_average=0,
        broker_average=0,
        last_price=0,
        multiplier=net.multiplier,
        security_type=net.security_type,
        notional=worth,
        net_version=net.version,
        detail="; ".join(named),
    )


def _sign(side: str) -> int:
    return 1 if side.upper() == "BUY" else -1


def _book(order_cond: str, books: Mapping[str, str] | None) -> str:
    return DERIVATIVE if books is None else books.get(order_cond, "")


def compare_profit(
    account: str, profits: Iterable[BrokerProfitRow], book: Book, rules: CompareRules, trading_date: int
) -> tuple[Finding, ...]:
    """Return where the realized profit of a day differs, one finding of verdict PROFIT a key; `notional` is the difference, 10⁻⁶ TWD.

    Profits of futures and options are gross as ours are. Those of stocks are after charges of both sides, so they may be less than ours by
    what charges can be.

    Args:
        account: account key.
        profits: rows of one good PROFIT_LOSS answer over that day; others of it are left out.
        book: ours, after the close.
        rules: the tables.
        trading_date: the day.
    """
    stock = ids.split(account)[1] == "S"
    day = (_EPOCH + timedelta(days=trading_date)).isoformat()
    told: defaultdict[Key, list[BrokerProfitRow]] = defaultdict(list)
    for row in profits:
        key = (row.symbol, _book(row.order_cond, rules.instruments.books if stock else None))
        if row.day == day and key[1]:
            told[key].append(row)
    ours = {key: net.realized_day for key, net in book.rows.items() if net.trading_date == trading_date and net.realized_day}
    found = []
    for key in sorted(told.keys() | ours.keys()):
        rows, realized = told[key], ours.get(key, 0)
        theirs, net = sum(row.pnl for row in rows), book.rows.get(key, NO_ROW)
        charges = 0
        if stock:
            turnover = net.day_sell_amount + net.day_buy_amount + abs(realized)
            charges = turnover * _CHARGES_PERMILLE // 1_000 + _CHARGES_LEAST * len(rows)
        rounding = money.MICROS * max(1, len(rows))
        if not -rounding - charges <= theirs - realized <= rounding:
            detail = f"realized {money.text(realized)} here, {money.text(theirs)} at the broker"
            found.append(beside_quantity(key, book, "PROFIT", detail, notional=abs(theirs - realized)))
    return tuple(found)


def beside_quantity(key: Key, book: Book, verdict: Verdict, detail: str, *, notional: int = 0) -> Finding:
    """Return a finding about something else than the quantity, which both sides have as we have it."""
    net = book.rows.get(key, NO_ROW)
    return Finding(
        symbol=key[0],
        book=key[1],
        verdict=verdict,
        ledger_quantity=net.quantity,
        broker_quantity=net.quantity,
        ledger_average=net.average,
        broker_average=0,
        last_price=0,
        multiplier=net.multiplier,
        security_type=net.security_type,
        notional=notional,
        net_version=net.version,
        detail=detail,
    )


def charges_found(account: str, profits: Iterable[BrokerProfitRow], rules: CompareRules) -> tuple[Charges, ...]:
    """Return fees and taxes by key and day, of the rows that have both; a key of which one row has none is left out whole."""
    books = rules.instruments.books if ids.split(account)[1] == "S" else None
    found: defaultdict[tuple[str, str, str], list[BrokerProfitRow]] = defaultdict(list)
    for row in profits:
        found[row.symbol, _book(row.order_cond, books), row.day].append(row)
    return tuple(
        Charges(*key, sum(row.quantity for row in rows), sum(row.fee for row in rows), sum(row.tax for row in rows))
        for key, rows in sorted(found.items(), key=_by_key)
        if key[1] and all(row.has_charges for row in rows)
    )


def _by_key(item: tuple[tuple[str, str, str], list[BrokerProfitRow]]) -> tuple[str, str, str]:
    return item[0]
