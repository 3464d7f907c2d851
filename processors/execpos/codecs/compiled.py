"""Avro bodies by code made from the schema: one straight-line function a record class.

The generic writer spends its time finding out, field by field, what the schema says; here that is done once. `fastavro` stays the
reference (a property test compares every class byte for byte) and does everything rare: other writer schemas, resolution, defaults.
Where `_native` was built, it takes the place of the functions made here, with the same results (ADR 0014). Figures are in
`docs/performance.md`.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

# Raised together with the one in `_native.c`: a build of other sources is left alone.
_ABI = 1

try:
    from execpos.codecs import _native
except ImportError:
    NATIVE = False
else:
    NATIVE = _native.ABI == _ABI

Schema = Any

# Zigzag varints of small numbers, which most fields hold: one list look-up instead of a loop.
_SMALL = 8192

# Chunks of 14 bits with both continuation bits set: a time of 50 bits takes four steps instead of eight.
_CHUNK_MASK = 0x3FFF


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_LAST = [_varint(number) for number in range(_CHUNK_MASK + 1)]
_MORE = [bytes((number & 0x7F | 0x80, number >> 7 | 0x80)) for number in range(_CHUNK_MASK + 1)]
_SMALL_LONGS = _LAST[: 2 * _SMALL : 2]

# The range of an Avro long; beyond it there is no encoding.
_LONG_MIN, _LONG_MAX = -(1 << 63), (1 << 63) - 1


# Times and amounts of one report stand in its fill, its delta and two positions: a look-up costs a tenth of the arithmetic.
@lru_cache(maxsize=16_384)
def long(number: int) -> bytes:
    """Return the Avro encoding of a long.

    Raises:
        OverflowError: it needs more than 64 bits.
    """
    if not _LONG_MIN <= number <= _LONG_MAX:
        msg = f"{number} is no 64-bit integer"
        raise OverflowError(msg)
    zigzag = (number << 1) ^ (number >> 63)
    if zigzag < 1 << 14:
        return _LAST[zigzag]
    if zigzag < 1 << 28:
        return _MORE[zigzag & _CHUNK_MASK] + _LAST[zigzag >> 14]
    # A time in microseconds has 51 bits and an amount of a million has 41: straight-line code is twice as fast as a loop.
    first, second, rest = _MORE[zigzag & _CHUNK_MASK], _MORE[zigzag >> 14 & _CHUNK_MASK], zigzag >> 28
    if rest < 1 << 14:
        return first + second + _LAST[rest]
    third, rest = _MORE[rest & _CHUNK_MASK], rest >> 14
    if rest < 1 << 14:
        return first + second + third + _LAST[rest]
    return first + second + third + _MORE[rest & _CHUNK_MASK] + _LAST[rest >> 14]


def text(value: str) -> bytes:
    """Return the Avro encoding of a string."""
    data = value.encode()
    return long(len(data)) + data


def string_map(value: dict[str, str]) -> bytes:
    """Return the Avro encoding of a map of strings: one block, then the end."""
    if not value:
        return b"\0"
    return b"".join((long(len(value)), *(text(key) + text(item) for key, item in value.items()), b"\0"))


def array(encode: Callable[[Any], bytes], items: tuple[Any, ...]) -> bytes:
    """Return the Avro encoding of an array: one block, then the end."""
    if not items:
        return b"\0"
    return b"".join((long(len(items)), *map(encode, items), b"\0"))


def _kind(schema: Schema) -> str:
    return str(schema["type"] if isinstance(schema, dict) else schema)


def encoder(schema: Schema, header: bytes = b"", *, native: bool | None = None) -> Callable[[Any], bytes]:
    """Return a function from a record of `schema` (attributes named as its fields) to its Avro body.

    Args:
        schema: a parsed record schema of strings, integers, booleans, bytes, enums, string maps, and arrays of strings, of integers or of
            such records.
        header: what stands before each body.
        native: by `_native` or not; if not said, by it where it is there.
    """
    if NATIVE if native is None else native:
        fields = ((name, code, _written(code, kind)) for name, code, kind in _plan(schema))
        return _native.Encoder(tuple(fields), header)
    names: dict[str, Any] = {"header": header, "small": _SMALL_LONGS, "long": long, "string_map": string_map, "array": array}
    parts = [*(["header"] if header else []), *(_encoded(field, names) for field in schema["fields"])]
    source = "def encode(record):\n    return b''.join((\n" + "".join(f"        {part},\n" for part in parts) + "    ))\n"
    exec(compile(source, f"<encoder of {schema['name']}>", "exec"), names)  # noqa: S102 (made from our own schema files)
    made: Callable[[Any], bytes] = names["encode"]
    return made


_SIMPLE = {"boolean": r"b'\1' if {} else b'\0'", "map": "string_map({})"}


def _encoded(field: Schema, names: dict[str, Any]) -> str:
    """Return the expressions that encode one field, separated by commas; what it calls is added to `names`."""
    value = f"record.{field['name']}"
    schema = field["type"]
    kind = _kind(schema)
    if kind in {"long", "int"}:
        return f"small[number] if -1 < (number := {value}) < {_SMALL} else long(number)"
    if kind in {"string", "bytes"}:
        # Written out here, because a call costs more than what it would do.
        content = f"{value}.encode()" if kind == "string" else value
        return f"small[size] if (size := len(content := {content})) < {_SMALL} else long(size), content"
    if kind in _SIMPLE:
        return _SIMPLE[kind].format(value)
    if kind == "enum":
        table = f"enum_{field['name']}"
        names[table] = {symbol: long(number) for number, symbol in enumerate(schema["symbols"])}
        return f"{table}[{value}]"
    item = f"item_{field['name']}"
    names[item] = {"string": text, "long": long}.get(_kind(schema["items"])) or encoder(schema["items"], native=False)
    return f"array({item}, {value})"


# As in `_native.c`.
_CODES = {"long": 0, "int": 0, "string": 1, "bytes": 2, "boolean": 3, "enum": 4, "map": 5}
_ARRAY_CODES = {"long": 6, "string": 7, "record": 8}
_ENUM, _RECORDS = _CODES["enum"], _ARRAY_CODES["record"]


def _plan(schema: Schema) -> Iterator[tuple[str, int, Schema]]:
    """Return name, code, and schema (of an array its items') of each field."""
    for field in schema["fields"]:
        kind = _kind(field["type"])
        if kind == "array":
            yield field["name"], _ARRAY_CODES[_kind(field["type"]["items"])], field["type"]["items"]
        else:
            yield field["name"], _CODES[kind], field["type"]


def _written(code: int, schema: Schema) -> object:
    if code == _ENUM:
        return {symbol: number for number, symbol in enumerate(schema["symbols"])}
    return encoder(schema, native=True) if code == _RECORDS else None


def _read(code: int, schema: Schema, nested: dict[str, type[msgspec.Struct]]) -> object:
    if code == _ENUM:
        return tuple(schema["symbols"])
    return decoder(schema, _class_of(schema, nested), nested, native=True) if code == _RECORDS else None


def _class_of(schema: Schema, nested: dict[str, type[msgspec.Struct]]) -> type[msgspec.Struct]:
    return nested[str(schema["name"]).rsplit(".", 1)[-1]]


# Ten bytes of seven bits hold every long; of the last one a single bit is left.
_LONG_BYTES = 10


def _long_reader() -> Callable[[bytes, int], tuple[int, int]]:
    """Return a function from (bytes, start) to (long, end), written out for each length: twice as fast as a loop.

    It raises IndexError when the bytes end before the number does, and ValueError for one of more than 64 bits.
    """
    lines = ["def read_long(body, at):"]
    for last in range(_LONG_BYTES):
        lines += [f"    b{last} = body[at + {last}]", f"    if b{last} < {2 if last == _LONG_BYTES - 1 else 128}:"]
        # Every byte but the last has its highest bit set, which is taken off in one piece.
        total, flags = " + ".join(f"(b{n} << {7 * n})" for n in range(last + 1)), sum(128 << 7 * n for n in range(last))
        lines += [f"        number = {total} - {flags}", f"        return (number >> 1) ^ -(number & 1), at + {last + 1}"]
    lines.append("    raise ValueError('a number of more than 64 bits')")
    names: dict[str, Any] = {}
    exec(compile("\n".join(lines), "<reader of longs>", "exec"), names)  # noqa: S102 (made from what stands above)
    made: Callable[[bytes, int], tuple[int, int]] = names["read_long"]
    return made


read_long = _long_reader()
"""Returns the long that begins at a place of some bytes, and where it ends; IndexError or ValueError when there is none."""


def read_data(body: bytes, at: int) -> tuple[bytes, int]:
    """Return the bytes that begin at `at`, and where they end.

    Raises:
        IndexError: the body ends before they do, or their length is negative.
    """
    length, at = read_long(body, at)
    end = at + length
    if length < 0 or end > len(body):
        raise IndexError("a text goes on beyond the end")
    return body[at:end], end


def read_text(body: bytes, at: int) -> tuple[str, int]:
    """Return the string that begins at `at`, and where it ends."""
    data, at = read_data(body, at)
    return data.decode(), at


def read_map(body: bytes, at: int) -> tuple[dict[str, str], int]:
    """Return the string map that begins at `at`, and where it ends."""
    made: dict[str, str] = {}
    count, at = read_long(body, at)
    while count:
        if count < 0:
            count, (_, at) = -count, read_long(body, at)
        for _ in range(count):
            key, at = read_data(body, at)
            value, at = read_data(body, at)
            made[key.decode()] = value.decode()
        count, at = read_long(body, at)
    return made, at


def read_array(decode: Callable[[bytes, int], tuple[Any, int]], body: bytes, at: int) -> tuple[tuple[Any, ...], int]:
    """Return the array that begins at `at`, and where it ends."""
    items = []
    count, at = read_long(body, at)
    while count:
        if count < 0:
            count, (_, at) = -count, read_long(body, at)
        if count > len(body) - at:
            raise IndexError("an array of more items than bytes are left")
        for _ in range(count):
            item, at = decode(body, at)
            items.append(item)
        count, at = read_long(body, at)
    return tuple(items), at


def decoder(
    schema: Schema, record: type[msgspec.Struct], nested: dict[str, type[msgspec.Struct]], *, native: bool | None = None
) -> Callable[[bytes, int], tuple[Any, int]]:
    """Return a function from (bytes, start) to (record, end), for bodies written with exactly this schema.

    Args:
        schema: as for `encoder`.
        record: class to build, its fields in the order of the schema's.
        nested: class of each record schema that stands inside.
        native: by `_native` or not; if not said, by it where it is there.
    """
    if NATIVE if native is None else native:
        return _native.Decoder(tuple((name, code, _read(code, kind, nested)) for name, code, kind in _plan(schema)), record)
    names: dict[str, Any] = {
        "Record": record,
        "read_long": read_long,
        "read_data": read_data,
        "read_map": read_map,
        "read_array": read_array,
    }
    lines = ["def decode(body, at):"]
    for number, field in enumerate(schema["fields"]):
        lines += [f"    {line}" for line in _decoded(f"v{number}", field, names, nested)]
    values = ", ".join(f"v{number}" for number in range(len(schema["fields"])))
    lines.append(f"    return Record({values}), at")
    exec(compile("\n".join(lines), f"<decoder of {schema['name']}>", "exec"), names)  # noqa: S102 (made from our own schema files)
    made: Callable[[bytes, int], tuple[Any, int]] = names["decode"]
    return made


def _decoded(name: str, field: Schema, names: dict[str, Any], nested: dict[str, type[msgspec.Struct]]) -> list[str]:
    """Return the statements that read one field into `name`."""
    schema = field["type"]
    kind = _kind(schema)
    # A byte below 128 is a whole number: the loop of `read_long` is for the others.
    long_lines = [
        "byte = body[at]",
        "if byte < 128:",
        "    at += 1",
        f"    {name} = (byte >> 1) ^ -(byte & 1)",
        "else:",
        f"    {name}, at = read_long(body, at)",
    ]
    if kind in {"long", "int"}:
        return long_lines
    if kind in {"string", "bytes"}:
        value = "body[at:end].decode()" if kind == "string" else "body[at:end]"
        return [
            "byte = body[at]",
            "if byte < 128 and not byte & 1 and (end := at + 1 + (byte >> 1)) <= len(body):",
            "    at += 1",
            f"    {name} = {value}",
            "    at = end",
            "else:",
            f"    {name}, at = read_data(body, at)",
            *([f"    {name} = {name}.decode()"] if kind == "string" else []),
        ]
    if kind == "boolean":
        return ["if body[at] > 1:", "    raise ValueError('a truth value that is neither 0 nor 1')", f"{name} = body[at] == 1", "at += 1"]
    if kind == "map":
        return [f"{name}, at = read_map(body, at)"]
    if kind == "enum":
        table = f"symbols_{name}"
        names[table] = tuple(schema["symbols"])
        return [
            f"{name}, at = read_long(body, at)",
            f"if not 0 <= {name} < {len(schema['symbols'])}:",
            "    raise ValueError('an enum value that has no symbol')",
            f"{name} = {table}[{name}]",
        ]
    item = f"item_{name}"
    names[item] = {"string": read_text, "long": read_long}.get(_kind(schema["items"])) or decoder(
        schema["items"], _class_of(schema["items"], nested), nested, native=False
    )
    return [f"{name}, at = read_array({item}, body, at)"]
