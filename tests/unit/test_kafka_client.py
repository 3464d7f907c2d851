"""The settings of the client library, checked without a broker."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from execpos.errors import ConfigError, ContractError
from execpos.kafka.client import config
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.client.consumer import KafkaConsumer
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


def test_nothing_is_sought_or_started_that_is_not_assigned() -> None:
    consumer = KafkaConsumer(NOWHERE, "g", "i")
    with pytest.raises(KafkaException) as caught:
        consumer.seek(TopicPartition("t", 0), 5)
    assert caught.value.args[0].code() == KafkaError._STATE
    consumer._held = {TopicPartition("t", 0): 0, TopicPartition("t", 1): None}
    with pytest.raises(ContractError, match="have no position"):
        consumer.resume([TopicPartition("t", 0), TopicPartition("t", 1)])
    consumer.close()
