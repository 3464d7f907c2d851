"""StrategyRunner: each strategy gets its fills and orders, in order, and once where its store allows that."""

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Literal

from confluent_kafka import KafkaException

from execpos.client.cursor import Cursor, Store
from execpos.client.cuts import Cutter, FillNames
from execpos.client.link import Link
from execpos.client.notices import Notices
from execpos.client.stall import LOOK_S, REOPEN_LOOKS, Stall
from execpos.client.strategy import Delivery, Strategy
from execpos.client.view import PositionView
from execpos.codecs.avro import Decoder
from execpos.domain.events import FillEvent, OrderEvent
from execpos.errors import ContractError, DependencyError, Park, UsageError
from execpos.kafka.errors import described
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import Message, Span, Tail, TopicPartition
from execpos.telemetry.log import Logger

_log = Logger("client")

# How long a poll without records lasts: positions, halts and staleness are looked at in between.
_POLL_S = 0.02
# How long one question to Kafka may take, and the pause after one that failed.
_ANSWER_S = 30.0
_RETRY_S = 0.5
# One commit of the store for so many deliveries at most: a disk's flush costs milliseconds, repeating a batch after a kill costs more.
_BATCH = 500
# A cursor that moved past records of others only is written this often.
_IDLE_COMMIT_S = 1.0
# How far back the owner of a fill is known, so that a fill that moves is taken back: above the ledger's window of ten sessions.
_OWNERS_S = 7 * 86_400.0
# Owners kept in memory, of all registered strategies: above a week of a busy desk.
_OWNERS_MAX = 1_000_000

First = Literal["end", "begin"]


class StrategyRunner:
    """Delivers records of exec.fills and exec.orders to the strategies that they belong to, and tells them of halts and staleness.

    A strategy gets every revision of its fills, those of one account in the order of the ledger, and nothing that is not committed. How
    often is the store's word: `SqliteStore` exactly once together with what the handlers write there, `FileStore` at least once. A
    revision that moves a fill to another strategy is delivered to both.

    Args:
        link: the installation.
        strategies: with different ids.
        store: keeps how far the delivery is.
        view: a view that the caller has started; None: no positions, halts or staleness are told.
        accounts: account keys; None for all.
        first: where a runner without a cursor begins: with what comes from now on, or with everything that is kept (30 days).
    """

    def __init__(
        self,
        link: Link,
        strategies: Sequence[Strategy],
        store: Store,
        view: PositionView | None = None,
        accounts: Collection[str] | None = None,
        first: First = "end",
    ) -> None:
        self._strategies = {strategy.strategy_id: strategy for strategy in strategies}
        if len(self._strategies) != len(strategies) or not strategies:
            raise UsageError("a runner needs strategies, each with an id of its own")
        self._link = link
        self._store = store
        self._accounts = None if accounts is None else frozenset(accounts)
        self._first = first
        self._fills, self._orders = link.topic("fills"), link.topic("orders")
        self._fill = Decoder(FillEvent, link.writers[FillEvent])
        self._cutter = Cutter(link.writers)
        self._order = Decoder(OrderEvent, link.writers[OrderEvent])
        self._notices = None if view is None else Notices(view, self._strategies.values())
        # Fill id or order key -> the registered strategy that had its last revision.
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._topic_ids: dict[str, str] = {}
        self._offsets: dict[TopicPartition, int] = {}
        self.delivered = 0
        """Records handed to handlers since the start."""

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set; blocks, and calls every handler on this thread. Once.

        While Kafka is away it waits, and goes on where it was.

        Raises:
            ContractError: the cursor does not fit the topics: one was made anew, or records that were not delivered are gone.
            Fenced: another process uses this store.
            DependencyError: Kafka did not answer at the start, or a record cannot be read.
            Exception: what a handler raised; nothing of its batch counts as delivered.
        """
        try:
            self._load()
            while not stop.is_set():
                tail = self._tail()
                if tail is None:
                    stop.wait(_RETRY_S)
                    continue
                try:
                    self._deliver(tail, stop)
                finally:
                    tail.close()
        finally:
            if self._notices is not None:
                self._notices.close()
            self._store.close()

    # --- start -------------------------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        cluster = self._link.cluster
        cursor = self._store.load()
        count = cluster.partition_count(self._fills, _ANSWER_S)
        wanted = range(count) if self._accounts is None else sorted({partition_for(key.encode(), count) for key in self._accounts})
        tps = [TopicPartition(topic, number) for topic in (self._fills, self._orders) for number in wanted]
        marks = cluster.watermarks(tps, _ANSWER_S)
        self._topic_ids = cluster.topic_ids([self._fills, self._orders], _ANSWER_S)
        if cursor is not None and cursor.topic_ids != self._topic_ids:
            raise ContractError(
                f"the cursor is of other topics than {self._fills} and {self._orders} are now: they were made anew",
                hint="decide what the strategies hold, then begin with a new cursor",
            )
        for tp, (low, high) in marks.items():
            at = None if cursor is None else cursor.offsets.get(tp)
            if at is None:
                # A partition that is new to the cursor (another account) begins as a new runner does.
                at = high if self._first == "end" else low
            elif not low <= at <= high:
                raise ContractError(
                    f"the cursor is at {at} of {tp.topic} [{tp.partition}], which holds {low} to {high}: records were not delivered",
                    hint="decide what the strategies hold, then begin with a new cursor",
                )
            self._offsets[tp] = at
        self._read_owners()
        self._store.begin()
        self._commit()

    def _read_owners(self) -> None:
        """Read whose each fill and order was as far as it was delivered; nothing of that has to be kept on disk."""
        cluster, tps = self._link.cluster, list(self._offsets)
        begins = cluster.offsets_at(tps, round((time.time() - _OWNERS_S) * 1000), _ANSWER_S)
        spans = [Span(tp, begins[tp], end) for tp, end in self._offsets.items() if begins[tp] < end]
        if not spans:
            return
        reader = cluster.reader()
        try:
            for message in reader.read(spans, _ANSWER_S):
                if message.topic() == self._fills:
                    names = self._cut(message)
                    self._owner(names.fill_id, names.strategy_id)
                else:
                    order = self._read(message)
                    self._owner(_id(order), order.strategy_id)
        finally:
            reader.close()

    def _tail(self) -> Tail | None:
        try:
            return self._link.cluster.tail(self._offsets, _ANSWER_S)
        except (DependencyError, KafkaException) as error:
            _log.warning("kafka_awaited", reason=described(error) if isinstance(error, KafkaException) else str(error))
            return None

    # --- delivery ----------------------------------------------------------------------------------------------------------------------

    def _deliver(self, tail: Tail, stop: threading.Event) -> None:
        committed_s = looked_s = time.monotonic()
        moved = False
        stall = Stall(self._link.cluster, self._offsets)
        while not stop.is_set():
            try:
                messages = tail.poll(_POLL_S)
            except KafkaException as error:
                # Only Kafka's own: what a handler raises must not look like it.
                _log.warning("kafka_awaited", reason=described(error))
                return
            for at in range(0, len(messages), _BATCH):
                if self._batch(messages[at : at + _BATCH]):
                    committed_s, moved = time.monotonic(), False
                else:
                    moved = True
            if moved and time.monotonic() - committed_s >= _IDLE_COMMIT_S:
                self._store.begin()
                self._commit()
                committed_s, moved = time.monotonic(), False
            if self._notices is not None:
                self._notices.tell()
            if time.monotonic() - looked_s >= LOOK_S:
                looked_s = time.monotonic()
                if stall.look(tail) >= REOPEN_LOOKS:
                    _log.warning("reader_stalled", topics=(self._fills, self._orders))
                    return

    def _batch(self, messages: Sequence[Message]) -> bool:
        """Deliver some records and commit them together; return False when none was for a strategy here, and nothing was committed."""
        deliveries: list[tuple[Strategy, FillEvent | OrderEvent, Delivery]] = []
        for message in messages:
            tp = TopicPartition(message.topic(), message.partition())
            record = self._read(message)
            deliveries += self._addressed(record, tp, message.offset())
            self._offsets[tp] = message.offset() + 1
        if not deliveries:
            return False
        self._store.begin()
        try:
            for strategy, record, delivery in deliveries:
                if isinstance(record, FillEvent):
                    strategy.on_fill(record, delivery)
                else:
                    strategy.on_order(record, delivery)
            self._commit()
        except BaseException:
            self._store.rollback()
            raise
        self.delivered += len(deliveries)
        return True

    def _addressed(
        self, record: FillEvent | OrderEvent, tp: TopicPartition, offset: int
    ) -> list[tuple[Strategy, FillEvent | OrderEvent, Delivery]]:
        if self._accounts is not None and record.account not in self._accounts:
            return []
        name = _id(record)
        before = self._owner(name, record.strategy_id)
        found: list[tuple[Strategy, FillEvent | OrderEvent, Delivery]] = []
        if before is not None and before != record.strategy_id:
            found.append(
                (self._strategies[before], record, Delivery(tp.topic, tp.partition, offset, name, record.revision, withdrawn=True))
            )
        now = self._strategies.get(record.strategy_id)
        if now is not None:
            found.append((now, record, Delivery(tp.topic, tp.partition, offset, name, record.revision, withdrawn=False)))
        return found

    def _owner(self, name: str, strategy_id: str) -> str | None:
        """Return the registered strategy that had the revision before, and remember who has this one."""
        before = self._owners.pop(name, None)
        if strategy_id in self._strategies:
            self._owners[name] = strategy_id
            if len(self._owners) > _OWNERS_MAX:
                self._owners.popitem(last=False)
        return before

    def _read(self, message: Message) -> FillEvent | OrderEvent:
        decode = self._fill if message.topic() == self._fills else self._order
        try:
            return decode(message.value() or b"")
        except Park as error:
            raise _unreadable(message, error) from error

    def _cut(self, message: Message) -> FillNames:
        try:
            return self._cutter.fill(message.value() or b"")
        except (Park, IndexError) as error:
            raise _unreadable(message, error) from error

    def _commit(self) -> None:
        self._store.commit(Cursor(self._topic_ids, dict(self._offsets)))


def _unreadable(message: Message, error: Exception) -> DependencyError:
    """Return the error that ends a runner: to pass a record over would be a fill that a strategy never hears of."""
    where = f"{message.topic()} [{message.partition()}] at {message.offset()}"
    return DependencyError(f"{where} cannot be read: {error}", hint="a newer schema needs a runner that was started after it")


def _id(record: FillEvent | OrderEvent) -> str:
    return record.fill_id if isinstance(record, FillEvent) else record.order_key
