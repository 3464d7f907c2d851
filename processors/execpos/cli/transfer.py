"""`execpos positions transfer`: moves quantity from one strategy to another, at cost, and leaves NET as it is."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli import connect
from execpos.cli.asking import new_id, now_us
from execpos.cli.config import config_option
from execpos.cli.moments import login, one_account
from execpos.cli.output import json_option, print_json, stdout, table
from execpos.errors import CheckFailed, DependencyError, UsageError

if TYPE_CHECKING:
    from execpos.codecs.registry import Schemas
    from execpos.domain.events import Correction, CorrectionOutcome, PositionState
    from execpos.kafka.ports import Cluster

# How long to wait when nothing is said.
_WAIT_S = 30.0


@click.command()
@click.option("--account", required=True, help="Its key, or its number if only one has it.")
@click.option("--symbol", required=True, help="Stock code, or full contract code.")
@click.option("--book", required=True, help="The shelf: cash, margin, short, sbl, emerging, derivative.")
@click.option("--from", "giver", required=True, help="Strategy that gives; UNASSIGNED for what nobody claimed.")
@click.option("--to", "receiver", required=True, help="Strategy that receives; UNASSIGNED likewise.")
@click.option(
    "--quantity", type=int, required=True, help="Shares or contracts, with the sign of the giver's position: negative moves a short one."
)
@click.option("--reason", required=True, help="Why, for the record.")
@click.option("--by", help="Who asks. [default: the name of the login]")
@click.option("--yes", is_flag=True, help="Do it; without this, only show what would move.")
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=_WAIT_S, show_default=True, help="Seconds to wait for the ledger; 0: none."
)
@config_option
@json_option
def transfer(
    *,
    config_dir: Path | None,
    account: str,
    symbol: str,
    book: str,
    giver: str,
    receiver: str,
    quantity: int,
    reason: str,
    by: str | None,
    yes: bool,
    wait_s: float,
    as_json: bool,
) -> None:
    """Move quantity between two strategies of one account, at the giver's cost. NET and the broker see nothing of it.

    The ledger does it, as a correction of kind TRANSFER, and says whether it was applied. Exit status 6: it was rejected; 4: no answer in
    time, and it may still come. With --json, one object goes to stdout: account, symbol, book, from, to, quantity, held (what the giver has
    now), written, and after an answer correction_id, outcome, reason, detail.
    """
    from execpos.settings import load  # noqa: PLC0415 (`--help` must not pay for it)

    if not quantity or giver == receiver or "*" in (giver, receiver):
        raise UsageError("a transfer moves a quantity that is not 0 from one strategy to another one, and never of NET")
    settings = load(config_dir)
    cluster, prefix = connect.cluster(settings, "transfer"), settings.kafka.prefix
    key = one_account(cluster, prefix, account)
    schemas = connect.schemas(settings)
    rows = _rows(cluster, schemas, prefix, key, symbol, book)
    held = rows[giver].quantity if giver in rows else 0
    report: dict[str, Any] = {
        "account": key,
        "symbol": symbol,
        "book": book,
        "from": giver,
        "to": receiver,
        "quantity": quantity,
        "held": held,
        "written": yes,
    }
    outcome = None
    if yes:
        correction = _correction(key, symbol, book, giver, receiver, quantity, reason, by or login())
        report["correction_id"] = correction.correction_id
        outcome = _asked(cluster, schemas, prefix, correction, wait_s)
        if outcome is not None:
            report |= {"outcome": outcome.outcome, "reason": outcome.reason, "detail": outcome.detail}
    if as_json:
        print_json(report)
    else:
        _show(report, rows)
    if outcome is not None and outcome.outcome != "APPLIED":
        raise CheckFailed(f"the ledger rejected the transfer: {outcome.reason}, {outcome.detail}")
    if yes and wait_s and outcome is None:
        raise DependencyError(
            f"no answer to {report['correction_id']} within {wait_s:.0f} s", hint="is the ledger running? it may still be applied"
        )


def _rows(cluster: "Cluster", schemas: "Schemas", prefix: str, account: str, symbol: str, book: str) -> "dict[str, PositionState]":
    """Return strategy -> its row of one key."""
    from execpos.codecs.avro import Decoder  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.domain.events import PositionState  # noqa: PLC0415 (as above)
    from execpos.domain.ids import position_key, split  # noqa: PLC0415 (as above)
    from execpos.kafka.follow import Follower  # noqa: PLC0415 (as above)

    decode = Decoder(PositionState, schemas.writers[PositionState])
    begins = position_key(account, symbol, book, "").encode()
    found: dict[str, PositionState] = {}
    follower = Follower(cluster, [f"{prefix}exec.positions.v1"])
    try:
        for message in follower.poll():
            key, value = message.key() or b"", message.value()
            if key.startswith(begins):
                strategy_id = split(key.decode())[-1]
                if value is None:
                    found.pop(strategy_id, None)
                else:
                    found[strategy_id] = decode(value)
    finally:
        follower.close()
    return found


def _correction(account: str, symbol: str, book: str, giver: str, receiver: str, quantity: int, reason: str, by: str) -> "Correction":
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.domain.correction_rules import BLANK  # noqa: PLC0415 (as above)

    return msgspec.structs.replace(
        BLANK,
        correction_id=new_id("transfer"),
        account=account,
        kind="TRANSFER",
        symbol=symbol,
        book=book,
        strategy_id=giver,
        to_strategy_id=receiver,
        quantity=quantity,
        reason=reason,
        requested_by=by,
        approved_by=by,
        ts=now_us(),
    )


def _asked(cluster: "Cluster", schemas: "Schemas", prefix: str, correction: "Correction", wait_s: float) -> "CorrectionOutcome | None":
    """Write the correction and return the ledger's answer; None when it did not come in time, or nobody waits."""
    from execpos.kafka.asking import Asking  # noqa: PLC0415 (`--help` must not pay for it)

    with closing(Asking(cluster, schemas, prefix)) as asking:
        asking.write([correction])
        return next(iter(asking.outcomes([correction], wait_s)), None)


def _show(report: dict[str, Any], rows: "dict[str, PositionState]") -> None:
    console = stdout()
    moved = report["quantity"]
    lines = []
    for strategy_id, change in ((report["from"], -moved), (report["to"], moved)):
        before = rows[strategy_id].quantity if strategy_id in rows else 0
        lines.append([strategy_id, f"{before:,}", f"{change:+,}", f"{before + change:,}"])
    title = f"Transfer in {report['account']}, {report['symbol']} {report['book']}"
    console.print(table(title, ["strategy", "before", "change", "after"], lines, numeric=["before", "change", "after"]))
    if "outcome" in report:
        console.print(f"{report['correction_id']}: {report['outcome']} {report['reason']} {report['detail']}".rstrip(), highlight=False)
    elif report["written"]:
        console.print(f"{report['correction_id']}: written", highlight=False)
    else:
        console.print("Nothing was written; add --yes to do it.")
