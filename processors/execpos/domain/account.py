"""What the ledger knows of one account: who owns which order, what was seen before, and how far back that reaches."""

from collections import deque
from functools import partial
from typing import NamedTuple

from execpos.domain import ids
from execpos.domain.book import Position
from execpos.domain.corrected import CorrectedBook
from execpos.domain.events import FillEvent, Intent, OrderEvent
from execpos.domain.orders import Order, restored, with_fill
from execpos.domain.rules import Rules
from execpos.domain.undo import Undo


class Claim(NamedTuple):
    """An intent and its place in the log: of two that name one order the later one holds."""

    offset: int
    intent: Intent


class Owner(NamedTuple):
    """Who owns an order, and the intent that said so (empty when none did)."""

    strategy_id: str
    intent_id: str


NOBODY = Owner(ids.UNASSIGNED, "")


class Account:
    """Orders, fills, claims and rows of one account within the window. Mutable; every change goes through `undo`."""

    __slots__ = (
        "book",
        "claims",
        "closed",
        "corrections",
        "env",
        "fill_log",
        "fills",
        "fills_of_order",
        "floor",
        "key",
        "market",
        "newest",
        "next_seq",
        "orders",
        "orders_by_seqno",
        "receipts",
        "reports",
        "rules",
        "synthetic",
        "undo",
    )

    def __init__(self, key: str, rules: Rules, undo: Undo, touched: dict[Position, None]) -> None:
        self.key = key
        self.env, self.market = ids.split(key)[:2]
        self.rules = rules
        self.undo = undo
        self.book = CorrectedBook(key, rules.cost_methods, rules.max_lots, undo, touched)
        self.orders: dict[str, Order] = {}
        self.orders_by_seqno: dict[tuple[str, str], tuple[str, ...]] = {}
        self.reports: dict[str, int] = {}
        self.fills: dict[str, FillEvent] = {}
        self.fills_of_order: dict[str, tuple[str, ...]] = {}
        self.fill_log: deque[tuple[int, int, str]] = deque()
        self.receipts: dict[str, str] = {}
        self.claims: dict[tuple[str, str, str], Claim] = {}
        self.corrections: dict[str, int] = {}
        self.synthetic: dict[tuple[str, str], tuple[str, ...]] = {}
        self.newest = 0
        self.floor = 0
        self.closed = 0
        self.next_seq = 1

    # --- the window -------------------------------------------------------------------------------------------------------------------

    def oldest_session(self) -> int:
        """Return the ordinal of the oldest session in which a fill can still be proven new; 0 before the first fill."""
        return max(self.newest - self.rules.window_sessions, self.floor) if self.newest else 0

    def accept_session(self, ordinal: int) -> None:
        """Move the window to a session in which a fill was accepted, and forget what left it."""
        if ordinal <= self.newest:
            return
        self.undo.later(partial(setattr, self, "newest", self.newest))
        self.newest = ordinal
        self._forget_fills()
        self._forget_orders()

    def _forget_fills(self) -> None:
        """Drop the prefix of the fill log that is older than the window.

        A prefix and not every old fill: a late one stays until all before it go, so that what a row's base holds is always a prefix of
        the log and a refold inside the window is exact.
        """
        oldest = self.oldest_session()
        through = 0
        while self.fill_log and self.fill_log[0][1] < oldest:
            item = self.fill_log.popleft()
            self.undo.later(partial(self.fill_log.appendleft, item))
            through, _, fill_id = item
            fill = self.fills[fill_id]
            self.undo.drop(self.fills, fill_id)
            if fill.broker_event_id:
                self.undo.drop(self.receipts, fill.broker_event_id)
            if fill.read_began_ts:
                self._put_synthetic(fill, stands=False)
        if through:
            self.book.advance(through)

    def _forget_orders(self) -> None:
        oldest = self.oldest_session()
        for order in [order for order in self.orders.values() if ids.session_ordinal(order.session) < oldest]:
            self.undo.drop(self.orders, order.order_key)
            self.undo.drop(self.orders_by_seqno, (order.session, order.seqno))
        # Apart from the orders: a void that waits for its fill has no order.
        for order_key in [key for key in self.fills_of_order if ids.session_ordinal(ids.session_of(key)) < oldest]:
            self.undo.drop(self.fills_of_order, order_key)
        for event_id in [event_id for event_id, ordinal in self.reports.items() if ordinal < oldest]:
            self.undo.drop(self.reports, event_id)
        for claim_key in [key for key in self.claims if ids.session_ordinal(key[0]) < oldest]:
            self.undo.drop(self.claims, claim_key)
        for correction_id in [correction_id for correction_id, ordinal in self.corrections.items() if ordinal < oldest]:
            self.undo.drop(self.corrections, correction_id)

    # --- who owns what ----------------------------------------------------------------------------------------------------------------

    def claim(self, intent: Intent, offset: int) -> None:
        """Remember an intent under the order id or the seqno that it names."""
        for sort, value in (("id", intent.order_id), ("seqno", intent.seqno)):
            if value:
                self.undo.put(self.claims, (intent.session_id, sort, value), Claim(offset, intent))

    def owner(self, session: str, order_id: str, seqno: str, custom_field: str) -> Owner:
        """Return the owner of an order: the newest intent that names it, else its custom field by the rule, else nobody."""
        claim = self.claims.get((session, "id", order_id))
        if seqno:
            by_seqno = self.claims.get((session, "seqno", seqno))
            if by_seqno and (claim is None or by_seqno.offset > claim.offset):
                claim = by_seqno
        if claim:
            return Owner(claim.intent.strategy_id, claim.intent.intent_id)
        if custom_field and self.market == "S":
            attribution = self.rules.attribution
            if attribution.custom_field == "as_strategy":
                return Owner(custom_field, "")
            if attribution.custom_field == "mapped" and custom_field in attribution.custom_field_map:
                return Owner(attribution.custom_field_map[custom_field], "")
        return NOBODY

    # --- orders and fills -------------------------------------------------------------------------------------------------------------

    def put_order(self, order: Order) -> None:
        """Remember an order as it is now."""
        orders, key = self.orders, order.order_key
        before = orders.get(key)
        self.undo.put(orders, key, order)
        if order.seqno and (before is None or before.seqno != order.seqno):
            place = (order.session, order.seqno)
            known = self.orders_by_seqno.get(place, ())
            if order.order_key not in known:
                self.undo.put(self.orders_by_seqno, place, _with(known, order.order_key))

    def put_report(self, event_id: str, content_key: str, session: str) -> None:
        """Remember that an order report was accepted: its receipt if it had one, and its content."""
        ordinal = ids.session_ordinal(session)
        self.undo.put(self.reports, event_id, ordinal)
        if content_key != event_id:
            self.undo.put(self.reports, content_key, ordinal)

    def put_fill(self, fill: FillEvent) -> None:
        """Remember a fill as it is now; its first revision takes its place in the log."""
        if fill.fill_id not in self.fills:
            self.fill_log.append((fill.fill_seq, ids.session_ordinal(fill.session_id), fill.fill_id))
            self.undo.later(partial(self._unlog, self.next_seq))
            self.next_seq = fill.fill_seq + 1
            known = self.fills_of_order.get(fill.order_key, ())
            self.undo.put(self.fills_of_order, fill.order_key, (*known, fill.fill_id))
        self.undo.put(self.fills, fill.fill_id, fill)
        if fill.broker_event_id:
            self.undo.put(self.receipts, fill.broker_event_id, fill.fill_id)

    def _unlog(self, next_seq: int) -> None:
        """Take back that the newest fill took its place in the log."""
        self.fill_log.pop()
        self.next_seq = next_seq

    def put_synthetic(self, fill: FillEvent) -> None:
        """Remember a fill that a correction made, as it is now; while it stands, the real fill that it stands for can absorb it."""
        self.put_fill(fill)
        if fill.read_began_ts:
            self._put_synthetic(fill, stands=not fill.voided)

    def _put_synthetic(self, fill: FillEvent, *, stands: bool) -> None:
        key = (fill.symbol, fill.book)
        others = tuple(fill_id for fill_id in self.synthetic.get(key, ()) if fill_id != fill.fill_id)
        if stands:
            self.undo.put(self.synthetic, key, tuple(sorted((*others, fill.fill_id), key=lambda fill_id: self.fills[fill_id].fill_seq)))
        elif others:
            self.undo.put(self.synthetic, key, others)
        else:
            self.undo.drop(self.synthetic, key)

    def put_correction(self, correction_id: str, ordinal: int) -> None:
        """Remember that a correction was answered, while the window holds the session `ordinal` in which it was made."""
        self.undo.put(self.corrections, correction_id, ordinal)

    def take_seqs(self, count: int) -> tuple[int, ...]:
        """Return the next places in the log, and take them: what is no fill stands there beside the fills."""
        first = self.next_seq
        self.undo.later(partial(setattr, self, "next_seq", first))
        self.next_seq = first + count
        return tuple(range(first, first + count))

    def orders_claimed(self, intent: Intent) -> list[Order]:
        """Return the orders that an intent names and that are known already."""
        keys = []
        if intent.order_id:
            keys.append(ids.order_key(self.key, intent.session_id, intent.order_id))
        if intent.seqno:
            keys += self.orders_by_seqno.get((intent.session_id, intent.seqno), ())
        return [self.orders[key] for key in dict.fromkeys(keys) if key in self.orders]

    # --- restore ----------------------------------------------------------------------------------------------------------------------

    def restore_order(self, event: OrderEvent) -> None:
        """Take an order event back from its topic, in the order in which they were written; fills are added by `restore_fills`."""
        self.orders[event.order_key] = restored(event, self.orders.get(event.order_key))
        if event.seqno:
            self._restore_seqno(event.session_id, event.seqno, event.order_key)
        if event.cause != "REATTRIBUTED":
            self.reports[event.event_id] = self.reports[event.content_key] = ids.session_ordinal(event.session_id)

    def _restore_seqno(self, session: str, seqno: str, order_key: str) -> None:
        known = self.orders_by_seqno.get((session, seqno), ())
        if order_key not in known:
            self.orders_by_seqno[session, seqno] = _with(known, order_key)

    def restore_fills(self, fills: list[FillEvent]) -> None:
        """Take back the newest revision of each fill, ordered by `fill_seq`: dedupe, sums of orders, and the entries of rows."""
        # Half a million times at a start: what is looked up once here is a fifth of the time.
        newest, log, kept, receipts = self.newest, self.fill_log.append, self.fills, self.receipts
        orders, of_order, ordinal_of = self.orders, self.fills_of_order, ids.session_ordinal
        for fill in fills:
            fill_id, order_key, ordinal = fill.fill_id, fill.order_key, ordinal_of(fill.session_id)
            if ordinal > newest and fill.digest:
                # A void that waits for its fill is no accepted fill.
                newest = ordinal
            log((fill.fill_seq, ordinal, fill_id))
            kept[fill_id] = fill
            if fill.broker_event_id:
                receipts[fill.broker_event_id] = fill_id
            of_order[order_key] = (*of_order.get(order_key, ()), fill_id)
            if fill.read_began_ts and not fill.voided:
                self._put_synthetic(fill, stands=True)
            if fill.digest and not ids.is_synthetic(fill.order_id):
                # Others tell nothing of their order, or have none.
                orders[order_key] = self._restored_order(orders.get(order_key), fill)
        self.newest = newest
        if fills:
            self.next_seq = max(self.next_seq, fills[-1].fill_seq + 1)

    def _restored_order(self, order: Order | None, fill: FillEvent) -> Order:
        """Return an order with one fill of it."""
        order = with_fill(order, fill)
        # A seqno that an order event told is known already.
        if order.seqno and (order.last is None or order.seqno != order.last.seqno):
            self._restore_seqno(order.session, order.seqno, order.order_key)
        return order

    def close_window(self) -> None:
        """After a restore that found some fills of the window gone: none of a session seen so far can be proven new any more."""
        self.floor = self.newest + 1

    def trim(self) -> None:
        """After a restore: bring the window to where the newest fill puts it. Nothing to undo."""
        self._forget_fills()
        self._forget_orders()
        self.undo.commit()


def _with(known: tuple[str, ...], order_key: str) -> tuple[str, ...]:
    """Return the orders of one seqno with one more; sorted, so that a restore, which meets them in another order, ends alike."""
    return tuple(sorted((*known, order_key)))
