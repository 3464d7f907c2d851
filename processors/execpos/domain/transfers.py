"""Corrections that move what is held: TRANSFER between strategies, books and symbols, and CORPORATE_ACTION.

A TRANSFER is an internal trade at the cost that the giver's row has when it is applied: nobody gains by it. Under FIFO each lot moves by
itself and keeps the fill that opened it. Its amounts are fixed then: a refold afterwards changes what the giver realizes, never what moved.
"""

from collections.abc import Sequence

from execpos.domain import ids, positions
from execpos.domain.account import Account
from execpos.domain.book import Position, Source
from execpos.domain.correction_rules import Applied, Refused, When, check_amount, check_room, outcome_entry, strategy_of
from execpos.domain.events import Correction, CorrectionEntry
from execpos.domain.positions import Entry, Part, Row
from execpos.domain.synthetic import Synthetic


class Transfers(Synthetic):
    """Moves what is held."""

    def _transfer(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        outside, leaves, to_key = _ends(correction)
        across = outside or leaves or to_key != (correction.symbol, correction.book)
        if outside:
            given, net_given = self._from_outside(account, correction, to_key, when)
        else:
            given = _given(account, correction, correction.strategy_id, when)
            net_given = _given(account, correction, ids.NET, when) if across else []
        # Checked before anything changes: a receiver whose book does not exist refuses the whole.
        what = None if leaves or not across else self._what(account, *to_key, when)
        for row in account.book.siblings(*to_key):
            check_room(row, correction.quantity, sum(abs(part.cost) for part in (*given, *net_given)))
        seqs = account.take_seqs(max(len(given), len(net_given)))
        made: list[CorrectionEntry] = []
        giver = None if outside else account.book.position(correction.symbol, correction.book, correction.strategy_id)
        if giver is not None:
            made += self._move(account, giver, _entries(seqs, given, when, -1), _entries(seqs, net_given, when, -1), when, source)
        if not leaves:
            taker = account.book.position(*to_key, correction.to_strategy_id or correction.strategy_id or ids.UNASSIGNED)
            taker_net = account.book.position(*to_key, ids.NET)
            for row in (taker, taker_net) if across else (taker,):
                if what is not None:
                    account.book.describe(row, what.security_type, what.currency, what.multiplier)
                elif giver is not None:
                    account.book.describe(row, giver.security_type, giver.currency, giver.multiplier)
                if giver is not None:
                    account.book.worsen(row, giver.quality)
            made += self._move(account, taker, _entries(seqs, given, when, 1), _entries(seqs, net_given, when, 1), when, source)
        return Applied(seqs, tuple(made))

    def _from_outside(self, account: Account, correction: Correction, to_key: tuple[str, str], when: When) -> tuple[list[Part], list[Part]]:
        what = self._what(account, *to_key, when)
        amount = correction.amount or correction.quantity * correction.price * what.multiplier
        if not amount:
            raise Refused("price_needed", "what comes from outside needs its cost: an amount, or a price")
        check_amount(amount, "the transfer")
        parts = [Part(correction.quantity, amount, "")]
        return parts, parts

    def _move(
        self,
        account: Account,
        row: Position,
        entries: Sequence[Entry],
        net_entries: Sequence[Entry],
        when: When,
        source: Source,
    ) -> list[CorrectionEntry]:
        self._sink.delta(account.book.correct(row, entries, net_entries, "TRANSFER", source, when.trading_date))
        made = [outcome_entry(row.symbol, row.book, row.strategy_id, entry) for entry in entries]
        return made + [outcome_entry(row.symbol, row.book, ids.NET, entry) for entry in net_entries]

    # --- corporate actions -------------------------------------------------------------------------------------------------------------

    def _corporate_action(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        """Scale every row of a key n:d, and give it another symbol if one is named.

        Fractions floor toward zero; what they make whole together goes to UNASSIGNED. The cost stays; cash in lieu is realized by the rows
        whose fractions it pays, or by UNASSIGNED when there are none.
        """
        numerator, denominator = correction.numerator, correction.denominator
        if numerator <= 0 or denominator <= 0:
            raise Refused("bad_correction", f"a CORPORATE_ACTION of {numerator}:{denominator}")
        symbol, book, to_symbol = correction.symbol, correction.book, correction.to_symbol or correction.symbol
        rows = account.book.strategies(symbol, book)
        if not any(row.row.quantity for row in rows):
            raise Refused("not_held", f"nothing is open in {symbol}, book {book}")
        renamed = to_symbol != symbol
        if renamed and any(row.row.quantity or row.entries for row in account.book.siblings(to_symbol, book)):
            raise Refused("target_held", f"{to_symbol} is held already, or was traded within the window")
        net = account.book.position(symbol, book, ids.NET)
        scaled = {row.strategy_id: _floor(row.row.quantity * numerator, denominator) for row in rows}
        rest = _floor(net.row.quantity * numerator, denominator) - sum(scaled.values())
        if rest:
            scaled[ids.UNASSIGNED] = scaled.get(ids.UNASSIGNED, 0) + rest
        fractions = {row.strategy_id: abs(row.row.quantity) * numerator % denominator for row in rows}
        cash = _cash(correction.amount, fractions)
        for row in (*rows, net):
            check_room(row, max(map(abs, scaled.values())), correction.amount)
        seq = account.take_seqs(1)[0]
        net_after = positions.scaled(
            net.row, _floor(net.row.quantity * numerator, denominator), correction.amount, when.trading_date, net.method
        )
        for strategy_id in sorted(scaled.keys() | {name for name, share in cash.items() if share}):
            row = account.book.position(symbol, book, strategy_id)
            account.book.describe(row, net.security_type, net.currency, net.multiplier)
            after = positions.scaled(row.row, scaled.get(strategy_id, 0), cash.get(strategy_id, 0), when.trading_date, row.method)
            self._rename(account, row, net, after, net_after, to_symbol, seq, when, source)
        return Applied((seq,))

    def _rename(
        self,
        account: Account,
        row: Position,
        net: Position,
        after: Row,
        net_after: Row,
        to_symbol: str,
        seq: int,
        when: When,
        source: Source,
    ) -> None:
        """Set a row to what the action made of it; under a new symbol what is open moves there, and what was earned stays."""
        book, date = account.book, when.trading_date
        if to_symbol == row.symbol:
            self._sink.delta(book.rebase(row, after, net_after, seq, "CORPORATE_ACTION", source, date))
            return
        closed, net_closed = positions.without_open(after), positions.without_open(net_after)
        self._sink.delta(book.rebase(row, closed, net_closed, seq, "CORPORATE_ACTION", source, date))
        if not after.quantity:
            return
        there, net_there = book.position(to_symbol, row.book, row.strategy_id), book.position(to_symbol, row.book, ids.NET)
        for new, old in ((there, row), (net_there, net)):
            book.describe(new, old.security_type, old.currency, old.multiplier)
            book.worsen(new, old.quality)
        opened, net_opened = positions.with_open(there.row, after), positions.with_open(net_there.row, net_after)
        self._sink.delta(book.rebase(there, opened, net_opened, seq, "CORPORATE_ACTION", source, date))

    # --- cost --------------------------------------------------------------------------------------------------------------------------

    def _cost_basis(self, account: Account, correction: Correction, when: When, source: Source) -> Applied:
        """Change what the open quantity cost, of one row or (strategy `*`) of all rows of a key by quantity."""
        symbol, book = correction.symbol, correction.book
        if not correction.amount:
            raise Refused("bad_correction", "a COST_BASIS names an amount")
        rows = account.book.strategies(symbol, book)
        if correction.strategy_id != ids.NET:
            rows = [row for row in rows if row.strategy_id == strategy_of(correction)]
        rows = [row for row in rows if row.row.quantity]
        net = account.book.rows.get((symbol, book, ids.NET))
        if not rows or net is None or not net.row.quantity:
            raise Refused("not_held", f"nothing is open in {symbol}, book {book}, for {correction.strategy_id or ids.UNASSIGNED}")
        for row in (*rows, net):
            check_room(row, 0, correction.amount)
        seqs = account.take_seqs(len(rows))
        made = []
        for row, seq, share in zip(rows, seqs, _by_quantity(correction.amount, rows), strict=True):
            entry = Entry(seq, "", 0, share, 0, 0, when.trading_date, "COST_BASIS")
            account.book.confirm(row, quality=correction.quality == "CONFIRMED", fees=False)
            self._sink.delta(account.book.correct(row, (entry,), (entry,), "COST_BASIS", source, when.trading_date))
            made += [outcome_entry(symbol, book, strategy_id, entry) for strategy_id in (row.strategy_id, ids.NET)]
        return Applied(seqs, tuple(made))


def _ends(correction: Correction) -> tuple[bool, bool, tuple[str, str]]:
    """Return whether it comes from outside, whether it leaves, and symbol and book of the receiver.

    Raises:
        Refused: it moves nothing, or from nowhere to nowhere, or to where it is (`bad_correction`).
    """
    outside, leaves = not correction.strategy_id, not (correction.to_symbol or correction.to_book or correction.to_strategy_id)
    to_key = (correction.to_symbol or correction.symbol, correction.to_book or correction.book)
    if not correction.quantity or (outside and leaves) or ids.NET in {correction.strategy_id, correction.to_strategy_id}:
        raise Refused("bad_correction", "a TRANSFER names a quantity, and a strategy that gives or one that takes")
    if not leaves and not all(to_key):
        raise Refused("bad_correction", "a TRANSFER names a symbol and a book")
    same = to_key == (correction.symbol, correction.book) and correction.to_strategy_id in {"", correction.strategy_id}
    if same and not outside and not leaves:
        raise Refused("bad_correction", "giver and receiver of the TRANSFER are the same row")
    return outside, leaves, to_key


def _given(account: Account, correction: Correction, strategy_id: str, when: When) -> list[Part]:
    """Return what a row of the giver's key gives."""
    row = _held(account, correction.symbol, correction.book, strategy_id, correction.quantity)
    return positions.parts(row.row, abs(correction.quantity), row.method, when.trading_date)


def _held(account: Account, symbol: str, book: str, strategy_id: str, quantity: int) -> Position:
    row = account.book.rows.get((symbol, book, strategy_id))
    held = row.row.quantity if row else 0
    if row is None or held * quantity <= 0 or abs(held) < abs(quantity):
        raise Refused("not_held", f"{strategy_id} of {symbol}, book {book}, holds {held}, not {quantity}")
    return row


def _entries(seqs: Sequence[int], parts: Sequence[Part], when: When, sign: int) -> list[Entry]:
    return [
        Entry(seq, part.fill_id, sign * part.quantity, sign * part.cost, 0, 0, when.trading_date, "TRANSFER")
        for seq, part in zip(seqs, parts, strict=False)
    ]


def _floor(numerator: int, denominator: int) -> int:
    """Return a quotient rounded toward zero."""
    return abs(numerator) // denominator * (1 if numerator > 0 else -1)


def _cash(amount: int, fractions: dict[str, int]) -> dict[str, int]:
    if not amount:
        return {}
    names = [name for name, fraction in fractions.items() if fraction]
    if not names:
        return {ids.UNASSIGNED: amount}
    return dict(zip(names, positions.shares(amount, [fractions[name] for name in names]), strict=True))


def _by_quantity(amount: int, rows: Sequence[Position]) -> list[int]:
    return positions.shares(amount, [abs(row.row.quantity) for row in rows])
