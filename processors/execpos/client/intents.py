"""IntentWriter: says who placed an order, so that its fills find their strategy."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaError

from execpos.client.link import Link
from execpos.codecs.avro import Encoder
from execpos.domain import ids
from execpos.domain.events import Intent
from execpos.domain.pipeline import check_intent
from execpos.errors import DependencyError, Park, UsageError
from execpos.kafka.deadline import Deadline
from execpos.kafka.ports import Message

# One wait for acknowledgements; also how soon another thread gets its turn meanwhile.
_WAIT_S = 0.05


class IntentWriter:
    """Writes intents, in order and without gaps, as soon as they are given. Any thread.

    An intent may come before or after the order's reports and fills: the ledger books at once and moves what was booked. So it is best
    written right after the broker has given the order its id, and a repeat does no harm.

    Args:
        link: the installation.
        wall_us: UTC in µs.
    """

    def __init__(self, link: Link, wall_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._topic = link.topic("intents")
        self._env = f"{link.env}|"
        self._encode = Encoder(Intent, link.ids[Intent])
        self._producer = link.cluster.idempotent_producer(f"{link.prefix}intents")
        self._wall_us = wall_us
        self._lock = threading.Lock()
        self._waiting = 0
        self._refused: list[str] = []
        self._closed = False

    @classmethod
    def open(cls, config_dir: Path | None = None) -> Self:
        """Return a writer to the installation that the configuration names. Blocks on the registry; errors as `Link.open`."""
        return cls(Link.open(config_dir, "intents"))

    def place(
        self,
        strategy_id: str,
        account: str,
        *,
        order_id: str = "",
        seqno: str = "",
        session_id: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Queue one intent and return its id; it is on its way, and certain only after `flush`. Does not block.

        The id is made of what the intent says, so the same call again is the same intent.

        Args:
            strategy_id: the owner.
            account: account key.
            order_id: the broker's id of the order; either it or `seqno` has to be given.
            seqno: the platform's number of the order.
            session_id: session in which the order was placed, as 2026-05-21D; by default that of now.
            tags: free text for the strategy's own use.

        Raises:
            UsageError: it names no order, no strategy, or another env's account.
            DependencyError: Kafka has refused an earlier one, or the queue is full because Kafka is away for long.
        """
        now_us = self._wall_us()
        session = session_id or ids.session_id(now_us)
        intent = Intent(
            intent_id=ids.join(session, order_id, seqno, strategy_id),
            account=account,
            strategy_id=strategy_id,
            session_id=session,
            order_id=order_id,
            seqno=seqno,
            tags=dict(tags or {}),
            created_ts=now_us,
        )
        if not account.startswith(self._env) or len(ids.split(account)) != 4:
            raise UsageError(f"account {account!r} is not env|market|broker_id|account_id of env {self._env[:-1]}")
        try:
            check_intent(intent)
        except Park as error:
            raise UsageError(str(error)) from error
        value = self._encode(intent)
        with self._lock:
            self._check()
            try:
                self._producer.produce(self._topic, -1, account.encode(), value, self._delivered)
            except BufferError as error:
                raise DependencyError("the queue of intents is full: Kafka takes none", hint="try again when Kafka is back") from error
            self._waiting += 1
            self._producer.poll(0)
        return intent.intent_id

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until every intent given so far is written and acknowledged by all replicas. Blocks.

        Raises:
            DependencyError: one was refused, or is still on its way when the time is up; those go on being tried.
        """
        deadline = Deadline(timeout_s)
        while True:
            with self._lock:
                self._producer.poll(deadline.at_most(_WAIT_S) if self._waiting else 0)
                self._check()
                waiting = self._waiting
            if not waiting:
                return
            if deadline.over():
                raise DependencyError(
                    f"{waiting} intents are not acknowledged after {timeout_s:.0f} s", hint="is Kafka up?", waiting=waiting
                )

    def close(self, timeout_s: float = 30.0) -> None:
        """Flush and let go. A second call does nothing; errors as `flush`."""
        if self._closed:
            return
        self._closed = True
        try:
            self.flush(timeout_s)
        finally:
            self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        del message
        self._waiting -= 1
        if error is not None:
            self._refused.append(error.str())

    def _check(self) -> None:
        if self._refused:
            raise DependencyError(
                f"Kafka refused {len(self._refused)} intents: {self._refused[0]}", hint="fills stay as they are attributed now"
            )
