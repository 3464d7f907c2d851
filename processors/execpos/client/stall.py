"""Finds partitions that are not read on although there is more: a consumer that lost its way, a leader that is out of reach."""

from collections.abc import Iterable

from confluent_kafka import KafkaException

from execpos.errors import ExecposError
from execpos.kafka.ports import Cluster, Tail, TopicPartition

LOOK_S = 5.0
"""Time between two looks."""

BEHIND_LOOKS = 2
"""So many looks at one place below the end: what is read may be old. A transaction that stays open looks the same, and means the same."""

REOPEN_LOOKS = 6
"""So many, and another consumer is tried."""

# How long one question to Kafka may take.
_ANSWER_S = 5.0


class Stall:
    """Counts looks. One thread, which need not be the tail's.

    Args:
        cluster: is asked for the ends.
        tps: what the tail reads.
    """

    def __init__(self, cluster: Cluster, tps: Iterable[TopicPartition]) -> None:
        self._cluster = cluster
        self._tps = tuple(tps)
        self._seen: dict[TopicPartition, tuple[int, int]] = {}

    def look(self, tail: Tail) -> int:
        """Return for how many looks in a row some partition has stood still below its end. Blocks for one question, 5 s at most."""
        try:
            ends = self._cluster.high_watermarks(self._tps, _ANSWER_S)
        except (ExecposError, KafkaException):
            # Kafka is away: that is found by age.
            return 0
        seen = {}
        for tp, end in ends.items():
            position = tail.position(tp)
            if position < end:
                before, looks = self._seen.get(tp, (-1, 0))
                seen[tp] = (position, looks + 1 if before == position else 0)
        self._seen = seen
        return max((looks for _, looks in seen.values()), default=0)
