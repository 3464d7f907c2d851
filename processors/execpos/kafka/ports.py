"""The seam to Kafka: what the rest of execpos may know of it.

Two things stand behind it: the client library (`admin`, `consumer`, `producer`, put together by `cluster`) and the in-process twin
(`memory`). Both pass one suite, `tests/contract/kafka`. Unless a method says otherwise:

- a failure is a `confluent_kafka.KafkaException`; `errors.classify` says what to do about it, and nobody looks at its text;
- an object is used by one thread; only `Task` and `Consumer` callbacks run inside other calls, and never at the same time as each other;
- times are seconds, durations are bounded by the argument that says so, offsets are the *next* offset to read (last processed + 1).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from confluent_kafka import KafkaError

Output = Callable[[str, int, bytes, bytes], None]
"""Adds one record to the open transaction: topic, partition, key, value. Never blocks; sent at the latest by the commit."""

Fault = Callable[[str], None]
"""Called with the label of each step, so that a test can crash there. Production passes `no_fault`."""


def no_fault(step: str) -> None:
    """Do nothing at `step`."""


class TopicPartition(NamedTuple):
    """One partition of one topic, by its full name (prefix included)."""

    topic: str
    partition: int


class Watermarks(NamedTuple):
    """The first offset still kept and the next one to be written, open transactions and control records included."""

    low: int
    high: int


class Span(NamedTuple):
    """Offsets `start` (included) to `end` (excluded) of one partition."""

    tp: TopicPartition
    start: int
    end: int


class Message(Protocol):
    """One record as read: exactly the methods of `confluent_kafka.Message`, so that the hot path wraps nothing."""

    def topic(self) -> str: ...

    def partition(self) -> int: ...

    def offset(self) -> int: ...

    def key(self) -> bytes | None: ...

    def value(self) -> bytes | None: ...

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of timestamp (1 create, 2 log append, 0 none) and the time in ms since the epoch."""
        ...


class GroupMetadata(Protocol):
    """Who a consumer is in its group at one moment; opaque, never kept from one transaction to the next."""


class Consumer(Protocol):
    """A member of a consumer group, isolation read_committed, that never commits by itself."""

    def subscribe(
        self,
        topics: Sequence[str],
        on_assign: Callable[[list[TopicPartition]], None],
        on_revoke: Callable[[list[TopicPartition]], None],
        on_lost: Callable[[list[TopicPartition]], None],
    ) -> None:
        """Join the group. Callbacks run inside `poll`, `consume` and `close` only; each list is the whole assignment (range assignor).

        What was assigned stands still (paused, no position taken) until `seek` and `resume` are called. When `on_lost` raises, this member
        joins no more.
        """
        ...

    def poll(self, timeout_s: float) -> Message | None:
        """Return the next record, or None after at most `timeout_s`. Has to be called at least once a `max.poll.interval.ms`."""
        ...

    def consume(self, count: int) -> list[Message]:
        """Return up to `count` records that are here already; never waits."""
        ...

    def assignment(self) -> set[TopicPartition]:
        """Return what is assigned at this moment; does not block."""
        ...

    def committed(self, tps: Sequence[TopicPartition], timeout_s: float) -> dict[TopicPartition, int]:
        """Return the group's committed next offsets, stable: it waits until no transaction has offsets pending. -1 where there is none."""
        ...

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go on reading an assigned partition at `offset`; records already fetched are forgotten."""
        ...

    def pause(self, tps: Sequence[TopicPartition]) -> None:
        """Return no more records of `tps` until `resume`."""
        ...

    def resume(self, tps: Sequence[TopicPartition]) -> None:
        """Return records of `tps` again."""
        ...

    def group_metadata(self) -> GroupMetadata:
        """Return who this member is now.

        Raises:
            AbortTransaction: it is no member at this moment (generation -1): offsets sent so would not be fenced.
        """
        ...

    def generation(self) -> int:
        """Return the number of the group's present assignment, one more after each; -1 while it is no member."""
        ...

    def leave(self, timeout_s: float) -> None:
        """Give everything up and tell the group, so that others have it within a heartbeat; `close` follows, nothing else.

        Callbacks run inside. Blocks up to `timeout_s`; raises nothing: whom the group does not hear leaves when the session is over.
        """
        ...

    def close(self) -> None:
        """Stop reading. A static member stays in its group until the session times out. A second call does nothing."""
        ...


class TransactionalProducer(Protocol):
    """Writes records and offsets together or not at all. One transaction is open at most."""

    def init(self, timeout_s: float) -> None:
        """Take over the transactional id: fences older holders and ends what they left open. Once, before the first `begin`."""
        ...

    def begin(self) -> None:
        """Open a transaction."""
        ...

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata, timeout_s: float) -> None:
        """Add the group's next offsets to the open transaction. May block up to `timeout_s`."""
        ...

    def produce(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        """Add one record. May block briefly while the send queue is full; what fails later fails the commit."""
        ...

    def commit(self, timeout_s: float) -> None:
        """Send everything and commit. After a time-out nothing is known: the only call allowed is `commit` again."""
        ...

    def abort(self, timeout_s: float) -> None:
        """Drop the open transaction. After a time-out the only call allowed is `abort` again."""
        ...

    def close(self) -> None:
        """Let go without committing or waiting. A second call does nothing."""
        ...


class IdempotentProducer(Protocol):
    """Writes records in order and without gaps or doubles, outside transactions: a record is given up only by `purge`."""

    def produce(
        self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: Callable[[KafkaError | None, Message], None]
    ) -> None:
        """Queue one record.

        Args:
            topic: full name of the topic.
            partition: the partition, or -1 to place the record by its key (`partitions.partition_for`).
            key: key, also what places it.
            value: value.
            on_delivery: called once, inside `poll`, `flush` or `purge`, with None and the record as written, or with the error.

        Raises:
            BufferError: the queue is full; call `poll` and try again.
        """
        ...

    def poll(self, timeout_s: float) -> int:
        """Run delivery callbacks that are due, waiting at most `timeout_s` for one; return how many ran."""
        ...

    def flush(self, timeout_s: float) -> int:
        """Wait until all is delivered or `timeout_s` is over; return how many records are still on their way."""
        ...

    def purge(self) -> None:
        """Give up everything queued or on its way; callbacks get an error, though a record may have been written all the same."""
        ...

    def close(self) -> None:
        """Let go without waiting. A second call does nothing."""
        ...


class Reader(Protocol):
    """Reads spans of partitions outside any group, isolation read_committed. One connection, used again and again."""

    def read(self, spans: Sequence[Span], timeout_s: float, on_idle: Callable[[], None] | None = None) -> Iterator[Message]:
        """Yield the committed records inside `spans`; in order within a partition, partitions mixed.

        A span is done when the log is known to be committed or aborted up to its end: at an end-of-partition at or past `end`, never at the
        "last offset + 1", because control records and compaction leave gaps. An open transaction below the end is waited for. A span that
        starts below the first offset kept starts there. One iteration at a time; leaving it early is allowed.

        Args:
            spans: what to read, one span a partition at most.
            timeout_s: longest time without progress.
            on_idle: called about every 0.1 s while reading (keep a consumer polled, show progress); what it raises ends the reading.

        Raises:
            DependencyError: no progress for `timeout_s`, or the log is shorter than `end`.
        """
        ...

    def close(self) -> None:
        """Let go. A second call does nothing."""
        ...


class Tail(Protocol):
    """Reads partitions outside any group, isolation read_committed, without an end: what stands there, then what is committed next.

    What passes by itself (a broker that restarts, a leader that moves) is waited out: `poll` returns nothing meanwhile and then goes on
    where it was. A start below the first offset kept begins there.
    """

    def poll(self, timeout_s: float) -> list[Message]:
        """Return committed records that have come, in order within a partition; wait at most `timeout_s` for the first one."""
        ...

    def position(self, tp: TopicPartition) -> int:
        """Return the next offset: every committed record below it was returned. Passes over control records at an end."""
        ...

    def complete_s(self, tp: TopicPartition) -> float | None:
        """Return a moment of the local monotonic clock: what was committed before it had been returned by polls before the last one.

        So a record of the last poll was committed after it, however long it lay about here. Up to the time that one answer of Kafka was on
        its way, at most 5 s. None while the end was never reached.
        """
        ...

    def close(self) -> None:
        """Let go. A second call does nothing."""
        ...


class TopicDescription(NamedTuple):
    """A topic as it is: its id (another one after it was deleted and created again), shape, and the settings that differ from defaults."""

    name: str
    topic_id: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


class Cluster(Protocol):
    """One Kafka cluster. May be used by several threads; each object it makes belongs to one."""

    def consumer(self, group_id: str, instance_id: str) -> Consumer:
        """Return a consumer that joins `group_id` as the static member `instance_id` once it subscribes."""
        ...

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer:
        """Return a producer of `transactional_id`; nothing is taken over before its `init`."""
        ...

    def idempotent_producer(self, client_id: str, connect_s: float = 0.0) -> IdempotentProducer:
        """Return a gapless producer.

        Args:
            client_id: names the connection.
            connect_s: wait up to this long for a connection: without one, a producer's first record may leave half a second later. A
                broker that does not answer is no error here.
        """
        ...

    def reader(self) -> Reader:
        """Return a reader."""
        ...

    def tail(self, starts: Mapping[TopicPartition, int], timeout_s: float) -> Tail:
        """Return what reads each partition from its start on; may block up to `timeout_s` to find the leaders."""
        ...

    def read(self, tp: TopicPartition, start: int, end_watermark: int, timeout_s: float) -> Iterator[Message]:
        """Yield the committed records of one span, as `Reader.read` does."""
        ...

    def watermarks(self, tps: Sequence[TopicPartition], timeout_s: float) -> dict[TopicPartition, Watermarks]:
        """Return first and end offsets, the end read_uncommitted: an open transaction hides nothing written before or after it."""
        ...

    def high_watermarks(self, tps: Sequence[TopicPartition], timeout_s: float) -> dict[TopicPartition, int]:
        """Return the end offsets, read_uncommitted."""
        ...

    def offsets_at(self, tps: Sequence[TopicPartition], ts_ms: int, timeout_s: float) -> dict[TopicPartition, int]:
        """Return the first offset whose record is stamped at or after `ts_ms` (since the epoch); the end offset when there is none."""
        ...

    def describe(self, topics: Sequence[str], timeout_s: float) -> dict[str, TopicDescription]:
        """Return those of `topics` that exist."""
        ...

    def topic_ids(self, topics: Sequence[str], timeout_s: float) -> dict[str, str]:
        """Return the id of each topic that exists."""
        ...

    def partition_count(self, topic: str, timeout_s: float) -> int:
        """Return how many partitions `topic` has.

        Raises:
            ContractError: there is no such topic.
        """
        ...

    def create(self, topic: str, partitions: int, replication_factor: int, configs: Mapping[str, str], timeout_s: float) -> None:
        """Create a topic and wait until it is there."""
        ...

    def alter_configs(self, topic: str, configs: Mapping[str, str], timeout_s: float) -> None:
        """Set these settings of a topic; others stay as they are."""
        ...

    def broker_count(self, timeout_s: float) -> int:
        """Return how many brokers are up."""
        ...


class RestoreContext(Protocol):
    """What a task reads while it restores. Made after the committed offsets were found stable, so watermarks taken here cover them.

    Every method may block; while it does, the consumer stays polled. A rebalance meanwhile ends the restore: the method raises
    `RestoreInterrupted`, which the task lets pass; `Task.revoke` with all partitions of that restore follows.
    """

    def committed(self, topic: str, partition: int) -> int:
        """Return the next offset to process of an input; 0 when nothing was ever committed."""
        ...

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return the end offset of any topic, taken once after the committed offsets (read_uncommitted)."""
        ...

    def read(self, topic: str, partition: int) -> Iterator[Message]:
        """Yield the committed records from the first kept one to `high_watermark`."""
        ...

    def read_all(self, topic: str, partitions: Sequence[int]) -> Iterator[Message]:
        """Yield what `read` does for several partitions at once, mixed: much quicker than one after the other."""
        ...

    def read_below(self, topic: str, partition: int, end_offset: int) -> Iterator[Message]:
        """Yield the committed records of an input below `end_offset` (usually `committed`)."""
        ...

    def read_all_below(self, topic: str, end_offsets: Mapping[int, int]) -> Iterator[Message]:
        """Yield what `read_below` does for several partitions at once, mixed."""
        ...

    def topic_id(self, topic: str) -> str:
        """Return the id that tells a topic from one of the same name created later."""
        ...

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far the restore is; at most one line a second reaches the log. Also keeps the consumer polled."""
        ...


class Task(Protocol):
    """What the loop runs; it owns the state. All calls come from the loop's thread.

    The order of calls, for each partition: `restore` → { `process`? `tick`? → `committed` or `rolled_back` }* → `revoke`; one that comes
    back untouched from a rebalance is neither revoked nor restored. When `process` or `tick` raises `AbortTransaction`, the loop aborts and
    offers the same records again; anything else aborts and ends the loop (`Park` too: to park is the task's own work).
    """

    @property
    def input_topics(self) -> tuple[str, ...]:
        """The topics to consume, full names, co-partitioned: one instance gets the same partition numbers of all of them."""
        ...

    def restore(self, partitions: Sequence[int], context: RestoreContext) -> None:
        """Build the state of `partitions` as of the committed offsets. May block for long: the inputs stand still meanwhile."""
        ...

    def revoke(self, partitions: Sequence[int]) -> None:
        """Forget the state of `partitions`, of a half-done restore as well. Does not block; never inside a transaction."""
        ...

    def process(self, batch: Sequence[Message], out: Output) -> None:
        """Apply a batch, in order within each partition, and write what follows from it. Nothing of it holds before `committed`."""
        ...

    def due(self, now_monotonic_s: float) -> bool:
        """Say whether `tick` has something to do now; called about every poll, so it has to be cheap."""
        ...

    def tick(self, out: Output) -> None:
        """Write what time demands; inside a transaction, after `process` if there is a batch, alone otherwise."""
        ...

    def committed(self) -> None:
        """Make the last `process` and `tick` final. Called once after each commit."""
        ...

    def rolled_back(self) -> None:
        """Undo the last `process` and `tick` exactly: the same records come again. Called once after each abort."""
        ...
