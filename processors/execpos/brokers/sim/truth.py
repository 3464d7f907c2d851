"""What really happened in a simulated day: counts and every fault, as far as it was delivered."""

from typing import Any

import msgspec


class SimFault(msgspec.Struct, frozen=True):
    """One fault or refusal.

    Attributes:
        kind: of a report: duplicate, new_receipt, deal_before_order, late, reordered, conflict, drop, lost (sent while nobody was
            connected),
            stream_reset, early_reject, rejected, async_failure, failed_operation, bust; else the scheduled kind.
        at_us: when it was delivered, or happened, simulated time.
        event_id: the receipt concerned.
        order_id: the order concerned; empty for one refused before it had an id.
        exchange_seq: the fill concerned, if any.
        account: the account concerned, as `S|9A95|1000001`; empty for all.
        trading_date: ISO date that tells an order id from the same one of another day.
        detail: what exactly, in words.
    """

    kind: str
    at_us: int
    event_id: str = ""
    order_id: str = ""
    exchange_seq: str = ""
    account: str = ""
    trading_date: str = ""
    detail: str = ""


class SimTruth(msgspec.Struct):
    """Counts of what was delivered.

    Attributes:
        callbacks: all callbacks: order_reports + fills + duplicate_orders + duplicate_deals + new_receipts + conflicts.
        order_reports: distinct order reports (refused and failed ones included): a repeat has the event_id of the first.
        fills: distinct fills.
        duplicate_orders: order reports that came again.
        duplicate_deals: deals that came again under a receipt seen before.
        new_receipts: deals that came again under another receipt.
        conflicts: deals with the key of a fill and another quantity.
        early_rejects: order reports without an order id, counted in order_reports too.
        failed_operations: reports of a refused cancel or change, counted in order_reports too.
        deals_before_order: fills delivered before the first report of their order.
        intents: intents written.
        matched: fills that happened, delivered or not.
        dropped: reports that were never sent; in none of the counts above.
        busts: fills that the broker took back.
        lost: callbacks sent while nobody was there to take them; in the counts above.
        faults: each fault, in delivery order.
    """

    callbacks: int = 0
    order_reports: int = 0
    fills: int = 0
    duplicate_orders: int = 0
    duplicate_deals: int = 0
    new_receipts: int = 0
    conflicts: int = 0
    early_rejects: int = 0
    failed_operations: int = 0
    deals_before_order: int = 0
    intents: int = 0
    matched: int = 0
    dropped: int = 0
    busts: int = 0
    lost: int = 0
    faults: list[SimFault] = msgspec.field(default_factory=list)

    @property
    def duplicates(self) -> int:
        """All callbacks that change nothing: the same order report or the same fill again."""
        return self.duplicate_orders + self.duplicate_deals + self.new_receipts

    def counts(self) -> dict[str, Any]:
        """Return the counts by name, without the list of faults."""
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "faults"}
