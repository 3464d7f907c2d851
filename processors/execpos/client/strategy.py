"""What a strategy is to the runner."""

import msgspec

from execpos.client.freshness import Freshness
from execpos.client.trading import Trading
from execpos.domain.events import FillEvent, OrderEvent, PositionState


class Delivery(msgspec.Struct, frozen=True):
    """Which record is being delivered.

    Attributes:
        topic: full name.
        partition: of the record.
        offset: of the record; with topic and partition it is the record's name for ever.
        id: fill_id of a fill, order_key of an order.
        revision: of the fill or order.
        withdrawn: the record went to another strategy, and an earlier revision had been yours: take it back.
    """

    topic: str
    partition: int
    offset: int
    id: str
    revision: int
    withdrawn: bool

    @property
    def key(self) -> str:
        """The same text at every delivery of this record, and of no other."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class Strategy:
    """Base of strategies: override what is wanted. All methods are called on the runner's thread, one after the other.

    What a handler raises ends the runner, and nothing of its batch counts as delivered: a strategy that missed a fill does not know
    what it holds. A handler may take its time; fills wait for it in Kafka.

    Args:
        strategy_id: as in intents and custom_field.
    """

    def __init__(self, strategy_id: str) -> None:
        self.strategy_id = strategy_id

    def on_fill(self, fill: FillEvent, delivery: Delivery) -> None:
        """Take a fill of this strategy, or a later revision of one: it replaces the earlier ones; `voided` ones count no more."""

    def on_order(self, order: OrderEvent, delivery: Delivery) -> None:
        """Take what an order of this strategy is after one report. Orders come in order, fills come in order, and both are mixed."""

    def on_position(self, position: PositionState) -> None:
        """Take a newer position of this strategy. Of several in quick succession the last one; not again after a restart."""

    def on_halt(self, account: str, trading: Trading) -> None:
        """Take what trading control allows this strategy in an account: first at the start, then whenever it changes, either way."""

    def on_stale(self, account: str, freshness: Freshness) -> None:
        """Take whether an account's numbers may be acted upon: first at the start, then whenever it changes, either way."""
