"""A trading day at the simulated broker: its own robot's orders, its own market, its own matching.

The robot is the only one who can place orders here: there is no way from outside to the simulated exchange, as there is none to a real one.
Matching is plain: a limit order fills, in parts, at the market's price once that has reached its limit.
"""

from collections.abc import Iterator
from random import Random

from execpos.brokers.sim import payloads
from execpos.brokers.sim.book import SimBook
from execpos.brokers.sim.config import SimAccount, SimConfig, SimEvent, accounts
from execpos.brokers.sim.delivery import Line, Report
from execpos.brokers.sim.ids import Numbers, Receipts, order_id
from execpos.brokers.sim.market import instruments
from execpos.brokers.sim.orders import SHARES_PER_LOT, Fill, Order
from execpos.brokers.sim.robot import Robot
from execpos.brokers.sim.truth import SimTruth

# Of what happens to a working order besides fills: cancel, refused cancel, price, quantity.
_CANCEL, _CANCEL_FAILED, _PRICE = 0.55, 0.65, 0.85
# Part of the robot's turns in which it changes an order instead of placing one.
_OPERATE = 0.2
# Part of the matches that fill all that is open.
_FILL_ALL = 0.35
# An account's stream is reset for one to three deals at a time.
_AGAIN_MAX = 3


class Simulator:
    """One day. Iterate `events` once; `book` and `truth` follow what has been yielded. Not thread-safe; never blocks."""

    def __init__(self, config: SimConfig) -> None:
        """Make the day.

        Raises:
            ConfigError: the configuration makes no day.
        """
        config.check()
        self.config = config
        self.accounts = accounts(config)
        self.book = SimBook()
        self.truth = SimTruth()
        # A game needs no unguessable numbers, but repeatable ones.
        self._rng = rng = Random(config.seed)  # noqa: S311
        ids = Random(f"{config.seed}:{config.start_us}")  # noqa: S311
        self._random = rng.random
        self._numbers = Numbers(ids)
        self._receipts = {account: Receipts(account.market, ids) for account in self.accounts}
        self._recent: dict[SimAccount, list[tuple[Report, int]]] = {account: [] for account in self.accounts}
        self._line = Line(config, rng, self.book, self.truth)
        self._robot = Robot(config, self.accounts, instruments(config, rng), rng)
        self._working: list[Order] = []
        self._by_symbol: dict[str, list[Order]] = {}
        self._deals = self._reports = 0
        self._stopped = False

    def stop(self) -> None:
        """End the day early: what is under way is still delivered."""
        self._stopped = True

    def events(self) -> Iterator[SimEvent]:
        """Yield what is delivered, in order of delivery and of `at_us`. Once a simulator; what was yielded counts as delivered.

        Raises:
            ConfigError: the day has used all its order numbers.
        """
        line, end = self._line, self.config.events
        while not self._stopped and (end is None or line.delivered < end):
            self._act()
            while line.due():
                yield line.take()
        for order in self._working:
            self._release(order, line.now_us)
        while line.pending():
            yield line.take()

    def _act(self) -> None:
        working = self._working
        behind = self._deals < self.config.deal_share * (self._deals + self._reports)
        if working and self._random() < (0.95 if behind else 0.05):
            self._trade(working[int(self._random() * len(working))])
        elif working and (len(working) >= self.config.working_max or self._random() < _OPERATE):
            self._operate(working[int(self._random() * len(working))])
        else:
            self._place()

    # -- orders

    def _report(self, order: Order, **fields: object) -> Report:
        self._reports += 1
        at_us = self._line.moment()
        receipt = self._receipts[order.account].next("O")
        payload = payloads.order_report(order, receipt, at_us, self._rng, **fields)  # type: ignore[arg-type]  # the names are checked by every run
        return Report("SORDER" if order.account.market == "S" else "FORDER", payload, order)

    def _place(self) -> None:
        order = self._robot.order()
        line = self._line
        if self._random() < self.config.reject_share:
            # The number is used up, though the report does not show it.
            status_id = order_id(self._numbers.seqno())
            report = self._report(order, op_code="88", op_msg="無此商品代碼", status_id=status_id)
            report.label = "early_reject"
            line.order(report, line.now_us)
            return
        futures = order.account.market == "F"
        order.seqno = self._numbers.seqno()
        order.id = order_id(order.seqno)
        order.ordno = self._numbers.ordno(futures=futures)
        if self._robot.attribute(order):
            line.intent(self._robot.intent(order, line.moment()), order, line.now_us)
        report = self._report(order, order_quantity=order.quantity)
        if self._random() < self.config.faults.deal_before_order:
            order.held = report
        else:
            line.order(report, line.now_us)
        order.place = len(self._working)
        self._working.append(order)
        self._by_symbol.setdefault(order.instrument.full_code, []).append(order)

    def _release(self, order: Order, at_us: int) -> None:
        if order.held is not None:
            report, order.held = order.held, None
            self._line.order(report, at_us)

    def _operate(self, order: Order) -> None:
        self._release(order, self._line.now_us)
        drawn = self._random()
        if drawn < _CANCEL:
            left = order.open
            order.cancelled += left
            self._send(self._report(order, op_type="Cancel", cancel_quantity=left))
        elif drawn < _CANCEL_FAILED:
            report = self._report(order, op_type="Cancel", op_code="99Q9", op_msg="取消失敗", order_quantity=order.open)
            report.label = "failed_operation"
            self._send(report)
        elif drawn < _PRICE and order.lot != "IntradayOdd":
            price = order.instrument.moved(order.instrument.price, int(self._random() * 5) - 2)
            self._send(self._report(order, op_type="UpdatePrice", modified_price=price, order_quantity=order.open))
            order.price = price
        elif order.open > 1:
            less = 1 + int(self._random() * (order.open - 1))
            order.cancelled += less
            self._send(self._report(order, op_type="UpdateQty", cancel_quantity=less, order_quantity=order.open))
        self._leave_if_done(order)

    def _send(self, report: Report) -> None:
        self._line.order(report, self._line.now_us)

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
        # Longest working first; a copy, because filled orders leave the list.
        for order in tuple(self._by_symbol[instrument.full_code]):
            if (order.price - instrument.price) * order.side >= 0:
                self._fill(order)

    def _fill(self, order: Order) -> None:
        left = order.open
        quantity = left if self._random() < _FILL_ALL else 1 + int(self._random() * left)
        instrument, line = order.instrument, self._line
        futures = instrument.market == "F"
        order.filled += quantity
        order.deals += 1
        self._deals += 1
        units = quantity if futures or order.lot == "IntradayOdd" else quantity * SHARES_PER_LOT
        fill = Fill(order, units, instrument.price, self._numbers.exchange_seq(futures=futures))
        self._robot.filled(order, units)
        at_us = line.moment()
        receipt = self._receipts[order.account].next("D")
        payload = payloads.deal_report(order, receipt, fill.exchange_seq, quantity, fill.price, at_us, self._rng)
        report = Report("FDEAL" if futures else "SDEAL", payload, order, fill)
        due_us = line.deal(report)
        # The held report goes out behind the deal that overtook it.
        self._release(order, due_us)
        if order.late_intent:
            order.late_intent = False
            line.intent(self._robot.intent(order, line.moment()), order, max(due_us, line.later(200)))
        self._again(order.account, report, due_us)
        self._leave_if_done(order)

    def _again(self, account: SimAccount, report: Report, due_us: int) -> None:
        """Perhaps reset the account's stream and send its latest deals again, or one with another quantity."""
        assert report.fill is not None  # noqa: S101 (only deals come here)
        recent = self._recent[account]
        recent.append((report, due_us))
        del recent[:-_AGAIN_MAX]
        faults = self.config.faults
        # One reset sends two deals again on average.
        if self._random() < faults.new_receipt / 2:
            self._receipts[account].reset()
            self._line.fault("stream_reset", self._line.now_us, report)
            for older, older_due_us in recent[-1 - int(self._random() * _AGAIN_MAX) :]:
                payload = older.payload | {"event_id": self._receipts[account].next("D")}
                self._line.again(Report(older.state, payload, older.order, older.fill), older_due_us)
        if self._random() < faults.conflict:
            payload = report.payload | {"event_id": self._receipts[account].next("D"), "quantity": report.payload["quantity"] + 1}
            self._line.again(Report(report.state, payload, report.order, report.fill, "conflict"), due_us)
