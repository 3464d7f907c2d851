"""`execpos resume`: ends what is halted until an operator says so."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.asking import by_option, reason_option, yes_option
from execpos.cli.config import config_option
from execpos.cli.halt import described, note, put, standing
from execpos.cli.moments import login
from execpos.cli.output import json_option, print_json, stderr, stdout, table
from execpos.cli.reconcile import differences_table, plain_difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from execpos.cli.records import Records
    from execpos.domain.control import BySource
    from execpos.domain.events import Discrepancy, TradingControl

# Longest wait for what stands; see `halt`.
_READ_S = 5.0

_ACCOUNT_PARTS = 4


@click.command()
@click.argument("target")
@reason_option
@by_option
@yes_option
@config_option
@json_option
def resume(*, config_dir: Path | None, target: str, reason: str, by: str | None, yes: bool, as_json: bool) -> None:
    """Release a halt: TARGET is its control_id, or a scope, of which every latched halt ends, the operator's own and those of others.

    A scope is `*`, an account key, an account key|symbol, or strategy:id. First says which differences stand open. A source that halts
    again does so under a new id. With --json, one object goes to stdout: scope, released (control ids), written, recorded (exec.commands
    has it too), open (discrepancies as `execpos discrepancies list` has them in short), still (what restricts there after it: scope,
    source, state, control_id, latched, stands, reason, by, age_s, evidence).
    """
    from execpos.cli import asking  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.cli.records import Records  # noqa: PLC0415 (as above)
    from execpos.errors import UsageError  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    reason = asking.said_why(reason)
    records = Records.open(load(config_dir), "resume", _READ_S)
    controls = standing(records)
    scope, ended = found(controls, target)
    open_ = _open(records, scope)
    report: dict[str, Any] = {"scope": scope, "released": [one.control_id for one in ended], "written": False, "recorded": False}
    report["open"] = [plain_difference(one) for one in open_]
    if not as_json:
        _announce(scope, ended, report["open"])
    if ended:
        if not asking.agreed(f"Let {described(scope)} trade again?", yes=yes):
            raise UsageError(f"nothing was written: {described(scope)} stays as it is", hint="add --yes where nobody can be asked")
        record = releasing(controls[scope], scope, ended, reason, by or login(), asking.now_us())
        put(records, record)
        account, symbol = _parts(scope)
        noted = [note(records, "RESUME", record, one.control_id, reason, by, account, symbol) for one in ended]
        report |= {"written": True, "recorded": all(noted)}
        controls[scope] = {**controls[scope], record.source: record}
    report["still"] = _still(controls, scope)
    if as_json:
        print_json(report)
    else:
        _show(report)


def found(controls: "Mapping[str, BySource]", target: str) -> "tuple[str, list[TradingControl]]":
    """Return the scope that was named, by itself or by a control_id, and which of its records end.

    Raises:
        UsageError: exec.control knows neither such a scope nor such an id.
    """
    from execpos.domain import control  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.errors import UsageError  # noqa: PLC0415 (as above)

    named = [(scope, one) for scope, by_source in controls.items() for one in by_source.values() if target and one.control_id == target]
    if target not in controls and not named:
        raise UsageError(f"exec.control has no scope and no halt {target}", hint="`execpos status` shows what stands")
    scope = target if target in controls else named[0][0]
    wanted = controls[scope].values() if target in controls else [one for _, one in named]
    ends = [
        one
        for one in wanted
        if one.state != control.ACTIVE
        and one.control_id
        and (one.latched or one.source == control.OPERATOR)
        and control.stands(one, controls[scope])
    ]
    return scope, ends


def releasing(by_source: "BySource", scope: str, ended: "Sequence[TradingControl]", reason: str, by: str, now_us: int) -> "TradingControl":
    """Return the operator's record that releases these. Its own halt goes on unless it is among them.

    What it released before stays released as long as the source says it.
    """
    from execpos.cli.asking import new_id  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.domain.control import ACTIVE, OPERATOR  # noqa: PLC0415 (as above)
    from execpos.domain.events import TradingControl  # noqa: PLC0415 (as above)

    own = by_source.get(OPERATOR)
    said = {one.control_id for one in by_source.values() if one.latched and one.source != OPERATOR}
    before = [one for one in (own.releases.split() if own is not None else ()) if one in said]
    ids = dict.fromkeys([*before, *(one.control_id for one in ended if one.source != OPERATOR)])
    releases, evidence = " ".join(ids), {"released": " ".join(one.control_id for one in ended)}
    if own is None or own.state == ACTIVE or own in ended:
        return TradingControl(
            scope, OPERATOR, ACTIVE, new_id("op"), reason, by, latched=False, releases=releases, evidence=evidence, ts=now_us
        )
    return TradingControl(
        scope, OPERATOR, own.state, own.control_id, own.reason, own.by, latched=own.latched, releases=releases, evidence=evidence, ts=now_us
    )


def _parts(scope: str) -> tuple[str, str]:
    """Return account and symbol of a scope; empty where it has none."""
    from execpos.domain import ids  # noqa: PLC0415 (`--help` must not pay for it)

    parts = ids.split(scope)
    if len(parts) < _ACCOUNT_PARTS:
        return "", ""
    return ids.join(*parts[:_ACCOUNT_PARTS]), parts[_ACCOUNT_PARTS] if len(parts) > _ACCOUNT_PARTS else ""


def _open(records: "Records", scope: str) -> "list[Discrepancy]":
    """Return the differences that stand open under a scope; a remark on stderr when they cannot be read."""
    from execpos.domain.events import Discrepancy  # noqa: PLC0415 (as above)
    from execpos.domain.reconciliation.discrepancies import OPEN_STATUSES  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.errors import ExecposError  # noqa: PLC0415 (as above)

    account, symbol = _parts(scope)
    try:
        known = records.newest("discrepancies", Discrepancy).values()
    except ExecposError as error:
        stderr().print(f"Which differences stand open cannot be read: {error.what}", highlight=False, soft_wrap=True)
        return []
    # A strategy's halt is about the strategy, and no difference is.
    covered = (one for one in known if scope == "*" or (account and one.account == account and (not symbol or one.symbol in {"", symbol})))
    return sorted((one for one in covered if one.status in OPEN_STATUSES), key=lambda one: (one.account, one.symbol, one.book))


def _still(controls: "Mapping[str, BySource]", scope: str) -> list[dict[str, Any]]:
    """Return what restricts the scope, or a part of it, now."""
    from execpos.cli.asking import now_us  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.cli.overview import plain_control  # noqa: PLC0415 (as above)

    account, _ = _parts(scope)
    touching = {"*", scope, account} | {each for each in controls if scope == "*" or each.startswith(f"{scope}|")}
    rows = [
        plain_control(one, by_source, now_us())
        for each, by_source in sorted(controls.items())
        if each in touching
        for one in by_source.values()
    ]
    return [row for row in rows if row["stands"]]


def _announce(scope: str, ended: "Sequence[TradingControl]", open_: list[dict[str, Any]]) -> None:
    out = stdout()
    rows = [[one.control_id, one.source, one.state, one.by, one.reason] for one in ended]
    if rows:
        out.print(table(f"Ends in {described(scope)}", ["halt", "source", "state", "by", "reason"], rows))
    else:
        out.print(f"Nothing in {described(scope)} waits for an operator.", highlight=False, soft_wrap=True)
    if open_:
        out.print(differences_table(open_, "These differences stand open"))


def _show(report: dict[str, Any]) -> None:
    out = stdout()
    if report["written"]:
        out.print(f"Released: {', '.join(report['released'])}", highlight=False, soft_wrap=True)
    if report["still"]:
        columns = ["scope", "source", "state", "by", "reason"]
        out.print(table("Still restricts", columns, [[one[name] for name in columns] for one in report["still"]]))
