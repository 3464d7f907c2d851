"""Publishes records of a journal once more, for a topic that lost them. The ledger counts none of them twice."""

import time

from confluent_kafka import KafkaError

from execpos.bridge.journal.segment import Entry
from execpos.bridge.publisher import Target
from execpos.codecs import framing
from execpos.errors import DependencyError
from execpos.kafka.errors import described
from execpos.kafka.ports import Message

# How long one wait for room or acknowledgements lasts.
_WAIT_S = 0.2


class Republisher:
    """Takes entries in order and publishes them as they are. One thread.

    Args:
        target: where to; owned from now on.
        timeout_s: longest time without an acknowledgement.
    """

    def __init__(self, target: Target, timeout_s: float) -> None:
        self._target = target
        self._timeout_s = timeout_s
        self._header = framing.header(target.schema_id)
        self._sent = 0
        self._moved_s = time.monotonic()
        self._failed = ""
        self.acknowledged = 0
        """How many Kafka has."""

    def __call__(self, entry: Entry) -> None:
        """Publish one record. Blocks while there is no room.

        Raises:
            DependencyError: one was refused, or nothing moved for too long.
        """
        producer, topic = self._target.producer, self._target.topic
        while True:
            self._check()
            try:
                producer.produce(topic, -1, entry.account, self._header + entry.body, self._delivered)
            except BufferError:
                producer.poll(_WAIT_S)
            else:
                self._sent += 1
                producer.poll(0)
                return

    def finish(self) -> int:
        """Wait until Kafka has all, and return how many that are; lets go in any case.

        Raises:
            DependencyError: one was refused, or nothing moved for too long.
        """
        try:
            while self.acknowledged < self._sent:
                self._target.producer.flush(_WAIT_S)
                self._check()
        finally:
            self._target.producer.close()
        return self.acknowledged

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        del message
        self._moved_s = time.monotonic()
        if error is None:
            self.acknowledged += 1
        else:
            self._failed = self._failed or described(error)

    def _check(self) -> None:
        if not self._sent:
            self._moved_s = time.monotonic()
        if self._failed or time.monotonic() - self._moved_s > self._timeout_s:
            raise DependencyError(
                f"{self.acknowledged} of {self._sent} records are in {self._target.topic}: {self._failed or 'Kafka does not answer'}",
                hint="repeat the command: what is there already is no harm",
            )
