"""One installation on the embedded stack under a prefix of its own: topics, schemas, a bridge, ledgers as processes, and the verdict."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, IsolationLevel, admin
from confluent_kafka import TopicPartition as LibraryPartition

import oracle
from execpos import settings
from execpos.bridge.convert import Converter
from execpos.bridge.intents import intent_record
from execpos.brokers.sim.config import SDK_VERSION
from execpos.brokers.sim.workload import Workload
from execpos.codecs.avro import Encoder
from execpos.codecs.registry import Registry
from execpos.demo import check
from execpos.demo.sources import TopicSource
from execpos.domain import ids
from execpos.domain.events import FillEvent, Intent, PositionDelta, PositionState, Progress, RawExecEvent
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.loop import Loop, LoopLimits
from execpos.kafka.ports import TopicPartition
from execpos.kafka.topics import apply, plan
from execpos.ledger import service
from execpos.ledger.outputs import Names
from execpos.ledger.task import LedgerTask
from execpos.local.stack import Stack
from state import dump

# For a busy machine; nothing is asserted about time.
LIVENESS_S = 240.0
SESSION_S = 10.0
TRANSACTION_S = 6.0

# Any: this part of the library exports its names without saying so to a type checker.
_library: Any = admin

_numbers = itertools.count(1)


class Installation:
    """Topics, schemas and processes of one test; `close` ends what it started."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.prefix = f"x{os.getpid()}-{next(_numbers)}."
        self.names = Names.of(self.prefix)
        self.cluster = KafkaCluster(
            KafkaSettings(stack.kafka.bootstrap_servers, session_timeout_s=SESSION_S, transaction_timeout_s=TRANSACTION_S), "tests"
        )
        apply(self.cluster, plan(self.cluster, self.prefix))
        registry = Registry(stack.registry.url)
        registry.register(self.prefix)
        self.schemas = registry.schemas(self.prefix)
        registry.close()
        self.topics = TopicSource(self.cluster, self.names, self.schemas)
        self.children: list[subprocess.Popen[bytes]] = []
        # It asks for the group's offsets, never joins, and does not wait for open transactions, of which there is always one under load.
        asking = {"bootstrap.servers": stack.kafka.bootstrap_servers, "group.id": f"{self.prefix}simulation.ledger"}
        self._admin = _library.AdminClient({"bootstrap.servers": stack.kafka.bootstrap_servers, "log_level": 0})
        self._group = Consumer({**asking, "isolation.level": "read_uncommitted"})

    @property
    def environ(self) -> dict[str, str]:
        """Variables that a child needs to work here."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("EXECPOS_")}
        return kept | {
            "EXECPOS_ENV": "simulation",
            "EXECPOS_KAFKA__PREFIX": self.prefix,
            "EXECPOS_KAFKA__BOOTSTRAP_SERVERS": self.stack.kafka.bootstrap_servers,
            "EXECPOS_REGISTRY__URL": self.stack.registry.url,
            "EXECPOS_BRIDGE__JOURNAL__FOLDER": str(self.folder / "journal"),
            "EXECPOS_LEDGER__SESSION_TIMEOUT_MS": str(round(SESSION_S * 1000)),
            "EXECPOS_LEDGER__TRANSACTION_TIMEOUT_MS": str(round(TRANSACTION_S * 1000)),
        }

    # --- processes ---------------------------------------------------------------------------------------------------------------------

    def spawn(self, *command: str, **environ: str) -> "subprocess.Popen[bytes]":
        """Start `python command…`; its output goes to a file of its own."""
        with (self.folder / f"child-{len(self.children)}.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, *command], env=self.environ | environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.children.append(child)
        return child

    def ledger(self, instance: str) -> "subprocess.Popen[bytes]":
        """Start a ledger process."""
        return self.spawn("-m", "execpos", "run", "ledger", "--instance", instance)

    def log_of(self, child: "subprocess.Popen[bytes]") -> str:
        """Return what a child has printed."""
        return (self.folder / f"child-{self.children.index(child)}.log").read_text(errors="replace")

    def close(self) -> None:
        """End every child that still runs, stopped ones too."""
        self._group.close()
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)
                child.kill()
                child.wait()

    # --- input -------------------------------------------------------------------------------------------------------------------------

    def publish(self, workload: Workload, rate: float | None = None, stop: threading.Event | None = None) -> int:
        """Write a workload to exec.raw and exec.intents as a bridge would, at `rate` records a second; return how many."""
        convert = Converter("simulation", "bridge-0", time.time_ns(), SDK_VERSION)
        raw, intents = Encoder(RawExecEvent, self.schemas.ids[RawExecEvent]), Encoder(Intent, self.schemas.ids[Intent])
        producer = self.cluster.idempotent_producer(f"{self.prefix}publisher")
        failed: list[object] = []
        began_s, written = time.monotonic(), 0
        for event in workload.events:
            if event.intent is None:
                record = convert((event.at_us * 1000, 0, event.state, event.payload))
                topic, key, value = self.names.raw, record.account.encode(), raw(record)
            else:
                intent = intent_record("simulation", event.intent)
                topic, key, value = self.names.intents, intent.account.encode(), intents(intent)
            producer.produce(topic, -1, key, value, lambda error, _: failed.append(error) if error else None)
            producer.poll(0)
            written += 1
            if stop is not None and stop.is_set():
                break
            if rate is not None and written % 50 == 0:
                time.sleep(max(0.0, began_s + written / rate - time.monotonic()))
        assert producer.flush(LIVENESS_S) == 0
        assert failed == []
        producer.close()
        return written

    def lag(self) -> int:
        """Return how many input records no ledger has committed."""
        inputs = [TopicPartition(topic, partition) for topic in (self.names.raw, self.names.intents) for partition in range(12)]
        asked = [LibraryPartition(*tp) for tp in inputs]
        committed = {TopicPartition(tp.topic, tp.partition): max(0, tp.offset) for tp in self._group.committed(asked, 30)}
        return sum(end - committed[tp] for tp, end in self.cluster.high_watermarks(inputs, 30).items())

    def in_transaction(self) -> bool:
        """Tell whether a transaction is open that has written something."""
        topics = (self.names.orders, self.names.fills, self.names.deltas, self.names.positions, self.names.progress)
        tps = [TopicPartition(topic, partition) for topic in topics for partition in range(12)]
        asked = {LibraryPartition(*tp): _library.OffsetSpec.latest() for tp in tps}
        stable = self._admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED)
        ends = self.cluster.high_watermarks(tps, 30)
        return any(found.result(30).offset < ends[TopicPartition(at.topic, at.partition)] for at, found in stable.items())

    def wait(self, what: str, done: Any) -> None:
        """Wait until `done()`; fail after a long time."""
        deadline_s = time.monotonic() + LIVENESS_S
        while not done():
            assert time.monotonic() < deadline_s, f"waited in vain for {what}"
            time.sleep(0.1)

    # --- in this process ---------------------------------------------------------------------------------------------------------------

    def live_state(self, instance: str) -> dict[str, Any]:
        """Run a ledger here until nothing is left to do, and return its whole state."""
        options = service.LedgerOptions(env="simulation", prefix=self.prefix, instance=instance, limits=LoopLimits(batch=200))
        task = service.ledger_task(options, self.cluster, settings.load(None).rules(), self.schemas)
        loop = Loop(
            self.cluster,
            task,
            group_id=options.group_id,
            instance_id=f"{options.group_id}.{instance}",
            transactional_id_prefix=f"{options.group_id}.{instance}.",
            limits=options.limits,
        )
        try:
            loop.start()
            self.wait("a ledger in this process", lambda: loop.step() == 0 and len(loop.partitions) == 12 and self.lag() == 0)
            return self.states(task)
        finally:
            loop.close()

    @staticmethod
    def states(task: LedgerTask) -> dict[str, Any]:
        """Return the state of every account of a task."""
        return {account: found for state in task.states.values() for account, found in dump(state.pipeline).items()}

    # --- verdict -----------------------------------------------------------------------------------------------------------------------

    def verify(self, simulator_rows: list[dict[str, Any]] | None = None) -> None:
        """Each (fill, revision) once; rows = sum of deltas = the oracle, field by field; versions in deltas without a gap."""
        found = self.topics.all()
        raws, intents = self.topics.read(RawExecEvent, self.names.raw), self.topics.read(Intent, self.names.intents)
        progress = self.topics.read(Progress, self.names.progress)
        closes = sorted({(done.account, done.closed_session) for each in progress for done in each.accounts if done.closed_session})
        book = oracle.from_raw_events(raws, intents, closes=closes)
        assert_once(found.fills, book)
        expected = {key: check.Figures(row.quantity, row.open_cost, row.realized, row.fees, row.taxes) for key, row in book.rows.items()}
        places = {"oracle": expected, "positions": check.from_positions(found.positions), "deltas": check.from_deltas(found.deltas)}
        if simulator_rows is not None:
            places["simulator"] = check.from_simulator(simulator_rows)
        assert check.differences(places) == []
        assert_versions(found.deltas, found.positions)


def assert_once(fills: list[FillEvent], book: oracle.Book) -> None:
    """Every accepted fill is there, each of its revisions once and without a gap."""
    revisions: dict[str, list[int]] = {}
    for fill in fills:
        revisions.setdefault(fill.fill_id, []).append(fill.revision)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in revisions.values())
    assert set(revisions) == set(book.fills)


def assert_versions(deltas: list[PositionDelta], positions: list[PositionState]) -> None:
    """Versions of each row go up by one with each delta, of NET likewise, and the published row has the last."""
    reached: Counter[tuple[str, str]] = Counter()
    for delta in deltas:
        own = (delta.account, delta.position_key)
        net = (delta.account, ids.position_key(delta.account, delta.symbol, delta.book, ids.NET))
        assert (delta.version_before, delta.version_after) == (reached[own], reached[own] + 1)
        assert delta.net_version_before == reached[net]
        assert delta.net_version_after - delta.net_version_before in (0, 1)
        reached[own] += 1
        reached[net] = delta.net_version_after
    assert {(state.account, state.position_key): state.version for state in positions} == dict(reached)
