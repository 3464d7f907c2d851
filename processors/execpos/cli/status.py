"""`execpos status`: whether trading goes on, and if not, why; it works with any part dead but Kafka, and says which."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.config import config_option
from execpos.cli.moments import brief, same_account, shown
from execpos.cli.output import json_option, print_json, stderr, stdout, table

if TYPE_CHECKING:
    from execpos.cli.overview import Account, Overview


@click.command()
@click.option("--account", "name", help="Only this account: its key, or its number.")
@config_option
@json_option
def status(*, config_dir: Path | None, name: str | None, as_json: bool) -> None:
    """Show what holds for trading and why, and of each account its bridge, the ledger, its last round and its open differences.

    Exit status 6 when anything restricts trading. With --json, one object goes to stdout: at, ok, unread (what could not be read, texts),
    scopes (scope, source, state, control_id, latched, stands, reason, by, age_s, evidence; all but ACTIVE), accounts (account, state
    (DENIED: a source that has to speak is silent), why (texts), bridge (bridge_id, session, kind, age_s, backlog, gaps, open_gaps,
    problems), ledger (instance, age_s, behind, in records; null), round (round_id, verdict, age_s, detail; null), differences (open,
    expired, oldest_s)).
    """
    from execpos.cli.overview import Overview, plain_control  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.cli.records import Records  # noqa: PLC0415 (as above)
    from execpos.errors import CheckFailed, DependencyError  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    settings = load(config_dir)
    records = Records.open(settings, "status")
    remarks = []
    try:
        records.learn()
    except DependencyError as error:
        remarks.append(f"registry: {error.what}")
    seen = Overview(records, settings)
    accounts = [seen.account(key) for key in seen.names if same_account(key, name)]
    scopes = [
        plain_control(one, by_source, seen.now_us)
        for scope, by_source in sorted(seen.controls.items())
        for one in by_source.values()
        if one.state != "ACTIVE" and _touches(scope, accounts, every=name is None)
    ]
    unread = [*remarks, *seen.unread]
    restricted = {one.account for one in accounts if one.state != "ACTIVE"} | {one["scope"] for one in scopes if one["stands"]}
    if as_json:
        report = {"at": shown(seen.now_us), "ok": bool(accounts) and not restricted, "unread": unread, "scopes": scopes}
        print_json({**report, "accounts": [_plain(seen, one) for one in accounts]})
    else:
        _show(seen, accounts, scopes)
        for text in unread:
            stderr().print(text, highlight=False, soft_wrap=True)
    if not accounts:
        raise CheckFailed("no account has a bridge, a round or positions", hint="start a bridge: `execpos run bridge`")
    if restricted:
        raise CheckFailed(f"trading is restricted: {', '.join(sorted(restricted))}", hint="docs/operating.md says what to do")


def _touches(scope: str, accounts: "list[Account]", *, every: bool) -> bool:
    """Say whether a scope covers one of these accounts, or a part of it."""
    keys = [one.account for one in accounts]
    return every or scope == "*" or scope.startswith("strategy:") or any(scope == key or scope.startswith(f"{key}|") for key in keys)


def _plain(seen: "Overview", one: "Account") -> dict[str, Any]:
    beat, progress, last = one.bridge, one.progress, one.round
    return {
        "account": one.account,
        "state": one.state,
        "why": list(one.why),
        "bridge": {
            "bridge_id": beat.bridge_id if beat else None,
            "session": beat.session if beat else None,
            "kind": beat.kind if beat else None,
            "age_s": round(seen.age_s(beat.ts), 3) if beat else None,
            "backlog": beat.backlog_records if beat else None,
            "gaps": beat.gaps if beat else None,
            "open_gaps": beat.open_gaps if beat else None,
            "problems": list(one.bridge_problems),
        },
        "ledger": {"instance": progress.instance, "age_s": round(seen.age_s(progress.ts), 3), "behind": one.behind} if progress else None,
        "round": {"round_id": last.round_id, "verdict": last.verdict, "age_s": round(seen.age_s(last.ended_ts), 3), "detail": last.detail}
        if last
        else None,
        "differences": {
            "open": len(one.open),
            "expired": sum(each.status == "EXPIRED" for each in one.open),
            "oldest_s": round(max((seen.age_s(each.opened_ts) for each in one.open), default=0.0), 3),
        },
    }


def _show(seen: "Overview", accounts: "list[Account]", scopes: list[dict[str, Any]]) -> None:
    out = stdout()
    stands = [one for one in scopes if one["stands"]]
    if stands:
        columns = ["scope", "state", "halt", "by"]
        rows = [
            [one["scope"], one["state"] + (", latched" if one["latched"] else ""), one["control_id"], f"{one['source']}: {one['by']}"]
            for one in stands
        ]
        out.print(table("What restricts trading", columns, rows))
        for each in stands:
            out.print(f"{each['scope']}: {each['reason']}", highlight=False, soft_wrap=True, markup=False)
    columns = ["account", "trading", "bridge", "backlog", "gaps", "ledger", "behind", "last round", "differ"]
    rows = [_row(seen, one) for one in accounts]
    out.print(table(f"Accounts at {brief(seen.now_us)} UTC", columns, rows, numeric=["backlog", "gaps", "behind", "differ"]))
    told = {f"{each['source']}: {each['reason']}" for each in stands}
    for one in accounts:
        for text in (*(why for why in one.why if why not in told), *(f"bridge: {problem}" for problem in one.bridge_problems)):
            out.print(f"{one.account}: {text}", highlight=False, soft_wrap=True, markup=False)


def _row(seen: "Overview", one: "Account") -> list[str]:
    beat, progress, last = one.bridge, one.progress, one.round
    bridge = (
        [f"{beat.session} {seen.age_s(beat.ts):,.1f} s", f"{beat.backlog_records:,}", f"{beat.open_gaps:,}"] if beat else ["none", "", ""]
    )
    ledger = [f"{seen.age_s(progress.ts):,.1f} s", f"{one.behind:,}"] if progress else ["none", ""]
    compared = f"{last.verdict} {seen.age_s(last.ended_ts):,.0f} s" if last else "none"
    return [one.account, one.state, *bridge, *ledger, compared, f"{len(one.open):,}"]
