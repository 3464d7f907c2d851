"""Writes snapshots from elements that are encoded already: a row that did not change since the last snapshot is not encoded again.

An Avro body is the bodies of its fields one after the other, and an array is its length, its items and a zero; so what stands before and
behind the three arrays is encoded alone. A property test compares the result with `Encoder` byte for byte.
"""

from collections.abc import Callable, Sequence
from typing import Any

from execpos.codecs import compiled, framing
from execpos.codecs.avro import expanded, schema_text
from execpos.domain.events import OpenOrder, PositionSnapshot, PositionState, Valuation

_ARRAYS = ("positions", "orders", "valuations")


class SnapshotEncoder:
    """Writes parts of snapshots, framed with one schema id. Thread-safe.

    Attributes:
        row: returns the body of a row.
        order: of an open order.
        valuation: of a valuation.
    """

    def __init__(self, schema_id: int) -> None:
        fields = expanded(schema_text(PositionSnapshot))["fields"]
        names = [field["name"] for field in fields]
        first = names.index(_ARRAYS[0])
        assert tuple(names[first : first + 3]) == _ARRAYS  # noqa: S101 (a mistake in the schema file)
        items = [field["type"]["items"] for field in fields[first : first + 3]]
        self.row: Callable[[PositionState], bytes] = compiled.encoder(items[0])
        self.order: Callable[[OpenOrder], bytes] = compiled.encoder(items[1])
        self.valuation: Callable[[Valuation], bytes] = compiled.encoder(items[2])
        self._head = compiled.encoder({"name": "SnapshotHead", "fields": fields[:first]})
        self._tail = compiled.encoder({"name": "SnapshotTail", "fields": fields[first + 3 :]})
        self._header = framing.header(schema_id)

    def __call__(self, part: PositionSnapshot, rows: Sequence[bytes], orders: Sequence[bytes], valuations: Sequence[bytes]) -> bytes:
        """Return the framed bytes of `part` with these elements in place of its own."""
        pieces: list[Any] = [self._header, self._head(part)]
        for bodies in (rows, orders, valuations):
            if bodies:
                pieces += (compiled.long(len(bodies)), *bodies)
            pieces.append(b"\0")
        pieces.append(self._tail(part))
        return b"".join(pieces)
