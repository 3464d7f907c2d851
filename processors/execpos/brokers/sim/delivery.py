"""The line between the simulated broker and its client: where reports are repeated, held back and overtaken.

Everything that happens is put on the line with the moment it is due; what comes off it is the truth, and only that is booked and counted.
"""

import heapq
from random import Random
from typing import Any

import msgspec

from execpos.brokers.sim.book import SimBook
from execpos.brokers.sim.config import SimConfig, SimEvent, SimIntent
from execpos.brokers.sim.orders import Fill, Order
from execpos.brokers.sim.truth import SimFault, SimTruth

# In reports: a repeat follows within this many, a late deal by 20 to 400, an overtaken one by 1 to 8.
_REPEAT_MAX, _LATE_MIN, _LATE_MAX, _OVERTAKEN_MAX = 40, 20, 400, 8


class Report(msgspec.Struct, eq=False):
    """A callback on its way."""

    state: str
    payload: dict[str, Any]
    order: Order
    fill: Fill | None = None
    label: str = ""
    delivered: bool = False


class Line:
    """A queue by due time, and the account of what came off it. Not thread-safe."""

    def __init__(self, config: SimConfig, rng: Random, book: SimBook, truth: SimTruth) -> None:
        self._faults = config.faults
        self._step_us = config.step_us
        self._random = rng.random
        self._book = book
        self._truth = truth
        self._heap: list[tuple[int, int, Report | SimIntent, Order]] = []
        self._count = 0
        self._last_us = config.start_us
        self.now_us = config.start_us
        self.delivered = 0

    def moment(self) -> int:
        """Move the clock on by about one step and return it: the time of the next thing that happens."""
        self.now_us += int(self._step_us * (0.5 + self._random()))
        return self.now_us

    def _push(self, at_us: int, thing: Report | SimIntent, order: Order) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at_us, self._count, thing, order))

    def later(self, reports_max: int, reports_min: int = 1) -> int:
        """Return a moment some reports from now."""
        return self.now_us + self._step_us * (reports_min + int(self._random() * (reports_max - reports_min)))

    def intent(self, intent: SimIntent, order: Order, at_us: int) -> None:
        """Put an intent on the line."""
        self._push(at_us, intent, order)

    def order(self, report: Report, at_us: int) -> None:
        """Put an order report on the line, perhaps twice."""
        self._push(at_us, report, report.order)
        if self._random() < self._faults.duplicate:
            self.moment()
            self._push(max(at_us, self.later(_REPEAT_MAX)), report, report.order)

    def deal(self, report: Report) -> int:
        """Put a deal on the line, perhaps late, overtaken or twice; return when it is due."""
        due_us = self.now_us
        drawn = self._random()
        if drawn < self._faults.late:
            due_us = self.later(_LATE_MAX, _LATE_MIN)
            report.label = "late"
        elif drawn < self._faults.late + self._faults.reorder:
            due_us = self.later(_OVERTAKEN_MAX)
            report.label = "reordered"
        self._push(due_us, report, report.order)
        if self._random() < self._faults.duplicate:
            self.moment()
            self._push(max(due_us, self.later(_REPEAT_MAX)), report, report.order)
        return due_us

    def again(self, report: Report, due_us: int) -> None:
        """Put a deal under another receipt, or a conflicting one, on the line."""
        self.moment()
        self._push(max(due_us, self.now_us), report, report.order)

    def due(self) -> bool:
        """Say whether something is to be delivered now."""
        return bool(self._heap) and self._heap[0][0] <= self.now_us

    def pending(self) -> bool:
        """Say whether something is on the line at all."""
        return bool(self._heap)

    def take(self) -> SimEvent:
        """Take the next thing off the line, book and count it."""
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

    def fault(self, kind: str, at_us: int, report: Report) -> None:
        """Write a fault down."""
        seq = report.fill.exchange_seq if report.fill else ""
        self._truth.faults.append(SimFault(kind, at_us, report.payload["event_id"], report.order.id, seq))

    def _count_order(self, report: Report, at_us: int) -> None:
        truth = self._truth
        if report.delivered:
            truth.duplicate_orders += 1
            self.fault("duplicate", at_us, report)
            return
        report.delivered = report.order.reported = True
        truth.order_reports += 1
        if report.label == "early_reject":
            truth.early_rejects += 1
        elif report.label == "failed_operation":
            truth.failed_operations += 1
        if report.label:
            self.fault(report.label, at_us, report)

    def _count_deal(self, report: Report, fill: Fill, at_us: int) -> None:
        truth = self._truth
        receipt = report.payload["event_id"]
        if report.label == "conflict":
            truth.conflicts += 1
            self.fault("conflict", at_us, report)
        elif fill.receipts:
            known = receipt in fill.receipts
            truth.duplicate_deals += known
            truth.new_receipts += not known
            self.fault("duplicate" if known else "new_receipt", at_us, report)
        else:
            truth.fills += 1
            self._book.add(fill)
            if report.label in {"late", "reordered"}:
                self.fault(report.label, at_us, report)
            if not report.order.reported:
                truth.deals_before_order += 1
                self.fault("deal_before_order", at_us, report)
        fill.receipts.add(receipt)
