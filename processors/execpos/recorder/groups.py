"""What the recorder asks Kafka: where topics end, how far ClickHouse's groups are, and to forget a group's place."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka import admin as kafka_admin
from confluent_kafka.admin import AdminClient

from execpos.errors import DependencyError
from execpos.recorder.options import Options

# Any: the package's types leave it out.
_OFFSET_SPEC: Any = vars(kafka_admin)["OffsetSpec"]
_TIMEOUT_S = 15.0
# A reader that was killed stays in its group until the session ends (45 s by default); a little more than that.
_FORGET_DEADLINE_S = 75.0
_PAUSE_S = 0.5
# A broker that has just started makes or loads its list of groups first.
_COORDINATOR_DEADLINE_S = 30.0
_COORDINATOR_COMES = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)


class Extent(NamedTuple):
    """What a partition holds: its first offset, and the end of what is committed."""

    low: int
    end: int


def admin(options: Options) -> AdminClient:
    """Return an admin client; it connects when it is used."""
    settings: dict[str, Any] = {"bootstrap.servers": options.bootstrap_servers, "log_level": 0, "error_cb": lambda _: None}
    return AdminClient(settings)


def check_topics(options: Options, topics: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of each topic.

    Raises:
        DependencyError: Kafka does not answer, or has not all of the topics.
    """
    try:
        known = admin(options).list_topics(timeout=_TIMEOUT_S).topics
    except KafkaException as error:
        raise unreachable(options, error) from error
    absent = [topic for topic in topics if topic not in known]
    if absent:
        raise DependencyError(
            f"Kafka at {options.bootstrap_servers} has no topic {', '.join(absent)}", hint="make them: `execpos topics apply`"
        )
    return {topic: len(known[topic].partitions) for topic in topics}


def extents(options: Options, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Extent]:
    """Return what each partition holds, as a read_committed reader sees it.

    Raises:
        DependencyError: Kafka does not answer.
    """
    client = admin(options)
    asked = [TopicPartition(topic, partition) for topic, partition in partitions]
    try:
        low, end = (
            {(tp.topic, tp.partition): int(future.result(_TIMEOUT_S).offset) for tp, future in offsets.items()}
            for offsets in (
                client.list_offsets(dict.fromkeys(asked, spec), isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=_TIMEOUT_S)
                for spec in (_OFFSET_SPEC.earliest(), _OFFSET_SPEC.latest())
            )
        )
    except (KafkaException, TimeoutError) as error:
        raise unreachable(options, error) from error
    return {key: Extent(low[key], end[key]) for key in low}


def committed(options: Options, group: str, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return the next offset that the group has committed, of those `partitions` in which it has committed any.

    A consumer asks, and never joins: the admin client's own question crashes the process when the broker answers that its coordinator is
    not ready, as a broker does that has just started (librdkafka issue 5040).

    Raises:
        DependencyError: Kafka does not answer.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": options.bootstrap_servers,
            "group.id": group,
            "enable.auto.commit": False,
            "log_level": 0,
            "error_cb": lambda _: None,
        }
    )
    end = time.monotonic() + _COORDINATOR_DEADLINE_S
    try:
        while True:
            try:
                found = consumer.committed([TopicPartition(topic, partition) for topic, partition in partitions], timeout=_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() not in _COORDINATOR_COMES or time.monotonic() >= end:
                    raise unreachable(options, error) from error
                time.sleep(_PAUSE_S)
            else:
                return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}
    finally:
        consumer.close()


def forget(options: Options, group: str, topic: str) -> bool:
    """Delete the group, so that its next reader starts at the beginning; tell whether there was one.

    Blocks while a killed member still counts as alive, a good minute at most.

    Raises:
        DependencyError: Kafka does not answer, or another ClickHouse reads with this group.
    """
    partitions = [(topic, partition) for partition in range(check_topics(options, [topic])[topic])]
    if not committed(options, group, partitions):
        return False
    client = admin(options)
    end = time.monotonic() + _FORGET_DEADLINE_S
    while True:
        try:
            client.delete_consumer_groups([group], request_timeout=_TIMEOUT_S)[group].result(_TIMEOUT_S)
        except (KafkaException, TimeoutError) as error:
            code = error.args[0].code() if isinstance(error, KafkaException) else None
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                return True
            if code != KafkaError.NON_EMPTY_GROUP and code not in _COORDINATOR_COMES:
                raise unreachable(options, error) from error
            if time.monotonic() >= end:
                raise DependencyError(
                    f"the table behind group {group} is new, but something reads with this group",
                    hint="stop the other ClickHouse, or give this one another database name or env",
                    group=group,
                ) from error
            time.sleep(_PAUSE_S)
        else:
            return True


def unreachable(options: Options, error: Exception) -> DependencyError:
    """Return the error that says Kafka does not answer."""
    return DependencyError(
        f"Kafka does not answer at {options.bootstrap_servers}: {error}",
        hint="start it (`execpos up` starts one), or name another with --bootstrap-servers",
        bootstrap_servers=options.bootstrap_servers,
    )
