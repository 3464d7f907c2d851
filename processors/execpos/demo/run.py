"""The demo: a simulated trading day through the whole pipeline on the embedded stack, and a check of every position at the end.

The stack's servers, the ledger, the recorder and the reconciler are processes of their own; the bridge and the simulated broker run in this
one, and so does an observer that reads positions as a strategy would. After the close every account is compared with the broker, while its
list states one position wrongly; then that account once more, when the list is right again.
"""

import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import clickhouse_connect
import msgspec

from execpos.bridge.tail import Wire
from execpos.brokers.sim.facts import rows_of
from execpos.codecs.avro import Decoder
from execpos.codecs.registry import Registry, Schemas
from execpos.demo import check, reconciliation
from execpos.demo.broker import ENV, DemoVenue, Desk, desk
from execpos.demo.observe import Observer
from execpos.demo.sources import Topics, TopicSource, Warehouse
from execpos.domain.events import Discrepancy, PositionState, RawExecEvent, ReconciliationRound
from execpos.errors import DependencyError
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.topics import apply, plan
from execpos.ledger.outputs import Names
from execpos.local.stack import Stack
from execpos.reconciler.outputs import Names as ReconcilerNames

DATABASE = "execpos"

# A machine busy with something else may take its time; a healthy one needs a second.
_CATCH_UP_S = 120.0
_POLL_S = 0.2
_CHILD_STOP_S = 20.0

# A second look after a second, so that a demo need not wait for the usual patience; whatever differs is told and nothing is booked.
# No halt by time alone: a machine busy with something else, or a market in which nothing ever stands still, has no operator here.
_RECONCILER = {
    "EXECPOS_RECONCILIATION__SETTLE_S": "1",
    "EXECPOS_RECONCILIATION__AUTO_CORRECT__ENABLED": "false",
    "EXECPOS_RECONCILIATION__RESOLVE_WITHIN_S": "86400",
    "EXECPOS_HALT__RECOVERY_SECONDS": "86400",
    "EXECPOS_HALT__HEARTBEAT_GAP_S": "86400",
    "EXECPOS_HALT__LEDGER_LAG_S": "86400",
    "EXECPOS_HALT__PROGRESS_AGE_S": "86400",
}

# Statuses with which `execpos reconcile` ends after a comparison: equal, and different.
_COMPARED = (0, 6)


class DemoOptions(NamedTuple):
    """What to run. `rate` is callbacks a second, `seconds` how long the market is open, `data` where the servers keep their data."""

    data: Path
    seconds: float = 20.0
    rate: float = 200.0
    seed: int = 1


class Status(NamedTuple):
    """What a live view shows. `callbacks` are taken from the broker so far, `left_s` seconds until the market closes."""

    stage: str
    callbacks: int = 0
    left_s: float = 0.0
    states: tuple[PositionState, ...] = ()
    latency_ms: dict[str, Any] | None = None


class Demo:
    """One run. Call `run` once.

    Args:
        options: what to run.
        show: takes a status a few times a second.
        before_check: called when everything has come to rest and before the check; tests tamper here.
    """

    def __init__(
        self, options: DemoOptions, show: Callable[[Status], None] = lambda _: None, before_check: Callable[["Demo"], None] = lambda _: None
    ) -> None:
        self.options = options
        self.names = Names.of("")
        self.stack = Stack(options.data)
        self.venue = DemoVenue(options.seconds, options.rate, options.seed)
        self.report: Callable[[], dict[str, Any]] = dict
        """Compares and counts again; what it returns is meaningful once everything has come to rest."""
        self._show = show
        self._before_check = before_check
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []

    def run(self) -> dict[str, Any]:
        """Run everything and return the report. Blocks; stops all that it started, whatever happens.

        Raises:
            DependencyError: a part did not start, or did not catch up.
        """
        self._show(Status("starting Kafka, the schema registry and ClickHouse"))
        try:
            with self.stack:
                try:
                    return self._pipeline()
                finally:
                    self._stop_children()
        finally:
            self._show(Status("done"))

    @property
    def cluster(self) -> KafkaCluster:
        """The embedded Kafka."""
        return KafkaCluster(KafkaSettings(self.stack.kafka.bootstrap_servers), "demo")

    def warehouse(self) -> Warehouse:
        """The embedded ClickHouse."""
        return Warehouse(clickhouse_connect.get_client(dsn=self.stack.clickhouse.url), DATABASE)

    def schemas(self) -> Schemas:
        """Register our schemas, if they are not yet, and return what the registry says of them."""
        registry = Registry(self.stack.registry.url)
        try:
            registry.register("")
            return registry.schemas("")
        finally:
            registry.close()

    def _pipeline(self) -> dict[str, Any]:
        self._show(Status("creating topics and tables"))
        cluster = self.cluster
        apply(cluster, plan(cluster, ""))
        schemas = self.schemas()
        self._spawn("ledger", "run", "ledger")
        self._spawn("recorder", "run", "recorder")
        self._spawn("reconciler", "run", "reconciler")
        topics = TopicSource(cluster, self.names, schemas)
        self._wait("the ledger to be ready", lambda: topics.records(self.names.progress) > 0)
        observer = Observer(cluster, self.names.positions, Decoder(PositionState, schemas.writers[PositionState]))
        observer.start()
        callbacks, compared = self._trade(cluster, schemas, observer, topics)
        self._show(Status("waiting until all has been counted", callbacks))
        self._wait("the ledger to catch up", lambda: topics.behind() == 0)
        observer.stop()
        found = topics.all()
        warehouse = self.warehouse()
        self._wait("ClickHouse to catch up", lambda: self._recorded(warehouse, found), required=False)
        self._show(Status("comparing every position in four places", callbacks))
        self.report = lambda: self._report(callbacks, compared, topics, warehouse, observer)
        self._before_check(self)
        return self.report()

    def _trade(self, cluster: KafkaCluster, schemas: Schemas, observer: Observer, topics: TopicSource) -> tuple[int, dict[str, Any]]:
        """Let the day be traded, then compare; return how many callbacks came, and what the comparisons gave."""
        at_work = desk(self.venue, self.options.data / "journal", Wire(cluster, schemas.ids, schemas.writers))
        failed: list[BaseException] = []

        def publish() -> None:
            try:
                at_work.bridge.run(threading.Event())
            except BaseException as error:  # noqa: BLE001 (raised again below, on the caller's thread)
                failed.append(error)

        thread = threading.Thread(target=publish, name="bridge")
        self.venue.start()
        thread.start()
        try:
            self._until_close(at_work, thread, observer)
            compared = {} if failed else self._reconcile(at_work, observer, topics)
        finally:
            self.venue.closed = True
            thread.join()
            at_work.watcher.sim_close()
            self.venue.stop()
        if failed:
            raise failed[0]
        return at_work.callbacks, compared

    def _until_close(self, at_work: Desk, thread: threading.Thread, observer: Observer) -> None:
        began_s = time.monotonic()
        while thread.is_alive() and not self.venue.finished:
            thread.join(_POLL_S)
            self._check_children()
            if self.venue.error is not None:
                raise self.venue.error
            left_s = max(0.0, self.options.seconds - (time.monotonic() - began_s))
            self._show(Status("trading", at_work.callbacks, left_s, tuple(observer.states.copy().values()), observer.latency()))

    def _reconcile(self, at_work: Desk, observer: Observer, topics: TopicSource) -> dict[str, Any]:
        def show(stage: str) -> None:
            self._show(Status(stage, at_work.callbacks, 0.0, tuple(observer.states.copy().values()), observer.latency()))

        planted, right = self.venue.plant(), None
        lie = f", whose list says {planted.stated:,} of {planted.symbol} instead of {planted.quantity:,}" if planted else ""
        show(f"comparing every account with the broker{lie}")
        day = self._asked()
        if planted is not None:
            self.venue.unplant()
            show("the broker's list is right again; comparing once more")
            right = self._asked("--account", planted.account)
        names = ReconcilerNames.of("")
        rounds = topics.read(ReconciliationRound, names.rounds)
        return reconciliation.summary(planted, day, right, rounds, topics.read(Discrepancy, names.discrepancies))

    def _asked(self, *arguments: str) -> reconciliation.Asked:
        """Run `execpos reconcile --wait` and return its answer."""
        began_s = time.monotonic()
        command = [sys.executable, "-m", "execpos", "reconcile", "--wait", "--json", "--reason", "demo", "--by", "demo", *arguments]
        # S603: the command is this program itself.
        done = subprocess.run(command, env=self._environ(), stdin=subprocess.DEVNULL, capture_output=True, check=False)  # noqa: S603
        self._check_children()
        if done.returncode not in _COMPARED:
            said = done.stderr.decode(errors="replace")[-2000:]
            raise DependencyError(f"execpos reconcile ended with status {done.returncode}", hint=f"it said:\n{said}")
        return reconciliation.Asked(msgspec.json.decode(done.stdout), time.monotonic() - began_s)

    def _recorded(self, warehouse: Warehouse, found: Topics) -> bool:
        fills = len({fill.fill_id for fill in found.fills})
        return warehouse.fills() == fills and warehouse.positions() == check.from_positions(found.positions)

    def _report(
        self, callbacks: int, compared: dict[str, Any], topics: TopicSource, warehouse: Warehouse, observer: Observer
    ) -> dict[str, Any]:
        found, truth = topics.all(), self.venue.truth()
        places = {
            "simulator": check.from_simulator(rows_of(truth, check.first_met(topics.read(RawExecEvent, self.names.raw), truth["fills"]))),
            "positions": check.from_positions(found.positions),
            "deltas": check.from_deltas(found.deltas),
            "clickhouse": warehouse.positions(),
        }
        orders = sum(event.cause != "REATTRIBUTED" for event in found.orders)
        fills = len({fill.fill_id for fill in found.fills})
        letters = Counter(letter.disposition for letter in found.dead_letters if letter.source_topic == self.names.raw)
        expected = truth["counts"]
        counted = {
            "orders": (orders, expected["order_reports"]),
            "fills": (fills, expected["fills"]),
            "clickhouse_fills": (warehouse.fills(), expected["fills"]),
            "callbacks": (callbacks, expected["callbacks"]),
            "dead_letters": (sum(letters.values()), expected["conflicts"]),
        }
        wrong = [{"count": name, "found": got, "expected": due} for name, (got, due) in counted.items() if got != due]
        wrong += reconciliation.problems(compared)
        differences = [*wrong, *(difference.plain() for difference in check.differences(places))]
        return {
            "callbacks": callbacks,
            "raw_events": topics.records(self.names.raw),
            "orders": orders,
            "fills": fills,
            "duplicates": callbacks - orders - fills - sum(letters.values()),
            "conflicts": letters["conflict"],
            "dead_letters": letters["dead_letter"] + letters["parked"],
            "positions": len(found.positions),
            "clickhouse_fills": counted["clickhouse_fills"][0],
            "latency_ms": observer.latency(),
            "reconciliation": compared,
            "verdict": "inconsistent" if differences else "consistent",
            "differences": differences,
        }

    # --- processes ---------------------------------------------------------------------------------------------------------------------

    def _environ(self) -> dict[str, str]:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("EXECPOS_")}
        return environ | {
            "EXECPOS_ENV": ENV,
            "EXECPOS_KAFKA__BOOTSTRAP_SERVERS": self.stack.kafka.bootstrap_servers,
            "EXECPOS_REGISTRY__URL": self.stack.registry.url,
            "EXECPOS_CLICKHOUSE__URL": self.stack.clickhouse.url,
            **_RECONCILER,
        }

    def _spawn(self, name: str, *command: str) -> None:
        with self._log_of(name).open("wb") as log:
            # S603: the command is this program itself.
            made = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "execpos", *command], env=self._environ(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._children.append((name, made))

    def _log_of(self, name: str) -> Path:
        return self.options.data / f"{name}.log"

    def _check_children(self) -> None:
        for name, child in self._children:
            if child.poll() is not None:
                tail = self._log_of(name).read_text(errors="replace")[-2000:]
                raise DependencyError(f"the {name} ended with status {child.returncode}", hint=f"the end of its log:\n{tail}")

    def _stop_children(self) -> None:
        for _, child in self._children:
            child.terminate()
        for _, child in self._children:
            try:
                child.wait(_CHILD_STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _wait(self, what: str, done: Callable[[], bool], *, required: bool = True) -> None:
        deadline_s = time.monotonic() + _CATCH_UP_S
        while not done():
            self._check_children()
            if time.monotonic() > deadline_s:
                if required:
                    raise DependencyError(
                        f"waited {_CATCH_UP_S:.0f} s for {what}", hint="is the machine busy? try again, or a lower --rate"
                    )
                return
            time.sleep(_POLL_S)
