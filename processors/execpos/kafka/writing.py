"""Writes a few records outside transactions and waits for them: what commands and requests need."""

from collections.abc import Sequence
from contextlib import closing

from confluent_kafka import KafkaError

from execpos.errors import DependencyError
from execpos.kafka.ports import Cluster, Message

# How long Kafka may take to have all of them.
_WRITE_S = 10.0

# The part of it that may go into the connection, so that a HALT is not half a second late.
_CONNECT_S = 2.0


def write_all(cluster: Cluster, client_id: str, topic: str, records: Sequence[tuple[bytes, bytes]], what: str) -> None:
    """Write keys and values to one topic, placed by their keys, in order, and wait until Kafka has them all. Blocks.

    Args:
        cluster: where the topic is.
        client_id: names the connection.
        topic: full name.
        records: key and value of each.
        what: names them in an error, as "requests".

    Raises:
        DependencyError: Kafka does not say in time that it has them; it may have some.
    """
    failed: list[str] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        del message
        if error is not None:
            failed.append(error.name())

    with closing(cluster.idempotent_producer(client_id, _CONNECT_S)) as producer:
        for key, value in records:
            producer.produce(topic, -1, key, value, delivered)
        left = producer.flush(_WRITE_S - _CONNECT_S)
    if left or failed:
        raise DependencyError(
            f"Kafka did not take {left + len(failed)} of {len(records)} {what}: {', '.join(sorted(set(failed))) or 'no answer'}",
            hint="check that the broker is up and has the topic; what was written may still arrive",
        )
