"""What corrections and later revisions of a fill do to the rows of an account: the book's other half."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter

import msgspec

from execpos.domain import ids, positions
from execpos.domain.book import Book, Position, Source, entry_of, worst
from execpos.domain.events import FillEvent, PositionDelta
from execpos.domain.positions import Entry, Row

_seq = attrgetter("seq")


class CorrectedBook(Book):
    """A book whose rows change by more than fills. None of this is on the way of a plain fill."""

    def settled(self, fill: FillEvent) -> bool:
        """Tell whether a booked fill can no longer be moved or voided: a base holds it, in its strategy's row or in NET."""
        seq = entry_of(fill).seq
        return any(seq <= position.base_seq for position in self._rows_of(fill))

    def revise(self, fill: FillEvent, source: Source) -> PositionDelta:
        """Book anew, at its place, a booked fill that says something else now; its owner is the same."""
        entry = entry_of(fill)
        row, net = self._rows_of(fill)
        before = (row.row, row.version, net.row, net.version)
        for position in (row, net):
            self._touch(position, source, fill)
            at = bisect_left(position.entries, entry.seq, key=_seq)
            self._refold(position, [*position.entries[:at], entry, *position.entries[at + 1 :]])
        return self._delta(row, net, before, fill.cause, source, fill)

    def recharge(self, before: FillEvent, after: FillEvent, fills: Mapping[str, FillEvent], source: Source) -> PositionDelta:
        """Give a booked fill other charges. They only add up, so nothing is folded again, and a settled fill takes them too.

        A row's charges are CONFIRMED once those of each of its fills in the window are.
        """
        fee, tax = after.fee_est - before.fee_est, after.tax_est - before.tax_est
        entry = entry_of(after)
        row, net = self._rows_of(after)
        rows_before = (row.row, row.version, net.row, net.version)
        for position in (row, net):
            self._touch(position, source, after)
            position.row = _charged(position.row, fee, tax)
            if entry.seq <= position.base_seq:
                position.base = _charged(position.base, fee, tax)
            else:
                entries = position.entries
                at = bisect_left(entries, entry.seq, key=_seq)
                # In place: a close recharges thousands of fills of one row, and a copy for each of them would take seconds.
                self._undo.later(partial(entries.__setitem__, at, entries[at]))
                entries[at] = entry
            # Looked at only when it can be, and from the newest: a statement goes from the oldest on, so most looks end at once.
            booked = (fills[one.fill_id] for one in reversed(position.entries) if one.fill_id in fills and one.kind != "TRANSFER")
            confirmed = after.fee_quality == "CONFIRMED" and all(fill.fee_quality == "CONFIRMED" for fill in booked)
            position.fee_quality = "CONFIRMED" if confirmed else "ESTIMATED"
        return self._delta(row, net, rows_before, after.cause, source, after)

    def correct(
        self, row: Position, entries: Sequence[Entry], net_entries: Sequence[Entry], cause: str, source: Source, trading_date: int
    ) -> PositionDelta:
        """Book what a correction does to one strategy's row and to its NET, which is not touched when `net_entries` is empty."""
        net = self.position(row.symbol, row.book, ids.NET)
        before = (row.row, row.version, net.row, net.version)
        for position, items in ((row, entries), (net, net_entries)):
            if items:
                self._touch(position, source, None)
                for entry in items:
                    self._insert(position, entry)
                    position.last_seq = max(position.last_seq, entry.seq)
        return self._delta(row, net, before, cause, source, None, trading_date)

    def describe(self, row: Position, security_type: str, currency: str, multiplier: int) -> None:
        """Tell what a row holds that no fill told; call it before the change, whose delta publishes it."""
        self._keep(row)
        if not row.security_type:
            row.security_type, row.currency, row.multiplier = security_type, currency, multiplier
            row.method = positions.method_of(self._methods, row.security_type, row.book)

    def rebase(self, row: Position, after: Row, net_after: Row, seq: int, cause: str, source: Source, trading_date: int) -> PositionDelta:
        """Set a row and its NET to what a corporate action made of them. They become their own bases: nothing before `seq` can change."""
        net = self.position(row.symbol, row.book, ids.NET)
        before = (row.row, row.version, net.row, net.version)
        for position, now in ((row, after), (net, net_after)):
            self._touch(position, source, None)
            position.row = position.base = now
            position.base_seq = position.last_seq = seq
            position.entries = []
        return self._delta(row, net, before, cause, source, None, trading_date)

    def adopt(self, key: tuple[str, str], other: Book, seq: int, source: Source, trading_date: int) -> list[PositionDelta]:
        """Set every row of a symbol and book to what another book has there, versions aside; they become their own bases at `seq`."""
        net, net_other = self.position(*key, ids.NET), other.rows.get((*key, ids.NET))
        names = {row.strategy_id for book in (self, other) for row in book.strategies(*key)}
        deltas = []
        for strategy_id in sorted(names):
            row, theirs = self.position(*key, strategy_id), other.rows.get((*key, strategy_id))
            self._take_over(row, theirs)
            self._take_over(net, net_other)
            after, net_after = (one.row if one else positions.EMPTY for one in (theirs, net_other))
            deltas.append(self.rebase(row, after, net_after, seq, "REBUILD", source, trading_date))
        return deltas

    def _take_over(self, row: Position, other: Position | None) -> None:
        """Let a row be of another one's kind and quality; of none's, when there is none."""
        self._keep(row)
        row.quality, row.fee_quality = (other.quality, other.fee_quality) if other else ("CONFIRMED", "ESTIMATED")
        like = other or Position(self.account, (row.symbol, row.book, row.strategy_id), positions.method_of(self._methods, "", row.book))
        row.security_type, row.currency, row.multiplier, row.method = like.security_type, like.currency, like.multiplier, like.method

    def worsen(self, row: Position, quality: str) -> None:
        """Let a row that takes something over be no better than where it comes from; call it before the change."""
        self._keep(row)
        row.quality = worst(row.quality, quality)

    def set_quality(
        self, row: Position, quality: str, net_quality: str, source: Source, trading_date: int, *, cause: str = "QUALITY"
    ) -> PositionDelta:
        """Set the quality of a row and of its NET, better or worse."""
        net = self.position(row.symbol, row.book, ids.NET)
        before = (row.row, row.version, net.row, net.version)
        for position, now in ((row, quality), (net, net_quality)):
            self._touch(position, source, None)
            position.quality = now
        return self._delta(row, net, before, cause, source, None, trading_date)

    def confirm(self, row: Position, *, quality: bool, fees: bool) -> None:
        """Take an estimate on a row for the broker's own figure; call it before `correct`, whose delta tells it.

        NET follows when no other row of the key is an estimate.
        """
        others = [other for other in self.strategies(row.symbol, row.book) if other is not row]
        for position in (row, self.position(row.symbol, row.book, ids.NET)):
            self._keep(position)
            rest = [] if position is row else others
            if quality and position.quality == "ESTIMATED" and all(other.quality == "CONFIRMED" for other in rest):
                position.quality = "CONFIRMED"
            if fees and all(other.fee_quality == "CONFIRMED" for other in rest):
                position.fee_quality = "CONFIRMED"


def _charged(row: Row, fee: int, tax: int) -> Row:
    return msgspec.structs.replace(row, fees=row.fees + fee, taxes=row.taxes + tax)
