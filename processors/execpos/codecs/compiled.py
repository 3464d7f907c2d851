"""Avro bodies by code made from the schema: one straight-line function a record class; writing is about four times as fast as fastavro.

The generic writer spends its time finding out, field by field, what the schema says; here that is done once. `fastavro` stays the
reference (a property test compares every class byte for byte) and does everything rare: other writer schemas, resolution, defaults.
Figures are in `docs/performance.md`.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

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


def encoder(schema: Schema) -> Callable[[Any], bytes]:
    """Return a function from a record of `schema` (attributes named as its fields) to its Avro body.

    Args:
        schema: a parsed record schema of strings, integers, booleans, bytes, enums, string maps, and arrays of strings or of such records.
    """
    names: dict[str, Any] = {"small": _SMALL_LONGS, "long": long, "string_map": string_map, "array": array}
    parts = [_encoded(field, names) for field in schema["fields"]]
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
    names[item] = text if schema["items"] == "string" else encoder(schema["items"])
    return f"array({item}, {value})"


def read_long(body: bytes, at: int) -> tuple[int, int]:
    """Return the long that begins at `at`, and where it ends.

    Raises:
        IndexError: the bytes end before the number does.
        ValueError: it needs more than 64 bits.
    """
    byte = body[at]
    at += 1
    number = byte & 0x7F
    shift = 7
    while byte & 0x80:
        byte = body[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise ValueError("a number of more than 64 bits")
    return (number >> 1) ^ -(number & 1), at


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
    schema: Schema, record: type[msgspec.Struct], nested: dict[str, type[msgspec.Struct]]
) -> Callable[[bytes, int], tuple[Any, int]]:
    """Return a function from (bytes, start) to (record, end), for bodies written with exactly this schema.

    Args:
        schema: as for `encoder`.
        record: class to build, its fields in the order of the schema's.
        nested: class of each record schema that stands inside.
    """
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
    names[item] = (
        read_text
        if schema["items"] == "string"
        else decoder(schema["items"], nested[str(schema["items"]["name"]).rsplit(".", 1)[-1]], nested)
    )
    return [f"{name}, at = read_array({item}, body, at)"]
