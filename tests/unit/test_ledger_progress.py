"""Progress of the partitions: each once a second, and not all of them in one transaction."""

import itertools
from collections import defaultdict

from execpos.ledger.task import PROGRESS_INTERVAL_S
from ledger_world import NAMES, PARTITIONS, World, drain

# How often the task is asked; a loop asks at least so often.
ASKED_EVERY_S = 0.05


def test_each_partition_tells_its_progress_once_an_interval_and_they_take_turns() -> None:
    world = World()
    loop, task = world.ledger()
    loop.start()
    drain(loop)
    told: dict[int, list[float]] = defaultdict(list)
    together: list[int] = []
    now_s = world.clock()

    def note(topic: str, partition: int, key: bytes, value: bytes) -> None:
        del key, value
        if topic == NAMES.progress:
            told[partition].append(now_s)

    # A pause, after which all are due: they are told at once, and then take turns again.
    for pause_s in (30.0, 60.0):
        now_s += pause_s
        told.clear()
        together.clear()
        for _ in range(200):
            now_s += ASKED_EVERY_S
            before = sum(map(len, told.values()))
            if task.due(now_s):
                task.tick(note)
                task.committed()
                together.append(sum(map(len, told.values())) - before)
        assert sorted(told) == list(range(PARTITIONS))
        for times in told.values():
            assert all(later - earlier <= PROGRESS_INTERVAL_S + 2 * ASKED_EVERY_S for earlier, later in itertools.pairwise(times))
            assert len(times) >= 9
        assert together[0] == PARTITIONS
        assert max(together[1:]) == 1
    loop.close()


def test_after_an_abort_all_partitions_tell_again() -> None:
    world = World()
    loop, task = world.ledger()
    loop.start()
    drain(loop)
    written: list[int] = []

    def note(topic: str, partition: int, key: bytes, value: bytes) -> None:
        del topic, key, value
        written.append(partition)

    now_s = world.clock() + 30.0
    assert task.due(now_s)
    task.tick(note)
    task.rolled_back()
    assert task.due(now_s)
    task.tick(note)
    task.committed()
    assert not task.due(now_s)
    loop.close()

    assert written == [*range(PARTITIONS), *range(PARTITIONS)]
