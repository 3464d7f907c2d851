"""Order reports: whether one is new, and what the order is after it. The orders half of `pipeline`."""

import msgspec

from execpos.domain import dedupe, ids, orders
from execpos.domain.account import NOBODY, Account
from execpos.domain.book import Source
from execpos.domain.desk import Desk
from execpos.domain.events import OrderEvent
from execpos.domain.normalize import OrderReport
from execpos.domain.orders import Order
from execpos.domain.outcome import DUPLICATE, ORDER, Outcome


class Reports(Desk):
    """Takes order reports, which move no position."""

    def _report(self, account: Account, report: OrderReport, cause: str, source: Source) -> Outcome:
        if dedupe.report_seen(account, report):
            return DUPLICATE
        if ids.session_ordinal(report.session) < account.oldest_session():
            # Whether it is a repeat cannot be told any more, and what it is about cannot be moved.
            return Outcome("parked", "outside_window", f"session {report.session} is older than what can still be proven new")
        before = account.orders.get(ids.order_key(account.key, report.session, report.order_id))
        if before is None:
            before = orders.new_order(account.key, report.session, report.order_id, report.seqno, *NOBODY)
        order = orders.after_report(before, report)
        owner = account.owner(order.session, order.order_id, order.seqno, order.custom_field)
        order = msgspec.structs.replace(order, strategy_id=owner.strategy_id, intent_id=owner.intent_id)
        event = self._order_event(account, order, report, cause, source)
        account.put_order(msgspec.structs.replace(order, last=event))
        account.put_report(report.event_id, report.content_key, report.session)
        self._sink.order(event)
        if (before.strategy_id, before.intent_id) != owner:
            # The report told what its fills did not: a custom field, or the seqno that an intent names.
            self._move_fills(account, order, owner, source)
        if order.overfilled and not before.overfilled:
            held = [account.fills[fill_id] for fill_id in account.fills_of_order.get(order.order_key, ())]
            for fill in [fill for fill in held if not fill.voided][-1:]:
                self._mark(account, fill.symbol, fill.book, "CONFLICT", source, fill.strategy_id)
        return ORDER

    def _order_event(self, account: Account, order: Order, report: OrderReport, cause: str, source: Source) -> OrderEvent:
        return OrderEvent(
            event_id=report.event_id,
            content_key=report.content_key,
            order_key=order.order_key,
            account=account.key,
            revision=order.revision,
            cause=cause,
            op_type=report.op_type,
            op_code=report.op_code,
            op_msg=report.op_msg,
            status=order.status,
            reported=order.reported,
            symbol=report.symbol,
            market=report.market,
            security_type=report.security_type,
            side=report.side,
            order_type=report.order_type,
            price_type=report.price_type,
            order_cond=report.order_cond,
            order_lot=report.order_lot,
            oc_type=report.oc_type,
            price=order.price,
            quantity=order.quantity,
            cum_filled=order.cum_filled,
            cancelled=order.cancelled,
            leaves=order.leaves,
            overfilled=order.overfilled,
            order_id=report.order_id,
            seqno=order.seqno,
            ordno=report.ordno,
            custom_field=order.custom_field,
            strategy_id=order.strategy_id,
            intent_id=order.intent_id,
            trading_date=self._rules.calendar.trading_date(report.exchange_ts, report.market),
            session_id=report.session,
            exchange_ts=report.exchange_ts,
            ingest_ts=source.ingest_ts,
            normalized_ts=source.now,
            source_topic=source.topic,
            source_partition=source.partition,
            source_offset=source.offset,
            bridge_id=source.bridge_id,
            bridge_epoch=source.bridge_epoch,
            bridge_seq=source.bridge_seq,
        )
