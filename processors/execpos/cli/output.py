"""What commands print: results on stdout (tables for people, one JSON object for machines), everything else on stderr."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object for machines instead of a table.")


# A pipe has no width; tables keep their columns whole there.
_PIPE_WIDTH = 250


def stdout() -> Console:
    """Return the console for results; plain text when stdout is no terminal."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def stderr() -> Console:
    """Return the console for progress and remarks."""
    return Console(stderr=True)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one object as a line of JSON."""
    click.echo(orjson.dumps(value).decode())


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[str] = ()) -> Table:
    """Return a table; the columns named in `numeric` stand on the right. What a column has no room for goes on in the next line."""
    made = Table(title=title, title_justify="left")
    for column in columns:
        # Never cut off: somebody may need the rest of an id.
        made.add_column(column, justify="right" if column in numeric else "left", overflow="fold")
    for row in rows:
        # Plain text: what an operator or the broker wrote may hold brackets.
        made.add_row(*map(Text, row))
    return made
