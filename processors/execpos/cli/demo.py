"""`execpos demo`: the whole pipeline on this machine, live, with a check at the end."""

import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli.output import json_option, print_json, stderr, stdout, table
from execpos.errors import CheckFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from execpos.demo.run import Status

_ROWS = 18
# Off a terminal a line every so often says that it is alive.
_PLAIN_INTERVAL_S = 10.0


@click.command()
@click.option("--seconds", type=click.FloatRange(1, 3600), default=20.0, show_default=True, help="How long the simulated market is open.")
@click.option("--rate", type=click.FloatRange(1, 5000), default=200.0, show_default=True, help="Callbacks a second.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which simulated day.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Keep the servers' data here. [default: a folder that is removed]"
)
@json_option
def demo(*, seconds: float, rate: float, seed: int, data: Path | None, as_json: bool) -> None:
    """Run a simulated trading day on real Kafka, registry and ClickHouse; compare it with the broker, and every position in four places.

    After the close the reconciler compares each account with the simulated broker, whose position list is wrong in one place: that has to
    be found, nothing may be booked for it, and it has to be explained once the list is right. The four places are the simulator's own
    book, the compacted topic, the sum of the journal, and ClickHouse. Exit status 0 when they agree in everything, 6 when they do not.

    With --json, one object goes to stdout: callbacks, raw_events (beats and the broker's records included), orders, fills, duplicates,
    conflicts, dead_letters, positions, clickhouse_fills, latency_ms (p50, p99, max and n, from the bridge's handler to a reader of
    positions), reconciliation (accounts with state, keys_compared, equal, other_average, differences; keys_compared, equal, broker_calls,
    seconds; planted: account, symbol, ledger_quantity, broker_quantity, discrepancy_id, seconds, booked, status), verdict (consistent or
    inconsistent) and differences (empty when consistent).
    """
    from execpos.demo.run import Demo, DemoOptions  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.local.stack import Stack  # noqa: PLC0415 (as above)
    from execpos.telemetry import log  # noqa: PLC0415 (as above)

    # The day is disorderly on purpose, and each warning of it would break the live view.
    log.configure("ERROR")
    folder = data or Path(tempfile.mkdtemp(prefix="execpos-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    if data is not None and any(folder.iterdir()):
        raise click.UsageError(f"--data {data} is not empty: a demo compares a whole day, so it begins with an empty folder")
    try:
        # It draws a progress bar of its own, so it comes before the live view.
        Stack(folder).download()
        with _view(stderr()) as show:
            report = Demo(DemoOptions(data=folder, seconds=seconds, rate=rate, seed=seed), show).run()
    finally:
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report["verdict"] != "consistent":
        raise CheckFailed(f"{len(report['differences'])} differences between the simulator, Kafka and ClickHouse", hint="see the report")


@contextmanager
def _view(console: "Console") -> "Iterator[Callable[[Status], None]]":
    """Yield what shows a status: a live table on a terminal, a line at each stage and every 10 s elsewhere."""
    if console.is_terminal:
        from rich.live import Live  # noqa: PLC0415 (`--help` must not pay for it)

        with Live(console=console, refresh_per_second=5, transient=True) as live:
            yield lambda status: live.update(_screen(status))
        return
    last_stage, last_s = "", 0.0

    def show(status: "Status") -> None:
        nonlocal last_stage, last_s
        if status.stage != last_stage or time.monotonic() - last_s > _PLAIN_INTERVAL_S:
            last_stage, last_s = status.stage, time.monotonic()
            console.print(_line(status), highlight=False, soft_wrap=True)

    yield show


def _line(status: "Status") -> str:
    parts = [status.stage]
    if status.callbacks:
        parts.append(f"{status.callbacks:,} callbacks")
    if status.states:
        parts.append(f"{len(status.states):,} positions")
    if status.left_s:
        parts.append(f"{status.left_s:.0f} s left")
    if status.latency_ms and status.latency_ms["n"]:
        parts.append(f"callback to position: p50 {status.latency_ms['p50']:.1f} ms, p99 {status.latency_ms['p99']:.1f} ms")
    return " · ".join(parts)


def _screen(status: "Status") -> "RenderableType":
    from rich.console import Group  # noqa: PLC0415 (`--help` must not pay for it)
    from rich.spinner import Spinner  # noqa: PLC0415 (as above)

    from execpos.domain.money import text  # noqa: PLC0415 (as above)

    head = Spinner("dots", _line(status))
    if not status.states:
        return head
    newest = sorted(status.states, key=lambda state: state.last_ingest_ts, reverse=True)[:_ROWS]
    rows = [
        [
            state.account.split("|", 1)[1],
            state.symbol,
            state.book,
            "NET" if state.strategy_id == "*" else state.strategy_id,
            f"{state.quantity:+,}",
            text(state.average_price),
            text(state.realized_pnl),
        ]
        for state in newest
    ]
    columns = ["account", "symbol", "book", "strategy", "quantity", "average", "realized"]
    return Group(head, table("Positions, newest first", columns, rows, numeric=["quantity", "average", "realized"]))


def _print(report: dict[str, Any]) -> None:
    console = stdout()
    latency = report["latency_ms"]
    rows = [
        ["callbacks from the simulated broker", f"{report['callbacks']:,}"],
        ["raw events in Kafka, with beats and the broker's records", f"{report['raw_events']:,}"],
        ["order reports", f"{report['orders']:,}"],
        ["fills, each counted once", f"{report['fills']:,}"],
        ["duplicates left out", f"{report['duplicates']:,}"],
        ["conflicts / dead letters", f"{report['conflicts']:,} / {report['dead_letters']:,}"],
        ["positions, by strategy and NET", f"{report['positions']:,}"],
        ["fills in ClickHouse", f"{report['clickhouse_fills']:,}"],
        ["callback to committed position, p50 / p99 / max", f"{latency['p50']:.1f} / {latency['p99']:.1f} / {latency['max']:.1f} ms"],
    ]
    console.print(table("What the day was", ["what", "how much"], rows, numeric=["how much"]))
    _print_reconciliation(console, report["reconciliation"])
    if report["verdict"] == "consistent":
        console.print("[bold green]consistent[/]: simulator, compacted topic, sum of deltas and ClickHouse agree in every position.")
        return
    console.print(f"[bold red]inconsistent[/]: {len(report['differences'])} differences")
    for difference in report["differences"][:20]:
        console.print(f"  {difference}", highlight=False)


def _print_reconciliation(console: "Console", said: dict[str, Any]) -> None:
    rows = [
        [one["account"], one["state"], str(one["keys_compared"]), str(one["equal"]), str(one["other_average"]), str(one["differences"])]
        for one in said["accounts"]
    ]
    columns = ["account", "trading", "positions", "equal", "average differs", "differences"]
    console.print(table("Compared with the broker after the close", columns, rows, numeric=columns[2:]))
    if any(one["other_average"] for one in said["accounts"]):
        console.print("An average differs where the broker booked in the order of the matches, and we in that of its reports.")
    planted = said["planted"]
    if planted is None:
        return
    where = f"{planted['symbol']} of {planted['account']}: the broker's list said {planted['broker_quantity']:,}, we hold"
    console.print(f"One difference was planted. {where} {planted['ledger_quantity']:,}.", highlight=False, soft_wrap=True)
    found = f"found as {planted['discrepancy_id']}" if planted["discrepancy_id"] else "[bold red]not found[/]"
    booked = "nothing was booked" if not planted["booked"] else f"[bold red]{planted['booked']} corrections were booked[/]"
    console.print(f"It was {found}, {booked}; with the list right again it is {planted['status']}.", highlight=False, soft_wrap=True)
