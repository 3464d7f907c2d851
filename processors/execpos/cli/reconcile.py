"""`execpos reconcile`: asks for a comparison with the broker now, and waits for what comes of it."""

import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.asking import by_option, command
from execpos.cli.config import config_option
from execpos.cli.moments import same_account
from execpos.cli.output import json_option, print_json, stdout, table

if TYPE_CHECKING:
    from execpos.cli.records import Followed, Records
    from execpos.domain.events import Command, Discrepancy, ReconciliationRound

# A round reads twice between markers, and a difference waits for its second look (reconciliation.settle_s) and a confirmation.
_WAIT_S = 120.0

# How often to look for rounds.
_LOOK_S = 0.1

# Verdicts from best to worst: the worst of all accounts is the answer's. UNANSWERED is no verdict of a round but that none came.
_WORSE = ("EQUAL", "REFUSED", "UNREADABLE", "UNANSWERED", "MOVING", "DIFFERENT")

# Which say that something was not compared, so that asking again may help.
_AGAIN = frozenset({"REFUSED", "UNREADABLE", "UNANSWERED"})


@click.command()
@click.option("--account", "names", multiple=True, help="This account: its key, or its number. Can be given again. [default: all]")
@click.option("--symbol", default="", help="Report only this symbol; the account is read whole all the same.")
@click.option("--wait", is_flag=True, help="Wait for the end; without this, only ask.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(1), default=_WAIT_S, show_default=True, help="Longest wait, seconds.")
@click.option("--reason", default="", help="Why, for the record.")
@by_option
@config_option
@json_option
def reconcile(
    *,
    config_dir: Path | None,
    names: tuple[str, ...],
    symbol: str,
    wait: bool,
    timeout_s: float,
    reason: str,
    by: str | None,
    as_json: bool,
) -> None:
    """Compare accounts with the broker now, at one point of the stream, and correct what may be corrected.

    Exit status 6: differences stay open; 75: an account was not compared, or did not answer in time. With --json, one object goes to
    stdout: round (id of the last round that ended), accounts (account, command_id, round, verdict, state, detail, missing), keys_compared,
    equal, moved, discrepancies (discrepancy_id, account, kind, symbol, book, status, ledger_quantity, broker_quantity, notional, cause,
    proposed_kind), corrections (ids), broker_calls, seconds, verdict (the worst of all accounts; UNANSWERED where none came). Without
    --wait: commands (account, command_id).
    """
    from execpos.cli.overview import Overview  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.cli.records import Records  # noqa: PLC0415 (as above)
    from execpos.errors import CheckFailed, Retry  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    settings = load(config_dir)
    records = Records.open(settings, "reconcile").learn()
    asked = [command("RECONCILE", key, by, symbol=symbol, reason=reason) for key in chosen(Overview(records, settings).names, names)]
    if not wait:
        for one in asked:
            records.write("commands", one.account, one)
        _show_asked(asked, as_json=as_json)
        return
    began_s = time.monotonic()
    answers = _answered(records, asked, timeout_s)
    silent = [one.account for one in asked if not answers[one.command_id].ended]
    seen = Overview(records, settings) if silent else None
    missing = {account: [] if seen is None else seen.missing(account) for account in silent}
    report = _report(asked, answers, _differences(records, answers, symbol), missing, symbol)
    report["seconds"] = round(time.monotonic() - began_s, 3)
    if as_json:
        print_json(report)
    else:
        _show(report)
    if report["verdict"] in {"MOVING", "DIFFERENT"}:
        count = len(report["discrepancies"])
        text = "1 difference stays open" if count == 1 else f"{count} differences stay open"
        raise CheckFailed(text, hint="`execpos discrepancies list` shows them")
    if report["verdict"] in _AGAIN:
        texts = [f"{account}: {'; '.join(texts) or 'all parts speak; see exec.rounds'}" for account, texts in missing.items()]
        raise Retry(
            f"{sum(one['verdict'] in _AGAIN for one in report['accounts'])} of {len(asked)} accounts were not compared",
            hint="\n  ".join(texts) or "the accounts' details say why",
        )


def chosen(known: list[str], names: Iterable[str]) -> list[str]:
    """Return the keys of the accounts named, or all that are known; a whole key is taken as it is.

    Raises:
        UsageError: a number that no or several accounts have, or none is known at all.
    """
    from execpos.errors import UsageError  # noqa: PLC0415 (`--help` must not pay for it)

    found: dict[str, None] = {}
    for name in names:
        fitting = [name] if name.count("|") == 3 else [key for key in known if same_account(key, name)]
        if len(fitting) != 1:
            text = f"is not one but {', '.join(fitting)}" if fitting else "has neither a bridge nor positions"
            raise UsageError(f"account {name} {text}", hint="give the whole key: env|market|broker_id|account_id")
        found[fitting[0]] = None
    if not (found or known):
        raise UsageError("no account has a bridge or positions", hint="start a bridge, or name one with --account")
    return list(found) or known


class Answer:
    """The rounds that name one command."""

    def __init__(self) -> None:
        self.rounds: list[ReconciliationRound] = []

    @property
    def ended(self) -> "ReconciliationRound | None":
        """The round that ended it: a second look follows one that is settling."""
        last = self.rounds[-1] if self.rounds else None
        return None if last is None or last.verdict == "SETTLING" else last

    def ids(self, field: str) -> list[str]:
        """Return what a field of all these rounds names, each once."""
        return list(dict.fromkeys(one for each in self.rounds for one in getattr(each, field)))


def _answered(records: "Records", asked: "list[Command]", timeout_s: float) -> dict[str, Answer]:
    """Write the commands; return the rounds that name each, when all have ended or the time is over."""
    from execpos.domain.events import ReconciliationRound  # noqa: PLC0415 (`--help` must not pay for it)

    answers = {one.command_id: Answer() for one in asked}
    followed: Followed[ReconciliationRound]
    # Before the commands are written, so that no answer comes earlier.
    with closing(records.follow("rounds", ReconciliationRound)) as followed:
        for one in asked:
            records.write("commands", one.account, one)
        deadline_s = time.monotonic() + timeout_s
        while True:
            for found in followed.poll():
                for command_id in found.command_ids:
                    if command_id in answers:
                        answers[command_id].rounds.append(found)
            if all(answer.ended for answer in answers.values()) or time.monotonic() >= deadline_s:
                return answers
            time.sleep(_LOOK_S)


def _differences(records: "Records", answers: dict[str, Answer], symbol: str) -> "list[Discrepancy]":
    """Return the discrepancies that the rounds name and that still stand open, of that symbol if one is named."""
    from execpos.domain.events import Discrepancy  # noqa: PLC0415 (as above)
    from execpos.domain.reconciliation.discrepancies import OPEN_STATUSES  # noqa: PLC0415 (`--help` must not pay for it)

    named = {one for answer in answers.values() for one in answer.ids("discrepancies")}
    found = records.newest("discrepancies", Discrepancy) if named else {}
    return [
        one for key, one in sorted(found.items()) if key in named and one.status in OPEN_STATUSES and (not symbol or one.symbol == symbol)
    ]


def _report(
    asked: "list[Command]", answers: dict[str, Answer], differences: "list[Discrepancy]", missing: dict[str, list[str]], symbol: str
) -> dict[str, Any]:
    ended = {one.command_id: answers[one.command_id].ended for one in asked}
    accounts = []
    for one in asked:
        end = ended[one.command_id]
        verdict = end.verdict if end else "UNANSWERED"
        if symbol and verdict == "DIFFERENT" and not any(each.account == one.account for each in differences):
            verdict = "EQUAL"
        accounts.append(
            {
                "account": one.account,
                "command_id": one.command_id,
                "round": end.round_id if end else None,
                "verdict": verdict,
                "state": end.state if end else None,
                "detail": end.detail if end else "",
                "missing": missing.get(one.account, []),
            }
        )
    ends = [end for end in ended.values() if end is not None]
    verdict = max((str(one["verdict"]) for one in accounts), key=_WORSE.index)
    if differences and verdict == "EQUAL":
        # A round in which every position is equal may leave orders, results or marked positions that are not.
        verdict = "DIFFERENT"
    return {
        "round": max(ends, key=lambda end: end.ended_ts).round_id if ends else None,
        "accounts": accounts,
        **{field: sum(getattr(end, field) for end in ends) for field in ("keys_compared", "equal", "moved")},
        "discrepancies": [plain_difference(one) for one in differences],
        "corrections": [one for answer in answers.values() for one in answer.ids("corrections")],
        "broker_calls": sum(each.broker_calls for answer in answers.values() for each in answer.rounds),
        "seconds": 0.0,
        "verdict": verdict,
    }


def plain_difference(one: "Discrepancy") -> dict[str, Any]:
    """Return a discrepancy in short, as commands print it; amounts are text."""
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    return {
        "discrepancy_id": one.discrepancy_id,
        "account": one.account,
        "kind": one.kind,
        "symbol": one.symbol,
        "book": one.book,
        "status": one.status,
        "ledger_quantity": one.ledger_quantity,
        "broker_quantity": one.broker_quantity,
        "notional": text(one.notional),
        "cause": one.cause,
        "proposed_kind": one.proposed_kind,
    }


def _show_asked(asked: "list[Command]", *, as_json: bool) -> None:
    if as_json:
        print_json({"commands": [{"account": one.account, "command_id": one.command_id} for one in asked]})
    else:
        stdout().print(table("Asked for", ["account", "command"], [[one.account, one.command_id] for one in asked]))


def _show(report: dict[str, Any]) -> None:
    out = stdout()
    rows = [[one["account"], one["verdict"], one["state"] or "", one["round"] or "", one["detail"]] for one in report["accounts"]]
    out.print(table("Compared with the broker", ["account", "verdict", "trading", "round", "detail"], rows))
    if report["discrepancies"]:
        out.print(differences_table(report["discrepancies"], "Open differences"))
    out.print(
        f"{report['verdict']}: {report['keys_compared']} positions, {report['equal']} equal, {report['moved']} moved, "
        f"{len(report['corrections'])} corrections, {report['broker_calls']} calls, {report['seconds']:.1f} s",
        highlight=False,
    )


def differences_table(found: list[dict[str, Any]], title: str) -> Any:
    """Return a table an account, of what `plain_difference` gives, or a line where there is none."""
    from decimal import Decimal  # noqa: PLC0415 (`--help` must not pay for it)

    from rich.console import Group  # noqa: PLC0415 (as above)

    columns = ["id", "kind", "position", "status", "ledger", "broker", "worth", "cause", "proposal"]
    rows: dict[str, list[list[str]]] = {}
    for one in found:
        rows.setdefault(one["account"], []).append(
            [
                one["discrepancy_id"],
                one["kind"],
                f"{one['symbol']} {one['book']}".strip() or "all",
                one["status"],
                f"{one['ledger_quantity']:,}",
                f"{one['broker_quantity']:,}",
                f"{Decimal(one['notional']):,}",
                one["cause"],
                one["proposed_kind"] or "none",
            ]
        )
    tables = [table(f"{title}, {account}", columns, each, numeric=["ledger", "broker", "worth"]) for account, each in rows.items()]
    return Group(*tables) if tables else f"{title}: none"
