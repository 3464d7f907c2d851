"""`execpos sim`: the simulated broker as a file of callbacks, or as a process of its own."""

import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from execpos.cli import connect, output
from execpos.errors import CheckFailed, ExecposError, UsageError

if TYPE_CHECKING:
    from execpos.brokers.sim.config import SimIntent
    from execpos.brokers.sim.scenario import Scenario

# How often a server looks whether its venue is still well, seconds.
_LOOK_S = 0.5

scenario_option = click.option(
    "--scenario", "scenario_name", help="A scenario file, or the name of a shipped one (config/scenarios), as rough-day."
)
seed_option = click.option("--seed", type=int, help="Another day than the scenario's.")
truth_option = click.option(
    "--truth", type=click.Path(dir_okay=False, path_type=Path), help="Write what really happened into this file at the end, as JSON."
)


@click.group()
def sim() -> None:
    """Run the simulated broker: record a day of it, or serve it."""


def load_scenario(name: str) -> "Scenario":
    """Return a scenario, of a file or by the name of a shipped one.

    Raises:
        ConfigError: it is not in order; names file and line.
        UsageError: there is none of that name.
    """
    from execpos import resources  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.brokers.sim.scenario import parse  # noqa: PLC0415 (as above)
    from execpos.settings.yamlfile import YamlFile  # noqa: PLC0415 (as above)

    path = Path(name)
    if not path.is_file():
        shipped = resources.folder("config") / "scenarios"
        path = shipped / f"{name}.yaml"
        if not path.is_file():
            names = ", ".join(sorted(each.stem for each in shipped.glob("*.yaml")))
            raise UsageError(f"no scenario {name!r}", hint=f"give a file, or one of {names}")
    file = YamlFile(path, name)
    return parse(file.data, file.place)


def _chosen(name: str, seed: int | None) -> "Scenario":
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    scenario = load_scenario(name)
    return scenario if seed is None else msgspec.structs.replace(scenario, seed=seed)


@sim.command()
@click.argument("file", type=click.File("wb", lazy=True))
@scenario_option
@seed_option
@click.option("--events", type=click.IntRange(1), help="End the last session after so many callbacks and intents.")
@click.option("--intents", type=click.File("wb", lazy=True), help="Write who placed what into this file, as `execpos fold` reads it.")
@truth_option
@output.json_option
def record(
    *,
    file: IO[bytes],
    scenario_name: str | None,
    seed: int | None,
    events: int | None,
    intents: IO[bytes] | None,
    truth: Path | None,
    as_json: bool,
) -> None:
    """Write the callbacks of a scenario into FILE, as fast as they can be made; "-" is standard output.

    A line is {"kind", "payload", "at_us", "faults"}: what `execpos fold` and `execpos run bridge --file` read, with notes. Without a
    scenario it is quiet-day. With --json, one object goes to stdout: callbacks, seed, and the counts of the truth.
    """
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)
    import orjson  # noqa: PLC0415 (as above)

    from execpos.brokers.sim.facts import truth_of  # noqa: PLC0415 (as above)
    from execpos.brokers.sim.recording import Recording  # noqa: PLC0415 (as above)

    if file.name == "-" and as_json:
        raise click.UsageError('FILE "-" and --json both write to standard output')
    scenario = _chosen(scenario_name or "quiet-day", seed)
    last = scenario.sessions[-1]
    if events is not None:
        last = msgspec.structs.replace(last, events=events, seconds=None)
        scenario = msgspec.structs.replace(scenario, sessions=(*scenario.sessions[:-1], last))
    if last.events is None and last.seconds is None:
        raise click.UsageError("this scenario has no end: give --events")
    count = 0

    def write(kind: str, payload: dict[str, Any], at_us: int, faults: list[str]) -> None:
        nonlocal count
        count += 1
        file.write(orjson.dumps({"kind": kind, "payload": payload, "at_us": at_us, "faults": faults}) + b"\n")

    recording = Recording(scenario, write, time.time_ns() // 1000)
    recording.run()
    if intents is not None:
        for intent in recording.play.intents:
            intents.write(orjson.dumps(_intent_line(intent)) + b"\n")
    found = truth_of(recording.play)
    if truth is not None:
        truth.write_bytes(orjson.dumps(found))
    if as_json:
        output.print_json({"callbacks": count, "seed": found["seed"], "counts": found["counts"]})
    else:
        counts = "  ".join(f"{name} {number}" for name, number in found["counts"].items() if number)
        output.stderr().print(f"{count} callbacks written: {counts}", highlight=False, soft_wrap=True)


def _intent_line(intent: "SimIntent") -> dict[str, str]:
    from execpos.domain.ids import account_key, session_id  # noqa: PLC0415 (`--help` must not pay for it)

    account = intent.account
    return {
        # A file that is folded is a replay.
        "account": account_key("replay", account.market, account.broker_id, account.account_id),
        "session_id": session_id(intent.created_us),
        "strategy_id": intent.strategy_id,
        "order_id": intent.order_id,
        "seqno": intent.seqno,
    }


@sim.command()
@scenario_option
@seed_option
@click.option("--listen", "address", default="127.0.0.1:0", show_default=True, help="127.0.0.1:PORT (0: a free one) or unix:/a/path.")
@truth_option
@output.json_option
def serve(*, scenario_name: str | None, seed: int | None, address: str, truth: Path | None, as_json: bool) -> None:
    """Serve the simulated broker until SIGTERM or an interrupt; print its address first. Without a scenario it is live-day.

    Trading begins when a client has subscribed all accounts. The broker outlives its clients; what it sends while none is connected is lost
    to callbacks, as with the real one.
    """
    import orjson  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.brokers.sim.server import Server  # noqa: PLC0415 (as above)
    from execpos.brokers.sim.venue import Venue  # noqa: PLC0415 (as above)

    scenario = _chosen(scenario_name or "live-day", seed)
    with connect.stopped_by_signals() as stop:
        venue = Venue(scenario)
        server = Server(venue, address)
        venue.start()
        server.start()
        if as_json:
            output.print_json({"address": server.address, "seed": scenario.seed})
        else:
            click.echo(server.address)
        while venue.error is None and not stop.wait(_LOOK_S):
            pass
        server.stop()
        venue.stop()
        if truth is not None:
            truth.write_bytes(orjson.dumps(venue.truth()))
    if isinstance(venue.error, ExecposError):
        raise venue.error
    if venue.error is not None:
        raise CheckFailed(f"the simulated broker stopped: {venue.error}")
