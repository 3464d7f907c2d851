"""What a task reads while it restores, in the order that makes it right.

The committed offsets were found stable before this context is made: no transaction with offsets of the group was open then, so whatever
was written for them stands below an end offset taken afterwards. The end is the high watermark, open transactions included; reading waits
until the log is decided up to it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from execpos.kafka.deadline import Clock
from execpos.kafka.ports import Cluster, Message, Span, TopicPartition, Watermarks
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

# Longest wait without a record: an open transaction ends by its time-out (10 s) and the broker's scan for it (10 s by default).
IDLE_S = 60.0

# Longest wait for watermarks and topic ids.
METADATA_S = 30.0

# A restore says how far it is at most this often.
_PROGRESS_EVERY_S = 1.0

# Records between two looks at the clock: a few milliseconds of work.
_CHUNK = 1_000

_log = Logger("kafka")


class Restore:
    """See `ports.RestoreContext`.

    Args:
        cluster: where to read.
        committed: the stable next offsets of the inputs, -1 for nothing.
        keep_polled: keeps the consumer in its group; raises `RestoreInterrupted` when the assignment changed.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        cluster: Cluster,
        committed: Mapping[TopicPartition, int],
        keep_polled: Callable[[], None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._committed = committed
        self._keep_polled = keep_polled
        self._clock = clock
        self._reader = cluster.reader()
        self._watermarks: dict[TopicPartition, Watermarks] = {}
        self._topic_ids: dict[str, str] = {}
        self._started_s = clock()
        self._said_s = clock()
        # When the present topic's reading began.
        self._began_s = clock()
        self._remaining = metrics.gauge("execpos_restore_remaining_records")

    def committed(self, topic: str, partition: int) -> int:
        return max(0, self._committed[TopicPartition(topic, partition)])

    def high_watermark(self, topic: str, partition: int) -> int:
        return self.watermarks([TopicPartition(topic, partition)])[TopicPartition(topic, partition)].high

    def watermarks(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, Watermarks]:
        """Return first and end offsets, asked for once."""
        missing = [tp for tp in tps if tp not in self._watermarks]
        if missing:
            self._watermarks.update(self._cluster.watermarks(missing, METADATA_S))
        return {tp: self._watermarks[tp] for tp in tps}

    def read(self, topic: str, partition: int) -> Iterator[Message]:
        return self.read_all(topic, [partition])

    def read_all(self, topic: str, partitions: Sequence[int]) -> Iterator[Message]:
        marks = self.watermarks([TopicPartition(topic, partition) for partition in partitions])
        return self._spans(topic, [Span(tp, low, high) for tp, (low, high) in marks.items()])

    def read_below(self, topic: str, partition: int, end_offset: int) -> Iterator[Message]:
        return self.read_all_below(topic, {partition: end_offset})

    def read_all_below(self, topic: str, end_offsets: Mapping[int, int]) -> Iterator[Message]:
        marks = self.watermarks([TopicPartition(topic, partition) for partition in end_offsets])
        return self._spans(topic, [Span(tp, low, min(high, end_offsets[tp.partition])) for tp, (low, high) in marks.items()])

    def topic_id(self, topic: str) -> str:
        if topic not in self._topic_ids:
            self._topic_ids.update(self._cluster.topic_ids([topic], METADATA_S))
        return self._topic_ids[topic]

    def progress(self, what: str, done: int, total: int) -> None:
        now_s = self._clock()
        if now_s - self._said_s < _PROGRESS_EVERY_S:
            return
        self._said_s = now_s
        self._keep_polled()
        took_s = now_s - self._began_s
        rate = done / took_s if took_s > 0 else 0.0
        left_s = round((total - done) / rate, 1) if rate and total > done else 0.0
        _log.info(
            "restore_progressed",
            what=what,
            done=done,
            total=total,
            per_s=round(rate),
            remaining_s=left_s,
            seconds=round(now_s - self._started_s, 1),
        )

    def close(self) -> None:
        """Let go of the reader."""
        self._reader.close()

    def _spans(self, topic: str, spans: Sequence[Span]) -> Iterator[Message]:
        self._keep_polled()
        wanted = [span for span in spans if span.start < span.end]
        return self._counted(topic, wanted) if wanted else iter(())

    def _counted(self, topic: str, spans: Sequence[Span]) -> Iterator[Message]:
        """Yield the records of spans, telling how far it is; control records and what compaction took count as still to come."""
        remaining = self._remaining.labels(topic=topic)
        total, done = sum(span.end - span.start for span in spans), 0
        remaining.set(total)
        self._began_s = self._clock()
        messages = self._reader.read(spans, IDLE_S, self._keep_polled)
        while chunk := list(islice(messages, _CHUNK)):
            yield from chunk
            done += len(chunk)
            remaining.set(total - done)
            self.progress(topic, done, total)
        remaining.set(0)
