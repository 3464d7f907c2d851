"""`execpos topics`: compare the topics with their contract, and make them so."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.config import config_option
from execpos.cli.output import json_option, print_json, stderr, stdout, table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from execpos.kafka.ports import Cluster
    from execpos.kafka.topics import Change

# Something would change: the answer of a plan, not a failure.
_WOULD_CHANGE = 6


@click.group()
def topics() -> None:
    """Compare the topics with contracts/topics.yaml, and create them."""


def _options(command: "Callable[..., None]") -> "Callable[..., None]":
    """Add the options that both commands have."""
    for option in (
        json_option,
        click.option("--replication-factor", type=click.IntRange(1), help="Copies of a new topic. [default: 3, or all brokers]"),
        click.option("--prefix", help="Before every topic's name. [default: kafka.prefix of the configuration]"),
        click.option("--bootstrap-servers", help="Where Kafka is. [default: kafka.bootstrap_servers of the configuration]"),
        config_option,
    ):
        command = option(command)
    return command


def _planned(
    config_dir: Path | None, bootstrap_servers: str | None, prefix: str | None, replication_factor: int | None
) -> "tuple[Cluster, str, list[Change]]":
    from execpos.kafka.client.cluster import KafkaCluster  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.kafka.client.config import KafkaSettings  # noqa: PLC0415 (as above)
    from execpos.kafka.topics import plan as planned  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    settings = load(config_dir)
    extra = {name: str(value) for name, value in settings.kafka.client.items()}
    cluster = KafkaCluster(KafkaSettings(bootstrap_servers or settings.kafka.bootstrap_servers, extra=extra), "execpos-topics")
    used = settings.kafka.prefix if prefix is None else prefix
    return cluster, used, planned(cluster, used, replication_factor)


def _shown(changes: "Sequence[Change]") -> list[dict[str, Any]]:
    return [
        {
            "topic": change.topic,
            "action": change.action,
            "partitions": change.partitions,
            "replication_factor": change.replication_factor,
            "configs": {name: {"from": before or None, "to": after} for name, (before, after) in change.configs.items()},
            "reason": change.reason,
        }
        for change in changes
    ]


def _print(changes: "Sequence[Change]") -> None:
    rows = []
    for change in changes:
        settings = (f"{name} {before + ' → ' if before else ''}{after}" for name, (before, after) in change.configs.items())
        rows.append([change.topic, change.action, str(change.partitions), change.reason or "\n".join(settings)])
    stdout().print(table("Topics", ["topic", "action", "partitions", "what"], rows, numeric=["partitions"]))


@topics.command()
@_options
def plan(
    *, config_dir: Path | None, bootstrap_servers: str | None, prefix: str | None, replication_factor: int | None, as_json: bool
) -> None:
    """Show what `apply` would change; exit status 0 when nothing, 6 when something.

    With --json, one object goes to stdout: prefix and changes, a list of topic, action (create, alter or conflict), partitions,
    replication_factor, configs (setting -> from, to) and reason (of a conflict, which `apply` refuses).
    """
    _, used, changes = _planned(config_dir, bootstrap_servers, prefix, replication_factor)
    if as_json:
        print_json({"prefix": used, "changes": _shown(changes)})
    elif changes:
        _print(changes)
    else:
        click.echo("The topics are as the contract wants them.")
    if changes:
        raise click.exceptions.Exit(_WOULD_CHANGE)


@topics.command()
@_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show, as `plan` does.")
@click.pass_context
def apply(
    context: click.Context,
    *,
    config_dir: Path | None,
    bootstrap_servers: str | None,
    prefix: str | None,
    replication_factor: int | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Create the topics that are missing and set what differs; partition counts are never changed (exit status 5).

    With --json, one object goes to stdout: prefix and changes, those that were made, as `plan` shows them.
    """
    from execpos.kafka.topics import apply as make  # noqa: PLC0415 (`--help` must not pay for it)

    if dry_run:
        options = {"config_dir": config_dir, "bootstrap_servers": bootstrap_servers, "prefix": prefix, "as_json": as_json}
        context.invoke(plan, replication_factor=replication_factor, **options)
        return
    cluster, used, changes = _planned(config_dir, bootstrap_servers, prefix, replication_factor)
    asks = changes and not yes and not any(change.action == "conflict" for change in changes)
    if asks:
        for change in changes:
            stderr().print(f"{change.action} {change.topic}", highlight=False)
        click.confirm(f"Make these {len(changes)} changes?", abort=True, err=True)
    make(cluster, changes)
    if as_json:
        print_json({"prefix": used, "changes": _shown(changes)})
    elif changes:
        _print(changes)
    else:
        click.echo("Nothing to do: the topics are as the contract wants them.")
