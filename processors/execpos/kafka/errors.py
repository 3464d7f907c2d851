"""What a failure of the client library asks for, in one table.

The order of the tests matters: after a fatal error an abort answers "conflict, retriable", so a loop that looks at `retriable` first never
ends. A failure without any flag is fatal: the library does not know what happened, so neither do we.
"""

from enum import Enum
from typing import Literal

from confluent_kafka import KafkaError, KafkaException

from execpos.errors import ExecposError, Retry

Phase = Literal["init", "begin", "send_offsets", "produce", "commit", "abort", "committed", "consume", "metadata"]
"""The call that failed."""


class Action(Enum):
    """What to do about a failure."""

    RETRY = "retry"
    """Make the same call again, until the deadline."""

    ABORT = "abort"
    """Abort the transaction, roll back, offer the same records again."""

    REPLACE = "replace"
    """Throw the producer away and make a new one; what it had open is decided by the committed offsets."""

    FENCED = "fenced"
    """Another instance owns this identity: end, write nothing more, do not try to abort."""

    QUIT = "quit"
    """End the process."""


class RestoreInterrupted(Retry):
    """The assignment changed during a restore; what was restored so far is to be forgotten."""


# Somebody else initialised the same transactional id, or joined with the same group.instance.id.
_FENCED = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 (the library's public names of its local errors begin with an underscore)
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
    }
)

# The group moved on without this member; a rebalance follows, after which it may or may not own the partitions.
_GROUP_MOVED = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)

# The library's own state does not fit the call: the transaction was ended behind its back. A new producer finds out.
_STATE_LOST = frozenset(
    {
        KafkaError.INVALID_TXN_STATE,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.UNKNOWN_PRODUCER_ID,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError._STATE,  # noqa: SLF001 (as above)
        KafkaError._CONFLICT,  # noqa: SLF001 (as above)
    }
)

# Waiting helps: the link, a coordinator that moves, a broker that restarts.
_TRANSIENT = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001 (as above)
        KafkaError._TRANSPORT,  # noqa: SLF001 (as above)
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 (as above)
        KafkaError._WAIT_COORD,  # noqa: SLF001 (as above)
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001 (as above)
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 (as above)
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 (as above)
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NETWORK_EXCEPTION,
    }
)


def kafka_error(error: KafkaException | KafkaError) -> KafkaError:
    """Return the error inside an exception of the client library."""
    if isinstance(error, KafkaError):
        return error
    inner = error.args[0] if error.args else None
    return inner if isinstance(inner, KafkaError) else KafkaError(KafkaError._FAIL, str(error))  # noqa: SLF001 (as above)


def classify(error: KafkaException | KafkaError, phase: Phase) -> Action:
    """Return what to do about `error`, raised by the call named `phase`. A function of its arguments alone."""
    inner = kafka_error(error)
    code = inner.code()
    if code == KafkaError.FENCED_INSTANCE_ID:
        # In a consumer it is final. In a transaction the library calls it abortable, but the consumer says the same a moment later.
        return Action.FENCED
    if inner.fatal():
        return Action.FENCED if code in _FENCED else Action.REPLACE if code in _STATE_LOST else Action.QUIT
    if inner.txn_requires_abort():
        return Action.ABORT
    return _unflagged(inner, phase)


def _unflagged(inner: KafkaError, phase: Phase) -> Action:
    """Decide where the library says neither fatal nor abort."""
    code = inner.code()
    if code in _GROUP_MOVED:
        return Action.RETRY if phase in {"committed", "consume"} else Action.ABORT
    if code in _FENCED:
        return Action.FENCED
    if code in _STATE_LOST:
        return Action.REPLACE
    return Action.RETRY if inner.retriable() or code in _TRANSIENT else Action.QUIT


def described(error: KafkaException | KafkaError) -> str:
    """Return name and text of an error, for a message."""
    inner = kafka_error(error)
    return f"{inner.name()}: {inner.str()}"


class KafkaFailure(ExecposError):
    """A failure of the client library together with what it asks for; stays inside `execpos.kafka`."""

    def __init__(self, error: KafkaException | KafkaError, phase: Phase) -> None:
        super().__init__(f"{phase} failed: {described(error)}", code=kafka_error(error).name(), phase=phase)
        self.action = classify(error, phase)
        self.phase = phase
        self.code = kafka_error(error).code()
