"""The line between the simulated broker and its client: where reports are repeated, held back, overtaken and lost.

Reports come in as they happen and get their receipts; what comes off the line is what the client sees, and only that is counted as
delivered. The line draws from chances of its own, so that what the exchange does is the same under every fault.
"""

import heapq
from collections import deque
from random import Random

from execpos.brokers.sim.book import SimBook
from execpos.brokers.sim.config import SimAccount, SimConfig, SimEvent, SimIntent, accounts
from execpos.brokers.sim.exchange import Report
from execpos.brokers.sim.ids import Receipts
from execpos.brokers.sim.market import Instrument
from execpos.brokers.sim.orders import Fill, Order
from execpos.brokers.sim.schedule import Plan
from execpos.brokers.sim.truth import SimFault, SimTruth

# In reports: a repeat follows within this many, a late deal by 20 to 400, an overtaken one by 1 to 8.
_REPEAT_MAX, _LATE_MIN, _LATE_MAX, _OVERTAKEN_MAX = 40, 20, 400, 8
# A late intent follows the first fill within this many reports.
_INTENT_MAX = 200
# An account's stream is reset for one to three deals at a time.
_AGAIN_MAX = 3


class Line:
    """A queue by due time, and the account of what came off it. Not thread-safe.

    Args:
        config: the day, its faults and its pace.
        book: gets every match, and every delivery.
        truth: where to count.
        plan: faults at given moments, if there are any; moved on by the owner.
    """

    def __init__(self, config: SimConfig, book: SimBook, truth: SimTruth, plan: Plan | None = None) -> None:
        self._faults = config.faults
        self._step_us = config.step_us
        # Repeatable numbers of a game again.
        self._random = Random(f"{config.seed}:delivery").random  # noqa: S311
        ids = Random(f"{config.seed}:{config.start_us}:receipts")  # noqa: S311 (as above)
        self._receipts = {account: Receipts(account.market, ids) for account in accounts(config)}
        self._recent: dict[SimAccount, list[tuple[Report, int]]] = {account: [] for account in self._receipts}
        self._book = book
        self._truth = truth
        self._plan = plan
        self._heap: list[tuple[int, int, Report | SimIntent, Order]] = []
        self._count = 0
        self._last_us = config.start_us
        self._now_us = config.start_us
        self._due_us = config.start_us
        # Deals that the broker has booked and not sent: account, and reports that wait until others have passed them.
        self._ahead: dict[SimAccount, deque[Report]] = {}
        self._overtaken: list[list[int | Report]] = []
        self.delivered = 0

    # -- what the exchange says

    def order(self, report: Report) -> None:
        """Take an order report."""
        order, operation = report.order, report.payload["operation"]
        self._now_us = now_us = report.at_us
        report.payload["event_id"] = self._receipts[order.account].next("O")
        self._passed()
        accepted = operation["op_type"] == "New" and operation["op_code"] == "00"
        if not accepted:
            self._release(order, now_us)
        if self._chance("drop", self._faults.drop, order):
            self._drop(report)
        elif accepted and self._chance("deal_before_order", self._faults.deal_before_order, order):
            order.held = report
        else:
            self._put(report, now_us)

    def deal(self, report: Report) -> None:
        """Take a match."""
        assert report.fill is not None  # noqa: S101 (a match has one)
        order = report.order
        self._now_us = self._due_us = report.at_us
        report.payload["event_id"] = self._receipts[order.account].next("D")
        self._book.match(report.fill)
        self._truth.matched += 1
        self._passed()
        if self._chance("drop", self._faults.drop, order) or self._chance("drop_deal", 0.0, order):
            self._drop(report)
            self._release(order, report.at_us)
            return
        if not self._hold(report):
            self._due_us = self._due(report)
            self._put(report, self._due_us)
        # The held report goes out behind the deal that overtook it.
        self._release(order, self._due_us)
        self._again(report)

    def bust(self, fill: Fill) -> None:
        """Note a match that is taken back; nobody is told."""
        self._truth.busts += 1
        self.note("bust", self._now_us, fill.order, fill)

    def intent(self, intent: SimIntent, order: Order, *, late: bool) -> None:
        """Take what a strategy wrote down; a late one comes after the deal before it."""
        self._now_us = intent.created_us
        self._push(max(self._due_us, self._later(_INTENT_MAX)) if late else self._now_us, intent, order)

    def tick(self, instrument: Instrument, at_us: int) -> None:
        """Prices take another way."""

    # -- what becomes of it

    def _chance(self, kind: str, probability: float, order: Order) -> bool:
        if self._plan is not None and self._plan.take(kind, order.account.key) is not None:  # type: ignore[arg-type]  # a kind of the list
            return True
        return probability > 0 and self._random() < probability

    def _push(self, at_us: int, thing: Report | SimIntent, order: Order) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at_us, self._count, thing, order))

    def _later(self, reports_max: int, reports_min: int = 1) -> int:
        """Return a moment some reports from now."""
        return self._now_us + self._step_us * (reports_min + int(self._random() * (reports_max - reports_min)))

    def _put(self, report: Report, due_us: int) -> None:
        """Put a report on the line, perhaps twice."""
        self._push(due_us, report, report.order)
        if self._chance("duplicate", self._faults.duplicate, report.order):
            self._push(max(due_us, self._later(_REPEAT_MAX)), report, report.order)

    def _drop(self, report: Report) -> None:
        self._truth.dropped += 1
        self.note("drop", self._now_us, report.order, report.fill, report.payload["event_id"])

    def _due(self, report: Report) -> int:
        """Say when a deal is to be delivered."""
        if self._plan is not None and (entry := self._plan.take("late", report.order.account.key)):
            report.label = "late"
            return self._now_us + int(entry.lag_s * 1_000_000) if entry.lag_s else self._later(_LATE_MAX, _LATE_MIN)
        drawn = self._random()
        if drawn < self._faults.late:
            report.label = "late"
            return self._later(_LATE_MAX, _LATE_MIN)
        if drawn < self._faults.late + self._faults.reorder:
            report.label = "reordered"
            return self._later(_OVERTAKEN_MAX)
        return self._now_us

    def _hold(self, report: Report) -> bool:
        """Keep a deal back as the schedule says, and let go what has waited long enough."""
        if self._plan is None:
            return False
        account = report.order.account
        entry = self._plan.find("book_ahead", account.key)
        waiting = self._ahead.setdefault(account, deque())
        if entry is not None:
            report.label = "book_ahead"
            if entry.fills:
                waiting.append(report)
                while len(waiting) > entry.fills:
                    self._put(waiting.popleft(), self._now_us)
            else:
                self._put(report, self._now_us + int(entry.lag_s * 1_000_000))
            return True
        while waiting:
            self._put(waiting.popleft(), self._now_us)
        if overtaken := self._plan.take("reorder", account.key):
            report.label = "reordered"
            # One more than asked for, because this report counts down itself.
            self._overtaken.append([(overtaken.reports or 1) + 1, report])
            self._passed()
            return True
        return False

    def _passed(self) -> None:
        """Count a report that passes those which wait for it."""
        for waiting in tuple(self._overtaken):
            left, report = waiting
            assert isinstance(left, int)  # noqa: S101 (a pair of number and report)
            assert isinstance(report, Report)  # noqa: S101 (as above)
            waiting[0] = left - 1
            if left <= 1:
                self._overtaken.remove(waiting)
                # Behind the one that is being put now.
                self._put(report, self._now_us + 1)

    def _release(self, order: Order, at_us: int) -> None:
        if order.held is not None:
            report, order.held = order.held, None
            self._put(report, at_us)

    def _again(self, report: Report) -> None:
        """Perhaps reset the account's stream and send its latest deals again, or one with another quantity."""
        account = report.order.account
        recent = self._recent[account]
        recent.append((report, self._due_us))
        del recent[:-_AGAIN_MAX]
        # One reset sends two deals again on average.
        if self._chance("new_receipt", self._faults.new_receipt / 2, report.order):
            self.reset(account, report)
            for older, due_us in recent[-1 - int(self._random() * _AGAIN_MAX) :]:
                payload = older.payload | {"event_id": self._receipts[account].next("D")}
                again = Report(older.state, payload, older.order, older.at_us, older.fill)
                self._push(max(due_us, self._now_us), again, older.order)
        if self._chance("conflict", self._faults.conflict, report.order):
            payload = report.payload | {"event_id": self._receipts[account].next("D"), "quantity": report.payload["quantity"] + 1}
            again = Report(report.state, payload, report.order, report.at_us, report.fill, "conflict")
            self._push(max(self._due_us, self._now_us), again, report.order)

    def reset(self, account: SimAccount, report: Report | None = None) -> None:
        """Let an account's receipts begin anew."""
        self._receipts[account].reset()
        if report is not None:
            self.note("stream_reset", self._now_us, report.order, report.fill, report.payload["event_id"])
        else:
            self._truth.faults.append(SimFault("stream_reset", self._now_us, account=account.key))

    def release(self, orders: tuple[Order, ...] = ()) -> None:
        """Let go whatever waits for something else: the reports of these orders, and all that was held back."""
        for order in orders:
            self._release(order, self._now_us)
        for waiting in self._ahead.values():
            while waiting:
                self._put(waiting.popleft(), self._now_us)
        for _, report in self._overtaken:
            assert isinstance(report, Report)  # noqa: S101 (a pair of number and report)
            self._put(report, self._now_us)
        self._overtaken.clear()

    # -- what comes off it

    def due(self, now_us: int) -> bool:
        """Say whether something is to be delivered now."""
        return bool(self._heap) and self._heap[0][0] <= now_us

    def pending(self) -> bool:
        """Say whether something is on the line at all."""
        return bool(self._heap)

    def take(self) -> SimEvent:
        """Take the next thing off the line and count it."""
        due_us, _, thing, order = heapq.heappop(self._heap)
        at_us = self._last_us = max(due_us, self._last_us)
        self.delivered += 1
        if isinstance(thing, SimIntent):
            order.intent = thing.strategy_id
            self._truth.intents += 1
            return SimEvent(at_us, "intent", intent=thing)
        self._truth.callbacks += 1
        if thing.fill is None:
            self._count_order(thing, at_us)
        else:
            self._count_deal(thing, thing.fill, at_us)
        return SimEvent(at_us, "callback", thing.state, thing.payload)

    def note(self, kind: str, at_us: int, order: Order, fill: Fill | None = None, event_id: str = "", detail: str = "") -> None:
        """Write a fault down."""
        seq = fill.exchange_seq if fill else ""
        fault = SimFault(kind, at_us, event_id, order.id, seq, order.account.key, order.trading_date, detail)
        self._truth.faults.append(fault)

    def _count_order(self, report: Report, at_us: int) -> None:
        truth = self._truth
        receipt = report.payload["event_id"]
        if report.delivered:
            truth.duplicate_orders += 1
            self.note("duplicate", at_us, report.order, None, receipt)
            return
        report.delivered = report.order.reported = True
        truth.order_reports += 1
        if report.label == "early_reject":
            truth.early_rejects += 1
        elif report.label == "failed_operation":
            truth.failed_operations += 1
        if report.label:
            self.note(report.label, at_us, report.order, None, receipt)

    def _count_deal(self, report: Report, fill: Fill, at_us: int) -> None:
        truth = self._truth
        receipt = report.payload["event_id"]
        if report.label == "conflict":
            truth.conflicts += 1
            self.note("conflict", at_us, report.order, fill, receipt)
        elif fill.receipts:
            known = receipt in fill.receipts
            truth.duplicate_deals += known
            truth.new_receipts += not known
            self.note("duplicate" if known else "new_receipt", at_us, report.order, fill, receipt)
        else:
            truth.fills += 1
            self._book.add(fill)
            if report.label:
                self.note(report.label, at_us, report.order, fill, receipt)
            if not report.order.reported:
                truth.deals_before_order += 1
                self.note("deal_before_order", at_us, report.order, fill, receipt)
        fill.receipts.add(receipt)
