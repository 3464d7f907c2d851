"""Follows topics outside any group: what is committed now, then what is committed next."""

from collections.abc import Iterator, Sequence

from execpos.kafka.ports import Cluster, Message, Span, TopicPartition


class Follower:
    """Reads topics from their first record on, or from a moment on; each committed record once, in order within a partition. One thread.

    Args:
        cluster: where the topics are.
        topics: full names; they exist already.
        timeout_s: longest wait for one answer, and for an open transaction to end.
        since_ms: leave out what is stamped before it, ms since the epoch; None: nothing.

    Raises:
        ContractError: there is no such topic.
    """

    def __init__(self, cluster: Cluster, topics: Sequence[str], timeout_s: float = 30.0, since_ms: int | None = None) -> None:
        self._cluster = cluster
        self._timeout_s = timeout_s
        self._reader = cluster.reader()
        self._next = {
            TopicPartition(topic, partition): 0 for topic in topics for partition in range(cluster.partition_count(topic, timeout_s))
        }
        if since_ms is not None:
            self._next = cluster.offsets_at(list(self._next), since_ms, timeout_s)

    def poll(self) -> Iterator[Message]:
        """Yield what was committed since the last call, up to the end that the topics have now; blocks as long as that takes.

        Raises:
            DependencyError: Kafka is not reachable, or a transaction stays open for too long.
        """
        ends = self._cluster.watermarks(list(self._next), self._timeout_s)
        spans = [Span(tp, max(start, ends[tp].low), ends[tp].high) for tp, start in self._next.items() if start < ends[tp].high]
        if spans:
            yield from self._reader.read(spans, self._timeout_s)
            self._next |= {span.tp: span.end for span in spans}

    def skip(self) -> None:
        """Go on with what is committed from now on."""
        self._next = self._cluster.high_watermarks(list(self._next), self._timeout_s)

    def close(self) -> None:
        """Let go. A second call does nothing."""
        self._reader.close()
