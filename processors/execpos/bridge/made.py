"""Bridges of sources that are no login: a file of callbacks, or a day of the simulator without its broker."""

from pathlib import Path

from execpos.bridge.intents import SimIntentWriter
from execpos.bridge.journal.journal import Journal
from execpos.bridge.journal.writer import JournalPolicy
from execpos.bridge.options import INTENTS_TOPIC, BridgeOptions
from execpos.bridge.service import Bridge
from execpos.bridge.tail import Connect, Wire
from execpos.brokers.replay import ReplayBroker
from execpos.brokers.sim.broker import SimBroker
from execpos.brokers.sim.day import Simulator
from execpos.codecs.avro import Encoder
from execpos.domain.events import Intent


def replay_bridge(path: Path, options: BridgeOptions, folder: Path, connect: Connect, policy: JournalPolicy | None = None) -> Bridge:
    """Return a bridge that publishes a file of callbacks, env `replay`. Reads and checks the whole file first.

    Args:
        path: the file.
        options: how to run.
        folder: of the journal.
        connect: reaches Kafka and the registry.
        policy: of the journal.

    Raises:
        UsageError: the file cannot be read.
        ContractError: a line is no callback; its number is named.
        Fenced, DependencyError: the journal, see `Journal.open`.
    """
    source = ReplayBroker(path)
    return Bridge(options, source, Journal.open(folder, env=source.env, bridge_id=options.bridge_id, policy=policy), connect)


def sim_bridge(
    simulator: Simulator, options: BridgeOptions, folder: Path, connect: Connect, *, paced: bool, policy: JournalPolicy | None = None
) -> Bridge:
    """Return a bridge that publishes a simulated day and its strategies' intents, env `simulation`.

    The simulator's `book` and `truth` are complete when `Bridge.run` has returned.

    Args:
        simulator: the day, not iterated yet.
        options: how to run.
        folder: of the journal.
        connect: reaches Kafka and the registry; called at once, because intents do not go through the journal.
        paced: in real time, or as fast as the machine can.
        policy: of the journal.

    Raises:
        Fenced, DependencyError: the journal, see `Journal.open`.
    """
    writer = intent_writer(options, connect())
    source = SimBroker(simulator, writer, paced=paced)
    journal = Journal.open(folder, env=source.env, bridge_id=options.bridge_id, policy=policy)
    return Bridge(options, source, journal, connect, intents=writer)


def intent_writer(options: BridgeOptions, wire: Wire) -> SimIntentWriter:
    """Return what writes the intents of the simulator's strategies."""
    producer = wire.cluster.idempotent_producer(f"{options.prefix}{SimBroker.env}.strategies.{options.bridge_id}")
    return SimIntentWriter(producer, Encoder(Intent, wire.ids[Intent]), options.prefix + INTENTS_TOPIC, SimBroker.env)
