"""`execpos doctor`: what this machine has and what it lacks."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from execpos.cli.output import json_option, print_json, stdout
from execpos.errors import DependencyError

if TYPE_CHECKING:
    from execpos.local.checks import Check

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Data folder that `up` would use. [default: as for `up`]")
@click.option("--kafka", envvar="EXECPOS_KAFKA__BOOTSTRAP_SERVERS", show_envvar=True, help="Bootstrap servers that must answer.")
@click.option("--registry", envvar="EXECPOS_REGISTRY__URL", show_envvar=True, help="Schema registry that must answer.")
@click.option("--clickhouse", envvar="EXECPOS_CLICKHOUSE__URL", show_envvar=True, help="ClickHouse that must answer.")
@json_option
def doctor(*, data: Path | None, kafka: str | None, registry: str | None, clickhouse: str | None, as_json: bool) -> None:
    """Check what this machine has and what it lacks.

    Exit status 4 if a check fails; warnings do not count. With --json, one object goes to stdout: ok (no check failed) and
    checks, a list of name, status (ok, warn or fail), detail and hint.
    """
    from execpos.local import checks  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.local.artifacts import cache_folder  # noqa: PLC0415 (as above)
    from execpos.local.stack import state_folder  # noqa: PLC0415 (as above)

    found = [*checks.machine(cache_folder(), data or state_folder()), *checks.services(kafka, registry, clickhouse)]
    failed = [check.name for check in found if check.status == "fail"]
    if as_json:
        shown = [{"name": c.name, "status": c.status, "detail": c.detail, "hint": c.hint} for c in found]
        print_json({"ok": not failed, "checks": shown})
    else:
        _show(found)
    if failed:
        raise DependencyError(f"failed: {', '.join(failed)}", hint="the hints beside each check say what to do", failed=failed)


def _show(found: "list[Check]") -> None:
    from rich.table import Table  # noqa: PLC0415 (`--help` must not pay for it)
    from rich.text import Text  # noqa: PLC0415 (as above)

    shown = Table(title="What this machine has", title_justify="left")
    for column in ("check", "status", "found", "what to do"):
        shown.add_column(column, overflow="fold")
    for check in found:
        shown.add_row(Text(check.name), Text(check.status, style=_COLOURS[check.status]), Text(check.detail), Text(check.hint))
    stdout().print(shown)
