"""Puts an account right that differs from what its history says: the effect of a REBUILD correction.

Nothing is replaced in memory. What differs goes the way of every other change: revisions of fills, events of orders, one delta a row, each
through the undo log and the sink, so that rows stay the sums of their deltas and a restart finds what the live ledger has. The rows of a
key that differs become their own bases (ADR 0022): places in the log that two folds gave differently cannot meet in one refold.
"""

from collections.abc import Iterable

import msgspec

from execpos.domain import ids, orders
from execpos.domain.account import Account
from execpos.domain.book import Position, Source
from execpos.domain.correction_rules import Applied, Refused
from execpos.domain.desk import Sink, named
from execpos.domain.events import FillEvent, OrderEvent
from execpos.domain.orders import Order

Key = tuple[str, str]
"""Symbol and book."""

# What a fill is, without its place in the log, its times, and which record said so.
_FILL_FIELDS = (
    "digest",
    "strategy_id",
    "symbol",
    "security_type",
    "book",
    "side",
    "quantity",
    "price",
    "multiplier",
    "fee_est",
    "tax_est",
    "trading_date",
    "voided",
    "quality",
    "fee_quality",
    "entry_kind",
    "read_began_ts",
)
_ORDER_FIELDS = ("reported", "quantity", "cancelled", "price", "strategy_id", "intent_id")
_ROW_FIELDS = ("row", "method", "quality", "fee_quality", "multiplier", "security_type", "currency")


def adopt(account: Account, folded: Account, sink: Sink, source: Source, trading_date: int) -> Applied:
    """Make an account what another one, folded from the same history, is; versions, receipts and claims stay as they are.

    Orders that only `account` has stay too: nothing says that they never were.

    Raises:
        Refused: nothing differs (`no_effect`); nothing was changed.
    """
    fills = _fills_that_differ(account, folded)
    keys = _keys_that_differ(account, folded, fills)
    known = [order for order in folded.orders.values() if _in_window(account, order.session) and _differs(account, order)]
    if not fills and not keys and not known:
        raise Refused("no_effect", "the book is what its history makes of it")
    first = account.next_seq
    changed = dict.fromkeys(_put_fill(account, folded, fill_id, sink, source).order_key for fill_id in fills)
    for order_key in dict.fromkeys((*changed, *(order.order_key for order in known))):
        _put_order(account, order_key, folded.orders.get(order_key), sink, source)
    seq = account.take_seqs(1)[0]
    for key in keys:
        for delta in account.book.adopt(key, folded.book, seq, source, trading_date):
            sink.delta(delta)
    return Applied(tuple(range(first, seq + 1)))


def _in_window(account: Account, session: str) -> bool:
    return ids.session_ordinal(session) >= account.oldest_session()


# --- what differs ------------------------------------------------------------------------------------------------------------------------


def _fills_that_differ(account: Account, folded: Account) -> list[str]:
    """Return the ids of fills in the window of both that one lacks, or that say something else; in the order of their logs."""
    oldest = max(account.oldest_session(), folded.oldest_session())
    found = []
    for fill_id in dict.fromkeys((*(item[2] for item in folded.fill_log), *(item[2] for item in account.fill_log))):
        ours, theirs = account.fills.get(fill_id), folded.fills.get(fill_id)
        either = theirs or ours
        if either is None or ids.session_ordinal(either.session_id) < oldest:
            continue
        if theirs is None:
            if ours is not None and not ours.voided:
                found.append(fill_id)
        elif ours is None or _said(ours) != _said(theirs):
            found.append(fill_id)
    return found


def _said(fill: FillEvent) -> list[object]:
    return [getattr(fill, name) for name in _FILL_FIELDS]


def _keys_that_differ(account: Account, folded: Account, fills: Iterable[str]) -> list[Key]:
    """Return the keys with a row or a fill that differs, sorted."""
    keys = {
        (fill.symbol, fill.book)
        for fill_id in fills
        for fill in (account.fills.get(fill_id), folded.fills.get(fill_id))
        if fill is not None and fill.symbol
    }
    for row_key in account.book.rows.keys() | folded.book.rows.keys():
        if _shape(account.book.rows.get(row_key)) != _shape(folded.book.rows.get(row_key)):
            keys.add(row_key[:2])
    return sorted(keys)


def _shape(position: Position | None) -> list[object] | None:
    return [getattr(position, name) for name in _ROW_FIELDS] if position is not None and position.version else None


def _differs(account: Account, order: Order) -> bool:
    """Tell whether reports say something else of an order than we know."""
    ours = account.orders.get(order.order_key)
    if order.last is None:
        return False
    return ours is None or ours.last is None or any(getattr(ours, name) != getattr(order, name) for name in _ORDER_FIELDS)


# --- what is done ------------------------------------------------------------------------------------------------------------------------


def _put_fill(account: Account, folded: Account, fill_id: str, sink: Sink, source: Source) -> FillEvent:
    ours, theirs = account.fills.get(fill_id), folded.fills.get(fill_id)
    if ours is None:
        assert theirs is not None  # noqa: S101 (it is in one of the two)
        if theirs.digest:
            account.accept_session(ids.session_ordinal(theirs.session_id))
        after = msgspec.structs.replace(theirs, fill_seq=account.next_seq, **_by(source))
    elif theirs is None:
        order = folded.orders.get(ours.order_key)
        owner = {"strategy_id": order.strategy_id, "intent_id": order.intent_id} if order else {}
        after = msgspec.structs.replace(ours, voided=True, revision=ours.revision + 1, **owner, **_by(source))
    else:
        said = {name: getattr(theirs, name) for name in (*_FILL_FIELDS, "intent_id", "seqno", "custom_field")}
        after = msgspec.structs.replace(ours, revision=ours.revision + 1, **said, **_by(source))
    account.put_synthetic(after)
    sink.fill(after)
    return after


def _by(source: Source) -> dict[str, object]:
    return {"cause": "REBUILD", "ingest_ts": source.ingest_ts, "normalized_ts": source.now, **named(source)}


def _put_order(account: Account, order_key: str, theirs: Order | None, sink: Sink, source: Source) -> None:
    """Make an order what its reports say, as `theirs` has them, and its fills, as `account` has them by now; as a restart would."""
    before = account.orders.get(order_key)
    event: OrderEvent | None = None
    made = before and msgspec.structs.replace(before, cum_filled=0, cum_amount=0, fee=0, tax=0)
    if theirs is not None and theirs.last is not None and _differs(account, theirs):
        event = msgspec.structs.replace(
            theirs.last,
            revision=(before.revision if before else 0) + 1,
            strategy_id=theirs.strategy_id,
            intent_id=theirs.intent_id,
            reported=theirs.reported,
            quantity=theirs.quantity,
            cancelled=theirs.cancelled,
            price=theirs.price,
            seqno=theirs.seqno,
            custom_field=theirs.custom_field,
            **_by(source),
        )
        made = orders.restored(event, before)
    fills = [account.fills[fill_id] for fill_id in account.fills_of_order.get(order_key, ())]
    fills = [fill for fill in fills if fill.digest and not ids.is_synthetic(fill.order_id)]
    if made is not None and made.last is None and fills:
        # No event tells whose it is, so a restart takes it from its first fill.
        made = msgspec.structs.replace(made, strategy_id=fills[0].strategy_id, intent_id=fills[0].intent_id)
    for fill in fills:
        made = orders.with_fill(made, fill)
    if made is None:
        return
    if event is not None:
        event = msgspec.structs.replace(
            event,
            status=made.status,
            cum_filled=made.cum_filled,
            leaves=made.leaves,
            overfilled=made.overfilled,
            seqno=made.seqno,
            custom_field=made.custom_field,
        )
        made = msgspec.structs.replace(made, last=event)
        account.put_report(event.event_id, event.content_key, event.session_id)
        sink.order(event)
    account.put_order(made)
