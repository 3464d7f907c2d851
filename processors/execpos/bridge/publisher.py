"""Hands records to Kafka and counts what came back."""

import time

from confluent_kafka import KafkaError

from execpos.codecs.avro import Encoder
from execpos.domain.events import RawExecEvent
from execpos.errors import DependencyError
from execpos.kafka.ports import IdempotentProducer, Message

# How long one wait for room in the producer's queue lasts; between two waits a stop is noticed.
_ROOM_WAIT_S = 0.1

# How long one wait for acknowledgements lasts; between two waits a refusal is noticed.
_FLUSH_S = 0.5


class RawPublisher:
    """Publishes RawExecEvents, keyed and placed by account. One thread.

    A record is delivered when it is acknowledged, not when `publish` returns. The producer gives no record up by itself: while Kafka is
    away records wait in memory, and their number is `waiting`.
    """

    def __init__(self, producer: IdempotentProducer, encoder: Encoder[RawExecEvent], topic: str) -> None:
        self._producer = producer
        self._encode = encoder
        self._topic = topic
        self._error: KafkaError | None = None
        self._deadline_s = float("inf")
        self.published = 0
        self.acknowledged = 0

    @property
    def waiting(self) -> int:
        """How many records are handed over and not acknowledged."""
        return self.published - self.acknowledged

    def stop_at(self, deadline_s: float) -> None:
        """Let nothing here wait beyond `deadline_s` (monotonic) from now on. Any thread; does not block."""
        self._deadline_s = deadline_s

    def publish(self, record: RawExecEvent) -> None:
        """Hand one record over. Blocks only while the producer's queue is full.

        Raises:
            DependencyError: a record was refused, this one or an earlier one, or there was no room before the deadline.
        """
        self._check()
        key, value = record.account.encode(), self._encode(record)
        while True:
            try:
                self._producer.produce(self._topic, -1, key, value, self._delivered)
            except BufferError:
                if time.monotonic() > self._deadline_s:
                    raise self._late() from None
                self._producer.poll(_ROOM_WAIT_S)
                self._check()
            else:
                self.published += 1
                return

    def poll(self) -> None:
        """Take acknowledgements that have come. Does not block.

        Raises:
            DependencyError: a record was refused.
        """
        self._producer.poll(0)
        self._check()

    def finish(self) -> None:
        """Wait until everything is acknowledged, or the deadline is over.

        Raises:
            DependencyError: a record was refused or is still on its way; its fate is unknown.
        """
        while self.waiting:
            left_s = self._deadline_s - time.monotonic()
            if left_s <= 0:
                raise self._late()
            self._producer.flush(min(left_s, _FLUSH_S))
            self._check()

    def close(self) -> None:
        """Let go without waiting. A second call does nothing."""
        self._producer.close()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        del message
        if error is None:
            self.acknowledged += 1
        elif self._error is None:
            self._error = error

    def _check(self) -> None:
        if self._error is not None:
            raise DependencyError(
                f"Kafka refused a record of {self._topic}: {self._error.name()}, {self._error.str()}; {self.waiting} are not stored",
                hint="the bridge stops, because a record after a hole would hide it; start it again and reconcile the accounts",
                topic=self._topic,
                waiting=self.waiting,
            )

    def _late(self) -> DependencyError:
        return DependencyError(
            f"{self.waiting} records of {self._topic} were not acknowledged in time",
            hint="is Kafka up? what they said is known to the broker only: reconcile the accounts after the next start",
            topic=self._topic,
            waiting=self.waiting,
        )
