"""What orders and deals have in common: marks on rows, and fills that change their owner. First part of `pipeline`."""

from typing import Protocol, TypedDict

import msgspec

from execpos.domain import ids
from execpos.domain.account import Account, Owner
from execpos.domain.book import Source
from execpos.domain.events import CorrectionOutcome, FillEvent, OrderEvent, PositionDelta
from execpos.domain.orders import Order, after_fill
from execpos.domain.rules import Rules


class Sink(Protocol):
    """Takes what the pipeline makes, in order, within the call that makes it. Must not call back into the pipeline."""

    def order(self, event: OrderEvent) -> None:
        """Take an order event."""

    def fill(self, event: FillEvent) -> None:
        """Take a fill, or a new revision of one."""

    def delta(self, event: PositionDelta) -> None:
        """Take a line of the book's journal."""

    def outcome(self, outcome: CorrectionOutcome) -> None:
        """Take what became of a correction, after everything that it made."""


class Desk:
    """Makes changes that follow from what others decided; base of `Reports`, `Deals` and, over both, `Pipeline`."""

    def __init__(self, rules: Rules, sink: Sink) -> None:
        self._rules = rules
        self._sink = sink

    def _mark(self, account: Account, symbol: str, book: str, quality: str, source: Source, strategy_id: str = ids.UNASSIGNED) -> str:
        date = self._rules.calendar.trading_date(source.ingest_ts, "S")
        delta = account.book.mark(symbol, book, strategy_id, quality, source, date)
        if delta is not None:
            self._sink.delta(delta)
        return ids.position_key(account.key, symbol, book, strategy_id)

    def _reattribute(self, account: Account, order: Order, owner: Owner, source: Source) -> Order:
        """Give an order and its fills to `owner`, and return it as it is then.

        Nothing happens when they are its own already, or when one of the fills is settled.
        """
        if owner.strategy_id == order.strategy_id and owner.intent_id == order.intent_id:
            return order
        if self._settled(account, order.order_key):
            return order
        order = msgspec.structs.replace(order, strategy_id=owner.strategy_id, intent_id=owner.intent_id)
        last = order.last
        if last is not None:
            order = msgspec.structs.replace(order, revision=order.revision + 1)
            event = msgspec.structs.replace(
                last,
                revision=order.revision,
                cause="REATTRIBUTED",
                strategy_id=owner.strategy_id,
                intent_id=owner.intent_id,
                status=order.status,
                cum_filled=order.cum_filled,
                leaves=order.leaves,
                overfilled=order.overfilled,
                ingest_ts=source.ingest_ts,
                normalized_ts=source.now,
                **named(source),
            )
            order = msgspec.structs.replace(order, last=event)
            self._sink.order(event)
        account.put_order(order)
        self._move_fills(account, order, owner, source)
        return order

    def _settled(self, account: Account, order_key: str) -> bool:
        """Tell whether a fill of an order can no longer be moved; then none of them moves, or the order would belong to two."""
        fills = [account.fills[fill_id] for fill_id in account.fills_of_order.get(order_key, ())]
        return any(account.book.settled(fill) for fill in fills if not fill.voided)

    def _move_fills(self, account: Account, order: Order, owner: Owner, source: Source) -> None:
        for fill_id in account.fills_of_order.get(order.order_key, ()):
            before = account.fills[fill_id]
            if before.strategy_id == owner.strategy_id and before.intent_id == owner.intent_id:
                continue
            after = self._revised(before, source, strategy_id=owner.strategy_id, intent_id=owner.intent_id, cause="REATTRIBUTED")
            account.put_fill(after)
            self._sink.fill(after)
            if before.strategy_id != owner.strategy_id:
                for delta in account.book.move(before, after, source):
                    self._sink.delta(delta)

    def _recharge(self, account: Account, fill: FillEvent, fee: int, tax: int, source: Source, fee_quality: str = "ESTIMATED") -> None:
        """Give a fill that stands these charges: a revision and a delta, cause FEES. Its order's sums follow, so that the next adds up."""
        after = self._revised(fill, source, fee_est=fee, tax_est=tax, fee_quality=fee_quality, cause="FEES")
        order = account.orders.get(fill.order_key)
        if order is not None:
            account.put_order(after_fill(order, 0, 0, fee - fill.fee_est, tax - fill.tax_est))
        account.put_fill(after)
        self._sink.fill(after)
        self._sink.delta(account.book.recharge(fill, after, account.fills, source))

    def _revised(self, fill: FillEvent, source: Source, **changes: object) -> FillEvent:
        return msgspec.structs.replace(
            fill, revision=fill.revision + 1, ingest_ts=source.ingest_ts, normalized_ts=source.now, **named(source), **changes
        )


class Named(TypedDict):
    """The fields by which every record of ours names the one that caused it."""

    source_topic: str
    source_partition: int
    source_offset: int
    bridge_id: str
    bridge_epoch: int
    bridge_seq: int


def named(source: Source) -> Named:
    """Return a source as those fields."""
    return {
        "source_topic": source.topic,
        "source_partition": source.partition,
        "source_offset": source.offset,
        "bridge_id": source.bridge_id,
        "bridge_epoch": source.bridge_epoch,
        "bridge_seq": source.bridge_seq,
    }
