"""A bare round trip beside a measurement: what broker, network and this machine cost at the same time, without anything of ours."""

import contextlib
import threading
import time
from array import array

from confluent_kafka import KafkaError

from execpos.errors import DependencyError
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.ports import Message, Span, TopicPartition

TOPIC = "bench.roundtrip"
_CREATE_S = 30.0
_FLUSH_S = 10.0
# About a position record.
_VALUE = b"x" * 500

# A live reading has no end; no offset reaches this one.
_NO_END = 1 << 62
_FOREVER_S = 1e9


class _Stopped(Exception):
    """The reading was told to stop."""


class RoundTrip:
    """Produces with acks=all and reads back, on two threads of its own. `delays_us` may be read after `stop`.

    Args:
        cluster: where.
        rate: records a second.
    """

    def __init__(self, cluster: KafkaCluster, rate: float) -> None:
        self.delays_us = array("q")
        self._period_s = 1 / rate
        self._stop = threading.Event()
        self._first = 0
        self._failed: list[KafkaError] = []
        cluster.create(TOPIC, 1, 1, {}, _CREATE_S)
        self._reader = cluster.reader()
        self._producer = cluster.idempotent_producer("bench-roundtrip")
        self._threads = [threading.Thread(target=run, name=run.__name__, daemon=True) for run in (self._produce, self._read)]

    def start(self) -> None:
        """Begin; once."""
        for thread in self._threads:
            thread.start()

    def forget(self) -> None:
        """Drop what was noted so far: a warm-up is over."""
        self._first = len(self.delays_us)

    def stop(self) -> None:
        """End both threads and keep what was noted since `forget`.

        Raises:
            DependencyError: a record was refused.
        """
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._reader.close()
        self._producer.close()
        if self._failed:
            raise DependencyError(f"the round trip failed: {self._failed[0]}")
        del self.delays_us[: self._first]

    def _produce(self) -> None:
        due_s = time.monotonic()
        while not self._stop.is_set():
            key = b"%d" % (time.time_ns() // 1000)
            self._producer.produce(TOPIC, 0, key, _VALUE, self._note)
            due_s += self._period_s
            while (left_s := due_s - time.monotonic()) > 0:
                self._producer.poll(left_s)
        self._producer.flush(_FLUSH_S)

    def _note(self, error: KafkaError | None, message: Message) -> None:
        del message
        if error is not None:
            self._failed.append(error)

    def _read(self) -> None:
        def idle() -> None:
            if self._stop.is_set():
                raise _Stopped

        with contextlib.suppress(_Stopped):
            for message in self._reader.read([Span(TopicPartition(TOPIC, 0), 0, _NO_END)], _FOREVER_S, idle):
                self.delays_us.append(time.time_ns() // 1000 - int(message.key() or b"0"))
