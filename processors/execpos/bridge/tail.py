"""Reads topics from a chosen place on, outside any group, and what a bridge knows of Kafka and the registry once it has reached them."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from confluent_kafka import KafkaException

from execpos.errors import ContractError, DependencyError
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import Cluster, Message, Span, TopicPartition

# Longest wait for one answer of Kafka: while it lasts, a claim of another bridge is not seen.
TIMEOUT_S = 10.0


class Wire(NamedTuple):
    """A cluster and what the registry says: the id of each record's schema, and the text of every version by its id."""

    cluster: Cluster
    ids: Mapping[type[msgspec.Struct], int]
    writers: Mapping[type[msgspec.Struct], Mapping[int, str]]


Connect = Callable[[], Wire]
"""Reaches Kafka and the registry. Blocks; raises DependencyError while they are away, ContractError when they lack what must be there."""

Start = Callable[[str, int, int, int], int]
"""Where to begin reading: (topic id, partition, first offset kept, end) → offset."""


class Tail:
    """Follows chosen partitions of one topic, committed records only. One thread.

    Args:
        cluster: where it is.
        topic: full name.
        keys: only the partitions of these keys; None for all.
        start: where to begin each.

    Raises:
        ContractError: there is no such topic.
        DependencyError: Kafka is not reachable.
    """

    def __init__(self, cluster: Cluster, topic: str, keys: Sequence[bytes] | None, start: Start) -> None:
        count = cluster.partition_count(topic, TIMEOUT_S)
        self.topic_id = cluster.topic_ids([topic], TIMEOUT_S)[topic]
        partitions = range(count) if keys is None else sorted({partition_for(key, count) for key in keys})
        marks = cluster.watermarks([TopicPartition(topic, partition) for partition in partitions], TIMEOUT_S)
        self.next = {tp: min(mark.high, max(mark.low, start(self.topic_id, tp.partition, *mark))) for tp, mark in marks.items()}


class Following:
    """Reads several tails with one connection. One thread."""

    def __init__(self, cluster: Cluster, tails: Sequence[Tail]) -> None:
        self._cluster = cluster
        self._tails = tails
        self._reader = cluster.reader()

    def poll(self, take: Callable[[Message], None], stop: threading.Event) -> None:
        """Give `take` what was committed since the last call, up to the ends that the topics have now. Blocks as long as that takes.

        Raises:
            DependencyError: Kafka is not reachable, or a transaction stays open for too long.
        """
        known = {tp: offset for tail in self._tails for tp, offset in tail.next.items()}
        ends = self._cluster.high_watermarks(list(known), TIMEOUT_S)
        spans = [Span(tp, offset, ends[tp]) for tp, offset in known.items() if offset < ends[tp]]
        if not spans:
            return
        for message in self._reader.read(spans, TIMEOUT_S):
            take(message)
            if stop.is_set():
                return
        for tail in self._tails:
            tail.next |= {span.tp: span.end for span in spans if span.tp in tail.next}

    def close(self) -> None:
        """Let go. A second call does nothing."""
        self._reader.close()


def reached(error: Exception) -> bool:
    """Say whether an error means that Kafka or the registry is away, so that trying again makes sense."""
    return isinstance(error, KafkaException | DependencyError) and not isinstance(error, ContractError)
