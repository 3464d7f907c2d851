"""What is known of the fills of a key, and what beside the position list says that a row is gone. Pure."""

import msgspec

from execpos.domain import ids
from execpos.domain.events import FillEvent
from execpos.domain.opening import Traded
from execpos.domain.reconciliation.comparison import Comparison, Finding
from execpos.domain.reconciliation.lag import RecentFill
from execpos.domain.reconciliation.rounds import last
from execpos.domain.reconciliation.sides import Key, NetRow
from execpos.domain.reconciliation.state import State
from execpos.domain.reconciliation.turn import Turn
from execpos.domain.reconciliation.witness import Evidence, Known, Witness, witnessed

# Fills of one key that are kept, whatever their age: a list that is late by more is no lag, and an opening price needs few.
_FILLS_MAX = 256


def learn(state: State, fill: FillEvent) -> State:
    """Return the state after a fill, or a new revision of one, which keeps the place of the first."""
    key = (fill.symbol, fill.book)
    known = state.fills.get(key, ())
    if any(other.fill_id == fill.fill_id for other in known):
        changed = tuple(fill if other.fill_id == fill.fill_id else other for other in known)
    else:
        changed = (*known, fill)[-_FILLS_MAX:]
    return msgspec.structs.replace(state, fills={**state.fills, key: changed})


def signed(fill: FillEvent) -> int:
    """Return what a fill adds to the position."""
    return fill.quantity if fill.side == "BUY" else -fill.quantity


def recent(state: State, key: Key, since_us: int) -> tuple[RecentFill, ...]:
    """Return the broker's own fills of a key that came since then and stand, in the ledger's order."""
    return tuple(
        RecentFill(signed(fill), fill.exchange_ts, fill.ingest_ts)
        for fill in state.fills.get(key, ())
        if not fill.voided and not ids.is_synthetic(fill.order_id) and fill.ingest_ts >= since_us
    )


def traded(state: State, key: Key) -> tuple[Traded, ...]:
    """Return every fill of a key that is known and stands, in the ledger's order."""
    return tuple(Traded(signed(fill), fill.price, fill.trading_date) for fill in state.fills.get(key, ()) if not fill.voided)


def proof(turn: Turn, finding: Finding, net: NetRow | None, comparison: Comparison) -> Witness | None:
    """Return what else says that a row is gone: orders and profits that this round read, or the contract's last day."""
    if net is None:
        return None
    orders, profits = last(turn.current, "ORDERS"), last(turn.current, "PROFIT_LOSS")
    evidence = Evidence(
        orders=orders.orders if orders else None,
        known=_known(turn.state, finding.key, ids.session_id(comparison.read_ended_ts)),
        profits=profits.profits if profits else None,
        begin_date=turn.current.profit_begin,
        trading_date=comparison.trading_date,
    )
    return witnessed(turn.state.account, finding, net, evidence, turn.rules.compare, turn.rules.book.calendar)


def _known(state: State, key: Key, session_id: str) -> tuple[Known, ...]:
    """Return the orders of a key in a session, each with what the ledger has of it, fills of before we listened included."""
    found = {
        fill.order_id: Known(fill.order_id, fill.seqno, fill.symbol, fill.side, fill.order_cum_filled)
        for fill in state.fills.get(key, ())
        if fill.session_id == session_id and not ids.is_synthetic(fill.order_id)
    }
    for order in state.book.orders if state.book else ():
        if order.session_id == session_id:
            found[order.order_id] = Known(order.order_id, order.seqno, order.symbol, order.side, order.cum_filled)
    return tuple(found.values())
