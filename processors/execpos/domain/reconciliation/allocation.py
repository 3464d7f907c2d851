"""What an ADJUST left on UNASSIGNED, and until when it holds its symbol to reducing only. Pure."""

import re
from collections.abc import Mapping

import msgspec

from execpos.domain import ids
from execpos.domain.reconciliation.sides import Book, Key

EVIDENCE = "adjusted"
"""Name in the evidence of a discrepancy, of what its ADJUST does to UNASSIGNED: a restart between the ADJUST and its outcome knows it."""

# The same in the evidence of a symbol's control, before the book.
_OF_BOOK = f"{EVIDENCE} "

_TEXT = re.compile(r"(-?\d{1,18}) to (-?\d{1,18})(?: at (\d{1,18})\.(\d{1,18}))?", re.ASCII)


class Adjusted(msgspec.Struct, frozen=True):
    """What UNASSIGNED held of a key before an ADJUST and after it, and the ledger's epoch and version of NET from which on it counts."""

    before: int
    after: int
    since: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        """Return what `read` takes."""
        return f"{self.before} to {self.after}" + (f" at {self.since[0]}.{self.since[1]}" if self.since != (0, 0) else "")


def read(text: str) -> Adjusted | None:
    """Return what a text says; None: nothing."""
    found = _TEXT.fullmatch(text)
    return Adjusted(int(found[1]), int(found[2]), (int(found[3] or 0), int(found[4] or 0))) if found else None


def unassigned(book: Book | None, key: Key) -> int:
    """Return what UNASSIGNED holds of a key."""
    return sum(quantity for strategy, quantity in book.strategies.get(key, ()) if strategy == ids.UNASSIGNED) if book else 0


def more(held: Mapping[Key, Adjusted], key: Key, new: Adjusted) -> dict[Key, Adjusted]:
    """Return them with one more ADJUST; one that waits already has to be given away too."""
    old = held.get(key)
    return {**held, key: msgspec.structs.replace(new, before=old.before) if old else new}


def waiting(held: Mapping[Key, Adjusted], book: Book) -> dict[Key, Adjusted]:
    """Return those that are not over.

    One is over once UNASSIGNED went back to what it held before, or holds nothing; or nobody else holds anything. A book of before the
    ADJUST says nothing.
    """
    return {key: one for key, one in held.items() if _waits(one, book, key)}


def _waits(one: Adjusted, book: Book, key: Key) -> bool:
    row = book.rows.get(key)
    if (book.ledger_epoch, row.version if row else 0) < one.since:
        return True
    now, others = unassigned(book, key), any(quantity for strategy, quantity in book.strategies.get(key, ()) if strategy != ids.UNASSIGNED)
    return bool(now) and others and (now - one.before) * (one.after - one.before) > 0


def symbols(held: Mapping[Key, Adjusted]) -> dict[str, str]:
    """Return each symbol that may only be reduced, and why."""
    return {symbol: f"an ADJUST of {symbol} waits to be allocated" for symbol, _ in held}


def written(held: Mapping[Key, Adjusted], symbol: str) -> dict[str, str]:
    """Return evidence for the control of a symbol: what a restart has to know."""
    return {f"{_OF_BOOK}{book}": str(one) for (name, book), one in sorted(held.items()) if name == symbol}


def remembered(evidence: Mapping[str, str], symbol: str) -> dict[Key, Adjusted]:
    """Return what `written` wrote."""
    found = {(symbol, name.removeprefix(_OF_BOOK)): read(text) for name, text in evidence.items() if name.startswith(_OF_BOOK)}
    return {key: one for key, one in found.items() if one}
