"""The two sides of a comparison: a whole answer of the broker, and the ledger's whole book at a marker. Pure."""

from collections import defaultdict
from collections.abc import Mapping

import msgspec

from execpos.domain import ids
from execpos.domain.events import BrokerPositionRow, BrokerSnapshot, OpenOrder, PositionSnapshot, PositionState

Key = tuple[str, str]
"""Symbol and book."""


class BrokerRead(msgspec.Struct, frozen=True):
    """One answer of the broker about positions, whole: the parts are put together."""

    request_id: str
    read: int
    outcome: str
    detail: str
    marker_before: str
    marker_after: str
    began_ts: int
    ended_ts: int
    bridge_id: str
    bridge_epoch: int
    rows: tuple[BrokerPositionRow, ...]


def read_of(answer: BrokerSnapshot) -> BrokerRead:
    """Return what a whole BrokerSnapshot of POSITIONS says."""
    return BrokerRead(
        request_id=answer.request_id,
        read=answer.read,
        outcome=answer.outcome,
        detail=answer.detail,
        marker_before=answer.marker_before,
        marker_after=answer.marker_after,
        began_ts=answer.began_ts,
        ended_ts=answer.ended_ts,
        bridge_id=answer.bridge_id,
        bridge_epoch=answer.bridge_epoch,
        rows=answer.positions,
    )


class NetRow(msgspec.Struct, frozen=True):
    """One NET row of the ledger. The last fields are of the trading date of `trading_date`, gross."""

    quantity: int
    open_cost: int
    average: int
    multiplier: int
    version: int
    quality: str
    security_type: str
    currency: str
    day_buy_quantity: int = 0
    day_buy_amount: int = 0
    day_sell_quantity: int = 0
    day_sell_amount: int = 0
    realized_day: int = 0
    trading_date: int = 0


NO_ROW = NetRow(0, 0, 0, 0, 0, "CONFIRMED", "", "")
"""Of a key that the ledger does not have."""


class Book(msgspec.Struct, frozen=True):
    """The ledger's book of an account at one marker.

    Attributes:
        marker_id: the marker that it answers; empty of another snapshot.
        offset: of the marker in exec.raw.
        ledger_epoch: incarnation of the ledger's state.
        trading_date: of the marker, days since the epoch.
        rows: NET, flat rows and marks included.
        strategies: quantities by strategy, those that are not 0, by name.
        orders: open orders.
        estimated: NET rows that hold something and are ESTIMATED.
        held: NET rows that hold something.
        as_of_ts: ingest time of the marker (µs), by the clock of the bridge that stamps the fills too.
    """

    marker_id: str
    offset: int
    ledger_epoch: int
    trading_date: int
    rows: Mapping[Key, NetRow]
    strategies: Mapping[Key, tuple[tuple[str, int], ...]]
    orders: tuple[OpenOrder, ...]
    estimated: int
    held: int
    as_of_ts: int


def book_of(snapshot: PositionSnapshot) -> Book:
    """Return what a whole PositionSnapshot says."""
    rows: dict[Key, NetRow] = {}
    strategies: defaultdict[Key, list[tuple[str, int]]] = defaultdict(list)
    for state in snapshot.positions:
        if state.strategy_id == ids.NET:
            rows[state.symbol, state.book] = _net(state)
        elif state.quantity:
            strategies[state.symbol, state.book].append((state.strategy_id, state.quantity))
    held = [row for row in rows.values() if row.quantity]
    return Book(
        marker_id=snapshot.marker_id,
        offset=snapshot.source_offset,
        ledger_epoch=snapshot.ledger_epoch,
        trading_date=snapshot.trading_date,
        rows=rows,
        strategies={key: tuple(sorted(found)) for key, found in strategies.items()},
        orders=snapshot.orders,
        estimated=sum(row.quality == "ESTIMATED" for row in held),
        held=len(held),
        as_of_ts=snapshot.as_of_ts,
    )


def _net(state: PositionState) -> NetRow:
    return NetRow(
        quantity=state.quantity,
        open_cost=state.open_cost,
        average=state.average_price,
        multiplier=state.multiplier,
        version=state.version,
        quality=state.quality,
        security_type=state.security_type,
        currency=state.currency,
        day_buy_quantity=state.day_buy_quantity,
        day_buy_amount=state.day_buy_amount,
        day_sell_quantity=state.day_sell_quantity,
        day_sell_amount=state.day_sell_amount,
        realized_day=state.realized_pnl_day,
        trading_date=state.trading_date,
    )
