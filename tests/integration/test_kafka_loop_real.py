"""The loop on a real broker: crashes at every step, kill -9, a stopped process that wakes, and where Java puts keys."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

import java_tools
from execpos.errors import Fenced
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.loop import Loop, LoopLimits
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import Span, TopicPartition
from kafka_sum_task import SumTask

pytestmark = pytest.mark.stack

PARTITIONS = 3
# For a busy machine; nothing is asserted about time.
LIVENESS_S = 120.0

_numbers = itertools.count(1)


class Crash(BaseException):
    """The process dies here."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    given = os.environ.get("EXECPOS_TEST_KAFKA")
    if given:
        yield given
        return
    from execpos.local.kafka import Kafka  # noqa: PLC0415 (only without a broker of our own)

    with Kafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka.bootstrap_servers


class World:
    """Topics of one test, what was sent, and what is there."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.prefix = f"i{os.getpid()}-{next(_numbers)}."
        self.cluster = KafkaCluster(KafkaSettings(address, session_timeout_s=6.0, transaction_timeout_s=3.0))
        self.inputs = (f"{self.prefix}raw", f"{self.prefix}intents")
        self.sums, self.lines = f"{self.prefix}sums", f"{self.prefix}lines"
        for topic in (*self.inputs, self.sums, self.lines):
            self.cluster.create(topic, PARTITIONS, 1, {}, LIVENESS_S)
        self.producer = self.cluster.idempotent_producer(f"{self.prefix}bridge")
        self.sent: Counter[bytes] = Counter()
        self.count = 0

    def send(self, count: int) -> None:
        for _ in range(count):
            key = b"key-%d" % (self.count % 17)
            topic = self.inputs[self.count % 2]
            self.count += 1
            self.sent[key] += self.count
            self.producer.produce(topic, -1, key, b"%d" % self.count, lambda error, _: None if error is None else pytest.fail(str(error)))
        assert self.producer.flush(LIVENESS_S) == 0

    def loop(self, fault: Callable[[str], None], instance: str = "one", batch: int = 10) -> tuple[Loop, SumTask]:
        task = SumTask(self.inputs, self.sums, self.lines)
        made = Loop(
            self.cluster,
            task,
            group_id=f"{self.prefix}group",
            instance_id=instance,
            transactional_id_prefix=f"{self.prefix}{instance}.",
            limits=LoopLimits(batch=batch),
            fault=fault,
        )
        return made, task

    def read(self, topic: str) -> list[tuple[bytes, bytes]]:
        tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        marks = self.cluster.watermarks(tps, LIVENESS_S)
        reader = self.cluster.reader()
        spans = [Span(tp, low, high) for tp, (low, high) in marks.items()]
        found = [(message.key() or b"", message.value() or b"") for message in reader.read(spans, LIVENESS_S)]
        reader.close()
        return found

    def counted(self) -> int:
        return sum(1 for key, _ in self.read(self.lines) if key != b"tick")

    def check(self) -> None:
        lines = [value for key, value in self.read(self.lines) if key != b"tick"]
        assert len(lines) == len(set(lines)) == self.count
        assert {key: orjson.loads(value)["sum"] for key, value in self.read(self.sums)} == dict(self.sent)


def drain(world: World, loop: Loop) -> None:
    """Step until everything sent is counted."""
    end_s = time.monotonic() + LIVENESS_S
    idle = 0
    while idle < 5 or world.counted() < world.count:
        assert time.monotonic() < end_s, "the loop does not come to rest"
        idle = 0 if loop.step() else idle + 1


@pytest.mark.parametrize(
    "point",
    [
        "producers_ready",
        "committed_read",
        "restored",
        "after_send_offsets",
        "after_process",
        "before_commit",
        "after_commit",
        "task_committed",
    ],
)
def test_a_crash_at_any_step_loses_and_doubles_nothing_on_a_real_broker(address: str, point: str) -> None:
    world = World(address)
    world.send(60)
    left = itertools.count(0 if point in {"producers_ready", "committed_read", "restored"} else 2, -1)

    def crash(step: str) -> None:
        if step == point and next(left) == 0:
            raise Crash(step)

    first, _ = world.loop(crash)
    with pytest.raises(Crash):
        run_for(first, LIVENESS_S)
    first.close()
    world.send(30)
    second, task = world.loop(lambda _: None)
    second.start()
    drain(world, second)
    second.close()

    world.check()
    assert task.rollbacks == 0


def run_for(loop: Loop, seconds: float) -> None:
    loop.start()
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        loop.step()


def spawn(world: World, instance: str, log: Path) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-m", "kafka_sum_process", world.address, world.prefix, instance]
    with log.open("ab") as stderr:
        return subprocess.Popen(argv, cwd=Path(__file__).parents[1], stderr=stderr)


def until(holds: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + LIVENESS_S
    while not holds():
        assert time.monotonic() < end_s, f"{what} did not come about"
        time.sleep(0.05)


def test_a_process_killed_again_and_again_loses_and_doubles_nothing(address: str, tmp_path: Path) -> None:
    world = World(address)
    chance = random.Random(7)
    log = tmp_path / "log"
    kills = 0
    for _ in range(6):
        world.send(4_000)
        before = world.counted()
        process = spawn(world, "one", log)
        until(lambda before=before: world.counted() > before, "progress")  # type: ignore[misc] # mypy gives no type to a bound default
        time.sleep(chance.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += world.counted() < world.count
    last = spawn(world, "one", log)
    until(lambda: world.counted() == world.count, "the rest")
    last.send_signal(signal.SIGTERM)

    assert last.wait(LIVENESS_S) == 0
    assert kills >= 4, "too few kills struck while there was work"
    world.check()


def test_a_stopped_process_that_wakes_after_its_heir_took_over_doubles_nothing(address: str, tmp_path: Path) -> None:
    world = World(address)
    log = tmp_path / "log"
    world.send(200)
    zombie = spawn(world, "old", log)
    until(lambda: world.counted() == 200, "the first records")
    zombie.send_signal(signal.SIGSTOP)
    try:
        heir, _ = world.loop(lambda _: None, "new")
        heir.start()
        until(lambda: (heir.step(), len(heir.partitions) == PARTITIONS)[1], "the take-over")
        world.send(200)
        drain(world, heir)
    finally:
        zombie.send_signal(signal.SIGCONT)
    world.send(200)
    # Awake again it is either fenced or a member like any other; both count every record once.
    until(lambda: (heir.step(), world.counted() == world.count or zombie.poll() is not None)[1], "the rest")
    if zombie.poll() is None:
        until(lambda: (heir.step(), world.counted() == world.count)[1], "the rest")
    zombie.send_signal(signal.SIGKILL)
    zombie.wait()
    drain(world, heir)
    heir.close()

    world.check()


def test_a_second_process_of_one_instance_ends_the_first_with_the_fenced_code(address: str) -> None:
    world = World(address)
    world.send(50)
    first, _ = world.loop(lambda _: None)
    first.start()
    drain(world, first)
    second, _ = world.loop(lambda _: None)
    second.start()
    until(lambda: (second.step(), len(second.partitions) == PARTITIONS)[1], "the take-over")
    world.send(50)
    with pytest.raises(Fenced) as caught:
        run_on(first)
    assert caught.value.exit_code == 7
    drain(world, second)
    first.close()
    second.close()

    world.check()


def run_on(loop: Loop) -> None:
    end_s = time.monotonic() + LIVENESS_S
    while time.monotonic() < end_s:
        loop.step()


def test_partitions_move_to_an_instance_that_joins_and_back(address: str) -> None:
    world = World(address)
    world.send(100)
    one, _ = world.loop(lambda _: None, "one")
    one.start()
    drain(world, one)
    two, _ = world.loop(lambda _: None, "two")
    two.start()
    world.send(100)

    def shared() -> bool:
        one.step()
        two.step()
        return len(one.partitions) + len(two.partitions) == PARTITIONS and bool(one.partitions) and bool(two.partitions)

    until(shared, "a shared assignment")
    until(lambda: (one.step(), two.step(), world.counted() == world.count)[2], "the rest")
    assert not set(one.partitions) & set(two.partitions)
    two.close()
    world.send(100)
    drain(world, one)
    one.close()

    world.check()


def test_the_golden_partitions_are_where_the_client_library_writes(address: str) -> None:
    world = World(address)
    golden = orjson.loads((Path(__file__).parents[2] / "contracts" / "partitions.golden.json").read_bytes())["vectors"]
    topic = f"{world.prefix}golden"
    world.cluster.create(topic, 12, 1, {}, LIVENESS_S)
    found: dict[bytes, int] = {}
    for vector in golden:
        key = vector["key"].encode()
        world.producer.produce(topic, -1, key, b"x", lambda _, message: found.update({message.key() or b"": message.partition()}))
    assert world.producer.flush(LIVENESS_S) == 0

    assert found == {vector["key"].encode(): vector["partitions"]["12"] for vector in golden}
    assert found == {key: partition_for(key, 12) for key in found}


def test_the_golden_partitions_are_where_a_java_producer_writes_and_a_java_consumer_reads_ours(address: str) -> None:
    world = World(address)
    golden = orjson.loads((Path(__file__).parents[2] / "contracts" / "partitions.golden.json").read_bytes())["vectors"]
    for count in (12, 50):
        topic = f"{world.prefix}java{count}"
        world.cluster.create(topic, count, 1, {}, LIVENESS_S)
        java_tools.produce(address, topic, [(vector["key"], "java") for vector in golden])
        tps = [TopicPartition(topic, partition) for partition in range(count)]
        spans = [Span(tp, low, high) for tp, (low, high) in world.cluster.watermarks(tps, LIVENESS_S).items()]
        reader = world.cluster.reader()
        found = {(message.key() or b"").decode(): message.partition() for message in reader.read(spans, LIVENESS_S)}
        reader.close()

        assert found == {vector["key"]: vector["partitions"][str(count)] for vector in golden}

    # The other way round: the records of our transactions, read by Java.
    world.send(20)
    loop, _ = world.loop(lambda _: None)
    loop.start()
    drain(world, loop)
    loop.close()
    seen = java_tools.consume(address, world.lines, 20)

    assert sorted((key, value) for _, key, value in seen) == sorted((key.decode(), value) for key, value in world.read(world.lines))
    assert all(partition == partition_for(key.encode(), PARTITIONS) for partition, key, _ in seen)
