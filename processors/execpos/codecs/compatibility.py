"""Whether schema versions of one record can follow each other: FULL_TRANSITIVE, and what Avro alone would let pass.

Avro calls a change of scale or of a logical type compatible, and the reader then gets other numbers from the same bytes without an
error. So these are immutable here, as are enum symbols and the place of fields that are sliced without decoding. Offline: it compares
texts, and needs no registry.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from execpos import resources
from execpos.errors import ContractError

Schema = Any
Names = dict[str, Schema]

FIXED_PREFIX: Mapping[str, int] = {"FillEvent": 3}
"""Record -> number of its first fields that stay first: a restore slices them out of the bytes."""

_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
# writer -> readers, by the resolution rules of the Avro specification.
_PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
_IMMUTABLE = ("logicalType", "precision", "scale")


def problems(versions: Sequence[tuple[str, str]]) -> list[str]:
    """Return what is wrong between the versions of one record, nothing when all is well.

    Args:
        versions: (how messages name it, schema text), oldest first.
    """
    parsed = [(name, orjson.loads(text)) for name, text in versions]
    found: list[str] = []
    for at, (old_name, old) in enumerate(parsed):
        for new_name, new in parsed[at + 1 :]:
            between = f"{old_name} -> {new_name}"
            found += [f"{between}: new code cannot read old data: {what}" for what in unreadable(writer=old, reader=new)]
            found += [f"{between}: old code cannot read new data: {what}" for what in unreadable(writer=new, reader=old)]
            found += [f"{between}: {what}" for what in broken_rules(old, new)]
    return found


def check_released() -> int:
    """Compare `avro/` with every released version in `contracts/released/<tag>/` and return how many releases there are.

    Raises:
        ContractError: a schema could not follow a released one, or a released record is gone.
    """
    root = resources.folder("contracts") / "released"
    tags = sorted((tag for tag in root.iterdir() if tag.is_dir()), key=_release_order) if root.is_dir() else []
    current = {file.name: file.read_text(encoding="utf-8") for file in resources.folder("avro").glob("*.avsc")}
    released: dict[str, list[tuple[str, str]]] = {}
    for tag in tags:
        for file in sorted(tag.glob("*.avsc")):
            released.setdefault(file.name, []).append((f"{tag.name}/{file.name}", file.read_text(encoding="utf-8")))
    found = []
    for name, versions in sorted(released.items()):
        if name not in current:
            found.append(f"{versions[-1][0]}: the record is gone from avro/")
        else:
            found += problems([*versions, (f"avro/{name}", current[name])])
    if found:
        raise ContractError(
            "the schemas in avro/ cannot follow the released ones\n" + "\n".join(f"  {what}" for what in found),
            hint="keep the old field and add a new one with a default, or make a new topic version",
            problems=found,
        )
    return len(tags)


def _release_order(tag: Path) -> tuple[tuple[int, ...], str]:
    parts = tag.name.removeprefix("v").split(".")
    return tuple(int(part) for part in parts if part.isdigit()), tag.name


def unreadable(writer: Schema, reader: Schema) -> list[str]:
    """Return why data written with `writer` cannot be read with `reader`, by the resolution rules of Avro; nothing when it can."""
    return list(_Resolution(writer, reader).problems(writer, reader, ""))


class _Resolution:
    """Walks a writer's and a reader's schema side by side; names are looked up in each one's own."""

    def __init__(self, writer: Schema, reader: Schema) -> None:
        self._writer_names, self._reader_names = _names(writer), _names(reader)
        self._seen: set[tuple[str, str]] = set()

    def problems(self, writer: Schema, reader: Schema, at: str) -> Iterator[str]:
        writer, reader = _resolve(writer, self._writer_names), _resolve(reader, self._reader_names)
        if isinstance(writer, list):
            for branch in writer:
                yield from self.problems(branch, reader, at)
        elif isinstance(reader, list):
            if all(list(self.problems(writer, branch, at)) for branch in reader):
                yield f"{at or '.'}: no branch of the union reads {_type(writer)}"
        elif _type(writer) == _type(reader):
            yield from self._same_type(writer, reader, at)
        elif _type(reader) not in _PROMOTIONS.get(_type(writer), ()):
            yield f"{at or '.'}: {_type(writer)} cannot be read as {_type(reader)}"

    def _same_type(self, writer: Schema, reader: Schema, at: str) -> Iterator[str]:
        kind = _type(writer)
        if kind == "array":
            yield from self.problems(writer["items"], reader["items"], f"{at}[]")
        elif kind == "map":
            yield from self.problems(writer["values"], reader["values"], f"{at}{{}}")
        elif kind in {"record", "enum", "fixed"}:
            if _short(writer["name"]) != _short(reader["name"]):
                yield f"{at or '.'}: the name changed from {writer['name']} to {reader['name']}"
            elif kind == "record":
                yield from self._record(writer, reader, at)
            elif kind == "enum" and "default" not in reader and (missing := set(writer["symbols"]) - set(reader["symbols"])):
                yield f"{at}: the reader does not know the symbols {', '.join(sorted(missing))}"
            elif kind == "fixed" and writer["size"] != reader["size"]:
                yield f"{at}: the size changed from {writer['size']} to {reader['size']}"

    def _record(self, writer: Schema, reader: Schema, at: str) -> Iterator[str]:
        pair = (writer["name"], reader["name"])
        if pair in self._seen:
            return
        self._seen.add(pair)
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            where = f"{at}.{field['name']}" if at else field["name"]
            found = next((written[name] for name in (field["name"], *field.get("aliases", ())) if name in written), None)
            if found is not None:
                yield from self.problems(found["type"], field["type"], where)
            elif "default" not in field:
                yield f"{where}: it was not written, and the reader has no default"


def broken_rules(old: Schema, new: Schema) -> list[str]:
    """Return which of our own rules a change breaks: immutable logical types and enum symbols, fixed first fields."""
    old_names, new_names = _names(old), _names(new)
    found = []
    fixed = FIXED_PREFIX.get(_short(old["name"]), 0)
    old_first, new_first = ([(f["name"], f["type"]) for f in schema["fields"][:fixed]] for schema in (old, new))
    if old_first != new_first:
        found.append(f"the first {fixed} fields must stay {', '.join(name for name, _ in old_first)}, in type and order")
    for name in sorted(old_names.keys() & new_names.keys()):
        was, now = old_names[name], new_names[name]
        if was["type"] == "enum" and was["symbols"] != now.get("symbols"):
            found.append(f"enum {name}: its symbols are immutable")
        if was["type"] == "record" and now["type"] == "record":
            kept = {field["name"]: field["type"] for field in now["fields"]}
            for field in was["fields"]:
                if field["name"] in kept:
                    found += _changed(field["type"], kept[field["name"]], f"{name}.{field['name']}")
    return found


def _changed(old: Schema, new: Schema, at: str) -> Iterator[str]:
    """Yield where an immutable attribute differs; branches of unions are compared by their type."""
    if isinstance(old, list) or isinstance(new, list):
        old_branches = {_type(b): b for b in (old if isinstance(old, list) else [old])}
        new_branches = {_type(b): b for b in (new if isinstance(new, list) else [new])}
        for kind in sorted(old_branches.keys() & new_branches.keys()):
            yield from _changed(old_branches[kind], new_branches[kind], at)
        return
    was, now = (schema if isinstance(schema, dict) else {} for schema in (old, new))
    for key in _IMMUTABLE:
        if was.get(key) != now.get(key):
            yield f"{at}: {key} is immutable, and changed from {was.get(key)} to {now.get(key)}"
    for inner in ("items", "values"):
        if inner in was and inner in now:
            yield from _changed(was[inner], now[inner], at)


def _names(schema: Schema) -> Names:
    """Return every named type inside a schema, by its short name."""
    found: Names = {}

    def walk(node: Schema) -> None:
        if isinstance(node, list):
            for branch in node:
                walk(branch)
        elif isinstance(node, dict):
            if node["type"] in {"record", "enum", "fixed"}:
                found[_short(node["name"])] = node
            for field in node.get("fields", ()):
                walk(field["type"])
            for inner in ("items", "values"):
                if inner in node:
                    walk(node[inner])
            if isinstance(node["type"], dict | list):
                walk(node["type"])

    walk(schema)
    return found


def _resolve(schema: Schema, names: Names) -> Schema:
    """Return the definition behind a name, and the inside of a needless {"type": {...}}."""
    if isinstance(schema, dict) and isinstance(schema["type"], dict | list):
        return _resolve(schema["type"], names)
    if isinstance(schema, str) and schema not in _PRIMITIVES:
        return names[_short(schema)]
    return schema


def _type(schema: Schema) -> str:
    return str(schema["type"]) if isinstance(schema, dict) else "union" if isinstance(schema, list) else str(schema)


def _short(name: str) -> str:
    return name.rsplit(".", 1)[-1]
