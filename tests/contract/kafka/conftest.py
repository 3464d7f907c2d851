"""One suite, two Kafkas: the twin, and a real broker for the tests marked `stack`."""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.clock import VirtualClock
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.ports import Cluster, Consumer, TopicPartition

# Long for a busy machine; nothing is asserted about time.
LIVENESS_S = 60.0

# Of the real broker's coordinators, so that a test that waits for them is quick.
SESSION_S = 6.0
TRANSACTION_S = 3.0

_numbers = itertools.count(1)


class Harness:
    """A cluster with names of its own for each test, and what waiting means there."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float], sleep: Callable[[float], None], *, real: bool) -> None:
        self.cluster = cluster
        self.clock = clock
        self.sleep = sleep
        self.real = real
        self.prefix = f"c{os.getpid()}-{next(_numbers)}."
        self.revoked: list[TopicPartition] = []

    def name(self, text: str) -> str:
        """Return a name that no other test has."""
        return self.prefix + text

    def topic(self, text: str, partitions: int = 1, **configs: str) -> str:
        """Create a topic and return its full name."""
        topic = self.name(text)
        self.cluster.create(topic, partitions, 1, {name.replace("_", "."): value for name, value in configs.items()}, LIVENESS_S)
        return topic

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds."""
        end_s = self.clock() + LIVENESS_S
        while not holds():
            assert self.clock() < end_s, f"{what} did not come about"
            self.sleep(0.02)

    def join(self, group: str, instance: str, *topics: str) -> Consumer:
        """Return a consumer that has its assignment and no positions yet."""
        consumer = self.cluster.consumer(self.name(group), instance)
        consumer.subscribe(topics, lambda _: None, self.revoked.extend, self.revoked.extend)

        def assigned() -> bool:
            consumer.poll(0.05)
            return bool(consumer.assignment())

        self.until(assigned, "an assignment")
        return consumer

    def start(self, consumer: Consumer, offset: int = 0) -> None:
        """Begin to read everything assigned at `offset`."""
        for tp in consumer.assignment():
            consumer.seek(tp, offset)
        consumer.resume(sorted(consumer.assignment()))

    def take(self, consumer: Consumer, count: int) -> list[bytes]:
        """Return the values of the next `count` records."""
        found: list[bytes] = []

        def enough() -> bool:
            message = consumer.poll(0.05)
            if message is not None:
                found.extend(one.value() or b"" for one in (message, *consumer.consume(1000)))
            return len(found) >= count

        self.until(enough, f"{count} records")
        return found

    def visible(self, topic: str, partition: int = 0) -> list[bytes]:
        """Return the committed values of a partition up to its high watermark."""
        tp = TopicPartition(topic, partition)
        low, high = self.cluster.watermarks([tp], LIVENESS_S)[tp]
        return [message.value() or b"" for message in self.cluster.read(tp, low, high, LIVENESS_S)]

    def high(self, topic: str, partition: int = 0) -> int:
        """Return the end offset, open transactions included."""
        tp = TopicPartition(topic, partition)
        return self.cluster.high_watermarks([tp], LIVENESS_S)[tp]


@pytest.fixture(scope="session")
def real_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a real broker; `EXECPOS_TEST_KAFKA` names one that runs already."""
    given = os.environ.get("EXECPOS_TEST_KAFKA")
    if given:
        yield given
        return
    from execpos.local.kafka import Kafka  # noqa: PLC0415 (only these tests need the embedded broker)

    folder: Path = tmp_path_factory.mktemp("kafka")
    with Kafka(folder) as kafka:
        yield kafka.bootstrap_servers


@pytest.fixture(params=["memory", pytest.param("real", marks=pytest.mark.stack)])
def kafka(request: pytest.FixtureRequest) -> Iterator[Harness]:
    """Return the twin, then a real cluster."""
    if request.param == "memory":
        clock = VirtualClock()
        broker = MemoryBroker(clock, clock.sleep, session_timeout_s=SESSION_S, transaction_timeout_s=TRANSACTION_S)
        yield Harness(MemoryCluster(broker), clock, clock.sleep, real=False)
        return
    from execpos.kafka.client.cluster import KafkaCluster  # noqa: PLC0415 (as above)
    from execpos.kafka.client.config import KafkaSettings  # noqa: PLC0415 (as above)

    address: str = request.getfixturevalue("real_broker")
    settings = KafkaSettings(address, session_timeout_s=SESSION_S, transaction_timeout_s=TRANSACTION_S)
    yield Harness(KafkaCluster(settings), time.monotonic, time.sleep, real=True)
