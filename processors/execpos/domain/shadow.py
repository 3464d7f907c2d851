"""A book folded anew beside the live one: in which order the inputs are taken, and what differs at the end.

Pure. The three inputs are consumed side by side, and nothing keeps in which order. But every output names its record, so each output
topic is a chain: the order in which the ledger took the records that changed something. A fold anew keeps those chains and computes
everything else again. What stands in no chain changed nothing beside its own topic: an intent or a correction before its orders and fills,
which is taken as early as its own topic allows, or a report that meets no correction.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from execpos.domain import snapshot
from execpos.domain.events import OpenOrder, PositionState

RAW, INTENTS, CORRECTIONS = range(3)

# Bits of a place that say which input it is.
_INPUT_BITS = 2

_NONE = -1


class Place(NamedTuple):
    """One record of an input: its number among `book.INPUTS`, and its offset."""

    input: int
    offset: int


class Record(Protocol):
    """A record as read."""

    def offset(self) -> int: ...


T = TypeVar("T", bound=Record)


class Chain:
    """Places in the order in which one output topic names them. A place given several times in a row stands once. 8 bytes a place."""

    def __init__(self) -> None:
        self._places = array("q")
        self._at = 0
        self._next_raw = 0
        self._others: set[int] = set()

    def add(self, place: Place) -> bool:
        """Add the next one; say whether it is new."""
        code = place.offset << _INPUT_BITS | place.input
        if code in self._others or (self._places and self._places[-1] == code):
            return False
        self._places.append(code)
        if place.input:
            self._others.add(code)
        return True

    def waits(self, place: Place) -> bool:
        """Tell whether something in the chain comes before `place`."""
        code = place.offset << _INPUT_BITS | place.input
        if place.input:
            return code in self._others and self._head() != code
        return self._raw() == code and self._head() != code

    def take(self, place: Place) -> None:
        """Go past a place if the chain has it, and past what stands before it."""
        code = place.offset << _INPUT_BITS | place.input
        if self._head() != code:
            if not (code in self._others if place.input else self._raw() == code):
                return
            self._at = self._places.index(code, self._at)
        self._others.discard(code)
        self._at += 1

    def _head(self) -> int:
        return self._places[self._at] if self._at < len(self._places) else _NONE

    def _raw(self) -> int:
        """Return the next place of exec.raw; they stand in order, so one that is not it is not in the chain."""
        at, places = max(self._at, self._next_raw), self._places
        while at < len(places) and places[at] & ((1 << _INPUT_BITS) - 1):
            at += 1
        self._next_raw = at
        return places[at] if at < len(places) else _NONE

    @property
    def head(self) -> Place | None:
        """The next place; None at the end."""
        code = self._head()
        return None if code == _NONE else Place(code & ((1 << _INPUT_BITS) - 1), code >> _INPUT_BITS)


class Merge:
    """Puts three inputs into one order that keeps the chains.

    Args:
        chains: by output topic; more may be added to them between two merges.
    """

    def __init__(self, chains: Sequence[Chain]) -> None:
        self._chains = chains
        self.unordered = 0
        """How many records came without the one that stands before them in a chain: it was not given."""

    def merged(self, streams: Sequence[Iterator[T]], soon: Mapping[Place, Any], last: Mapping[Place, Any]) -> Iterator[tuple[int, Any]]:
        """Yield (input, record) of three streams, each in order, and what stands apart from them where the chains have it, as it is given.

        What is in `soon` (and not None) comes as soon as the chains allow, what is in `last` after all that need not wait for it.
        """
        heads: list[T | None] = [next(stream, None) for stream in streams]
        while True:
            which = next(self._ready(heads, soon, last), None)
            if which is None:
                return
            if isinstance(which, Place):
                self._take(which)
                yield which.input, soon[which] if which in soon else last[which]
                continue
            record = heads[which]
            assert record is not None  # noqa: S101 (it was found ready)
            self._take(Place(which, record.offset()))
            heads[which] = next(streams[which], None)
            yield which, record

    def _ready(self, heads: Sequence[T | None], soon: Mapping[Place, Any], last: Mapping[Place, Any]) -> Iterator[int | Place]:
        """Yield what may be taken next, the best first."""
        if soon:
            yield from self._apart(soon)
        for which in (INTENTS, CORRECTIONS, RAW):
            record = heads[which]
            if record is not None and not self._waits(Place(which, record.offset())):
                yield which
        yield from self._apart(last)
        for which in (RAW, INTENTS, CORRECTIONS):
            if heads[which] is not None:
                self.unordered += 1
                yield which

    def _apart(self, apart: Mapping[Place, Any]) -> Iterator[Place]:
        heads = (chain.head for chain in self._chains)
        return (head for head in heads if head is not None and apart.get(head) is not None and not self._waits(head))

    def _waits(self, place: Place) -> bool:
        return any(chain.waits(place) for chain in self._chains)

    def _take(self, place: Place) -> None:
        for chain in self._chains:
            chain.take(place)


# --- what differs ------------------------------------------------------------------------------------------------------------------------

Verdict = Literal["EQUAL", "VERSIONS", "DIFFERENT"]
"""VERSIONS: every amount is the same, reached by another number of changes."""

_ROW_FIELDS = (
    "quantity",
    "open_cost",
    "realized_pnl",
    "realized_pnl_day",
    "trading_date",
    "fees",
    "taxes",
    "basis_adjustment",
    "day_buy_quantity",
    "day_buy_amount",
    "day_sell_quantity",
    "day_sell_amount",
    "day_open_cost",
    "cost_method",
    "lots",
    "lots_merged",
    "multiplier",
    "quality",
    "fee_quality",
    "version",
)
_ORDER_FIELDS = ("strategy_id", "symbol", "side", "price", "quantity", "cum_filled", "cancelled", "leaves", "status")


class Difference(msgspec.Struct, frozen=True):
    """One field of a row or an open order, as text."""

    key: str
    field: str
    live: str
    shadow: str


class Comparison(msgspec.Struct, frozen=True):
    """A live book and one folded anew.

    Attributes:
        account: whose.
        rows: how many rows and open orders one or the other has.
        equal: how many of them are the same.
        different: what is not, field by field.
        missing: keys that only the fold has.
        extra: keys that only the live book has.
        live_digest: of the live book.
        shadow_digest: of the fold.
        verdict: in one word.
    """

    account: str
    rows: int
    equal: int
    different: tuple[Difference, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    live_digest: str
    shadow_digest: str
    verdict: Verdict


class Whole(NamedTuple):
    """What belongs to a book: rows as published, and open orders."""

    rows: Iterable[PositionState]
    orders: Iterable[OpenOrder]


def compare(account: str, live: Whole, shadow: Whole) -> Comparison:
    """Compare all that a digest covers."""
    ours, theirs = _by_key(live), _by_key(shadow)
    both = ours.keys() & theirs.keys()
    different = [line for key in sorted(both) for line in _different(key, ours[key], theirs[key])]
    missing, extra = sorted(theirs.keys() - both), sorted(ours.keys() - both)
    if missing or extra or any(line.field != "version" for line in different):
        verdict: Verdict = "DIFFERENT"
    else:
        verdict = "VERSIONS" if different else "EQUAL"
    return Comparison(
        account=account,
        rows=len(ours.keys() | theirs.keys()),
        equal=len(both) - len({line.key for line in different}),
        different=tuple(different),
        missing=tuple(missing),
        extra=tuple(extra),
        live_digest=_digest(ours),
        shadow_digest=_digest(theirs),
        verdict=verdict,
    )


_Element = PositionState | OpenOrder


def _by_key(whole: Whole) -> dict[str, _Element]:
    found: dict[str, _Element] = {row.position_key: row for row in whole.rows}
    return found | {order.order_key: order for order in whole.orders}


def _digest(elements: Mapping[str, _Element]) -> str:
    rows = [element for element in elements.values() if isinstance(element, PositionState)]
    return snapshot.digest(rows, [element for element in elements.values() if isinstance(element, OpenOrder)])


def _different(key: str, one: _Element, other: _Element) -> Iterator[Difference]:
    for name in _ROW_FIELDS if isinstance(one, PositionState) else _ORDER_FIELDS:
        live, shadow = getattr(one, name), getattr(other, name)
        if live != shadow:
            yield Difference(key, name, _text(live), _text(shadow))


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ";".join(f"{lot.quantity}:{lot.cost}:{lot.fill_id}" for lot in value)
    return str(value)
