"""Clients in processes of their own: fills once through kills of ledger and client, and a gate that denies whatever is not known."""

import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from execpos.codecs.avro import Encoder
from execpos.domain import control, ids
from execpos.domain.events import FillEvent, TradingControl
from execpos.local.stack import Stack
from installation import LIVENESS_S, Installation

pytestmark = pytest.mark.stack

STRATEGIES = ("alpha", "basis")
RUNNER = str(Path(__file__).parents[1] / "runner_process.py")
GATE = str(Path(__file__).parents[1] / "gate_process.py")
# Of both kinds of processes, each while there is work.
KILLS = 4


@pytest.fixture
def installation(stack: Stack, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(stack, tmp_path)
    try:
        yield made
    finally:
        made.close()


def booked(database: Path) -> dict[str, dict[int, list[tuple[str, int, bool]]]]:
    """Return strategy -> partition -> what it was handed, in the order in which that happened."""
    found: dict[str, dict[int, list[tuple[str, int, bool]]]] = defaultdict(lambda: defaultdict(list))
    connection = sqlite3.connect(database, timeout=30)
    try:
        rows = connection.execute("SELECT strategy, fill_id, revision, partition, withdrawn FROM fills ORDER BY rowid").fetchall()
    finally:
        connection.close()
    for strategy, fill_id, revision, partition, withdrawn in rows:
        found[strategy][partition].append((fill_id, revision, bool(withdrawn)))
    return found


def count(database: Path) -> int:
    return sum(len(some) for partitions in booked(database).values() for some in partitions.values())


def owed(installation: Installation) -> dict[str, dict[int, list[tuple[str, int, bool]]]]:
    """Return the same as the topic says it has to be: each revision to its owner, and to the one who had the revision before."""
    expected: dict[str, dict[int, list[tuple[str, int, bool]]]] = defaultdict(lambda: defaultdict(list))
    owners: dict[str, str] = {}
    for fill in installation.topics.read(FillEvent, installation.names.fills):
        partition = fill.source_partition
        before = owners.get(fill.fill_id)
        if before in STRATEGIES and before != fill.strategy_id:
            expected[before][partition].append((fill.fill_id, fill.revision, True))
        if fill.strategy_id in STRATEGIES:
            expected[fill.strategy_id][partition].append((fill.fill_id, fill.revision, False))
        owners[fill.fill_id] = fill.strategy_id
    return expected


def test_each_strategy_gets_its_fills_in_order_and_once_through_kills_of_ledger_and_client(
    installation: Installation, tmp_path: Path
) -> None:
    database = tmp_path / "book.db"
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE fills (strategy TEXT, fill_id TEXT, revision INT, partition INT, offset INT, withdrawn INT)")
    connection.commit()
    connection.close()
    bridge = installation.spawn("-m", "execpos", "run", "bridge", "--sim", "--rate", "300", "--seconds", "30", "--seed", "21")
    running = {"ledger": installation.ledger("one"), "runner": installation.spawn(RUNNER, str(database), *STRATEGIES)}

    def deliver_more() -> None:
        before = count(database)

        def moved() -> bool:
            for child in running.values():
                assert child.poll() is None, installation.log_of(child)
            return count(database) > before

        installation.wait("fills to be delivered", moved)

    def kill(name: str) -> None:
        running[name].send_signal(signal.SIGKILL)
        running[name].wait()

    for number in range(KILLS):
        deliver_more()
        kill("runner")
        if number % 2:
            kill("ledger")
            running["ledger"] = installation.ledger("one")
        running["runner"] = installation.spawn(RUNNER, str(database), *STRATEGIES)
    ledger, runner = running["ledger"], running["runner"]
    assert bridge.wait(LIVENESS_S) == 0, installation.log_of(bridge)
    installation.wait("the ledger to catch up", lambda: installation.lag() == 0)
    ledger.terminate()
    assert ledger.wait(LIVENESS_S) == 0, installation.log_of(ledger)
    expected = owed(installation)
    assert all(expected[name] for name in STRATEGIES)
    total = sum(len(some) for partitions in expected.values() for some in partitions.values())
    installation.wait("the strategies to have everything", lambda: count(database) >= total)
    runner.terminate()
    assert runner.wait(LIVENESS_S) == 0, installation.log_of(runner)

    found = booked(database)
    assert {name: dict(found[name]) for name in STRATEGIES} == {name: dict(expected[name]) for name in STRATEGIES}


class Controls:
    """Writes trading control as the reconciler does: a beat each half second, and an operator's word when it is wanted."""

    def __init__(self, installation: Installation) -> None:
        self._producer = installation.cluster.idempotent_producer("controls")
        self._topic = f"{installation.prefix}exec.control.v1"
        self._encode = Encoder(TradingControl, installation.schemas.ids[TradingControl])
        self._lock = threading.Lock()
        self.beating = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="controls")
        self._thread.start()

    def write(self, scope: str, source: str, state: str, control_id: str = "", releases: str = "") -> None:
        record = TradingControl(scope, source, state, control_id, "test", "test", state == "HALTED", releases, {}, time.time_ns() // 1000)
        with self._lock:
            key = control.key(scope, source).encode()
            self._producer.produce(self._topic, -1, key, self._encode(record), lambda error, _: None)
            assert self._producer.flush(30) == 0

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._producer.close()

    def _beat(self) -> None:
        while not self._stop.wait(0.5):
            if self.beating.is_set():
                self.write("*", "reconciler", "ACTIVE")


def test_the_gate_denies_while_unread_silent_halted_or_stale_and_allows_otherwise(installation: Installation) -> None:
    bridge = installation.spawn("-m", "execpos", "run", "bridge", "--sim", "--rate", "50", "--seconds", "600", "--seed", "22")
    ledger = installation.ledger("one")
    positions = f"{installation.prefix}exec.positions.v1"
    installation.wait("positions", lambda: installation.topics.records(positions) > 0)
    state = next(one for one in installation.topics.all().positions if one.strategy_id == ids.NET and one.quality == "CONFIRMED")
    question = (state.account, state.symbol, state.book)
    gate = installation.spawn(GATE, *question)
    with socket.socket() as closed:
        # Bound and not listening: nobody answers there.
        closed.bind(("127.0.0.1", 0))
        unread = installation.spawn(GATE, *question, f"127.0.0.1:{closed.getsockname()[1]}")
        controls = Controls(installation)
        try:
            _gate_through_its_day(installation, gate, ledger, controls, state.account)
        finally:
            controls.close()
        unread.kill()
        unread.wait()
    assert answers(installation, unread) == ["stale control_missing"]
    bridge.kill()


def answers(installation: Installation, gate: "subprocess.Popen[bytes]") -> list[str]:
    """Return every answer so far; lines of the log begin with a brace."""
    return [line for line in installation.log_of(gate).splitlines() if line and not line.startswith("{")]


def _gate_through_its_day(
    installation: Installation,
    gate: "subprocess.Popen[bytes]",
    ledger: "subprocess.Popen[bytes]",
    controls: Controls,
    account: str,
) -> None:
    def comes(answer: str) -> None:
        def last() -> bool:
            assert gate.poll() is None, installation.log_of(gate)
            return answers(installation, gate)[-1:] == [answer]

        installation.wait(f"the gate to say {answer!r}", last)

    comes("control_missing")
    controls.beating.set()
    comes("allowed")
    controls.write(account, "operator", "HALTED", "halt-1")
    comes("halted")
    controls.write(account, "operator", "ACTIVE", releases="halt-1")
    comes("allowed")
    controls.beating.clear()
    comes("control_stale")
    controls.beating.set()
    comes("allowed")
    ledger.send_signal(signal.SIGKILL)
    ledger.wait()
    comes("stale")
    ledger = installation.ledger("one")
    comes("allowed")
    said = answers(installation, gate)
    # It was asked before anything was read.
    assert said[0] == "stale control_missing"
    ledger.terminate()
    assert ledger.wait(LIVENESS_S) == 0, installation.log_of(ledger)
