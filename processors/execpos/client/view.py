"""PositionView: what is held now, in the memory of the process that asks."""

import itertools
import threading
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from execpos.client.book import DayPnl, Position
from execpos.client.freshness import Freshness, StaleReason
from execpos.client.intake import Intake, Shelves
from execpos.client.lane import Lane
from execpos.client.link import Day, Link, current_day
from execpos.client.stall import LOOK_S
from execpos.client.trading import Trading
from execpos.client.working import Working, WorkingOrder
from execpos.domain import control, ids
from execpos.domain.events import Mark, Market, PositionState
from execpos.domain.ids import NET
from execpos.errors import DependencyError
from execpos.kafka.deadline import Clock, Deadline
from execpos.telemetry.log import Logger

_log = Logger("client")

# What each lane reads. Positions have a consumer of their own: one fetch is on its way at a time, and with all topics in it a position
# often waited for the answer to an order or fill of its own transaction (0.1 to 0.3 ms at the median, up to 0.6 ms at the 90th percentile).
_LANES = (("positions", "progress", "heartbeats"), ("orders", "fills", "marks", "control", "progress", "heartbeats", "checkpoints"))

# How often a waiting caller looks whether time or a failure has ended its waiting.
_LOOK_S = 0.05
# How long the end waits for the thread: a poll, and a callback that is at work.
_STOP_S = 10.0
# Progress and positions of one transaction become visible partition by partition; within a broker that takes well under a millisecond.
_SETTLE_S = 0.02
# A trading date is looked up no more often: it changes once a day.
_DATE_S = 1.0

OnChange = Callable[[PositionState], None]


class PositionView:
    """Positions, working orders, prices, trading control, and how old they are.

    `start` returns at once; threads read until `stop`. Every other method may be called from any thread, returns at once and touches no
    network; what it returns never changes afterwards. Two calls may lie on both sides of a commit. Only committed records are shown, each
    position only ever forwards. While Kafka is away the last data stays, and `freshness` says that it is old.

    Args:
        link: the installation.
        accounts: account keys to follow; None for all of the link's env.
        clock: monotonic seconds; another one in tests.
    """

    def __init__(self, link: Link, accounts: Collection[str] | None = None, clock: Clock = time.monotonic) -> None:
        self.link = link
        self._accounts = None if accounts is None else frozenset(accounts)
        self._clock = clock
        shelves = Shelves(link)
        self._book, self._orders, self._controls, self._seen = shelves.book, shelves.orders, shelves.controls, shelves.seen
        self._listeners: tuple[OnChange, ...] = ()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._begun = False
        self._dates: dict[str, tuple[float, Day]] = {}
        self._date_lock = threading.Lock()
        self._intakes = tuple(Intake(link, shelves, self._tell) for _ in _LANES)
        self._lanes = tuple(
            Lane(link, names, intake, self._accounts, self._note, clock) for names, intake in zip(_LANES, self._intakes, strict=True)
        )
        self._threads = (
            *(threading.Thread(target=lane.run, args=(self._stopping,), name="position-view", daemon=True) for lane in self._lanes),
            threading.Thread(target=self._watch, name="position-view-watch", daemon=True),
        )

    @classmethod
    def open(cls, config_dir: Path | None = None, accounts: Collection[str] | None = None) -> Self:
        """Return a view of the installation that the configuration names; not started. Blocks on the registry; errors as `Link.open`."""
        return cls(Link.open(config_dir, "position-view"), accounts)

    # --- life --------------------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to read, on threads of its own. Once; returns at once."""
        for thread in self._threads:
            thread.start()

    def wait_ready(self, timeout_s: float = 30.0) -> None:
        """Wait until everything that was committed at the start is readable. May be called again.

        Raises:
            DependencyError: that took longer, or the reading has failed; it says what stood in the way.
        """
        deadline = Deadline(timeout_s, self._clock)
        with self._changed:
            while not self.ready:
                failure = self._failure()
                if failure is not None:
                    raise DependencyError(f"the reading of positions has failed: {failure!r}") from failure
                if deadline.over():
                    trouble = next((f": {lane.trouble}" for lane in self._lanes if lane.trouble), "")
                    raise DependencyError(
                        f"positions are not readable after {timeout_s:.1f} s{trouble}", hint="is Kafka up, are topics applied?"
                    )
                self._changed.wait(deadline.at_most(_LOOK_S))

    def stop(self) -> None:
        """End the reading and wait for its threads, 10 s each at most. What was read stays readable, and is stale. May be called again."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive() and threading.current_thread() is not thread:
                thread.join(_STOP_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def ready(self) -> bool:
        """Everything that was committed at the start is readable; for closes it does not wait."""
        return all(lane.ready.is_set() for lane in self._lanes)

    @property
    def unreadable(self) -> int:
        """How many records could not be read; their accounts are stale until this process is started anew."""
        return sum(intake.unreadable for intake in self._intakes)

    # --- reading -----------------------------------------------------------------------------------------------------------------------

    def position(self, account: str, symbol: str, book: str, strategy_id: str) -> Position | None:
        """Return one strategy's position; None when there never was one."""
        state = self._book.row(ids.position_key(account, symbol, book, strategy_id))
        return None if state is None else self._book.position(state, self._day(account))

    def net(self, account: str, symbol: str, book: str) -> Position | None:
        """Return the net position of all strategies, as the broker holds it; None when there never was one."""
        return self.position(account, symbol, book, NET)

    def positions(self, account: str | None = None, strategy_id: str | None = None) -> tuple[Position, ...]:
        """Return every position, flat ones too, of one account or all and of one strategy (`*` for NET) or all, NET included.

        Rows whose symbol or book is `*` hold no position: they carry the quality of a whole account or symbol.
        """
        return tuple(
            self._book.position(state, self._day(state.account))
            for state in self._book.rows(account)
            if strategy_id is None or state.strategy_id == strategy_id
        )

    def day_pnl(self, account: str) -> DayPnl:
        """Return what all strategies of an account together have gained since the last close; `missing` in it says what is not known.

        Its rows are read one after the other, so a commit may lie between two of them.
        """
        return self._book.day_pnl(account, self._day(account))

    def quality(self, account: str, symbol: str, book: str) -> str:
        """Return how good NET of a key is, marks on its symbol and account included; CONFIRMED when nothing was ever said of it."""
        state = self._book.row(ids.position_key(account, symbol, book, NET))
        return self._book.quality(account, symbol, "CONFIRMED" if state is None else state.quality)

    def state(self, account: str, symbol: str, book: str, strategy_id: str = NET) -> PositionState | None:
        """Return the record of one row, without anything computed from it: the quickest reading."""
        return self._book.row(ids.position_key(account, symbol, book, strategy_id))

    def open_orders(
        self, account: str | None = None, symbol: str | None = None, strategy_id: str | None = None
    ) -> tuple[WorkingOrder, ...]:
        """Return the orders that may still fill, reported within the last `client.orders_within_s`."""
        return tuple(
            order
            for order in self._orders.orders(account)
            if (symbol is None or order.event.symbol == symbol) and (strategy_id is None or order.event.strategy_id == strategy_id)
        )

    def working(self, account: str, symbol: str, book: str, strategy_id: str = NET) -> Working:
        """Return what is left of working orders on each side; orders placed and not yet reported are not among them."""
        return self._orders.working(account, symbol, book, strategy_id)

    def mark(self, account: str, symbol: str) -> Mark | None:
        """Return the last price of a symbol in the account's market; None when there is none."""
        return self._book.mark(account, symbol)

    def accounts(self) -> tuple[str, ...]:
        """Return the keys of all accounts of which anything was read."""
        found = {*self._book.accounts(), *self._intakes[0].ageing.accounts()}
        return tuple(sorted(found if self._accounts is None else found & self._accounts))

    def freshness(self, account: str) -> Freshness:
        """Return whether the account's numbers may be acted upon now, and how old they are by the local clock."""
        reason: StaleReason = ""
        if self._stopping.is_set():
            reason = "stopped"
        elif self._failure() is not None:
            reason = "reader_failed"
        elif not self.ready:
            reason = "starting"
        elif any(lane.behind for lane in self._lanes):
            reason = "reader_behind"
        if reason:
            return Freshness(fresh=False, reason=reason, age_s=None, heartbeat=None)
        positions, orders = (lane.freshness(account) for lane in self._lanes)
        return positions if not positions.fresh or (orders.fresh and (positions.age_s or 0) >= (orders.age_s or 0)) else orders

    def trading(self, account: str, symbol: str = "", strategy_id: str = "", required: Sequence[str] | None = None) -> Trading:
        """Return what trading control allows in an account, narrowed to a symbol and a strategy where they are given.

        Args:
            account: account key.
            symbol: also what was said of this symbol.
            strategy_id: also what was said of this strategy.
            required: sources that have to have spoken lately; those of the configuration by default.
        """
        ages = self.link.ages
        wanted = ages.required_sources if required is None else required
        return self._controls.of(control.scopes(account, symbol, strategy_id), wanted, ages.control_age_s, self._clock())

    def wait_for(self, *, fill_id: str | None = None, offset: tuple[str, int, int] | None = None, timeout_s: float) -> bool:
        """Wait until a fill is in the rows, or the ledger has applied an input; return False when the time is up. Blocks.

        Args:
            fill_id: until the row of this fill shows it.
            offset: full topic, partition and offset of a record of exec.raw, exec.intents or exec.corrections; progress tells that, so it
                is noticed up to a second late.
            timeout_s: longest wait.
        """
        if (fill_id is None) == (offset is None):
            raise ValueError("give either fill_id or offset")
        done = partial(self._shows, fill_id) if fill_id is not None else partial(self._applied, *(offset or ("", 0, 0)))
        deadline = Deadline(timeout_s, self._clock)
        with self._changed:
            while not done():
                if deadline.over():
                    return False
                self._changed.wait(deadline.at_most(_LOOK_S))
        if offset is not None:
            time.sleep(_SETTLE_S)
        return True

    def on_change(self, call: OnChange) -> Callable[[], None]:
        """Call `call` with each newer state of a position, from now on and not for the start; return what ends it.

        It is called on the reading thread, after the state is readable. It must not block: nothing is read meanwhile, and the view gets
        stale. What it raises is logged and goes no further.
        """
        self._listeners = (*self._listeners, call)

        def end() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not call)

        return end

    # --- the reading threads -----------------------------------------------------------------------------------------------------------

    def step(self, timeout_s: float = 0.0) -> None:
        """Take in what has come, without a thread; for tests. The first call begins."""
        for lane in self._lanes:
            if not self._begun:
                lane.open()
            lane.step(timeout_s)
        self._begun = True

    def _watch(self) -> None:
        for lane in itertools.cycle(self._lanes):
            if self._stopping.wait(LOOK_S / len(self._lanes)):
                return
            try:
                lane.look()
            except BaseException as error:
                lane.failure = error
                raise

    def _note(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _tell(self, state: PositionState) -> None:
        for call in self._listeners:
            try:
                call(state)
            except Exception as error:  # noqa: BLE001 (a listener's mistake must not end the reading)
                _log.error("listener_failed", position_key=state.position_key, reason=repr(error))

    # --- conditions --------------------------------------------------------------------------------------------------------------------

    def _shows(self, fill_id: str) -> bool:
        if not self.ready or fill_id not in self._seen:
            return False
        applied = self._seen[fill_id]
        if applied is None:
            return True
        state = self._book.row(applied.position_key)
        return state is not None and any(one.topic == applied.topic and one.offset >= applied.offset for one in state.inputs)

    def _applied(self, topic: str, partition: int, offset: int) -> bool:
        return self.ready and self._intakes[0].ageing.applied(topic, partition) >= offset

    def _failure(self) -> BaseException | None:
        return next((lane.failure for lane in self._lanes if lane.failure is not None), None)

    def _day(self, account: str) -> Day:
        market: Market = "F" if account.split("|", 2)[1] == "F" else "S"
        calendar = self.link.calendar
        if calendar is None:
            return Day(self._book.newest_date(market))
        now_s = self._clock()
        known = self._dates.get(market)
        if known is None or now_s - known[0] > _DATE_S:
            # Its tables fill a memo, which one thread at a time may do.
            with self._date_lock:
                known = (now_s, current_day(calendar, market))
            self._dates[market] = known
        return known[1]
