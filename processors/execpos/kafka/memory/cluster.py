"""The twin as a `ports.Cluster`."""

from collections.abc import Iterator, Mapping, Sequence

from execpos.errors import ContractError
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.consumer import MemoryConsumer, MemoryReader
from execpos.kafka.memory.producer import MemoryIdempotentProducer, MemoryTransactionalProducer
from execpos.kafka.memory.tail import MemoryTail
from execpos.kafka.ports import Message, Span, TopicDescription, TopicPartition, Watermarks


class MemoryCluster:
    """See `ports.Cluster`; several may share one broker, as several processes do."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker

    def consumer(self, group_id: str, instance_id: str) -> MemoryConsumer:
        return MemoryConsumer(self.broker, group_id, instance_id)

    def transactional_producer(self, transactional_id: str) -> MemoryTransactionalProducer:
        return MemoryTransactionalProducer(self.broker, transactional_id)

    def idempotent_producer(self, client_id: str, connect_s: float = 0.0) -> MemoryIdempotentProducer:
        del client_id, connect_s
        return MemoryIdempotentProducer(self.broker)

    def reader(self) -> MemoryReader:
        return MemoryReader(self.broker)

    def tail(self, starts: Mapping[TopicPartition, int], timeout_s: float) -> MemoryTail:
        del timeout_s
        return MemoryTail(self.broker, starts)

    def read(self, tp: TopicPartition, start: int, end_watermark: int, timeout_s: float) -> Iterator[Message]:
        return self.reader().read([Span(tp, start, end_watermark)], timeout_s)

    def watermarks(self, tps: Sequence[TopicPartition], timeout_s: float) -> dict[TopicPartition, Watermarks]:
        del timeout_s
        with self.broker.lock:
            return {tp: Watermarks(self.broker.log(tp).low, self.broker.log(tp).high) for tp in tps}

    def high_watermarks(self, tps: Sequence[TopicPartition], timeout_s: float) -> dict[TopicPartition, int]:
        return {tp: marks.high for tp, marks in self.watermarks(tps, timeout_s).items()}

    def offsets_at(self, tps: Sequence[TopicPartition], ts_ms: int, timeout_s: float) -> dict[TopicPartition, int]:
        del timeout_s
        with self.broker.lock:
            return {tp: self.broker.log(tp).offset_at(ts_ms) for tp in tps}

    def describe(self, topics: Sequence[str], timeout_s: float) -> dict[str, TopicDescription]:
        del timeout_s
        with self.broker.lock:
            return {
                name: TopicDescription(name, topic.topic_id, len(topic.logs), topic.replication_factor, dict(topic.configs))
                for name in topics
                if (topic := self.broker.topics.get(name)) is not None
            }

    def topic_ids(self, topics: Sequence[str], timeout_s: float) -> dict[str, str]:
        return {name: topic.topic_id for name, topic in self.describe(topics, timeout_s).items()}

    def partition_count(self, topic: str, timeout_s: float) -> int:
        found = self.describe([topic], timeout_s)
        if topic not in found:
            raise ContractError(f"topic {topic} does not exist", hint="run `execpos topics apply`", topic=topic)
        return found[topic].partitions

    def create(self, topic: str, partitions: int, replication_factor: int, configs: Mapping[str, str], timeout_s: float) -> None:
        del timeout_s
        self.broker.create(topic, partitions, replication_factor, configs)

    def alter_configs(self, topic: str, configs: Mapping[str, str], timeout_s: float) -> None:
        del timeout_s
        with self.broker.lock:
            self.broker.topics[topic].configs.update(configs)

    def broker_count(self, timeout_s: float) -> int:
        del timeout_s
        return 1
