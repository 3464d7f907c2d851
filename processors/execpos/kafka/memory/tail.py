"""The twin of a consumer that stays at the end of partitions."""

from collections.abc import Mapping

from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.ports import Message, TopicPartition


class MemoryTail:
    """See `ports.Tail`."""

    def __init__(self, broker: MemoryBroker, starts: Mapping[TopicPartition, int]) -> None:
        self._broker = broker
        self._position = dict(starts)
        self._complete: dict[TopicPartition, float] = {}
        self._reached: dict[TopicPartition, float] = {}

    def poll(self, timeout_s: float) -> list[Message]:
        found = self._take()
        if not found and timeout_s > 0:
            self._broker.sleep(timeout_s)
            found = self._take()
        return found

    def _take(self) -> list[Message]:
        self._complete.update(self._reached)
        with self._broker.lock:
            if not self._broker.reachable:
                return []
            self._broker.expire()
            now_s = self._broker.clock()
            found: list[Message] = []
            for tp, position in self._position.items():
                log = self._broker.log(tp)
                found.extend(log.committed(position, log.last_stable))
                self._position[tp] = max(position, log.last_stable)
                self._reached[tp] = now_s
            return found

    def position(self, tp: TopicPartition) -> int:
        return self._position[tp]

    def complete_s(self, tp: TopicPartition) -> float | None:
        return self._complete.get(tp)

    def close(self) -> None:
        """Nothing is held."""
