"""The truth of a run as plain data, for a checker in another process, and the rows that it leads to."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from execpos.brokers.sim.book import BookFill, fold_rows, in_order
from execpos.brokers.sim.house import order_status
from execpos.brokers.sim.market import CENT
from execpos.brokers.sim.orders import Order
from execpos.brokers.sim.play import Play


def truth_of(play: Play) -> dict[str, Any]:
    """Return what has happened so far, JSON types only.

    Keys: seed, start_us, now_us, finished; accounts (`S|9A95|1000001`); counts (see `SimTruth`); faults (see `SimFault`); intents (how
    many were written); orders (account, trading_date, order_id, seqno, ordno, symbol, side, and quantity, filled, cancelled in lots,
    contracts, or shares of an odd lot; status); fills: everything that was matched, in that order, with the fields of `BookFill`, `at_us`
    and `receipts`, the event_ids under which it was sent out (none: never).
    """
    return {
        "seed": play.scenario.seed,
        "start_us": play.config.start_us,
        "now_us": play.now_us,
        "finished": play.finished,
        "accounts": [account.key for account in play.accounts],
        "counts": play.truth.counts(),
        "faults": [msgspec.structs.asdict(fault) for fault in play.truth.faults],
        "intents": len(play.intents),
        "orders": [_order(order) for key in sorted(play.house.files) for order in play.house.files[key].known],
        "fills": play.book.facts(),
    }


def _order(order: Order) -> dict[str, Any]:
    return {
        "account": order.account.key,
        "trading_date": order.trading_date,
        "order_id": order.id,
        "seqno": order.seqno,
        "ordno": order.ordno,
        "symbol": order.instrument.full_code,
        "side": order.side,
        "price": order.price / CENT,
        "quantity": order.quantity,
        "filled": order.filled,
        "cancelled": order.cancelled,
        "status": order_status(order, order.filled),
    }


def rows_of(truth: Mapping[str, Any], order: Iterable[Sequence[str]] | None = None) -> list[dict[str, Any]]:
    """Return the positions that a truth leads to; see `SimBook.rows`.

    Args:
        truth: of `truth_of`, or read from the JSON file of one.
        order: identities of fills (account as `env|market|broker|account`, trading date, order id, exchange_seq) in the order in which a
            reader first met them; without it, the order of the matches.

    Raises:
        ValueError: the order names a fill that did not happen.
    """
    fills = [BookFill(**{name: fill[name] for name in BookFill._fields}) for fill in truth["fills"]]
    return fold_rows(in_order(fills, order) if order is not None else fills)
