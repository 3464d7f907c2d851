"""Moments and accounts as people write them on a command line."""

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from execpos.errors import UsageError

if TYPE_CHECKING:
    from execpos.kafka.ports import Cluster


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return microseconds since the epoch of an option like 2026-05-21T09:00, with an offset from UTC or without one for UTC."""
    if value is None:
        return None
    try:
        read = datetime.fromisoformat(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no moment like 2026-05-21T09:00 or 2026-05-21T09:00+08:00", ctx, param) from error
    at = read if read.tzinfo is not None else read.replace(tzinfo=UTC)
    return round(at.timestamp() * 1_000_000)


def shown(ts_us: int) -> str:
    """Return a moment as text, UTC; empty for 0."""
    return datetime.fromtimestamp(ts_us / 1e6, UTC).isoformat(timespec="microseconds") if ts_us else ""


def brief(ts_us: int) -> str:
    """Return a moment for a table, UTC, in whole seconds; empty for 0."""
    return datetime.fromtimestamp(ts_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S") if ts_us else ""


def same_account(account: str, name: str | None) -> bool:
    """Say whether an account key is the one that was named by its key or its number; None names all."""
    return name is None or name in (account, account.rsplit("|", 1)[-1])


def one_account(cluster: "Cluster", prefix: str, name: str) -> str:
    """Return the key of the account that was named by its key or its number. Blocks for reading the compacted topic.

    Raises:
        UsageError: none has that number, or several have it.
        DependencyError: Kafka is not reachable.
    """
    from execpos.kafka.asking import accounts_of  # noqa: PLC0415 (`--help` must not pay for it)

    if name.count("|") == 3:
        return name
    fitting = [key for key in accounts_of(cluster, prefix) if same_account(key, name)]
    if len(fitting) != 1:
        found = f"is not one but {', '.join(fitting)}" if fitting else "has no positions"
        raise UsageError(f"account {name} {found}", hint="give the whole key: env|market|broker_id|account_id")
    return fitting[0]


def login() -> str:
    """Return the name of whoever runs this command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        return "unknown"
