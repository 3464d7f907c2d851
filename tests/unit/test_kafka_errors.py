"""The error table, and the deadline that bounds every retry."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from execpos.kafka.deadline import Deadline
from execpos.kafka.errors import Action, KafkaFailure, Phase, classify, kafka_error
from execpos.kafka.memory.clock import VirtualClock

E = KafkaError

# code, flags (f fatal, a requires abort, r retriable), phase, what to do
TABLE: list[tuple[int, str, Phase, Action]] = [
    # Injected into the library by its mock cluster and seen to be raised so.
    (E.ILLEGAL_GENERATION, "a", "send_offsets", Action.ABORT),
    (E.UNKNOWN_MEMBER_ID, "a", "send_offsets", Action.ABORT),
    (E.STALE_MEMBER_EPOCH, "a", "send_offsets", Action.ABORT),
    (E.UNSTABLE_OFFSET_COMMIT, "a", "send_offsets", Action.ABORT),
    (E.FENCED_INSTANCE_ID, "a", "send_offsets", Action.FENCED),
    (E.TOPIC_AUTHORIZATION_FAILED, "a", "produce", Action.ABORT),
    (E._FENCED, "f", "commit", Action.FENCED),
    (E._FENCED, "f", "begin", Action.FENCED),
    (E.INVALID_TXN_STATE, "f", "commit", Action.REPLACE),
    (E.INVALID_TXN_STATE, "f", "abort", Action.REPLACE),
    (E.OUT_OF_ORDER_SEQUENCE_NUMBER, "f", "produce", Action.REPLACE),
    (E.OUT_OF_ORDER_SEQUENCE_NUMBER, "", "commit", Action.REPLACE),
    (E._TIMED_OUT, "r", "commit", Action.RETRY),
    (E._TIMED_OUT, "r", "init", Action.RETRY),
    (E._CONFLICT, "r", "begin", Action.REPLACE),
    (E._CONFLICT, "r", "abort", Action.REPLACE),
    # The flags decide in this order: fatal, abort, retriable.
    (E._TIMED_OUT, "far", "commit", Action.QUIT),
    (E._TIMED_OUT, "ar", "commit", Action.ABORT),
    (E.PRODUCER_FENCED, "far", "commit", Action.FENCED),
    # The group moved: inside a transaction it cannot commit, outside it is waited for.
    (E.REBALANCE_IN_PROGRESS, "", "send_offsets", Action.ABORT),
    (E.ILLEGAL_GENERATION, "", "consume", Action.RETRY),
    (E.UNSTABLE_OFFSET_COMMIT, "", "committed", Action.RETRY),
    # No flag at all is fatal, unless the code says that waiting helps.
    (E._TRANSPORT, "", "committed", Action.RETRY),
    (E._MAX_POLL_EXCEEDED, "", "consume", Action.RETRY),
    (E._AUTO_OFFSET_RESET, "", "consume", Action.QUIT),
    (E.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "", "init", Action.QUIT),
    (E.GROUP_AUTHORIZATION_FAILED, "", "consume", Action.QUIT),
    (E.MSG_SIZE_TOO_LARGE, "", "produce", Action.QUIT),
    (E.UNKNOWN, "", "commit", Action.QUIT),
]


@pytest.mark.parametrize(("code", "flags", "phase", "action"), TABLE)
def test_an_error_asks_for_what_the_table_says(code: int, flags: str, phase: Phase, action: Action) -> None:
    error = KafkaError(code, "text", fatal="f" in flags, retriable="r" in flags, txn_requires_abort="a" in flags)

    assert classify(error, phase) is action
    assert classify(KafkaException(error), phase) is action
    assert KafkaFailure(error, phase).action is action


def test_an_exception_without_an_error_of_the_library_is_fatal() -> None:
    odd = KafkaException("no code here")

    assert classify(odd, "commit") is Action.QUIT
    assert "no code here" in kafka_error(odd).str()


def test_a_failure_names_the_call_and_the_code() -> None:
    failure = KafkaFailure(KafkaError(E._TIMED_OUT, "too slow", retriable=True), "commit")

    assert failure.what == "commit failed: _TIMED_OUT: too slow"
    assert failure.fields == {"code": "_TIMED_OUT", "phase": "commit"}


def test_a_deadline_hands_out_what_is_left() -> None:
    clock = VirtualClock()
    deadline = Deadline(10.0, clock)
    clock.sleep(4.0)

    assert deadline.remaining() == 6.0
    assert deadline.at_most(5.0) == 5.0
    assert deadline.at_most(50.0) == 6.0
    assert not deadline.over()
    clock.sleep(6.5)
    assert deadline.over()
    assert deadline.remaining() == 0.0
