"""`execpos discrepancies`: what differs from the broker, why, and what is done about it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.asking import by_option, reason_option, yes_option
from execpos.cli.config import config_option
from execpos.cli.correct import correct
from execpos.cli.moments import same_account, shown
from execpos.cli.output import json_option, print_json, stdout, table
from execpos.cli.reconcile import differences_table, plain_difference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from execpos.cli.records import Records
    from execpos.domain.events import Command, CorrectionOutcome, Discrepancy
    from execpos.settings import Settings

# Digits of an id that are enough to name one, where only one begins so.
_DIGITS_MIN = 4

wait_option = click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds to wait for the reconciler; 0: none."
)


@click.group()
def discrepancies() -> None:
    """Look at what differs from the broker, and approve, reject or correct it."""


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
    records, _ = _open(config_dir)
    found = [one for one in _known(records).values() if same_account(one.account, account) and (every or _stands(one))]
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
    records, _ = _open(config_dir)
    one = one_of(_known(records), discrepancy_id)
    outcomes = _outcomes(records, one)
    if as_json:
        plain = {
            key: None if found is None else {"outcome": found.outcome, "reason": found.reason, "detail": found.detail}
            for key, found in outcomes.items()
        }
        print_json({"discrepancy": _plain(one), "outcomes": plain})
    else:
        _show(one, outcomes)


@discrepancies.command()
@click.argument("discrepancy_id")
@click.option("--price", help="In place of the proposed one, per share or point: `612.5`; 0 where it expired worthless.")
@click.option("--price-source", default="", help="Where that price comes from, as `statement`; makes a settlement confirmed.")
@reason_option
@by_option
@yes_option
@wait_option
@config_option
@json_option
def approve(*, config_dir: Path | None, discrepancy_id: str, price: str | None, price_source: str, **how: Any) -> None:
    """Approve what is proposed for one difference; the reconciler then writes the correction.

    First says what will be booked. Exit status 6: it cannot be approved, or was not; 75: no answer in time. With --json, one object goes to
    stdout: discrepancy_id, account, kind, books (what will be booked), written, problem (why not; empty), and after an answer status and
    detail.
    """
    from execpos.domain.approvals import approved  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.domain.discrepancies import At  # noqa: PLC0415 (as above)

    def judged(one: "Discrepancy", command: "Command", settings: "Settings") -> tuple[str, str]:
        rules = settings.reconciliation
        within_us = round(rules.resolve_within_s * 1_000_000)
        decision = approved(one, command, At("", command.ts), four_eyes=rules.four_eyes, resolve_within_us=within_us)
        if decision.problem:
            return "", decision.problem
        text = _books(decision.discrepancy)
        return (text if decision.ready else f"{text}; once a second operator has approved it too (reconciliation.four_eyes)"), ""

    _decide("APPROVE", config_dir, discrepancy_id, (price, price_source), judged, **how)


@discrepancies.command()
@click.argument("discrepancy_id")
@reason_option
@by_option
@yes_option
@wait_option
@config_option
@json_option
def reject(*, config_dir: Path | None, discrepancy_id: str, **how: Any) -> None:
    """Take one difference as it is: nothing is booked, it halts nothing any more, and is not opened again until it changes.

    Exit status 6: it cannot be rejected; 75: no answer in time. With --json, one object as of `approve` goes to stdout.
    """
    from execpos.domain.approvals import rejected  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.domain.discrepancies import At  # noqa: PLC0415 (as above)

    def judged(one: "Discrepancy", command: "Command", settings: "Settings") -> tuple[str, str]:
        del settings
        problem = rejected(one, command, At("", command.ts)).problem
        return (
            "" if problem else f"nothing; the book keeps {one.ledger_quantity:,} where the broker says {one.broker_quantity:,}"
        ), problem

    _decide("REJECT", config_dir, discrepancy_id, (None, ""), judged, **how)


def _decide(
    kind: str,
    config_dir: Path | None,
    discrepancy_id: str,
    priced: tuple[str | None, str],
    judged: "Any",
    *,
    reason: str,
    by: str | None,
    yes: bool,
    wait_s: float,
    as_json: bool,
) -> None:
    """Say what an operator's word will do, ask, write the command, and wait until the discrepancy says that it was heard."""
    from execpos.cli import asking  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.errors import CheckFailed  # noqa: PLC0415 (as above)

    reason = asking.said_why(reason)
    records, settings = _open(config_dir)
    one = one_of(_known(records), discrepancy_id)
    corrections = _priced(one, priced)
    command = asking.command(kind, one.account, by, discrepancy_id=one.discrepancy_id, reason=reason, corrections=corrections)
    books, problem = judged(one, command, settings)
    report = {
        "discrepancy_id": one.discrepancy_id,
        "account": one.account,
        "kind": one.kind,
        "books": books,
        "written": False,
        "problem": problem,
    }
    if not as_json:
        _announce(one, kind, books or problem)
    if not problem and asking.agreed(f"{kind.capitalize()} it?", yes=yes):
        report["written"] = True
        after = heard(records, command, wait_s)
        if after is not None:
            report |= {"status": after.status, "detail": after.history[-1].reason if after.history else ""}
    tell(report, wait_s, as_json=as_json)
    if problem:
        raise CheckFailed(f"{one.discrepancy_id} cannot be {kind.lower().rstrip('e')}ed: {problem}")


def tell(report: dict[str, Any], wait_s: float, *, as_json: bool) -> None:
    """Print how it ended.

    Raises:
        CheckFailed: the reconciler did not follow the command.
        Retry: nobody answered in time.
    """
    from execpos.errors import CheckFailed, Retry  # noqa: PLC0415 (`--help` must not pay for it)

    if as_json:
        print_json(report)
    elif "status" in report:
        stdout().print(f"{report['discrepancy_id']}: {report['status']}: {report['detail']}", highlight=False, soft_wrap=True)
    elif report["written"]:
        stdout().print("Written.")
    elif not report["problem"]:
        stdout().print("Nothing was written; add --yes to do it.")
    if "not followed" in report.get("detail", ""):
        raise CheckFailed(f"the reconciler did not follow the command: {report['detail']}")
    if report["written"] and wait_s and "status" not in report:
        raise Retry(
            f"no answer within {wait_s:.0f} s; the command stands for 10 minutes",
            hint="is `execpos run reconciler` running? see `execpos status`",
        )


def heard(records: "Records", command: "Command", wait_s: float) -> "Discrepancy | None":
    """Write a command and return its discrepancy as it is once the reconciler has taken it up and it is no longer under way.

    While a correction is under way the newest state is returned at the end of the time; None: nothing came at all.
    """
    import time  # noqa: PLC0415 (`--help` must not pay for it)
    from contextlib import closing  # noqa: PLC0415 (as above)

    from execpos.domain.events import Discrepancy  # noqa: PLC0415 (as above)

    last: Discrepancy | None = None
    with closing(records.follow("discrepancies", Discrepancy)) as followed:
        records.write("commands", command.account, command)
        deadline_s = time.monotonic() + wait_s
        while time.monotonic() < deadline_s:
            for one in followed.poll():
                if one.discrepancy_id == command.discrepancy_id and any(
                    step.by == command.by and step.ts >= command.ts for step in one.history
                ):
                    last = one
            if last is not None and last.status != "APPROVED":
                return last
            # A command is answered within a beat of the reconciler.
            time.sleep(0.05)
    return last


def one_of(known: "Mapping[str, Discrepancy]", name: str) -> "Discrepancy":
    """Return the discrepancy with that id, or the only one whose id begins so.

    Raises:
        UsageError: there is none, or there are several.
    """
    from execpos.errors import UsageError  # noqa: PLC0415 (`--help` must not pay for it)

    if name in known:
        return known[name]
    fitting = [key for key in known if len(name) >= _DIGITS_MIN and key.startswith(name)]
    if len(fitting) != 1:
        raise UsageError(
            f"{'several discrepancies begin' if fitting else 'no discrepancy begins'} with {name}", hint="`discrepancies list --all`"
        )
    return known[fitting[0]]


def _open(config_dir: Path | None) -> "tuple[Records, Settings]":
    from execpos.cli.records import Records  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    settings = load(config_dir)
    return Records.open(settings, "discrepancies").learn(), settings


def _known(records: "Records") -> "dict[str, Discrepancy]":
    from execpos.domain.events import Discrepancy  # noqa: PLC0415 (`--help` must not pay for it)

    return records.newest("discrepancies", Discrepancy)


def _stands(one: "Discrepancy") -> bool:
    from execpos.domain.discrepancies import OPEN_STATUSES  # noqa: PLC0415 (`--help` must not pay for it)

    return one.status in OPEN_STATUSES


def _outcomes(records: "Records", one: "Discrepancy") -> "dict[str, CorrectionOutcome | None]":
    """Return each correction's outcome; None where there is none, or it is past its retention."""
    from execpos.domain.events import CorrectionOutcome  # noqa: PLC0415 (`--help` must not pay for it)

    found: dict[str, CorrectionOutcome | None] = dict.fromkeys(one.correction_ids)
    if found:
        for _, outcome in records.all("correction-outcomes", CorrectionOutcome, one.opened_ts // 1000):
            if outcome is not None and outcome.account == one.account and outcome.correction_id in found:
                found[outcome.correction_id] = outcome
    return found


def _priced(one: "Discrepancy", priced: tuple[str | None, str]) -> "tuple[Any, ...]":
    """Return the proposal with an operator's price, as the correction inside a command; none without a price.

    Raises:
        UsageError: that is no price, or nothing is proposed that has one.
    """
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.cli.correct import units  # noqa: PLC0415 (as above)
    from execpos.domain.correction_rules import BLANK  # noqa: PLC0415 (as above)
    from execpos.errors import UsageError  # noqa: PLC0415 (as above)

    price, source = priced
    if price is None:
        return ()
    if one.proposed_kind not in {"ADJUST", "OPENING", "SETTLEMENT"}:
        raise UsageError(f"{one.proposed_kind or 'nothing'} is proposed for {one.discrepancy_id}, which takes no price")
    made = msgspec.structs.replace(
        BLANK,
        account=one.account,
        kind=one.proposed_kind,
        symbol=one.symbol,
        book=one.book,
        quantity=one.proposed_quantity,
        price=units(price),
        evidence={"price_source": source} if source else {},
    )
    return (made,)


def _books(one: "Discrepancy") -> str:
    """Say in one line what the proposal books."""
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    parts = [one.proposed_kind, one.symbol, one.book]
    if one.proposed_quantity:
        parts.append(f"{one.proposed_quantity:+,}")
    if one.proposed_kind in {"ADJUST", "OPENING", "SETTLEMENT"}:
        named = one.proposed_price or one.proposed_kind == "SETTLEMENT"
        parts.append(f"at {text(one.proposed_price)}" if named else "at cost")
    if one.proposed_amount:
        parts.append(f"cost {text(one.proposed_amount)}")
    return " ".join(parts)


def _announce(one: "Discrepancy", kind: str, text: str) -> None:
    out = stdout()
    out.print(differences_table([plain_difference(one)], f"{kind.capitalize()} {one.discrepancy_id}"))
    out.print(f"Books: {text}", highlight=False, soft_wrap=True)


def _plain(one: "Discrepancy", *without: str) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    made: dict[str, Any] = msgspec.to_builtins(one)
    return {name: value for name, value in made.items() if name not in without}


def _show(one: "Discrepancy", outcomes: "Mapping[str, CorrectionOutcome | None]") -> None:
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    out = stdout()
    facts = [
        ["account", one.account],
        ["position", f"{one.symbol} {one.book} {one.security_type}".strip() or "the whole account"],
        ["kind, cause", f"{one.kind}, {one.cause}"],
        ["status", one.status + (f", halts {shown(one.expires_ts)}" if one.expires_ts else "")],
        ["ledger", f"{one.ledger_quantity:,} at {text(one.ledger_average)}, version {one.net_version}"],
        ["broker", f"{one.broker_quantity:,} at {text(one.broker_average)}"],
        ["worth", text(one.notional)],
        ["rounds", f"{one.rounds}, from {one.first_round} to {one.last_round}"],
        ["proposal", _books(one) if one.proposed_kind else "none"],
        ["approved by", ", ".join(one.approvals) or "nobody"],
        ["halt", one.control_id or "none"],
        *([f"evidence: {name}", value] for name, value in sorted(one.evidence.items())),
    ]
    out.print(table(f"Discrepancy {one.discrepancy_id}", ["what", "is"], facts))
    if outcomes:
        rows = [
            [key, *(("no answer", "", "") if found is None else (found.outcome, found.reason, found.detail))]
            for key, found in outcomes.items()
        ]
        out.print(table("Corrections", ["correction", "outcome", "reason", "detail"], rows))
    steps = [[shown(step.ts), step.status, step.by, step.round_id, step.reason] for step in one.history]
    out.print(table("History", ["when (UTC)", "status", "by", "round", "reason"], steps))
