"""What an order is, by its reports and its fills, through one explicit table of transitions.

Reports and fills come in any order: a fill may come before the order, after its cancellation, or after its failure, and counts each time.
The table therefore moves only what reports say (`Reported`); the status that people see follows from that and from what was filled.
"""

from typing import Literal

import msgspec

from execpos.domain import ids
from execpos.domain.events import FillEvent, OrderEvent
from execpos.domain.normalize import Operation, OrderReport, operation
from execpos.errors import ContractError

Reported = Literal["UNKNOWN", "OPEN", "CANCELLED", "REJECTED"]
Status = Literal["UNKNOWN", "SUBMITTED", "PART_FILLED", "FILLED", "CANCELLED", "REJECTED"]

TRANSITIONS: dict[tuple[Reported, Operation], Reported] = {
    # Nothing reported yet: a failed operation on an order we never saw tells nothing about the order.
    ("UNKNOWN", "NEW_OK"): "OPEN",
    ("UNKNOWN", "NEW_FAILED"): "REJECTED",
    ("UNKNOWN", "CANCEL_OK"): "CANCELLED",
    ("UNKNOWN", "UPDATE_OK"): "OPEN",
    ("UNKNOWN", "FAILED"): "UNKNOWN",
    ("UNKNOWN", "REJECT"): "REJECTED",
    ("UNKNOWN", "OTHER"): "UNKNOWN",
    # Working: a failed cancel or update leaves it as it was; a New may still fail after it was accepted.
    ("OPEN", "NEW_OK"): "OPEN",
    ("OPEN", "NEW_FAILED"): "REJECTED",
    ("OPEN", "CANCEL_OK"): "CANCELLED",
    ("OPEN", "UPDATE_OK"): "OPEN",
    ("OPEN", "FAILED"): "OPEN",
    ("OPEN", "REJECT"): "REJECTED",
    ("OPEN", "OTHER"): "OPEN",
    # Ended: a report that comes late, out of order, does not bring it back.
    ("CANCELLED", "NEW_OK"): "CANCELLED",
    ("CANCELLED", "NEW_FAILED"): "CANCELLED",
    ("CANCELLED", "CANCEL_OK"): "CANCELLED",
    ("CANCELLED", "UPDATE_OK"): "CANCELLED",
    ("CANCELLED", "FAILED"): "CANCELLED",
    ("CANCELLED", "REJECT"): "CANCELLED",
    ("CANCELLED", "OTHER"): "CANCELLED",
    ("REJECTED", "NEW_OK"): "REJECTED",
    ("REJECTED", "NEW_FAILED"): "REJECTED",
    ("REJECTED", "CANCEL_OK"): "REJECTED",
    ("REJECTED", "UPDATE_OK"): "REJECTED",
    ("REJECTED", "FAILED"): "REJECTED",
    ("REJECTED", "REJECT"): "REJECTED",
    ("REJECTED", "OTHER"): "REJECTED",
}


class Order(msgspec.Struct, frozen=True, gc=False):
    """An order now. Quantities in shares or contracts; amounts in 10⁻⁶, multiplier included.

    `quantity` is what was ordered, 0 while no report told; `cancelled` sums what successful operations took away; `price_ts` is the
    broker's time of the successful operation that told the price, so that an older one that comes late leaves it. The sums over fills
    (`cum_*`, `fee`, `tax`) count fills that stand; fees are computed on the cumulative amount, so each fill bears the difference.
    """

    order_key: str
    session: str
    order_id: str
    seqno: str
    strategy_id: str
    intent_id: str
    reported: Reported = "UNKNOWN"
    quantity: int = 0
    cancelled: int = 0
    price: int = 0
    price_ts: int = 0
    custom_field: str = ""
    revision: int = 0
    cum_filled: int = 0
    cum_amount: int = 0
    fee: int = 0
    tax: int = 0
    last: OrderEvent | None = None

    @property
    def status(self) -> Status:
        """What people see: the table's state and the fills together."""
        quantity, filled, reported = self.quantity, self.cum_filled, self.reported
        if quantity and filled >= quantity:
            return "FILLED"
        if reported == "OPEN":
            if not filled:
                return "SUBMITTED"
            return "FILLED" if quantity and filled >= quantity - self.cancelled else "PART_FILLED"
        return reported

    @property
    def leaves(self) -> int:
        """Still working, shares or contracts; 0 once closed."""
        return max(0, self.quantity - self.cancelled - self.cum_filled) if self.reported == "OPEN" else 0

    @property
    def overfilled(self) -> bool:
        """More was filled than ordered, as far as a report told the order's quantity."""
        return 0 < self.quantity < self.cum_filled


def new_order(account: str, session: str, order_id: str, seqno: str, strategy_id: str, intent_id: str) -> Order:
    """Return an order of which nothing is known yet but its name and owner."""
    return Order(
        order_key=ids.order_key(account, session, order_id),
        session=session,
        order_id=order_id,
        seqno=seqno,
        strategy_id=strategy_id,
        intent_id=intent_id,
    )


def after_report(order: Order, report: OrderReport) -> Order:
    """Return `order` after one report that was not seen before."""
    what = operation(report.op_type, report.op_code)
    succeeded = what in _SUCCESSES
    quantity, cancelled, price, price_ts = order.quantity, order.cancelled, order.price, order.price_ts
    if succeeded:
        # Reports after the New may carry a reduced quantity and none a larger one, so the largest is the order as it was placed, in
        # whatever order they come. Before the first success there may be a word of a failed operation, which counts for less.
        quantity = report.quantity if order.reported == "UNKNOWN" else max(quantity, report.quantity)
        # A New takes nothing away, and an order is cancelled once.
        if what == "UPDATE_OK" or (what == "CANCEL_OK" and order.reported != "CANCELLED"):
            cancelled += report.cancel_quantity
    elif not quantity:
        quantity = report.quantity
    if succeeded and report.exchange_ts >= price_ts:
        price, price_ts = report.price, report.exchange_ts
    elif not order.revision:
        price = report.price
    return msgspec.structs.replace(
        order,
        reported=TRANSITIONS[order.reported, what],
        quantity=quantity,
        cancelled=cancelled,
        price=price,
        price_ts=price_ts,
        seqno=order.seqno or report.seqno,
        custom_field=order.custom_field or report.custom_field,
        revision=order.revision + 1,
    )


_SUCCESSES = frozenset({"NEW_OK", "CANCEL_OK", "UPDATE_OK"})


def after_fill(order: Order, quantity: int, amount: int, fee: int, tax: int) -> Order:
    """Return `order` after a fill counts (or, with negative arguments, counts no more)."""
    return msgspec.structs.replace(
        order,
        cum_filled=order.cum_filled + quantity,
        cum_amount=order.cum_amount + amount,
        fee=order.fee + fee,
        tax=order.tax + tax,
    )


def with_fill(order: Order | None, fill: FillEvent) -> Order:
    """Return an order, which no report may have named yet, with a fill of it as it is now."""
    if order is None:
        order = Order(
            order_key=fill.order_key,
            session=fill.session_id,
            order_id=fill.order_id,
            seqno=fill.seqno,
            strategy_id=fill.strategy_id,
            intent_id=fill.intent_id,
        )
    if not fill.voided:
        order = after_fill(order, fill.quantity, abs(fill.quantity * fill.price * fill.multiplier), fill.fee_est, fill.tax_est)
    if (fill.seqno and not order.seqno) or (fill.custom_field and not order.custom_field):
        order = msgspec.structs.replace(order, seqno=order.seqno or fill.seqno, custom_field=order.custom_field or fill.custom_field)
    return order


_REPORTED: dict[str, Reported] = {name: name for name, _ in TRANSITIONS}


def restored(event: OrderEvent, before: Order | None) -> Order:
    """Return the order that an event left behind, `before` being what the events before it did; without its fills.

    Raises:
        ContractError: the event carries no state of the table.
    """
    state = _REPORTED.get(event.reported)
    if state is None:
        raise ContractError(f"order event {event.event_id} carries reported {event.reported!r}", hint="was it written by a newer version?")
    price_ts = before.price_ts if before else 0
    if operation(event.op_type, event.op_code) in _SUCCESSES:
        price_ts = max(price_ts, event.exchange_ts)
    return Order(
        order_key=event.order_key,
        session=event.session_id,
        order_id=event.order_id,
        seqno=event.seqno,
        strategy_id=event.strategy_id,
        intent_id=event.intent_id,
        reported=state,
        quantity=event.quantity,
        cancelled=event.cancelled,
        price=event.price,
        price_ts=price_ts,
        custom_field=event.custom_field,
        revision=event.revision,
        last=event,
    )
