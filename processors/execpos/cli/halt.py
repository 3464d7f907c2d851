"""`execpos halt`: the operator's kill switch. It needs Kafka and nothing else."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.asking import by_option, reason_option, yes_option
from execpos.cli.config import config_option
from execpos.cli.moments import login, one_account
from execpos.cli.output import json_option, print_json, stderr, stdout

if TYPE_CHECKING:
    from execpos.cli.records import Records
    from execpos.domain.control import BySource
    from execpos.domain.events import TradingControl

# What stands already is good to know, but a halt does not wait for a transaction that a dead component left open.
_READ_S = 3.0

_STATES = {"halted": "HALTED", "reduce-only": "REDUCE_ONLY"}


@click.command()
@click.option("--account", help="Only this account: its key, or its number if only one has it.")
@click.option("--symbol", help="Only this symbol of that account.")
@click.option("--strategy", help="Only this strategy, in every account.")
@click.option("--state", type=click.Choice(list(_STATES)), default="halted", show_default=True, help="No new orders, or only smaller ones.")
@reason_option
@by_option
@yes_option
@config_option
@json_option
def halt(
    *,
    config_dir: Path | None,
    account: str | None,
    symbol: str | None,
    strategy: str | None,
    state: str,
    reason: str,
    by: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Stop trading, everywhere if nothing is named, until `execpos resume`. Cancels stay allowed; working orders stay where they are.

    Writes to exec.control itself, so it works with reconciler, ledger, bridges and the registry dead. Repeating it changes nothing. With
    --json, one object goes to stdout: scope, state, control_id, already (it stood before), recorded (exec.commands has it too), by, reason.
    """
    from execpos.cli import asking  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.cli.records import Records  # noqa: PLC0415 (as above)
    from execpos.errors import UsageError  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    reason = asking.said_why(reason)
    settings = load(config_dir)
    records = Records.open(settings, "halt", _READ_S)
    key = one_account(records.cluster, settings.kafka.prefix, account) if account else ""
    scope = scope_of(key, symbol, strategy)
    if not asking.agreed(f"Set {described(scope)} to {_STATES[state]}?", yes=yes):
        raise UsageError(f"nothing was written: {described(scope)} trades on", hint="add --yes where nobody can be asked")
    record, already = halting(standing(records).get(scope, {}), scope, _STATES[state], reason, by or login(), asking.now_us())
    put(records, record)
    recorded = note(records, "HALT", record, record.control_id, reason, by, key, symbol or "")
    if as_json:
        report = {"scope": scope, "state": record.state, "control_id": record.control_id, "already": already, "recorded": recorded}
        print_json({**report, "by": record.by, "reason": record.reason})
    else:
        text = "is already" if already else "is"
        stdout().print(f"{described(scope)} {text} {record.state}: {record.control_id}", highlight=False, soft_wrap=True)
        stdout().print(f"`execpos resume {record.control_id} --reason …` ends it.", highlight=False, soft_wrap=True)


def scope_of(account: str, symbol: str | None, strategy: str | None) -> str:
    """Return the scope of what was named; everything if nothing was.

    Raises:
        UsageError: there is no such scope.
    """
    from execpos.domain import control  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.errors import UsageError  # noqa: PLC0415 (as above)

    if strategy and (account or symbol):
        raise UsageError("a strategy is halted in every account; --strategy goes with neither --account nor --symbol")
    if symbol and not account:
        raise UsageError("a symbol is halted in one account; give --account too")
    if strategy:
        return control.strategy_scope(strategy)
    return control.symbol_scope(account, symbol) if symbol else account or control.EVERYTHING


def described(scope: str) -> str:
    """Return a scope for people."""
    return "EVERYTHING (all accounts)" if scope == "*" else scope


def standing(records: "Records") -> "dict[str, dict[str, TradingControl]]":
    """Return scope -> source -> newest record; nothing, and a remark on stderr, when that cannot be read now."""
    from execpos.domain.events import TradingControl  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.errors import DependencyError  # noqa: PLC0415 (as above)

    found: dict[str, dict[str, TradingControl]] = {}
    try:
        for record in records.newest("control", TradingControl).values():
            found.setdefault(record.scope, {})[record.source] = record
    except DependencyError as error:
        stderr().print(f"What stands already cannot be read: {error.what}", highlight=False, soft_wrap=True)
    return found


def halting(by_source: "BySource", scope: str, state: str, reason: str, by: str, now_us: int) -> "tuple[TradingControl, bool]":
    """Return the operator's record that halts a scope, and whether it stood before; one that allows less stays as it is.

    What the operator released before stays released: `releases` goes on.
    """
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.cli.asking import new_id  # noqa: PLC0415 (as above)
    from execpos.domain.control import OPERATOR, SEVERITY  # noqa: PLC0415 (as above)
    from execpos.domain.events import TradingControl  # noqa: PLC0415 (as above)

    own = by_source.get(OPERATOR)
    if own is not None and own.latched and SEVERITY.get(own.state, 0) >= SEVERITY[state]:
        return msgspec.structs.replace(own, ts=now_us), True
    releases = own.releases if own is not None else ""
    return TradingControl(scope, OPERATOR, state, new_id("op"), reason, by, latched=True, releases=releases, evidence={}, ts=now_us), False


def put(records: "Records", record: "TradingControl") -> None:
    """Write an operator's record; it holds once this returns.

    Raises:
        DependencyError: Kafka does not say that it has it.
    """
    from execpos.domain import control  # noqa: PLC0415 (`--help` must not pay for it)

    records.write("control", control.key(record.scope, record.source), record)


def note(
    records: "Records", kind: str, record: "TradingControl", control_id: str, reason: str, by: str | None, account: str, symbol: str
) -> bool:
    """Leave the Command that says who did it; say whether that worked. What was done holds without it."""
    from collections import deque  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.cli.asking import command  # noqa: PLC0415 (as above)
    from execpos.domain.events import Command  # noqa: PLC0415 (as above)
    from execpos.errors import ExecposError  # noqa: PLC0415 (as above)

    evidence: dict[str, Any] = {"via": "cli", "scope": record.scope, "state": record.state}
    made = command(kind, account or record.scope, by, symbol=symbol, control_id=control_id, reason=reason, evidence=evidence)
    try:
        # Read for the schema's id that stands there; see Records.
        deque(records.all("commands", Command), maxlen=0)
        records.write("commands", made.account, made)
    except ExecposError as error:
        stderr().print(f"It holds, but exec.commands has no record of it: {error.what}", highlight=False, soft_wrap=True)
        return False
    return True
