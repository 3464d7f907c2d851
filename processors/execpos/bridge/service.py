"""The bridge: from a broker's callbacks to exec.raw.

    broker's thread → Capture → drain thread: Converter → RawPublisher → exec.raw

Delivered means acknowledged by Kafka. There is no journal yet: what is not acknowledged lives in memory only, so a refused record ends the
bridge with an error instead of leaving a hole, and a stop waits until everything has been acknowledged.
"""

import threading
import time
from pathlib import Path

import msgspec

from execpos.bridge.capture import Capture
from execpos.bridge.convert import PAYLOAD_BYTES_MAX, Converter
from execpos.bridge.drain import Drain
from execpos.bridge.intents import SimIntentWriter
from execpos.bridge.publisher import RawPublisher
from execpos.brokers.protocol import Broker
from execpos.brokers.replay import ReplayBroker
from execpos.brokers.sim.broker import SimBroker
from execpos.brokers.sim.day import Simulator
from execpos.codecs.avro import Encoder
from execpos.domain.events import Intent, RawExecEvent
from execpos.domain.ids import account_key
from execpos.kafka.ports import Cluster
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

RAW_TOPIC = "exec.raw.v1"
INTENTS_TOPIC = "exec.intents.v1"

# How soon the end of a file or an error of a thread is noticed.
_WATCH_S = 0.02

# First question to the cluster; after that the producers wait by themselves.
_CLUSTER_TIMEOUT_S = 30.0

_log = Logger("bridge")


class BridgeOptions(msgspec.Struct, frozen=True):
    """How a bridge runs.

    Attributes:
        prefix: before every topic name.
        bridge_id: name of this bridge; one running process has it.
        bridge_epoch: incarnation; 0 takes the clock in µs, which rises from one start to the next as long as the clock does.
        beat_interval_s: time between two beats of an account.
        drain_timeout_s: how long a stop waits for Kafka.
        payload_bytes_max: a larger report travels as its length and hash.
    """

    prefix: str = ""
    bridge_id: str = "bridge-1"
    bridge_epoch: int = 0
    beat_interval_s: float = 1.0
    drain_timeout_s: float = 60.0
    payload_bytes_max: int = PAYLOAD_BYTES_MAX


class BridgeReport(msgspec.Struct, frozen=True):
    """What a bridge has done until now.

    Attributes:
        callbacks: reports taken from the broker.
        published: records handed to Kafka, beats included.
        acknowledged: records that Kafka has.
        waiting: captured and not yet converted.
        oversized: reports too large to travel, published as length and hash.
        intents: intents of the simulator's robot that Kafka has.
        unknown_fields: fields that are on no list, with their counts.
    """

    callbacks: int
    published: int
    acknowledged: int
    waiting: int
    oversized: int
    intents: int
    unknown_fields: dict[str, int]


class Bridge:
    """One broker login, published. Made on the thread that calls `run`; `report` may be called by others.

    Args:
        options: how to run.
        broker: the login; not started yet.
        cluster: where to publish.
        raw_schema_id: registered id of RawExecEvent's schema.
        intents: writer of the simulator's intents, to be finished with the bridge.

    Raises:
        ContractError: there is no topic exec.raw.
    """

    def __init__(
        self, options: BridgeOptions, broker: Broker, cluster: Cluster, *, raw_schema_id: int, intents: SimIntentWriter | None = None
    ) -> None:
        self._options = options
        self._broker = broker
        self._intents = intents
        topic = options.prefix + RAW_TOPIC
        cluster.partition_count(topic, _CLUSTER_TIMEOUT_S)
        producer = cluster.idempotent_producer(f"{options.prefix}{broker.env}.bridge.{options.bridge_id}")
        self._publisher = RawPublisher(producer, Encoder(RawExecEvent, raw_schema_id), topic)
        self._capture = Capture()
        epoch = options.bridge_epoch or time.time_ns() // 1000
        self._convert = Converter(broker.env, options.bridge_id, epoch, broker.sdk_version, payload_bytes_max=options.payload_bytes_max)
        self._drain = Drain(self._capture, self._convert, self._publisher)
        self._measured = self.report()

    def report(self) -> BridgeReport:
        """Return the counts as of now. Does not block; while the bridge runs, they may be of slightly different moments."""
        return BridgeReport(
            callbacks=self._convert.callbacks,
            published=self._publisher.published,
            acknowledged=self._publisher.acknowledged,
            waiting=self._capture.waiting(),
            oversized=self._convert.oversized,
            intents=self._intents.acknowledged if self._intents else 0,
            unknown_fields=dict(self._convert.unknown),
        )

    def run(self, stop: threading.Event) -> BridgeReport:
        """Publish until `stop` is set or the broker has finished; then until all is acknowledged. Blocks; once a bridge.

        Beats frame the reports: one a second and account, the first before any report and the last behind them all.

        Returns:
            The final counts: published equals acknowledged, and nothing waits.

        Raises:
            DependencyError: Kafka refused a record, or did not acknowledge everything within `drain_timeout_s`.
            ExecposError: what ended the broker.
        """
        broker, capture = self._broker, self._capture
        accounts = [account_key(broker.env, *account) for account in broker.accounts()]
        _log.info("component_started", env=broker.env, bridge_id=self._options.bridge_id, accounts=len(accounts))
        self._drain.start()
        for account in accounts:
            capture.beat(account)
        try:
            broker.set_order_callback(capture.handler)
            broker.start()
            self._watch(stop, accounts)
        finally:
            broker.stop()
            for account in accounts:
                capture.beat(account)
            self._finish()
        self._measure()
        report = self.report()
        _log.info("component_stopped", **msgspec.structs.asdict(report))
        return report

    def _watch(self, stop: threading.Event, accounts: list[str]) -> None:
        next_beat_s = time.monotonic() + self._options.beat_interval_s
        named: set[str] = set()
        # In this order, so that an error of the broker is seen even when it comes together with the stop.
        while not self._broker.finished() and not stop.wait(_WATCH_S):
            if self._drain.error is not None:
                raise self._drain.error
            if time.monotonic() < next_beat_s:
                continue
            next_beat_s += self._options.beat_interval_s
            for account in accounts:
                self._capture.beat(account)
            self._measure()
            fresh = sorted(self._convert.unknown.copy().keys() - named)
            if fresh:
                named.update(fresh)
                _log.warning("unknown_fields_found", fields=fresh)

    def _measure(self) -> None:
        report, before = self.report(), self._measured
        metrics.counter("execpos_bridge_callbacks_total").inc(report.callbacks - before.callbacks)
        metrics.counter("execpos_bridge_acknowledged_total").inc(report.acknowledged - before.acknowledged)
        metrics.gauge("execpos_bridge_waiting_records").set(report.waiting + report.published - report.acknowledged)
        self._measured = report

    def _finish(self) -> None:
        """Wait for both producers; the first error counts, but neither is left out."""
        deadline_s = time.monotonic() + self._options.drain_timeout_s
        try:
            self._drain.finish(self._options.drain_timeout_s)
        finally:
            self._publisher.close()
            if self._intents is not None:
                self._intents.finish(deadline_s)


def replay_bridge(path: Path, options: BridgeOptions, cluster: Cluster, *, raw_schema_id: int) -> Bridge:
    """Return a bridge that publishes a file of callbacks, env `replay`. Reads and checks the whole file first.

    Raises:
        UsageError: the file cannot be read.
        ContractError: a line is no callback (its number is named), or there is no topic exec.raw.
    """
    return Bridge(options, ReplayBroker(path), cluster, raw_schema_id=raw_schema_id)


def sim_bridge(
    simulator: Simulator, options: BridgeOptions, cluster: Cluster, *, raw_schema_id: int, intent_schema_id: int, paced: bool
) -> Bridge:
    """Return a bridge that publishes a simulated day and its strategies' intents, env `simulation`.

    The simulator's `book` and `truth` are complete when `Bridge.run` has returned.

    Args:
        simulator: the day, not iterated yet.
        options: how to run.
        cluster: where to publish.
        raw_schema_id: registered id of RawExecEvent's schema.
        intent_schema_id: registered id of Intent's schema.
        paced: in real time, or as fast as the machine can.

    Raises:
        ContractError: there is no topic exec.raw or exec.intents.
    """
    topic = options.prefix + INTENTS_TOPIC
    cluster.partition_count(topic, _CLUSTER_TIMEOUT_S)
    producer = cluster.idempotent_producer(f"{options.prefix}simulation.strategies.{options.bridge_id}")
    writer = SimIntentWriter(producer, Encoder(Intent, intent_schema_id), topic, SimBroker.env)
    return Bridge(options, SimBroker(simulator, writer, paced=paced), cluster, raw_schema_id=raw_schema_id, intents=writer)
