"""What commands that change something have in common: who, why, the question before, and the record that stays."""

import secrets
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.moments import login

if TYPE_CHECKING:
    from execpos.domain.events import Command, Correction

# Random part of an id: two of one moment do not meet.
_ID_BYTES = 8

# A command that nobody took up for so long is no longer what its operator wants.
_VALID_S = 600

reason_option = click.option("--reason", required=True, help="Why, for the record.")
by_option = click.option("--by", help="Who does it. [default: the name of the login]")
yes_option = click.option("--yes", is_flag=True, help="Do it without asking; needed where nobody can be asked.")


def now_us() -> int:
    """Return the time of this machine, microseconds since the epoch."""
    return time.time_ns() // 1000


def new_id(begins: str) -> str:
    """Return an id that was never used."""
    return f"{begins}-{secrets.token_hex(_ID_BYTES)}"


def agreed(question: str, *, yes: bool) -> bool:
    """Say whether to go on: `--yes` was given, or whoever sits at the terminal says so. Off a terminal without `--yes`: no."""
    return yes or (sys.stdin.isatty() and click.confirm(question, err=True))


def said_why(reason: str) -> str:
    """Return the reason without spaces around.

    Raises:
        UsageError: there is none.
    """
    from execpos.errors import UsageError  # noqa: PLC0415 (`--help` must not pay for it)

    if not reason.strip():
        raise UsageError("--reason is empty", hint="say why: it stays in the record")
    return reason.strip()


def command(kind: str, account: str, by: str | None, *, corrections: "tuple[Correction, ...]" = (), **fields: Any) -> "Command":
    """Return a new Command of that kind; `fields` are those of the record that are not empty."""
    from execpos.domain.events import Command  # noqa: PLC0415 (`--help` must not pay for it)

    at_us = now_us()
    rest = {"symbol": "", "discrepancy_id": "", "control_id": "", "reason": "", "evidence": {"via": "cli"}, **fields}
    return Command(
        command_id=new_id("cmd"),
        account=account,
        kind=kind,
        corrections=corrections,
        by=by or login(),
        expires_ts=at_us + _VALID_S * 1_000_000,
        ts=at_us,
        **rest,
    )
