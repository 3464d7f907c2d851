"""ClickHouse's Native format as clients of the newer protocol want it.

The engine writes the plain form. A client that names a protocol version (Grafana's plugin does) expects each block to begin with its info
and each column to say that it is stored in the usual way. The data itself is the same, so it is only cut at its columns; for that every
type's layout has to be known.
"""

import re
import struct
from collections.abc import Sequence

# The version from which on each column has a flag for special storage; clients below it (clickhouse-connect) read the plain form as well.
FRAMED_FROM = 54_454
# Field 1: no overflow row; field 2: no bucket (-1); end of fields.
_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_USUAL_STORAGE = b"\x00"
_U64 = struct.Struct("<Q")

_SIZES = {
    "Bool": 1, "Int8": 1, "UInt8": 1, "Enum8": 1, "Nothing": 1, "Int16": 2, "UInt16": 2, "Enum16": 2, "Date": 2, "BFloat16": 2,
    "Int32": 4, "UInt32": 4, "Float32": 4, "Date32": 4, "DateTime": 4, "IPv4": 4, "Time": 4,
    "Int64": 8, "UInt64": 8, "Float64": 8, "DateTime64": 8, "Time64": 8,
    "Int128": 16, "UInt128": 16, "UUID": 16, "IPv6": 16, "Int256": 32, "UInt256": 32,
}  # fmt: skip
# Intervals are stored as Int64, whatever their unit.
_INTERVAL = re.compile(r"Interval\w+")
_DECIMAL_BYTES = ((9, 4), (18, 8), (38, 16), (76, 32))


class UnknownLayoutError(Exception):
    """A column's type is none whose layout is known here."""


def framed(plain: bytes) -> bytes:
    """Return the same blocks with block info and storage flags.

    Raises:
        UnknownLayoutError: a column has a type that is not known here.
    """
    walk = _Walk(plain)
    parts: list[bytes] = []
    while walk.at < len(plain):
        start = walk.at
        columns, rows = walk.varint(), walk.varint()
        parts += [_BLOCK_INFO, plain[start : walk.at]]
        for _ in range(columns):
            start = walk.at
            walk.text()
            kind = walk.text()
            parts += [plain[start : walk.at], _USUAL_STORAGE]
            start = walk.at
            if rows:
                walk.prefix(kind)
                walk.data(kind, rows)
            parts.append(plain[start : walk.at])
    return b"".join(parts)


class _Walk:
    """Steps over data without reading values."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def u64(self) -> int:
        value = int(_U64.unpack_from(self._data, self.at)[0])
        self.at += 8
        return value

    def text(self) -> str:
        length = self.varint()
        self.at += length
        return self._data[self.at - length : self.at].decode()

    def prefix(self, kind: str) -> None:
        """Step over what stands once before a column's data: the version of each dictionary in it."""
        name, inner = _parsed(kind)
        if name == "LowCardinality":
            self.at += 8
        else:
            for each in inner:
                self.prefix(each)

    def data(self, kind: str, rows: int) -> None:
        """Step over the data of `rows` values, at least one."""
        name, inner = _parsed(kind)
        if name == "String":
            for _ in range(rows):
                length = self.varint()
                self.at += length
        elif name == "LowCardinality":
            self._dictionary(inner[0])
        elif inner:
            self._composed(name, inner, rows)
        else:
            self.at += rows * _size(kind)

    def _composed(self, name: str, inner: Sequence[str], rows: int) -> None:
        if name == "Nullable":
            self.at += rows
        elif name in {"Array", "Map"}:
            self.at += 8 * (rows - 1)
            rows = self.u64()
        for each in inner:
            if rows:
                self.data(each, rows)

    def _dictionary(self, kind: str) -> None:
        index_bytes = 1 << (self.u64() & 0xFF)
        keys = self.u64()
        self.data(kind.removeprefix("Nullable(").removesuffix(")") if kind.startswith("Nullable(") else kind, keys)
        rows = self.u64()
        self.at += rows * index_bytes


def _parsed(kind: str) -> tuple[str, Sequence[str]]:
    """Return a type's name and the types inside it, those of a tuple without their names."""
    name, parenthesis, rest = kind.partition("(")
    if not parenthesis or name not in {"Nullable", "Array", "Map", "Tuple", "LowCardinality", "SimpleAggregateFunction", "Nested"}:
        return name, ()
    inner = _arguments(rest[:-1])
    if name == "SimpleAggregateFunction":
        return _parsed(inner[1])
    if name in {"Tuple", "Nested"}:
        inner = [_without_name(each) for each in inner]
    return ("Array" if name == "Nested" else name), inner


def _arguments(text: str) -> list[str]:
    parts, depth, current = [], 0, ""
    for piece in re.findall(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|.", text, re.DOTALL):
        depth += (piece == "(") - (piece == ")")
        if piece == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += piece
    return [*parts, current.strip()] if current.strip() else parts


def _without_name(element: str) -> str:
    found = re.match(r"(?:`(?:[^`\\]|\\.)*`|\w+) (?=[A-Z])", element)
    return element[found.end() :] if found else element


def _size(kind: str) -> int:
    name, _, rest = kind.partition("(")
    if name in _SIZES:
        return _SIZES[name]
    if name == "FixedString":
        return int(rest[:-1])
    if name == "Decimal":
        precision = int(rest.partition(",")[0])
        return next(size for limit, size in _DECIMAL_BYTES if precision <= limit)
    if _INTERVAL.fullmatch(name):
        return 8
    raise UnknownLayoutError(kind)
