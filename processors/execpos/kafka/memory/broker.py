"""The broker of the twin: topics, the transaction coordinator, the group coordinators, and the faults that tests plan."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException

from execpos.kafka.deadline import Clock
from execpos.kafka.memory.failures import Call, Planned, failure, fenced, timed_out
from execpos.kafka.memory.group import Group, MemoryGroupMetadata
from execpos.kafka.memory.log import MemoryMessage, PartitionLog, Txn, TxnState
from execpos.kafka.ports import TopicPartition

# As Kafka's own default for a record with its overhead.
DEFAULT_MAX_MESSAGE_BYTES = 1_048_588


class Topic(NamedTuple):
    """One topic and its partitions."""

    topic_id: str
    logs: list[PartitionLog]
    replication_factor: int
    configs: dict[str, str]


class ProducerState:
    """What the coordinator keeps of one transactional id."""

    __slots__ = ("epoch", "txn")

    def __init__(self) -> None:
        self.epoch = -1
        self.txn: Txn | None = None


class MemoryBroker:
    """A model of one broker. Every method takes the lock, so several threads may use it.

    Args:
        clock: monotonic seconds; it drives time-outs of transactions and sessions.
        sleep: how a caller waits; with a `VirtualClock` pass its `sleep`, so that waiting moves time.
        session_timeout_s: after how long a silent member leaves its group.
        transaction_timeout_s: after how long an open transaction is aborted and its producer fenced.
    """

    def __init__(
        self,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        *,
        session_timeout_s: float = 30.0,
        transaction_timeout_s: float = 10.0,
    ) -> None:
        self.clock = clock
        self.sleep = sleep
        self.lock = threading.RLock()
        self.reachable = True
        self.topics: dict[str, Topic] = {}
        self._session_timeout_s = session_timeout_s
        self._transaction_timeout_s = transaction_timeout_s
        self._groups: dict[str, Group] = {}
        self._producers: dict[str, ProducerState] = defaultdict(ProducerState)
        self._planned: dict[Call, deque[Planned]] = defaultdict(deque)
        self._topics_made = 0

    # --- faults ---------------------------------------------------------------------------------------------------------------

    def plan(self, call: Call, make: Callable[[], KafkaException], *, after_effect: bool = False, times: int = 1) -> None:
        """Let the next `times` calls of this kind fail, before or after they had their effect."""
        with self.lock:
            self._planned[call].extend([Planned(make, after_effect)] * times)

    def take_planned(self, call: Call) -> Planned | None:
        """Return the failure planned for this call and forget it; a call that has to reach the broker while it is not there times out."""
        with self.lock:
            if not self.reachable and call != "begin":
                return Planned(timed_out)
            planned = self._planned[call]
            return planned.popleft() if planned else None

    # --- topics ---------------------------------------------------------------------------------------------------------------

    def create(self, topic: str, partitions: int, replication_factor: int = 1, configs: Mapping[str, str] | None = None) -> None:
        """Create a topic with a new id."""
        with self.lock:
            if topic in self.topics:
                raise failure(KafkaError.TOPIC_ALREADY_EXISTS, f"topic {topic} exists")
            self._topics_made += 1
            logs = [PartitionLog(TopicPartition(topic, partition)) for partition in range(partitions)]
            self.topics[topic] = Topic(f"memory-topic-{self._topics_made}", logs, replication_factor, dict(configs or {}))

    def delete(self, topic: str) -> None:
        """Delete a topic with all it holds; committed offsets of groups stay, as in Kafka for a while."""
        with self.lock:
            del self.topics[topic]

    def truncate(self, tp: TopicPartition, low: int) -> None:
        """Delete the records of `tp` below `low`, as retention does."""
        self.log(tp).truncate(low)

    def log(self, tp: TopicPartition) -> PartitionLog:
        """Return the log of one partition."""
        with self.lock:
            topic = self.topics.get(tp.topic)
            if topic is None:
                raise failure(KafkaError.UNKNOWN_TOPIC_OR_PART, f"no topic {tp.topic}", retriable=True)
            if not 0 <= tp.partition < len(topic.logs):
                text = f"{tp.topic} has {len(topic.logs)} partitions"
                raise failure(KafkaError._UNKNOWN_PARTITION, text)  # noqa: SLF001 (a public name of the library)
            return topic.logs[tp.partition]

    def append(self, tp: TopicPartition, key: bytes | None, value: bytes | None, txn: Txn | None = None) -> MemoryMessage:
        """Write one record and return it."""
        with self.lock:
            size = len(key or b"") + len(value or b"")
            limit = int(self.topics[tp.topic].configs.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES)) if tp.topic in self.topics else 0
            log = self.log(tp)
            if size > limit:
                raise failure(KafkaError.MSG_SIZE_TOO_LARGE, f"record of {size} bytes, {tp.topic} takes {limit}", abort=txn is not None)
            return log.append(key, value, int(self.clock() * 1000), txn)

    # --- groups ---------------------------------------------------------------------------------------------------------------

    def group(self, group_id: str) -> Group:
        """Return the coordinator of a group."""
        with self.lock:
            if group_id not in self._groups:
                self._groups[group_id] = Group(group_id, self._partition_counts, self._session_timeout_s)
            return self._groups[group_id]

    def _partition_counts(self) -> dict[str, int]:
        return {name: len(topic.logs) for name, topic in self.topics.items()}

    def pending_offsets(self, group_id: str) -> bool:
        """Say whether an open transaction has offsets of the group: then they are not stable."""
        with self.lock:
            return any(state.txn is not None and group_id in state.txn.pending for state in self._producers.values())

    # --- transactions ---------------------------------------------------------------------------------------------------------

    def init_producer(self, transactional_id: str) -> int:
        """Take over a transactional id: abort what is open under it, fence older holders, return the new epoch."""
        with self.lock:
            self.expire()
            state = self._producers[transactional_id]
            self._end(state, TxnState.ABORTED)
            state.epoch += 1
            return state.epoch

    def txn(self, transactional_id: str, epoch: int) -> Txn:
        """Return the open transaction of a producer, opening it at the first call."""
        with self.lock:
            self.expire()
            state = self._checked(transactional_id, epoch)
            if state.txn is None:
                state.txn = Txn(self.clock())
            return state.txn

    def send_offsets(self, transactional_id: str, epoch: int, offsets: Mapping[TopicPartition, int], metadata: MemoryGroupMetadata) -> None:
        """Add a group's offsets to the transaction, when the member is one of this generation."""
        with self.lock:
            txn = self.txn(transactional_id, epoch)
            self.group(metadata.group_id).check(metadata)
            txn.pending.setdefault(metadata.group_id, {}).update(offsets)

    def end(self, transactional_id: str, epoch: int, outcome: TxnState) -> None:
        """Commit or abort; nothing happens when nothing is open."""
        with self.lock:
            self.expire()
            self._end(self._checked(transactional_id, epoch), outcome)

    def expire(self) -> None:
        """Let time do its work: abort transactions that took too long, remove members that were silent."""
        with self.lock:
            now_s = self.clock()
            for state in self._producers.values():
                if state.txn is not None and now_s - state.txn.started_s >= self._transaction_timeout_s:
                    self._end(state, TxnState.ABORTED)
                    state.epoch += 1
            for group in self._groups.values():
                group.expire(now_s)

    def _checked(self, transactional_id: str, epoch: int) -> ProducerState:
        state = self._producers[transactional_id]
        if state.epoch != epoch:
            raise fenced()
        return state

    def _end(self, state: ProducerState, outcome: TxnState) -> None:
        txn, state.txn = state.txn, None
        if txn is None:
            return
        txn.state = outcome
        for tp in txn.first_offsets:
            if tp.topic in self.topics:
                self.log(tp).mark(txn)
        if outcome is TxnState.COMMITTED:
            for group_id, offsets in txn.pending.items():
                self.group(group_id).committed.update(offsets)
