"""The loop on the twin: crashes at every step, aborts, doubts, rebalances, and inputs that may not be consumed."""

import itertools
import threading
from collections import Counter
from collections.abc import Callable

import orjson
import pytest
from confluent_kafka import KafkaError, KafkaException

from execpos.errors import AbortTransaction, ContractError, DependencyError, Fenced
from execpos.kafka.loop import Loop, LoopLimits
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.clock import VirtualClock
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.memory.failures import failure, fenced, timed_out
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition, no_fault
from kafka_sum_task import SumTask

PARTITIONS = 3
INPUTS = ("t.raw", "t.intents")
SUMS, LINES = "t.sums", "t.lines"


class Crash(BaseException):
    """The process dies here."""


class World:
    """A broker with its topics, and loops on it."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.broker = MemoryBroker(self.clock, self.clock.sleep)
        for topic in (*INPUTS, SUMS, LINES):
            self.broker.create(topic, PARTITIONS)
        self.sent: Counter[bytes] = Counter()
        self.count = 0

    def send(self, count: int) -> None:
        for _ in range(count):
            key = b"key-%d" % (self.count % 7)
            topic = INPUTS[self.count % 2]
            self.count += 1
            self.sent[key] += self.count
            self.broker.append(TopicPartition(topic, partition_for(key, PARTITIONS)), key, b"%d" % self.count)

    def loop(
        self, fault: Callable[[str], None] = no_fault, instance: str = "one", batch: int = 4, tick_every_s: float | None = None
    ) -> tuple[Loop, SumTask]:
        task = SumTask(INPUTS, SUMS, LINES, tick_every_s=tick_every_s)
        made = Loop(
            MemoryCluster(self.broker),
            task,
            group_id="group",
            instance_id=instance,
            transactional_id_prefix=f"t.{instance}.",
            limits=LoopLimits(batch=batch),
            clock=self.clock,
            sleep=self.clock.sleep,
            fault=fault,
        )
        return made, task

    def visible(self, topic: str) -> list[tuple[bytes, bytes]]:
        found = []
        for partition in range(PARTITIONS):
            log = self.broker.log(TopicPartition(topic, partition))
            found += [(message.key() or b"", message.value() or b"") for message in log.committed(0, log.high)]
        return found

    def check(self, *tasks: SumTask) -> None:
        """Every record counted once: in the lines, in the compacted sums, and in the memory of the tasks."""
        lines = [value for key, value in self.visible(LINES) if key != b"tick"]
        assert len(lines) == len(set(lines)) == self.count

        last = {key: orjson.loads(value)["sum"] for key, value in self.visible(SUMS)}
        assert last == dict(self.sent)

        live = {key: row[0] for task in tasks for rows in task.state.values() for key, row in rows.items()}
        assert live == dict(self.sent)
        for partition in range(PARTITIONS):
            for topic in (*INPUTS, SUMS, LINES):
                log = self.broker.log(TopicPartition(topic, partition))
                assert log.last_stable == log.high, "a transaction is still open"


def drain(world: World, *loops: Loop, steps: int = 400) -> None:
    """Step all loops until nothing is left to do."""
    idle = 0
    for _ in range(steps):
        idle = 0 if sum(loop.step() for loop in loops) else idle + 1
        if idle > 6 and all(loop.partitions for loop in loops):
            return
    pytest.fail("the loops do not come to rest")


def step(loop: Loop, times: int) -> None:
    for _ in range(times):
        loop.step()


CRASH_POINTS = [
    "producers_ready",
    "assigned",
    "committed_read",
    "restored",
    "resumed",
    "after_poll",
    "before_begin",
    "after_begin",
    "before_send_offsets",
    "after_send_offsets",
    "before_process",
    "after_process",
    "before_tick",
    "after_tick",
    "before_commit",
    "after_commit",
    "task_committed",
]


@pytest.mark.parametrize("point", CRASH_POINTS)
@pytest.mark.parametrize("passes", [0, 1, 2])
def test_a_crash_at_any_step_loses_and_doubles_nothing(point: str, passes: int) -> None:
    world = World()
    world.send(30)
    left = itertools.count(passes, -1)
    struck = []

    def crash(step: str) -> None:
        if step == point and next(left) == 0:
            struck.append(step)
            raise Crash(step)

    def rest(step: str) -> None:
        assert step

    first, _ = world.loop(crash, tick_every_s=0.05)
    try:
        first.start()
        for _ in range(40):
            first.step()
    except Crash:
        first.consumer.suspend()  # type: ignore[attr-defined] # the twin's way to die
    assert struck or (passes and point in {"producers_ready", "assigned", "committed_read", "restored", "resumed"})

    world.send(10)
    second, task = world.loop(rest)
    second.start()
    drain(world, second)

    world.check(task)
    first.close()
    second.close()


@pytest.mark.parametrize("point", ["before_abort", "after_abort", "rolled_back", "sought"])
def test_a_crash_during_an_abort_loses_and_doubles_nothing(point: str) -> None:
    world = World()
    world.send(30)
    world.broker.plan("send_offsets", lambda: failure(KafkaError.UNSTABLE_OFFSET_COMMIT, "planned", abort=True))

    def crash(step: str) -> None:
        if step == point:
            raise Crash(step)

    first, _ = world.loop(crash)
    first.start()
    with pytest.raises(Crash):
        drain(world, first)
    second, task = world.loop()
    second.start()
    drain(world, second)

    world.check(task)


ABORTABLE = [
    ("send_offsets", lambda: failure(KafkaError.ILLEGAL_GENERATION, "planned", abort=True), False),
    ("send_offsets", lambda: failure(KafkaError.UNKNOWN_MEMBER_ID, "planned", abort=True), True),
    ("send_offsets", timed_out, False),
    ("produce", lambda: failure(KafkaError.TOPIC_AUTHORIZATION_FAILED, "planned", abort=True), False),
    ("commit", lambda: failure(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "planned", abort=True), False),
    ("commit", timed_out, False),
    ("commit", timed_out, True),
    ("commit", lambda: failure(KafkaError.INVALID_TXN_STATE, "planned", fatal=True), False),
    ("commit", lambda: failure(KafkaError.INVALID_TXN_STATE, "planned", fatal=True), True),
    ("produce", lambda: failure(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "planned", fatal=True), False),
    ("begin", lambda: failure(KafkaError._STATE, "planned"), False),
    ("poll", lambda: failure(KafkaError._TRANSPORT, "planned", retriable=True), False),
    ("committed", timed_out, False),
]


@pytest.mark.parametrize(("call", "make", "after_effect"), ABORTABLE)
def test_a_failed_call_is_survived_and_every_record_counts_once(
    call: str, make: Callable[[], KafkaException], *, after_effect: bool
) -> None:
    world = World()
    world.send(20)
    loop, task = world.loop()
    world.broker.plan(call, make, after_effect=after_effect)  # type: ignore[arg-type] # one of its literals
    loop.start()
    drain(world, loop)

    world.check(task)
    loop.close()


@pytest.mark.parametrize("happened", [True, False])
def test_a_commit_in_doubt_is_decided_by_the_committed_offsets(*, happened: bool) -> None:
    world = World()
    world.send(8)
    loop, task = world.loop(batch=100)
    limits = loop._limits.transaction
    # Every try within the limit times out, the first one with effect or none of them.
    tries = int(limits.commit_s / 0.02) + 5
    loop.start()
    while not loop.partitions:
        loop.step()
    if happened:
        world.broker.plan("commit", timed_out, after_effect=True)
    world.broker.plan("commit", timed_out, times=tries)
    loop.step()
    rollbacks = task.rollbacks
    world.broker._planned["commit"].clear()
    drain(world, loop)

    assert rollbacks == (0 if happened else 1)
    world.check(task)


def test_a_commit_in_doubt_without_offsets_that_move_ends_the_process() -> None:
    world = World()
    loop, task = world.loop(tick_every_s=0.1)
    loop.start()
    while task.ticks < 2:
        loop.step()
    world.broker.plan("commit", lambda: failure(KafkaError.INVALID_TXN_STATE, "planned", fatal=True))
    with pytest.raises(DependencyError, match="outcome of a commit is unknown"):
        step(loop, 50)


def test_a_fenced_producer_ends_the_process() -> None:
    world = World()
    world.send(5)
    loop, _ = world.loop()
    loop.start()
    while not loop.partitions:
        loop.step()
    world.broker.plan("commit", fenced)
    with pytest.raises(Fenced):
        drain(world, loop)


def test_a_second_process_of_one_instance_fences_the_first() -> None:
    world = World()
    world.send(5)
    first, _ = world.loop()
    first.start()
    drain(world, first)
    second, task = world.loop()
    second.start()
    drain(world, second)
    world.send(5)
    with pytest.raises(Fenced):
        step(first, 10)
    drain(world, second)

    world.check(task)


def test_a_zombie_commits_nothing_after_its_partitions_moved() -> None:
    world = World()
    world.send(12)
    zombie, zombie_task = world.loop(instance="old")
    zombie.start()
    drain(world, zombie)
    zombie.consumer.suspend()  # type: ignore[attr-defined] # the twin's way to stand still
    world.clock.sleep(100.0)
    heir, heir_task = world.loop(instance="new")
    heir.start()
    world.send(12)
    drain(world, heir)
    # The zombie wakes inside a transaction it believes in.
    message = heir.consumer._broker.log(TopicPartition(INPUTS[0], 0)).next_committed(0)  # type: ignore[attr-defined] # white box
    assert message is not None
    with pytest.raises(AbortTransaction):
        zombie._transactions.run(
            {TopicPartition(INPUTS[0], 0): 99}, zombie._assignment.committed, lambda out: out(LINES, 0, b"zombie", b"1")
        )

    world.check(heir_task)
    assert zombie_task.state


def test_partitions_move_between_instances_with_their_state() -> None:
    world = World()
    world.send(20)
    one, one_task = world.loop(instance="one")
    one.start()
    drain(world, one)
    two, two_task = world.loop(instance="two")
    two.start()
    world.send(20)
    drain(world, one, two)

    assert sorted((*one.partitions, *two.partitions)) == [0, 1, 2]
    assert one_task.revoked == [2]
    assert one_task.restored == [0, 1, 2]
    assert two_task.restored == [2]
    world.check(one_task, two_task)

    two.close()
    world.clock.sleep(100.0)
    world.send(20)
    drain(world, one)

    assert one.partitions == (0, 1, 2)
    world.check(one_task)


def test_what_was_elsewhere_in_between_is_restored_again() -> None:
    world = World()
    world.send(20)
    one, one_task = world.loop(instance="one")
    one.start()
    drain(world, one)
    for passage in ("two", "three"):
        other, other_task = world.loop(instance=passage)
        other.start()
        world.send(20)
        drain(world, one, other)
        world.check(one_task, other_task)
        other.consumer.leave(1.0)
        other.close()
        world.send(20)
        drain(world, one)
        world.check(one_task)

    assert one_task.restored == [0, 1, 2, 2, 2]
    assert one_task.revoked == [2, 2]


def test_nothing_is_kept_past_a_generation_in_which_others_had_it() -> None:
    world = World()
    world.send(20)
    one, one_task = world.loop(instance="one")
    one.start()
    drain(world, one)
    one._assignment.on_revoke([])
    one._assignment._generation -= 1
    kept = one._assignment._kept
    assert kept is not None
    one._assignment._kept = kept._replace(generation=kept.generation - 2)
    one._assignment.on_assign(sorted(one.consumer.assignment()))
    one.consumer.pause(sorted(one.consumer.assignment()))
    world.send(20)
    drain(world, one)

    assert one_task.revoked == [0, 1, 2]
    assert one_task.restored == [0, 1, 2, 0, 1, 2]
    world.check(one_task)


def test_a_state_that_is_not_the_committed_one_is_not_kept() -> None:
    world = World()
    world.send(20)
    one, one_task = world.loop(instance="one")
    one.start()
    drain(world, one)
    two, two_task = world.loop(instance="two")
    two.start()
    two.step()
    one.step()
    kept = one._assignment._kept
    assert kept is not None
    stale = TopicPartition(INPUTS[0], 0)
    kept.committed[stale] -= 1
    world.send(20)
    drain(world, one, two)

    assert 0 in one_task.revoked
    assert one_task.restored.count(0) == 2
    assert one_task.restored.count(1) == 1
    world.check(one_task, two_task)


def test_partitions_that_were_lost_are_restored_again() -> None:
    world = World()
    world.send(20)
    one, one_task = world.loop(instance="one")
    one.start()
    drain(world, one)
    # Its beats do not come through while the loop runs on.
    world.broker.reachable = False
    one.consumer.suspend()  # type: ignore[attr-defined] # the twin's way to stop beating
    for _ in range(100):
        world.clock.sleep(1.0)
        one.step()
    world.broker.reachable = True
    world.broker.group("group").expire(world.clock())
    world.send(20)
    drain(world, one)

    assert one_task.revoked == [0, 1, 2]
    assert one_task.restored == [0, 1, 2, 0, 1, 2]
    world.check(one_task)


def test_who_stood_still_past_the_session_ends_before_joining_again() -> None:
    world = World()
    world.send(20)
    one, one_task = world.loop(instance="one")
    one.start()
    drain(world, one)
    one.consumer.suspend()  # type: ignore[attr-defined] # the twin's way to stand still
    world.clock.sleep(100.0)
    world.broker.group("group").expire(world.clock())

    with pytest.raises(Fenced, match="one stood still for 100 s"):
        one.step()
    one.consumer.poll(0.0)
    assert not world.broker.group("group").members, "it joined again, which would end a successor"
    assert one_task.revoked == [0, 1, 2]
    one.close()

    successor, task = world.loop(instance="one")
    successor.start()
    drain(world, successor)
    world.check(task)


def test_a_short_pause_joins_again() -> None:
    world = World()
    world.send(20)
    one, one_task = world.loop(instance="one")
    one.start()
    drain(world, one)
    # Thrown out by the group, as by a coordinator that moved, although it ran all the time.
    world.clock.sleep(20.0)
    world.broker.group("group").leave(one.consumer._member)  # type: ignore[attr-defined] # white box
    world.send(20)
    drain(world, one)

    assert one_task.restored == [0, 1, 2, 0, 1, 2]
    world.check(one_task)


def test_a_stopped_loop_hands_over_at_once_unless_told_to_stay() -> None:
    for leave_s, waits in ((5.0, False), (0.0, True)):
        world = World()
        world.send(20)
        one, one_task = world.loop(instance="one")
        one._limits = one._limits._replace(leave_s=leave_s)
        two, two_task = world.loop(instance="two")
        two.start()
        stop = threading.Event()
        real = one.step

        def step_both(real: Callable[[], int] = real, two: Loop = two, one: Loop = one, stop: threading.Event = stop) -> int:
            two.step()
            if one.partitions and two.partitions:
                stop.set()
            return real()

        one.step = step_both  # type: ignore[method-assign] # both run in one thread here
        one.run(stop)
        before_s = world.clock()
        world.send(20)
        for _ in range(20):
            two.step()
        assert (two.partitions == (0, 1, 2)) is not waits
        assert one_task.state == {}
        if waits:
            world.clock.sleep(100.0)
        drain(world, two)

        assert waits or world.clock() - before_s < 10.0
        world.check(two_task)


def test_a_rebalance_during_a_restore_starts_it_again() -> None:
    world = World()
    world.send(20)
    first, _ = world.loop(instance="one")
    first.start()
    drain(world, first)
    first.consumer.suspend()  # type: ignore[attr-defined] # the twin's way to die

    joined: list[tuple[Loop, SumTask]] = []

    def join(step: str) -> None:
        if step == "committed_read" and not joined:
            joined.append(world.loop(instance="two"))
            joined[0][0].start()
            joined[0][0].step()

    again, task = world.loop(join, instance="one")
    again.start()
    world.send(9)
    while not joined:
        again.step()
    drain(world, again, joined[0][0])

    assert task.revoked, "the restore was not interrupted"
    world.check(task, joined[0][1])


def test_a_timer_alone_runs_a_fenced_transaction() -> None:
    world = World()
    loop, task = world.loop(tick_every_s=1.0)
    loop.start()
    sent: list[int] = []
    real = world.broker.send_offsets

    def watch(*args: object) -> None:
        sent.append(len(args[2]))  # type: ignore[arg-type] # the offsets
        real(*args)  # type: ignore[arg-type] # passed on as they came

    world.broker.send_offsets = watch  # type: ignore[method-assign,assignment] # a spy
    for _ in range(100):
        loop.step()

    assert task.ticks >= 3
    assert sent == [len(INPUTS) * PARTITIONS] * task.ticks
    assert len(world.visible(LINES)) == task.ticks * PARTITIONS


def test_offsets_are_sent_behind_the_records_and_before_every_commit() -> None:
    world = World()
    world.send(3)
    steps: list[str] = []
    loop, _ = world.loop(steps.append, tick_every_s=0.05)
    loop.start()
    drain(world, loop)
    transactions = [one.split() for one in " ".join(steps).split("before_begin")[1:]]

    assert any("after_process" in one for one in transactions)
    for one in transactions:
        assert max(one.index(step) for step in ("after_process", "after_tick") if step in one) < one.index("before_send_offsets")
        assert one.index("after_send_offsets") < one.index("before_commit")


def test_a_failing_task_aborts_rolls_back_and_ends() -> None:
    world = World()
    world.send(5)
    loop, task = world.loop()

    def process(*_: object) -> None:
        raise ValueError("a defect")

    task.process = process  # type: ignore[method-assign,assignment] # a planted defect
    loop.start()
    with pytest.raises(ValueError, match="a defect"):
        drain(world, loop)

    assert task.rollbacks == 1
    assert not world.visible(LINES)
    assert not world.broker.pending_offsets("group")


def test_aborts_without_end_end_the_process() -> None:
    world = World()
    world.send(5)
    loop, _ = world.loop()
    world.broker.plan("send_offsets", lambda: failure(KafkaError.ILLEGAL_GENERATION, "planned", abort=True), times=100_000)
    loop.start()
    with pytest.raises(DependencyError, match="no transaction was committed"):
        step(loop, 100_000)


def test_input_deleted_before_it_was_read_is_refused() -> None:
    world = World()
    world.send(60)
    loop, _ = world.loop(batch=10)
    loop.start()
    while not loop.step():
        pass
    loop.close()
    for partition in range(PARTITIONS):
        world.broker.truncate(TopicPartition(INPUTS[0], partition), 8)
        world.broker.truncate(TopicPartition(INPUTS[1], partition), 8)
    again, _ = world.loop()
    again.start()
    with pytest.raises(ContractError, match="was deleted unread"):
        drain(world, again)


def test_a_topic_created_anew_is_refused() -> None:
    world = World()
    world.send(60)
    loop, _ = world.loop()
    loop.start()
    drain(world, loop)
    loop.close()
    world.broker.delete(INPUTS[0])
    world.broker.create(INPUTS[0], PARTITIONS)
    again, _ = world.loop()
    again.start()
    with pytest.raises(ContractError, match="created anew"):
        drain(world, again)


def test_inputs_with_different_partition_counts_are_refused() -> None:
    world = World()
    world.broker.delete(INPUTS[1])
    world.broker.create(INPUTS[1], PARTITIONS + 1)
    loop, _ = world.loop()
    with pytest.raises(ContractError, match="different partition counts"):
        loop.start()


def test_inputs_that_do_not_meet_on_one_instance_are_refused() -> None:
    world = World()
    loop, _ = world.loop()
    loop.start()
    loop._assignment.on_assign([TopicPartition(INPUTS[0], 0), TopicPartition(INPUTS[1], 1)])
    with pytest.raises(ContractError, match="did not land on one instance"):
        loop._assignment.take_over()


def test_a_dead_owners_pending_offsets_are_waited_for() -> None:
    world = World()
    world.send(10)

    def die(step: str) -> None:
        if step == "before_commit":
            raise Crash(step)

    dead, _ = world.loop(die, instance="dead")
    dead.start()
    with pytest.raises(Crash):
        drain(world, dead)
    dead.consumer.suspend()  # type: ignore[attr-defined] # the twin's way to die
    # The session ends before the transaction does: only then is there something to wait for.
    world.broker.group("group").members.clear()
    assert world.broker.pending_offsets("group")
    before_s = world.clock()
    heir, task = world.loop(instance="heir")
    heir.start()
    drain(world, heir)

    assert world.clock() - before_s >= 9.0
    world.check(task)


def test_a_broker_out_of_reach_for_a_while_is_waited_for() -> None:
    world = World()
    world.send(20)
    loop, task = world.loop()
    loop.start()
    while not loop.step():
        pass
    world.broker.reachable = False
    step(loop, 200)
    world.broker.reachable = True
    drain(world, loop)

    world.check(task)


@pytest.mark.parametrize("point", ["before_begin", "before_send_offsets", "before_process", "before_commit"])
def test_a_broker_out_of_reach_for_too_long_ends_the_process_and_a_restart_goes_on(point: str) -> None:
    world = World()
    world.send(20)

    def cut(step: str) -> None:
        if step == point:
            world.broker.reachable = False

    loop, _ = world.loop(cut)
    loop.start()
    with pytest.raises(DependencyError):
        drain(world, loop)
    loop.close()
    world.broker.reachable = True
    again, task = world.loop()
    again.start()
    drain(world, again)

    world.check(task)


def test_a_stop_during_a_restore_ends_it() -> None:
    world = World()
    world.send(20)
    first, _ = world.loop()
    first.start()
    drain(world, first)
    first.close()
    stop = threading.Event()
    again, task = world.loop(lambda step: stop.set() if step == "committed_read" else None)
    again.run(stop)

    assert not task.restored
    assert not task.state
