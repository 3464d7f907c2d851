"""What others say on exec.control: a side input of the reconciler, with one partition and so not of its group.

It has no offsets in the transactions. Each account remembers the offset up to which it has heard; a restore reads the topic up to its end
and this watch began before that, so nothing is missed, and nothing older comes after something newer. What is heard is acted on at a tick.
A watch that cannot read is safe: a halt that was released stays a little longer, and an operator's own halt reaches readers without it.
"""

import threading
from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import KafkaException

from execpos.codecs.avro import Decoder
from execpos.domain import control
from execpos.domain.events import TradingControl
from execpos.errors import ExecposError, Park
from execpos.kafka.ports import Cluster, Tail, TopicPartition
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

OWN = "reconciler"
"""The source under which the reconciler itself speaks."""

# How late a release may be heard at most; far below what an operator notices.
_POLL_S = 0.1

# Longest wait for one answer about the topic.
_METADATA_S = 30.0

# After a failure the pauses double from the first to the last.
_FIRST_PAUSE_S = 0.5
_LAST_PAUSE_S = 10.0

# More scopes than an operator halts one by one.
_KEYS_MAX = 10_000

_OWN_KEYS = f"|{OWN}".encode()

_log = Logger("reconciler")


class Heard(NamedTuple):
    """A record and where it stands."""

    offset: int
    said: TradingControl


def is_own(key: bytes | None) -> bool:
    """Say whether a key of exec.control is the reconciler's own."""
    return (key or b"").endswith(_OWN_KEYS)


class Watch:
    """Follows exec.control on a thread of its own. `since` is for one other thread; it never blocks.

    Args:
        cluster: where the topic is.
        topic: full name of exec.control.
        decode: reader of its records.
    """

    def __init__(self, cluster: Cluster, topic: str, decode: Decoder[TradingControl]) -> None:
        self._cluster = cluster
        self._tp = TopicPartition(topic, 0)
        self._decode = decode
        self._next = 0
        # The newest record of each key that is not our own.
        self._newest: dict[bytes, Heard] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="controls", daemon=True)
        self._failures = metrics.counter("execpos_reconciler_control_failures_total")

    def begin(self) -> None:
        """Note the end of the topic as it is now: what is committed from here on is heard. Blocks; once, before any restore.

        Raises:
            KafkaException: Kafka is not reachable, or there is no such topic.
        """
        self._next = self._cluster.high_watermarks([self._tp], _METADATA_S)[self._tp]

    def start(self) -> None:
        """Begin to follow. Once, after `begin`."""
        self._thread.start()

    def close(self) -> None:
        """Stop; waits for the end of what is being read. A second call does nothing."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def since(self, account: str, offset: int) -> list[Heard]:
        """Return what stands at or past `offset` and concerns an account, in the order in which it was said."""
        if not self._newest:
            return []
        return sorted(
            heard for heard in list(self._newest.values()) if heard.offset >= offset and control.covers(heard.said.scope, account)
        )

    def look(self, tail: Tail, timeout_s: float) -> None:
        """Take in what was committed since the last call; waits up to `timeout_s` for it. Called by the thread."""
        for message in tail.poll(timeout_s):
            key, value = message.key() or b"", message.value()
            if is_own(key):
                continue
            if value is None:
                self._newest.pop(key, None)
            elif key in self._newest or len(self._newest) < _KEYS_MAX:
                self._take(key, value, message.offset())
        self._next = tail.position(self._tp)

    def open(self) -> Tail:
        """Return what reads from where `begin`, or the last look, ended. May block."""
        return self._cluster.tail({self._tp: self._next}, _METADATA_S)

    def _take(self, key: bytes, value: bytes, offset: int) -> None:
        try:
            self._newest[key] = Heard(offset, self._decode(value))
        except Park:
            _log.warning("record_unreadable", topic=self._tp.topic, partition=0, offset=offset)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                tail = self.open()
                try:
                    while not self._stop.is_set():
                        self.look(tail, _POLL_S)
                        pause_s = _FIRST_PAUSE_S
                finally:
                    tail.close()
            except (ExecposError, KafkaException) as error:
                self._failures.inc()
                _log.warning("controls_unavailable", reason=str(error).partition("\n")[0])
                self._stop.wait(pause_s)
                pause_s = min(pause_s * 2, _LAST_PAUSE_S)


Since = Callable[[str, int], list[Heard]]
"""(account, offset) → what others have said for it at or past that offset of exec.control."""
