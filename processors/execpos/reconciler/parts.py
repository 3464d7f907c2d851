"""Puts the parts of an answer or a snapshot together. Pure: what is still open is a value, so that an abort can go back to it.

`domain.snapshot.Parts` does the same for a reader that never goes back.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TypeVar

import msgspec

from execpos.domain import snapshot
from execpos.domain.events import BrokerSnapshot, PositionSnapshot

T = TypeVar("T", bound=PositionSnapshot | BrokerSnapshot)


def book(open_parts: tuple[PositionSnapshot, ...], part: PositionSnapshot) -> tuple[tuple[PositionSnapshot, ...], PositionSnapshot | None]:
    """Return the parts of an account that are open after one more, and the whole, as if it had one part, when that was the last."""
    same = bool(open_parts) and open_parts[0].snapshot_id == part.snapshot_id
    return _taken(open_parts if same else (), part, snapshot.joined)


def answer(open_parts: tuple[BrokerSnapshot, ...], part: BrokerSnapshot) -> tuple[tuple[BrokerSnapshot, ...], BrokerSnapshot | None]:
    """Return the same for the broker's answers, of which an account's bridge writes one after the other."""
    first = open_parts[0] if open_parts else None
    same = first is not None and (first.request_id, first.what, first.read) == (part.request_id, part.what, part.read)
    return _taken(open_parts if same else (), part, _joined)


def _taken(known: tuple[T, ...], part: T, join: Callable[[Sequence[T]], T]) -> tuple[tuple[T, ...], T | None]:
    if part.part != len(known) + 1:
        # Its first ones are past the beginning of what is read.
        return (), None
    parts: tuple[T, ...] = (*known, part)
    if part.part != part.parts:
        return parts, None
    return (), part if part.parts == 1 else join(parts)


def _joined(parts: Sequence[BrokerSnapshot]) -> BrokerSnapshot:
    return msgspec.structs.replace(
        parts[-1],
        part=1,
        parts=1,
        positions=tuple(chain.from_iterable(one.positions for one in parts)),
        lots=tuple(chain.from_iterable(one.lots for one in parts)),
        orders=tuple(chain.from_iterable(one.orders for one in parts)),
        profits=tuple(chain.from_iterable(one.profits for one in parts)),
    )
