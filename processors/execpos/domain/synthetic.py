"""Fills that a correction makes: openings, adjustments, settlements; and how a real fill absorbs the one that stood for it.

An OPENING or ADJUST is taken from the broker's position, so it may stand for a fill that we have not seen yet. When that one comes, its
exchange_ts at or before the moment the read began, the synthetic quantity gives way in the same transaction. A fill of after the read was
not in it and counts beside it. What lies between, or goes the other way, cannot be told: the key is marked, so that a round starts.
"""

import msgspec

from execpos.domain import dedupe, ids
from execpos.domain.account import Account
from execpos.domain.book import Source
from execpos.domain.correction_rules import Applied, Refused, When, check_amount, check_room
from execpos.domain.desk import Desk, named
from execpos.domain.events import Correction, FillEvent, Market, Side
from execpos.domain.instruments import DERIVATIVE
from execpos.domain.positions import average_price, shares
from execpos.errors import Park


class What(msgspec.Struct, frozen=True):
    """What is traded under a symbol."""

    security_type: str
    currency: str
    multiplier: int


class Synthetic(Desk):
    """Makes synthetic fills, and lets real ones absorb them."""

    # --- absorption --------------------------------------------------------------------------------------------------------------------

    def _absorb(self, account: Account, fill: FillEvent, source: Source) -> None:
        """After a real fill was booked: take back what stood for it."""
        left, ambiguous = fill.quantity, False
        for fill_id in account.synthetic.get((fill.symbol, fill.book), ()):
            stands_for = account.fills[fill_id]
            if fill.exchange_ts > stands_for.exchange_ts:
                continue
            if fill.exchange_ts > stands_for.read_began_ts or fill.side != stands_for.side or account.book.settled(stands_for):
                ambiguous = True
            elif left:
                taken = min(left, stands_for.quantity)
                left -= taken
                self._shrink(account, stands_for, stands_for.quantity - taken, source)
        if ambiguous and left:
            self._mark(account, fill.symbol, fill.book, "INCOMPLETE", source, fill.strategy_id)

    def _shrink(self, account: Account, fill: FillEvent, rest: int, source: Source) -> None:
        if rest:
            after = self._revised(fill, source, quantity=rest, digest=dedupe.digest(fill.side, fill.price, rest))
            delta = account.book.revise(after, source)
        else:
            after = self._revised(fill, source, cause="VOID", voided=True)
            delta = account.book.void(after, source)
        account.put_synthetic(after)
        self._sink.fill(after)
        self._sink.delta(delta)

    # --- the three kinds ---------------------------------------------------------------------------------------------------------------

    def _opening(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        """Book what was held before everything that we know, at UNASSIGNED."""
        symbol, book = correction.symbol, correction.book
        what = self._what(account, symbol, book, when)
        if not correction.quantity or correction.price <= 0:
            raise Refused("price_needed" if correction.quantity else "bad_correction", "an OPENING names a quantity and a price")
        for row in account.book.siblings(symbol, book):
            if row.base_seq >= 0 or (row.entries and not row.entries[0].seq):
                raise Refused("not_opening", f"{symbol}, book {book}, has an opening balance or a past already")
        # As of the close before, so it is no trade of the day on which it was read.
        when = when._replace(trading_date=when.trading_date - 1)
        fill = self._synthetic(account, correction, when, source, what, correction.quantity, correction.price, entry_kind="OPENING")
        self._take_in(account, fill, source)
        return Applied((0,))

    def _adjust(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        """Book a difference from the broker, at UNASSIGNED: at its price, or at the row's own cost and without profit."""
        symbol, book, quantity = correction.symbol, correction.book, correction.quantity
        if not quantity:
            raise Refused("bad_correction", "an ADJUST names a quantity")
        what = self._what(account, symbol, book, when)
        price, entry_kind = correction.price, ""
        if not price:
            net = account.book.rows.get((symbol, book, ids.NET))
            held = net.row.quantity if net else 0
            reduces = held * quantity < 0
            if net is None or not held or (reduces and abs(quantity) > abs(held)):
                raise Refused("price_needed", f"NET holds {held}, so {quantity} more is an opening that needs a price")
            price, entry_kind = average_price(net.row, what.multiplier), "AT_COST" if reduces else ""
        fill = self._synthetic(account, correction, when, source, what, quantity, price, entry_kind=entry_kind)
        self._take_in(account, fill, source)
        return Applied((fill.fill_seq,))

    def _settlement(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        """Close every strategy's row at one price: the contract is gone."""
        symbol, book = correction.symbol, correction.book
        rows = [row for row in account.book.strategies(symbol, book) if row.row.quantity]
        if not rows:
            raise Refused("not_held", f"nothing is open in {symbol}, book {book}")
        what = self._what(account, symbol, book, when)
        held = [abs(row.row.quantity) for row in rows]
        for row in account.book.siblings(symbol, book):
            # Before the first of them is booked: what one row takes, NET takes with all the others'.
            check_room(row, 0, sum(held) * correction.price * what.multiplier + abs(correction.fees) + abs(correction.taxes))
        made = []
        for number, (row, fee, tax) in enumerate(zip(rows, shares(correction.fees, held), shares(correction.taxes, held), strict=True), 1):
            fill = self._synthetic(account, correction, when, source, what, -row.row.quantity, correction.price, number=number)
            fill = msgspec.structs.replace(fill, strategy_id=row.strategy_id, fee_est=fee, tax_est=tax)
            self._take_in(account, fill, source)
            made.append(fill.fill_seq)
        return Applied(tuple(made))

    # --- parts -------------------------------------------------------------------------------------------------------------------------

    def _take_in(self, account: Account, fill: FillEvent, source: Source) -> None:
        account.accept_session(ids.session_ordinal(fill.session_id))
        account.put_synthetic(fill)
        self._sink.fill(fill)
        self._sink.delta(account.book.add(fill, source))

    def _what(self, account: Account, symbol: str, book: str, when: When) -> What:
        """Return what is traded: as the key's fills told, else by the tables."""
        market = market_of(account)
        if (book == DERIVATIVE) != (market == "F") or (market == "S" and book not in self._rules.instruments.books.values()):
            raise Refused("bad_correction", f"{book!r} is no book of market {market}")
        known = account.book.rows.get((symbol, book, ids.NET))
        if known and known.multiplier:
            return What(known.security_type, known.currency, known.multiplier)
        code = symbol if market == "S" else symbol[:3]
        try:
            product = self._rules.instruments.product(market, code, symbol if market == "F" else "", "", when.trading_date)
        except Park as park:
            raise Refused("unknown_instrument", park.what) from park
        return What(product.security_type, product.currency, product.multiplier)

    def _synthetic(
        self,
        account: Account,
        correction: Correction,
        when: When,
        source: Source,
        what: What,
        quantity: int,
        price: int,
        *,
        number: int = 1,
        entry_kind: str = "",
    ) -> FillEvent:
        settlement = correction.kind == "SETTLEMENT"
        trade_id = ids.SYNTHETIC + correction.correction_id
        side: Side = "BUY" if quantity > 0 else "SELL"
        size = abs(quantity)
        check_amount(size * price * what.multiplier, "the correction")
        for row in account.book.siblings(correction.symbol, correction.book):
            check_room(row, size, size * price * what.multiplier)
        began = 0 if settlement else correction.read_began_ts or when.ts
        fill_id = ids.fill_id(account.key, when.session, trade_id, str(number))
        if fill_id in account.fills:
            raise Refused("bad_correction", f"fill {fill_id} was made by another correction of that id")
        return FillEvent(
            fill_id=fill_id,
            broker_event_id="",
            digest=dedupe.digest(side, price, size),
            revision=1,
            fill_seq=account.next_seq,
            account=account.key,
            order_key=ids.order_key(account.key, when.session, trade_id),
            strategy_id=ids.UNASSIGNED,
            intent_id="",
            symbol=correction.symbol,
            market=market_of(account),
            security_type=what.security_type,
            book=correction.book,
            order_cond="",
            order_lot="",
            side=side,
            quantity=size,
            price=price,
            multiplier=what.multiplier,
            fee_est=0,
            tax_est=0,
            currency=what.currency,
            session_id=when.session,
            trading_date=when.trading_date,
            exchange_ts=when.ts,
            ingest_ts=source.ingest_ts,
            normalized_ts=source.now,
            cause=correction.kind,
            voided=False,
            quality="CONFIRMED" if settlement and correction.evidence.get("price_source") else "ESTIMATED",
            fee_quality="CONFIRMED",
            entry_kind=entry_kind,
            read_began_ts=began,
            order_id=trade_id,
            seqno="",
            ordno="",
            exchange_seq=str(number),
            custom_field="",
            order_cum_filled=size,
            order_overfilled=False,
            **named(source),
        )


def market_of(account: Account) -> Market:
    """Return the market of an account."""
    return "S" if account.market == "S" else "F"
