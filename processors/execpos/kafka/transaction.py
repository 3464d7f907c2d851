"""One transaction at a time, by the rules that make it exactly once with a client that lacks transactions of version 2.

- Offsets always, also when only a timer fired: a transaction without offsets is fenced by nobody. Fresh group metadata each time.
- Records first, then the offsets: the library registers partitions a millisecond after the first record, and that millisecond passes
  while the offsets are on their way (ADR 0016: 1 ms of 4). A zombie is refused at its offsets, and its records are aborted with them.
- A commit that timed out is resumed by commit alone. When its deadline is over, or the producer lost its state, the producer is thrown
  away, a new one of the same id ends what was open, and the group's committed offsets say which way it went.
- A producer whose commit was slow or had to be resumed is replaced before its next use: a late end-of-transaction could otherwise land in
  the next transaction. A new epoch shuts it out.
- Two producers alternate: the markers of one transaction are written while the next one runs.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from confluent_kafka import KafkaException

from execpos.errors import AbortTransaction, DependencyError, Fenced
from execpos.kafka.deadline import Clock, Deadline
from execpos.kafka.errors import Action, KafkaFailure, Phase
from execpos.kafka.ports import Cluster, Consumer, Fault, Output, TopicPartition, TransactionalProducer, no_fault
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

# Two hide the time in which the markers of a transaction are written; a third would find nothing left to hide.
SLOTS = 2

# Between two tries of a call: long enough not to spin, short against every limit below.
_PAUSE_S = 0.02

_log = Logger("kafka")


def _bounded(call: Callable[[float], None], deadline: Deadline) -> Callable[[], None]:
    """Return `call` with what is left of the deadline as its limit."""
    return lambda: call(deadline.remaining())


class TransactionLimits(NamedTuple):
    """How long each step may take, in seconds."""

    init_s: float = 60.0
    send_offsets_s: float = 5.0
    commit_s: float = 20.0
    abort_s: float = 10.0
    # The broker's default pause between a link's loss and its repair is below this; a commit above it may have been sent twice.
    slow_commit_s: float = 5.0
    decide_s: float = 60.0
    # Who has taken longer than this for one transaction may have missed its session, and then have a successor, whom taking the
    # transactional id back would end. Below the session time-out, and above commit_s: a commit in doubt is decided before.
    stood_still_s: float = 25.0


def within_session(session_s: float) -> TransactionLimits:
    """Return limits that fit a session time-out: a commit is given up, and a long pause noticed, before the session can be over."""
    return TransactionLimits(commit_s=session_s * 0.6, stood_still_s=session_s * 0.8)


class Transactions:
    """Runs transactions on alternating producers. Used by one thread.

    Args:
        cluster: where to write.
        consumer: the member whose offsets go into the transactions.
        id_prefix: the transactional ids are this with the slot's number behind.
        limits: how long each step may take.
        clock: monotonic seconds.
        sleep: how to wait between two tries.
        fault: called at each step.
    """

    def __init__(
        self,
        cluster: Cluster,
        consumer: Consumer,
        id_prefix: str,
        *,
        limits: TransactionLimits | None = None,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        fault: Fault = no_fault,
    ) -> None:
        self._cluster = cluster
        self._consumer = consumer
        self._id_prefix = id_prefix
        self._limits = limits or TransactionLimits()
        self._clock = clock
        self._sleep = sleep
        self._fault = fault
        self._producers: list[TransactionalProducer | None] = [None] * SLOTS
        self._slot = 0
        self._began_s = 0.0
        transactions = metrics.counter("execpos_transactions_total")
        self._committed_total = transactions.labels("committed")
        self._aborted_total = transactions.labels("aborted")
        self._seconds = metrics.histogram("execpos_transaction_seconds")

    def init(self) -> None:
        """Take over all transactional ids: fence older holders, end what they left open. Blocks until done.

        Raises:
            Fenced: another instance took them over meanwhile.
            DependencyError: not done within the limit.
        """
        # At once: each waits half a second, for a timer of the client library.
        with ThreadPoolExecutor(SLOTS, "init") as pool:
            for _ in pool.map(self._producer, range(SLOTS)):
                pass

    def run(self, offsets: Mapping[TopicPartition, int], before: Mapping[TopicPartition, int], work: Callable[[Output], None]) -> None:
        """Run `work` in a transaction with `offsets` and commit it; a normal return means committed. Blocks within the limits.

        Args:
            offsets: the next offsets of the group, never empty.
            before: what is committed for the same partitions now, -1 for nothing; decides a commit in doubt. When none of them
                moves (only a timer fired) nothing can decide it.
            work: writes the records.

        Raises:
            AbortTransaction: nothing of it happened; the same may be tried again.
            Fenced: another instance owns this identity.
            DependencyError: Kafka is not reachable, or the outcome cannot be known: restart, the restore finds out.
        """
        slot = self._slot
        self._began_s = started_s = self._clock()
        producer = self._producer(slot)
        self._fault("before_begin")
        try:
            self._call("begin", producer.begin, Deadline(self._limits.abort_s, self._clock))
            self._fault("after_begin")
            # Asked before there is work: who is no member now need not begin.
            metadata = self._consumer.group_metadata()
            try:
                work(producer.produce)
            except KafkaException as error:
                raise KafkaFailure(error, "produce") from error
            self._fault("before_send_offsets")
            deadline = Deadline(self._limits.send_offsets_s, self._clock)
            self._call("send_offsets", lambda: producer.send_offsets(offsets, metadata, deadline.remaining()), deadline)
            self._fault("after_send_offsets")
            self._fault("before_commit")
            self._commit(slot, producer)
        except KafkaFailure as failure:
            self._settle(slot, failure, offsets, before)
        except AbortTransaction as reason:
            self._abort(slot, reason.what)
            raise
        except Exception as error:
            self._abort(slot, type(error).__name__)
            raise
        self._committed_total.inc()
        self._seconds.observe(self._clock() - started_s)
        self._slot = (slot + 1) % SLOTS
        self._fault("after_commit")

    def close(self) -> None:
        """Let go of the producers without waiting; what is open is ended by the next owner or by its time-out."""
        for slot in range(SLOTS):
            self._discard(slot)

    def _commit(self, slot: int, producer: TransactionalProducer) -> None:
        """Commit, resuming a commit that timed out; a producer that was slow is not used again."""
        deadline = Deadline(self._limits.commit_s, self._clock)
        tries = self._call("commit", _bounded(producer.commit, deadline), deadline)
        self._check_stood_still(slot, "a commit")
        took_s = self._limits.commit_s - deadline.remaining()
        if tries > 1 or took_s > self._limits.slow_commit_s:
            _log.warning("producer_replaced", slot=slot, reason="slow commit", seconds=round(took_s, 3), tries=tries)
            self._discard(slot)

    def _settle(
        self, slot: int, failure: KafkaFailure, offsets: Mapping[TopicPartition, int], before: Mapping[TopicPartition, int]
    ) -> None:
        """After a failed call: return if it committed all the same, raise otherwise."""
        if failure.action is Action.FENCED:
            raise self._fenced(slot, failure.what) from failure
        if failure.action is Action.QUIT:
            self._discard(slot)
            raise DependencyError(f"Kafka refused the transaction: {failure.what}", hint="see the broker's log") from failure
        if failure.phase != "commit" or failure.action is Action.ABORT:
            self._abort(slot, failure.what)
            if failure.phase in {"produce", "send_offsets", "commit"}:
                # A record that was refused leaves a hole in the sequence, on which the next transaction of this producer would fail; and
                # records are on their way while the offsets are sent.
                self._discard(slot)
            raise AbortTransaction(failure.what, code=failure.code, phase=failure.phase) from failure
        if self._in_doubt(slot, failure, offsets, before):
            return
        self._count_abort(slot, failure.what)
        raise AbortTransaction(failure.what, code=failure.code, phase=failure.phase) from failure

    def _fenced(self, slot: int, cause: str) -> Fenced:
        """Let go of the producer and return the error that says why nobody may use its id here any more."""
        self._discard(slot)
        return Fenced(
            f"another instance has taken over {self._id_prefix}{slot}, or this one stood still past its time-out",
            hint="check that no two processes have one instance name; the supervisor starts this one again",
            cause=cause,
        )

    def _check_stood_still(self, slot: int, cause: str) -> None:
        """Quit rather than take an id back after a pause in which another instance may have taken it.

        Raises:
            Fenced: the transaction began longer ago than `stood_still_s`.
        """
        if self._clock() - self._began_s > self._limits.stood_still_s:
            raise self._fenced(slot, cause)

    def _in_doubt(
        self, slot: int, failure: KafkaFailure, offsets: Mapping[TopicPartition, int], before: Mapping[TopicPartition, int]
    ) -> bool:
        """Find out whether a commit without an answer happened: end it by a new producer, then read the committed offsets."""
        _log.warning("transaction_in_doubt", slot=slot, reason=failure.what)
        self._check_stood_still(slot, failure.what)
        self._discard(slot)
        self._producer(slot)
        deadline = Deadline(self._limits.decide_s, self._clock)
        found: dict[TopicPartition, int] = {}

        def read_back() -> None:
            found.update(self._consumer.committed(list(offsets), deadline.remaining()))

        try:
            self._call("committed", read_back, deadline)
        except KafkaFailure as unread:
            raise DependencyError(f"the outcome of a commit is unknown: {unread.what}", hint="restart: the restore finds out") from unread
        moved = {tp for tp in offsets if offsets[tp] != before[tp]}
        if moved and all(found[tp] == offsets[tp] for tp in moved):
            return True
        if moved and all(found[tp] == before[tp] for tp in moved):
            return False
        raise DependencyError(
            "the outcome of a commit is unknown: the committed offsets say neither yes nor no",
            hint="restart: the restore finds out",
            cause=failure.what,
        ) from failure

    def _abort(self, slot: int, reason: str) -> None:
        """Abort what is open; when that fails too, a new producer of the same id ends it."""
        self._count_abort(slot, reason)
        producer = self._producers[slot]
        if producer is None:
            return
        self._fault("before_abort")
        deadline = Deadline(self._limits.abort_s, self._clock)
        try:
            self._call("abort", _bounded(producer.abort, deadline), deadline)
        except KafkaFailure as failure:
            if failure.action is Action.FENCED:
                raise self._fenced(slot, failure.what) from failure
            self._check_stood_still(slot, failure.what)
            _log.warning("producer_replaced", slot=slot, reason=failure.what)
            self._discard(slot)
            # At once, not at its next turn: what it holds open blocks the readers, and its offsets block a restore.
            self._producer(slot)
        self._fault("after_abort")

    def _count_abort(self, slot: int, reason: str) -> None:
        self._aborted_total.inc()
        _log.warning("transaction_aborted", slot=slot, reason=reason)

    def _producer(self, slot: int) -> TransactionalProducer:
        """Return the producer of a slot, making it and taking over its id when there is none."""
        existing = self._producers[slot]
        if existing is not None:
            return existing
        deadline = Deadline(self._limits.init_s, self._clock)
        while True:
            made = self._cluster.transactional_producer(f"{self._id_prefix}{slot}")
            try:
                self._call("init", _bounded(made.init, deadline), deadline)
            except KafkaFailure as failure:
                made.close()
                if failure.action is Action.FENCED:
                    raise Fenced(f"{self._id_prefix}{slot} was taken over meanwhile", cause=failure.what) from failure
                if failure.action is Action.QUIT or deadline.over():
                    raise DependencyError(
                        f"transactional id {self._id_prefix}{slot} cannot be used: {failure.what}",
                        hint="check that Kafka is reachable and that this identity may write with this id",
                    ) from failure
                self._sleep(_PAUSE_S)
                continue
            self._producers[slot] = made
            return made

    def _discard(self, slot: int) -> None:
        producer, self._producers[slot] = self._producers[slot], None
        if producer is not None:
            producer.close()

    def _call(self, phase: Phase, call: Callable[[], None], deadline: Deadline) -> int:
        """Make a call, again while the failure says so and time is left; return how many tries it took."""
        tries = 0
        while True:
            tries += 1
            try:
                call()
            except KafkaException as error:
                failure = KafkaFailure(error, phase)
                if failure.action is not Action.RETRY or deadline.over():
                    raise failure from error
                self._sleep(_PAUSE_S)
            else:
                return tries
