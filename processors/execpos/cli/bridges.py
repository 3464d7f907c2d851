"""What `execpos run bridge` puts together: a source of reports, its journal, Kafka."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from execpos.cli import connect
from execpos.cli.journal import folder_of
from execpos.errors import ConfigError

if TYPE_CHECKING:
    from execpos.bridge.journal.journal import Journal
    from execpos.bridge.journal.writer import JournalPolicy
    from execpos.bridge.options import BridgeOptions
    from execpos.bridge.requests import Blackout
    from execpos.bridge.service import Bridge
    from execpos.brokers.budget import Budget
    from execpos.brokers.protocol import BrokerAccount
    from execpos.brokers.sim.api import Link
    from execpos.settings import Settings

# What the broker has no answer for while it books a market's day; the day's records it has.
_BOOKED = frozenset({"POSITIONS", "LOTS", "PROFIT_LOSS"})

# How often a simulated broker is asked whether its scenario is over.
_FINISHED_EVERY_S = 0.25


class Choice(NamedTuple):
    """What the command line asks for: at most one of `file`, `sim` and `broker`."""

    file: Path | None
    sim: bool
    broker: str | None
    scenario: str | None
    address: str | None
    rate: float
    seconds: float | None
    seed: int | None

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            click.UsageError: and says what to give instead.
        """
        if (self.file is not None) + self.sim + (self.broker is not None) != 1:
            raise click.UsageError("give one of --broker NAME, --file FILE and --sim")
        if self.broker != "sim" and (self.scenario or self.address):
            raise click.UsageError("--scenario and --connect belong to --broker sim")
        if self.scenario and self.address:
            raise click.UsageError("--scenario is for a broker in this process; the one at --connect has its own")


@contextmanager
def made(settings: "Settings", choice: Choice) -> Iterator["Bridge"]:
    """Yield the bridge, not running; what it needs beside itself ends with the block.

    Raises:
        ExecposError: the journal is in use, the configuration does not fit, or what is to be read cannot be.
    """
    if choice.file is not None:
        yield _replay(settings, choice.file)
    elif choice.sim:
        yield _day(settings, choice)
    elif choice.broker == "sim":
        with _simulated(settings, choice) as bridge:
            yield bridge
    else:
        yield _shioaji(settings)


def options(settings: "Settings") -> "BridgeOptions":
    """Return how a bridge of these settings runs."""
    from execpos.bridge.desk import DeskOptions  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.bridge.options import BridgeOptions  # noqa: PLC0415 (as above)

    bridge = settings.bridge
    return BridgeOptions(
        prefix=settings.kafka.prefix,
        bridge_id=bridge.id,
        beat_interval_s=bridge.heartbeat_interval_s,
        drain_timeout_s=bridge.drain_timeout_s,
        payload_bytes_max=bridge.max_payload_bytes,
        alarm_records=bridge.captured_alarm,
        marks_interval_s=bridge.marks_interval_s,
        part_bytes_max=bridge.max_part_bytes,
        desk=DeskOptions(orders_interval_s=settings.polling.orders_interval_s),
        inbox_poll_s=bridge.request_poll_ms / 1000,
        lease_s=bridge.lease_s,
    )


def _policy(settings: "Settings") -> "JournalPolicy":
    from execpos.bridge.journal.writer import JournalPolicy  # noqa: PLC0415 (`--help` must not pay for it)

    journal = settings.bridge.journal
    return JournalPolicy(
        fsync=journal.fsync,
        fsync_interval_ms=journal.fsync_interval_ms,
        segment_bytes=journal.segment_bytes,
        segment_age_s=journal.segment_age_s,
        retain_hours=journal.retain_hours,
        retain_bytes=journal.retain_bytes,
    )


def _journal(settings: "Settings", env: str) -> "Journal":
    from execpos.bridge.journal.journal import Journal  # noqa: PLC0415 (`--help` must not pay for it)

    return Journal.open(folder_of(settings, env), env=env, bridge_id=settings.bridge.id, policy=_policy(settings))


def _replay(settings: "Settings", path: Path) -> "Bridge":
    from execpos.bridge.made import replay_bridge  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.brokers.replay import ReplayBroker  # noqa: PLC0415 (as above)

    folder = folder_of(settings, ReplayBroker.env)
    return replay_bridge(path, options(settings), folder, connect.wire(settings, settings.bridge.id), _policy(settings))


def _day(settings: "Settings", choice: Choice) -> "Bridge":
    from execpos.bridge.made import sim_bridge  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.brokers.sim.broker import SimBroker  # noqa: PLC0415 (as above)
    from execpos.brokers.sim.config import SimConfig, start_within_session  # noqa: PLC0415 (as above)
    from execpos.brokers.sim.day import Simulator  # noqa: PLC0415 (as above)

    seed, seconds = _seed(choice), choice.seconds
    config = SimConfig(
        seed=seed,
        # Without an end, hope for an hour; a run over the end of a session goes on in the next one.
        start_us=start_within_session(time.time_ns() // 1000, round((seconds or 3600) * 1e6)),
        step_us=max(1, round(1_000_000 / choice.rate)),
        events=None if seconds is None else max(1, round(choice.rate * seconds)),
    )
    folder, wire = folder_of(settings, SimBroker.env), connect.wire(settings, settings.bridge.id)
    return sim_bridge(Simulator(config), options(settings), folder, wire, paced=True, policy=_policy(settings))


@contextmanager
def _simulated(settings: "Settings", choice: Choice) -> Iterator["Bridge"]:
    """Yield a bridge of the simulated broker, in this process or served by another one; the real adapter talks to it."""
    from execpos.bridge.intents import IntentPump  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.bridge.made import intent_writer  # noqa: PLC0415 (as above)
    from execpos.bridge.service import Bridge  # noqa: PLC0415 (as above)
    from execpos.brokers.shioaji import BrokerOptions, Credentials, ShioajiBroker  # noqa: PLC0415 (as above)
    from execpos.brokers.sim.api import SimApi  # noqa: PLC0415 (as above)
    from execpos.brokers.sim.config import SDK_VERSION  # noqa: PLC0415 (as above)

    with _links(choice) as make_link:
        wire = connect.wire(settings, settings.bridge.id)
        writer = intent_writer(options(settings), wire())
        journal = _journal(settings, "simulation")
        # Outside any login: what it asks costs the simulated broker's client nothing.
        watcher = SimApi(make_link())
        pump = IntentPump(watcher.sim_intents, writer)
        broker = ShioajiBroker(
            BrokerOptions(
                env="simulation",
                sdk_version=SDK_VERSION,
                budget_wait_s=settings.bridge.budget_wait_s,
                answer_timeout_ms=round(settings.bridge.answer_timeout_s * 1000),
            ),
            lambda: SimApi(make_link()),
            # The simulated broker takes any.
            Credentials("simulated", "simulated"),
            _budget(settings, journal, blackout=False),
            drop_api=_leave,
            is_finished=_seldom(watcher.sim_finished),
        )
        try:
            # It has no maintenance and no nightly batch, so no window in which it must not be asked.
            yield Bridge(options(settings), broker, journal, wire, broker=broker, intents=pump)
        finally:
            watcher.sim_close()


@contextmanager
def _links(choice: Choice) -> Iterator[Callable[[], "Link"]]:
    """Yield what makes a way to the simulated broker."""
    from execpos.brokers.sim.link import LocalLink, open_link  # noqa: PLC0415 (`--help` must not pay for it)

    if choice.address is not None:
        address = choice.address
        yield lambda: open_link(address)
        return
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.brokers.sim.venue import Venue  # noqa: PLC0415 (as above)
    from execpos.cli.sim import load_scenario  # noqa: PLC0415 (as above)

    scenario = load_scenario(choice.scenario or "live-day")
    venue = Venue(scenario if choice.seed is None else msgspec.structs.replace(scenario, seed=choice.seed))
    venue.start()
    try:
        yield lambda: LocalLink(venue)
    finally:
        venue.stop()


def _shioaji(settings: "Settings") -> "Bridge":
    from functools import partial  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.bridge.service import Bridge  # noqa: PLC0415 (as above)
    from execpos.brokers.shioaji import BrokerOptions, Credentials, ShioajiBroker, sdk  # noqa: PLC0415 (as above)
    from execpos.settings.sources import SECRETS_DIR  # noqa: PLC0415 (as above)

    env = settings.env
    if env == "replay":
        raise ConfigError("env is replay, and a login is production or simulation", hint="set env, or EXECPOS_ENV")
    credentials = Credentials.read(os.environ, os.environ.get(SECRETS_DIR, ""))
    folder = Path(settings.bridge.journal.folder).parent / "shioaji"
    version = sdk.version(folder)
    journal = _journal(settings, env)
    broker = ShioajiBroker(
        BrokerOptions(
            env=env,
            sdk_version=version,
            budget_wait_s=settings.bridge.budget_wait_s,
            answer_timeout_ms=round(settings.bridge.answer_timeout_s * 1000),
        ),
        partial(sdk.make_api, folder, simulation=env == "simulation"),
        credentials,
        _budget(settings, journal, blackout=True),
    )
    return Bridge(
        options(settings), broker, journal, connect.wire(settings, settings.bridge.id), broker=broker, blackout=blackouts(settings)
    )


def blackouts(settings: "Settings") -> "Blackout":
    """Return when a real login must not be asked: for anything in windows of both markets, for positions and profits in its market's."""
    calendar = settings.calendar.build()

    def blackout(ts_us: int, account: "BrokerAccount", what: str) -> str:
        window = calendar.blackout(ts_us, account.market)
        if what in _BOOKED:
            return window
        # What both markets have in common is the broker's maintenance.
        return window if window == calendar.blackout(ts_us, "F" if account.market == "S" else "S") else ""

    return blackout


def _budget(settings: "Settings", journal: "Journal", *, blackout: bool) -> "Budget":
    from execpos.brokers.budget import Budget, BudgetLimits, Rate  # noqa: PLC0415 (`--help` must not pay for it)

    polling = settings.polling
    limits = BudgetLimits(
        share=polling.budget_share,
        accounting=Rate(polling.accounting.calls, polling.accounting.per_s),
        orders=Rate(polling.orders.calls, polling.orders.per_s),
        data=Rate(polling.data.calls, polling.data.per_s),
        suspension_s=polling.suspension_s,
    )
    return Budget(
        limits,
        journal.state,
        wall_us=lambda: time.time_ns() // 1000,
        monotonic_us=lambda: time.monotonic_ns() // 1000,
        sleep=time.sleep,
        blackout=settings.calendar.build().blackout if blackout else None,
    )


def _leave(api: Any) -> None:
    """End a client of the simulated broker."""
    try:
        api.logout()
    finally:
        api.sim_close()


def _seldom(ask: Callable[[], bool]) -> Callable[[], bool]:
    """Return `ask`, asked no more often than a bridge has to know."""
    known, next_s = False, 0.0

    def answer() -> bool:
        nonlocal known, next_s
        if time.monotonic() >= next_s:
            known, next_s = ask(), time.monotonic() + _FINISHED_EVERY_S
        return known

    return answer


def _seed(choice: Choice) -> int:
    seed = random.SystemRandom().randrange(1_000_000) if choice.seed is None else choice.seed
    click.echo(f"simulated day of seed {seed}", err=True)
    return seed
