"""Deals: whether one is a fill that was not seen before, and what it does to its order and rows. The deals half of `pipeline`."""

import msgspec

from execpos.domain import dedupe, ids, money, normalize, orders, payloads
from execpos.domain.account import Account, Owner
from execpos.domain.book import Source
from execpos.domain.closing import Closing
from execpos.domain.events import FillEvent, RawExecEvent
from execpos.domain.normalize import Deal
from execpos.domain.orders import Order
from execpos.domain.outcome import DUPLICATE, FILL, Outcome, parked
from execpos.domain.synthetic import Synthetic
from execpos.errors import Park


class Deals(Synthetic, Closing):
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
        order = account.orders.get(ids.order_key(account.key, deal.session, deal.trade_id))
        owner = _owner(account, deal, order)
        try:
            return self._fill(account, deal, book, order, owner, cause, source)
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

    def _fill(  # noqa: C901 (the steps of one fill, in their order; a call for each costs more than the rule is worth)
        self, account: Account, deal: Deal, book: str, order: Order | None, owner: Owner, cause: str, source: Source
    ) -> Outcome:
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
        # What comes through a correction (REPLAY) was asked for because its unit is known now.
        if account.book.quality(deal.symbol, book) == "BLOCKED" and not source.input:
            raise Park("key_blocked", f"{deal.symbol} in book {book} is blocked until it is reconciled", disposition="parked")
        amount = quantity * deal.price * product.multiplier
        if abs(amount) > money.MAX_MICROS:
            raise Park("bad_number", f"the fill is worth {money.text(amount)}, beyond 10^12")
        # It forgets no order of this session, so `order` is still what it was.
        account.accept_session(ordinal)

        if order is None:
            order = orders.new_order(account.key, deal.session, deal.trade_id, deal.seqno, *owner)
        else:
            order = self._reattribute(account, order, owner, source)
        voided = account.fills.get(fill_id) if seen == "voided" else None
        fee = tax = 0
        was_overfilled = order.overfilled
        # A voided one has its place from before it came, and a restart takes an order that no report named from the first of its fills.
        whose = order if voided else owner
        if not voided:
            total_fee, total_tax = rules.fees.estimate(
                product, book, deal.order_lot, deal.side, order.cum_amount + abs(amount), order.cum_filled + quantity, trading_date
            )
            fee, tax = total_fee - order.fee, total_tax - order.tax
            order = orders.after_fill(order, quantity, abs(amount), fee, tax)
        if (deal.seqno and not order.seqno) or (deal.custom_field and not order.custom_field):
            order = msgspec.structs.replace(order, seqno=order.seqno or deal.seqno, custom_field=order.custom_field or deal.custom_field)
        # As `Order.overfilled` says.
        overfilled = 0 < order.quantity < order.cum_filled
        account.put_order(order)
        # Field by field in the order of the class; keywords would cost 1.4 µs.
        fill = FillEvent(
            fill_id,
            deal.receipt,
            digest,
            voided.revision + 1 if voided else 1,
            voided.fill_seq if voided else account.next_seq,
            account.key,
            order.order_key,
            whose.strategy_id,
            whose.intent_id,
            deal.symbol,
            deal.market,
            product.security_type,
            book,
            deal.order_cond,
            deal.order_lot,
            deal.side,
            quantity,
            deal.price,
            product.multiplier,
            fee,
            tax,
            product.currency,
            deal.session,
            trading_date,
            deal.exchange_ts,
            source.ingest_ts,
            source.now,
            cause,
            voided is not None,
            "CONFIRMED",  # quality
            "ESTIMATED",  # fee_quality
            "",  # entry_kind
            0,  # read_began_ts
            deal.trade_id,
            deal.seqno,
            deal.ordno,
            deal.exchange_seq,
            deal.custom_field,
            order.cum_filled,
            overfilled,
            source.topic,
            source.partition,
            source.offset,
            source.bridge_id,
            source.bridge_epoch,
            source.bridge_seq,
        )
        account.put_fill(fill)
        self._sink.fill(fill)
        if not voided:
            self._sink.delta(account.book.add(fill, source))
            if account.synthetic:
                self._absorb(account, fill, source)
            if ordinal <= account.closed:
                self._recount(account, account.fills[fill_id], source)
        if overfilled and not was_overfilled:
            self._mark(account, fill.symbol, book, "CONFLICT", source, fill.strategy_id)
        return FILL


def _owner(account: Account, deal: Deal, order: Order | None) -> Owner:
    seqno, custom_field = (order.seqno, order.custom_field) if order else ("", "")
    return account.owner(deal.session, deal.trade_id, seqno or deal.seqno, custom_field or deal.custom_field)


# What a record that did not become state does to the key that it would have moved; INCOMPLETE where nothing stands here.
_QUALITY_OF = {
    "fill_conflict": "CONFLICT",
    "receipt_conflict": "CONFLICT",
    "unknown_instrument": "BLOCKED",
    "unknown_order_lot": "BLOCKED",
    "key_blocked": "BLOCKED",
}
