"""The simulated exchange: its own robot's orders, its own market, its own matching.

What happens here is a function of the configuration alone: not of how reports are delivered, nor of who asks for what. The robot is the
only one who can place orders: there is no way from outside to the simulated exchange, as there is none to a real one. Matching is plain: a
limit order fills, in parts, at the market's price once that has reached its limit; a market order fills at once, as far as it gets.
"""

from datetime import datetime, timedelta
from random import Random
from typing import Any, Protocol

import msgspec

from execpos.brokers.sim import payloads
from execpos.brokers.sim.config import TAIPEI, SimConfig, SimIntent, accounts
from execpos.brokers.sim.ids import Numbers, order_id
from execpos.brokers.sim.market import Instrument, instruments
from execpos.brokers.sim.orders import Fill, Order
from execpos.brokers.sim.robot import Robot

# Of what happens to a working order besides fills: cancel, refused cancel, price, quantity.
_CANCEL, _CANCEL_FAILED, _PRICE = 0.55, 0.65, 0.85
# Part of the robot's turns in which it changes an order instead of placing one.
_OPERATE = 0.2
# Part of the matches that fill all that is open.
_FILL_ALL = 0.35
# Part of the market orders of futures that are ROD, which the exchange refuses.
_MARKET_ROD = 0.125
# Part of the market orders that find somebody on the other side for everything.
_MARKET_FILLED = 0.7


class Report(msgspec.Struct, eq=False):
    """What the exchange says of an order or a match, at `at_us`. `label` names a refusal or, later, a fault of its delivery."""

    state: str
    payload: dict[str, Any]
    order: Order
    at_us: int
    fill: Fill | None = None
    label: str = ""
    delivered: bool = False


class Floor(Protocol):
    """Who listens to the exchange. Called in order, within `Exchange.step`."""

    def order(self, report: Report) -> None:
        """Hear of an order."""

    def deal(self, report: Report) -> None:
        """Hear of a match."""

    def bust(self, fill: Fill) -> None:
        """Hear that a match is taken back."""

    def intent(self, intent: SimIntent, order: Order, *, late: bool) -> None:
        """Hear what a strategy writes down: before its order's reports, or `late`, after its first fill."""

    def tick(self, instrument: Instrument, at_us: int) -> None:
        """Hear of a price."""


def trading_date(at_us: int, market: str) -> str:
    """Return the ISO date of the trading day that a moment belongs to: of futures, a night belongs to the next weekday."""
    local = datetime.fromtimestamp(at_us // 1_000_000, TAIPEI)
    day = local.date()
    minute = local.hour * 60 + local.minute
    if market == "F" and minute >= 14 * 60 + 45:
        day += timedelta(days=1)
    while day.weekday() > 4:
        day += timedelta(days=1)
    return day.isoformat()


class Exchange:
    """Trades as long as `step` is called. Not thread-safe; never blocks.

    Args:
        config: checked.
        floor: who hears of everything.
    """

    def __init__(self, config: SimConfig, floor: Floor) -> None:
        self.config = config
        self.accounts = accounts(config)
        self.now_us = config.start_us
        self._floor = floor
        # A game needs no unguessable numbers, but repeatable ones.
        self._rng = rng = Random(config.seed)  # noqa: S311
        self._random = rng.random
        self._instruments = instruments(config, rng)
        self._robot = Robot(config, self.accounts, self._instruments, rng)
        self._working: list[Order] = []
        self._by_symbol: dict[str, list[Order]] = {}
        self._deals = self._reports = 0
        self._failing: list[Order] = []
        self._dates = {"S": "", "F": ""}
        # First and last order number given out for trading days, and those that the present session may not give out again.
        self._used: list[tuple[set[str], int, int]] = []
        self._taken: list[tuple[int, int]] = []
        self._numbers = Numbers(Random())  # noqa: S311 (replaced below)
        self._session_first = self._numbers.last
        self.turn(config.start_us, f"{config.seed}:{config.start_us}")

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """What is traded here, with its prices now."""
        return (*self._instruments[0], *self._instruments[1])

    @property
    def working(self) -> tuple[Order, ...]:
        """Orders that can still be filled."""
        return tuple(self._working)

    def turn(self, start_us: int, numbers: str, *, night: bool = False) -> None:
        """Begin a session; open orders of the one before have expired, which nobody is told.

        Args:
            start_us: its first moment.
            numbers: where the numbers of orders and deals begin: equal texts give equal numbers. Empty to go on with those of now.
            night: only futures and options trade.
        """
        for order in tuple(self._working):
            order.cancelled += order.open
            self._leave_if_done(order)
        self._failing.clear()
        self.now_us = start_us
        before = set(self._dates.values())
        self._dates = {market: trading_date(start_us, market) for market in "SF"}
        self._used.append((before, self._session_first, self._numbers.last))
        if numbers:
            today = set(self._dates.values())
            # An order number names one order of a trading day: a night and the day after it are one for futures.
            self._taken = [(first, last) for days, first, last in self._used if days & today]
            self._numbers = Numbers(Random(numbers))  # noqa: S311 (as above)
        self._session_first = self._numbers.last
        self._robot.markets("F" if night else "SF")

    def step(self) -> None:
        """Let one thing happen: an order, a change of one, or a price with the matches it brings."""
        working = self._working
        behind = self._deals < self.config.deal_share * (self._deals + self._reports)
        if self._failing and self._random() < 0.1:
            self._fail(self._failing.pop(0))
        elif working and self._random() < (0.95 if behind else 0.05):
            self._trade(working[int(self._random() * len(working))])
        elif working and (len(working) >= self.config.working_max or self._random() < _OPERATE):
            self._operate(working[int(self._random() * len(working))])
        else:
            self._place()

    def _moment(self) -> int:
        """Move the clock on by about one step and return it: the time of the next thing that happens."""
        self.now_us += int(self.config.step_us * (0.5 + self._random()))
        return self.now_us

    # -- orders

    def _report(self, order: Order, label: str = "", **fields: object) -> None:
        self._reports += 1
        at_us = self._moment()
        payload = payloads.order_report(order, at_us, self._rng, **fields)  # type: ignore[arg-type]  # the names are checked by every run
        self._floor.order(Report("SORDER" if order.account.market == "S" else "FORDER", payload, order, at_us, label=label))

    def _place(self) -> None:
        order = self._robot.order()
        order.placed_us = self.now_us
        order.trading_date = self._dates[order.account.market]
        config, random = self.config, self._random
        if random() < config.reject_share:
            # The number is used up, though the report does not show it.
            status_id = order_id(self._seqno())
            self._report(order, "early_reject", op_code="88", op_msg="無此商品代碼", status_id=status_id)
            return
        futures = order.account.market == "F"
        if config.market_order_share and order.lot == "Common" and random() < config.market_order_share:
            order.price, order.price_type = 0, "MKT"
            order.time_in_force = "ROD" if futures and random() < _MARKET_ROD else "IOC"
        order.seqno = self._seqno()
        order.id = order_id(order.seqno)
        order.ordno = self._numbers.ordno(futures=futures)
        if self._robot.attribute(order):
            self._floor.intent(self._robot.intent(order, self._moment()), order, late=False)
        if order.price_type == "MKT" and order.time_in_force == "ROD":
            order.failure, order.cancelled = "9938", order.quantity
            self._report(order, "rejected", op_code="9938", op_msg="市價單不可為ROD", order_quantity=order.quantity)
            return
        self._report(order, order_quantity=order.quantity)
        order.place = len(self._working)
        self._working.append(order)
        self._by_symbol.setdefault(order.instrument.full_code, []).append(order)
        if order.price_type == "MKT":
            self._at_once(order)
        elif config.async_failure_share and random() < config.async_failure_share:
            self._failing.append(order)

    def _seqno(self) -> str:
        while True:
            number = self._numbers.seqno()
            if not any(first < int(number) <= last for first, last in self._taken):
                return number

    def _at_once(self, order: Order) -> None:
        """Fill a market order, and cancel what nobody took."""
        self._fill(order, everything=self._random() < _MARKET_FILLED)
        if left := order.open:
            order.cancelled += left
            self._report(order, op_type="Cancel", cancel_quantity=left)
        self._leave_if_done(order)

    def _fail(self, order: Order) -> None:
        """Let an accepted order fail after all, unless it has come to something."""
        if order.place < 0 or order.filled:
            return
        order.failure = "99Q9"
        order.cancelled += order.open
        self._report(order, "async_failure", op_type="Reject", op_code="99Q9", op_msg="可用餘額不足")
        self._leave_if_done(order)

    def _operate(self, order: Order) -> None:
        drawn = self._random()
        if drawn < _CANCEL:
            left = order.open
            order.cancelled += left
            self._report(order, op_type="Cancel", cancel_quantity=left)
        elif drawn < _CANCEL_FAILED:
            self._report(order, "failed_operation", op_type="Cancel", op_code="99Q9", op_msg="取消失敗", order_quantity=order.open)
        elif drawn < _PRICE and order.lot != "IntradayOdd":
            price = order.instrument.moved(order.instrument.price, int(self._random() * 5) - 2)
            self._report(order, op_type="UpdatePrice", modified_price=price, order_quantity=order.open)
            order.price = price
        elif order.open > 1:
            less = 1 + int(self._random() * (order.open - 1))
            order.cancelled += less
            self._report(order, op_type="UpdateQty", cancel_quantity=less, order_quantity=order.open)
        self._leave_if_done(order)

    def _leave_if_done(self, order: Order) -> None:
        if order.open or order.place < 0:
            return
        last = self._working.pop()
        if last is not order:
            last.place = order.place
            self._working[order.place] = last
        order.place = -1
        self._by_symbol[order.instrument.full_code].remove(order)

    # -- matching

    def _trade(self, wanted: Order) -> None:
        """Move one price, more often towards the limit of `wanted`, and fill what it has reached."""
        instrument = wanted.instrument
        ticks = 1 + int(self._random() * 3)
        toward = wanted.price > instrument.price if self._random() < 0.7 else self._random() < 0.5
        instrument.walk(ticks if toward else -ticks)
        self._floor.tick(instrument, self.now_us)
        # Longest working first; a copy, because filled orders leave the list.
        for order in tuple(self._by_symbol[instrument.full_code]):
            if (order.price - instrument.price) * order.side >= 0:
                self._fill(order, everything=self._random() < _FILL_ALL)
                self._leave_if_done(order)

    def _fill(self, order: Order, *, everything: bool) -> None:
        left = order.open
        quantity = left if everything else 1 + int(self._random() * left)
        instrument = order.instrument
        futures = instrument.market == "F"
        order.filled += quantity
        order.deals += 1
        self._deals += 1
        at_us = self._moment()
        fill = Fill(order, quantity * order.unit, instrument.price, self._numbers.exchange_seq(futures=futures), at_us)
        self._robot.filled(order, fill.units)
        payload = payloads.deal_report(order, fill.exchange_seq, quantity, fill.price, at_us, self._rng)
        self._floor.deal(Report("FDEAL" if futures else "SDEAL", payload, order, at_us, fill))
        if order.late_intent:
            order.late_intent = False
            self._floor.intent(self._robot.intent(order, self._moment()), order, late=True)
        if self.config.bust_share and self._random() < self.config.bust_share:
            # The robot does not hear of it either: it goes on as if it held what it does not.
            fill.busted = True
            self._floor.bust(fill)
