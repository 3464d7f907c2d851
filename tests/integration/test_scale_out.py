"""Ledgers that come, go and die under load: each change moves partitions, and none loses, doubles or reorders anything."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from execpos.brokers.sim.workload import Workload, standard_workload
from execpos.domain.events import Progress
from execpos.local.stack import Stack
from installation import Installation

pytestmark = pytest.mark.stack

EVENTS = 16_000
RATE = 1_000.0


@pytest.fixture
def installation(stack: Stack, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(stack, tmp_path)
    try:
        yield made
    finally:
        made.close()


def parts_of(workload: Workload, count: int) -> list[Workload]:
    """Return consecutive parts of a workload."""
    size = -(-len(workload.events) // count)
    return [Workload(workload.events[at : at + size], workload.simulator) for at in range(0, len(workload.events), size)]


def under_load(installation: Installation, workload: Workload) -> threading.Thread:
    """Publish in the background and return once ledgers work on it."""
    thread = threading.Thread(target=installation.publish, args=(workload, RATE), name="publisher")
    before = installation.topics.records(installation.names.fills)
    thread.start()
    installation.wait("work to begin", lambda: installation.topics.records(installation.names.fills) > before)
    return thread


def owners(installation: Installation) -> dict[int, str]:
    """Return who wrote the newest progress of each partition."""
    return {found.partition: found.instance for found in installation.topics.read(Progress, installation.names.progress)}


def wait_for_owners(installation: Installation, *names: str) -> None:
    """Wait until exactly these have partitions, all of them together."""

    def shared() -> bool:
        found = owners(installation)
        return len(found) == 12 and set(found.values()) == set(names)

    installation.wait(f"partitions to be with {names}", shared)


def settle(installation: Installation, publisher: threading.Thread, *, is_last: bool, workload: Workload) -> None:
    publisher.join()
    installation.wait("the ledgers to catch up", lambda: installation.lag() == 0)
    installation.verify(workload.simulator.book.rows() if is_last else None)


def test_two_then_three_then_one_ledger_under_load_lose_and_double_nothing(installation: Installation) -> None:
    workload = standard_workload(events=EVENTS, seed=17)
    parts = parts_of(workload, 4)
    one, two = installation.ledger("one"), installation.ledger("two")
    wait_for_owners(installation, "one", "two")

    publisher = under_load(installation, parts[0])
    three = installation.ledger("three")
    wait_for_owners(installation, "one", "two", "three")
    settle(installation, publisher, is_last=False, workload=workload)

    publisher = under_load(installation, parts[1])
    three.terminate()
    assert three.wait() == 0, installation.log_of(three)
    wait_for_owners(installation, "one", "two")
    settle(installation, publisher, is_last=False, workload=workload)

    publisher = under_load(installation, parts[2])
    two.send_signal(signal.SIGKILL)
    two.wait()
    wait_for_owners(installation, "one")
    settle(installation, publisher, is_last=False, workload=workload)

    publisher = under_load(installation, parts[3])
    # What stays with one member through a change is not restored again.
    assert any('"kept": [' in line and '"kept": []' not in line for line in installation.log_of(one).splitlines())
    settle(installation, publisher, is_last=True, workload=workload)
    one.terminate()
    assert one.wait() == 0, installation.log_of(one)
