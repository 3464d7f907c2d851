"""Ledgers that come and go: what one keeps through a change is what a restore would give it."""

from execpos.brokers.sim.config import SimConfig, market_open_us
from execpos.brokers.sim.day import Simulator
from execpos.domain.events import FillEvent, Progress
from ledger_world import NAMES, PARTITIONS, World, drain, states


def test_state_kept_through_changes_of_the_group_is_what_a_restore_gives() -> None:
    world = World()
    events = list(Simulator(SimConfig(seed=21, start_us=market_open_us(2026, 5, 21), events=600)).events())
    parts = [events[number * len(events) // 4 : (number + 1) * len(events) // 4] for number in range(4)]

    def send(part: int) -> None:
        for event in parts[part]:
            world.send(event)

    one, one_task = world.ledger()
    one.start()
    send(0)
    drain(one)
    restored = list(one_task.states.values())
    two, two_task = world.ledger(instance="two")
    two.start()
    send(1)
    drain(one, two)
    kept = [state for state in one_task.states.values() if state in restored]
    assert len(kept) == len(one_task.states) > 0
    assert len(one_task.states) + len(two_task.states) == PARTITIONS
    send(2)
    two.consumer.leave(1.0)
    two.close()
    drain(one)
    assert [state for state in one_task.states.values() if state in kept] == kept
    send(3)
    drain(one)
    live = states(one_task)
    one.close()
    again, again_task = world.ledger()
    again.start()
    drain(again)

    assert live == states(again_task)
    assert any(found["fills"] for found in live.values())
    fills = world.read(FillEvent, NAMES.fills)
    assert len({(fill.fill_id, fill.revision) for fill in fills}) == len(fills)
    epochs = {
        partition: [found.ledger_epoch for found in world.read(Progress, NAMES.progress) if found.partition == partition]
        for partition in range(3)
    }
    assert all(seen == sorted(seen) for seen in epochs.values()), "an older incarnation never speaks after a newer one"
    again.close()
