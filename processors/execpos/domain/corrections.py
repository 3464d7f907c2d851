"""Corrections: what changes the book beside fills, each answered once by an outcome.

A correction names the version of NET that it was made against. At another one it is rejected, to be computed anew: what it rests on has
changed. Every check comes before the first change, so a rejected one changes nothing but the memory of its id.
"""

from abc import abstractmethod
from collections.abc import Callable

from execpos.domain import ids
from execpos.domain.account import Account
from execpos.domain.adoption import adopt
from execpos.domain.book import Source, worst
from execpos.domain.correction_rules import (
    Applied,
    Refused,
    When,
    check_fields,
    check_name,
    check_room,
    counted,
    fill_session,
    outcome_entry,
    strategy_of,
)
from execpos.domain.events import Correction, CorrectionOutcome, RawExecEvent
from execpos.domain.limits import DETAIL_CHARS_MAX, WORD_CHARS_MAX, cut
from execpos.domain.outcome import CONTROL, DUPLICATE, Outcome, parked
from execpos.domain.positions import Entry
from execpos.domain.synthetic import market_of
from execpos.domain.transfers import Transfers
from execpos.domain.undo import Undo
from execpos.errors import Park

_Handler = Callable[[Account, Correction, When, Source], Applied]

Prepared = RawExecEvent | Account | Refused | None
"""What is brought along for a request: the record of a REPLAY, the account that was folded anew for a REBUILD, or why there is none."""

# Kinds that name their position by a fill.
_BY_FILL = frozenset({"VOID", "FEES"})

# Kinds that need not name one.
_WITHOUT_KEY = frozenset({"TRANSFER", "SNAPSHOT", "REPLAY", "REBUILD"})


class Corrections(Transfers):
    """Applies corrections. `Pipeline` brings the accounts, the undo log and `apply_void`."""

    undo: Undo
    requests: list[tuple[Correction, Source]]
    _prepared: Prepared = None

    @abstractmethod
    def account(self, key: str) -> Account:
        """Return the state of an account, an empty one when there was none."""

    @abstractmethod
    def apply_void(self, account_key: str, fill_id: str, source: Source) -> Outcome:
        """Take a fill out of the book; a reason in the outcome says why that could not be."""

    @abstractmethod
    def apply_raw(self, raw: RawExecEvent, source: Source) -> Outcome:
        """Apply one record of exec.raw and tell which class it is."""

    def apply_correction(self, correction: Correction, source: Source, prepared: Prepared = None) -> Outcome:
        """Apply one correction and answer it with a CorrectionOutcome; a repeat of one that the window remembers is a duplicate.

        `control` for one that was answered, whether applied or rejected: then `reason` says why. Never raises for a bad one.
        `prepared` is what a REPLAY or a REBUILD needs beside itself.
        """
        self._prepared = prepared
        try:
            check_name(correction)
        except Park as park:
            return parked(park, "")
        account = self.account(correction.account)
        if correction.correction_id in account.corrections:
            return DUPLICATE
        session = ids.session_id(correction.ts)
        symbol, book = self._key(account, correction)
        found = self._net_version(account, symbol, book)
        try:
            check_fields(correction, source)
            applied = self._apply(account, correction, found, source)
        except Refused as refused:
            return self._answer(account, correction, session, (symbol, book), found, refused, source)
        return self._answer(account, correction, session, (symbol, book), found, applied, source)

    @staticmethod
    def _key(account: Account, correction: Correction) -> tuple[str, str]:
        """Return the key whose NET version the correction names."""
        fill = account.fills.get(correction.fill_id) if correction.kind in _BY_FILL else None
        if fill is not None:
            return fill.symbol, fill.book
        if correction.kind == "TRANSFER" and not correction.strategy_id:
            return correction.to_symbol or correction.symbol, correction.to_book or correction.book
        return correction.symbol, correction.book

    @staticmethod
    def _net_version(account: Account, symbol: str, book: str) -> int:
        net = account.book.rows.get((symbol, book, ids.NET))
        return net.version if net else 0

    def _apply(self, account: Account, correction: Correction, found: int, source: Source) -> Applied:
        ts = correction.read_ended_ts or correction.ts
        session = ids.session_id(ts)
        newest = max(account.newest, account.floor)
        if 0 < newest < ids.session_ordinal(session):
            # Fills alone move the window.
            session = ids.session_name(newest)
        when = When(ts, session, self._rules.calendar.trading_date(ts, market_of(account)))
        oldest = account.oldest_session()
        if min(ids.session_ordinal(when.session), ids.session_ordinal(ids.session_id(correction.ts))) < oldest:
            raise Refused("outside_window", f"session {when.session} is older than what can still be proven new")
        if correction.expected_net_version not in {-1, found}:
            raise Refused("stale_version", f"NET is at version {found}, not {correction.expected_net_version}")
        handler = self._handlers().get(correction.kind)
        if handler is None:
            raise Refused("unsupported", f"this version does not do {correction.kind}")
        named_by_fill = correction.kind in _BY_FILL and correction.fill_id
        if not named_by_fill and correction.kind not in _WITHOUT_KEY and not (correction.symbol and correction.book):
            raise Refused("bad_correction", f"a {correction.kind} names a symbol and a book")
        if correction.kind not in {"QUALITY", "REPLAY"} and ids.WHOLE_ACCOUNT in {correction.symbol, correction.book}:
            raise Refused("bad_correction", "the mark of a whole account has a quality and nothing else")
        return handler(account, correction, when, source)

    def _handlers(self) -> dict[str, _Handler]:
        return {
            "OPENING": self._opening,
            "ADJUST": self._adjust,
            "SETTLEMENT": self._settlement,
            "COST_BASIS": self._cost_basis,
            "CORPORATE_ACTION": self._corporate_action,
            "FEES": self._fees,
            "TRANSFER": self._transfer,
            "VOID": self._void,
            "QUALITY": self._quality,
            "SNAPSHOT": self._request,
            "REPLAY": self._replay,
            "REBUILD": self._rebuild,
        }

    def _answer(
        self,
        account: Account,
        correction: Correction,
        session: str,
        key: tuple[str, str],
        found: int,
        result: Applied | Refused,
        source: Source,
    ) -> Outcome:
        refused = result if isinstance(result, Refused) else None
        applied = Applied() if isinstance(result, Refused) else result
        reason, detail = (refused.reason, refused.what) if refused else ("", "")
        position_key = ids.position_key(account.key, *key, ids.NET) if all(key) else ""
        if reason != "outside_window":
            # That one is too old to be remembered, and is rejected again whenever it comes.
            account.put_correction(correction.correction_id, ids.session_ordinal(session))
        self._sink.outcome(
            CorrectionOutcome(
                correction_id=correction.correction_id,
                account=account.key,
                kind=cut(correction.kind, WORD_CHARS_MAX),
                outcome="REJECTED" if refused else "APPLIED",
                reason=reason,
                detail=cut(detail, DETAIL_CHARS_MAX),
                position_key=position_key,
                net_version_found=found,
                net_version_after=self._net_version(account, *key),
                seqs=applied.seqs,
                entries=applied.entries,
                session_id=session,
                trading_date=self._rules.calendar.trading_date(correction.ts, market_of(account)),
                source_topic=source.topic,
                source_partition=source.partition,
                source_offset=source.offset,
                ledger_epoch=source.epoch,
                ts=source.now,
            )
        )
        return Outcome("control", reason, cut(detail, DETAIL_CHARS_MAX), position_key) if refused else CONTROL

    # --- the plain kinds ---------------------------------------------------------------------------------------------------------------

    def _request(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        """Keep a request for whoever answers it in this transaction."""
        del account, when
        self.requests.append((correction, source))
        self.undo.later(self.requests.pop)
        return Applied()

    def _replay(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        """Apply a record of exec.raw once more. One that still cannot become state marks its key as when it came first."""
        del when
        raw = self._prepared
        if isinstance(raw, Refused):
            raise raw
        if not isinstance(raw, RawExecEvent):
            raise Refused("not_found", f"nobody read {correction.source_topic} at {correction.source_offset}")
        if raw.account != account.key:
            raise Refused("bad_correction", f"the record is of account {raw.account}")
        outcome = self.apply_raw(raw, source)
        if outcome.disposition == "duplicate":
            raise Refused("no_effect", "it counts already")
        if outcome.reason:
            raise Refused("dead_letter", f"{outcome.reason}: {outcome.detail}")
        return Applied()

    def _rebuild(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        """Put right what differs from the account folded anew."""
        del correction
        folded = self._prepared
        if isinstance(folded, Refused):
            raise folded
        if not isinstance(folded, Account):
            raise Refused("rebuild_failed", "nobody folded the account anew")
        return adopt(account, folded, self._sink, source, when.trading_date)

    def _void(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        del when
        try:
            trade_id = fill_session(correction.fill_id, account.key)[1]
        except ValueError as error:
            raise Refused("bad_correction", str(error)) from error
        if ids.is_synthetic(trade_id) and correction.fill_id not in account.fills:
            # A real fill may still come, and then counts for nothing; a synthetic one does not come.
            raise Refused("unknown_fill", "no such fill within the window")
        outcome = self.apply_void(account.key, correction.fill_id, source)
        if outcome.disposition == "duplicate":
            raise Refused("no_effect", "it is voided already")
        if outcome.reason:
            raise Refused(outcome.reason, outcome.detail)
        return Applied()

    def _fees(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        """Set the charges of a fill, or change those of a row by so much."""
        confirmed = correction.quality == "CONFIRMED"
        if correction.fill_id:
            fill = counted(account.fills.get(correction.fill_id))
            quality = "CONFIRMED" if confirmed else "ESTIMATED"
            if (fill.fee_est, fill.tax_est, fill.fee_quality) == (correction.fees, correction.taxes, quality):
                raise Refused("no_effect", "its charges are these already")
            for one in account.book.siblings(fill.symbol, fill.book):
                check_room(one, 0, abs(correction.fees) + abs(correction.taxes))
            self._recharge(account, fill, correction.fees, correction.taxes, source, quality)
            return Applied()
        strategy_id = strategy_of(correction)
        row = account.book.rows.get((correction.symbol, correction.book, strategy_id))
        if row is None or not row.version or strategy_id == ids.NET:
            raise Refused("not_held", f"there is no row of {strategy_id} in {correction.symbol}, book {correction.book}")
        for one in (row, account.book.rows[row.symbol, row.book, ids.NET]):
            check_room(one, 0, abs(correction.fees) + abs(correction.taxes))
        seqs = account.take_seqs(1)
        entry = Entry(seqs[0], "", 0, 0, correction.fees, correction.taxes, when.trading_date, "FEES")
        account.book.confirm(row, quality=False, fees=confirmed)
        self._sink.delta(account.book.correct(row, (entry,), (entry,), "FEES", source, when.trading_date))
        return Applied(seqs, tuple(outcome_entry(row.symbol, row.book, name, entry) for name in (strategy_id, ids.NET)))

    def _quality(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        """Set the quality of one row, or (strategy `*`) of every row of a key. NET is as bad as the worst of them."""
        if not correction.quality:
            raise Refused("bad_correction", "a QUALITY names a quality")
        rows = account.book.strategies(correction.symbol, correction.book)
        chosen = rows if correction.strategy_id == ids.NET else [row for row in rows if row.strategy_id == strategy_of(correction)]
        if not chosen:
            raise Refused("not_held", f"there is no such row in {correction.symbol}, book {correction.book}")
        net_quality = correction.quality
        for row in rows:
            if row not in chosen:
                net_quality = worst(net_quality, row.quality)
        net = account.book.position(correction.symbol, correction.book, ids.NET)
        if net.quality == net_quality and all(row.quality == correction.quality for row in chosen):
            raise Refused("no_effect", f"it is {correction.quality} already")
        for row in chosen:
            self._sink.delta(account.book.set_quality(row, correction.quality, net_quality, source, when.trading_date))
        return Applied()
