"""The broker's position list against the ledger's book, compared at the markers around two reads.

Pure. The broker's answer has no watermark: nothing in it says which fills it holds. So it was read twice, each time between two markers in
the stream, and the ledger told its book at each of the four. What stood still all that time can be compared; what moved says nothing yet.
A verdict is a finding and no fact: a difference counts only when a later round shows the same (`reconcile`).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import msgspec

from execpos.domain import ids, money
from execpos.domain.events import BrokerPositionRow, Market
from execpos.domain.instruments import DERIVATIVE, Instruments, Product
from execpos.domain.reconciliation.sides import NO_ROW, Book, BrokerRead, Key, NetRow, book_of, read_of
from execpos.domain.reconciliation.units import Line, Units
from execpos.errors import Park

__all__ = ["Book", "BrokerRead", "CompareRules", "Comparison", "Finding", "Key", "NetRow", "book_of", "compare", "read_of"]

Verdict = Literal["EQUAL", "MOVED", "QUANTITY", "COST", "MISSING", "UNKNOWN", "ORDER", "PROFIT"]
Unusable = Literal["", "reads", "outcome", "markers", "ledger_epoch", "bridge_epoch", "gap"]

# A broker's average has two decimals at the least; half of its last one, and the rounding of ours.
_ROUNDING = 5_001

# From so many rows on, a sum of 0 is one of long and short, and no missing row.
_ROWS_NETTED = 2

# The root of a contract's code.
_ROOT_CHARS = 3

# One read alone may have caught the broker in the middle of a change.
_READS_MIN = 2


class Finding(msgspec.Struct, frozen=True):
    """What a comparison found of one key.

    Attributes:
        symbol, book: the key; the book is empty of a broker row whose order condition is on no list.
        verdict: EQUAL; MOVED: not comparable this time; QUANTITY; COST: quantities agree; MISSING: we hold something and the broker has no
            row, a claim that needs a witness; UNKNOWN: a unit, order condition or instrument that cannot be trusted; ORDER and PROFIT come
            from `beside`.
        ledger_quantity, broker_quantity: signed shares or contracts; the broker's is the sum of its rows, the second read's.
        ledger_average, broker_average: 10⁻⁶ a unit; the broker's is 0 where it has none or more than one row.
        last_price: the broker's, 10⁻⁶; 0 without one.
        multiplier: TWD per point and unit; 0 when nobody knows it.
        notional: 10⁻⁶ of what the difference is worth: at the broker's last price, else its average, else ours. Of COST, the difference of
            cost.
        net_version: of our row at every marker; of MOVED at the last one.
        detail: for people, why.
    """

    symbol: str
    book: str
    verdict: Verdict
    ledger_quantity: int
    broker_quantity: int
    ledger_average: int
    broker_average: int
    last_price: int
    multiplier: int
    security_type: str
    notional: int
    net_version: int
    detail: str

    @property
    def key(self) -> Key:
        """Symbol and book."""
        return self.symbol, self.book

    @property
    def difference(self) -> int:
        """The broker's quantity less ours: what an adjustment would book."""
        return self.broker_quantity - self.ledger_quantity


class CompareRules(msgspec.Struct, frozen=True, eq=False):
    """What a comparison goes by. One a thread: the tables fill memos.

    Attributes:
        instruments: products, order conditions, ticks.
        cost_tolerance_ticks: difference of average cost that is none.
    """

    instruments: Instruments
    cost_tolerance_ticks: int = 1


class Comparison(msgspec.Struct, frozen=True):
    """What one round found.

    Attributes:
        usable: false: it says nothing of any key, and `findings` is empty.
        reason: why not; empty when it does.
        empty: both answers were good and had no position at all.
        findings: one a key that either side holds or that moved, by key.
        read_began_ts, read_ended_ts: from the begin of the first read to the end of the last (µs, the bridge's clock).
        marker_before, marker_after: the first and the last marker.
        ledger_epoch, trading_date: of the last book.
        detail: for people, more of why not.
        as_of_ts: ingest time of the last marker: fills of a later one are in none of the books (`lag.is_lag`).
    """

    usable: bool
    reason: Unusable
    empty: bool
    findings: tuple[Finding, ...]
    read_began_ts: int
    read_ended_ts: int
    marker_before: str
    marker_after: str
    ledger_epoch: int
    trading_date: int
    detail: str = ""
    as_of_ts: int = 0


def compare(account: str, reads: Sequence[BrokerRead], books: Mapping[str, Book], rules: CompareRules, *, gap: bool) -> Comparison:
    """Return what the reads of one request say of the book. Never raises for what a broker answers.

    Args:
        account: account key.
        reads: the answers of one request, at least two.
        books: the ledger's answers by marker; others than those of the reads are not looked at.
        rules: what to go by.
        gap: whether anything between the first and the last marker says that a report may be missing.
    """
    ordered = sorted(reads, key=_read_number)
    reason, detail = _unanswered(ordered) or _unmarked(ordered, books) or ("", "")
    if gap and not reason:
        reason, detail = "gap", "a gap or a reconnect lies between the markers"
    if reason:
        return _comparison(ordered, {}, (), reason, detail)
    at = [books[marker] for marker in _markers(ordered)]
    return _comparison(ordered, books, _Round(account, ordered, at, rules).findings(), "", "")


def _read_number(read: BrokerRead) -> int:
    return read.read


def _markers(reads: Sequence[BrokerRead]) -> list[str]:
    return [marker for read in reads for marker in (read.marker_before, read.marker_after)]


def _unanswered(reads: Sequence[BrokerRead]) -> tuple[Unusable, str] | None:
    """Return why the answers say nothing at all."""
    numbers = [read.read for read in reads]
    if len(set(numbers)) < max(_READS_MIN, len(numbers)) or len({read.request_id for read in reads}) > 1:
        return "reads", f"reads {numbers}, and not two of one request at the least"
    failed = next((read for read in reads if read.outcome != "OK"), None)
    if failed:
        return "outcome", f"read {failed.read}: {failed.outcome} {failed.detail}".rstrip()
    if len({(read.bridge_id, read.bridge_epoch) for read in reads}) > 1:
        return "bridge_epoch", "another bridge, or another start of it, made the later read"
    return None


def _unmarked(reads: Sequence[BrokerRead], books: Mapping[str, Book]) -> tuple[Unusable, str] | None:
    """Return why the books beside the answers say nothing at all."""
    markers = _markers(reads)
    if missing := sum(marker not in books or not marker for marker in markers):
        return "markers", f"the ledger has not answered {missing} of {len(markers)} markers"
    offsets = [books[marker].offset for marker in markers]
    if any(later <= earlier for earlier, later in pairwise(offsets)):
        return "markers", f"markers stand at {offsets}, not one after the other"
    if len({books[marker].ledger_epoch for marker in markers}) > 1:
        return "ledger_epoch", "the ledger was rebuilt between the markers"
    return None


def _comparison(
    reads: Sequence[BrokerRead], books: Mapping[str, Book], findings: tuple[Finding, ...], reason: Unusable, detail: str
) -> Comparison:
    first, last = (reads[0], reads[-1]) if reads else (None, None)
    book = books.get(last.marker_after) if last else None
    return Comparison(
        usable=not reason,
        reason=reason,
        empty=not reason and not any(row.quantity for read in reads for row in read.rows),
        findings=findings,
        read_began_ts=first.began_ts if first else 0,
        read_ended_ts=last.ended_ts if last else 0,
        marker_before=first.marker_before if first else "",
        marker_after=last.marker_after if last else "",
        ledger_epoch=book.ledger_epoch if book else 0,
        trading_date=book.trading_date if book else 0,
        detail=detail,
        as_of_ts=book.as_of_ts if book else 0,
    )


class _Told(msgspec.Struct, frozen=True):
    """What one read says of one key. Prices of the moment are left out, so that equal ones agree."""

    quantity: int
    average: int
    conds: tuple[str, ...]
    twice: bool


_SILENT = _Told(0, 0, (), twice=False)


class _Round:
    """One comparison under way."""

    def __init__(self, account: str, reads: Sequence[BrokerRead], books: Sequence[Book], rules: CompareRules) -> None:
        self._market: Market = "S" if ids.split(account)[1] == "S" else "F"
        self._rules = rules
        self._books = books
        self._rows = [self._by_key(read.rows) for read in reads]
        self._told = [{key: _told(each) for key, each in rows.items()} for rows in self._rows]
        self._last_prices = {row.symbol: row.last_price for read in reads for row in read.rows if row.last_price > 0}
        # Symbols with a row on a shelf that nobody knows: what another shelf lacks may stand there.
        self._strange = {symbol for told in self._told for symbol, book in told if not book}
        # A list in another unit is so in both reads, or they do not agree.
        still = [line for key in self._rows[-1] if self._still(key) for line in self._lines(key)]
        self._units = Units(still if self._market == "S" else ())

    def _by_key(self, rows: Sequence[BrokerPositionRow]) -> dict[Key, list[BrokerPositionRow]]:
        found: dict[Key, list[BrokerPositionRow]] = {}
        for row in rows:
            book = DERIVATIVE if self._market == "F" else self._rules.instruments.books.get(row.order_cond, "")
            found.setdefault((row.symbol, book), []).append(row)
        return found

    def _lines(self, key: Key) -> list[Line]:
        ours, rows = self._net(key).quantity, self._rows[-1].get(key, [])
        # Long and short rows of one key are compared by their sum; each has a result of its own.
        whole = sum(row.quantity for row in rows)
        one = len(rows) == 1
        return [Line(ours if one else ours - whole + row.quantity, row.quantity, row.price, row.last_price, row.pnl) for row in rows]

    def _net(self, key: Key) -> NetRow:
        return self._books[-1].rows.get(key, NO_ROW)

    def _still(self, key: Key) -> bool:
        """Tell whether our row is the same at every marker."""
        return len({book.rows.get(key, NO_ROW).version for book in self._books}) == 1

    def findings(self) -> tuple[Finding, ...]:
        """Return the findings, by key."""
        keys = {key for told in self._told for key in told}
        keys.update(key for book in self._books for key, row in book.rows.items() if row.quantity or not self._still(key))
        keys.discard((ids.WHOLE_ACCOUNT, ids.WHOLE_ACCOUNT))
        return tuple(self._finding(key) for key in sorted(keys))

    def _finding(self, key: Key) -> Finding:
        net, told = self._net(key), self._told[-1].get(key, _SILENT)
        product = self._product(key)
        verdict, detail = self._verdict(key, net, told, product)
        multiplier = net.multiplier or (product.multiplier if product else 0)
        last = self._last_prices.get(key[0], 0)
        if verdict == "COST":
            worth = abs(told.average - net.average) * abs(net.quantity)
        else:
            worth = abs(told.quantity - net.quantity) * (last or told.average or net.average)
        return Finding(
            symbol=key[0],
            book=key[1],
            verdict=verdict,
            ledger_quantity=net.quantity,
            broker_quantity=told.quantity,
            ledger_average=net.average,
            broker_average=told.average,
            last_price=last,
            multiplier=multiplier,
            security_type=net.security_type or (product.security_type if product else ""),
            notional=worth * multiplier,
            net_version=net.version,
            detail=detail,
        )

    def _verdict(self, key: Key, net: NetRow, told: _Told, product: Product | None) -> tuple[Verdict, str]:
        if why := self._moved(key, told):
            return "MOVED", why
        if not key[1]:
            return "UNKNOWN", f"order_cond {', '.join(map(repr, told.conds))} is not under `books` in instruments.yaml"
        if told.quantity == net.quantity:
            return self._cost(net, told, product)
        if why := self._doubt(key, net, told, product):
            return "UNKNOWN", why
        if not told.quantity and len(told.conds) < _ROWS_NETTED:
            return "MISSING", "the broker has a row with quantity 0" if told.conds else "the broker has no row"
        return "QUANTITY", f"{net.quantity} here, {told.quantity} at the broker"

    def _moved(self, key: Key, told: _Told) -> str:
        """Return why a key cannot be compared this time, or empty."""
        if not self._still(key):
            return "the position changed between the markers"
        return "the reads do not agree" if any(read.get(key, _SILENT) != told for read in self._told) else ""

    def _doubt(self, key: Key, net: NetRow, told: _Told, product: Product | None) -> str:
        """Return why the broker's number of a key that differs cannot be trusted, or empty."""
        if key[0] in self._strange:
            return "another row of this symbol is on a shelf that instruments.yaml does not name"
        if told.twice:
            return "the list has more than one row of one order condition and direction"
        if product is None:
            return "instruments.yaml does not name this instrument"
        if self._market == "F":
            return ""
        lines = self._lines(key) or [Line(net.quantity, 0, 0, 0, 0)]
        return next(filter(None, map(self._units.doubt, lines)), "")

    def _cost(self, net: NetRow, told: _Told, product: Product | None) -> tuple[Verdict, str]:
        if not net.quantity or not told.average or product is None:
            return "EQUAL", ""
        tick = self._rules.instruments.tick(product, net.average)
        apart = abs(told.average - net.average)
        if apart <= self._rules.cost_tolerance_ticks * tick + _ROUNDING:
            return "EQUAL", ""
        return "COST", f"average {money.text(net.average)} here, {money.text(told.average)} at the broker; a tick is {money.text(tick)}"

    def _product(self, key: Key) -> Product | None:
        symbol = key[0]
        code, full_code = (symbol, "") if self._market == "S" else (symbol[:_ROOT_CHARS], symbol)
        try:
            return self._rules.instruments.product(self._market, code, full_code, "", self._books[-1].trading_date)
        except Park:
            return None


def _told(rows: Sequence[BrokerPositionRow]) -> _Told:
    sides = {(row.order_cond, row.quantity > 0) for row in rows}
    return _Told(
        quantity=sum(row.quantity for row in rows),
        average=rows[0].price if len(rows) == 1 else 0,
        conds=tuple(sorted(row.order_cond for row in rows)),
        twice=len(sides) < len(rows),
    )
