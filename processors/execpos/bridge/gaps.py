"""Finds holes in the broker's own numbering of its reports. Pure: the time comes from the caller.

A receipt is `v1:<kind>:<stream>:<reset>:<seq>` and is read from the right, because the stream's token may hold anything. What stands
before the reset names a sequence: orders and deals of an account count apart. The first number seen is a baseline, and no proof of a hole
before it.
"""

import contextlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

# Reports overtake each other by less; the broker's own application waits as long before it calls a number missing.
TOLERANCE_S = 1.5

# Numbering is reset a few times a day at most; beyond it the oldest reset is forgotten.
_RESETS_KEPT = 16

# A number of more digits is none of the broker's, and converting it would take long.
_DIGITS_MAX = 60


class Receipt(NamedTuple):
    """A receipt in its parts: what names the sequence, which numbering, and the number in it."""

    sequence: str
    reset: str
    seq: int


class Hole(NamedTuple):
    """Numbers `first` to `last` of a sequence never came."""

    account: str
    sequence: str
    reset: str
    first: int
    last: int

    def payload(self) -> bytes:
        """Return the payload of the GAP record that tells of it."""
        said = {"stream": self.sequence, "reset": self.reset, "from": self.first, "to": self.last}
        return json.dumps(said, ensure_ascii=True, separators=(",", ":")).encode()


def parse(receipt: str) -> Receipt | None:
    """Return the parts of a receipt, or None when it is empty or of another form."""
    parts = receipt.rsplit(":", 2)
    if len(parts) != 3:
        return None
    sequence, reset, seq = parts
    if not sequence or not seq.isascii() or not seq.isdigit() or len(seq) > _DIGITS_MAX:
        return None
    return Receipt(sequence, reset, int(seq))


class _Sequence:
    """One sequence: complete up to `upto`, and what came beyond it with the time at which it came."""

    __slots__ = ("ahead", "old", "reset", "upto")

    def __init__(self, reset: str, upto: int, old: list[str]) -> None:
        self.reset = reset
        self.upto = upto
        self.old = old
        self.ahead: dict[int, float] = {}

    def take(self, seq: int, now_s: float) -> None:
        if seq > self.upto + 1:
            self.ahead.setdefault(seq, now_s)
        elif seq == self.upto + 1:
            self.upto = seq
            while self.ahead.pop(self.upto + 1, None) is not None:
                self.upto += 1

    def give_up(self, until_s: float) -> tuple[int, int] | None:
        """Return the first hole if it opened at `until_s` or before, and go on behind it."""
        # A number is missing since the first higher one came.
        if not self.ahead or min(self.ahead.values()) > until_s:
            return None
        first, resumed = self.upto + 1, min(self.ahead)
        self.upto = resumed - 1
        self.take(resumed, self.ahead.pop(resumed))
        return first, resumed - 1


class GapWatch:
    """Sees every receipt of a login. One thread at a time; does not block.

    Args:
        baselines: what `baselines` returned in an earlier run; text that is not of its form is passed over.
        tolerance_s: how long a number may be missing before it counts as a hole.
    """

    def __init__(self, baselines: Mapping[str, Any] | None = None, tolerance_s: float = TOLERANCE_S) -> None:
        self._tolerance_s = tolerance_s
        self._sequences: dict[tuple[str, str], _Sequence] = {}
        for account, sequences in (baselines or {}).items():
            for name, kept in sequences.items():
                # Without its baseline a sequence begins anew, and a hole over the restart is not seen; the start reads the records anyway.
                with contextlib.suppress(TypeError, ValueError):
                    reset, upto, old = kept
                    self._sequences[account, name] = _Sequence(str(reset), int(upto), [str(each) for each in old])

    def see(self, account: str, receipt: str, now_s: float) -> bool:
        """Take in the receipt of a callback; say whether it begins a new numbering, after which nothing is known of the old one's end."""
        parsed = parse(receipt)
        if parsed is None:
            return False
        known = self._sequences.get((account, parsed.sequence))
        if known is None:
            self._sequences[account, parsed.sequence] = _Sequence(parsed.reset, parsed.seq, [])
            return False
        if parsed.reset == known.reset:
            known.take(parsed.seq, now_s)
            return False
        if parsed.reset in known.old:
            # A late report of a numbering that is over.
            return False
        old = [*known.old, known.reset][-_RESETS_KEPT:]
        self._sequences[account, parsed.sequence] = _Sequence(parsed.reset, parsed.seq, old)
        return True

    def fill(self, account: str, receipt: str, now_s: float) -> None:
        """Take in the receipt of a record that was asked for: it may close a hole, and neither begins nor resets a numbering."""
        parsed = parse(receipt)
        known = None if parsed is None else self._sequences.get((account, parsed.sequence))
        if parsed is not None and known is not None and parsed.reset == known.reset:
            known.take(parsed.seq, now_s)

    def due(self, now_s: float) -> list[Hole]:
        """Return the holes that have been open for longer than the tolerance, each once; what comes later of one is a late report."""
        holes = []
        for (account, name), sequence in self._sequences.items():
            while (hole := sequence.give_up(now_s - self._tolerance_s)) is not None:
                holes.append(Hole(account, name, sequence.reset, *hole))
        return holes

    def baselines(self) -> dict[str, dict[str, list[Any]]]:
        """Return how far each sequence is complete, by account and name, as plain data: [reset, number as text, earlier resets]."""
        found: dict[str, dict[str, list[Any]]] = {}
        for (account, name), sequence in self._sequences.items():
            found.setdefault(account, {})[name] = [sequence.reset, str(sequence.upto), list(sequence.old)]
        return found
