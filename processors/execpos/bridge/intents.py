"""What the simulator's robot writes to exec.intents, as strategies do: they publish themselves and not through the bridge.

It stands here because the simulator itself knows no Kafka; only a run of the simulator uses it.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError

from execpos.brokers.sim.config import SimAccount, SimIntent
from execpos.codecs.avro import Encoder
from execpos.domain.events import Intent
from execpos.domain.ids import account_key, join, session_id
from execpos.errors import DependencyError, ExecposError
from execpos.kafka.ports import IdempotentProducer, Message

# How soon an intent is published after the simulated broker has it.
_PUMP_S = 0.02


def intent_record(env: str, intent: SimIntent) -> Intent:
    """Return the record of a simulated intent; its id is a function of what it says."""
    session = session_id(intent.created_us)
    return Intent(
        intent_id=join(session, intent.order_id, intent.seqno, intent.strategy_id),
        account=account_key(env, intent.account.market, intent.account.broker_id, intent.account.account_id),
        strategy_id=intent.strategy_id,
        session_id=session,
        order_id=intent.order_id,
        seqno=intent.seqno,
        tags={"source": "simulator"},
        created_ts=intent.created_us,
    )


class SimIntentWriter:
    """Publishes simulated intents. Used by the simulator's thread, and by another one only after that has ended."""

    def __init__(self, producer: IdempotentProducer, encoder: Encoder[Intent], topic: str, env: str) -> None:
        self._producer = producer
        self._encode = encoder
        self._topic = topic
        self._env = env
        self._error: KafkaError | None = None
        self.published = 0
        self.acknowledged = 0

    def __call__(self, intent: SimIntent) -> None:
        """Publish one intent; blocks while the producer's queue is full.

        Raises:
            DependencyError: an earlier one was refused.
        """
        record = intent_record(self._env, intent)
        key, value = record.account.encode(), self._encode(record)
        while True:
            self._producer.poll(0)
            self._check()
            try:
                self._producer.produce(self._topic, -1, key, value, self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self.published += 1
                return

    def finish(self, deadline_s: float) -> None:
        """Wait until all are acknowledged, until `deadline_s` (monotonic) at the latest, and let go.

        Raises:
            DependencyError: an intent was refused or is still on its way.
        """
        while self.acknowledged < self.published and time.monotonic() < deadline_s:
            self._producer.flush(0.5)
            self._check()
        self._producer.close()
        if self.acknowledged < self.published:
            raise DependencyError(f"{self.published - self.acknowledged} intents were not acknowledged in time", hint="is Kafka up?")

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        del message
        if error is None:
            self.acknowledged += 1
        else:
            self._error = error

    def _check(self) -> None:
        if self._error is not None:
            raise DependencyError(f"Kafka refused an intent: {self._error.str()}", hint="fills stay as they are attributed now")


class IntentPump:
    """Publishes what the strategies of a simulated broker wrote down, those of before its own start too, on a thread of its own.

    Intents that are there already are no harm: they are the same records.

    Args:
        fetch: returns the intents from a number on, as plain data; may raise while the simulated broker is away.
        writer: publishes them.
    """

    def __init__(self, fetch: Callable[[int], Sequence[Mapping[str, Any]]], writer: SimIntentWriter) -> None:
        self._fetch = fetch
        self._writer = writer
        self._next = 0
        self._error: ExecposError | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="strategies", daemon=True)
        self._thread.start()

    @property
    def acknowledged(self) -> int:
        """How many Kafka has."""
        return self._writer.acknowledged

    def finish(self, deadline_s: float) -> None:
        """Publish the last ones and wait until all are acknowledged, until `deadline_s` (monotonic) at the latest.

        Raises:
            DependencyError: an intent was refused or is still on its way.
        """
        self._stopping.set()
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        self._writer.finish(deadline_s)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stopping.wait(_PUMP_S):
                self._pump()
            self._pump()
        except ExecposError as error:
            self._error = error

    def _pump(self) -> None:
        try:
            found = self._fetch(self._next)
        except ExecposError:
            raise
        except Exception:  # noqa: BLE001 (a simulated broker that is away says so in many ways, and is asked again)
            return
        for fields in found:
            self._writer(_intent_of(fields))
            self._next += 1


def _intent_of(fields: Mapping[str, Any]) -> SimIntent:
    account = SimAccount(fields["market"], fields["broker_id"], fields["account_id"])
    return SimIntent(account, fields["strategy_id"], fields["order_id"], fields["seqno"], fields["created_us"])
