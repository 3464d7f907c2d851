"""Feeds records of every topic to what keeps them; during the start only the newest of each key is decoded.

A position or an order may stand a thousand times in a topic that was not compacted lately. Decoding the last one alone makes the start as
quick as the reading.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from execpos.client.book import Book
from execpos.client.closes import Closes
from execpos.client.cuts import Cutter
from execpos.client.freshness import Ageing
from execpos.client.link import Link
from execpos.client.trading import Controls
from execpos.client.working import ANY_BOOK, Orders
from execpos.codecs.avro import Decoder
from execpos.domain.events import BridgeHeartbeat, FillEvent, Mark, OrderEvent, PositionSnapshot, PositionState, Progress, TradingControl
from execpos.domain.ids import position_key
from execpos.errors import Park
from execpos.kafka.ports import Message
from execpos.telemetry.log import Logger

_log = Logger("client")

# Fills that `wait_for` can be asked about: some days of a busy desk, 100 bytes each.
_SEEN_MAX = 200_000

BY_ACCOUNT = frozenset({"positions", "orders", "fills", "progress", "heartbeats", "checkpoints"})
"""Topics whose partition is that of the account; others are read whole."""

DATED = frozenset({"orders", "fills"})
"""Topics of which a start reads the last `client.orders_within_s` only."""

CLOSES = frozenset({"checkpoints"})
"""Topics of which a start reads the last `Ages.closes_within_s` only, and for which it does not wait."""

Changed = Callable[[PositionState], None]


class Applied(NamedTuple):
    """Where a fill came from, and the row that has to show it."""

    position_key: str
    topic: str
    offset: int


class Shelves:
    """Everything that a view keeps; each shelf is written by the one lane that reads its topics.

    Args:
        link: tells the book of an order.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self.closes = Closes(Cutter(link.writers), Decoder(PositionSnapshot, link.writers[PositionSnapshot]))
        self.book = Book(self.closes)
        self.orders = Orders(self._book_of)
        self.controls = Controls()
        self.seen: OrderedDict[str, Applied | None] = OrderedDict()
        """Fill id -> where it came from; None for one that was there before the start."""

    def _book_of(self, event: OrderEvent) -> str:
        if self._link.instruments is None:
            return ANY_BOOK
        try:
            return self._link.instruments.book(event.market, event.order_cond)
        except Park:
            return ANY_BOOK


class Intake:
    """Applies the messages of one lane. One thread.

    Args:
        link: decoders and env.
        shelves: where they go.
        changed: called after a newer state of a position is readable; not for the start.
    """

    def __init__(self, link: Link, shelves: Shelves, changed: Changed) -> None:
        self.ageing = Ageing(link.ages)
        self.unreadable = 0
        self._book, self._orders, self._controls, self._seen = shelves.book, shelves.orders, shelves.controls, shelves.seen
        self._closes = shelves.closes
        self._link = link
        self._env = f"{link.env}|"
        self._changed = changed
        self._position = Decoder(PositionState, link.writers[PositionState])
        self._order = Decoder(OrderEvent, link.writers[OrderEvent])
        self._cut = Cutter(link.writers)
        self._fill = Decoder(FillEvent, link.writers[FillEvent])
        self._progress = Decoder(Progress, link.writers[Progress])
        self._heartbeat = Decoder(BridgeHeartbeat, link.writers[BridgeHeartbeat])
        self._mark = Decoder(Mark, link.writers[Mark])
        self._control = Decoder(TradingControl, link.writers[TradingControl])
        self._backlog: Backlog | None = Backlog()
        self._starting = True
        self._take = {
            link.topic("positions"): self._take_position,
            link.topic("orders"): self._take_order,
            link.topic("fills"): self._take_fill,
            link.topic("progress"): self._take_progress,
            link.topic("heartbeats"): self._take_heartbeat,
            link.topic("marks"): self._take_mark,
            link.topic("control"): self._take_control,
            link.topic("checkpoints"): self._take_checkpoint,
        }
        # What cannot be read in these leaves no position, order or fill wrong.
        self._beside = {link.topic(name) for name in ("marks", "control", "progress", "checkpoints")}

    def take(self, message: Message, since_s: float | None, now_s: float) -> None:
        """Apply one record; one that cannot be read is counted, logged, and makes its account stale.

        Args:
            message: the record.
            since_s: it was written at this moment of the local clock or later; None: nobody knows when.
            now_s: local monotonic clock.
        """
        try:
            self._take[message.topic()](message, since_s, now_s)
        except (Park, IndexError, ValueError) as error:
            self._unread(message, error)

    def finish_start(self) -> None:
        """Decode what the backlog came down to; from here on each record counts at once. Once."""
        backlog, self._backlog = self._backlog, None
        if backlog is None:
            return
        for message in (*backlog.positions.values(), *backlog.orders.values(), *backlog.fills.values()):
            self.take(message, None, 0.0)
        self._starting = False

    def _unread(self, message: Message, error: Exception) -> None:
        self.unreadable += 1
        text = (message.key() or b"").decode(errors="replace")
        account = "|".join(text.split("|")[:4])
        _log.error("record_unreadable", topic=message.topic(), partition=message.partition(), offset=message.offset(), reason=str(error))
        if message.topic() not in self._beside:
            self.ageing.put_broken(account, str(error))

    def _key(self, message: Message) -> str | None:
        """Return the key of a record of our env, else None."""
        key = (message.key() or b"").decode()
        return key if key.startswith(self._env) else None

    def _take_position(self, message: Message, since_s: float | None, now_s: float) -> None:
        del since_s, now_s
        key, value = self._key(message), message.value()
        if key is None:
            return
        if self._backlog is not None:
            self._backlog.positions[key] = message
        elif value is None:
            self._book.forget(key)
        else:
            state = self._position(value)
            if self._book.put(state) and not self._starting:
                self._changed(state)

    def _take_order(self, message: Message, since_s: float | None, now_s: float) -> None:
        del since_s, now_s
        value = message.value() or b""
        if self._key(message) is None:
            return
        if self._backlog is None:
            self._orders.put_order(self._order(value))
        else:
            self._backlog.orders[self._cut.order_key(value)] = message

    def _take_fill(self, message: Message, since_s: float | None, now_s: float) -> None:
        del since_s, now_s
        value = message.value() or b""
        if self._key(message) is None:
            return
        if self._backlog is not None:
            names = self._cut.fill(value)
            self._see(names.fill_id, None)
            self._backlog.fills[names.order_key] = message
            return
        fill = self._fill(value)
        self._orders.put_fill(fill)
        if fill.fill_id not in self._seen:
            key = position_key(fill.account, fill.symbol, fill.book, fill.strategy_id)
            # A void that came before its fill has no row to show it.
            self._see(fill.fill_id, Applied(key, fill.source_topic, fill.source_offset) if fill.quantity else None)

    def _see(self, fill_id: str, applied: Applied | None) -> None:
        self._seen[fill_id] = applied
        if len(self._seen) > _SEEN_MAX:
            self._seen.popitem(last=False)

    def _take_progress(self, message: Message, since_s: float | None, now_s: float) -> None:
        del now_s
        progress = self._progress(message.value() or b"")
        self.ageing.put_progress(progress, since_s)
        for account in progress.accounts:
            if account.closed_session:
                self._orders.close_session(account.account, account.closed_session)

    def _take_heartbeat(self, message: Message, since_s: float | None, now_s: float) -> None:
        value = message.value()
        if value is not None and self._key(message) is not None:
            self.ageing.put_heartbeat(self._heartbeat(value), since_s, now_s)

    def _take_mark(self, message: Message, since_s: float | None, now_s: float) -> None:
        del since_s, now_s
        key, value = self._key(message), message.value()
        if key is not None and value is not None:
            self._book.put_mark(key, self._mark(value))

    def _take_checkpoint(self, message: Message, since_s: float | None, now_s: float) -> None:
        del since_s, now_s
        if self._key(message) is not None:
            self._closes.take(message.value() or b"")

    def _take_control(self, message: Message, since_s: float | None, now_s: float) -> None:
        del now_s
        value = message.value()
        if value is None:
            self._controls.forget((message.key() or b"").decode())
        else:
            self._controls.put(self._control(value), since_s)


class Backlog:
    """The newest record of each position, each order, and each order's fills, as read so far."""

    def __init__(self) -> None:
        self.positions: dict[str, Message] = {}
        self.orders: dict[str, Message] = {}
        self.fills: dict[str, Message] = {}
