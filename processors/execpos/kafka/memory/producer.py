"""The producers of the twin."""

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum

from confluent_kafka import KafkaError, KafkaException

from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.failures import Call, failure
from execpos.kafka.memory.group import MemoryGroupMetadata
from execpos.kafka.memory.log import MemoryMessage, TxnState
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import GroupMetadata, Message, TopicPartition


class _State(Enum):
    NEW = "new"
    READY = "ready"
    OPEN = "open"
    ENDING = "ending"
    MUST_ABORT = "must abort"
    FATAL = "fatal"


class MemoryTransactionalProducer:
    """See `ports.TransactionalProducer`. It has the library's own states, so that a wrong order of calls fails as it does there."""

    def __init__(self, broker: MemoryBroker, transactional_id: str) -> None:
        self._broker = broker
        self._id = transactional_id
        self._epoch = -1
        self._state = _State.NEW
        self._error: KafkaException | None = None
        self._fatal: KafkaException | None = None
        self._ending: Call | None = None

    def init(self, timeout_s: float) -> None:
        del timeout_s
        self._expect(_State.NEW, "init")
        self._run("init", lambda: setattr(self, "_epoch", self._broker.init_producer(self._id)))
        self._state = _State.READY

    def begin(self) -> None:
        self._expect(_State.READY, "begin")
        self._run("begin", lambda: None)
        self._state = _State.OPEN

    def send_offsets(self, offsets: Mapping[TopicPartition, int], metadata: GroupMetadata, timeout_s: float) -> None:
        del timeout_s
        self._expect(_State.OPEN, "send_offsets")
        assert isinstance(metadata, MemoryGroupMetadata)  # noqa: S101 (objects of two clusters were mixed)
        self._run("send_offsets", lambda: self._broker.send_offsets(self._id, self._epoch, dict(offsets), metadata))

    def produce(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        self._expect(_State.OPEN, "produce")
        tp = TopicPartition(topic, partition)
        try:
            self._run("produce", lambda: self._broker.append(tp, key, value, self._broker.txn(self._id, self._epoch)))
        except KafkaException as error:
            # The library sends later and keeps what it hears for the next call.
            self._error = error

    def commit(self, timeout_s: float) -> None:
        del timeout_s
        self._end("commit", TxnState.COMMITTED)

    def abort(self, timeout_s: float) -> None:
        del timeout_s
        if self._state is _State.FATAL:
            raise failure(KafkaError._CONFLICT, "abort after a fatal error", retriable=True)  # noqa: SLF001 (a public name of the library)
        if self._state is _State.MUST_ABORT:
            self._state, self._error = _State.OPEN, None
        self._end("abort", TxnState.ABORTED)

    def close(self) -> None:
        self._state = _State.FATAL

    def _end(self, call: Call, outcome: TxnState) -> None:
        if self._state is _State.ENDING and self._ending == call:
            self._state = _State.OPEN
        self._expect(_State.OPEN, call)
        if call == "abort":
            self._error = None
        if self._error is not None:
            error, self._error = self._error, None
            self._note(error)
            raise error
        try:
            self._run(call, lambda: self._broker.end(self._id, self._epoch, outcome))
        except KafkaException as error:
            if self._state is _State.OPEN and error.args[0].retriable():
                self._state, self._ending = _State.ENDING, call
            raise
        self._state = _State.READY

    def _expect(self, state: _State, call: Call) -> None:
        if self._state is state:
            return
        if self._state is _State.FATAL:
            raise self._fatal or failure(KafkaError._STATE, f"{call} after close")  # noqa: SLF001 (a public name of the library)
        if self._state is _State.MUST_ABORT:
            raise failure(KafkaError._STATE, f"{call}: the transaction has to be aborted", abort=True)  # noqa: SLF001 (as above)
        if self._state is _State.ENDING:
            raise failure(KafkaError._CONFLICT, f"{call} while {self._ending} is not done", retriable=True)  # noqa: SLF001 (as above)
        raise failure(KafkaError._STATE, f"{call} in state {self._state.value}")  # noqa: SLF001 (as above)

    def _run(self, call: Call, effect: Callable[[], object]) -> None:
        planned = self._broker.take_planned(call)
        try:
            if planned is None or planned.after_effect:
                effect()
            if planned is not None:
                raise planned.make()
        except KafkaException as error:
            self._note(error)
            raise

    def _note(self, error: KafkaException) -> None:
        inner = error.args[0]
        if inner.fatal():
            self._state, self._fatal = _State.FATAL, error
        elif inner.txn_requires_abort():
            self._state = _State.MUST_ABORT


class MemoryIdempotentProducer:
    """See `ports.IdempotentProducer`. Records wait in its queue while the broker is not reachable."""

    # As the library's queue.buffering.max.messages in `config`.
    QUEUE_LIMIT = 1_000_000

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._queue: deque[tuple[TopicPartition, bytes, bytes, Callable[[KafkaError | None, Message], None]]] = deque()

    def produce(
        self, topic: str, partition: int, key: bytes, value: bytes, on_delivery: Callable[[KafkaError | None, Message], None]
    ) -> None:
        if len(self._queue) >= self.QUEUE_LIMIT:
            raise BufferError("the queue is full")
        if partition < 0:
            partition = partition_for(key, len(self._broker.topics[topic].logs))
        self._queue.append((TopicPartition(topic, partition), key, value, on_delivery))

    def poll(self, timeout_s: float) -> int:
        delivered = 0
        while self._queue and self._broker.reachable:
            tp, key, value, on_delivery = self._queue.popleft()
            planned = self._broker.take_planned("produce")
            error: KafkaError | None = planned.make().args[0] if planned is not None else None
            message = MemoryMessage(tp, -1, key, value, 0)
            if planned is None or planned.after_effect:
                try:
                    message = self._broker.append(tp, key, value)
                except KafkaException as refused:
                    error = refused.args[0]
            on_delivery(error, message)
            delivered += 1
        if not delivered and timeout_s > 0:
            self._broker.sleep(timeout_s)
        return delivered

    def flush(self, timeout_s: float) -> int:
        self.poll(timeout_s if self._queue else 0.0)
        return len(self._queue)

    def purge(self) -> None:
        given_up, self._queue = self._queue, deque()
        for tp, key, value, on_delivery in given_up:
            purged = KafkaError(KafkaError._PURGE_QUEUE, "given up")  # noqa: SLF001 (a public name of the library)
            on_delivery(purged, MemoryMessage(tp, -1, key, value, 0))

    def close(self) -> None:
        self._queue.clear()
