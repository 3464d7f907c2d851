"""Failures as the client library raises them, for the twin to raise and for tests to plan."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from confluent_kafka import KafkaError, KafkaException

Call = Literal["init", "begin", "send_offsets", "produce", "commit", "abort", "committed", "poll", "read"]
"""What a planned failure strikes."""


def failure(code: int, text: str, *, fatal: bool = False, retriable: bool = False, abort: bool = False) -> KafkaException:
    """Return the exception that the library would raise, with its three flags."""
    return KafkaException(KafkaError(code, text, fatal=fatal, retriable=retriable, txn_requires_abort=abort))


def timed_out(text: str = "timed out") -> KafkaException:
    """Return what a call raises whose time is up."""
    return failure(KafkaError._TIMED_OUT, text, retriable=True)  # noqa: SLF001 (a public name of the library)


def fenced(text: str = "fenced by a newer producer") -> KafkaException:
    """Return what a producer raises whose transactional id was taken over."""
    return failure(KafkaError._FENCED, text, fatal=True)  # noqa: SLF001 (a public name of the library)


class Planned(NamedTuple):
    """A failure to come: `after_effect` says that the broker did what was asked all the same."""

    make: Callable[[], KafkaException]
    after_effect: bool = False
