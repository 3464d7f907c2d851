"""`execpos up`: the embedded servers until interrupted."""

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from execpos.cli.output import json_option, print_json, stdout, table
from execpos.errors import DependencyError

if TYPE_CHECKING:
    from execpos.local.process import Part
    from execpos.local.stack import Stack

# How soon the death of a server is noticed.
_WATCH_S = 0.25

# Asked to end by a supervisor, by Ctrl-C, by a closed terminal.
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# The settings by which every other command finds the servers.
_SETTINGS = {
    "kafka": "EXECPOS_KAFKA__BOOTSTRAP_SERVERS",
    "registry": "EXECPOS_REGISTRY__URL",
    "clickhouse": "EXECPOS_CLICKHOUSE__URL",
}


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the data; kept, so that the next start goes on with it. [default: execpos/default in $XDG_STATE_HOME]",
)
@click.option("--no-clickhouse", is_flag=True, help="Start Kafka and the registry only.")
@click.option("--kafka-port", type=click.IntRange(0, 65535), default=0, help="[default: the last one used, else a free one]")
@click.option("--registry-port", type=click.IntRange(0, 65535), default=0, help="[default: as above]")
@click.option("--clickhouse-port", type=click.IntRange(0, 65535), default=0, help="[default: as above]")
@click.option(
    "--prepare", is_flag=True, help="Only download everything and make start-up images, so that later starts are quicker; then end."
)
@json_option
def up(
    *, data: Path | None, no_clickhouse: bool, kafka_port: int, registry_port: int, clickhouse_port: int, prepare: bool, as_json: bool
) -> None:
    """Run Kafka, the schema registry and ClickHouse on this machine until interrupted.

    All listen on 127.0.0.1 only. Ctrl-C or SIGTERM stops them cleanly and is success; a second one kills them.
    With --json, one object goes to stdout once all answer: data, pid, seconds (of the start), addresses (by server) and
    settings (by environment variable, for the other commands).
    """
    from execpos.local.stack import Stack, state_folder  # noqa: PLC0415 (`--help` must not pay for it)

    stack = Stack(
        data or state_folder(),
        clickhouse=not no_clickhouse,
        kafka_port=kafka_port,
        registry_port=registry_port,
        clickhouse_port=clickhouse_port,
    )
    if prepare:
        stack.prepare()
        click.echo(f"prepared in {stack.cache}", err=True)
        return
    for each in _STOP_SIGNALS:
        signal.signal(each, _on_signal)
    try:
        click.echo(f"starting; data in {stack.data}", err=True)
        begin = time.monotonic()
        stack.start()
        _announce(stack, time.monotonic() - begin, as_json=as_json)
        _watch(stack)
    except KeyboardInterrupt:
        click.echo("stopping; interrupt again to kill", err=True)
    finally:
        stack.stop()


def _on_signal(signum: int, _frame: object) -> None:
    """Turn the first signal into an orderly stop, the second into an immediate end (the kernel then ends the servers)."""
    for each in _STOP_SIGNALS:
        signal.signal(each, lambda *_: os._exit(128 + signum))
    raise KeyboardInterrupt


def _announce(stack: "Stack", seconds: float, *, as_json: bool) -> None:
    addresses = stack.addresses()
    settings = {_SETTINGS[name]: address for name, address in addresses.items()}
    if as_json:
        shown = {"data": str(stack.data), "pid": os.getpid(), "seconds": round(seconds, 2), "addresses": addresses, "settings": settings}
        print_json(shown)
        return
    stdout().print(table(f"Up after {seconds:.1f} s", ["server", "address"], [[name, address] for name, address in addresses.items()]))
    click.echo("\nFor other terminals:")
    for setting, address in settings.items():
        click.echo(f"  export {setting}={address}")


def _watch(stack: "Stack") -> NoReturn:
    while True:
        for part in stack.parts:
            if not part.alive():
                raise _died(part)
        time.sleep(_WATCH_S)


def _died(part: "Part") -> DependencyError:
    from execpos.local.process import log_tail  # noqa: PLC0415 (`--help` must not pay for it)

    tail = "\n".join(f"  | {line}" for line in log_tail(part.log_path).splitlines())
    return DependencyError(
        f"{part.name} ended by itself; the other servers are being stopped",
        hint=f"start again, the data is kept; the end of {part.log_path}:\n{tail}",
        part=part.name,
    )
