"""The whole of the domain in one place: raw records and intents in; orders, fills and deltas out.

Pure: no I/O, no clock, no randomness. The ledger feeds it from Kafka and `execpos fold` from a file, so both give the same answer. Two
halves with two interfaces: `Normalizer` decides what a record is and whether it is new, `Book` decides what it does to positions.
"""

from typing import Literal, Protocol, TypedDict

import msgspec

from execpos.domain import dedupe, ids, money, normalize, orders
from execpos.domain.account import NOBODY, Account, Owner
from execpos.domain.book import Position, Source
from execpos.domain.events import FillEvent, Intent, Market, OrderEvent, PositionDelta, RawExecEvent, Side
from execpos.domain.normalize import Deal, OrderReport
from execpos.domain.orders import Order
from execpos.domain.rules import Rules
from execpos.domain.undo import Undo
from execpos.errors import Park

Class = Literal["order", "fill", "duplicate", "conflict", "parked", "dead_letter", "control"]

_CONTROL_KINDS = frozenset({"MARKER", "BEAT", "GAP", "CONNECTION"})


class Sink(Protocol):
    """Takes what the pipeline makes, in order, within the call that makes it. Must not call back into the pipeline."""

    def order(self, event: OrderEvent) -> None:
        """Take an order event."""

    def fill(self, event: FillEvent) -> None:
        """Take a fill, or a new revision of one."""

    def delta(self, event: PositionDelta) -> None:
        """Take a line of the book's journal."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a record: its one class, and for a record that did not become state the reason, detail and marked key."""

    disposition: Class
    reason: str = ""
    detail: str = ""
    position_key: str = ""


ORDER, FILL, DUPLICATE, CONTROL = (Outcome(name) for name in ("order", "fill", "duplicate", "control"))


class Pipeline:
    """The accounts of one partition, or of one file. Not thread-safe.

    Every change goes through `undo`, where the owner of the pipeline may add what it keeps beside it. Every call either completes or
    raises an error of the tree other than `Park`; then, or to abort, call `rollback`. `commit` ends a transaction: after it nothing can
    be taken back, and `touched` starts empty.
    """

    def __init__(self, rules: Rules, sink: Sink) -> None:
        self.accounts: dict[str, Account] = {}
        self.touched: dict[Position, None] = {}
        self._rules = rules
        self._sink = sink
        self.undo = Undo()

    def account(self, key: str) -> Account:
        """Return the state of an account, an empty one when there was none."""
        found = self.accounts.get(key)
        if found is None:
            found = Account(key, self._rules, self.undo, self.touched)
            self.undo.put(self.accounts, key, found)
        return found

    def commit(self) -> None:
        """End the transaction: what was done since the last one stays, and the touched rows count as published."""
        for position in self.touched:
            position.published_version = position.version
        self.touched.clear()
        self.undo.commit()

    def rollback(self) -> None:
        """Take back everything since the last commit."""
        self.undo.rollback()
        self.touched.clear()

    # --- raw ---------------------------------------------------------------------------------------------------------------------------

    def apply_raw(self, raw: RawExecEvent, source: Source) -> Outcome:
        """Apply one record of exec.raw and tell which class it is; never raises for a bad one."""
        kind = raw.kind
        if kind in _CONTROL_KINDS:
            return CONTROL
        catchup = kind.startswith(normalize.CATCHUP)
        callback = kind[len(normalize.CATCHUP) :] if catchup else kind
        cause = "CATCHUP" if catchup else "CALLBACK"
        account = self.account(raw.account)
        if callback in normalize.DEAL_KINDS:
            return self._deal(account, callback, cause, raw, source)
        try:
            if callback not in normalize.ORDER_KINDS:
                raise Park("unknown_kind", f"kind is {kind!r}", disposition="parked")
            market = normalize.market_of(callback)
            report = normalize.order_report(market, raw.payload, raw.env, raw.account, self._rules.instruments)
        except Park as park:
            # An order report moves no position; a kind that we do not know might have.
            key = self._mark(account, ids.WHOLE_ACCOUNT, ids.WHOLE_ACCOUNT, "INCOMPLETE", source) if park.reason == "unknown_kind" else ""
            return _parked(park, key)
        return self._report(account, report, cause, source)

    def mark_account(self, account_key: str, source: Source) -> str:
        """Mark every position of an account as incomplete, because a record of it could not be read at all; return the key marked."""
        return self._mark(self.account(account_key), ids.WHOLE_ACCOUNT, ids.WHOLE_ACCOUNT, "INCOMPLETE", source)

    def _mark(self, account: Account, symbol: str, book: str, quality: str, source: Source, strategy_id: str = ids.UNASSIGNED) -> str:
        date = self._rules.calendar.trading_date(source.ingest_ts, "S")
        delta = account.book.mark(symbol, book, strategy_id, quality, source, date)
        if delta is not None:
            self._sink.delta(delta)
        return ids.position_key(account.key, symbol, book, strategy_id)

    # --- orders ------------------------------------------------------------------------------------------------------------------------

    def _report(self, account: Account, report: OrderReport, cause: str, source: Source) -> Outcome:
        if report.event_id in account.reports:
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
        account.put_report(report.event_id, report.session)
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

    # --- deals -------------------------------------------------------------------------------------------------------------------------

    def _deal(self, account: Account, kind: str, cause: str, raw: RawExecEvent, source: Source) -> Outcome:
        market = normalize.market_of(kind)
        try:
            deal = normalize.deal(market, raw.payload, raw.env, raw.account)
        except Park as park:
            return _parked(park, self._mark_broken(account, kind, raw, source))
        try:
            book = self._rules.instruments.book(market, deal.order_cond)
        except Park as park:
            return _parked(park, self._mark(account, deal.symbol, ids.WHOLE_ACCOUNT, "BLOCKED", source))
        owner = self._owner(account, deal)
        try:
            return self._fill(account, deal, book, owner, cause, source)
        except Park as park:
            quality = _QUALITY_OF.get(park.reason, "INCOMPLETE")
            strategy_id = owner.strategy_id
            if park.disposition == "conflict" and (held := account.fills.get(str(park.fields["fill_id"]))):
                # The row that holds the fill in question, whoever owns it by now.
                return _parked(park, self._mark(account, held.symbol, held.book, quality, source, held.strategy_id))
            return _parked(park, self._mark(account, deal.symbol, book, quality, source, strategy_id))

    def _mark_broken(self, account: Account, kind: str, raw: RawExecEvent, source: Source) -> str:
        """Mark the key that a broken deal would have moved; the whole account when not even that can be read."""
        seen = normalize.hint(raw.payload)
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
            **_named(source),
        )
        account.put_fill(fill)
        self._sink.fill(fill)
        if not voided:
            self._sink.delta(account.book.add(fill, source))
        if order.overfilled and not was_overfilled:
            self._mark(account, fill.symbol, book, "CONFLICT", source, fill.strategy_id)
        return FILL

    # --- intents and voids -------------------------------------------------------------------------------------------------------------

    def apply_intent(self, intent: Intent, source: Source) -> Outcome:
        """Apply one intent: later reports of its order find it, and fills that came before move to its strategy at once."""
        account = self.account(intent.account)
        try:
            ordinal = check_intent(intent)
            if ordinal < account.oldest_session():
                raise Park("outside_window", f"session {intent.session_id} is older than what can still be moved", disposition="parked")
        except Park as park:
            return _parked(park, "")
        account.claim(intent, source.offset)
        for order in account.orders_claimed(intent):
            self._reattribute(account, order, Owner(intent.strategy_id, intent.intent_id), source)
        return CONTROL

    def _reattribute(self, account: Account, order: Order, owner: Owner, source: Source) -> Order:
        """Give an order and its fills to `owner`, and return it as it is then; nothing happens when they are its own already."""
        if owner.strategy_id == order.strategy_id and owner.intent_id == order.intent_id:
            return order
        order = msgspec.structs.replace(order, strategy_id=owner.strategy_id, intent_id=owner.intent_id)
        last = order.last
        if last is not None:
            order = msgspec.structs.replace(order, revision=order.revision + 1)
            event = msgspec.structs.replace(
                last,
                revision=order.revision,
                cause="REATTRIBUTED",
                strategy_id=owner.strategy_id,
                intent_id=owner.intent_id,
                status=order.status,
                cum_filled=order.cum_filled,
                leaves=order.leaves,
                overfilled=order.overfilled,
                ingest_ts=source.ingest_ts,
                normalized_ts=source.now,
                **_named(source),
            )
            order = msgspec.structs.replace(order, last=event)
            self._sink.order(event)
        account.put_order(order)
        self._move_fills(account, order, owner, source)
        return order

    def _move_fills(self, account: Account, order: Order, owner: Owner, source: Source) -> None:
        for fill_id in account.fills_of_order.get(order.order_key, ()):
            before = account.fills[fill_id]
            if before.strategy_id == owner.strategy_id and before.intent_id == owner.intent_id:
                continue
            after = self._revised(before, source, strategy_id=owner.strategy_id, intent_id=owner.intent_id, cause="REATTRIBUTED")
            account.put_fill(after)
            self._sink.fill(after)
            if before.strategy_id != owner.strategy_id:
                for delta in account.book.move(before, after, source):
                    self._sink.delta(delta)

    def apply_void(self, account_key: str, fill_id: str, source: Source) -> Outcome:
        """Take a fill out of the book, before or after it came; a second void of it is a duplicate.

        Raises:
            ValueError: `fill_id` is none of this account's.
        """
        account = self.account(account_key)
        prefix, session, trade_id, exchange_seq = fill_id.rsplit("|", 3)
        if prefix != account.key:
            msg = f"fill {fill_id} is not of account {account.key}"
            raise ValueError(msg)
        if ids.session_ordinal(session) < account.oldest_session():
            return Outcome("parked", "outside_window", f"session {session} is older than what can still be voided")
        before = account.fills.get(fill_id)
        if before is None:
            return self._void_before(account, fill_id, session, ids.unescape(trade_id), ids.unescape(exchange_seq), source)
        if before.voided:
            return DUPLICATE
        after = self._revised(before, source, cause="VOID", voided=True)
        order = account.orders.get(after.order_key)
        if order is not None:
            amount = abs(after.quantity * after.price * after.multiplier)
            account.put_order(orders.after_fill(order, -after.quantity, -amount, -after.fee_est, -after.tax_est))
        account.put_fill(after)
        self._sink.fill(after)
        self._sink.delta(account.book.void(after, source))
        return FILL

    def _void_before(self, account: Account, fill_id: str, session: str, trade_id: str, exchange_seq: str, source: Source) -> Outcome:
        fill = FillEvent(
            fill_id=fill_id,
            broker_event_id="",
            digest=b"",
            revision=1,
            fill_seq=account.next_seq,
            account=account.key,
            order_key=ids.order_key(account.key, session, trade_id),
            strategy_id=ids.UNASSIGNED,
            intent_id="",
            symbol="",
            market=_market(account),
            security_type="",
            book="",
            order_cond="",
            side=_ANY_SIDE,
            quantity=0,
            price=0,
            multiplier=0,
            fee_est=0,
            tax_est=0,
            currency="TWD",
            session_id=session,
            trading_date=self._rules.calendar.trading_date(source.ingest_ts, _market(account)),
            exchange_ts=source.ingest_ts,
            ingest_ts=source.ingest_ts,
            normalized_ts=source.now,
            cause="VOID",
            voided=True,
            quality="CONFIRMED",
            order_id=trade_id,
            seqno="",
            ordno="",
            exchange_seq=exchange_seq,
            custom_field="",
            order_cum_filled=0,
            order_overfilled=False,
            **_named(source),
        )
        account.put_fill(fill)
        self._sink.fill(fill)
        return FILL

    def _revised(self, fill: FillEvent, source: Source, **changes: object) -> FillEvent:
        return msgspec.structs.replace(
            fill, revision=fill.revision + 1, ingest_ts=source.ingest_ts, normalized_ts=source.now, **_named(source), **changes
        )


_ANY_SIDE: Side = "BUY"

# What a record that did not become state does to the key that it would have moved; INCOMPLETE where nothing stands here.
_QUALITY_OF = {
    "fill_conflict": "CONFLICT",
    "receipt_conflict": "CONFLICT",
    "unknown_instrument": "BLOCKED",
    "unknown_order_lot": "BLOCKED",
    "key_blocked": "BLOCKED",
}


def _parked(park: Park, position_key: str) -> Outcome:
    return Outcome(_CLASS[park.disposition], park.reason, park.what, position_key)


_CLASS: dict[str, Class] = {"dead_letter": "dead_letter", "parked": "parked", "conflict": "conflict"}


class _Named(TypedDict):
    source_topic: str
    source_partition: int
    source_offset: int
    bridge_id: str
    bridge_epoch: int
    bridge_seq: int


def _named(source: Source) -> _Named:
    return {
        "source_topic": source.topic,
        "source_partition": source.partition,
        "source_offset": source.offset,
        "bridge_id": source.bridge_id,
        "bridge_epoch": source.bridge_epoch,
        "bridge_seq": source.bridge_seq,
    }


def _market(account: Account) -> Market:
    return "S" if account.market == "S" else "F"


def check_intent(intent: Intent) -> int:
    """Return the ordinal of an intent's session.

    Raises:
        Park: it names no order, no strategy, or a session that is none (`bad_intent`).
    """
    if not intent.order_id and not intent.seqno:
        raise Park("bad_intent", f"intent {intent.intent_id} names neither order_id nor seqno")
    if not intent.strategy_id or intent.strategy_id == ids.NET:
        raise Park("bad_intent", f"intent {intent.intent_id} names strategy {intent.strategy_id!r}")
    try:
        return ids.session_ordinal(intent.session_id)
    except ValueError as error:
        raise Park("bad_intent", f"intent {intent.intent_id}: {error}") from error
