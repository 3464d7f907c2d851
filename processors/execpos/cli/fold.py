"""`execpos fold`: a file of callbacks to positions, without Kafka."""

from pathlib import Path
from typing import Any, BinaryIO

import click

from execpos.cli import output


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--intents", type=click.File("rb"), help="Lines of account, seqno or order_id, session_id, strategy_id: who placed what.")
@click.option(
    "--config", "config_dir", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder with other configuration."
)
@output.json_option
def fold(file: BinaryIO, intents: BinaryIO | None, config_dir: Path | None, *, as_json: bool) -> None:
    """Fold a file of broker callbacks into positions, by the same rules as the ledger and without Kafka.

    FILE has one callback a line, {"kind": "SDEAL", "payload": {...}}; "-" reads standard input. With --json one object is printed:
    counts (raw and the six classes that sum to it), positions (a row a strategy) and net (a row an account, symbol and book).
    """
    from execpos import settings  # noqa: PLC0415 (heavy)
    from execpos.domain.fold import Fold  # noqa: PLC0415 (heavy)

    folded = Fold(settings.load(config_dir).rules())
    if intents is not None:
        folded.claim(intents)
    remarks = [(number, outcome) for number, outcome in enumerate(folded.add(file), 1) if outcome.reason]
    result = folded.result()
    if as_json:
        output.print_json(result)
        return
    _print(result)
    for number, outcome in remarks:
        output.stderr().print(
            f"callback {number}: {outcome.disposition} ({outcome.reason}): {outcome.detail}", highlight=False, soft_wrap=True
        )


# What people look for first; the rest is in the JSON.
_COLUMNS = ("account", "symbol", "book", "strategy_id", "quantity", "average_price", "open_cost", "realized_pnl", "quality")
_NUMERIC = ("quantity", "average_price", "open_cost", "realized_pnl")


def _print(result: dict[str, Any]) -> None:
    console = output.stdout()
    console.print("  ".join(f"{name} {count}" for name, count in result["counts"].items()), highlight=False)
    for title, rows in (("By strategy", result["positions"]), ("NET", result["net"])):
        if rows:
            columns = [name for name in _COLUMNS if name in rows[0]]
            cells = [[f"{row[name]:,}" if isinstance(row[name], int) else row[name] for name in columns] for row in rows]
            console.print(output.table(title, columns, cells, numeric=_NUMERIC))
