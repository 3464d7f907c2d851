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
@json_option
def throughput(*, events: int, seed: int, as_json: bool) -> None:
    """Work off a backlog of the standard workload with one ledger process, all outputs on.

    With --json, one object goes to stdout: events, seconds, events_per_s, cpu_s, events_per_cpu_s, rss_mb, counts, conditions.
    """
    from execpos.bench import throughput as measured  # noqa: PLC0415 (`--help` must not pay for it)

    _show("Throughput", measured.run(events, seed), as_json=as_json)


@bench.command()
@click.option("--rate", type=click.FloatRange(1, 10_000), default=100.0, show_default=True, help="Callbacks a second.")
@click.option("--seconds", type=click.FloatRange(5, 3600), default=30.0, show_default=True, help="How long, after 45 s of warming up.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which simulated day.")
@json_option
def latency(*, rate: float, seconds: float, seed: int, as_json: bool) -> None:
    """Measure callback to committed position, read in another process.

    With --json, one object goes to stdout: n, p50_ms, p90_ms, p99_ms, p999_ms, max_ms, conditions.
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
