"""The group member and the reader, on the client library."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as LibraryPartition

from execpos.errors import AbortTransaction, ContractError, DependencyError
from execpos.kafka.client import config
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.deadline import Deadline
from execpos.kafka.ports import GroupMetadata, Message, Span, TopicPartition

Callback = Callable[[list[TopicPartition]], None]

# How many records a reader takes at once, and how often it calls `on_idle`.
_READ_BATCH = 10_000
_IDLE_S = 0.1

# How long to wait for the leaders of a topic's partitions.
_LEADERS_S = 30.0

# How long one wait for the group to hear that a member leaves lasts.
_LEAVE_POLL_S = 0.02

# What `consumer_group_metadata` begins with; then the generation in four bytes. Without it nobody can tell a member from none.
_METADATA_HEADER = b"CGMDv2:"


class KafkaConsumer:
    """See `ports.Consumer`.

    What the group assigns is handed to the library only at `resume`, each partition with its offset: until then nothing is fetched, so no
    record or error of a position that nobody chose can come.
    """

    def __init__(self, settings: KafkaSettings, group_id: str, instance_id: str) -> None:
        # Any: the library's own types make every part of a message optional.
        self._consumer: Any = Consumer(config.member(settings, group_id, instance_id))
        self._group_id = group_id
        # Assigned by the group -> where to begin, None until `seek`.
        self._held: dict[TopicPartition, int | None] = {}
        self._started = False
        self._error: KafkaError | None = None
        # What ended it for good.
        self._fatal: KafkaError | None = None
        self._closed = False

    def subscribe(self, topics: Sequence[str], on_assign: Callback, on_revoke: Callback, on_lost: Callback) -> None:
        def assigned(_: Consumer, tps: list[LibraryPartition]) -> None:
            self._consumer.assign([])
            self._started = False
            self._held = dict.fromkeys(_ours(tps))
            on_assign(list(self._held))

        def revoked(_: Consumer, tps: list[LibraryPartition]) -> None:
            self._give_back()
            on_revoke(_ours(tps))

        def lost(_: Consumer, tps: list[LibraryPartition]) -> None:
            try:
                on_lost(_ours(tps))
            except Exception:
                # Once the partitions are given back, the library joins again by itself, and would end a successor of the same name.
                self._consumer.unsubscribe()
                raise
            finally:
                self._give_back()

        self._consumer.subscribe(list(topics), on_assign=assigned, on_revoke=revoked, on_lost=lost)

    def _give_back(self) -> None:
        self._consumer.unassign()
        self._started = False
        self._held = {}

    def poll(self, timeout_s: float) -> Message | None:
        if self._error is not None:
            earlier, self._error = self._error, None
            raise self._failed(earlier)
        message = self._consumer.poll(timeout_s)
        error = message.error() if message is not None else None
        if error is not None:
            raise self._failed(error)
        if message is None and self._fatal is not None:
            # It is told once, and then silence.
            raise KafkaException(self._fatal)
        return cast("Message | None", message)

    def _failed(self, error: KafkaError) -> KafkaException:
        if error.code() == KafkaError._FATAL:  # noqa: SLF001 (a public name of the library)
            self._fatal = _cause(error)
        return KafkaException(self._fatal or error)

    def consume(self, count: int) -> list[Message]:
        found = self._consumer.consume(count, 0)
        for message in found:
            if message.error() is not None:
                # What came before and after it is good; the error is told by the next poll.
                self._error = message.error()
                found = [one for one in found if one.error() is None]
                break
        return cast("list[Message]", found)

    def assignment(self) -> set[TopicPartition]:
        return set(self._held)

    def committed(self, tps: Sequence[TopicPartition], timeout_s: float) -> dict[TopicPartition, int]:
        # With isolation read_committed the library asks for stable offsets.
        found = self._consumer.committed([LibraryPartition(*tp) for tp in tps], timeout_s)
        for one in found:
            if one.error is not None:
                raise KafkaException(one.error)
        return {TopicPartition(one.topic, one.partition): -1 if one.offset == OFFSET_INVALID else one.offset for one in found}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        if tp not in self._held:
            text = f"{tp.topic} [{tp.partition}] is not assigned"
            raise KafkaException(KafkaError(KafkaError._STATE, text))  # noqa: SLF001 (a public name of the library)
        if self._started:
            self._consumer.seek(LibraryPartition(tp.topic, tp.partition, offset))
        else:
            self._held[tp] = offset

    def pause(self, tps: Sequence[TopicPartition]) -> None:
        if self._started:
            self._consumer.pause([LibraryPartition(*tp) for tp in tps])

    def resume(self, tps: Sequence[TopicPartition]) -> None:
        if self._started:
            self._consumer.resume([LibraryPartition(*tp) for tp in tps])
            return
        missing = [tp for tp, offset in self._held.items() if offset is None or tp not in tps]
        if missing:
            raise ContractError(f"{missing} are assigned and have no position: all partitions start together")
        self._consumer.assign([LibraryPartition(*tp, offset or 0) for tp, offset in self._held.items()])
        self._started = True

    def group_metadata(self) -> GroupMetadata:
        metadata = self._consumer.consumer_group_metadata()
        if _generation(metadata) < 0:
            raise AbortTransaction("the consumer is in no generation of its group", group=self._group_id)
        return cast("GroupMetadata", metadata)

    def generation(self) -> int:
        return _generation(self._consumer.consumer_group_metadata())

    def leave(self, timeout_s: float) -> None:
        # A static member that closes says nothing to its group; one that subscribes to nothing any more leaves it.
        deadline = Deadline(timeout_s)
        with contextlib.suppress(KafkaException):
            self._consumer.unsubscribe()
            # The library forgets its member id when it sends the request.
            while self._consumer.memberid() and not deadline.over():
                self._consumer.poll(_LEAVE_POLL_S)
            self._consumer.poll(_LEAVE_POLL_S)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._consumer.close()


class KafkaReader:
    """See `ports.Reader`."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._consumer: Any = Consumer(config.reader(settings, client_id))
        self._closed = False
        self._known: set[str] = set()

    def read(self, spans: Sequence[Span], timeout_s: float, on_idle: Callable[[], None] | None = None) -> Iterator[Message]:
        ends = {(span.tp.topic, span.tp.partition): span.end for span in spans if span.start < span.end}
        starts = [LibraryPartition(tp.topic, tp.partition, start) for tp, start, end in spans if start < end]
        for topic in {span.tp.topic for span in spans} - self._known:
            # Without this the library finds the leaders of an assigned topic only at its next scan, a second later.
            self._consumer.list_topics(topic, timeout=min(timeout_s, _LEADERS_S))
            self._known.add(topic)
        try:
            self._consumer.assign(starts)
            yield from self._read(ends, timeout_s, on_idle)
        finally:
            if not self._closed:
                # A pause outlives the assignment, and the next reading may be of the same partition.
                self._consumer.resume(starts)
                self._consumer.unassign()

    def _read(self, ends: dict[tuple[str, int], int], timeout_s: float, on_idle: Callable[[], None] | None) -> Iterator[Message]:
        moved_s = idled_s = time.monotonic()
        while ends:
            # poll waits for the first record only; consume would wait for all of them.
            first = self._consumer.poll(_IDLE_S)
            now_s = time.monotonic()
            if on_idle is not None and now_s - idled_s >= _IDLE_S:
                idled_s = now_s
                on_idle()
            if first is None:
                if now_s - moved_s > timeout_s:
                    raise DependencyError(
                        f"no record of {sorted(ends)} came for {timeout_s:.0f} s",
                        hint="Kafka is down, or a transaction stays open on these partitions",
                    )
                continue
            batch = [first, *self._consumer.consume(_READ_BATCH, 0)]
            found = _inside(batch, ends)
            if found:
                moved_s = now_s
                yield from found
            if len(found) < len(batch) and self._note(batch, ends):
                moved_s = now_s

    def _note(self, batch: list[Any], ends: dict[tuple[str, int], int]) -> bool:
        """Take in what a batch says beside records inside the spans; say whether a span ended or is being left behind."""
        moved = False
        for message in batch:
            error = message.error()
            at = (message.topic(), message.partition())
            if error is not None:
                moved = self._ended(at, message, error, ends) or moved
            elif at in ends and message.offset() >= ends[at]:
                self._finish(at, ends)
                moved = True
        return moved

    def _ended(self, at: tuple[str, int], message: Any, error: KafkaError, ends: dict[tuple[str, int], int]) -> bool:
        """Take in an end-of-partition; say whether it ended a span. Other errors that pass are waited out."""
        if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 (a public name of the library)
            if error.fatal() or error.code() in {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART}:
                raise KafkaException(error)
            return False
        # Below the end an open transaction hides the rest; another end-of-partition follows when it is decided.
        if at in ends and message.offset() >= ends[at]:
            self._finish(at, ends)
            return True
        return False

    def _finish(self, at: tuple[str, int], ends: dict[tuple[str, int], int]) -> None:
        del ends[at]
        # What else stands there is not wanted.
        self._consumer.pause([LibraryPartition(*at)])

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._consumer.close()


def _inside(batch: list[Any], ends: dict[tuple[str, int], int]) -> list[Message]:
    """Return the records of a batch that lie inside their span: without a loop of statements, of which a restore would run millions."""
    topics = {topic for topic, _ in ends}
    if len(topics) == 1:
        end_of = {partition: end for (_, partition), end in ends.items()}.get
        (topic,) = topics
        return [
            message
            for message in batch
            if message.error() is None and message.offset() < end_of(message.partition(), 0) and message.topic() == topic
        ]
    end_at = ends.get
    return [
        message for message in batch if message.error() is None and message.offset() < end_at((message.topic(), message.partition()), 0)
    ]


def _generation(metadata: bytes) -> int:
    header, generation = metadata[: len(_METADATA_HEADER)], metadata[len(_METADATA_HEADER) :][:4]
    if header != _METADATA_HEADER:
        raise ContractError(f"group metadata begins with {header!r}", hint="this version of confluent-kafka is not supported")
    return int.from_bytes(generation, "little", signed=True)


def _cause(error: KafkaError) -> KafkaError:
    """Return the error behind "fatal error": the library gives its code as text only, but the text is its own for that code."""
    fenced = KafkaError(KafkaError.FENCED_INSTANCE_ID)
    code = fenced.code() if fenced.str() in error.str() else error.code()
    return KafkaError(code, error.str(), fatal=True)


def _ours(tps: Sequence[LibraryPartition]) -> list[TopicPartition]:
    return sorted(TopicPartition(tp.topic, tp.partition) for tp in tps)
