"""`execpos positions history`: what rows were, and what changed them."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli import connect
from execpos.cli.config import config_option
from execpos.cli.moments import moment, one_account, shown
from execpos.cli.output import json_option, print_json, stdout, table

if TYPE_CHECKING:
    from collections.abc import Callable

    from execpos.domain.rebuild import Sums

_DAY_US = 86_400_000_000


@click.command()
@click.option("--account", required=True, help="Its key, or its number if only one has it.")
@click.option("--symbol", help="Only this symbol.")
@click.option("--book", help="Only this book.")
@click.option("--strategy", help="Only this strategy; * for NET.")
@click.option(
    "--from",
    "from_us",
    metavar="MOMENT",
    callback=moment,
    help="From here, as 2026-05-21T09:00, UTC without an offset. [default: a day before --to]",
)
@click.option("--to", "to_us", metavar="MOMENT", callback=moment, help="Up to here. [default: now]")
@config_option
@json_option
def history(
    *,
    config_dir: Path | None,
    account: str,
    symbol: str | None,
    book: str | None,
    strategy: str | None,
    from_us: int | None,
    to_us: int | None,
    as_json: bool,
) -> None:
    """Show what an account's rows were at a moment, and each change since: from the checkpoint before it and the deltas after that.

    Moments are those at which the bridge took a report. With --json, one object goes to stdout: account, from, to, session_id (of the
    checkpoint, empty without one), begin (rows at `from`: symbol, book, strategy_id, quantity, open_cost, realized_pnl, fees, taxes,
    version, quality) and changes (the same after each change, with at, cause and fill_id); amounts are text.
    """
    from execpos.errors import UsageError  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.kafka.history import History  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    end_us = to_us if to_us is not None else time.time_ns() // 1000
    begin_us = from_us if from_us is not None else end_us - _DAY_US
    if begin_us > end_us:
        raise UsageError("--from is after --to")
    settings = load(config_dir)
    cluster = connect.cluster(settings, "positions")
    key = one_account(cluster, settings.kafka.prefix, account)
    wanted = _filter(symbol, book, strategy)
    read = History(cluster, connect.schemas(settings), settings.kafka.prefix)
    try:
        reached = read.positions_at(key, begin_us)
        begin = [_plain(row_key, sums) for row_key, sums in sorted(reached.rows.items()) if wanted(row_key)]
        changes = [
            {"at": shown(step.delta.ingest_ts), "cause": step.delta.cause, "fill_id": step.delta.fill_id, **_plain(row_key, sums)}
            for step in read.steps(key, begin_us, end_us)
            for row_key, sums in step.rows.items()
            if wanted(row_key)
        ]
    finally:
        read.close()
    if as_json:
        print_json(
            {
                "account": key,
                "from": shown(begin_us),
                "to": shown(end_us),
                "session_id": reached.session_id,
                "begin": begin,
                "changes": changes,
            }
        )
    else:
        _show(key, shown(begin_us), begin, changes)


def _filter(symbol: str | None, book: str | None, strategy: str | None) -> "Callable[[str], bool]":
    from execpos.domain.ids import split  # noqa: PLC0415 (`--help` must not pay for it)

    def wanted(key: str) -> bool:
        parts = split(key)[4:]
        return all(want is None or want == part for want, part in zip((symbol, book, strategy), parts, strict=True))

    return wanted


def _plain(key: str, sums: "Sums") -> dict[str, Any]:
    from execpos.domain.ids import split  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.domain.money import text  # noqa: PLC0415 (as above)

    symbol, book, strategy_id = split(key)[4:]
    return {
        "symbol": symbol,
        "book": book,
        "strategy_id": strategy_id,
        "quantity": sums.quantity,
        "open_cost": text(sums.open_cost),
        "realized_pnl": text(sums.realized),
        "fees": text(sums.fees),
        "taxes": text(sums.taxes),
        "version": sums.version,
        "quality": sums.quality,
    }


def _show(account: str, since: str, begin: list[dict[str, Any]], changes: list[dict[str, Any]]) -> None:
    columns = ["at (UTC)", "symbol", "book", "strategy", "cause", "quantity", "open cost", "realized", "quality"]
    rows = [_line(since[:23], row, "") for row in begin] + [_line(row["at"][:23], row, row["cause"]) for row in changes]
    stdout().print(table(f"History of {account}", columns, rows, numeric=["quantity", "open cost", "realized"]))


def _line(at: str, row: dict[str, Any], cause: str) -> list[str]:
    names = [row["symbol"], row["book"], row["strategy_id"]]
    return [at, *names, cause or "as of", f"{row['quantity']:,}", row["open_cost"], row["realized_pnl"], row["quality"]]
