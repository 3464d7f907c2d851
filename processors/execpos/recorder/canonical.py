"""One text for a value, made alike by Python from a record and by ClickHouse from a row, so that equal digests mean equal columns.

Numbers are decimal integers (money unscaled, times in microseconds, dates in days), texts are themselves; parts are separated by control
characters.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from execpos.recorder.contract import split_types
from execpos.recorder.templates import Column

# Between columns, between the elements of an array, and between the fields of an element, by depth; no text of ours holds them.
_COLUMN, _ELEMENT, _FIELD = "\\x1f", "\\x1d", "\\x1e"
# Eight bytes of digest: among a million rows the chance of missing a changed one is below one in ten million millions.
_DIGEST_BYTES = 8
_ARRAY = re.compile(r"Array\(Tuple\((.*)\)\)")
_PLAIN_ARRAY = re.compile(r"Array\((\w+)\)")
_MAP = "Map(String, String)"


def _array_fields(kind: str) -> list[tuple[str, str]] | None:
    found = _ARRAY.fullmatch(kind)
    if found is None:
        return None
    return [(name, rest) for name, _, rest in (element.partition(" ") for element in split_types(found[1]))]


def sql(kind: str, value: str, depth: int = 0) -> str:
    """Return the expression that makes the text of `value`, a column or an element of type `kind`."""
    fields = _array_fields(kind)
    if fields is not None:
        item = f"x{depth}"
        inner = [sql(inner_kind, f"{item}.{at}", depth + 1) for at, (_, inner_kind) in enumerate(fields, 1)]
        parts = f", '{_FIELD}', ".join(inner)
        return f"concat('[', arrayStringConcat(arrayMap({item} -> concat({parts}, ''), {value}), '{_ELEMENT}'), ']')"
    plain = _PLAIN_ARRAY.fullmatch(kind)
    if plain is not None:
        return f"concat('[', arrayStringConcat(arrayMap(x{depth} -> {_plain(plain[1], f'x{depth}')}, {value}), '{_ELEMENT}'), ']')"
    if kind == _MAP:
        # By key, because the order in which a map was written says nothing.
        pairs = f"arraySort(x -> x.1, CAST({value}, 'Array(Tuple(String, String))'))"
        return f"concat('[', arrayStringConcat(arrayMap(x -> concat(x.1, '{_FIELD}', x.2), {pairs}), '{_ELEMENT}'), ']')"
    return _plain(kind, value)


def _plain(kind: str, value: str) -> str:
    if kind.startswith("Decimal"):
        return f"toString(reinterpretAsInt64({value}))"
    if kind.startswith("DateTime64"):
        return f"toString(toUnixTimestamp64Micro({value}))"
    if kind == "Date32":
        return f"toString(toInt32({value}))"
    if kind == "Bool":
        return f"toString(toUInt8({value}))"
    return f"toString({value})"


def digest_sql(columns: Sequence[Column]) -> str:
    """Return the expression for the digest of a row's record columns, a UInt64."""
    text = f", '{_COLUMN}', ".join(sql(column.type, f"`{column.name}`") for column in columns)
    return f"reinterpretAsUInt64(substring(MD5(concat({text}, '')), 1, {_DIGEST_BYTES}))"


def encoder(kind: str) -> Callable[[Any], bytes]:
    """Return the function that makes the text of a record's value whose column has the type `kind`."""
    fields = _array_fields(kind)
    if fields is not None:
        inner = [(name, encoder(inner_kind)) for name, inner_kind in fields]
        return lambda items: (
            b"[" + b"\x1d".join(b"\x1e".join(encode(getattr(item, name)) for name, encode in inner) for item in items) + b"]"
        )
    plain = _PLAIN_ARRAY.fullmatch(kind)
    if plain is not None:
        one = encoder(plain[1])
        return lambda items: b"[" + b"\x1d".join(map(one, items)) + b"]"
    if kind == _MAP:
        return lambda items: (
            b"[" + b"\x1d".join(key + b"\x1e" + value for key, value in sorted((k.encode(), v.encode()) for k, v in items.items())) + b"]"
        )
    if kind == "Bool":
        return lambda value: b"1" if value else b"0"
    if kind in {"String", "LowCardinality(String)"} or kind.startswith("Enum8"):
        return lambda value: value if isinstance(value, bytes) else value.encode()
    return lambda value: b"%d" % value


class Digest:
    """Makes the digest of a record, the same number as `digest_sql` of its row."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._encoders = [(column.name, encoder(column.type)) for column in columns]

    def __call__(self, record: msgspec.Struct) -> int:
        """Return the digest. Pure."""
        text = b"\x1f".join(encode(getattr(record, name)) for name, encode in self._encoders)
        return int.from_bytes(hashlib.md5(text, usedforsecurity=False).digest()[:_DIGEST_BYTES], "little")


def summed(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns whose exact sums are compared: money, and quantities."""
    return tuple(
        column for column in columns if column.type.startswith("Decimal") or (column.type == "Int64" and "quantity" in column.name)
    )


def sum_sql(column: Column) -> str:
    """Return the expression for a column's exact sum as an integer (money unscaled)."""
    value = f"reinterpretAsInt64(`{column.name}`)" if column.type.startswith("Decimal") else f"`{column.name}`"
    return f"sum(toInt256({value}))"
