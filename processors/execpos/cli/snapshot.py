"""`execpos snapshot`: the whole book of an account, as the ledger has it at one point of its input."""

import getpass
import secrets
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli import connect
from execpos.cli.config import config_option
from execpos.cli.output import json_option, print_json, stdout, table

if TYPE_CHECKING:
    from rich.table import Table

    from execpos.domain.events import OpenOrder, PositionSnapshot, PositionState, Valuation

# Random part of a request's id: two requests of one moment do not meet.
_ID_BYTES = 8

# How long to wait when nothing is said.
_WAIT_S = 30.0

_EPOCH = date(1970, 1, 1)


@click.command()
@config_option
@click.option("--account", "names", multiple=True, help="Of this account: its key, or its number if only one has it. Can be given again.")
@click.option("--all", "every", is_flag=True, help="Of every account that has positions.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    is_flag=False,
    flag_value=_WAIT_S,
    default=_WAIT_S,
    show_default=True,
    help="Seconds to wait for the answers; 0 only asks.",
)
@click.option("--reason", default="", help="Why, for the record.")
@click.option("--by", help="Who asks. [default: the name of the login]")
@json_option
def snapshot(
    *, config_dir: Path | None, names: tuple[str, ...], every: bool, wait_s: float, reason: str, by: str | None, as_json: bool
) -> None:
    """Ask the ledger for whole books and show them: all rows, NET first, and the open orders, at one point of the ledger's input.

    Exit status 4: not all answers came in time; 6: the ledger rejected a request. With --json: `{"requests": [id], "snapshots":
    [{"snapshot_id", "request_id", "account", "as_of", "trading_date", "digest", "rows", "ledger_epoch", "inputs": [{"topic", "partition",
    "offset"}], "positions": [{"symbol", "book", "strategy_id", "quantity", "average_price", "open_cost", "realized_pnl",
    "realized_pnl_day", "fees", "taxes", "quality", "fee_quality", "version", "mark_price", "mark_at", "unrealized"}], "orders":
    [{"order_id", "session_id", "strategy_id", "symbol", "side", "price", "quantity", "cum_filled", "leaves", "status"}]}]}`; amounts are
    text, the last three of a position null where its symbol has no mark.
    """
    from execpos.errors import DependencyError, UsageError  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.kafka.asking import Asking, accounts_of, snapshot_request  # noqa: PLC0415 (as above)
    from execpos.settings import load  # noqa: PLC0415 (as above)

    if every == bool(names):
        raise UsageError("of which accounts?", hint="give --account or --all")
    settings = load(config_dir)
    cluster, prefix = connect.cluster(settings, "snapshot"), settings.kafka.prefix
    accounts = _chosen(accounts_of(cluster, prefix), names)
    asking = Asking(cluster, connect.schemas(settings), prefix)
    try:
        now_us = time.time_ns() // 1000
        requests = [
            snapshot_request(f"snapshot-{secrets.token_hex(_ID_BYTES)}", account, reason, by or _login(), now_us) for account in accounts
        ]
        asking.write(requests)
        found = sorted(asking.answers(requests, wait_s), key=lambda one: one.account) if wait_s else []
    finally:
        asking.close()
    if as_json:
        print_json({"requests": [request.correction_id for request in requests], "snapshots": [_plain(one) for one in found]})
    else:
        for one in found:
            _show(one)
        if not wait_s:
            stdout().print(f"asked for {len(requests)} snapshots")
    missing = {request.account for request in requests} - {one.account for one in found}
    if wait_s and missing:
        raise DependencyError(
            f"no snapshot of {', '.join(sorted(missing))} within {wait_s:.0f} s",
            hint="is the ledger running, and not behind? see exec.progress",
        )


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        return "unknown"


def _chosen(known: list[str], names: tuple[str, ...]) -> list[str]:
    """Return the keys of the accounts named, or all; a key that has no position yet is taken as it is."""
    from execpos.errors import UsageError  # noqa: PLC0415 (`--help` must not pay for it)

    if not names:
        return known
    found: dict[str, None] = {}
    for name in names:
        fitting = [key for key in known if name in (key, key.rsplit("|", 1)[-1])]
        if len(fitting) > 1:
            raise UsageError(f"account {name} is not one but {', '.join(fitting)}", hint="give the whole key")
        if not fitting and name.count("|") != 3:
            raise UsageError(f"no account {name} has positions", hint="give the whole key: env|market|broker_id|account_id")
        found[fitting[0] if fitting else name] = None
    return list(found)


def _time(ts_us: int) -> str:
    return datetime.fromtimestamp(ts_us / 1e6, UTC).isoformat(timespec="microseconds") if ts_us else ""


def _rows(one: "PositionSnapshot") -> "list[PositionState]":
    return sorted(one.positions, key=lambda row: (row.symbol, row.book, row.strategy_id != "*", row.strategy_id))


def _plain(one: "PositionSnapshot") -> dict[str, Any]:
    marks = {valuation.position_key: valuation for valuation in one.valuations}
    return {
        "snapshot_id": one.snapshot_id,
        "request_id": one.request_id,
        "account": one.account,
        "as_of": _time(one.as_of_ts),
        "trading_date": (_EPOCH + timedelta(days=one.trading_date)).isoformat(),
        "digest": one.digest,
        "rows": one.rows,
        "ledger_epoch": one.ledger_epoch,
        "inputs": [{"topic": item.topic, "partition": one.source_partition, "offset": item.offset} for item in one.inputs],
        "positions": [_plain_row(row, marks.get(row.position_key)) for row in _rows(one)],
        "orders": [_plain_order(order) for order in one.orders],
    }


def _plain_row(row: "PositionState", valuation: "Valuation | None") -> dict[str, Any]:
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    return {
        "symbol": row.symbol,
        "book": row.book,
        "strategy_id": row.strategy_id,
        "quantity": row.quantity,
        "average_price": text(row.average_price),
        "open_cost": text(row.open_cost),
        "realized_pnl": text(row.realized_pnl),
        "realized_pnl_day": text(row.realized_pnl_day),
        "fees": text(row.fees),
        "taxes": text(row.taxes),
        "quality": row.quality,
        "fee_quality": row.fee_quality,
        "version": row.version,
        "mark_price": text(valuation.mark_price) if valuation else None,
        "mark_at": _time(valuation.mark_ts) if valuation else None,
        "unrealized": text(valuation.unrealized) if valuation else None,
    }


def _plain_order(order: "OpenOrder") -> dict[str, Any]:
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    return {
        "order_id": order.order_id,
        "session_id": order.session_id,
        "strategy_id": order.strategy_id,
        "symbol": order.symbol,
        "side": order.side,
        "price": text(order.price),
        "quantity": order.quantity,
        "cum_filled": order.cum_filled,
        "leaves": order.leaves,
        "status": order.status,
    }


def _show(one: "PositionSnapshot") -> None:
    out = stdout()
    out.print(_positions(one))
    if one.orders:
        out.print(_orders(one))
    offsets = ", ".join(f"{item.topic} {item.offset}" for item in one.inputs)
    out.print(
        f"  digest {one.digest}, {one.rows} rows, epoch {one.ledger_epoch}, as of {_time(one.as_of_ts)}", highlight=False, soft_wrap=True
    )
    out.print(f"  partition {one.source_partition}, up to offsets {offsets}\n", highlight=False, soft_wrap=True)


def _positions(one: "PositionSnapshot") -> "Table":
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    marks = {valuation.position_key: valuation for valuation in one.valuations}
    rows = []
    for row in _rows(one):
        valuation = marks.get(row.position_key)
        rows.append(
            [
                row.symbol,
                row.book,
                "NET" if row.strategy_id == "*" else row.strategy_id,
                f"{row.quantity:,}",
                text(row.average_price),
                text(row.realized_pnl),
                text(valuation.mark_price) if valuation else "",
                text(valuation.unrealized) if valuation else "",
                row.quality,
            ]
        )
    columns = ["symbol", "book", "strategy", "quantity", "average", "realized", "mark", "unrealized", "quality"]
    return table(f"Book of {one.account}", columns, rows, numeric=["quantity", "average", "realized", "mark", "unrealized"])


def _orders(one: "PositionSnapshot") -> "Table":
    from execpos.domain.money import text  # noqa: PLC0415 (`--help` must not pay for it)

    rows = [
        [
            order.order_id,
            order.symbol,
            order.side,
            order.strategy_id,
            text(order.price),
            f"{order.quantity:,}",
            f"{order.cum_filled:,}",
            f"{order.leaves:,}",
            order.status,
        ]
        for order in sorted(one.orders, key=lambda order: (order.session_id, order.symbol, order.order_key))
    ]
    columns = ["order", "symbol", "side", "strategy", "price", "quantity", "filled", "leaves", "status"]
    return table("Open orders", columns, rows, numeric=["price", "quantity", "filled", "leaves"])
