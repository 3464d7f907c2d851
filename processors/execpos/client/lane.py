"""One consumer of a view, on a thread of its own."""

import threading
import time
from collections.abc import Callable, Collection

from confluent_kafka import KafkaException

from execpos.client.freshness import Freshness
from execpos.client.intake import BY_ACCOUNT, CLOSES, DATED, Intake
from execpos.client.link import Link
from execpos.client.stall import BEHIND_LOOKS, REOPEN_LOOKS, Stall
from execpos.errors import ContractError, ExecposError
from execpos.kafka.deadline import Clock
from execpos.kafka.errors import described
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import Tail, TopicPartition
from execpos.telemetry.log import Logger

_log = Logger("client")

# How long a poll without records lasts; only the end of the thread waits for it, never a record.
_POLL_S = 0.05
# How long one question to Kafka may take, and the pause after one that failed.
_ANSWER_S = 10.0
_RETRY_S = 0.5


class Lane:
    """Reads some topics into an intake, from their beginning, for ever.

    The topics that date an account (progress, heartbeats) are among them. What a lane says of freshness was read by the consumer that also
    reads its numbers, so a lane that stands still gets stale.

    Args:
        link: the installation.
        names: topics, without prefix.
        intake: where records go.
        accounts: account keys to follow; None for all.
        read: called after records were taken in, and when the lane has got ready.
        clock: monotonic seconds.
    """

    def __init__(
        self, link: Link, names: Collection[str], intake: Intake, accounts: Collection[str] | None, read: Callable[[], None], clock: Clock
    ) -> None:
        self.ready = threading.Event()
        self.failure: BaseException | None = None
        self.trouble = ""
        self._link = link
        self._names = tuple(names)
        self._intake = intake
        self._accounts = accounts
        self._read_some = read
        self._clock = clock
        self._aged = {link.topic(name) for name in ("progress", "heartbeats", "control")}
        self._partitions = 1
        self._missing: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        self._tail: Tail | None = None
        self._stall: Stall | None = None
        self._reopen = threading.Event()
        self.behind = False
        """A partition has stood still below its end for some seconds."""

    def freshness(self, account: str) -> Freshness:
        """Return how good the account's numbers of this lane are."""
        return self._intake.ageing.of(account, partition_for(account.encode(), self._partitions), self._clock())

    def open(self) -> None:
        """Begin to read, or go on after a failure.

        Raises:
            DependencyError: Kafka does not answer.
            ContractError: a topic is missing.
        """
        link, cluster = self._link, self._link.cluster
        if not self._next:
            tps = self._followed()
            marks = cluster.watermarks(tps, _ANSWER_S)
            starts = {tp: marks[tp].low for tp in tps}
            for names, within_s in ((DATED, link.ages.orders_within_s), (CLOSES, link.ages.closes_within_s)):
                dated = [tp for tp in tps if tp.topic in {link.topic(name) for name in names}]
                starts |= cluster.offsets_at(dated, max(0, round((time.time() - within_s) * 1000)), _ANSWER_S)
            beside = {link.topic(name) for name in CLOSES}
            self._missing = {tp: marks[tp].high for tp in tps if tp.topic not in beside}
            self._next = starts
        self._stall = Stall(cluster, self._next)
        self._reopen.clear()
        self._tail = cluster.tail(self._next, _ANSWER_S)

    def step(self, timeout_s: float) -> None:
        """Take in what has come, waiting at most `timeout_s` for something; between `open` and `close`."""
        tail = self._tail
        assert tail is not None  # noqa: S101 (a mistake of the caller)
        messages = tail.poll(timeout_s)
        now_s = self._clock()
        take, aged = self._intake.take, self._aged
        for message in messages:
            topic = message.topic()
            take(message, tail.complete_s(TopicPartition(topic, message.partition())) if topic in aged else None, now_s)
        if not self.ready.is_set():
            self._note_start(tail)
        if messages:
            self._read_some()

    def look(self) -> None:
        """See whether reading stands still, and have another consumer tried if so; on a thread of its own, every `stall.LOOK_S`."""
        tail, stall = self._tail, self._stall
        looks = 0 if tail is None or stall is None else stall.look(tail)
        self.behind = looks >= BEHIND_LOOKS
        if looks >= REOPEN_LOOKS:
            _log.warning("reader_stalled", topics=self._names)
            self._reopen.set()

    def close(self) -> None:
        """Stop reading; `open` goes on here. A second call does nothing."""
        tail, self._tail = self._tail, None
        if tail is not None:
            self._next = {tp: tail.position(tp) for tp in self._next}
            tail.close()

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set; what Kafka refuses is tried again, anything else ends it and stands in `failure`."""
        try:
            while not stop.is_set():
                try:
                    self.open()
                    while not (stop.is_set() or self._reopen.is_set()):
                        self.step(_POLL_S)
                except (ExecposError, KafkaException) as error:
                    self.trouble = described(error) if isinstance(error, KafkaException) else str(error)
                    _log.warning("kafka_awaited", reason=self.trouble)
                    stop.wait(_RETRY_S)
                finally:
                    self.close()
        except BaseException as error:  # noqa: BLE001 (told to whoever asks: numbers that nobody renews must not look fresh)
            self.failure = error
            _log.error("reader_failed", reason=repr(error))

    def _followed(self) -> list[TopicPartition]:
        link, cluster = self._link, self._link.cluster
        topics = [link.topic(name) for name in self._names]
        found = cluster.describe(topics, _ANSWER_S)
        missing = [topic for topic in topics if topic not in found]
        if missing:
            raise ContractError(f"topic {', '.join(missing)} does not exist", hint="run `execpos topics apply`")
        self._partitions = found[link.topic("progress")].partitions
        wanted = set(range(self._partitions))
        if self._accounts is not None:
            wanted = {partition_for(account.encode(), self._partitions) for account in self._accounts}
        return [
            TopicPartition(link.topic(name), number)
            for name in self._names
            for number in (sorted(wanted) if name in BY_ACCOUNT else range(found[link.topic(name)].partitions))
        ]

    def _note_start(self, tail: Tail) -> None:
        self._missing = {tp: end for tp, end in self._missing.items() if tail.position(tp) < end}
        if not self._missing:
            self._intake.finish_start()
            self.ready.set()
            self._read_some()
