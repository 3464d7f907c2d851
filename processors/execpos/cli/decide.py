"""`execpos discrepancies approve|reject`: an operator's word about one difference, or about many at once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import click

from execpos.cli.asking import by_option, reason_option, yes_option
from execpos.cli.config import config_option
from execpos.cli.differences import books, matching, newest, one_of, opened
from execpos.cli.output import json_option, print_json, stdout
from execpos.cli.reconcile import differences_table, plain_difference
from execpos.domain.vocabulary import DiscrepancyCause, DiscrepancyKind

if TYPE_CHECKING:
    from execpos.cli.records import Records
    from execpos.domain.events import Command, Discrepancy
    from execpos.settings import Settings

wait_option = click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds to wait for the reconciler; 0: none."
)
ids_argument = click.argument("discrepancy_ids", metavar="[DISCREPANCY_ID]...", nargs=-1)
account_option = click.option("--account", help="In place of ids: what waits in this account (key or number), with --cause or --kind.")
cause_option = click.option("--cause", type=click.Choice(get_args(DiscrepancyCause)), help="Of --account: those of this cause.")
kind_option = click.option("--kind", type=click.Choice(get_args(DiscrepancyKind)), help="Of --account: those of this kind.")


# What stands after a correction that was not applied.
_UNBOOKED = frozenset({"OPEN", "EXPIRED"})


class Judged(NamedTuple):
    """What a word about one difference will do.

    Attributes:
        one: the difference.
        command: that will be written.
        books: what it books, in words.
        problem: why it cannot be; empty otherwise.
        complete: corrections go out with this word.
    """

    one: "Discrepancy"
    command: "Command"
    books: str
    problem: str
    complete: bool


@click.command()
@ids_argument
@account_option
@cause_option
@kind_option
@click.option("--price", help="In place of the proposed one, of one id, per share or point: `612.5`; 0 where it expired worthless.")
@click.option("--price-source", default="", help="Where that price comes from, as `statement`; makes a settlement confirmed.")
@reason_option
@by_option
@yes_option
@wait_option
@config_option
@json_option
def approve(*, price: str | None, price_source: str, **how: Any) -> None:
    """Approve what is proposed for differences; the reconciler then writes the corrections.

    First says what will be booked. Of several, those that cannot be approved are left out. Exit status 6: one cannot be approved, or was
    not; 75: no answer in time. With --json, one object goes to stdout: discrepancy_id, account, kind, books (what will be booked), written,
    problem (why not; empty), and after an answer status and detail. Of several ids, or with --account: decisions, a list of these, and
    totals (kind of correction -> count, and worth in TWD as text, of those that can be approved).
    """
    from execpos.domain.reconciliation.approvals import approved  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.domain.reconciliation.discrepancies import At  # noqa: PLC0415 (as above)

    def judged(one: "Discrepancy", command: "Command", settings: "Settings") -> tuple[str, str, bool]:
        rules = settings.reconciliation
        within_us = round(rules.resolve_within_s * 1_000_000)
        decision = approved(one, command, At("", command.ts), four_eyes=rules.four_eyes, resolve_within_us=within_us)
        if decision.problem:
            return "", decision.problem, False
        text = books(decision.discrepancy)
        text = text if decision.ready else f"{text}; once a second operator has approved it too (reconciliation.four_eyes)"
        return text, "", decision.ready

    _decide("APPROVE", (price, price_source), judged, **how)


@click.command()
@ids_argument
@account_option
@cause_option
@kind_option
@reason_option
@by_option
@yes_option
@wait_option
@config_option
@json_option
def reject(**how: Any) -> None:
    """Take differences as they are: nothing is booked, they halt nothing any more, and are not opened again until they change.

    Exit status 6: one cannot be rejected; 75: no answer in time. With --json, one object as of `approve` goes to stdout.
    """
    from execpos.domain.reconciliation.approvals import rejected  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.domain.reconciliation.discrepancies import At  # noqa: PLC0415 (as above)

    def judged(one: "Discrepancy", command: "Command", settings: "Settings") -> tuple[str, str, bool]:
        del settings
        problem = rejected(one, command, At("", command.ts)).problem
        text = f"nothing; the book keeps {one.ledger_quantity:,} where the broker says {one.broker_quantity:,}"
        return "" if problem else text, problem, False

    _decide("REJECT", (None, ""), judged, **how)


def _decide(
    word: str,
    priced: tuple[str | None, str],
    judge: "Callable[[Discrepancy, Command, Settings], tuple[str, str, bool]]",
    *,
    config_dir: Path | None,
    discrepancy_ids: tuple[str, ...],
    reason: str,
    by: str | None,
    yes: bool,
    wait_s: float,
    as_json: bool,
    **where: str | None,
) -> None:
    """Say what an operator's word will do, ask once, write the commands, and wait until the discrepancies say that they were heard."""
    from execpos.cli import asking  # noqa: PLC0415 (`--help` must not pay for it)

    reason = asking.said_why(reason)
    _check(discrepancy_ids, priced, **where)
    records, settings = opened(config_dir)
    found = _named(records, discrepancy_ids, **where)
    judged = []
    for one in found:
        command = asking.command(word, one.account, by, discrepancy_id=one.discrepancy_id, reason=reason, corrections=_priced(one, priced))
        judged.append(Judged(one, command, *judge(one, command, settings)))
    ready = [one for one in judged if not one.problem]
    alone = len(discrepancy_ids) == 1
    if not as_json:
        _announce(judged, word)
    after: dict[str, Discrepancy] = {}
    question = f"{word.capitalize()} it?" if alone else f"{word.capitalize()} {len(ready)} of {len(judged)}?"
    written = bool(ready) and asking.agreed(question, yes=yes)
    if written:
        after = heard(records, [one.command for one in ready], wait_s)
    reports = [_report(one, after, written=written and not one.problem) for one in judged]
    if as_json:
        print_json(reports[0] if alone else {"decisions": reports, "totals": _totals(ready)})
    unbooked = {one.one.discrepancy_id for one in ready if one.complete} & {key for key, one in after.items() if one.status in _UNBOOKED}
    _end(reports, word, wait_s, unbooked, as_json=as_json)


def _check(
    discrepancy_ids: tuple[str, ...], priced: tuple[str | None, str], account: str | None, cause: str | None, kind: str | None
) -> None:
    """Refuse words that do not say which differences are meant.

    Raises:
        UsageError: see there.
    """
    from execpos.errors import UsageError  # noqa: PLC0415 (`--help` must not pay for it)

    if bool(discrepancy_ids) == bool(account):
        raise UsageError("name discrepancies, or an account", hint="`ID ...`, or `--account A` with `--cause C` or `--kind K`")
    if bool(account) != bool(cause or kind):
        raise UsageError("--account goes with --cause or --kind", hint="an operator's word is about differences of one sort")
    if priced[0] is not None and len(discrepancy_ids) != 1:
        raise UsageError("--price is of one difference", hint="approve it by its own id")


def _named(
    records: "Records", discrepancy_ids: tuple[str, ...], account: str | None, cause: str | None, kind: str | None
) -> "list[Discrepancy]":
    found = newest(records)
    if account:
        return matching(found, account, cause, kind)
    return list({one.discrepancy_id: one for one in (one_of(found, name) for name in discrepancy_ids)}.values())


def _report(judged: Judged, after: "dict[str, Discrepancy]", *, written: bool) -> dict[str, Any]:
    one = judged.one
    report = {
        "discrepancy_id": one.discrepancy_id,
        "account": one.account,
        "kind": one.kind,
        "books": judged.books,
        "written": written,
        "problem": judged.problem,
    }
    last = after.get(one.discrepancy_id)
    if last is not None:
        report |= {"status": last.status, "detail": last.history[-1].reason if last.history else ""}
    return report


def _totals(ready: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """Return by kind of correction how many there are, and what they are worth."""
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    kinds = sorted({one.one.proposed_kind or "none" for one in ready})
    found = {kind: [one.one for one in ready if (one.one.proposed_kind or "none") == kind] for kind in kinds}
    return {kind: {"count": len(ones), "notional": text(sum(one.notional for one in ones))} for kind, ones in found.items()}


def _announce(judged: Sequence[Judged], word: str) -> None:
    out = stdout()
    title = f"{word.capitalize()} {judged[0].one.discrepancy_id if len(judged) == 1 else f'{len(judged)} differences'}"
    out.print(differences_table([plain_difference(one.one) for one in judged], title))
    for one in judged:
        name = "" if len(judged) == 1 else f"{one.one.discrepancy_id} "
        said = f"Left out: {name}{one.problem}" if one.problem and name else f"Books: {name}{one.books or one.problem}"
        out.print(said, highlight=False, soft_wrap=True)
    if len(judged) > 1:
        for proposed, total in _totals([one for one in judged if not one.problem]).items():
            out.print(f"Total: {total['count']:,} by {proposed}, worth {total['notional']}", highlight=False, soft_wrap=True)


def _end(reports: Sequence[dict[str, Any]], word: str, wait_s: float, unbooked: set[str], *, as_json: bool) -> None:
    """Print how it ended; `unbooked` are those whose corrections were not applied.

    Raises:
        CheckFailed: one of them cannot be, the reconciler did not follow a command, or the ledger did not apply a correction.
        Retry: nobody answered in time.
    """
    from execpos.errors import CheckFailed, Retry  # noqa: PLC0415 (`--help` must not pay for it)

    written = [one for one in reports if one["written"]]
    if not as_json:
        for one in written:
            text = f"{one['discrepancy_id']}: {one['status']}: {one['detail']}" if "status" in one else f"{one['discrepancy_id']}: written"
            stdout().print(text, highlight=False, soft_wrap=True)
        if not written and not all(one["problem"] for one in reports):
            stdout().print("Nothing was written; add --yes to do it.")
    refused = [f"{one['discrepancy_id']}: {one['detail']}" for one in written if "not followed" in one.get("detail", "")]
    if refused:
        raise CheckFailed(f"the reconciler did not follow {len(refused)} of {len(written)} commands: {refused[0]}")
    failed = [f"{one['discrepancy_id']}: {one['status']}: {one['detail']}" for one in written if one["discrepancy_id"] in unbooked]
    if failed:
        raise CheckFailed(
            f"{len(failed)} of {len(written)} were not booked: {failed[0]}", hint="approve again what the next round proposes"
        )
    silent = [one for one in written if "status" not in one]
    if silent and wait_s:
        raise Retry(
            f"no answer to {len(silent)} of {len(written)} commands within {wait_s:.0f} s; they stand for 10 minutes",
            hint="is `execpos run reconciler` running? see `execpos status`",
        )
    problems = [one for one in reports if one["problem"]]
    if problems:
        first = problems[0]
        more = f" (and {len(problems) - 1} others)" if len(problems) > 1 else ""
        raise CheckFailed(f"{first['discrepancy_id']} cannot be {word.lower().rstrip('e')}ed: {first['problem']}{more}")


def heard(records: "Records", commands: "Sequence[Command]", wait_s: float) -> "dict[str, Discrepancy]":
    """Write commands about discrepancies, and return these by id as they are once the reconciler has taken them up.

    While a correction is under way the newest state is returned at the end of the time; one of which nothing came at all is not in it.
    """
    import time  # noqa: PLC0415 (`--help` must not pay for it)
    from contextlib import closing  # noqa: PLC0415 (as above)

    from execpos.domain.events import Discrepancy  # noqa: PLC0415 (as above)

    given = {command.discrepancy_id: command for command in commands}
    last: dict[str, Discrepancy] = {}
    with closing(records.follow("discrepancies", Discrepancy)) as followed:
        records.write_all("commands", [(command.account, command) for command in commands])
        deadline_s = time.monotonic() + wait_s
        while time.monotonic() < deadline_s:
            for one in followed.poll():
                command = given.get(one.discrepancy_id)
                if command is not None and any(step.by == command.by and step.ts >= command.ts for step in one.history):
                    last[one.discrepancy_id] = one
            if len(last) == len(given) and all(one.status != "APPROVED" for one in last.values()):
                return last
            # A command is answered within a beat of the reconciler.
            time.sleep(0.05)
    return last


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
