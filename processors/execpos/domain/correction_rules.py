"""What a correction must be before anything of it is applied, and what comes of one."""

from functools import lru_cache
from typing import NamedTuple

from execpos.domain import ids, limits, money
from execpos.domain.book import QUALITIES, Position, Source
from execpos.domain.events import Correction, CorrectionEntry, FillEvent
from execpos.domain.positions import EMPTY, Entry, kind_of
from execpos.domain.vocabulary import CORRECTION_KINDS
from execpos.errors import ExecposError, Park

# The id of a correction stands inside fill ids, of which a position keeps up to twice max_lots.
CORRECTION_ID_CHARS_MAX = 64

# Ids of fills: an account key, a session and two names, each character of the names escaped.
_FILL_ID_CHARS_MAX = limits.ACCOUNT_BYTES_MAX + 16 + 6 * limits.NAME_CHARS_MAX + 3 * CORRECTION_ID_CHARS_MAX

BLANK = Correction(
    correction_id="",
    account="",
    kind="",
    symbol="",
    book="",
    strategy_id="",
    expected_net_version=-1,
    quantity=0,
    price=0,
    amount=0,
    fees=0,
    taxes=0,
    to_symbol="",
    to_book="",
    to_strategy_id="",
    numerator=0,
    denominator=0,
    fill_id="",
    quality="",
    read_began_ts=0,
    read_ended_ts=0,
    marker_before="",
    marker_after="",
    source_topic="",
    source_partition=0,
    source_offset=0,
    reason="",
    evidence={},
    requested_by="",
    approved_by="",
    ts=0,
)
"""A correction for any version of NET that says nothing yet: replace what its kind uses."""


class Refused(ExecposError):
    """A correction that is understood and not applied; nothing was changed.

    Args:
        reason: one of `correction_reason` in `contracts/vocabularies.yaml`.
        what: why, naming what was found.
    """

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(what)
        self.reason = reason


class Applied(NamedTuple):
    """What an applied correction left in the account's log: the places it took, and its entries that are no fills."""

    seqs: tuple[int, ...] = ()
    entries: tuple[CorrectionEntry, ...] = ()


class When(NamedTuple):
    """The moment that a correction speaks of: when the broker read behind it ended, else when it was made.

    `session` is at most the newest one of the account's fills.
    """

    ts: int
    session: str
    trading_date: int


def check_name(correction: Correction) -> None:
    """Check what has to be right before a correction can be answered at all.

    Raises:
        Park: its id or its account is no name, so that no outcome could say which one it is (`bad_correction`).
    """
    if not 0 < len(correction.correction_id) <= CORRECTION_ID_CHARS_MAX:
        raise Park("bad_correction", f"correction_id has {len(correction.correction_id)} characters, not 1 to {CORRECTION_ID_CHARS_MAX}")
    if not is_account(correction.account):
        raise Park("bad_correction", f"correction {correction.correction_id} names account {correction.account[:64]!r}")
    if not 0 < correction.ts <= limits.TS_US_MAX:
        raise Park("bad_correction", f"correction {correction.correction_id} was made at {correction.ts} µs")


# Accounts are few and asked for with every intent; the bound is for keys that are none.
@lru_cache(maxsize=4_096)
def is_account(key: str) -> bool:
    """Tell whether a text is an account key."""
    parts = ids.split(key)
    return len(parts) == 4 and parts[1] in {"S", "F"} and ids.join(*parts) == key


def check_fields(correction: Correction, source: Source) -> None:
    """Check the fields of a correction by themselves.

    Raises:
        Refused: an unknown kind, a name too long, a number too large, a time that cannot be (`bad_correction`).
    """
    if correction.kind not in CORRECTION_KINDS:
        raise Refused("bad_correction", f"kind is {correction.kind!r}")
    names = (correction.symbol, correction.book, correction.to_symbol, correction.to_book)
    strategies = (correction.strategy_id, correction.to_strategy_id)
    if max(map(len, names)) > limits.NAME_CHARS_MAX or max(map(len, strategies)) > limits.ID_CHARS_MAX:
        raise Refused("bad_correction", "a name in it is too long")
    if len(correction.fill_id) > _FILL_ID_CHARS_MAX:
        raise Refused("bad_correction", f"fill_id has {len(correction.fill_id)} characters")
    numbers = (correction.quantity, correction.price, correction.amount, correction.fees, correction.taxes)
    if max(map(abs, (*numbers, correction.numerator, correction.denominator))) > money.MAX_MICROS:
        raise Refused("bad_correction", "a number in it is beyond 10^18")
    if correction.quality and correction.quality not in QUALITIES:
        raise Refused("bad_correction", f"quality is {correction.quality!r}")
    if not 0 <= correction.read_began_ts <= correction.read_ended_ts <= limits.TS_US_MAX:
        raise Refused("bad_correction", f"the read began at {correction.read_began_ts} and ended at {correction.read_ended_ts} µs")
    newest = max(correction.ts, correction.read_ended_ts)
    if source.ingest_ts and ids.session_ordinal(ids.session_id(newest)) > ids.session_ordinal(ids.session_id(source.ingest_ts)) + 1:
        raise Refused("bad_correction", f"it was made in session {ids.session_id(newest)}, ahead of when it was written")


def check_amount(amount: int, what: str) -> None:
    """Check a product of quantity, price and multiplier.

    Raises:
        Refused: it does not fit in a record (`bad_correction`).
    """
    if abs(amount) > money.MAX_MICROS:
        raise Refused("bad_correction", f"{what} is worth {money.text(amount)}, beyond 10^12")


def check_room(position: Position | None, quantity: int, amount: int) -> None:
    """Check that a row can take so much more, whatever its sign, and still fits in a record.

    Raises:
        Refused: it cannot (`bad_correction`).
    """
    row = position.row if position else EMPTY
    largest = max(map(abs, (row.open_cost, row.realized, row.basis, row.fees, row.taxes)))
    if largest + abs(amount) > money.MAX_MICROS or abs(row.quantity) + abs(quantity) > money.MAX_MICROS:
        raise Refused("bad_correction", f"{quantity} units for {money.text(amount)} are more than a row can take")


def strategy_of(correction: Correction) -> str:
    """Return the strategy that a correction of one row means."""
    return correction.strategy_id or ids.UNASSIGNED


def entry_of_outcome(item: CorrectionEntry) -> Entry:
    """Return what an entry of an outcome is to its row."""
    return Entry(item.seq, item.fill_id, item.quantity, item.amount, item.fee, item.tax, item.trading_date, kind_of(item.kind))


def outcome_entry(symbol: str, book: str, strategy_id: str, entry: Entry) -> CorrectionEntry:
    """Return an entry of a row as an outcome carries it."""
    return CorrectionEntry(
        symbol,
        book,
        strategy_id,
        entry.seq,
        entry.kind,
        entry.fill_id,
        entry.quantity,
        entry.amount,
        entry.fee,
        entry.tax,
        entry.trading_date,
    )


def fill_session(fill_id: str, account: str) -> tuple[str, str, str]:
    """Return session, trade_id and exchange_seq of a fill of this account.

    Raises:
        ValueError: it is none of this account's, or no fill id.
    """
    parts = fill_id.rsplit("|", 3)
    if len(parts) != 4 or parts[0] != account:
        msg = f"fill {fill_id} is not of account {account}"
        raise ValueError(msg)
    ids.session_ordinal(parts[1])
    return parts[1], ids.unescape(parts[2]), ids.unescape(parts[3])


def counted(fill: FillEvent | None) -> FillEvent:
    """Return a fill that stands.

    Raises:
        Refused: there is none, or it is voided (`unknown_fill`).
    """
    if fill is None or fill.voided:
        raise Refused("unknown_fill", "no such fill within the window" if fill is None else f"fill {fill.fill_id} is voided")
    return fill
