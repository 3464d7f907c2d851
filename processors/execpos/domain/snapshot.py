"""The whole book of an account at one point: what belongs to it, its digest, and how it is cut into parts.

Pure. The digest says whether two books are the same, in whatever order their rows stand; it knows nothing of marks, offsets, times of
handling, or the incarnation of the ledger. `contracts/execution.md` gives its text field by field, so that any reader can make it again.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import chain

import msgspec

from execpos.domain import ids
from execpos.domain.account import Account
from execpos.domain.events import OpenOrder, PositionSnapshot, PositionState, Valuation
from execpos.domain.orders import Order

# A sum of 128 bits: two books that differ by chance have the same one once in 10^38.
_DIGEST_BYTES = 16
_MODULUS = 1 << (8 * _DIGEST_BYTES)


def row_digest(state: PositionState) -> int:
    """Return what one row adds to the digest of its book."""
    lots = ";".join(f"{lot.quantity}:{lot.cost}:{lot.fill_id}" for lot in state.lots)
    return _hashed(
        f"{state.position_key}\n{state.quantity}\n{state.open_cost}\n{state.realized_pnl}\n{state.realized_pnl_day}\n{state.trading_date}\n"
        f"{state.fees}\n{state.taxes}\n{state.basis_adjustment}\n{state.day_buy_quantity}\n{state.day_buy_amount}\n"
        f"{state.day_sell_quantity}\n{state.day_sell_amount}\n{state.day_open_cost}\n{state.cost_method}\n{lots}\n{state.lots_merged:d}\n"
        f"{state.multiplier}\n{state.quality}\n{state.fee_quality}\n{state.version}"
    )


def order_digest(order: OpenOrder) -> int:
    """Return what one open order adds to the digest of its book."""
    return _hashed(
        f"{order.order_key}\n{order.strategy_id}\n{order.symbol}\n{order.side}\n{order.price}\n{order.quantity}\n{order.cum_filled}\n"
        f"{order.cancelled}\n{order.leaves}\n{order.status}"
    )


def _hashed(text: str) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:_DIGEST_BYTES], "big")


def total(parts: Iterable[int]) -> str:
    """Return the digest of a book from what its rows and open orders add to it, in any order."""
    return f"{sum(parts) % _MODULUS:032x}"


def digest(rows: Iterable[PositionState], orders: Iterable[OpenOrder]) -> str:
    """Return the digest of a book: 32 hexadecimal digits."""
    return total((*map(row_digest, rows), *map(order_digest, orders)))


def open_orders(account: Account) -> list[OpenOrder]:
    """Return the orders that may still be filled, and those of unknown state that have fills; not those of sessions that are closed.

    An order of a closed session ended with it, whether or not the broker said so.
    """
    # Names of sessions sort as their ordinals do, and a comparison of texts is all that most orders of the window cost.
    closed = ids.session_name(account.closed) if account.closed else ""
    return [
        _open(order)
        for order in account.orders.values()
        if order.session > closed and (order.leaves > 0 or (order.reported == "UNKNOWN" and order.cum_filled))
    ]


def _open(order: Order) -> OpenOrder:
    last = order.last
    return OpenOrder(
        order_key=order.order_key,
        order_id=order.order_id,
        seqno=order.seqno,
        session_id=order.session,
        strategy_id=order.strategy_id,
        intent_id=order.intent_id,
        symbol=last.symbol if last else "",
        side=last.side if last else "",
        order_type=last.order_type if last else "",
        price_type=last.price_type if last else "",
        order_cond=last.order_cond if last else "",
        oc_type=last.oc_type if last else "",
        price=order.price,
        quantity=order.quantity,
        cum_filled=order.cum_filled,
        cancelled=order.cancelled,
        leaves=order.leaves,
        status=order.status,
    )


def valued(position_key: str, quantity: int, open_cost: int, multiplier: int, mark_price: int, mark_ts: int) -> Valuation:
    """Return what a row is worth at a mark: (mark - average) x quantity x multiplier, without the rounding of the average."""
    return Valuation(position_key, mark_price, mark_ts, mark_price * quantity * multiplier - open_cost)


class Part(msgspec.Struct, frozen=True):
    """Which elements of a snapshot one part holds: slices of its rows, orders and valuations, as (first, end)."""

    rows: tuple[int, int]
    orders: tuple[int, int]
    valuations: tuple[int, int]


def split(rows: Sequence[int], orders: Sequence[int], valuations: Sequence[int], bytes_max: int) -> list[Part]:
    """Cut a snapshot into parts of at most `bytes_max`, in order; there is always one.

    Args:
        rows: encoded size of each row, in bytes.
        orders: of each open order.
        valuations: of each valuation.
        bytes_max: room of one part for them. An element that is larger is a part of its own.
    """
    parts: list[Part] = []
    firsts, ends, used = [0, 0, 0], [0, 0, 0], 0
    for which, size in _elements(rows, orders, valuations):
        if used and used + size > bytes_max:
            parts.append(_part(firsts, ends))
            firsts, used = list(ends), 0
        ends[which] += 1
        used += size
    return [*parts, _part(firsts, ends)]


def _elements(*groups: Sequence[int]) -> Iterator[tuple[int, int]]:
    for which, sizes in enumerate(groups):
        for size in sizes:
            yield which, size


def _part(firsts: Sequence[int], ends: Sequence[int]) -> Part:
    rows, orders, valuations = zip(firsts, ends, strict=True)
    return Part(rows, orders, valuations)


def joined(parts: Sequence[PositionSnapshot]) -> PositionSnapshot:
    """Return the whole of all parts of one snapshot, in order, as if it had one part."""
    return msgspec.structs.replace(
        parts[-1],
        part=1,
        parts=1,
        positions=tuple(chain.from_iterable(one.positions for one in parts)),
        orders=tuple(chain.from_iterable(one.orders for one in parts)),
        valuations=tuple(chain.from_iterable(one.valuations for one in parts)),
    )


class Parts:
    """Puts the parts of snapshots together, in the order in which they were written. One partition, or one account, at a time."""

    def __init__(self) -> None:
        self._open: dict[str, list[PositionSnapshot]] = {}

    def take(self, part: PositionSnapshot) -> PositionSnapshot | None:
        """Take one part in; return the whole, as if it had one part, with the last of them. What stays incomplete is dropped."""
        if part.parts == 1:
            self._open.pop(part.account, None)
            return part
        known = self._open.get(part.account, [])
        if part.part != len(known) + 1 or (known and known[0].snapshot_id != part.snapshot_id):
            known = []
        if part.part != len(known) + 1:
            # Its first parts are past the beginning of what is read.
            self._open.pop(part.account, None)
            return None
        known = [*known, part]
        if part.part < part.parts:
            self._open[part.account] = known
            return None
        self._open.pop(part.account, None)
        return joined(known)
