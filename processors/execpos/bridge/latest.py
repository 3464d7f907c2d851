"""Publishes records of which only the newest counts: what cannot go out now is dropped, never queued."""

import time
from collections.abc import Callable

from confluent_kafka import KafkaError

from execpos.kafka.ports import IdempotentProducer, Message

# How long one wait for an acknowledgement lasts.
_WAIT_S = 0.05


class Latest:
    """One topic; at most one record of a key is on its way. One thread.

    Args:
        producer: owned from now on.
        topic: full name.
        on_sent: called inside `poll` and `flush` for each record that Kafka has.
    """

    def __init__(self, producer: IdempotentProducer, topic: str, on_sent: Callable[[], None] = lambda: None) -> None:
        self._producer = producer
        self._topic = topic
        self._on_sent = on_sent
        self._under_way: set[bytes] = set()
        self.refused = ""
        """Why Kafka did not take the last record that it did not take; empty while it takes all."""

    def offer(self, key: bytes, value: bytes) -> bool:
        """Publish a record; False when the last one of its key is still on its way, or there is no room. Does not block."""
        if key in self._under_way:
            return False

        def delivered(error: KafkaError | None, message: Message) -> None:
            del message
            self._under_way.discard(key)
            if error is None:
                self.refused = ""
                self._on_sent()
            else:
                self.refused = error.name()

        try:
            self._producer.produce(self._topic, -1, key, value, delivered)
        except BufferError:
            return False
        self._under_way.add(key)
        return True

    def poll(self) -> None:
        """Notice what became of earlier records. Does not block."""
        self._producer.poll(0)

    def flush(self, timeout_s: float) -> bool:
        """Wait until nothing is on its way, at most `timeout_s`; say whether that was reached."""
        deadline_s = time.monotonic() + timeout_s
        while self._under_way and time.monotonic() < deadline_s:
            self._producer.flush(_WAIT_S)
        return not self._under_way

    def close(self) -> None:
        """Let go without waiting. A second call does nothing."""
        self._producer.close()
