"""Which column type reads which Avro type exactly. ClickHouse takes other pairs too and corrupts values without a word."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from execpos.recorder.templates import Column

# Money and prices are longs of 10^-6; the schema's doc says so, because Avro's own decimal is bytes and three times as dear.
_MONEY = re.compile(r"10\^-6|\blikewise\b")
_EXACT = {
    "string": {"String", "LowCardinality(String)"},
    "bytes": {"String"},
    "boolean": {"Bool"},
    "int": {"Int32"},
    "long": {"Int64"},
    "date": {"Date32"},
    "timestamp-micros": {"DateTime64(6, 'UTC')"},
    "money": {"Decimal(18, 6)"},
}


# Of an array of plain values, and of the only map that records have.
_PLAIN_ARRAYS = {"string": "Array(String)", "long": "Array(Int64)"}
_MAP = "Map(String, String)"


def mismatches(schema: str, columns: Sequence[Column]) -> list[str]:
    """Return what is wrong between a record's schema and a table's columns, one sentence each; nothing when they fit.

    Args:
        schema: text of the .avsc.
        columns: those of the record, without the columns that begin with an underscore.
    """
    root = json.loads(schema)
    return _record(root, {column.name: column.type for column in columns}, "", _named(root))


def _named(schema: Any) -> dict[str, Any]:
    """Return every type that the schema defines under a name, for where the name alone stands."""
    found: dict[str, Any] = {}
    if isinstance(schema, dict):
        if "name" in schema and "type" in schema and str(schema["type"]) in {"record", "enum", "fixed"}:
            found[schema["name"]] = schema
        for value in schema.values():
            found |= _named(value)
    elif isinstance(schema, list):
        for value in schema:
            found |= _named(value)
    return found


def _record(record: Mapping[str, Any], columns: Mapping[str, str], where: str, named: dict[str, Any]) -> list[str]:
    wrong: list[str] = []
    fields = [field["name"] for field in record["fields"]]
    wrong += [f"{where}{name}: the table has no such column" for name in fields if name not in columns]
    wrong += [f"{where}{name}: the record has no such field" for name in columns if name not in fields]
    if not wrong and fields != list(columns):
        wrong.append(f"{where or record['name']}: the columns stand in another order than the fields")
    for field in record["fields"]:
        if field["name"] in columns:
            wrong += _field(field, columns[field["name"]], f"{where}{field['name']}", named)
    return wrong


def _field(field: Mapping[str, Any], column: str, where: str, named: dict[str, Any]) -> list[str]:
    kind = field["type"]
    if isinstance(kind, str):
        kind = named.get(kind, kind)
    if isinstance(kind, dict):
        if kind["type"] == "array":
            return _array(kind["items"], column, where, named)
        if kind["type"] == "map":
            return [] if column == _MAP else [f"{where}: {column} does not read a map; use {_MAP}"]
        if kind["type"] == "enum":
            symbols = ", ".join(f"'{symbol}' = {at}" for at, symbol in enumerate(kind["symbols"], 1))
            allowed = {"String", "LowCardinality(String)", f"Enum8({symbols})"}
        else:
            allowed = _EXACT.get(str(kind.get("logicalType", kind["type"])), set())
    elif kind == "long" and _MONEY.search(field.get("doc", "")):
        allowed = _EXACT["money"]
    else:
        allowed = _EXACT.get(kind, set()) if isinstance(kind, str) else set()
    if column in allowed:
        return []
    return [f"{where}: {column} does not read {json.dumps(kind)} exactly; use {' or '.join(sorted(allowed)) or 'another Avro type'}"]


def _array(items: Any, column: str, where: str, named: dict[str, Any]) -> list[str]:
    if isinstance(items, str) and items in _PLAIN_ARRAYS:
        fits = column == _PLAIN_ARRAYS[items]
        return [] if fits else [f"{where}: {column} does not read an array of {items}s; use {_PLAIN_ARRAYS[items]}"]
    record = named.get(items, items) if isinstance(items, str) else items
    found = re.fullmatch(r"Array\(Tuple\((.*)\)\)", column)
    if found is None or not isinstance(record, dict) or record.get("type") != "record":
        return [f"{where}: {column} does not read an array of records; use Array(Tuple(...))"]
    elements = dict(element.split(" ", 1) for element in split_types(found[1]))
    return _record(record, elements, f"{where}.", named)


def split_types(text: str) -> list[str]:
    """Return the comma-separated elements of a type's inside, as `a Int64`; commas in parentheses do not count."""
    parts, depth, current = [], 0, ""
    for char in text:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append(current.strip())
            current = ""
        else:
            current += char
    return [*parts, current.strip()]
