"""The whole of the domain in one place: raw records and intents in; orders, fills and deltas out.

Pure: no I/O, no clock, no randomness. The ledger feeds it from Kafka and `execpos fold` from a file, so both give the same answer. Two
halves with two interfaces: `Normalizer` decides what a record is and whether it is new, `Book` decides what it does to positions.
"""

from execpos.domain import ids, invariants, limits, normalize, orders
from execpos.domain.account import Account, Owner
from execpos.domain.book import Position, Source
from execpos.domain.correction_rules import fill_session, is_account
from execpos.domain.corrections import Corrections
from execpos.domain.deals import Deals
from execpos.domain.desk import Sink, named
from execpos.domain.events import Correction, FillEvent, Intent, Market, RawExecEvent, Side
from execpos.domain.outcome import CONTROL, DUPLICATE, FILL, Class, Outcome, parked
from execpos.domain.reports import Reports
from execpos.domain.rules import Rules
from execpos.domain.undo import Undo
from execpos.domain.vocabulary import CALLBACK_KINDS, CATCHUP, CONTROL_KINDS, DEAL_KINDS
from execpos.errors import Park

__all__ = ["Class", "Outcome", "Pipeline", "Sink", "check_intent", "parked"]


class Pipeline(Reports, Deals, Corrections):
    """The accounts of one partition, or of one file. Not thread-safe.

    Every change goes through `undo`, where the owner of the pipeline may add what it keeps beside it. Every call either completes or
    raises an error of the tree other than `Park`; then, or to abort, call `rollback`. `commit` ends a transaction: after it nothing can
    be taken back, and `touched` and `requests` (corrections that ask the ledger for something) start empty.
    """

    def __init__(self, rules: Rules, sink: Sink) -> None:
        super().__init__(rules, sink)
        self.accounts: dict[str, Account] = {}
        self.touched: dict[Position, None] = {}
        self.requests: list[tuple[Correction, Source]] = []
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
        self.requests.clear()
        self.undo.commit()

    def rollback(self) -> None:
        """Take back everything since the last commit."""
        self.undo.rollback()
        self.touched.clear()

    def check(self) -> None:
        """Check the rows that changed since the last commit, and the keys that they belong to.

        Raises:
            InvariantBroken: one of them cannot be; the transaction must not commit.
        """
        seen: set[int] = set()
        for position in self.touched:
            invariants.row_consistent(position.row, position.method)
            siblings = position.siblings
            if id(siblings) not in seen:
                seen.add(id(siblings))
                held = net = 0
                for row in siblings:
                    if row.strategy_id == ids.NET:
                        net = row.row.quantity
                    else:
                        held += row.row.quantity
                invariants.strategies_sum_to_net(held, net, position.key)

    # --- raw ---------------------------------------------------------------------------------------------------------------------------

    def apply_raw(self, raw: RawExecEvent, source: Source) -> Outcome:
        """Apply one record of exec.raw and tell which class it is; never raises for a bad one."""
        kind = raw.kind
        if kind in CONTROL_KINDS:
            return CONTROL
        callback, cause = _CALLBACKS.get(kind, ("", ""))
        account = self.accounts.get(raw.account) or self.account(raw.account)
        if callback in DEAL_KINDS:
            return self._deal(account, callback, cause, raw, source)
        try:
            if not callback:
                raise Park("unknown_kind", f"kind is {kind!r}", disposition="parked")
            market = normalize.market_of(callback)
            report = normalize.order_report(market, raw.payload, raw.env, raw.account, self._rules.instruments)
        except Park as park:
            # An order report moves no position; a kind that we do not know might have.
            key = self._mark(account, ids.WHOLE_ACCOUNT, ids.WHOLE_ACCOUNT, "INCOMPLETE", source) if park.reason == "unknown_kind" else ""
            return parked(park, key)
        return self._report(account, report, cause, source)

    def mark_account(self, account_key: str, source: Source) -> str:
        """Mark every position of an account as incomplete, because a record of it could not be read at all; return the key marked."""
        return self._mark(self.account(account_key), ids.WHOLE_ACCOUNT, ids.WHOLE_ACCOUNT, "INCOMPLETE", source)

    # --- intents and voids -------------------------------------------------------------------------------------------------------------

    def apply_intent(self, intent: Intent, source: Source) -> Outcome:
        """Apply one intent: later reports of its order find it, and fills that came before move to its strategy at once."""
        try:
            ordinal = check_intent(intent)
            account = self.account(intent.account)
            if ordinal < account.oldest_session():
                raise Park("outside_window", f"session {intent.session_id} is older than what can still be moved", disposition="parked")
        except Park as park:
            return parked(park, "")
        account.claim(intent, source.offset)
        owner = Owner(intent.strategy_id, intent.intent_id)
        held = ""
        for order in account.orders_claimed(intent):
            after = self._reattribute(account, order, owner, source)
            if (after.strategy_id, after.intent_id) != owner:
                held = order.order_key
        if held:
            what = f"fills of order {held} lie before a corporate action or past the retention, and stay with their strategy"
            return Outcome("parked", "settled", what)
        return CONTROL

    def apply_void(self, account_key: str, fill_id: str, source: Source) -> Outcome:
        """Take a fill out of the book, before or after it came; a second void of it is a duplicate.

        Raises:
            ValueError: `fill_id` is none of this account's.
        """
        account = self.account(account_key)
        session, trade_id, exchange_seq = fill_session(fill_id, account.key)
        if ids.session_ordinal(session) < account.oldest_session():
            return Outcome("parked", "outside_window", f"session {session} is older than what can still be voided")
        before = account.fills.get(fill_id)
        if before is None:
            return self._void_before(account, fill_id, session, trade_id, exchange_seq, source)
        if before.voided:
            return DUPLICATE
        if account.book.settled(before):
            return Outcome("parked", "settled", f"fill {fill_id} lies before a corporate action or past the retention")
        after = self._revised(before, source, cause="VOID", voided=True)
        order = account.orders.get(after.order_key)
        if order is not None:
            amount = abs(after.quantity * after.price * after.multiplier)
            account.put_order(orders.after_fill(order, -after.quantity, -amount, -after.fee_est, -after.tax_est))
        account.put_synthetic(after)
        self._sink.fill(after)
        self._sink.delta(account.book.void(after, source))
        self._recount(account, after, source)
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
            order_lot="",
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
            fee_quality="ESTIMATED",
            entry_kind="",
            read_began_ts=0,
            order_id=trade_id,
            seqno="",
            ordno="",
            exchange_seq=exchange_seq,
            custom_field="",
            order_cum_filled=0,
            order_overfilled=False,
            **named(source),
        )
        account.put_fill(fill)
        self._sink.fill(fill)
        return FILL


_ANY_SIDE: Side = "BUY"

# Kind of a raw record -> the callback that it is a copy of, and what brought it.
_CALLBACKS = {
    **{kind: (kind, "CALLBACK") for kind in CALLBACK_KINDS},
    **{CATCHUP + kind: (kind, "CATCHUP") for kind in CALLBACK_KINDS},
}


def _market(account: Account) -> Market:
    return "S" if account.market == "S" else "F"


def check_intent(intent: Intent) -> int:
    """Return the ordinal of an intent's session.

    Raises:
        Park: it names no account, no order, no strategy, or a session that is none, or with more characters than names have
            (`bad_intent`).
    """
    if not is_account(intent.account):
        raise Park("bad_intent", f"intent {intent.intent_id[:64]!r} names account {intent.account[:64]!r}")
    if max(map(len, (intent.intent_id, intent.strategy_id, intent.order_id, intent.seqno))) > limits.ID_CHARS_MAX:
        raise Park("bad_intent", f"intent {intent.intent_id[:64]!r}: a name in it is longer than {limits.ID_CHARS_MAX} characters")
    if not intent.order_id and not intent.seqno:
        raise Park("bad_intent", f"intent {intent.intent_id} names neither order_id nor seqno")
    if not intent.strategy_id or intent.strategy_id == ids.NET:
        raise Park("bad_intent", f"intent {intent.intent_id} names strategy {intent.strategy_id!r}")
    try:
        return ids.session_ordinal(intent.session_id)
    except ValueError as error:
        raise Park("bad_intent", f"intent {intent.intent_id}: {error}") from error
