"""What the HTTP face has to know about a statement before the engine sees it.

Comments and quoted text are stepped over, so that a word inside them is never taken for a keyword.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

# One token: a comment, a quoted string or name, a word, or one other byte; white space falls between tokens.
_TOKEN = re.compile(
    rb"--[^\n]*|#![^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"|\w+|[^\s\w]",
    re.DOTALL,
)
_COMMENT = (b"--", b"/*", b"#!")
# What may stand in an INSERT between its table and its rows; the first of these words decides where the rows come from.
_ROWS_FROM = {b"SELECT", b"WITH", b"VALUES", b"FROM", b"WATCH"}
_NAME = rb"(?:`[^`]+`|\"[^\"]+\"|\w+)"
_CREATE_TABLE = re.compile(
    rb"\s*(?:CREATE|ATTACH)\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(" + _NAME + rb"(?:\s*\.\s*" + _NAME + rb")?)", re.IGNORECASE
)


class Insert(NamedTuple):
    """An INSERT whose rows follow in a format: the statement without its FORMAT clause, the format, and where the rows begin."""

    statement: bytes
    format: str
    rows_at: int


def insert_with_rows(sql: bytes) -> Insert | None:
    """Return the parts of `INSERT ... FORMAT x` with rows behind it, or None for any other statement."""
    words = _tokens(sql)
    if next(words, (b"", 0))[0].upper() != b"INSERT":
        return None
    depth = 0
    for word, start in words:
        upper = word.upper()
        if upper == b"(":
            depth += 1
        elif upper == b")":
            depth -= 1
        elif depth == 0 and upper in _ROWS_FROM:
            return None
        elif depth == 0 and upper == b"FORMAT":
            return _rows_after(sql, start)
    return None


def _rows_after(sql: bytes, format_at: int) -> Insert | None:
    found = re.compile(rb"FORMAT\s+(\w+)[ \t]*;?[ \t]*(?:\r?\n)?", re.IGNORECASE).match(sql, format_at)
    if found is None:
        return None
    return Insert(sql[:format_at].rstrip(), found[1].decode(), found.end())


def output_format(sql: bytes, default: str) -> str:
    """Return the format in which the statement answers: that of its last FORMAT clause, or `default`."""
    before, name = b"", default
    for word, _ in _tokens(sql):
        if before == b"FORMAT" and word[:1].isalpha():
            name = word.decode()
        before = word.upper()
    return name


def created_table(sql: bytes) -> str | None:
    """Return the table that a CREATE or ATTACH TABLE names, as it was written, or None for any other statement."""
    found = _CREATE_TABLE.match(sql)
    return found[1].decode() if found else None


def _tokens(sql: bytes) -> Iterator[tuple[bytes, int]]:
    for found in _TOKEN.finditer(sql):
        if not found[0].startswith(_COMMENT):
            yield found[0], found.start()
