"""The consumer and the reader of the twin."""

from collections.abc import Callable, Iterator, Sequence

from confluent_kafka import KafkaError

from execpos.errors import AbortTransaction, DependencyError
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.failures import failure, timed_out
from execpos.kafka.memory.group import Member, MemoryGroupMetadata
from execpos.kafka.memory.log import MemoryMessage
from execpos.kafka.ports import GroupMetadata, Message, Span, TopicPartition

Callback = Callable[[list[TopicPartition]], None]

# How often a waiting reader looks again; moves the virtual clock by as much.
_IDLE_S = 0.1


class MemoryConsumer:
    """See `ports.Consumer`. A member beats by itself until `suspend` or `close`."""

    def __init__(self, broker: MemoryBroker, group_id: str, instance_id: str) -> None:
        self._broker = broker
        self._group = broker.group(group_id)
        self._instance_id = instance_id
        self._topics: tuple[str, ...] = ()
        self._on_assign: Callback = list.clear
        self._on_revoke: Callback = list.clear
        self._on_lost: Callback = list.clear
        self._member: Member | None = None
        self._generation: int | None = None
        self._positions: dict[TopicPartition, int | None] = {}
        self._paused: set[TopicPartition] = set()
        self._closed = False

    def subscribe(self, topics: Sequence[str], on_assign: Callback, on_revoke: Callback, on_lost: Callback) -> None:
        self._topics, self._on_assign, self._on_revoke, self._on_lost = tuple(topics), on_assign, on_revoke, on_lost

    def poll(self, timeout_s: float) -> MemoryMessage | None:
        if self._serve_group():
            return None
        message = self._next()
        if message is None and timeout_s > 0:
            self._broker.sleep(timeout_s)
            if not self._serve_group():
                message = self._next()
        return message

    def consume(self, count: int) -> list[Message]:
        found: list[Message] = []
        while len(found) < count and (message := self._next()) is not None:
            found.append(message)
        return found

    def assignment(self) -> set[TopicPartition]:
        return set(self._positions)

    def committed(self, tps: Sequence[TopicPartition], timeout_s: float) -> dict[TopicPartition, int]:
        planned = self._broker.take_planned("committed")
        if planned is not None:
            raise planned.make()
        waited_s = 0.0
        while self._broker.pending_offsets(self._group.group_id):
            if waited_s >= timeout_s:
                raise timed_out("offsets of an open transaction are pending")
            self._broker.sleep(_IDLE_S)
            waited_s += _IDLE_S
            self._broker.expire()
        return {tp: self._group.committed.get(tp, -1) for tp in tps}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        if tp not in self._positions:
            raise failure(KafkaError._STATE, f"{tp.topic} [{tp.partition}] is not assigned")  # noqa: SLF001 (a public name of the library)
        self._positions[tp] = offset

    def pause(self, tps: Sequence[TopicPartition]) -> None:
        self._paused.update(tps)

    def resume(self, tps: Sequence[TopicPartition]) -> None:
        self._paused.difference_update(tps)

    def group_metadata(self) -> GroupMetadata:
        if self._member is None or self._generation is None:
            raise AbortTransaction("the consumer is in no generation of its group", group=self._group.group_id)
        return MemoryGroupMetadata(self._group.group_id, self._generation, self._member.member_id, self._instance_id)

    def generation(self) -> int:
        return -1 if self._member is None or self._generation is None else self._generation

    def leave(self, timeout_s: float) -> None:
        del timeout_s
        held = sorted(self._positions)
        self._positions, self._topics = {}, ()
        if held:
            self._on_revoke(held)
        with self._broker.lock:
            if self._member is not None and self._broker.reachable:
                self._group.leave(self._member)
                self._member = self._generation = None

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._positions:
            held = sorted(self._positions)
            self._positions = {}
            self._on_revoke(held)
        self.suspend()

    def suspend(self) -> None:
        """Stop beating, as a stopped or killed process does: after the session timeout the group goes on without this member."""
        with self._broker.lock:
            if self._member is not None and self._member.alive_until_s is None:
                self._member.alive_until_s = self._broker.clock() + self._group.session_timeout_s

    def _serve_group(self) -> bool:
        """Join, run the callbacks that are due; say whether one ran."""
        with self._broker.lock:
            if self._closed or not self._topics or not self._broker.reachable:
                return False
            planned = self._broker.take_planned("poll")
            if planned is not None:
                raise planned.make()
            self._broker.expire()
            if self._member is None:
                self._member = self._group.join(self._instance_id, self._topics)
            elif self._member.member_id not in self._group.members:
                return self._thrown_out()
            else:
                self._member.alive_until_s = None
            if not self._member.joined:
                return self._give_up()
            if not self._group.rebalancing and self._generation != self._group.generation:
                self._generation = self._group.generation
                self._positions = dict.fromkeys(self._member.assignment)
                self._paused = set(self._positions)
                self._on_assign(sorted(self._positions))
                return True
            return False

    def _thrown_out(self) -> bool:
        if any(member.instance_id == self._instance_id for member in self._group.members.values()):
            raise failure(KafkaError.FENCED_INSTANCE_ID, f"another member took over {self._instance_id}", fatal=True)
        held = sorted(self._positions)
        self._positions, self._generation, self._member = {}, None, None
        try:
            self._on_lost(held)
        except Exception:
            self._topics = ()
            raise
        return True

    def _give_up(self) -> bool:
        held = sorted(self._positions)
        self._positions = {}
        if held:
            self._on_revoke(held)
        if self._member is not None:
            self._group.rejoin(self._member)
        return bool(held)

    def _next(self) -> MemoryMessage | None:
        with self._broker.lock:
            if not self._broker.reachable:
                return None
            for tp, position in self._positions.items():
                if tp in self._paused or position is None:
                    continue
                log = self._broker.log(tp)
                if position < log.low:
                    text = f"{tp.topic} [{tp.partition}] begins at {log.low}, not at {position}"
                    raise failure(KafkaError._AUTO_OFFSET_RESET, text)  # noqa: SLF001 (a public name of the library)
                message = log.next_committed(position)
                if message is not None:
                    # The one just served goes to the end, so that no partition starves another.
                    del self._positions[tp]
                    self._positions[tp] = message.offset() + 1
                    return message
            return None


class MemoryReader:
    """See `ports.Reader`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def read(self, spans: Sequence[Span], timeout_s: float, on_idle: Callable[[], None] | None = None) -> Iterator[MemoryMessage]:
        for tp, start, end in spans:
            waited_s = 0.0
            position = start
            while position < end:
                with self._broker.lock:
                    self._broker.expire()
                    log = self._broker.log(tp)
                    if log.high < end:
                        raise DependencyError(f"{tp.topic} [{tp.partition}] ends at {log.high}, expected {end}", topic=tp.topic)
                    stable = min(end, log.last_stable)
                    found = list(log.committed(position, stable))
                if found:
                    waited_s = 0.0
                yield from found
                position = max(position, stable)
                if on_idle is not None:
                    on_idle()
                if position >= end:
                    break
                if waited_s >= timeout_s:
                    raise DependencyError(f"{tp.topic} [{tp.partition}] has an open transaction at {position}, below {end}", topic=tp.topic)
                self._broker.sleep(_IDLE_S)
                waited_s += _IDLE_S

    def close(self) -> None:
        """Nothing is held."""
