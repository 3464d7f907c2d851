"""A consumer that stays at the end of partitions, on the client library."""

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as LibraryPartition

from execpos.kafka.client import config
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.deadline import Clock, Deadline
from execpos.kafka.ports import Message, TopicPartition

# How many records one poll takes at most: a backlog comes in large pieces, and a thread that is told to stop notices within milliseconds.
_BATCH = 10_000

# What does not pass by itself.
_FINAL = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART})


class KafkaTail:
    """See `ports.Tail`."""

    def __init__(
        self, settings: KafkaSettings, client_id: str, starts: Mapping[TopicPartition, int], clock: Clock = time.monotonic
    ) -> None:
        self._consumer: Any = Consumer(config.tail(settings, client_id))
        self._clock = clock
        # Keys are plain tuples, as a message gives them; a TopicPartition finds them just as well.
        self._position = {(topic, partition): start for (topic, partition), start in starts.items()}
        self._complete: dict[tuple[str, int], float] = {}
        # Ends reached in the last poll; they count from the next one on.
        self._reached: dict[tuple[str, int], float] = {}
        # A moment at which the library's queue was empty. An end of a partition that is found there later came after it.
        self._empty_s = clock()
        self._closed = False

    def open(self, timeout_s: float) -> None:
        """Begin to read. Once; may block up to `timeout_s`.

        Raises:
            KafkaException: Kafka does not answer.
        """
        deadline = Deadline(timeout_s, self._clock)
        for topic in sorted({topic for topic, _ in self._position}):
            # Without this the library finds the leaders of an assigned topic only at its next scan, a second later.
            self._consumer.list_topics(topic, timeout=deadline.remaining())
        self._consumer.assign([LibraryPartition(topic, partition, start) for (topic, partition), start in self._position.items()])

    def poll(self, timeout_s: float) -> list[Message]:
        if self._reached:
            self._complete.update(self._reached)
            self._reached.clear()
        # poll waits for the first record only; consume would wait for all of them.
        first = self._consumer.poll(timeout_s)
        now_s = self._clock()
        if first is None:
            self._empty_s = now_s
            return []
        more = self._consumer.consume(_BATCH, 0)
        found: list[Message] = []
        for message in (first, *more):
            error = message.error()
            if error is None:
                found.append(message)
                self._position[message.topic(), message.partition()] = message.offset() + 1
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (a public name of the library)
                at = (message.topic(), message.partition())
                self._reached[at] = self._empty_s
                self._position[at] = max(self._position[at], message.offset())
            elif error.fatal() or error.code() in _FINAL:
                raise KafkaException(error)
        if len(more) < _BATCH:
            self._empty_s = now_s
        return found

    def position(self, tp: TopicPartition) -> int:
        return self._position[tp]

    def complete_s(self, tp: TopicPartition) -> float | None:
        return self._complete.get(tp)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._consumer.close()
