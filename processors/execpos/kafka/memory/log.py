"""The log of one partition: records, control records, and what of it a reader of committed data may see."""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from execpos.kafka.ports import TopicPartition


class TxnState(Enum):
    """How far a transaction is."""

    OPEN = "open"
    COMMITTED = "committed"
    ABORTED = "aborted"


class Txn:
    """One transaction: where it wrote, and the offsets that wait for its commit."""

    __slots__ = ("first_offsets", "pending", "started_s", "state")

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self.state = TxnState.OPEN
        self.first_offsets: dict[TopicPartition, int] = {}
        # group -> next offsets
        self.pending: dict[str, dict[TopicPartition, int]] = {}


class MemoryMessage:
    """One record with the methods of `confluent_kafka.Message`."""

    __slots__ = ("_key", "_offset", "_timestamp_ms", "_tp", "_value")

    def __init__(self, tp: TopicPartition, offset: int, key: bytes | None, value: bytes | None, timestamp_ms: int) -> None:
        self._tp = tp
        self._offset = offset
        self._key = key
        self._value = value
        self._timestamp_ms = timestamp_ms

    def topic(self) -> str:
        return self._tp.topic

    def partition(self) -> int:
        return self._tp.partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def timestamp(self) -> tuple[int, int]:
        return (1, self._timestamp_ms)

    def error(self) -> None:
        return None


class Entry(NamedTuple):
    """One offset of the log: a record, or a control record when `message` is None."""

    message: MemoryMessage | None
    txn: Txn | None


class PartitionLog:
    """Records of one partition at consecutive offsets, from 0; `low` rises when the oldest are deleted."""

    def __init__(self, tp: TopicPartition) -> None:
        self.tp = tp
        self.low = 0
        self._entries: list[Entry] = []
        self._open: list[Txn] = []

    @property
    def high(self) -> int:
        """The next offset to be written, whatever is open."""
        return len(self._entries)

    @property
    def last_stable(self) -> int:
        """The first offset of the oldest open transaction, or `high`: nothing at or past it is visible to read_committed."""
        return min((txn.first_offsets[self.tp] for txn in self._open), default=self.high)

    def append(self, key: bytes | None, value: bytes | None, timestamp_ms: int, txn: Txn | None = None) -> MemoryMessage:
        """Write one record and return it."""
        message = MemoryMessage(self.tp, self.high, key, value, timestamp_ms)
        if txn is not None and self.tp not in txn.first_offsets:
            txn.first_offsets[self.tp] = self.high
            self._open.append(txn)
        self._entries.append(Entry(message, txn))
        return message

    def mark(self, txn: Txn) -> None:
        """Write the control record that ends `txn` here."""
        self._open.remove(txn)
        self._entries.append(Entry(None, txn))

    def committed(self, start: int, end: int) -> Iterator[MemoryMessage]:
        """Yield the visible records at `start` ≤ offset < `end`."""
        for entry in self._entries[max(start, self.low) : min(end, self.last_stable)]:
            if entry.message is not None and (entry.txn is None or entry.txn.state is TxnState.COMMITTED):
                yield entry.message

    def next_committed(self, start: int) -> MemoryMessage | None:
        """Return the first visible record at or past `start`."""
        return next(self.committed(start, self.high), None)

    def offset_at(self, ts_ms: int) -> int:
        """Return the first offset kept whose record is stamped at or after `ts_ms`, or `high`."""
        for at in range(self.low, self.high):
            message = self._entries[at].message
            if message is not None and message.timestamp()[1] >= ts_ms:
                return at
        return self.high

    def truncate(self, low: int) -> None:
        """Delete what stands below `low`, as retention does."""
        self.low = min(max(low, self.low), self.high)
