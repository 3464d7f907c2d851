"""Broker payloads to canonical reports: one shape for stocks, futures and options, shares instead of lots, integers instead of floats.

Source of the shapes and traps: the broker's documentation and type stubs up to version 1.7.9, collected in `contracts/execution.md`.
Keys that are documented but were seen missing are optional here; a key that identity, money or time rests on is required.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeVar

import msgspec

from execpos.domain import ids, money
from execpos.domain.events import Market, Side
from execpos.domain.instruments import Instruments
from execpos.errors import Park

# A report outside these years (UTC, seconds) has a broken clock, or its time is not in seconds.
_TS_MIN_S, _TS_MAX_S = 946_684_800, 4_102_444_800

ORDER_KINDS = frozenset({"SORDER", "FORDER"})
DEAL_KINDS = frozenset({"SDEAL", "FDEAL"})
CATCHUP = "CATCHUP_"

T = TypeVar("T")
Number = int | float
Text = str | None


class _Operation(msgspec.Struct):
    op_type: str
    op_code: str
    op_msg: Text = None


class _Account(msgspec.Struct):
    broker_id: str
    account_id: str
    account_type: Text = None


class _Order(msgspec.Struct):
    account: _Account
    action: str
    price: Number
    quantity: Number
    id: Text = None
    seqno: Text = None
    ordno: Text = None
    order_type: Text = None
    time_in_force: Text = None
    price_type: Text = None
    order_cond: Text = None
    order_lot: Text = None
    oc_type: Text = None
    custom_field: Text = None
    combo: bool | None = None


class _Status(msgspec.Struct):
    exchange_ts: Number
    id: Text = None
    modified_price: Number | None = None
    cancel_quantity: Number | None = None
    order_quantity: Number | None = None


class _Contract(msgspec.Struct):
    code: str
    full_code: Text = None
    security_type: Text = None


class _OrderPayload(msgspec.Struct):
    operation: _Operation
    order: _Order
    status: _Status
    contract: _Contract
    event_id: Text = None


class _DealPayload(msgspec.Struct):
    trade_id: str
    exchange_seq: str
    broker_id: str
    account_id: str
    action: str
    code: str
    price: Number
    quantity: Number
    ts: Number
    event_id: Text = None
    seqno: Text = None
    ordno: Text = None
    full_code: Text = None
    security_type: Text = None
    order_cond: Text = None
    order_lot: Text = None
    custom_field: Text = None
    combo: bool | None = None


class OrderReport(msgspec.Struct, frozen=True):
    """One report on an order. Quantities in shares or contracts, price in 10⁻⁶, time in µs UTC."""

    event_id: str
    receipt: str
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


class Deal(msgspec.Struct, frozen=True):
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


_decode_order = msgspec.json.Decoder(_OrderPayload).decode
_decode_deal = msgspec.json.Decoder(_DealPayload).decode


class DealHint(msgspec.Struct):
    """What can be read of a deal that is otherwise broken: enough to know which key it would have moved."""

    code: Text = None
    full_code: Text = None
    order_cond: Text = None


_decode_hint = msgspec.json.Decoder(DealHint).decode


def hint(payload: bytes) -> DealHint:
    """Return what can be read of a broken deal; all fields None when nothing can."""
    try:
        return _decode_hint(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return DealHint()


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


def _side(action: str) -> Side:
    if action == "Buy":
        return "BUY"
    if action == "Sell":
        return "SELL"
    raise Park("bad_payload", f"action is {action!r}, not Buy or Sell")


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


def _positive(value: int, where: str) -> int:
    if value <= 0:
        raise Park("bad_number", f"{where} is {value}, not positive")
    return value


def _signed_price(value: Number, where: str, *, may_be_negative: bool) -> int:
    price = money.micros(value, where)
    if price < 0 and not may_be_negative:
        raise Park("bad_number", f"{where} is {value}, negative")
    return price


# How the bridge sends a report that is too large to travel: its length and hash alone.
_OVERSIZED = b'{"oversized":'


def _decoded(decode: Callable[[bytes], T], payload: bytes, what: str) -> T:
    if payload.startswith(_OVERSIZED):
        raise Park("oversized", f"{what}: larger than bridge.max_payload_bytes, so only its length and hash came")
    try:
        return decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Park("bad_payload", f"{what}: {error}") from error


def order_report(market: Market, payload: bytes, env: str, account: str, instruments: Instruments) -> OrderReport:
    """Return the canonical report of an SORDER or FORDER payload.

    Raises:
        Park: not JSON, a required field missing or of the wrong type (`bad_payload`), a number that cannot be (`bad_number`), an
            unknown lot (`unknown_order_lot`), or another account than the record's (`wrong_account`).
    """
    raw = _decoded(_decode_order, payload, f"{market}ORDER")
    order, status, operation = raw.order, raw.status, raw.operation
    _check_account(env, market, order.account.broker_id, order.account.account_id, account)
    lot = order.order_lot or ""

    def units(value: Number | None, where: str) -> int:
        count = money.whole(value or 0, where)
        return count if market == "F" else instruments.shares(lot, count)

    op_type, op_code = operation.op_type, operation.op_code
    cancelled = units(status.cancel_quantity, "status.cancel_quantity")
    # A combo's net price may be negative; a modified price counts only where the report gives one.
    price = _signed_price(order.price, "order.price", may_be_negative=order.combo is True)
    if op_type == "UpdatePrice" and op_code == "00" and status.modified_price:
        price = _signed_price(status.modified_price, "status.modified_price", may_be_negative=order.combo is True)
    exchange_ts = _time_us(status.exchange_ts, "status.exchange_ts")
    order_id = order.id or status.id or ""
    receipt = raw.event_id or ""
    session = ids.session_id(exchange_ts)
    # Without a receipt the report's own content is its identity: the same content again is the same report.
    event_id = receipt or ids.join(
        session, order.seqno or order_id, op_type, str(exchange_ts), op_code, str(status.order_quantity or 0), str(cancelled)
    )
    return OrderReport(
        event_id=event_id,
        receipt=receipt,
        market=market,
        order_id=order_id or event_id,
        seqno=order.seqno or "",
        ordno=order.ordno or "",
        op_type=op_type,
        op_code=op_code,
        op_msg=operation.op_msg or "",
        symbol=(raw.contract.full_code or raw.contract.code) if market == "F" else raw.contract.code,
        security_type=raw.contract.security_type or "",
        side=_side(order.action),
        order_type=order.time_in_force or order.order_type or "",
        price_type=order.price_type or "",
        order_cond=order.order_cond or "",
        order_lot=lot,
        oc_type=order.oc_type or "",
        price=price,
        quantity=units(order.quantity, "order.quantity"),
        cancel_quantity=cancelled,
        custom_field=order.custom_field or "",
        exchange_ts=exchange_ts,
        session=session,
    )


def deal(market: Market, payload: bytes, env: str, account: str) -> Deal:
    """Return the canonical report of an SDEAL or FDEAL payload; the quantity is still in the broker's lots.

    Raises:
        Park: not JSON, a required field missing, empty or of the wrong type (`bad_payload`), a number that cannot be (`bad_number`),
            or another account than the record's (`wrong_account`).
    """
    raw = _decoded(_decode_deal, payload, f"{market}DEAL")
    _check_account(env, market, raw.broker_id, raw.account_id, account)
    if not raw.trade_id or not raw.exchange_seq:
        raise Park("bad_payload", f"{market}DEAL: trade_id or exchange_seq is empty, so the fill has no identity")
    symbol = (raw.full_code or "") if market == "F" else raw.code
    if not symbol:
        raise Park("bad_payload", f"{market}DEAL: {'full_code' if market == 'F' else 'code'} is empty")
    exchange_ts = _time_us(raw.ts, "ts")
    combo = raw.combo is True
    return Deal(
        receipt=raw.event_id or "",
        market=market,
        trade_id=raw.trade_id,
        exchange_seq=raw.exchange_seq,
        seqno=raw.seqno or "",
        ordno=raw.ordno or "",
        code=raw.code,
        symbol=symbol,
        security_type=raw.security_type or "",
        side=_side(raw.action),
        order_cond=raw.order_cond or "",
        order_lot=raw.order_lot or "",
        price=_signed_price(raw.price, "price", may_be_negative=combo),
        reported_quantity=_positive(money.whole(raw.quantity, "quantity"), "quantity"),
        custom_field=raw.custom_field or "",
        combo=combo,
        exchange_ts=exchange_ts,
        session=ids.session_id(exchange_ts),
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
