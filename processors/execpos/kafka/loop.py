"""The loop that runs a task exactly once: poll, transaction, commit, again.

Order at a start [any other lets a dead owner's pending offsets slip by]: init both producers → join → committed offsets of all inputs,
stable → then the end offsets of the outputs → restore → consume.

`fault` is called with these labels, in this order when nothing fails; a test may raise from it to crash there:
`producers_ready`, `assigned`, `committed_read`, `restored`, `resumed`; per transaction `after_poll`, `before_begin`, `after_begin`,
`before_process`, `after_process`, `before_tick`, `after_tick`, `before_send_offsets`, `after_send_offsets`, `before_commit`,
`after_commit`, `task_committed`; per abort `before_abort`, `after_abort`, `rolled_back`, `sought`; `revoked`.
Raise a `BaseException` that is no `Exception` there: an `Exception` is taken as a failure of the task and aborts politely.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import KafkaException

from execpos.errors import AbortTransaction, ContractError, DependencyError
from execpos.kafka.assignment import Assignment, Stop
from execpos.kafka.deadline import Clock
from execpos.kafka.errors import KafkaFailure
from execpos.kafka.ports import Cluster, Fault, Message, Output, Task, TopicPartition, no_fault
from execpos.kafka.restore import METADATA_S
from execpos.kafka.transaction import TransactionLimits, Transactions
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

__all__ = ["Loop", "LoopLimits", "Stop"]

_log = Logger("kafka")

# After an abort the same records come at once; while the cause lasts (a group that moves), the pause doubles from the first to the last.
_FIRST_PAUSE_S = 0.005
_LAST_PAUSE_S = 0.5


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
    # How long a stop tries to leave the group, so that others get its partitions at once; 0 stays a member until the session is over.
    leave_s: float = 5.0
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
        self._assignment = Assignment(
            cluster,
            self.consumer,
            task,
            instance_id=instance_id,
            committed_s=self._limits.committed_s,
            stood_still_s=self._limits.transaction.stood_still_s,
            clock=clock,
            sleep=sleep,
            fault=fault,
        )
        self._aborting_since_s: float | None = None
        self._pause_s = _FIRST_PAUSE_S
        self._input_records = metrics.counter("execpos_input_records_total")

    # --- calls ----------------------------------------------------------------------------------------------------------------

    def run(self, stop: Stop) -> None:
        """Run until `stop` is set, leave, close. Blocks; heeds `stop` about every `poll_s` and in a restore, but not in a transaction.

        Raises:
            Fenced: another instance owns this identity.
            ContractError: the topics or the assignment are not what they have to be, or input was deleted before it was processed.
            DependencyError: Kafka is not reachable, or refuses.
        """
        self._assignment.stop = stop
        try:
            self.start()
            while not stop.is_set():
                self.step()
            if self._limits.leave_s:
                self.consumer.leave(self._limits.leave_s)
        finally:
            self.close()

    def start(self) -> None:
        """Check the topics, take over the producers, join the group. Blocks; once, before the first `step`."""
        self._check_topics()
        self._transactions.init()
        self._fault("producers_ready")
        assignment = self._assignment
        self.consumer.subscribe(self._task.input_topics, assignment.on_assign, assignment.on_revoke, assignment.on_lost)
        _log.info("loop_started", instance=self._instance_id, topics=list(self._task.input_topics))

    def step(self) -> int:
        """Poll once; restore if the assignment changed, else run one transaction if there is something to do. Return how many records."""
        batch = self._poll()
        if self._assignment.changed:
            self._assignment.take_over()
            return 0
        if not self._assignment.held:
            return 0
        due = self._task.due(self._clock())
        if not batch and not due:
            return 0
        self._fault("after_poll")
        self._transact(batch, due=due)
        return len(batch)

    def close(self) -> None:
        """End without committing; nothing is open between two steps. A second call does nothing."""
        self.consumer.close()
        self._assignment.let_go()
        self._assignment.drop()
        self._transactions.close()
        _log.info("loop_stopped", instance=self._instance_id)

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partition numbers that are restored and at work now."""
        assignment = self._assignment
        return () if assignment.changed or assignment.restoring else tuple(assignment.held)

    def _check_topics(self) -> None:
        try:
            counts = {topic: self._cluster.partition_count(topic, METADATA_S) for topic in self._task.input_topics}
        except KafkaException as error:
            raise self._assignment.refused(KafkaFailure(error, "metadata")) from error
        if len(set(counts.values())) > 1:
            raise ContractError(
                f"the inputs have different partition counts: {counts}",
                hint="run `execpos topics plan`; keys would not meet",
                counts=counts,
            )

    # --- records --------------------------------------------------------------------------------------------------------------

    def _poll(self) -> list[Message]:
        first = self._assignment.poll(self._limits.poll_s)
        if first is None or self._stale():
            return []
        try:
            batch = [first, *self.consumer.consume(self._limits.batch - 1)]
        except KafkaException as error:
            raise self._assignment.refused(KafkaFailure(error, "consume")) from error
        return [] if self._stale() else batch

    def _stale(self) -> bool:
        """Say whether a callback changed the assignment inside the call just made."""
        return self._assignment.changed

    def _transact(self, batch: list[Message], *, due: bool) -> None:
        firsts, nexts = self._bounds(batch)
        if not batch and not due:
            return
        # A transaction that only a timer started sends all offsets as they are: that is what fences it.
        offsets = nexts or dict(self._assignment.positions)
        try:
            self._transactions.run(offsets, self._assignment.committed, self._work(batch, due=due))
        except AbortTransaction as reason:
            self._task.rolled_back()
            self._fault("rolled_back")
            self._after_abort(firsts, reason)
            return
        except Exception:
            self._task.rolled_back()
            raise
        self._task.committed()
        self._assignment.positions.update(nexts)
        self._assignment.committed.update(offsets)
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
            position = self._assignment.positions.get(TopicPartition(*at))
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
                raise self._assignment.refused(KafkaFailure(error, "consume")) from error
        self._fault("sought")
        self._sleep(self._pause_s)
        self._pause_s = min(self._pause_s * 2, _LAST_PAUSE_S)
