"""Deals: whether one is a fill that was not seen before, and what it does to its order and rows. The deals half of `pipeline`."""

import msgspec

from execpos.domain import dedupe, ids, money, normalize, orders, payloads
from execpos.domain.account import Account, Owner
from execpos.domain.book import Source
from execpos.domain.desk import Desk, named
from execpos.domain.events import FillEvent, RawExecEvent
from execpos.domain.normalize import Deal
from execpos.domain.outcome import DUPLICATE, FILL, Outcome, parked
from execpos.errors import Park


class Deals(Desk):
    """Takes deals: each moves a position, or marks the one that it should have moved."""

    def _deal(self, account: Account, kind: str, cause: str, raw: RawExecEvent, source: Source) -> Outcome:
        market = normalize.market_of(kind)
        try:
            deal = normalize.deal(market, raw.payload, raw.env, raw.account)
        except Park as park:
            return parked(park, self._mark_broken(account, kind, raw, source))
        try:
            book = self._rules.instruments.book(market, deal.order_cond)
        except Park as park:
            return parked(park, self._mark(account, deal.symbol, ids.WHOLE_ACCOUNT, "BLOCKED", source))
        owner = self._owner(account, deal)
        try:
            return self._fill(account, deal, book, owner, cause, source)
        except Park as park:
            quality = _QUALITY_OF.get(park.reason, "INCOMPLETE")
            strategy_id = owner.strategy_id
            if park.disposition == "conflict" and (held := account.fills.get(str(park.fields["fill_id"]))):
                # The row that holds the fill in question, whoever owns it by now.
                return parked(park, self._mark(account, held.symbol, held.book, quality, source, held.strategy_id))
            return parked(park, self._mark(account, deal.symbol, book, quality, source, strategy_id))

    def _mark_broken(self, account: Account, kind: str, raw: RawExecEvent, source: Source) -> str:
        """Mark the key that a broken deal would have moved; the whole account when not even that can be read."""
        seen = payloads.hint(raw.payload)
        market = normalize.market_of(kind)
        symbol = (seen.full_code if market == "F" else seen.code) or ""
        try:
            book = self._rules.instruments.book(market, seen.order_cond or "")
        except Park:
            book = ""
        if not symbol or not book:
            symbol = book = ids.WHOLE_ACCOUNT
        return self._mark(account, symbol, book, "INCOMPLETE", source)

    def _owner(self, account: Account, deal: Deal) -> Owner:
        order = account.orders.get(ids.order_key(account.key, deal.session, deal.trade_id))
        seqno, custom_field = (order.seqno, order.custom_field) if order else ("", "")
        return account.owner(deal.session, deal.trade_id, seqno or deal.seqno, custom_field or deal.custom_field)

    def _fill(self, account: Account, deal: Deal, book: str, owner: Owner, cause: str, source: Source) -> Outcome:
        rules = self._rules
        if deal.combo and rules.combo == "park":
            raise Park("combo_leg", "a leg of a combo order; the broker is asked for the position instead", disposition="parked")
        quantity = deal.reported_quantity if deal.market == "F" else rules.instruments.shares(deal.order_lot, deal.reported_quantity)
        digest = dedupe.digest(deal.side, deal.price, quantity)
        fill_id = ids.fill_id(account.key, deal.session, deal.trade_id, deal.exchange_seq)
        seen = dedupe.seen(account, deal.receipt, fill_id, digest)
        if seen == "duplicate":
            return DUPLICATE
        ordinal = dedupe.check_window(account, deal, source.ingest_ts or deal.exchange_ts)
        trading_date = rules.calendar.trading_date(deal.exchange_ts, deal.market)
        product = rules.instruments.product(deal.market, deal.code, deal.symbol, deal.security_type, trading_date)
        if account.book.quality(deal.symbol, book) == "BLOCKED":
            raise Park("key_blocked", f"{deal.symbol} in book {book} is blocked until it is reconciled", disposition="parked")
        amount = quantity * deal.price * product.multiplier
        if abs(amount) > money.MAX_MICROS:
            raise Park("bad_number", f"the fill is worth {money.text(amount)}, beyond 10^12")
        account.accept_session(ordinal)

        order = account.orders.get(ids.order_key(account.key, deal.session, deal.trade_id))
        if order is None:
            order = orders.new_order(account.key, deal.session, deal.trade_id, deal.seqno, *owner)
        else:
            order = self._reattribute(account, order, owner, source)
        voided = account.fills.get(fill_id) if seen == "voided" else None
        fee = tax = 0
        was_overfilled = order.overfilled
        if not voided:
            total_fee, total_tax = rules.fees.estimate(
                product, book, deal.order_lot, deal.side, order.cum_amount + abs(amount), order.cum_filled + quantity, trading_date
            )
            fee, tax = total_fee - order.fee, total_tax - order.tax
            order = orders.after_fill(order, quantity, abs(amount), fee, tax)
        order = msgspec.structs.replace(order, seqno=order.seqno or deal.seqno, custom_field=order.custom_field or deal.custom_field)
        account.put_order(order)
        fill = FillEvent(
            fill_id=fill_id,
            broker_event_id=deal.receipt,
            digest=digest,
            revision=voided.revision + 1 if voided else 1,
            fill_seq=voided.fill_seq if voided else account.next_seq,
            account=account.key,
            order_key=order.order_key,
            strategy_id=owner.strategy_id,
            intent_id=owner.intent_id,
            symbol=deal.symbol,
            market=deal.market,
            security_type=product.security_type,
            book=book,
            order_cond=deal.order_cond,
            side=deal.side,
            quantity=quantity,
            price=deal.price,
            multiplier=product.multiplier,
            fee_est=fee,
            tax_est=tax,
            currency=product.currency,
            session_id=deal.session,
            trading_date=trading_date,
            exchange_ts=deal.exchange_ts,
            ingest_ts=source.ingest_ts,
            normalized_ts=source.now,
            cause=cause,
            voided=voided is not None,
            quality="CONFIRMED",
            order_id=deal.trade_id,
            seqno=deal.seqno,
            ordno=deal.ordno,
            exchange_seq=deal.exchange_seq,
            custom_field=deal.custom_field,
            order_cum_filled=order.cum_filled,
            order_overfilled=order.overfilled,
            **named(source),
        )
        account.put_fill(fill)
        self._sink.fill(fill)
        if not voided:
            self._sink.delta(account.book.add(fill, source))
        if order.overfilled and not was_overfilled:
            self._mark(account, fill.symbol, book, "CONFLICT", source, fill.strategy_id)
        return FILL


# What a record that did not become state does to the key that it would have moved; INCOMPLETE where nothing stands here.
_QUALITY_OF = {
    "fill_conflict": "CONFLICT",
    "receipt_conflict": "CONFLICT",
    "unknown_instrument": "BLOCKED",
    "unknown_order_lot": "BLOCKED",
    "key_blocked": "BLOCKED",
}
