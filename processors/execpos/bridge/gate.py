"""A producer that takes nothing while the bridge's name is not known to be its own."""

import time
from collections.abc import Callable

from confluent_kafka import KafkaError

from execpos.kafka.ports import IdempotentProducer, Message

# The publisher tries again at once; so long it sleeps, and the journal is written no less often.
_CLOSED_S = 0.01


class GatedProducer:
    """See `ports.IdempotentProducer`. While the gate is closed it says that it has no room, and publishing goes on later where it stopped.

    Args:
        producer: owned from now on.
        is_open: returns at once.
    """

    def __init__(self, producer: IdempotentProducer, is_open: Callable[[], bool]) -> None:
        self._producer = producer
        self._is_open = is_open
        self._produce = producer.produce
        self.poll = producer.poll
        self.flush = producer.flush
        self.purge = producer.purge
        self.close = producer.close

    def produce(
        self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: Callable[[KafkaError | None, Message], None]
    ) -> None:
        if not self._is_open():
            time.sleep(_CLOSED_S)
            raise BufferError("the bridge's name is claimed by nobody or was not looked at for a while")
        self._produce(topic, partition, key, value, on_delivery)
