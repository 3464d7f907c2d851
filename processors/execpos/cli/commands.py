"""`execpos commands`: what operators did, from exec.commands."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from execpos.cli.config import config_option
from execpos.cli.moments import brief, moment, same_account
from execpos.cli.output import json_option, print_json, stdout, table

if TYPE_CHECKING:
    from execpos.domain.events import Command


@click.group()
def commands() -> None:
    """Show what operators asked for and did."""


@commands.command("list")
@click.option("--account", help="Only this account: its key, its number, or a scope like `*`.")
@click.option("--by", help="Only this operator.")
@click.option("--from", "from_us", metavar="MOMENT", callback=moment, help="From here, as 2026-05-21T09:00, UTC without an offset.")
@config_option
@json_option
def list_(*, config_dir: Path | None, account: str | None, by: str | None, from_us: int | None, as_json: bool) -> None:
    """List who did what and why, oldest first, as far back as exec.commands reaches (7 days).

    With --json, one object goes to stdout: commands, a list of the records as contracts/execution.md has them.
    """
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.cli.records import Records  # noqa: PLC0415 (as above)
    from execpos.domain.events import Command  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    records = Records.open(load(config_dir), "commands").learn()
    found = [
        one
        for _, one in records.all("commands", Command)
        if one is not None and same_account(one.account, account) and by in {None, one.by} and one.ts >= (from_us or 0)
    ]
    found.sort(key=lambda one: (one.ts, one.command_id))
    if as_json:
        print_json({"commands": [msgspec.to_builtins(one) for one in found]})
        return
    rows = [[brief(one.ts), one.by, one.kind, one.account, _what(one), one.reason] for one in found]
    stdout().print(table("Commands", ["when (UTC)", "by", "what", "account", "of", "reason"], rows))


def _what(one: "Command") -> str:
    """Return what a command is about, in short."""
    corrections = " ".join(f"{each.kind} {each.symbol} {each.book}" for each in one.corrections)
    return " ".join(filter(None, (one.symbol, one.discrepancy_id, one.control_id, corrections)))
