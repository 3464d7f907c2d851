"""The producers, on the client library."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as LibraryPartition

from execpos.kafka.client import config
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.ports import GroupMetadata, Message, TopicPartition

# Enough for a connection to a broker nearby.
_CONNECT_S = 0.05

# While the send queue is full: how long one wait lasts, and how many of them make a broker that does not take anything.
_FULL_WAIT_S = 0.05
_FULL_WAITS = 200

# The library registers a transaction's partitions by a timer of 1 ms from the first record on, and looks at timers when a call wakes it,
# else at whole milliseconds. A commit that comes a little too early therefore waits for most of one more; 20 µs are for the clocks.
_REGISTERED_AFTER_S = 0.00102


class KafkaTransactionalProducer:
    """See `ports.TransactionalProducer`."""

    def __init__(self, settings: KafkaSettings, transactional_id: str) -> None:
        self._producer = Producer(config.transactional(settings, transactional_id))
        # Bound once: it is called for every record.
        self._produce = self._producer.produce
        # When the open transaction got its first record; 0 while it has none.
        self._first_s = 0.0
        self._closed = False

    def init(self, timeout_s: float) -> None:
        # Asked before its first connection is up, the library asks again only half a second later: 3 of 8 starts, with this none of 8.
        time.sleep(_CONNECT_S)
        self._producer.init_transactions(timeout_s)

    def begin(self) -> None:
        self._first_s = 0.0
        self._producer.begin_transaction()

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata, timeout_s: float) -> None:
        positions = [LibraryPartition(tp.topic, tp.partition, offset) for tp, offset in offsets.items()]
        self._producer.send_offsets_to_transaction(positions, metadata, timeout_s)

    def produce(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        if not self._first_s:
            self._first_s = time.monotonic()
        try:
            self._produce(topic, value, key, partition)
        except BufferError:
            self._produce_when_free(topic, partition, key, value)
        except KafkaException as error:
            raise self._cause(error) from error

    def _produce_when_free(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        for _ in range(_FULL_WAITS):
            self._producer.poll(_FULL_WAIT_S)
            try:
                self._produce(topic, value, key, partition)
            except BufferError:
                continue
            return
        text = f"the send queue stayed full for {_FULL_WAIT_S * _FULL_WAITS:.0f} s"
        raise KafkaException(KafkaError(KafkaError._QUEUE_FULL, text, txn_requires_abort=True))  # noqa: SLF001 (a public name of the library)

    def _cause(self, error: KafkaException) -> KafkaException:
        """Return what stands behind an error of `produce`: after a fatal one the library says only that it is in that state."""
        code = error.args[0].code()
        if code not in {KafkaError._FATAL, KafkaError._STATE}:  # noqa: SLF001 (as above)
            return error
        try:
            # With a failed transaction this sends nothing and tells why.
            self._producer.commit_transaction(0)
        except KafkaException as cause:
            if cause.args[0].fatal() or cause.args[0].txn_requires_abort():
                return cause
        return error

    def commit(self, timeout_s: float) -> None:
        if self._first_s and (early_s := self._first_s + _REGISTERED_AFTER_S - time.monotonic()) > 0:
            time.sleep(early_s)
        self._producer.commit_transaction(timeout_s)

    def abort(self, timeout_s: float) -> None:
        self._producer.abort_transaction(timeout_s)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            _let_go(self._producer)


class KafkaIdempotentProducer:
    """See `ports.IdempotentProducer`."""

    def __init__(self, settings: KafkaSettings, client_id: str, connect_s: float = 0.0) -> None:
        self._producer = Producer(config.idempotent(settings, client_id))
        self._closed = False
        if connect_s:
            # The library asks for its producer id at once, finds no connection, and asks again half a second later: 511 to 520 ms until
            # the first record is there, with this 57 to 62.
            with contextlib.suppress(KafkaException):
                self._producer.list_topics(timeout=connect_s)

    def produce(
        self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: Callable[[KafkaError | None, Message], None]
    ) -> None:
        callback = cast("Callable[[KafkaError | None, Any], None]", on_delivery)
        self._producer.produce(topic, value, key, partition, on_delivery=callback)

    def poll(self, timeout_s: float) -> int:
        return self._producer.poll(timeout_s)

    def flush(self, timeout_s: float) -> int:
        return self._producer.flush(timeout_s)

    def purge(self) -> None:
        self._producer.purge()
        self._producer.poll(0)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            _let_go(self._producer)


def _let_go(producer: Producer) -> None:
    """Drop what is queued, so that letting go does not wait for a broker that may be gone."""
    producer.purge(in_queue=True, in_flight=True, blocking=False)
    with contextlib.suppress(KafkaException):
        # After a fatal error it says so once more.
        producer.flush(0)
