"""Exactly once on a real broker: killed, doubled, stopped and woken ledgers, and one that dies between its offsets and its records."""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from execpos.brokers.sim.workload import Workload, standard_workload
from execpos.local.stack import Stack
from installation import SESSION_S, Installation
from kafka_log import aborted_transactions

pytestmark = pytest.mark.stack

KILLS = 15
# Half of its time a ledger under load has a transaction open.
LOOKS = 20
EVENTS = 100_000
# Bounded, so that there is work at every kill and the ledger is never hopelessly behind.
RATE = 2_500.0


@pytest.fixture
def installation(stack: Stack, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(stack, tmp_path)
    try:
        yield made
    finally:
        made.close()


def publish_in_background(installation: Installation, workload: Workload, rate: float = RATE) -> threading.Thread:
    thread = threading.Thread(target=installation.publish, args=(workload, rate), name="publisher")
    thread.start()
    return thread


def wait_for_progress(installation: Installation, ledger: "subprocess.Popen[bytes]") -> None:
    """Wait until the ledger works: some of the input is committed that was not before, and some is left."""
    before = installation.topics.records(installation.names.progress)

    def moved() -> bool:
        assert ledger.poll() is None, installation.log_of(ledger)
        return installation.topics.records(installation.names.progress) > before

    installation.wait("the ledger to commit", moved)


def strike(installation: Installation, ledger: "subprocess.Popen[bytes]", *, aimed: bool) -> None:
    """Kill a ledger as it is; or stop it now and then and kill it when the topics show that a transaction is open."""
    for _ in range(LOOKS if aimed else 0):
        ledger.send_signal(signal.SIGSTOP)
        if installation.in_transaction():
            # One that is being committed is over soon, although nobody moves.
            time.sleep(0.05)
            if installation.in_transaction():
                break
        ledger.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    ledger.send_signal(signal.SIGKILL)


@pytest.mark.slow
def test_a_ledger_killed_fifteen_times_counts_every_fill_once(installation: Installation) -> None:
    workload = standard_workload(events=EVENTS, seed=11)
    before = aborted_transactions(installation.stack.data / "kafka" / "logs", "__consumer_offsets")
    publisher = publish_in_background(installation, workload)
    kills = 0
    while kills < KILLS:
        ledger = installation.ledger("one")
        wait_for_progress(installation, ledger)
        lag = installation.lag()
        if not lag:
            assert publisher.is_alive(), f"the input ended after {kills} kills"
        if lag:
            strike(installation, ledger, aimed=kills % 3 > 0)
            kills += 1
        else:
            ledger.terminate()
        ledger.wait()
    publisher.join()
    ledger = installation.ledger("one")
    installation.wait("the ledger to catch up", lambda: installation.lag() == 0)
    ledger.terminate()
    assert ledger.wait() == 0, installation.log_of(ledger)

    logs = installation.stack.data / "kafka" / "logs"
    assert len(aborted_transactions(logs, "__consumer_offsets", f"{installation.prefix}exec.[dfop]*") - before) >= 5
    installation.verify(workload.simulator.book.rows())
    assert installation.live_state("one") == installation.live_state("one")


def test_a_second_instance_that_joins_and_leaves_loses_and_doubles_nothing(installation: Installation) -> None:
    workload = standard_workload(events=12_000, seed=12)
    publisher = publish_in_background(installation, workload, rate=1_000)
    first = installation.ledger("one")
    wait_for_progress(installation, first)
    second = installation.ledger("two")
    installation.wait("the second one to get partitions", lambda: '"restore_finished"' in installation.log_of(second))
    wait_for_progress(installation, second)
    first.terminate()
    assert first.wait() == 0, installation.log_of(first)
    publisher.join()
    # A static member that left is gone only when its session is over; then the other one has all partitions.
    installation.wait("the second one to catch up", lambda: installation.lag() == 0)
    second.terminate()
    assert second.wait() == 0, installation.log_of(second)

    installation.verify(workload.simulator.book.rows())


def test_a_zombie_that_wakes_after_its_session_commits_nothing_and_ends_as_fenced(installation: Installation) -> None:
    workload = standard_workload(events=12_000, seed=13)
    publisher = publish_in_background(installation, workload, rate=1_000)
    zombie = installation.ledger("one")
    wait_for_progress(installation, zombie)
    zombie.send_signal(signal.SIGSTOP)
    time.sleep(SESSION_S + 1)
    successor = installation.ledger("one")
    wait_for_progress(installation, successor)
    zombie.send_signal(signal.SIGCONT)
    assert zombie.wait(60) == 7, installation.log_of(zombie)
    publisher.join()
    installation.wait("the successor to catch up", lambda: installation.lag() == 0)
    assert successor.poll() is None, installation.log_of(successor)
    successor.terminate()
    assert successor.wait() == 0

    installation.verify(workload.simulator.book.rows())


def test_an_owner_that_dies_between_offsets_and_records_leaves_nothing_behind(installation: Installation) -> None:
    workload = standard_workload(events=6_000, seed=14)
    installation.publish(workload)
    script = str(Path(__file__).parents[1] / "dying_ledger.py")
    dying = installation.spawn(script, "one", "after_send_offsets", "4")
    assert dying.wait(120) == -signal.SIGKILL, installation.log_of(dying)
    assert installation.lag() > 0
    # Another instance: it may not wait for the dead one's id to be taken over, only for its transaction to time out.
    heir = installation.ledger("two")
    installation.wait("the heir to catch up", lambda: installation.lag() == 0)
    heir.terminate()
    assert heir.wait() == 0, installation.log_of(heir)

    installation.verify(workload.simulator.book.rows())
