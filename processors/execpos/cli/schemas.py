"""`execpos schemas`: register and check the Avro schemas."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from execpos.cli.config import config_option
from execpos.cli.output import json_option, print_json, stdout, table

if TYPE_CHECKING:
    from execpos.codecs.registry import Registry
    from execpos.settings import Settings


@click.group()
def schemas() -> None:
    """Register and check the Avro schemas."""


@contextmanager
def _opened(config_dir: Path | None) -> "Iterator[tuple[Settings, Registry]]":
    from execpos.codecs.registry import Registry  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    settings = load(config_dir)
    registry = Registry(settings.registry.url, settings.registry.timeout_s)
    try:
        yield settings, registry
    finally:
        registry.close()


@schemas.command()
@config_option
@json_option
def register(*, config_dir: Path | None, as_json: bool) -> None:
    """Register our schema of every topic; what is there already stays. Safe to repeat.

    With --json, one object goes to stdout: schemas, a list of subject, record, id and new.
    """
    from execpos.codecs import compatibility  # noqa: PLC0415 (`--help` must not pay for it)

    releases = compatibility.check_released()
    with _opened(config_dir) as (settings, registry):
        # Before the first release schemas may still change; the registry must not refuse that.
        done = registry.register(settings.kafka.prefix, enforce=releases > 0)
    if as_json:
        shown = [{"subject": each.subject, "record": each.record, "id": each.schema_id, "new": each.new} for each in done]
        print_json({"schemas": shown})
        return
    rows = [[each.subject, each.record, str(each.schema_id), "registered" if each.new else "was there"] for each in done]
    stdout().print(table("Schemas", ["subject", "record", "id", "what"], rows, numeric=["id"]))


@schemas.command()
@config_option
@click.option("--offline", is_flag=True, help="Compare with the released versions only; ask no registry.")
@json_option
def check(*, config_dir: Path | None, offline: bool, as_json: bool) -> None:
    """Check that our schemas can follow every released version, and that the registry holds them.

    Exit status 5 when not. With --json, one object goes to stdout: ok, releases (versions compared with) and schemas, a list of
    record and id (empty with --offline).
    """
    from execpos.codecs import compatibility  # noqa: PLC0415 (`--help` must not pay for it)

    releases = compatibility.check_released()
    ids: dict[str, int] = {}
    if not offline:
        with _opened(config_dir) as (settings, registry):
            ids = {record.__name__: schema_id for record, schema_id in registry.ids(settings.kafka.prefix).items()}
    if as_json:
        print_json({"ok": True, "releases": releases, "schemas": [{"record": name, "id": number} for name, number in ids.items()]})
        return
    click.echo(f"The schemas can follow all {releases} released versions." if releases else "There is no released version yet to follow.")
    for name, number in ids.items():
        click.echo(f"  {name:<16} id {number}")
