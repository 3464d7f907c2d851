"""`execpos positions`: what the compacted topic says, once or all the time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli import connect
from execpos.cli.config import config_option
from execpos.cli.history import history
from execpos.cli.moments import same_account
from execpos.cli.output import json_option, print_json, stdout, table
from execpos.cli.transfer import transfer

if TYPE_CHECKING:
    from rich.table import Table

    from execpos.domain.events import PositionState

# Often enough to look alive, seldom enough to cost nothing.
_REFRESH_S = 0.25


class _Book:
    """The newest state of each position."""

    def __init__(self, config_dir: Path | None) -> None:
        from execpos.codecs.avro import Decoder  # noqa: PLC0415 (`--help` must not pay for it)
        from execpos.domain.events import PositionState  # noqa: PLC0415 (as above)
        from execpos.kafka.follow import Follower  # noqa: PLC0415 (as above)
        from execpos.settings import load  # noqa: PLC0415 (as above)

        settings = load(config_dir)
        decode = Decoder(PositionState, connect.schemas(settings).writers[PositionState])
        self._decode = decode
        self._follower = Follower(connect.cluster(settings, "positions"), [f"{settings.kafka.prefix}exec.positions.v1"])
        self.states: dict[bytes, PositionState] = {}

    def refresh(self) -> None:
        """Take in what was committed since the last call."""
        for message in self._follower.poll():
            value = message.value()
            if value is None:
                self.states.pop(message.key() or b"", None)
            else:
                self.states[message.key() or b""] = self._decode(value)

    def close(self) -> None:
        self._follower.close()


@contextmanager
def _open(config_dir: Path | None) -> Iterator[_Book]:
    book = _Book(config_dir)
    try:
        yield book
    finally:
        book.close()


def _filters(command: Any) -> Any:
    for option in (
        click.option("--account", help="Only this account: its key, or its number."),
        click.option("--symbol", help="Only this symbol."),
        click.option("--book", "shelf", help="Only this book."),
        click.option("--strategy", help="Only this strategy; * for NET."),
        click.option("--flat/--no-flat", default=False, help="Also positions that hold nothing."),
        config_option,
    ):
        command = option(command)
    return command


@click.group()
def positions() -> None:
    """Show positions from the compacted topic exec.positions, their history, and move them between strategies."""


positions.add_command(history)
positions.add_command(transfer)


@positions.command("get")
@_filters
@json_option
def get(*, config_dir: Path | None, as_json: bool, **wanted: Any) -> None:
    """Print the positions as committed now.

    With --json, one object goes to stdout: positions, a list of rows as `execpos fold` prints them, and with as_of (the time of the newest
    report in the row) and ledger_epoch.
    """
    with _open(config_dir) as book:
        book.refresh()
        states = _chosen(book, **wanted)
    if as_json:
        print_json({"positions": [_plain(state) for state in states]})
    else:
        stdout().print(_table(states, "Positions"))


@positions.command()
@_filters
def watch(*, config_dir: Path | None, **wanted: Any) -> None:
    """Show the positions and keep the table up to date until interrupted."""
    from rich.live import Live  # noqa: PLC0415 (`--help` must not pay for it)

    with _open(config_dir) as book, Live(console=stdout(), auto_refresh=False, screen=stdout().is_terminal) as live:
        while True:
            book.refresh()
            states = _chosen(book, **wanted)
            shown = states[: max(5, stdout().height - 6)]
            title = f"Positions, {datetime.now(UTC):%H:%M:%S} UTC, {len(shown)} of {len(states)}"
            live.update(_table(shown, title), refresh=True)
            time.sleep(_REFRESH_S)


def _chosen(
    book: _Book, account: str | None, symbol: str | None, shelf: str | None, strategy: str | None, *, flat: bool
) -> "list[PositionState]":
    return [
        state
        for _, state in sorted(book.states.items())
        if same_account(state.account, account)
        and (symbol is None or state.symbol == symbol)
        and (shelf is None or state.book == shelf)
        and (strategy is None or state.strategy_id == strategy)
        and (flat or state.quantity or state.quality != "CONFIRMED")
    ]


def _time(ts_us: int) -> str:
    return datetime.fromtimestamp(ts_us / 1e6, UTC).isoformat(timespec="microseconds")


def _plain(state: "PositionState") -> dict[str, Any]:
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    return {
        "account": state.account,
        "symbol": state.symbol,
        "book": state.book,
        "strategy_id": state.strategy_id,
        "quantity": state.quantity,
        "average_price": text(state.average_price),
        "open_cost": text(state.open_cost),
        "realized_pnl": text(state.realized_pnl),
        "fees": text(state.fees),
        "taxes": text(state.taxes),
        "cost_method": state.cost_method,
        "quality": state.quality,
        "version": state.version,
        "as_of": _time(state.last_ingest_ts),
        "ledger_epoch": state.ledger_epoch,
    }


def _table(states: "list[PositionState]", title: str) -> "Table":
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    rows = [
        [
            state.account,
            state.symbol,
            state.book,
            state.strategy_id,
            f"{state.quantity:,}",
            text(state.average_price),
            text(state.realized_pnl),
            state.quality,
            _time(state.last_ingest_ts)[11:23],
        ]
        for state in states
    ]
    columns = ["account", "symbol", "book", "strategy", "quantity", "average", "realized", "quality", "as of (UTC)"]
    return table(title, columns, rows, numeric=["quantity", "average", "realized"])
