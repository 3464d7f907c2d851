"""`execpos discrepancies`: what differs from the broker, why, and what is done about it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.config import config_option
from execpos.cli.correct import correct
from execpos.cli.decide import approve, reject
from execpos.cli.differences import books, newest, one_of, opened, stands
from execpos.cli.moments import brief, same_account
from execpos.cli.output import json_option, print_json, stdout, table
from execpos.cli.reconcile import differences_table, plain_difference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from execpos.cli.records import Records
    from execpos.domain.events import CorrectionOutcome, Discrepancy


@click.group()
def discrepancies() -> None:
    """Look at what differs from the broker, and approve, reject or correct it."""


discrepancies.add_command(approve)
discrepancies.add_command(reject)
discrepancies.add_command(correct)


@discrepancies.command("list")
@click.option("--account", help="Only this account: its key, or its number.")
@click.option("--all", "every", is_flag=True, help="Also those that are over: explained, corrected, rejected.")
@config_option
@json_option
def list_(*, config_dir: Path | None, account: str | None, every: bool, as_json: bool) -> None:
    """List the differences that stand open.

    With --json, one object goes to stdout: discrepancies, a list of the records as contracts/execution.md has them, without evidence and
    history.
    """
    records, _ = opened(config_dir)
    found = [one for one in newest(records).values() if same_account(one.account, account) and (every or stands(one))]
    found.sort(key=lambda one: (one.account, one.symbol, one.book, one.opened_ts))
    if as_json:
        print_json({"discrepancies": [_plain(one, "evidence", "history") for one in found]})
    else:
        title = "Differences" if every else "Open differences"
        stdout().print(differences_table([plain_difference(one) for one in found], title))


@discrepancies.command()
@click.argument("discrepancy_id")
@config_option
@json_option
def show(*, config_dir: Path | None, discrepancy_id: str, as_json: bool) -> None:
    """Show one difference: evidence, proposal, corrections and what became of them, history. The first digits of its id are enough.

    With --json, one object goes to stdout: discrepancy (the record as contracts/execution.md has it) and outcomes (correction id ->
    outcome, reason, detail; null while the ledger has not answered).
    """
    records, _ = opened(config_dir)
    one = one_of(newest(records), discrepancy_id)
    outcomes = _outcomes(records, one)
    if as_json:
        plain = {
            key: None if found is None else {"outcome": found.outcome, "reason": found.reason, "detail": found.detail}
            for key, found in outcomes.items()
        }
        print_json({"discrepancy": _plain(one), "outcomes": plain})
    else:
        _show(one, outcomes)


def _outcomes(records: "Records", one: "Discrepancy") -> "dict[str, CorrectionOutcome | None]":
    """Return each correction's outcome; None where there is none, or it is past its retention."""
    from execpos.domain.events import CorrectionOutcome  # noqa: PLC0415 (`--help` must not pay for it)

    found: dict[str, CorrectionOutcome | None] = dict.fromkeys(one.correction_ids)
    if found:
        for _, outcome in records.all("correction-outcomes", CorrectionOutcome, one.opened_ts // 1000):
            if outcome is not None and outcome.account == one.account and outcome.correction_id in found:
                found[outcome.correction_id] = outcome
    return found


def _plain(one: "Discrepancy", *without: str) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    made: dict[str, Any] = msgspec.to_builtins(one)
    return {name: value for name, value in made.items() if name not in without}


def _unsent(one: "Discrepancy", outcomes: "Mapping[str, CorrectionOutcome | None]") -> set[str]:
    """Return the second parts of what goes through zero whose first part was not applied: they go out after it."""
    from execpos.domain.reconciliation.discrepancies import CORRECTIONS, attempts  # noqa: PLC0415 (`--help` must not pay for it)

    # What an operator named may be of several positions, which do not wait for each other.
    if CORRECTIONS in one.evidence:
        return set()
    unsent: set[str] = set()
    for first, *rest in attempts(one):
        found = outcomes.get(first)
        if (found.outcome != "APPLIED") if found else one.status == "APPROVED":
            unsent.update(rest)
    return unsent


def _show(one: "Discrepancy", outcomes: "Mapping[str, CorrectionOutcome | None]") -> None:
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    out = stdout()
    facts = [
        ["account", one.account],
        ["position", f"{one.symbol} {one.book} {one.security_type}".strip() or "the whole account"],
        ["kind, cause", f"{one.kind}, {one.cause}"],
        ["status", one.status + (f", halts {brief(one.expires_ts)} UTC" if one.expires_ts else "")],
        ["ledger", f"{one.ledger_quantity:,} at {text(one.ledger_average)}, version {one.net_version}"],
        ["broker", f"{one.broker_quantity:,} at {text(one.broker_average)}"],
        ["worth", text(one.notional)],
        ["rounds", f"{one.rounds}, from {one.first_round} to {one.last_round}"],
        ["proposal", books(one) if one.proposed_kind else "none"],
        ["approved by", ", ".join(one.approvals) or "nobody"],
        ["halt", one.control_id or "none"],
        *([f"evidence: {name}", value] for name, value in sorted(one.evidence.items())),
    ]
    out.print(table(f"Discrepancy {one.discrepancy_id}", ["what", "is"], facts))
    if outcomes:
        unsent = _unsent(one, outcomes)
        rows = [
            [
                key,
                *(("not sent" if key in unsent else "no answer", "", "") if found is None else (found.outcome, found.reason, found.detail)),
            ]
            for key, found in outcomes.items()
        ]
        out.print(table("Corrections", ["correction", "outcome", "reason", "detail"], rows))
    steps = [[brief(step.ts), step.status, step.by, step.round_id, step.reason] for step in one.history]
    out.print(table("History", ["when (UTC)", "status", "by", "round", "reason"], steps))
