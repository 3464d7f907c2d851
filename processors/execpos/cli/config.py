"""`execpos config`: check and show the configuration."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.output import json_option, print_json, stdout
from execpos.errors import ConfigError

if TYPE_CHECKING:
    from execpos.settings import Settings

config_option = click.option(
    "--config",
    "config_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the YAML files; a file that it lacks is taken as shipped. [default: $EXECPOS_CONFIG_DIR, else as shipped]",
)

# The exchanges publish next year's holidays in the autumn: about so long before the list ends there is a new one.
_CALENDAR_NOTICE = timedelta(days=45)


@click.group()
def config() -> None:
    """Check and show the configuration: YAML < environment EXECPOS_... < secret files."""


@config.command()
@config_option
@json_option
def check(*, config_dir: Path | None, as_json: bool) -> None:
    """Check every file, variable and secret file, and name every mistake.

    Exit status 3 when there is one. With --json, one object goes to stdout: ok, env, files (file -> where it was read),
    overrides (key -> what set it), remarks, and problems (one text each).
    """
    from execpos.settings import load  # noqa: PLC0415 (`--help` must not pay for it)

    try:
        settings = load(config_dir)
    except ConfigError as error:
        if as_json:
            problems = error.fields.get("problems", [error.what])
            print_json({"ok": False, "env": None, "files": {}, "overrides": {}, "remarks": [], "problems": problems})
        raise
    remarks = _remarks(settings)
    if as_json:
        found: dict[str, Any] = {"files": settings.origins, "overrides": settings.overrides, "remarks": remarks, "problems": []}
        print_json({"ok": True, "env": settings.env, **found})
        return
    click.echo(f"The configuration is in order (env {settings.env}).")
    for name, origin in settings.origins.items():
        click.echo(f"  {name:<18} {origin}")
    for key, origin in settings.overrides.items():
        click.echo(f"  {key:<18} {origin}")
    for remark in remarks:
        click.echo(f"  note: {remark}")


@config.command()
@config_option
@json_option
def show(*, config_dir: Path | None, as_json: bool) -> None:
    """Show the configuration in force, secrets hidden.

    With --json, one object goes to stdout: the keys of execution.yaml, instruments, fees, calendar, accounts, origins (file ->
    where it was read) and overrides (key -> what set it).
    """
    import yaml  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.settings import load  # noqa: PLC0415 (as above)
    from execpos.settings.secrecy import redacted  # noqa: PLC0415 (as above)

    shown = redacted(load(config_dir))
    if as_json:
        print_json(shown)
        return
    tables = {name: shown.pop(name) for name in ("instruments", "fees", "calendar")}
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, default_flow_style=False)
    stdout().print(text, end="", markup=False, highlight=False, soft_wrap=True)
    for name, content in tables.items():
        sizes = ", ".join(f"{key}: {len(value)}" for key, value in content.items() if isinstance(value, dict | list))
        click.echo(f"# {name}.yaml holds {sizes} (--json shows all)")


def _remarks(settings: "Settings") -> list[str]:
    found = []
    ends = settings.calendar.known_until
    if datetime.now(UTC).date() + _CALENDAR_NOTICE > ends:
        found.append(f"holidays are known until {ends} only; after that trading dates rest on weekends alone")
    for name, rates in settings.fees.fees.items():
        if all(not rate.rate_per_billion and not rate.per_contract_twd for rate in rates):
            found.append(f"the commission {name!r} is 0: estimates leave it out until fees.yaml has yours")
    return found
