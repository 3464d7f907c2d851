"""`execpos positions`: what the compacted topic says, once or all the time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.config import config_option
from execpos.cli.history import history
from execpos.cli.moments import same_account
from execpos.cli.output import json_option, print_json, stdout, table
from execpos.cli.transfer import transfer

if TYPE_CHECKING:
    from rich.table import Table

    from execpos.cli.standing import Standing
    from execpos.client.book import Position
    from execpos.domain.events import PositionState

# Often enough to look alive, seldom enough to cost nothing.
_REFRESH_S = 0.25


@contextmanager
def _open(config_dir: Path | None) -> Iterator["Standing"]:
    from execpos.cli.standing import Standing  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.client.link import Link  # noqa: PLC0415 (as above)

    standing = Standing(Link.open(config_dir, "positions"))
    try:
        yield standing
    finally:
        standing.close()


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
    """Show positions from the compacted topic exec.positions with what they have gained today, their history, and transfers."""


positions.add_command(history)
positions.add_command(transfer)


@positions.command("get")
@_filters
@json_option
def get(*, config_dir: Path | None, as_json: bool, **wanted: Any) -> None:
    """Print the positions as committed now.

    The column "day" is the change of realized and unrealized result together since the last close, gross; "-" where it is not known.

    With --json, one object goes to stdout: positions, a list of rows as `execpos fold` prints them, and with as_of (the time of the newest
    report in the row), ledger_epoch, day_pnl (null where it is not known), close_session (whose close it counts from; null without one) and
    close_mark_ts (time of the price of that close; null for a row that was flat or had none).
    """
    with _open(config_dir) as standing:
        standing.refresh()
        rows = _chosen(standing, **wanted)
    if as_json:
        print_json({"positions": [_plain(row) for row in rows]})
    else:
        stdout().print(_table(rows, "Positions"))


@positions.command()
@_filters
def watch(*, config_dir: Path | None, **wanted: Any) -> None:
    """Show the positions and keep the table up to date until interrupted; columns as of `get`."""
    from rich.live import Live  # noqa: PLC0415 (`--help` must not pay for it)

    with _open(config_dir) as standing, Live(console=stdout(), auto_refresh=False, screen=stdout().is_terminal) as live:
        while True:
            standing.refresh()
            rows = _chosen(standing, **wanted)
            shown = rows[: max(5, stdout().height - 6)]
            title = f"Positions, {datetime.now(UTC):%H:%M:%S} UTC, {len(shown)} of {len(rows)}"
            live.update(_table(shown, title), refresh=True)
            time.sleep(_REFRESH_S)


def _chosen(
    standing: "Standing", account: str | None, symbol: str | None, shelf: str | None, strategy: str | None, *, flat: bool
) -> "list[Position]":
    def wanted(state: "PositionState") -> bool:
        return (
            same_account(state.account, account)
            and (symbol is None or state.symbol == symbol)
            and (shelf is None or state.book == shelf)
            and (strategy is None or state.strategy_id == strategy)
            and (flat or bool(state.quantity) or state.quality != "CONFIRMED")
        )

    return list(standing.positions(wanted))


def _time(ts_us: int) -> str:
    return datetime.fromtimestamp(ts_us / 1e6, UTC).isoformat(timespec="microseconds")


def _plain(row: "Position") -> dict[str, Any]:
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    state, close = row.state, row.last_close
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
        "day_pnl": None if row.day_pnl is None else text(row.day_pnl),
        "close_session": None if close is None else close.session_id,
        "close_mark_ts": None if close is None or close.mark_ts is None else _time(close.mark_ts),
    }


def _table(found: "list[Position]", title: str) -> "Table":
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    # One installation rarely has more than one env, and a terminal has no room to repeat it.
    envs = {row.state.account.partition("|")[0] for row in found}
    rows = [
        [
            row.state.account.partition("|")[2] if len(envs) == 1 else row.state.account,
            row.state.symbol,
            row.state.book,
            row.state.strategy_id,
            f"{row.quantity:,}",
            text(row.average_price),
            text(row.realized),
            "-" if row.day_pnl is None else text(row.day_pnl),
            row.state.quality,
            _time(row.state.last_ingest_ts)[11:19],
        ]
        for row in found
    ]
    columns = ["account", "symbol", "book", "strategy", "quantity", "average", "realized", "day", "quality", "UTC"]
    return table(f"{title}, {envs.pop()}" if len(envs) == 1 else title, columns, rows, numeric=["quantity", "average", "realized", "day"])
