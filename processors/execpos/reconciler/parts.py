"""Puts the parts of an answer or a snapshot together. Pure: what is still open is a value, so that an abort can go back to it.

`domain.snapshot.Parts` does the same for a reader that never goes back.
"""

from itertools import chain

import msgspec

from execpos.domain.events import BrokerSnapshot, PositionSnapshot


def book(open_parts: tuple[PositionSnapshot, ...], part: PositionSnapshot) -> tuple[tuple[PositionSnapshot, ...], PositionSnapshot | None]:
    """Return the parts of an account that are open after one more, and the whole, as if it had one part, when that was the last."""
    same = bool(open_parts) and open_parts[0].snapshot_id == part.snapshot_id
    known, done = _taken(len(open_parts) if same else 0, part.part, part.parts)
    if not known:
        return (), None
    parts = (*open_parts, part) if same else (part,)
    if not done:
        return parts, None
    if len(parts) == 1:
        return (), part
    return (), msgspec.structs.replace(
        part,
        part=1,
        parts=1,
        positions=tuple(chain.from_iterable(one.positions for one in parts)),
        orders=tuple(chain.from_iterable(one.orders for one in parts)),
        valuations=tuple(chain.from_iterable(one.valuations for one in parts)),
    )


def answer(open_parts: tuple[BrokerSnapshot, ...], part: BrokerSnapshot) -> tuple[tuple[BrokerSnapshot, ...], BrokerSnapshot | None]:
    """Return the same for the broker's answers, of which an account's bridge writes one after the other."""
    first = open_parts[0] if open_parts else None
    same = first is not None and (first.request_id, first.what, first.read) == (part.request_id, part.what, part.read)
    known, done = _taken(len(open_parts) if same else 0, part.part, part.parts)
    if not known:
        return (), None
    parts = (*open_parts, part) if same else (part,)
    if not done:
        return parts, None
    if len(parts) == 1:
        return (), part
    return (), msgspec.structs.replace(
        part,
        part=1,
        parts=1,
        positions=tuple(chain.from_iterable(one.positions for one in parts)),
        lots=tuple(chain.from_iterable(one.lots for one in parts)),
        orders=tuple(chain.from_iterable(one.orders for one in parts)),
        profits=tuple(chain.from_iterable(one.profits for one in parts)),
    )


def _taken(open_count: int, part: int, parts: int) -> tuple[bool, bool]:
    """Say whether a part is the next one, and whether it is the last one; else its first ones are past the beginning of what is read."""
    return part == open_count + 1, part == parts
