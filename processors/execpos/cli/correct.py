"""`execpos discrepancies correct`: an operator's own correction, for what no rule can know."""

import time
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.asking import by_option, reason_option, yes_option
from execpos.cli.config import config_option
from execpos.cli.moments import login, one_account
from execpos.cli.output import json_option, print_json, stdout, table

if TYPE_CHECKING:
    from execpos.cli.records import Records
    from execpos.domain.events import Command, Correction, CorrectionOutcome, Discrepancy, ReconciliationRound

# How often to look for the answer.
_LOOK_S = 0.05


def units(text: str) -> int:
    """Return an amount as people write it, in 10⁻⁶.

    Raises:
        UsageError: it is no number, or has more than six digits behind the point.
    """
    from execpos.errors import UsageError  # noqa: PLC0415 (`--help` must not pay for it)

    try:
        scaled = Decimal(text).scaleb(6)
        whole = int(scaled)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is no amount like 612.5") from error
    if whole != scaled:
        raise UsageError(f"{text!r} has more than six digits behind the point")
    return whole


def _money(ctx: click.Context, param: click.Parameter, value: str | None) -> int:
    del ctx, param
    return 0 if value is None else units(value)


@click.group()
def correct() -> None:
    """Book what no comparison can know, as the expiry of a contract or a split. The reconciler checks it, the ledger applies it.

    Each kind first says what it will do to NET as it is now; the ledger rejects it when NET has moved since. Exit status 6: it was
    rejected; 75: no answer in time. With --json, one object goes to stdout: correction (the record as contracts/execution.md has it),
    net (quantity, average_price, version now), written, and after an answer outcome, reason, detail, or waiting (the discrepancy that
    waits for a second operator).
    """


def _options(command: Any) -> Any:
    for option in (
        json_option,
        config_option,
        click.option("--wait", "wait_s", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds to wait; 0: none."),
        yes_option,
        by_option,
        reason_option,
        click.option("--discrepancy", "discrepancy_id", default="", help="The discrepancy that this ends, its whole id."),
        click.option("--book", required=True, help="The shelf: cash, margin, short, sbl, emerging, derivative."),
        click.option("--symbol", required=True, help="Stock code, or full contract code."),
        click.option("--account", required=True, help="Its key, or its number if only one has it."),
    ):
        command = option(command)
    return command


def _amount(name: str, *, required: bool = False, help_text: str) -> Callable[[Any], Any]:
    return click.option(name, callback=_money, required=required, metavar="AMOUNT", help=help_text)


@correct.command()
@_options
@_amount("--price", required=True, help_text="Final settlement, per share or point; 0 where it expired worthless.")
@_amount("--fees", help_text="TWD of all rows together.")
@_amount("--taxes", help_text="TWD, likewise.")
@click.option("--price-source", default="", help="Where the price comes from, as `statement`; makes it confirmed.")
def settlement(*, price_source: str, **how: Any) -> None:
    """Close every strategy's row of an expired contract, each by its own quantity."""
    _ask("SETTLEMENT", {"evidence": {"price_source": price_source} if price_source else {}}, ("price", "fees", "taxes"), how)


@correct.command("cost-basis")
@_options
@_amount("--amount", required=True, help_text="Change of open cost, TWD.")
@click.option("--strategy", "strategy_id", default="*", show_default=True, help="One row and NET; * for all rows by quantity.")
@click.option("--confirmed", "quality", is_flag=True, flag_value="CONFIRMED", default="", help="The figure is the broker's own.")
def cost_basis(**how: Any) -> None:
    """Change what a position cost, without a profit or a loss."""
    how["quality"] = how["quality"] or ""
    _ask("COST_BASIS", {}, ("amount", "strategy_id", "quality"), how)


@correct.command("corporate-action")
@_options
@click.option("--numerator", type=click.IntRange(1), required=True, help="New shares …")
@click.option("--denominator", type=click.IntRange(1), required=True, help="… for so many old ones.")
@_amount("--amount", help_text="Cash in lieu, TWD.")
@click.option("--to-symbol", default="", help="The new name, if it changes.")
def corporate_action(**how: Any) -> None:
    """Split, merge or rename a position: every row alike, at its cost."""
    _ask("CORPORATE_ACTION", {}, ("numerator", "denominator", "amount", "to_symbol"), how)


@correct.command()
@_options
@click.option("--quantity", type=int, required=True, help="Signed, shares or contracts, held before all fills.")
@_amount("--price", required=True, help_text="What it cost, per share or point.")
def opening(**how: Any) -> None:
    """Book what was held before the first fill, on NET and UNASSIGNED."""
    _ask("OPENING", {}, ("quantity", "price"), how)


@correct.command()
@_options
@click.option("--quantity", type=int, required=True, help="Signed as the giver's position.")
@click.option("--strategy", "strategy_id", default="", help="Who gives; empty when it comes from outside the account.")
@click.option("--to-strategy", "to_strategy_id", default="", help="Who receives; this and the next two empty: it leaves the account.")
@click.option("--to-book", default="", help="The shelf that receives, if it is another one.")
@click.option("--to-symbol", default="", help="The symbol that receives, if it is another one.")
@_amount("--amount", help_text="Cost of what comes from outside, TWD.")
def transfer(**how: Any) -> None:
    """Move quantity between shelves, as a cash redemption of margin, or in and out of the account.

    Between strategies of one shelf `execpos positions transfer` does it.
    """
    _ask("TRANSFER", {}, ("quantity", "strategy_id", "to_strategy_id", "to_book", "to_symbol", "amount"), how)


def _ask(kind: str, fields: dict[str, Any], taken: tuple[str, ...], how: dict[str, Any]) -> None:
    """Show what a correction of these fields does, ask, hand it to the reconciler, and tell what became of it."""
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.cli import asking  # noqa: PLC0415 (as above)
    from execpos.cli.records import Records  # noqa: PLC0415 (as above)
    from execpos.domain.correction_rules import BLANK  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    reason = asking.said_why(how["reason"])
    settings = load(how["config_dir"])
    records = Records.open(settings, "correct").learn()
    account = one_account(records.cluster, settings.kafka.prefix, how["account"])
    net = _net(records, account, how["symbol"], how["book"])
    by = how["by"] or login()
    correction = msgspec.structs.replace(
        BLANK,
        correction_id=asking.new_id("op"),
        account=account,
        kind=kind,
        symbol=how["symbol"],
        book=how["book"],
        expected_net_version=net["version"],
        reason=reason,
        requested_by=by,
        approved_by=by,
        ts=asking.now_us(),
        **fields,
        **{name: how[name] for name in taken},
    )
    command = asking.command("CORRECT", account, by, corrections=(correction,), discrepancy_id=how["discrepancy_id"], reason=reason)
    report: dict[str, Any] = {"correction": msgspec.to_builtins(correction), "net": net, "written": False}
    if not how["as_json"]:
        _announce(correction, net, four_eyes=settings.reconciliation.four_eyes)
    if asking.agreed("Book it?", yes=how["yes"]):
        report["written"] = True
        report |= _answer(records, command, how["wait_s"])
    _tell(report, how["wait_s"], as_json=how["as_json"])


def _net(records: "Records", account: str, symbol: str, book: str) -> dict[str, Any]:
    """Return quantity, average and version of NET; zeros where there is none."""
    from execpos.domain.events import PositionState  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.domain.ids import NET, position_key  # noqa: PLC0415 (as above)
    from execpos.domain.money import text  # noqa: PLC0415 (as above)

    row = records.newest("positions", PositionState).get(position_key(account, symbol, book, NET))
    if row is None:
        return {"quantity": 0, "average_price": "0", "version": 0}
    return {"quantity": row.quantity, "average_price": text(row.average_price), "version": row.version}


def _answer(records: "Records", command: "Command", wait_s: float) -> dict[str, Any]:
    """Write the command; return what came of it: the ledger's outcome, a refusal, or where it waits. Empty: nothing came in time."""
    from execpos.domain.events import CorrectionOutcome, Discrepancy, ReconciliationRound  # noqa: PLC0415 (`--help` must not pay for it)

    with (
        closing(records.follow("correction-outcomes", CorrectionOutcome)) as outcomes,
        closing(records.follow("discrepancies", Discrepancy)) as differences,
        closing(records.follow("rounds", ReconciliationRound)) as rounds,
    ):
        records.write("commands", command.account, command)
        deadline_s = time.monotonic() + wait_s
        while time.monotonic() < deadline_s:
            # Differences first: that an outcome belongs to the command is known from them when the command named one.
            answers = [
                *(_said(one, command) for one in differences.poll()),
                *(_applied(one, command) for one in outcomes.poll()),
                *(_refused(one, command) for one in rounds.poll()),
            ]
            for answer in filter(None, answers):
                return answer
            time.sleep(_LOOK_S)
    return {}


def _said(one: "Discrepancy", command: "Command") -> dict[str, Any]:
    """Return what a discrepancy says of the command: it waits there for a second operator, or is over, or the command was not followed."""
    if one.first_round == command.command_id:
        return {"waiting": one.discrepancy_id}
    steps = [step for step in one.history if step.ts >= command.ts]
    if one.discrepancy_id != command.discrepancy_id or not any(step.by == command.by for step in steps) or one.status == "APPROVED":
        return {}
    if one.status == "CORRECTED":
        return {"outcome": "APPLIED", "reason": "", "detail": steps[-1].reason}
    refused = [step.reason for step in steps if "not followed" in step.reason]
    return {"outcome": "REJECTED", "reason": "refused", "detail": refused[-1]} if refused else {"waiting": one.discrepancy_id}


def _applied(one: "CorrectionOutcome", command: "Command") -> dict[str, Any]:
    """Return the ledger's answer to what the command carried: under the operator's id, or under one that begins with the command's."""
    ids = {correction.correction_id for correction in command.corrections}
    if one.account != command.account or not (one.correction_id in ids or one.correction_id.startswith(command.command_id)):
        return {}
    return {"outcome": one.outcome, "reason": one.reason, "detail": one.detail}


def _refused(one: "ReconciliationRound", command: "Command") -> dict[str, Any]:
    """Return why the reconciler did not take the command up."""
    if command.command_id not in one.command_ids or one.verdict != "REFUSED":
        return {}
    return {"outcome": "REJECTED", "reason": "refused", "detail": one.detail}


def _announce(one: "Correction", net: dict[str, Any], *, four_eyes: bool) -> None:
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    amounts = {"price", "amount", "fees", "taxes"}
    shown = ("strategy_id", "quantity", "price", "amount", "fees", "taxes", "numerator", "denominator", "to_symbol", "to_book")
    rows = [["account", one.account], ["position", f"{one.symbol} {one.book}"]]
    rows.append(["NET now", f"{net['quantity']:,} at {net['average_price']}, version {net['version']}"])
    for name in (*shown, "to_strategy_id", "quality"):
        value = getattr(one, name)
        if value or (name == "price" and one.kind == "SETTLEMENT"):
            rows.append([name, text(value) if name in amounts else f"{value:,}" if isinstance(value, int) else value])
    out = stdout()
    out.print(table(f"{one.kind} by {one.requested_by}", ["what", "is"], rows))
    if four_eyes:
        out.print("A second operator has to approve it (reconciliation.four_eyes).")


def _tell(report: dict[str, Any], wait_s: float, *, as_json: bool) -> None:
    from execpos.errors import CheckFailed, Retry  # noqa: PLC0415 (`--help` must not pay for it)

    if as_json:
        print_json(report)
    elif "outcome" in report:
        text = f"{report['correction']['correction_id']}: {report['outcome']} {report['reason']} {report['detail']}"
        stdout().print(text.rstrip(), highlight=False, soft_wrap=True)
    elif "waiting" in report:
        stdout().print(
            f"Waits for a second operator: `execpos discrepancies approve {report['waiting']}`.", highlight=False, soft_wrap=True
        )
    else:
        stdout().print("Written." if report["written"] else "Nothing was written; add --yes to do it.")
    if report.get("outcome", "APPLIED") != "APPLIED":
        raise CheckFailed(f"the correction was rejected: {report['reason']}, {report['detail']}")
    if report["written"] and wait_s and not report.keys() & {"outcome", "waiting"}:
        raise Retry(f"no answer within {wait_s:.0f} s; the command stands for 10 minutes", hint="see `execpos status`")
