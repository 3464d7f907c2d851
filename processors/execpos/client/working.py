"""Orders that may still fill: the newest report of each, less what was filled since.

A report on an order is written when the broker reports on the order; a fill between two reports changes what is left only here.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator

import msgspec

from execpos.domain.events import FillEvent, OrderEvent
from execpos.domain.ids import NET, session_of, session_ordinal

ANY_BOOK = "*"
"""Book of an order whose condition no table names: it counts for every book of its symbol."""

# Fills whose order was not reported yet, or is closed: far above what a day has of either, and it only bounds memory.
_FILLS_MAX = 100_000

Key = tuple[str, str, str, str]
"""Account, symbol, book and strategy (`*`: all of them)."""


class WorkingOrder(msgspec.Struct, frozen=True):
    """An order with something left. Quantities in shares or contracts.

    Attributes:
        event: its newest report; status, cum_filled and leaves in it are as of that report.
        book: where its fills will lie; `*` when that is not known.
        cum_filled: filled by now.
        leaves: still working now.
    """

    event: OrderEvent
    book: str
    cum_filled: int
    leaves: int


class Working(msgspec.Struct, frozen=True):
    """What is left of working orders, each side apart, shares or contracts."""

    buy: int = 0
    sell: int = 0


_NOTHING = Working()


class _Filled(msgspec.Struct, frozen=True):
    """How much of an order was filled, and by which record that is known."""

    cum: int
    topic: str
    offset: int
    ts: int


class Orders:
    """Working orders and their sums. One thread writes, any thread reads without waiting.

    Args:
        book_of: returns the book of an order.
    """

    def __init__(self, book_of: Callable[[OrderEvent], str]) -> None:
        self._book_of = book_of
        self._open: dict[str, WorkingOrder] = {}
        self._filled: OrderedDict[str, _Filled] = OrderedDict()
        self._sums: dict[Key, Working] = {}
        # Account -> ordinal of the newest session that the ledger has closed: its orders ended with it, whether or not the broker said so.
        self._closed: dict[str, int] = {}

    def put_order(self, event: OrderEvent) -> None:
        """Take in a report."""
        before = self._open.get(event.order_key)
        if before is not None and event.revision <= before.event.revision:
            return
        self._set(event, before)

    def put_fill(self, fill: FillEvent) -> None:
        """Take in a fill, or a revision of one."""
        self._filled[fill.order_key] = _Filled(fill.order_cum_filled, fill.source_topic, fill.source_offset, fill.normalized_ts)
        self._filled.move_to_end(fill.order_key)
        if len(self._filled) > _FILLS_MAX:
            self._filled.popitem(last=False)
        before = self._open.get(fill.order_key)
        if before is not None:
            self._set(before.event, before)

    def close_session(self, account: str, session_id: str) -> None:
        """Take in that a session is over: what its orders had left can no longer be filled."""
        ordinal = session_ordinal(session_id)
        if ordinal <= self._closed.get(account, 0):
            return
        self._closed[account] = ordinal
        for order in list(self._open.values()):
            if order.event.account == account:
                self._set(order.event, order)

    def working(self, account: str, symbol: str, book: str, strategy_id: str = NET) -> Working:
        """Return what is left on each side; orders whose book is not known count too."""
        sums = self._sums.get((account, symbol, book, strategy_id), _NOTHING)
        anywhere = self._sums.get((account, symbol, ANY_BOOK, strategy_id))
        return sums if anywhere is None else Working(sums.buy + anywhere.buy, sums.sell + anywhere.sell)

    def orders(self, account: str | None = None) -> Iterator[WorkingOrder]:
        """Yield the working orders of one account or of all. A copy: it may be kept."""
        for order in self._open.copy().values():
            if account is None or order.event.account == account:
                yield order

    def _set(self, event: OrderEvent, before: WorkingOrder | None) -> None:
        cum = self._cum(event)
        working = event.reported == "OPEN" and session_ordinal(session_of(event.order_key)) > self._closed.get(event.account, 0)
        leaves = max(0, event.quantity - event.cancelled - cum) if working else 0
        if before is not None:
            self._add(before, -1)
        if not leaves:
            # Closed: later records of it carry all that is needed, should they open it again.
            self._open.pop(event.order_key, None)
            return
        order = WorkingOrder(event, self._book_of(event), cum, leaves)
        self._open[event.order_key] = order
        self._add(order, 1)

    def _cum(self, event: OrderEvent) -> int:
        """Return what is filled, from whichever record is the later one: the report, or the newest fill."""
        filled = self._filled.get(event.order_key)
        if filled is None:
            return event.cum_filled
        # Of an intent or a correction, offsets tell nothing; both stamps are the ledger's.
        same = filled.topic == event.source_topic
        later = filled.offset >= event.source_offset if same else filled.ts >= event.normalized_ts
        return filled.cum if later else event.cum_filled

    def _add(self, order: WorkingOrder, sign: int) -> None:
        event, leaves = order.event, sign * order.leaves
        buy, sell = (leaves, 0) if event.side == "BUY" else (0, leaves)
        for strategy_id in (event.strategy_id, NET):
            key = (event.account, event.symbol, order.book, strategy_id)
            sums = self._sums.get(key, _NOTHING)
            made = Working(sums.buy + buy, sums.sell + sell)
            if made == _NOTHING:
                self._sums.pop(key, None)
            else:
                self._sums[key] = made
