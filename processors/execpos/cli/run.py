"""`execpos run`: one component, until it is told to stop."""

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from execpos.cli import connect
from execpos.cli.config import config_option
from execpos.cli.output import json_option, print_json

if TYPE_CHECKING:
    from execpos.bridge.service import Bridge, BridgeOptions
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

    name = instance or settings.ledger.instance
    options = service.LedgerOptions(
        env=settings.env,
        prefix=settings.kafka.prefix,
        instance=name,
        limits=LoopLimits(
            poll_s=settings.ledger.poll_ms / 1000,
            batch=settings.ledger.batch_max,
            transaction=within_session(settings.ledger.session_timeout_ms / 1000),
        ),
    )
    schemas = connect.schemas(settings)
    with connect.stopped_by_signals() as stop:
        service.run(options, connect.cluster(settings, f"ledger-{name}"), settings.rules(), schemas, stop)


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
    "--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Publish this file of callbacks, then end."
)
@click.option("--sim", is_flag=True, help="Publish a day of the simulator.")
@click.option("--rate", type=click.FloatRange(0.1, 100_000), default=100.0, show_default=True, help="Simulator: callbacks a second.")
@click.option("--seconds", type=click.FloatRange(1), help="Simulator: end after so long; without it, never.")
@click.option("--seed", type=int, help="Simulator: which day; a random one without it, named in the log.")
@metrics_option
@json_option
def bridge(
    *,
    config_dir: Path | None,
    path: Path | None,
    sim: bool,
    rate: float,
    seconds: float | None,
    seed: int | None,
    metrics_port: int | None,
    as_json: bool,
) -> None:
    """Publish a broker's callbacks to exec.raw: of a file, or of the simulator.

    With --json, one object goes to stdout at the end: callbacks, published, acknowledged, waiting, oversized, intents, unknown_fields.
    """
    if (path is not None) == sim:
        raise click.UsageError("give either --file FILE or --sim")
    settings = _start(config_dir, metrics_port)
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.bridge import service  # noqa: PLC0415 (as above)

    options = service.BridgeOptions(
        prefix=settings.kafka.prefix, bridge_id=settings.bridge.id, payload_bytes_max=settings.bridge.max_payload_bytes
    )
    if path is not None:
        made = service.replay_bridge(
            path, options, connect.cluster(settings, options.bridge_id), raw_schema_id=_ids(settings)["RawExecEvent"]
        )
    else:
        made = _simulated(settings, options, rate, seconds, seed)
    with connect.stopped_by_signals() as stop:
        report = made.run(stop)
    if as_json:
        print_json(msgspec.structs.asdict(report))


def _ids(settings: "Settings") -> dict[str, int]:
    return {record.__name__: schema_id for record, schema_id in connect.schemas(settings).ids.items()}


def _simulated(settings: "Settings", options: "BridgeOptions", rate: float, seconds: float | None, seed: int | None) -> "Bridge":
    from execpos.bridge import service  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.brokers.sim.config import SimConfig, start_within_session  # noqa: PLC0415 (as above)
    from execpos.brokers.sim.day import Simulator  # noqa: PLC0415 (as above)

    chosen = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    config = SimConfig(
        seed=chosen,
        # Without an end, hope for an hour; a run over the end of a session goes on in the next one.
        start_us=start_within_session(time.time_ns() // 1000, round((seconds or 3600) * 1e6)),
        step_us=max(1, round(1_000_000 / rate)),
        events=None if seconds is None else max(1, round(rate * seconds)),
    )
    click.echo(f"simulated day of seed {chosen}", err=True)
    ids = _ids(settings)
    return service.sim_bridge(
        Simulator(config),
        options,
        connect.cluster(settings, options.bridge_id),
        raw_schema_id=ids["RawExecEvent"],
        intent_schema_id=ids["Intent"],
        paced=True,
    )
