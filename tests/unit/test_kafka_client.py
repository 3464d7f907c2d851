"""The settings of the client library, checked without a broker."""

from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from execpos.errors import ConfigError, ContractError
from execpos.kafka.client import config
from execpos.kafka.client import producer as kafka_producer
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.client.consumer import KafkaConsumer, _inside
from execpos.kafka.client.producer import KafkaTransactionalProducer
from execpos.kafka.ports import TopicPartition

# Nobody listens there, and nothing here connects before a call that asks the broker.
NOWHERE = KafkaSettings("127.0.0.1:1")


def test_a_setting_that_the_library_does_not_know_is_a_mistake_in_the_configuration() -> None:
    cluster = KafkaCluster(KafkaSettings("127.0.0.1:1", extra={"no.such.setting": "1"}))
    for make in (
        cluster.reader,
        lambda: cluster.consumer("g", "i"),
        lambda: cluster.transactional_producer("t"),
        lambda: cluster.idempotent_producer("c"),
    ):
        with pytest.raises(ConfigError, match=r"no\.such\.setting"):
            make()


def test_extra_settings_never_replace_those_on_which_exactly_once_rests() -> None:
    settings = KafkaSettings("127.0.0.1:1", extra={"isolation.level": "read_uncommitted", "acks": "1", "security.protocol": "ssl"})
    member = config.member(settings, "g", "i")
    producer = config.transactional(settings, "t")

    assert member["isolation.level"] == "read_committed"
    assert producer["acks"] == "all"
    assert producer["security.protocol"] == "ssl"


def test_a_dead_owners_transaction_ends_before_its_partitions_move() -> None:
    assert config.transactional(NOWHERE, "t")["transaction.timeout.ms"] < config.member(NOWHERE, "g", "i")["session.timeout.ms"]


def test_the_library_takes_every_setting_of_ours() -> None:
    cluster = KafkaCluster(NOWHERE)
    for one in (cluster.consumer("g", "i"), cluster.transactional_producer("t"), cluster.idempotent_producer("c"), cluster.reader()):
        one.close()
        one.close()


def test_a_producer_that_finds_no_broker_to_connect_to_keeps_its_records() -> None:
    producer = KafkaCluster(NOWHERE).idempotent_producer("c", 0.05)
    producer.produce("t", 0, b"k", b"v", lambda _error, _message: None)
    assert producer.flush(0.05) == 1
    producer.close()


def test_nothing_is_sought_or_started_that_is_not_assigned() -> None:
    consumer = KafkaConsumer(NOWHERE, "g", "i")
    with pytest.raises(KafkaException) as caught:
        consumer.seek(TopicPartition("t", 0), 5)
    assert caught.value.args[0].code() == KafkaError._STATE
    consumer._held = {TopicPartition("t", 0): 0, TopicPartition("t", 1): None}
    with pytest.raises(ContractError, match="have no position"):
        consumer.resume([TopicPartition("t", 0), TopicPartition("t", 1)])
    consumer.close()


class _Library:
    """Stands for the library's producer and notes when it is asked to commit."""

    def __init__(self, clock: "_Clock") -> None:
        self._clock = clock
        self.committed_s: list[float] = []

    def begin_transaction(self) -> None:
        """Take no time."""

    def commit_transaction(self, timeout_s: float) -> None:
        del timeout_s
        self.committed_s.append(self._clock.monotonic())


class _Clock:
    """Stands for the module `time`; only sleeping and `work` move it."""

    def __init__(self) -> None:
        self._now_s = 100.0

    def monotonic(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._now_s += seconds


def test_a_commit_comes_when_the_library_has_registered_the_partitions_and_no_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = KafkaTransactionalProducer(NOWHERE, "t")
    clock = _Clock()
    library = _Library(clock)
    monkeypatch.setattr(kafka_producer, "time", clock)
    monkeypatch.setattr(producer, "_producer", library)
    monkeypatch.setattr(producer, "_produce", lambda *_: clock.sleep(0.0001))

    producer.begin()
    producer.produce("a", 0, b"", b"")
    producer.produce("b", 0, b"", b"")
    producer.commit(1.0)
    assert library.committed_s.pop() == pytest.approx(100.0 + kafka_producer._REGISTERED_AFTER_S)

    began_s = clock.monotonic()
    producer.begin()
    producer.produce("a", 0, b"", b"")
    clock.sleep(0.5)
    producer.commit(1.0)
    assert library.committed_s.pop() == pytest.approx(began_s + 0.5001), "work that took longer waits for nothing"

    began_s = clock.monotonic()
    producer.begin()
    producer.commit(1.0)
    assert library.committed_s.pop() == began_s, "without a record there is nothing to register"


class _Read:
    """One event of the library's consumer: a record, or an end of a partition."""

    def __init__(self, topic: str, partition: int, offset: int, error: str = "") -> None:
        self._at = (topic, partition, offset)
        self._error = error or None

    def topic(self) -> str:
        return self._at[0]

    def partition(self) -> int:
        return self._at[1]

    def offset(self) -> int:
        return self._at[2]

    def error(self) -> str | None:
        return self._error


@pytest.mark.parametrize("topics", [("t",), ("t", "u")])
def test_only_records_inside_the_spans_that_are_still_open_are_taken(topics: tuple[str, ...]) -> None:
    ends = {(topic, partition): 3 for topic in topics for partition in (0, 1)}
    wanted: list[Any] = [_Read(topic, partition, offset) for topic in topics for partition in (0, 1) for offset in (0, 2)]
    others: list[Any] = [_Read("t", 0, 3), _Read("t", 1, 9), _Read("t", 2, 0), _Read("other", 0, 0), _Read("t", 0, 1, "end of partition")]

    assert _inside([*wanted, *others], ends) == wanted
    assert _inside(others, ends) == []
