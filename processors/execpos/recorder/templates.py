"""The SQL files in `schemas/`, with their placeholders filled in, as single statements.

A placeholder is `{{name}}`; one that nobody fills is an error, so that no half-made statement reaches a server. (`{at:DateTime64}` is
ClickHouse's own form of a parameter and is left alone.)
"""

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from execpos import resources
from execpos.errors import ContractError
from execpos.recorder.options import Options
from execpos.recorder.tables import Table

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
# A quoted text (kept), a comment (dropped), or a semicolon (the end of a statement).
_PIECE = re.compile(r"'(?:[^'\\]|\\.)*'|--[^\n]*|;")
_MADE = re.compile(r"CREATE (OR REPLACE VIEW|TABLE IF NOT EXISTS|TABLE|MATERIALIZED VIEW) (\w+)\.(\w+)")
_FINGERPRINT_DIGITS = 16


class Column(NamedTuple):
    """A column as the SQL file declares it; the type in ClickHouse's spelling, on one line."""

    name: str
    type: str


class Statement(NamedTuple):
    """One statement: what it makes, where, and its text."""

    kind: str
    database: str
    name: str
    sql: str


class Script(NamedTuple):
    """The statements of one file in their order, and a digest that changes when anything between Kafka and the rows does."""

    target: tuple[Statement, ...]
    ingest: tuple[Statement, ...]
    views: tuple[Statement, ...]
    fingerprint: str


def table_script(table: Table, options: Options) -> Script:
    """Return the statements of one table for these options. Pure.

    Raises:
        ContractError: the file has a placeholder or a statement that is not known.
    """
    values = {
        "database": options.database,
        "ingest": options.ingest,
        "topic": options.topic(table.topic),
        "group": options.group(table.name),
        "brokers": _in_quotes(options.clickhouse_bootstrap_servers or options.bootstrap_servers),
        "registry": _in_quotes(options.clickhouse_registry_url or options.registry_url),
        "columns": reader_columns(table.name),
    }
    return script(f"{table.name}.sql", values)


def script(file: str, values: Mapping[str, str]) -> Script:
    """Return the statements of any file of `schemas/`. Pure; raises as `table_script`."""
    text = resources.text("schemas", file)
    fingerprint = hashlib.sha256(_filled(file, text, {**values, "fingerprint": ""}).encode()).hexdigest()[:_FINGERPRINT_DIGITS]
    made = [_statement(file, sql) for sql in _split(_filled(file, text, {**values, "fingerprint": fingerprint}))]
    return Script(
        target=tuple(each for each in made if each.kind == "TABLE IF NOT EXISTS"),
        ingest=tuple(each for each in made if each.kind in {"TABLE", "MATERIALIZED VIEW"}),
        views=tuple(each for each in made if each.kind == "OR REPLACE VIEW"),
        fingerprint=fingerprint,
    )


@cache
def table_columns(name: str) -> tuple[Column, ...]:
    """Return the columns of the table that `schemas/<name>.sql` makes, in their order."""
    file = f"{name}.sql"
    text = resources.text("schemas", file)
    start = text.index("(", text.index("CREATE TABLE IF NOT EXISTS"))
    return tuple(_column(line) for line in _top_level(text, start))


def record_columns(name: str) -> tuple[Column, ...]:
    """Return the columns that come from the record: those that do not begin with an underscore."""
    return tuple(column for column in table_columns(name) if not column.name.startswith("_"))


def reader_columns(name: str) -> str:
    """Return the record columns as the Kafka reader declares them: plain where the table has a dictionary.

    The reader makes a column of one row for each record, and a dictionary for each such column costs as much again as all the rest.
    """
    return ", ".join(f"{column.name} {column.type}" for column in record_columns(name)).replace("LowCardinality(String)", "String")


def _filled(file: str, text: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found[1] not in values:
            known = ", ".join(sorted(values))
            raise ContractError(f"schemas/{file} has the placeholder {found[0]}, which is not known", hint=f"known are: {known}", file=file)
        return values[found[1]]

    return _PLACEHOLDER.sub(value, text)


def _split(text: str) -> list[str]:
    statements, current, at = [], "", 0
    for piece in _PIECE.finditer(text):
        current += text[at : piece.start()]
        at = piece.end()
        if piece[0] == ";":
            statements.append(current)
            current = ""
        elif not piece[0].startswith("--"):
            current += piece[0]
    statements.append(current + text[at:])
    return [statement.strip() for statement in statements if statement.strip()]


def _statement(file: str, sql: str) -> Statement:
    found = _MADE.match(sql)
    if found is None:
        raise ContractError(f"schemas/{file} has a statement that makes nothing known: {sql[:60]!r}", hint="see the other files", file=file)
    return Statement(found[1], found[2], found[3], sql)


def _top_level(text: str, start: int) -> list[str]:
    """Return the comma-separated items inside the parenthesis at `start`, comments left out."""
    depth, items, current = 0, [], ""
    for piece in re.finditer(r"'(?:[^'\\]|\\.)*'|--[^\n]*|.", text[start:], re.DOTALL):
        part = piece[0]
        if part.startswith("--"):
            continue
        depth += (part == "(") - (part == ")")
        if depth == 0:
            break
        if part == "," and depth == 1:
            items.append(current)
            current = ""
        elif not (part == "(" and depth == 1 and not current and not items):
            current += part
    return [*items, current]


def _column(item: str) -> Column:
    name, _, rest = " ".join(item.split()).partition(" ")
    declared = re.split(r" (?:DEFAULT|MATERIALIZED|COMMENT|CODEC)\b", rest)[0]
    return Column(name, declared.replace("( ", "(").replace(" )", ")"))


def _in_quotes(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")
