"""What the group gives to this member: taking it over, restoring it, giving it up.

A rebalance takes everything from everybody and gives it out again, mostly to the same members. So what is revoked is kept until the next
assignment: a partition that comes back in the very next generation was nobody else's meanwhile, and when the group's committed offsets are
still those of the state in memory, it goes on without a restore.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from confluent_kafka import KafkaException

from execpos.errors import ContractError, DependencyError, Fenced
from execpos.kafka.deadline import Clock, Deadline
from execpos.kafka.errors import Action, KafkaFailure, RestoreInterrupted
from execpos.kafka.ports import Cluster, Consumer, Fault, Message, Task, TopicPartition, no_fault
from execpos.kafka.restore import Restore
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

_log = Logger("kafka")

# Between two questions for committed offsets that are not stable yet.
_PAUSE_S = 0.005


class Stop(Protocol):
    """What is asked of a `threading.Event`."""

    def is_set(self) -> bool: ...


class _Kept(NamedTuple):
    """What was revoked, and might come back as it is."""

    partitions: tuple[int, ...]
    committed: dict[TopicPartition, int]
    generation: int


class Assignment:
    """The partitions of one member and where each stands. Used by the loop's thread.

    Args:
        cluster: where the topics are.
        consumer: the member.
        task: owns the state.
        instance_id: the member's static name.
        committed_s: how long to wait for stable committed offsets.
        stood_still_s: who was not polled for longer and has lost its partitions ends: it may have a successor of the same name.
        clock: monotonic seconds.
        sleep: how to wait.
        fault: see `loop`.
    """

    def __init__(
        self,
        cluster: Cluster,
        consumer: Consumer,
        task: Task,
        *,
        instance_id: str,
        committed_s: float,
        stood_still_s: float,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        fault: Fault = no_fault,
    ) -> None:
        self.held: list[int] = []
        """The partitions whose state the task holds, or is restoring."""
        self.changed = False
        """The assignment changed and nobody has acted on it yet."""
        self.positions: dict[TopicPartition, int] = {}
        """Next offset to read of each assigned partition."""
        self.committed: dict[TopicPartition, int] = {}
        """Next offset committed, -1 for nothing."""
        self.restoring = False
        self.stop: Stop | None = None
        self._cluster = cluster
        self._consumer = consumer
        self._task = task
        self._instance_id = instance_id
        self._committed_s = committed_s
        self._stood_still_s = stood_still_s
        self._clock = clock
        self._polled_s = clock()
        self._sleep = sleep
        self._fault = fault
        self._assigned: list[TopicPartition] = []
        # Something was revoked and the next assignment has not come: what is kept may still be of use.
        self._between = False
        self._kept: _Kept | None = None
        self._generation = -1
        self._rebalances = metrics.counter("execpos_rebalances_total")
        self._assigned_partitions = metrics.gauge("execpos_assigned_partitions")
        self._restore_seconds = metrics.histogram("execpos_restore_seconds")

    # --- what the group says; called inside the consumer's polls --------------------------------------------------------------------------

    def on_assign(self, tps: list[TopicPartition]) -> None:
        """Note what is this member's now; `take_over` follows."""
        self._assigned = sorted(tps)
        self._between = False
        self.changed = True
        self._rebalances.inc()
        self._fault("assigned")

    def on_revoke(self, tps: list[TopicPartition]) -> None:
        """Stop working on what was assigned, and keep its state for the next assignment."""
        del tps
        if self.held and not self.restoring and self._kept is None:
            self._kept = _Kept(tuple(self.held), dict(self.committed), self._generation)
            self.held = []
        self._forget()

    def on_lost(self, tps: list[TopicPartition]) -> None:
        """Forget everything: others may have worked on it already.

        Raises:
            Fenced: nothing ran here for so long that a supervisor may have started a successor; to join again would end that one.
        """
        del tps
        self.let_go()
        self._forget()
        still_s = self._clock() - self._polled_s
        if still_s > self._stood_still_s:
            raise Fenced(
                f"{self._instance_id} stood still for {still_s:.0f} s and lost its partitions meanwhile",
                hint="was the process or the machine suspended? The supervisor starts this one again",
            )

    def _forget(self) -> None:
        self._assigned = []
        self._between = True
        self.changed = True
        if not self.restoring:
            self.drop()

    # --- calls ----------------------------------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> Message | None:
        """Return the next record; a failure that passes is logged and None.

        Raises:
            Fenced: another process joined under this name, or may have while this one stood still.
            DependencyError: Kafka refuses.
        """
        try:
            return self._consumer.poll(timeout_s)
        except KafkaException as error:
            failure = KafkaFailure(error, "consume")
            if failure.action is not Action.RETRY:
                raise self.refused(failure) from error
            _log.warning("consumer_failed", reason=failure.what)
            return None
        finally:
            self._polled_s = self._clock()

    def take_over(self) -> None:
        """Restore what was assigned and was not here before, and start reading it. Blocks; an interruption leaves `changed` set.

        Raises:
            ContractError: the inputs did not land together, or records that were not processed are gone.
            Fenced, DependencyError: see `poll`.
        """
        self.changed = False
        self.drop()
        if self._between:
            return
        assigned = list(self._assigned)
        partitions = self._co_located(assigned)
        _log.info("assignment_changed", instance=self._instance_id, partitions=partitions)
        if not partitions:
            self.let_go()
            return
        started_s = self._clock()
        self.restoring = True
        try:
            kept = self._restore(assigned, partitions)
        except RestoreInterrupted as reason:
            _log.info("restore_interrupted", partitions=partitions, reason=reason.what)
            self.restoring = False
            self.drop()
            self.changed = True
            return
        except KafkaException as error:
            raise self.refused(KafkaFailure(error, "metadata")) from error
        finally:
            self.restoring = False
        took_s = self._clock() - started_s
        self._restore_seconds.observe(took_s)
        self._assigned_partitions.set(len(partitions))
        _log.info("restore_finished", partitions=partitions, kept=kept, seconds=round(took_s, 3))
        self._fault("resumed")

    def drop(self) -> None:
        """Let the task forget what it holds, but for what is kept."""
        held, self.held = self.held, []
        self.positions.clear()
        self.committed.clear()
        self._assigned_partitions.set(0)
        self._revoke(held)

    def let_go(self) -> None:
        """Let the task forget what is kept as well."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self._revoke(list(kept.partitions))

    def refused(self, failure: KafkaFailure) -> Fenced | DependencyError:
        """Return the error that ends the process after `failure`."""
        if failure.action is Action.FENCED:
            return Fenced(
                f"another process joined the group as {self._instance_id}: {failure.what}",
                hint="check that no two processes have one instance name",
            )
        return DependencyError(f"Kafka: {failure.what}", hint="check that the broker is up and reachable")

    # --- restoring ------------------------------------------------------------------------------------------------------------------------

    def _restore(self, assigned: list[TopicPartition], partitions: list[int]) -> list[int]:
        """Bring the task to the committed offsets of `partitions`; return those that needed no restore."""
        generation = self._consumer.generation()
        committed = self._stable_offsets(assigned)
        self._fault("committed_read")
        kept = self._still_good(partitions, committed, generation)
        self.held = partitions
        context = Restore(self._cluster, committed, self._keep_polled, self._clock)
        try:
            starts = self._starts(committed, context)
            missing = [partition for partition in partitions if partition not in kept]
            if missing:
                _log.info("restore_started", partitions=missing)
                self._task.restore(missing, context)
        finally:
            context.close()
        self._fault("restored")
        self._keep_polled()
        for tp, offset in starts.items():
            self._consumer.seek(tp, offset)
        self._consumer.resume(assigned)
        self.positions = starts
        self.committed = dict(committed)
        self._generation = generation
        return kept

    def _still_good(self, partitions: list[int], committed: dict[TopicPartition, int], generation: int) -> list[int]:
        """Return which partitions go on as they are; the task forgets everything else that was kept."""
        before, self._kept = self._kept, None
        if before is None:
            return []
        good: list[int] = []
        if generation == before.generation + 1:
            # Nobody else was given these in between, unless it is not the generation after: then even equal offsets would prove nothing.
            good = [
                partition
                for partition in before.partitions
                if partition in partitions
                and all(before.committed[tp] == offset for tp, offset in committed.items() if tp.partition == partition)
            ]
        self._revoke([partition for partition in before.partitions if partition not in good])
        return good

    def _revoke(self, partitions: list[int]) -> None:
        if partitions:
            self._task.revoke(partitions)
            self._fault("revoked")

    def _stable_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        deadline = Deadline(self._committed_s, self._clock)
        while True:
            try:
                # In short waits, so that the consumer stays polled between them.
                return self._consumer.committed(tps, deadline.at_most(5.0))
            except KafkaException as error:
                failure = KafkaFailure(error, "committed")
                if failure.action is not Action.RETRY or deadline.over():
                    raise self.refused(failure) from error
                _log.info("committed_offsets_awaited", reason=failure.what)
            self._keep_polled()
            self._sleep(_PAUSE_S)

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
        self.poll(0.0)
        if self.changed:
            raise RestoreInterrupted("the assignment changed during a restore")
        if self.stop is not None and self.stop.is_set():
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
