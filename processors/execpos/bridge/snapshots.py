"""Writes the broker's answers to exec.broker-snapshots, in as many parts as they need."""

import time
from collections.abc import Sequence

import msgspec
from confluent_kafka import KafkaError

from execpos.bridge.reads import chunks
from execpos.codecs.avro import Encoder
from execpos.domain.events import BrokerLotRow, BrokerOrderRow, BrokerPositionRow, BrokerProfitRow, BrokerSnapshot
from execpos.kafka.ports import IdempotentProducer, Message
from execpos.telemetry.log import Logger

SNAPSHOTS_TOPIC = "exec.broker-snapshots.v1"

# How long one wait for room or for acknowledgements lasts.
_WAIT_S = 0.2

_log = Logger("bridge")


class Rows(msgspec.Struct, frozen=True):
    """The rows of one answer; one of the four kinds, or none."""

    positions: tuple[BrokerPositionRow, ...] = ()
    lots: tuple[BrokerLotRow, ...] = ()
    orders: tuple[BrokerOrderRow, ...] = ()
    profits: tuple[BrokerProfitRow, ...] = ()

    def split(self, rows_max: int) -> Sequence["Rows"]:
        """Return the same rows in parts of at most `rows_max`, in order."""
        for name in ("positions", "lots", "orders", "profits"):
            rows = getattr(self, name)
            if rows:
                return [Rows(**{name: tuple(part)}) for part in chunks(rows, rows_max)]
        return [self]

    def __len__(self) -> int:
        return len(self.positions) + len(self.lots) + len(self.orders) + len(self.profits)


def parts(answer: BrokerSnapshot, rows: Rows, encode: Encoder[BrokerSnapshot], bytes_max: int) -> list[bytes]:
    """Return the encoded parts of one answer, each of at most `bytes_max` bytes.

    Texts in rows are bounded, so a part of one row always fits.
    """
    rows_max = max(1, len(rows))
    while True:
        split = rows.split(rows_max)
        made = [
            encode(
                msgspec.structs.replace(
                    answer,
                    part=number,
                    parts=len(split),
                    positions=part.positions,
                    lots=part.lots,
                    orders=part.orders,
                    profits=part.profits,
                )
            )
            for number, part in enumerate(split, 1)
        ]
        if rows_max == 1 or max(map(len, made)) <= bytes_max:
            return made
        rows_max = -(-rows_max // 2)


class SnapshotWriter:
    """Publishes answers, in order. One thread.

    Args:
        producer: owned from now on.
        encode: of BrokerSnapshot.
        topic: full name.
        part_bytes_max: largest part.
    """

    def __init__(self, producer: IdempotentProducer, encode: Encoder[BrokerSnapshot], topic: str, part_bytes_max: int) -> None:
        self._producer = producer
        self._encode = encode
        self._topic = topic
        self._part_bytes_max = part_bytes_max
        self._under_way = 0
        self._refused: list[str] = []

    def write(self, answer: BrokerSnapshot, rows: Rows, timeout_s: float) -> bool:
        """Publish one answer; say whether Kafka has all of it after at most `timeout_s`. What it has not yet is still delivered later."""
        deadline_s = time.monotonic() + timeout_s
        self._refused.clear()
        for value in parts(answer, rows, self._encode, self._part_bytes_max):
            self._produce(answer.account.encode(), value, deadline_s)
        while self._under_way and time.monotonic() < deadline_s:
            self._producer.flush(min(_WAIT_S, max(0.0, deadline_s - time.monotonic())))
        if self._refused:
            _log.error("broker_answer_refused", request_id=answer.request_id, what=answer.what, codes=sorted(set(self._refused)))
        return not self._under_way and not self._refused

    def close(self) -> None:
        """Let go without waiting. A second call does nothing."""
        self._producer.close()

    def _produce(self, key: bytes, value: bytes, deadline_s: float) -> None:
        while True:
            try:
                self._producer.produce(self._topic, -1, key, value, self._delivered)
            except BufferError:
                if time.monotonic() >= deadline_s:
                    self._refused.append("_QUEUE_FULL")
                    return
                self._producer.poll(_WAIT_S)
            else:
                self._under_way += 1
                return

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        del message
        self._under_way -= 1
        if error is not None:
            self._refused.append(error.name())
