"""The loop that runs a task exactly once: poll, transaction, commit, again.

Order at a start [any other lets a dead owner's pending offsets slip by]: init both producers → join → committed offsets of all inputs,
stable → then the end offsets of the outputs → restore → consume.

`fault` is called with these labels, in this order when nothing fails; a test may raise from it to crash there:
`producers_ready`, `assigned`, `committed_read`, `restored`, `resumed`; per transaction `after_poll`, `before_begin`, `after_begin`,
`before_send_offsets`, `after_send_offsets`, `before_process`, `after_process`, `before_tick`, `after_tick`, `before_commit`,
`after_commit`, `task_committed`; per abort `before_abort`, `after_abort`, `rolled_back`, `sought`; `revoked`.
Raise a `BaseException` that is no `Exception` there: an `Exception` is taken as a failure of the task and aborts politely.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from confluent_kafka import KafkaException

from execpos.errors import AbortTransaction, ContractError, DependencyError, Fenced
from execpos.kafka.deadline import Clock, Deadline
from execpos.kafka.errors import Action, KafkaFailure, RestoreInterrupted
from execpos.kafka.ports import Cluster, Fault, Message, Output, Task, TopicPartition, no_fault
from execpos.kafka.restore import METADATA_S, Restore
from execpos.kafka.transaction import TransactionLimits, Transactions
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

_log = Logger("kafka")

# After an abort the same records come at once; while the cause lasts (a group that moves), the pause doubles from the first to the last.
_FIRST_PAUSE_S = 0.005
_LAST_PAUSE_S = 0.5


class Stop(Protocol):
    """What `run` asks of a `threading.Event`."""

    def is_set(self) -> bool: ...


class LoopLimits(NamedTuple):
    """Sizes and times of the loop."""

    # How long a poll waits for the first record; also how late a timer may be.
    poll_s: float = 0.05
    # Records of one transaction: enough to spread the commit's cost, few enough to keep the transaction far below its time-out.
    batch: int = 5_000
    # How long to wait for stable committed offsets: the time-out of a dead owner's transaction (10 s) and the broker's scan (10 s).
    committed_s: float = 60.0
    # Aborts without a commit between them: past the longest rebalance something else is wrong.
    abort_s: float = 180.0
    transaction: TransactionLimits = TransactionLimits()


class Loop:
    """Runs one task on the partitions that its group gives it. Used by one thread.

    Args:
        cluster: where the topics are.
        task: owns state and rules.
        group_id: consumer group.
        instance_id: static member name, stable over restarts, one process at a time.
        transactional_id_prefix: stable over restarts and unique to the instance; the slot's number comes behind it.
        limits: sizes and times.
        clock: monotonic seconds.
        sleep: how to wait.
        fault: called at each step, see the module.
    """

    def __init__(
        self,
        cluster: Cluster,
        task: Task,
        *,
        group_id: str,
        instance_id: str,
        transactional_id_prefix: str,
        limits: LoopLimits | None = None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        fault: Fault = no_fault,
    ) -> None:
        self.consumer = cluster.consumer(group_id, instance_id)
        self._cluster = cluster
        self._task = task
        self._limits = limits or LoopLimits()
        self._clock = clock
        self._sleep = sleep
        self._fault = fault
        self._instance_id = instance_id
        self._transactions = Transactions(
            cluster,
            self.consumer,
            transactional_id_prefix,
            limits=self._limits.transaction,
            clock=clock,
            sleep=sleep,
            fault=fault,
        )
        self._assigned: list[TopicPartition] = []
        # The assignment changed and nobody has acted on it yet.
        self._changed = False
        # The partitions whose state the task holds, or is restoring.
        self._held: list[int] = []
        self._restoring = False
        self._stop: Stop | None = None
        # Next offset to read, and next offset committed (-1 for nothing), of each assigned partition.
        self._positions: dict[TopicPartition, int] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._aborting_since_s: float | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._rebalances = metrics.counter("execpos_rebalances_total")
        self._assigned_partitions = metrics.gauge("execpos_assigned_partitions")
        self._restore_seconds = metrics.histogram("execpos_restore_seconds")
        self._input_records = metrics.counter("execpos_input_records_total")

    # --- calls ----------------------------------------------------------------------------------------------------------------

    def run(self, stop: Stop) -> None:
        """Run until `stop` is set, then close. Blocks; heeds `stop` about every `poll_s` and in a restore, but not in a transaction.

        Raises:
            Fenced: another instance owns this identity.
            ContractError: the topics or the assignment are not what they have to be, or input was deleted before it was processed.
            DependencyError: Kafka is not reachable, or refuses.
        """
        self._stop = stop
        try:
            self.start()
            while not stop.is_set():
                self.step()
        finally:
            self.close()

    def start(self) -> None:
        """Check the topics, take over the producers, join the group. Blocks; once, before the first `step`."""
        self._check_topics()
        self._transactions.init()
        self._fault("producers_ready")
        self.consumer.subscribe(self._task.input_topics, self._on_assign, self._on_revoke, self._on_lost)
        _log.info("loop_started", instance=self._instance_id, topics=list(self._task.input_topics))

    def step(self) -> int:
        """Poll once; restore if the assignment changed, else run one transaction if there is something to do. Return how many records."""
        batch = self._poll()
        if self._changed:
            self._take_over()
            return 0
        if not self._held:
            return 0
        due = self._task.due(self._clock())
        if not batch and not due:
            return 0
        self._fault("after_poll")
        self._transact(batch, due=due)
        return len(batch)

    def close(self) -> None:
        """Leave without committing; nothing is open between two steps. A second call does nothing."""
        self.consumer.close()
        self._transactions.close()
        _log.info("loop_stopped", instance=self._instance_id)

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partition numbers that are restored and at work now."""
        return () if self._changed or self._restoring else tuple(self._held)

    # --- assignment -----------------------------------------------------------------------------------------------------------

    def _on_assign(self, tps: list[TopicPartition]) -> None:
        self._assigned = sorted(tps)
        self._changed = True
        self._rebalances.inc()
        self._fault("assigned")

    def _on_revoke(self, tps: list[TopicPartition]) -> None:
        del tps
        self._forget()

    def _on_lost(self, tps: list[TopicPartition]) -> None:
        del tps
        self._forget()

    def _forget(self) -> None:
        self._assigned = []
        self._changed = True
        if not self._restoring:
            self._drop()

    def _drop(self) -> None:
        """Let the task forget what it holds."""
        held, self._held = self._held, []
        self._positions.clear()
        self._committed.clear()
        self._assigned_partitions.set(0)
        if held:
            self._task.revoke(held)
            self._fault("revoked")

    def _take_over(self) -> None:
        """Restore what was assigned and start reading it."""
        self._changed = False
        self._drop()
        assigned = list(self._assigned)
        partitions = self._co_located(assigned)
        _log.info("assignment_changed", instance=self._instance_id, partitions=partitions)
        if not partitions:
            return
        started_s = self._clock()
        self._held = partitions
        self._restoring = True
        try:
            self._restore(assigned, partitions)
        except RestoreInterrupted as reason:
            _log.info("restore_interrupted", partitions=partitions, reason=reason.what)
            self._restoring = False
            self._drop()
            self._changed = True
            return
        except KafkaException as error:
            raise self._quit(KafkaFailure(error, "metadata")) from error
        finally:
            self._restoring = False
        took_s = self._clock() - started_s
        self._restore_seconds.observe(took_s)
        self._assigned_partitions.set(len(partitions))
        _log.info("restore_finished", partitions=partitions, seconds=round(took_s, 3))
        self._fault("resumed")

    def _restore(self, assigned: list[TopicPartition], partitions: list[int]) -> None:
        committed = self._stable_offsets(assigned)
        self._fault("committed_read")
        context = Restore(self._cluster, committed, self._keep_polled, self._clock)
        try:
            starts = self._starts(committed, context)
            _log.info("restore_started", partitions=partitions)
            self._task.restore(partitions, context)
        finally:
            context.close()
        self._fault("restored")
        self._keep_polled()
        for tp, offset in starts.items():
            self.consumer.seek(tp, offset)
        self.consumer.resume(assigned)
        self._positions = starts
        self._committed = dict(committed)

    def _stable_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        deadline = Deadline(self._limits.committed_s, self._clock)
        while True:
            try:
                # In short waits, so that the consumer stays polled between them.
                return self.consumer.committed(tps, deadline.at_most(5.0))
            except KafkaException as error:
                failure = KafkaFailure(error, "committed")
                if failure.action is not Action.RETRY or deadline.over():
                    raise self._quit(failure) from error
                _log.info("committed_offsets_awaited", reason=failure.what)
            self._keep_polled()
            self._sleep(_FIRST_PAUSE_S)

    def _starts(self, committed: dict[TopicPartition, int], context: Restore) -> dict[TopicPartition, int]:
        """Return where to begin, refusing a start that would leave records out."""
        starts: dict[TopicPartition, int] = {}
        for tp, (low, high) in context.watermarks(list(committed)).items():
            offset = committed[tp]
            if offset > high:
                raise ContractError(
                    f"{tp.topic} [{tp.partition}] ends at {high}, but this group is at {offset}: the topic was created anew or lost data",
                    hint="rebuild from the topic as it is, after finding out what was lost",
                    topic=tp.topic,
                    partition=tp.partition,
                )
            if 0 <= offset < low:
                raise ContractError(
                    f"{tp.topic} [{tp.partition}] begins at {low}, but this group is at {offset}: what lies between was deleted unread",
                    hint="raise retention.ms; reconcile the accounts of this partition before going on",
                    topic=tp.topic,
                    partition=tp.partition,
                )
            starts[tp] = max(offset, low)
        return starts

    def _keep_polled(self) -> None:
        """Keep the member in its group during a restore, and end the restore when the assignment changes."""
        self._poll_one(0.0)
        if self._changed:
            raise RestoreInterrupted("the assignment changed during a restore")
        if self._stop is not None and self._stop.is_set():
            raise RestoreInterrupted("told to stop during a restore")

    def _co_located(self, assigned: Sequence[TopicPartition]) -> list[int]:
        """Return the partition numbers, the same of every input topic."""
        by_topic = {topic: sorted(tp.partition for tp in assigned if tp.topic == topic) for topic in self._task.input_topics}
        numbers = list(by_topic.values())
        if any(one != numbers[0] for one in numbers):
            raise ContractError(
                f"the inputs did not land on one instance: {by_topic}",
                hint="all members have to use the range assignor and the same topics, with one partition count",
                assignment=by_topic,
            )
        return numbers[0]

    def _check_topics(self) -> None:
        try:
            counts = {topic: self._cluster.partition_count(topic, METADATA_S) for topic in self._task.input_topics}
        except KafkaException as error:
            raise self._quit(KafkaFailure(error, "metadata")) from error
        if len(set(counts.values())) > 1:
            raise ContractError(
                f"the inputs have different partition counts: {counts}",
                hint="run `execpos topics plan`; keys would not meet",
                counts=counts,
            )

    # --- records --------------------------------------------------------------------------------------------------------------

    def _poll_one(self, timeout_s: float) -> Message | None:
        try:
            return self.consumer.poll(timeout_s)
        except KafkaException as error:
            failure = KafkaFailure(error, "consume")
            if failure.action is not Action.RETRY:
                raise self._quit(failure) from error
            _log.warning("consumer_failed", reason=failure.what)
            return None

    def _poll(self) -> list[Message]:
        first = self._poll_one(self._limits.poll_s)
        if first is None or self._stale():
            return []
        try:
            batch = [first, *self.consumer.consume(self._limits.batch - 1)]
        except KafkaException as error:
            raise self._quit(KafkaFailure(error, "consume")) from error
        return [] if self._stale() else batch

    def _stale(self) -> bool:
        """Say whether a callback changed the assignment inside the call just made."""
        return self._changed

    def _transact(self, batch: list[Message], *, due: bool) -> None:
        firsts, nexts = self._bounds(batch)
        if not batch and not due:
            return
        # A transaction that only a timer started sends all offsets as they are: that is what fences it.
        offsets = nexts or dict(self._positions)
        try:
            self._transactions.run(offsets, self._committed, self._work(batch, due=due))
        except AbortTransaction as reason:
            self._task.rolled_back()
            self._fault("rolled_back")
            self._after_abort(firsts, reason)
            return
        except Exception:
            self._task.rolled_back()
            raise
        self._task.committed()
        self._positions.update(nexts)
        self._committed.update(offsets)
        self._input_records.inc(len(batch))
        self._aborting_since_s, self._pause_s = None, _FIRST_PAUSE_S
        self._fault("task_committed")

    def _work(self, batch: list[Message], *, due: bool) -> Callable[[Output], None]:
        def work(out: Output) -> None:
            if batch:
                self._fault("before_process")
                self._task.process(batch, out)
                self._fault("after_process")
            if due:
                self._fault("before_tick")
                self._task.tick(out)
                self._fault("after_tick")

        return work

    def _bounds(self, batch: list[Message]) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Return first and next offset of each partition in the batch; the first is never below what was processed.

        Records of a partition that is not ours (any more) leave the batch.
        """
        firsts: dict[tuple[str, int], int] = {}
        nexts: dict[tuple[str, int], int] = {}
        for message in batch:
            at = (message.topic(), message.partition())
            offset = message.offset()
            if at not in firsts:
                firsts[at] = offset
            nexts[at] = offset + 1
        for at, offset in list(firsts.items()):
            position = self._positions.get(TopicPartition(*at))
            if position is None:
                batch[:] = [message for message in batch if (message.topic(), message.partition()) != at]
                del firsts[at], nexts[at]
            elif offset < position:
                raise ContractError(
                    f"{at[0]} [{at[1]}] gave offset {offset} although all below {position} is processed",
                    hint="this is a defect of the consumer; a restart reads from the committed offset",
                )
        return {TopicPartition(*at): at_offset for at, at_offset in firsts.items()}, {
            TopicPartition(*at): at_offset for at, at_offset in nexts.items()
        }

    def _after_abort(self, firsts: dict[TopicPartition, int], reason: AbortTransaction) -> None:
        """Go back to the first records of the batch; pause a little longer each time."""
        now_s = self._clock()
        if self._aborting_since_s is None:
            self._aborting_since_s = now_s
        if now_s - self._aborting_since_s > self._limits.abort_s:
            raise DependencyError(
                f"no transaction was committed for {self._limits.abort_s:.0f} s: {reason.what}",
                hint="see the log for the aborts and the broker's log for their cause",
            )
        for tp, offset in firsts.items():
            try:
                self.consumer.seek(tp, offset)
            except KafkaException as error:
                raise self._quit(KafkaFailure(error, "consume")) from error
        self._fault("sought")
        self._sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 2, _LAST_PAUSE_S)

    def _quit(self, failure: KafkaFailure) -> Fenced | DependencyError:
        if failure.action is Action.FENCED:
            return Fenced(
                f"another process joined the group as {self._instance_id}: {failure.what}",
                hint="check that no two processes have one instance name",
            )
        return DependencyError(f"Kafka: {failure.what}", hint="check that the broker is up and reachable")
