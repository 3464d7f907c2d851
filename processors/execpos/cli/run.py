"""`execpos run`: one component, until it is told to stop."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from execpos.cli import connect
from execpos.cli.config import config_option
from execpos.cli.output import json_option, print_json

if TYPE_CHECKING:
    from execpos.settings import Settings

metrics_option = click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Serve Prometheus metrics on this port of the loopback address."
)


@click.group()
def run() -> None:
    """Run one component until SIGTERM or an interrupt, which end it cleanly with exit status 0."""


def _start(config_dir: Path | None, metrics_port: int | None) -> "Settings":
    from execpos import __version__  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.settings import load  # noqa: PLC0415 (as above)
    from execpos.telemetry import log, metrics  # noqa: PLC0415 (as above)

    log.configure()
    metrics.gauge("execpos_build_info").labels(version=__version__).set(1)
    if metrics_port is not None:
        metrics.serve("127.0.0.1", metrics_port)
    return load(config_dir)


@run.command()
@config_option
@click.option("--instance", help="Name of this process, the same after a restart; by default ledger.instance of the configuration.")
@metrics_option
def ledger(config_dir: Path | None, instance: str | None, metrics_port: int | None) -> None:
    """Turn raw reports into orders, fills and positions, exactly once."""
    settings = _start(config_dir, metrics_port)
    from execpos.kafka.loop import LoopLimits  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.kafka.transaction import within_session  # noqa: PLC0415 (as above)
    from execpos.ledger import service  # noqa: PLC0415 (as above)
    from execpos.ledger.snapshots import SnapshotOptions  # noqa: PLC0415 (as above)

    name = instance or settings.ledger.instance
    options = service.LedgerOptions(
        env=settings.env,
        prefix=settings.kafka.prefix,
        instance=name,
        limits=LoopLimits(
            poll_s=settings.ledger.poll_ms / 1000,
            batch=settings.ledger.batch_max,
            leave_s=LoopLimits().leave_s if settings.ledger.leave_on_stop else 0.0,
            transaction=within_session(settings.ledger.session_timeout_ms / 1000),
        ),
        progress_s=settings.ledger.progress_interval_ms / 1000,
        snapshots=SnapshotOptions(**settings.snapshots.model_dump()),
    )
    schemas = connect.schemas(settings)
    with connect.stopped_by_signals() as stop:
        service.run(options, connect.cluster(settings, f"ledger-{name}"), settings.rules(), schemas, stop)


@run.command()
@config_option
@click.option("--instance", help="Name of this process, the same after a restart; by default reconciler.instance of the configuration.")
@metrics_option
def reconciler(config_dir: Path | None, instance: str | None, metrics_port: int | None) -> None:
    """Compare every account with the broker, correct or tell what differs, and stop trading where nobody can be sure.

    Several processes of other names share the accounts; one that has none is a hot spare for the others.
    """
    settings = _start(config_dir, metrics_port)
    from execpos.kafka.loop import LoopLimits  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.kafka.transaction import within_session  # noqa: PLC0415 (as above)
    from execpos.reconciler import service  # noqa: PLC0415 (as above)
    from execpos.reconciler.rules import pace, rules  # noqa: PLC0415 (as above)

    name = instance or settings.reconciler.instance
    options = service.ReconcilerOptions(
        env=settings.env,
        prefix=settings.kafka.prefix,
        instance=name,
        limits=LoopLimits(
            leave_s=LoopLimits().leave_s if settings.reconciler.leave_on_stop else 0.0,
            transaction=within_session(settings.reconciler.session_timeout_ms / 1000),
        ),
    )
    schemas = connect.schemas(settings)
    with connect.stopped_by_signals() as stop:
        cluster = connect.cluster(settings, f"reconciler-{name}", settings.reconciler)
        service.run(options, cluster, rules(settings, name), pace(settings), schemas, stop)


@run.command()
@config_option
@metrics_option
def recorder(config_dir: Path | None, metrics_port: int | None) -> None:
    """Keep ClickHouse's tables and its Kafka consumers in place, and watch them."""
    settings = _start(config_dir, metrics_port)
    from execpos.recorder.service import Recorder  # noqa: PLC0415 (`--help` must not pay for it)

    options = connect.recorder_options(settings)
    with connect.stopped_by_signals() as stop:
        Recorder(options).run(stop)


@run.command()
@config_option
@click.option(
    "--broker",
    type=click.Choice(["sim", "shioaji"]),
    help="Whose reports: the simulated broker, or SinoPac through Shioaji (keys SHIOAJI_API_KEY and SHIOAJI_SECRET_KEY).",
)
@click.option("--scenario", help="Simulated broker: what it plays, a file or the name of a shipped one. [default: live-day]")
@click.option("--connect", "address", help="Simulated broker: the one that `execpos sim serve` runs at this address.")
@click.option(
    "--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Publish this file of callbacks, then end."
)
@click.option("--sim", is_flag=True, help="Publish a simulated day without its broker: reports only, nothing can be asked.")
@click.option("--rate", type=click.FloatRange(0.1, 100_000), default=100.0, show_default=True, help="With --sim: callbacks a second.")
@click.option("--seconds", type=click.FloatRange(1), help="With --sim: end after so long; without it, never.")
@click.option("--seed", type=int, help="Which simulated day; with --sim a random one without it, named in the log.")
@metrics_option
@json_option
def bridge(
    *,
    config_dir: Path | None,
    broker: str | None,
    scenario: str | None,
    address: str | None,
    path: Path | None,
    sim: bool,
    rate: float,
    seconds: float | None,
    seed: int | None,
    metrics_port: int | None,
    as_json: bool,
) -> None:
    """Publish a broker's callbacks to exec.raw: of a login, of the simulated broker, or of a file.

    What Kafka does not have yet is in the journal (bridge.journal.folder), and the next start publishes it. Exit status 7: another bridge
    has this journal, or has claimed this name. With --json, one object goes to stdout at the end: callbacks, published, acknowledged,
    waiting, backlog, oversized, parked, intents, gaps, open_gaps, heartbeats, marks, incarnation, epoch, unknown_fields.
    """
    from execpos.cli.bridges import Choice, made  # noqa: PLC0415 (`--help` must not pay for it)

    choice = Choice(path, sim, broker, scenario, address, rate, seconds, seed)
    choice.check()
    settings = _start(config_dir, metrics_port)
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.bridge.tuning import tune  # noqa: PLC0415 (as above)

    with connect.stopped_by_signals() as stop, made(settings, choice) as built:
        tune()
        report = built.run(stop)
    if as_json:
        print_json(msgspec.structs.asdict(report))
