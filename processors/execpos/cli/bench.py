"""`execpos bench`: what this machine does, as JSON."""

from typing import Any

import click

from execpos.cli.output import json_option, print_json, stdout, table


@click.group()
def bench() -> None:
    """Measure throughput and latency on a fresh embedded stack; figures with their conditions are in docs/performance.md."""


def _show(title: str, report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    rows = [
        [name, f"{value:,}" if isinstance(value, int | float) else str(value)] for name, value in report.items() if name != "conditions"
    ]
    rows += [[name, str(value)] for name, value in report["conditions"].items()]
    stdout().print(table(title, ["what", "value"], rows))


@bench.command()
@click.option("--events", type=click.IntRange(1_000, 10_000_000), default=300_000, show_default=True, help="Callbacks in the backlog.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which simulated day.")
@click.option("--profile", is_flag=True, help="Processor time of each stage in this process instead, without Kafka.")
@json_option
def throughput(*, events: int, seed: int, profile: bool, as_json: bool) -> None:
    """Work off a backlog of the standard workload with one ledger process, all outputs on.

    With --json, one object goes to stdout: events, seconds, events_per_s, cpu_s, events_per_cpu_s, rss_mb, counts, conditions. With
    --profile: records, outputs, task_us, decode_us, payload_us, normalize_us, fold_us, encode_us, rest_us (µs a record), conditions.
    """
    from execpos.bench import stages  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.bench import throughput as measured  # noqa: PLC0415 (likewise)

    run = stages.run if profile else measured.run
    _show("Throughput", run(events, seed), as_json=as_json)


@bench.command()
@click.option("--rate", type=click.FloatRange(1, 10_000), default=100.0, show_default=True, help="Callbacks a second.")
@click.option("--seconds", type=click.FloatRange(5, 3600), default=30.0, show_default=True, help="How long, after 45 s of warming up.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which simulated day.")
@json_option
def latency(*, rate: float, seconds: float, seed: int, as_json: bool) -> None:
    """Measure callback to committed position, read in another process, and a bare round trip through the same broker beside it.

    With --json, one object goes to stdout: n, p50_ms, p90_ms, p99_ms, p999_ms, max_ms, bare (the same of the round trip),
    transactions_per_s, transaction_mean_ms, conditions.
    """
    from execpos.bench import latency as measured  # noqa: PLC0415 (`--help` must not pay for it)

    _show("Latency", measured.run(rate, seconds, seed), as_json=as_json)


@bench.command()
@click.option("--events", type=click.IntRange(1_000, 10_000_000), default=100_000, show_default=True, help="Callbacks to make.")
@click.option("--rate", type=click.FloatRange(0, 100_000), default=10_000.0, show_default=True, help="Callbacks a second; 0: no limit.")
@click.option(
    "--fsync", type=click.Choice(["always", "interval_ms", "never"]), default="interval_ms", show_default=True, help="The journal's policy."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Which simulated day.")
@json_option
def callback(*, events: int, rate: float, fsync: str, seed: int, as_json: bool) -> None:
    """Measure how long a callback holds up the broker's thread, with journal and publishing at work, and count what is lost.

    With --json, one object goes to stdout: n, lost, p50_us, p99_us, p999_us, max_us, capture_delay_p50_us and the like, seconds,
    sustained_per_s, cpu_us_per_callback, waiting_at_the_end, backlog_at_the_end, unacknowledged, fsync, rss_mb_peak, baseline, conditions.
    """
    from execpos.bench import callback as measured  # noqa: PLC0415 (`--help` must not pay for it)

    _show("Callback", measured.run(events, rate, seed, fsync), as_json=as_json)


@bench.command("snapshot")
@click.option("--positions", type=click.IntRange(2, 1_000_000), default=10_000, show_default=True, help="Rows, NET included.")
@click.option("--orders", type=click.IntRange(0, 1_000_000), default=20_000, show_default=True, help="One of a hundred still works.")
@json_option
def snapshot_command(*, positions: int, orders: int, as_json: bool) -> None:
    """Measure what the snapshot of one account costs the ledger, without Kafka.

    With --json, one object goes to stdout: positions, orders, open_orders, first_ms (nothing is encoded yet), next_ms (nothing has
    changed), parts, bytes, the last four also _with_marks, conditions.
    """
    from execpos.bench import snapshot as measured  # noqa: PLC0415 (`--help` must not pay for it)

    _show("Snapshot", measured.run(positions, orders), as_json=as_json)


@bench.command()
@click.option("--positions", type=click.IntRange(100, 1_000_000), default=10_000, show_default=True, help="Positions in the topic.")
@click.option("--versions", type=click.IntRange(1, 1_000), default=1, show_default=True, help="Records of each: how little was compacted.")
@json_option
def view(*, positions: int, versions: int, as_json: bool) -> None:
    """Measure how long a strategy's process takes until every position is readable, and how long the gate takes for an answer.

    With --json, one object goes to stdout: positions, records, bytes, seconds, process_seconds, check_p50_us, check_p99_us, conditions.
    """
    from execpos.bench import view as measured  # noqa: PLC0415 (`--help` must not pay for it)

    _show("View", measured.run(positions, versions), as_json=as_json)


@bench.command()
@click.option("--positions", type=click.IntRange(300, 1_000_000), default=10_000, show_default=True, help="About how many rows.")
@click.option("--fills", type=click.IntRange(1_000, 10_000_000), default=500_000, show_default=True, help="Fills in the window.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which simulated day.")
@json_option
def restore(*, positions: int, fills: int, seed: int, as_json: bool) -> None:
    """Measure how long a ledger takes from the start of its process until it is ready, with a full window.

    Filling the topics takes some minutes. With --json, one object goes to stdout: positions, fills, orders, claims, seconds, cpu_s, rss_mb,
    phases (seconds from the start to each step), all of the median start; first_seconds (of the start that warms the broker), starts_s (of
    those behind it), records (what stands in the topics), conditions.
    """
    from execpos.bench import restore as measured  # noqa: PLC0415 (`--help` must not pay for it)

    _show("Restore", measured.run(positions, fills, seed), as_json=as_json)


@bench.command()
@click.option("--accounts", type=click.IntRange(1, 50), default=10, show_default=True, help="Accounts of the login.")
@click.option("--symbols", type=click.IntRange(1, 2_000), default=200, show_default=True, help="Symbols that each of them trades.")
@click.option("--fills", type=click.IntRange(100, 5_000_000), default=100_000, show_default=True, help="Fills of the history.")
@click.option("--days", type=click.IntRange(1, 5), default=5, show_default=True, help="Days of the history, today included.")
@click.option("--rate", type=click.FloatRange(1, 200), default=10.0, show_default=True, help="Reports a second while it is killed.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which simulated days.")
@json_option
def restart(*, accounts: int, symbols: int, fills: int, days: int, rate: float, seed: int, as_json: bool) -> None:
    """Kill bridge, ledger and reconciler while the market trades, start them, and measure until every account is reconciled and ACTIVE.

    Making the history takes some minutes. With --json, one object goes to stdout: seconds, restore_s (until the ledger is at work),
    bridge_s (until the bridge has caught up), reconcile_s (from restore_s to the end), broker_calls (of the accounting group),
    calls_in_5_s (the most of them), rounds, keys_compared, unequal_averages, lost_in_memory (callbacks), all of the median restart;
    first_seconds (of the one that warms the broker), restarts_s (of those behind it), accounts, symbols, check (what the broker's truth
    says of the book at the end), conditions. Exit status 6: a fill is lost or counted twice, a position is wrong, or more than 20 calls
    came within 5 s.
    """
    from execpos.bench import restart as measured  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.bench.restart_parts import Size  # noqa: PLC0415 (as above)
    from execpos.errors import CheckFailed  # noqa: PLC0415 (as above)

    report = measured.run(Size(accounts, symbols, fills, days, rate, seed))
    _show("Restart", report, as_json=as_json)
    if report["check"]["verdict"] != "consistent":
        raise CheckFailed("the book is not what the broker says, or the broker was asked too often", hint="`check` of the result has it")


class _Counts(click.ParamType[tuple[int, ...]]):
    """Whole numbers joined by commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.isdecimal() and 1 <= int(part) <= _PROCESSES_MAX for part in parts):
            self.fail(f"{value!r} is not like 1,2,4, each at most {_PROCESSES_MAX}", param, ctx)
        return tuple(map(int, parts))


# More would find no partition of the usual twelve.
_PROCESSES_MAX = 12


@bench.command()
@click.option("--processes", type=_Counts(), default="1,2,4", show_default=True, help="How many ledgers, of each run.")
@click.option("--events", type=click.IntRange(1_000, 10_000_000), default=300_000, show_default=True, help="Callbacks in the backlog.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which simulated day.")
@json_option
def scale(*, processes: tuple[int, ...], events: int, seed: int, as_json: bool) -> None:
    """Work off one backlog with several ledger processes in one group, a run for each number of them.

    With --json, one object goes to stdout: runs (each processes, records, seconds, records_per_s, records_per_cpu_s, records_of_each,
    rss_mb_of_each), conditions.
    """
    from execpos.bench import scale as measured  # noqa: PLC0415 (`--help` must not pay for it)

    report = measured.run(events, processes, seed)
    if as_json:
        print_json(report)
        return
    for one in report["runs"]:
        _show(f"{one['processes']} processes", {**one, "conditions": report["conditions"]}, as_json=False)
