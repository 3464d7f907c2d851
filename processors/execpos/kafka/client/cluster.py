"""A Kafka cluster reached through the client library."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, admin
from confluent_kafka import TopicPartition as LibraryPartition

from execpos.errors import ConfigError, ContractError, DependencyError
from execpos.kafka.client import config
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.client.consumer import KafkaConsumer, KafkaReader
from execpos.kafka.client.producer import KafkaIdempotentProducer, KafkaTransactionalProducer
from execpos.kafka.client.tail import KafkaTail
from execpos.kafka.deadline import Deadline
from execpos.kafka.errors import described
from execpos.kafka.ports import Message, Span, TopicDescription, TopicPartition, Watermarks

Answer = TypeVar("Answer")

# Any: this part of the library exports its names without saying so to a type checker.
_library: Any = admin

# What a broker answers that is asked with an outdated idea of who leads a partition, as after a restart.
_LEADER_MOVED = frozenset(
    {
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError._NOENT,  # noqa: SLF001 (a public name of the library: it found no leader)
    }
)

# A new leader is elected within a fraction of a second.
_LEADER_WAIT_S = 0.1


def _made(make: Callable[[], Answer]) -> Answer:
    """Make a client; settings that the library does not know or take are a mistake in the configuration."""
    try:
        return make()
    except KafkaException as error:
        raise ConfigError(f"the Kafka client refuses its settings: {described(error)}", hint="look at kafka.client") from error


class KafkaCluster:
    """See `ports.Cluster`. Nothing is connected before the first call.

    Args:
        settings: where it is.
        client_id: names the connections in the broker's log.
    """

    def __init__(self, settings: KafkaSettings, client_id: str = "execpos") -> None:
        self._settings = settings
        self._client_id = client_id
        self._made_admin: Any = None

    def consumer(self, group_id: str, instance_id: str) -> KafkaConsumer:
        return _made(lambda: KafkaConsumer(self._settings, group_id, instance_id))

    def transactional_producer(self, transactional_id: str) -> KafkaTransactionalProducer:
        return _made(lambda: KafkaTransactionalProducer(self._settings, transactional_id))

    def idempotent_producer(self, client_id: str, connect_s: float = 0.0) -> KafkaIdempotentProducer:
        return _made(lambda: KafkaIdempotentProducer(self._settings, client_id, connect_s))

    def reader(self) -> KafkaReader:
        return _made(lambda: KafkaReader(self._settings, self._client_id))

    def tail(self, starts: Mapping[TopicPartition, int], timeout_s: float) -> KafkaTail:
        tail = _made(lambda: KafkaTail(self._settings, f"{self._client_id}-tail", starts))
        try:
            self._asked(lambda: tail.open(timeout_s), "find the leaders of partitions")
        except BaseException:
            tail.close()
            raise
        return tail

    def read(self, tp: TopicPartition, start: int, end_watermark: int, timeout_s: float) -> Iterator[Message]:
        reader = self.reader()
        try:
            yield from reader.read([Span(tp, start, end_watermark)], timeout_s)
        finally:
            reader.close()

    def watermarks(self, tps: Sequence[TopicPartition], timeout_s: float) -> dict[TopicPartition, Watermarks]:
        deadline = Deadline(timeout_s)
        low = self._offsets(tps, _library.OffsetSpec.earliest(), deadline)
        high = self._offsets(tps, _library.OffsetSpec.latest(), deadline)
        return {tp: Watermarks(low[tp], high[tp]) for tp in tps}

    def high_watermarks(self, tps: Sequence[TopicPartition], timeout_s: float) -> dict[TopicPartition, int]:
        return self._offsets(tps, _library.OffsetSpec.latest(), Deadline(timeout_s))

    def offsets_at(self, tps: Sequence[TopicPartition], ts_ms: int, timeout_s: float) -> dict[TopicPartition, int]:
        deadline = Deadline(timeout_s)
        found = self._offsets(tps, _library.OffsetSpec.for_timestamp(ts_ms), deadline)
        ends = self._offsets(tps, _library.OffsetSpec.latest(), deadline)
        # -1: nothing is stamped so late.
        return {tp: found[tp] if found[tp] >= 0 else ends[tp] for tp in tps}

    def describe(self, topics: Sequence[str], timeout_s: float) -> dict[str, TopicDescription]:
        deadline = Deadline(timeout_s)
        answers = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=deadline.remaining()) if topics else {}
        found: dict[str, Any] = {}
        for name, answer in answers.items():
            try:
                found[name] = self._wait(answer, deadline, f"describe topic {name}")
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise
        configs = self._configs(list(found), deadline)
        return {
            name: TopicDescription(name, str(one.topic_id), len(one.partitions), len(one.partitions[0].replicas), configs[name])
            for name, one in found.items()
        }

    def topic_ids(self, topics: Sequence[str], timeout_s: float) -> dict[str, str]:
        return {name: one.topic_id for name, one in self.describe(topics, timeout_s).items()}

    def partition_count(self, topic: str, timeout_s: float) -> int:
        found = self.describe([topic], timeout_s)
        if topic not in found:
            raise ContractError(f"topic {topic} does not exist", hint="run `execpos topics apply`", topic=topic)
        return found[topic].partitions

    def create(self, topic: str, partitions: int, replication_factor: int, configs: Mapping[str, str], timeout_s: float) -> None:
        deadline = Deadline(timeout_s)
        wanted = _library.NewTopic(topic, num_partitions=partitions, replication_factor=replication_factor, config=dict(configs))
        answers = self._admin.create_topics([wanted], operation_timeout=timeout_s, request_timeout=timeout_s)
        self._wait(answers[topic], deadline, f"create topic {topic}")
        while topic not in self.describe([topic], deadline.remaining()):
            if deadline.over():
                raise DependencyError(f"topic {topic} was created but does not show up", hint="look at the broker's log")

    def alter_configs(self, topic: str, configs: Mapping[str, str], timeout_s: float) -> None:
        entries = [
            _library.ConfigEntry(name, value, incremental_operation=_library.AlterConfigOpType.SET)
            for name, value in sorted(configs.items())
        ]
        resource = _library.ConfigResource(_library.ResourceType.TOPIC, topic, incremental_configs=entries)
        answers = self._admin.incremental_alter_configs([resource], request_timeout=timeout_s)
        for answer in answers.values():
            self._wait(answer, Deadline(timeout_s), f"alter topic {topic}")

    def broker_count(self, timeout_s: float) -> int:
        answer = self._asked(lambda: self._admin.list_topics(timeout=timeout_s), "list the brokers")
        return len(answer.brokers)

    @property
    def _admin(self) -> Any:
        if self._made_admin is None:
            self._made_admin = _made(lambda: _library.AdminClient(config.common(self._settings, self._client_id)))
        return self._made_admin

    def _offsets(self, tps: Sequence[TopicPartition], spec: Any, deadline: Deadline) -> dict[TopicPartition, int]:
        if not tps:
            return {}
        while True:
            try:
                return self._offsets_now(tps, spec, deadline)
            except KafkaException as error:
                if error.args[0].code() not in _LEADER_MOVED or deadline.over():
                    raise
            # The library goes on asking with what it knows of a broker that has restarted since, unless it is made to look.
            self._asked(lambda: self._admin.list_topics(timeout=deadline.remaining()), "find the leaders of partitions")
            time.sleep(deadline.at_most(_LEADER_WAIT_S))

    def _offsets_now(self, tps: Sequence[TopicPartition], spec: Any, deadline: Deadline) -> dict[TopicPartition, int]:
        wanted = {LibraryPartition(*tp): spec for tp in tps}
        # An open transaction must not hide what was committed after its first record.
        answers = self._admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=deadline.remaining())
        return {
            TopicPartition(at.topic, at.partition): self._wait(answer, deadline, f"read the offsets of {at.topic}").offset
            for at, answer in answers.items()
        }

    def _configs(self, topics: Sequence[str], deadline: Deadline) -> dict[str, dict[str, str]]:
        if not topics:
            return {}
        resources = [_library.ConfigResource(_library.ResourceType.TOPIC, name) for name in topics]
        answers = self._admin.describe_configs(resources, request_timeout=deadline.remaining())
        return {
            resource.name: {
                entry.name: entry.value
                for entry in self._wait(answer, deadline, f"read the settings of {resource.name}").values()
                if entry.source == _library.ConfigSource.DYNAMIC_TOPIC_CONFIG.value
            }
            for resource, answer in answers.items()
        }

    def _wait(self, answer: "Future[Answer]", deadline: Deadline, what: str) -> Answer:
        return self._asked(lambda: answer.result(deadline.remaining() + 1.0), what)

    def _asked(self, ask: Callable[[], Answer], what: str) -> Answer:
        """Ask; a broker that cannot be reached becomes an error of ours that says what to do."""
        unreachable = {KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE}  # noqa: SLF001 (public names of the library)
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() in unreachable:
                raise DependencyError(
                    f"cannot {what}: Kafka at {self._settings.bootstrap_servers} does not answer ({described(error)})",
                    hint="check the address and that the broker is up; `execpos up` runs one on this machine",
                ) from error
            raise
        except TimeoutError as error:
            raise DependencyError(f"cannot {what}: Kafka at {self._settings.bootstrap_servers} does not answer in time") from error
