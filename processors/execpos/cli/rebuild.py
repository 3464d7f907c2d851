"""`execpos rebuild`: folds the history of accounts anew, compares with the live books, and has the ledger put right what differs."""

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli import connect
from execpos.cli.asking import agreed, by_option, command, new_id, now_us, said_why
from execpos.cli.config import config_option
from execpos.cli.moments import login, one_account
from execpos.cli.output import json_option, print_json, stderr, stdout, table
from execpos.errors import CheckFailed, DependencyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from execpos.codecs.registry import Schemas
    from execpos.domain.events import Correction, CorrectionOutcome, PositionSnapshot
    from execpos.kafka.ports import Cluster
    from execpos.ledger.inquiry import Findings
    from execpos.settings import Settings

# How long to wait for snapshots, and for a ledger that folds a long history beside its work.
_SNAPSHOT_S = 30.0
_WAIT_S = 600.0

# Lines of differences that people are shown; --json has all.
_LINES_MAX = 50


@click.command()
@click.option("--dry-run/--apply", default=None, help="Only compare; or have the ledger put right what differs.")
@click.option("--account", "names", multiple=True, help="Of this account: its key, or its number if only one has it. Can be given again.")
@click.option("--from-beginning", is_flag=True, help="Fold from the first record, or the first checkpoint after what is lost. [default]")
@click.option("--since", type=click.Choice(["checkpoint"]), help="Fold from each account's last checkpoint: quick, and trusts it.")
@click.option("--reason", default="", help="With --apply: why, for the record.")
@by_option
@click.option("--yes", is_flag=True, help="With --apply: do it without asking; needed where nobody can be asked.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=_WAIT_S, show_default=True, help="Seconds to wait for the ledger; 0: none."
)
@config_option
@json_option
def rebuild(
    *,
    config_dir: Path | None,
    dry_run: bool | None,
    names: tuple[str, ...],
    from_beginning: bool,
    since: str | None,
    reason: str,
    by: str | None,
    yes: bool,
    wait_s: float,
    as_json: bool,
) -> None:
    """Fold exec.raw, exec.intents and exec.corrections into a book of its own, by the rules as they are configured now, and compare.

    The ledger has to run: it says what its books are and up to which record. With --apply it folds the accounts that differ once more
    itself, and sets what is wrong by deltas of cause REBUILD; their fills so far can then no longer be moved or voided.

    Exit status 6: something differs, or the ledger rejected a rebuild; 5: the history is not kept far enough; 4: no answer in time. With
    --json, one object goes to stdout: accounts, rows, equal, different (account, key, field, live, shadow), missing (keys that only the
    history has), extra (keys that only the live book has), since (account, session of the checkpoint), records, seconds, verdict (EQUAL,
    VERSIONS: only the numbers of changes differ, DIFFERENT), applied (account, correction_id, outcome, reason, detail).
    """
    from execpos.kafka.asking import accounts_of  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    if dry_run is None:
        raise UsageError("compare, or put right?", hint="give --dry-run or --apply")
    if from_beginning and since:
        raise UsageError("--from-beginning and --since exclude each other")
    why = "" if dry_run else said_why(reason)
    settings = load(config_dir)
    cluster, schemas = connect.cluster(settings, "rebuild"), connect.schemas(settings)
    prefix = settings.kafka.prefix
    accounts = [one_account(cluster, prefix, name) for name in names] or accounts_of(cluster, prefix)
    snapshots = _snapshots(cluster, schemas, prefix, accounts, why or "rebuild --dry-run", by or login())
    findings = _inquired(settings, cluster, schemas, snapshots, newest=since is not None)
    report = _plain(findings)
    wrong = [one.account for one in findings.comparisons if one.verdict == "DIFFERENT"]
    answers: list[CorrectionOutcome] = []
    asked: list[Correction] = []
    if not dry_run and wrong:
        if not as_json:
            _show(findings)
        if not agreed(f"Rebuild {', '.join(wrong)}?", yes=yes):
            raise UsageError("nothing was changed", hint="answer yes, or give --yes")
        asked = [_request(account, why, by or login()) for account in wrong]
        answers = _applied(cluster, settings, schemas, asked, wait_s)
        report["applied"] = [
            {name: getattr(one, name) for name in ("account", "correction_id", "outcome", "reason", "detail")} for one in answers
        ]
    if as_json:
        print_json(report)
    else:
        _show(findings, answers)
    _judge(findings, asked, answers, wait_s)


def _judge(findings: "Findings", asked: "Sequence[Correction]", answers: "Sequence[CorrectionOutcome]", wait_s: float) -> None:
    """End with the status that says how it is."""
    rejected = [one for one in answers if one.outcome != "APPLIED" and one.reason != "no_effect"]
    if rejected:
        raise CheckFailed(f"the ledger rejected the rebuild of {rejected[0].account}: {rejected[0].reason}, {rejected[0].detail}")
    if asked and wait_s and len(answers) < len(asked):
        raise DependencyError(
            f"{len(asked) - len(answers)} of {len(asked)} rebuilds were not answered within {wait_s:.0f} s",
            hint="a ledger that restarted meanwhile has forgotten them; look at the log, then run the command again",
        )
    if not asked and findings.verdict == "DIFFERENT":
        raise CheckFailed(
            f"{sum(one.verdict == 'DIFFERENT' for one in findings.comparisons)} accounts differ from their history",
            hint="docs/operating.md says what may be behind it; `execpos rebuild --apply` puts it right",
        )


def _snapshots(
    cluster: "Cluster", schemas: "Schemas", prefix: str, accounts: "Sequence[str]", reason: str, by: str
) -> "list[PositionSnapshot]":
    from execpos.kafka.asking import Asking, snapshot_request  # noqa: PLC0415 (`--help` must not pay for it)

    asking = Asking(cluster, schemas, prefix)
    try:
        requests = [snapshot_request(new_id("rebuild"), account, reason, by, now_us()) for account in accounts]
        asking.write(requests)
        found = list(asking.answers(requests, _SNAPSHOT_S))
    finally:
        asking.close()
    missing = sorted(set(accounts) - {one.account for one in found})
    if missing:
        raise DependencyError(f"no snapshot of {missing[0]} within {_SNAPSHOT_S:.0f} s", hint="is the ledger running, and not behind?")
    return found


def _inquired(
    settings: "Settings", cluster: "Cluster", schemas: "Schemas", snapshots: "Sequence[PositionSnapshot]", *, newest: bool
) -> "Findings":
    from execpos.ledger.inquiry import inquire  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.ledger.shadow import Shadow  # noqa: PLC0415 (as above)
    from execpos.ledger.snapshots import SnapshotOptions  # noqa: PLC0415 (as above)

    options = SnapshotOptions(**settings.snapshots.model_dump())

    def make(partition: int, accounts: list[str]) -> Shadow:
        prefix = settings.kafka.prefix
        return Shadow(prefix, cluster, settings.rules(), schemas, partition, accounts, snapshots=options, since_checkpoint=newest)

    return inquire(snapshots, make, _Told())


class _Told:
    """Tells on stderr how far the fold is, about once a second."""

    def __init__(self) -> None:
        self._said_s = self._began_s = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s < 1.0:
            return
        self._said_s = now_s
        rate = done / (now_s - self._began_s)
        left = f"{(total - done) / rate:.0f} s left" if rate else ""
        stderr().print(f"{done:,} of {total:,} records of this partition, {rate:,.0f}/s, {left}", highlight=False)


def _request(account: str, reason: str, by: str) -> "Correction":
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.domain.correction_rules import BLANK  # noqa: PLC0415 (as above)

    return msgspec.structs.replace(
        BLANK, correction_id=new_id("rebuild"), account=account, kind="REBUILD", reason=reason, requested_by=by, ts=now_us()
    )


def _applied(
    cluster: "Cluster", settings: "Settings", schemas: "Schemas", asked: "Sequence[Correction]", wait_s: float
) -> "list[CorrectionOutcome]":
    """Write the requests, and beside each the record of who did it; return what the ledger answers in time."""
    from execpos.cli.records import Records  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.kafka.asking import Asking  # noqa: PLC0415 (as above)

    records = Records(cluster, settings).learn()
    with closing(Asking(cluster, schemas, settings.kafka.prefix)) as asking:
        for one in asked:
            told = command("REBUILD", one.account, one.requested_by, corrections=(one,), reason=one.reason)
            records.write("commands", one.account, told)
        asking.write(asked)
        return asking.outcomes(asked, wait_s)


def _plain(findings: "Findings") -> dict[str, Any]:
    each = findings.comparisons
    return {
        "accounts": [one.account for one in each],
        "rows": sum(one.rows for one in each),
        "equal": sum(one.equal for one in each),
        "different": [
            {"account": one.account, "key": line.key, "field": line.field, "live": line.live, "shadow": line.shadow}
            for one in each
            for line in one.different
        ],
        "missing": [key for one in each for key in one.missing],
        "extra": [key for one in each for key in one.extra],
        "since": findings.since,
        "records": findings.records,
        "seconds": findings.seconds,
        "verdict": findings.verdict,
        "applied": [],
    }


def _show(findings: "Findings", answers: "Sequence[CorrectionOutcome]" = ()) -> None:
    console = stdout()
    columns = ["account", "from", "rows", "equal", "digest", "digest of history", "verdict"]
    rows = [
        [
            one.account,
            findings.since.get(one.account) or "the beginning",
            f"{one.rows:,}",
            f"{one.equal:,}",
            one.live_digest[:12],
            one.shadow_digest[:12],
            one.verdict,
        ]
        for one in findings.comparisons
    ]
    title = f"{findings.records:,} records folded in {findings.seconds:.1f} s"
    console.print(table(title, columns, rows, numeric=["rows", "equal"]))
    lines = [[line.key, line.field, line.live, line.shadow] for one in findings.comparisons for line in one.different]
    lines += [[key, "row", "none", "there"] for one in findings.comparisons for key in one.missing]
    lines += [[key, "row", "there", "none"] for one in findings.comparisons for key in one.extra]
    if lines:
        console.print(table("Differences", ["key", "field", "live", "history"], lines[:_LINES_MAX]))
        if len(lines) > _LINES_MAX:
            console.print(f"and {len(lines) - _LINES_MAX:,} more; --json has all", highlight=False)
    for answer in answers:
        console.print(f"{answer.account}: {answer.outcome} {answer.reason} {answer.detail}".rstrip(), highlight=False)
