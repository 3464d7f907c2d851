"""Broker payloads to canonical reports: one shape for stocks, futures and options, shares instead of lots, integers instead of floats.

Source of the shapes and traps: the broker's documentation and type stubs up to version 1.7.9, collected in `contracts/execution.md`.
Keys that are documented but were seen missing are optional here; a key that identity, money or time rests on is required.
"""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from execpos.domain import ids, money, payloads
from execpos.domain.events import Market, Side
from execpos.domain.instruments import Instruments
from execpos.domain.payloads import Number, OrderPayload
from execpos.domain.vocabulary import ORDER_KINDS
from execpos.errors import Park

# A report outside these years (UTC, seconds) has a broken clock, or its time is not in seconds.
_TS_MIN_S, _TS_MAX_S = 946_684_800, 4_102_444_800

# In the broker's unit, so at most 10^12 shares: sums over millions of reports stay within a long.
_QUANTITY_MAX = 1_000_000_000


class OrderReport(msgspec.Struct, frozen=True, gc=False):
    """One report on an order. Quantities in shares or contracts, price in 10⁻⁶, time in µs UTC.

    `event_id` is the receipt, else `content_key`. `named` is false for a report that names no order, as an early reject.
    """

    event_id: str
    content_key: str
    receipt: str
    named: bool
    market: Market
    order_id: str
    seqno: str
    ordno: str
    op_type: str
    op_code: str
    op_msg: str
    symbol: str
    security_type: str
    side: Side
    order_type: str
    price_type: str
    order_cond: str
    order_lot: str
    oc_type: str
    price: int
    quantity: int
    cancel_quantity: int
    custom_field: str
    exchange_ts: int
    session: str


class Deal(msgspec.Struct, frozen=True, gc=False):
    """One report of a match. Quantity in shares or contracts, price in 10⁻⁶, time in µs UTC."""

    receipt: str
    market: Market
    trade_id: str
    exchange_seq: str
    seqno: str
    ordno: str
    code: str
    symbol: str
    security_type: str
    side: Side
    order_cond: str
    order_lot: str
    price: int
    reported_quantity: int
    custom_field: str
    combo: bool
    exchange_ts: int
    session: str


def account_parts(kind: str, payload: Mapping[str, Any]) -> tuple[str, str]:
    """Return (broker_id, account_id) as a callback of `kind` names them; empty texts for what cannot be read. Never raises."""
    holder: Any = payload
    if kind in ORDER_KINDS:
        order = payload.get("order")
        holder = order.get("account") if isinstance(order, Mapping) else None
    if not isinstance(holder, Mapping):
        return "", ""
    broker_id, account_id = holder.get("broker_id"), holder.get("account_id")
    return broker_id if isinstance(broker_id, str) else "", account_id if isinstance(account_id, str) else ""


def market_of(kind: str) -> Market:
    """Return the market of a callback kind, which begins with it."""
    return "S" if kind[0] == "S" else "F"


_SIDES: dict[str, Side] = {"Buy": "BUY", "Sell": "SELL"}


def _side(action: str) -> Side:
    side = _SIDES.get(action)
    if side is None:
        raise Park("bad_payload", f"action is {action!r}, not Buy or Sell")
    return side


def _time_us(seconds: Number, where: str) -> int:
    if not _TS_MIN_S <= seconds <= _TS_MAX_S:
        raise Park("bad_number", f"{where} is {seconds}, not seconds since the epoch between the years 2000 and 2100")
    return round(seconds * 1_000_000)


# Accounts are few and come again and again; the bound only keeps a flood of wrong ones from filling memory.
_account_key = lru_cache(maxsize=65_536)(ids.account_key)


def _check_account(env: str, market: Market, broker_id: str, account_id: str, expected: str) -> None:
    found = _account_key(env, market, broker_id, account_id)
    if found != expected:
        raise Park("wrong_account", f"the payload names account {found}, the record {expected}")


def _signed_price(value: Number, where: str, *, may_be_negative: bool) -> int:
    price = money.micros(value, where)
    if price < 0 and not may_be_negative:
        raise Park("bad_number", f"{where} is {value}, negative")
    return price


def _quantity(value: Number | None, where: str) -> int:
    if type(value) is int and 0 <= value <= _QUANTITY_MAX:
        return value
    quantity = money.whole(value or 0, where)
    if quantity > _QUANTITY_MAX:
        raise Park("bad_number", f"{where} is {value}, above {_QUANTITY_MAX}")
    return quantity


def _plain(value: Number) -> Number:
    """Return a number that reads the same whether it came as 1 or as 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _content_key(name: str, raw: OrderPayload, price: int, quantity: int, cancelled: int, exchange_ts: int) -> str:
    """Return 16 hex digits over what a report says of its order: the identity that it has besides its receipt.

    In: what tells two operations on one order apart; the prices too, because futures are stamped in whole seconds and may be changed twice
    in one. Out: what may differ between a callback and the record of it (optional words, ordno, the broker's text). Of a million reports
    in one window, any two meet by chance with odds of 1 to 37 million.
    """
    op_type, op_code = raw.operation.op_type, raw.operation.op_code
    modified, left = raw.status.modified_price, raw.status.order_quantity
    numbers = f"{exchange_ts}|{price}|{_plain(modified) if modified else 0}|{quantity}|{cancelled}|{_plain(left) if left else 0}"
    # With their lengths before them, no two lists of texts read alike.
    told = f"{numbers}|{len(name)}|{len(op_type)}|{name}{op_type}{op_code}"
    return blake2b(told.encode(), digest_size=8).hexdigest()


def order_report(market: Market, payload: bytes, env: str, account: str, instruments: Instruments) -> OrderReport:
    """Return the canonical report of an SORDER or FORDER payload.

    Raises:
        Park: not JSON, a required field missing, too long or of the wrong type (`bad_payload`), a number that cannot be (`bad_number`), an
            unknown lot (`unknown_order_lot`), or another account than the record's (`wrong_account`).
    """
    raw = payloads.read(payloads.ORDERS, payload, f"{market}ORDER")
    order, status, operation = raw.order, raw.status, raw.operation
    _check_account(env, market, order.account.broker_id, order.account.account_id, account)
    lot = order.order_lot or ""
    # Shares in a unit of the report; the lot is checked whatever the quantities are.
    size = 1 if market == "F" else instruments.shares(lot, 1)
    quantity = _quantity(order.quantity, "order.quantity")
    cancelled = _quantity(status.cancel_quantity, "status.cancel_quantity")
    # A combo's net price may be negative; a modified price counts only where the report gives one.
    price = placed = _signed_price(order.price, "order.price", may_be_negative=order.combo is True)
    if operation.op_type == "UpdatePrice" and operation.op_code == "00" and status.modified_price:
        price = _signed_price(status.modified_price, "status.modified_price", may_be_negative=order.combo is True)
    exchange_ts = _time_us(status.exchange_ts, "status.exchange_ts")
    symbol = (raw.contract.full_code or raw.contract.code) if market == "F" else raw.contract.code
    side = _side(order.action)
    order_id, seqno, receipt = order.id or status.id or "", order.seqno or "", raw.event_id or ""
    named = order_id or seqno
    content_key = _content_key(named or f"{symbol} {side}", raw, placed, quantity, cancelled, exchange_ts)
    event_id = receipt or content_key
    # By position, as all wide records of the hot path: keywords cost 30 ns a field.
    return OrderReport(
        event_id,
        content_key,
        receipt,
        bool(named),
        market,
        order_id or event_id,
        seqno,
        order.ordno or "",
        operation.op_type,
        operation.op_code,
        operation.op_msg or "",
        symbol,
        raw.contract.security_type or "",
        side,
        order.time_in_force or order.order_type or "",
        order.price_type or "",
        order.order_cond or "",
        lot,
        order.oc_type or "",
        price,
        quantity * size,
        cancelled * size,
        order.custom_field or "",
        exchange_ts,
        ids.session_id(exchange_ts),
    )


def deal(market: Market, payload: bytes, env: str, account: str) -> Deal:
    """Return the canonical report of an SDEAL or FDEAL payload; the quantity is still in the broker's lots.

    Raises:
        Park: not JSON, a required field missing, empty, too long or of the wrong type (`bad_payload`), a number that cannot be
            (`bad_number`), or another account than the record's (`wrong_account`).
    """
    raw = payloads.read(payloads.DEALS, payload, f"{market}DEAL")
    _check_account(env, market, raw.broker_id, raw.account_id, account)
    if not raw.trade_id or not raw.exchange_seq:
        raise Park("bad_payload", f"{market}DEAL: trade_id or exchange_seq is empty, so the fill has no identity")
    symbol = (raw.full_code or "") if market == "F" else raw.code
    if not symbol:
        raise Park("bad_payload", f"{market}DEAL: {'full_code' if market == 'F' else 'code'} is empty")
    exchange_ts = _time_us(raw.ts, "ts")
    combo = raw.combo is True
    side, price = _side(raw.action), _signed_price(raw.price, "price", may_be_negative=combo)
    quantity = _quantity(raw.quantity, "quantity")
    if not quantity:
        raise Park("bad_number", "quantity is 0, not positive")
    return Deal(
        raw.event_id or "",
        market,
        raw.trade_id,
        raw.exchange_seq,
        raw.seqno or "",
        raw.ordno or "",
        raw.code,
        symbol,
        raw.security_type or "",
        side,
        raw.order_cond or "",
        raw.order_lot or "",
        price,
        quantity,
        raw.custom_field or "",
        combo,
        exchange_ts,
        ids.session_id(exchange_ts),
    )


Operation = Literal["NEW_OK", "NEW_FAILED", "CANCEL_OK", "UPDATE_OK", "FAILED", "REJECT", "OTHER"]

_OPERATIONS: dict[tuple[str, bool], Operation] = {
    ("New", True): "NEW_OK",
    ("New", False): "NEW_FAILED",
    ("Cancel", True): "CANCEL_OK",
    ("Cancel", False): "FAILED",
    ("UpdatePrice", True): "UPDATE_OK",
    ("UpdatePrice", False): "FAILED",
    ("UpdateQty", True): "UPDATE_OK",
    ("UpdateQty", False): "FAILED",
    ("Reject", True): "REJECT",
    ("Reject", False): "REJECT",
}


def operation(op_type: str, op_code: str) -> Operation:
    """Return what a report says happened; success only when op_code is 00."""
    return _OPERATIONS.get((op_type, op_code == "00"), "OTHER")
