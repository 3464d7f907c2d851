"""Reports in the shapes of Shioaji 1.7.9's callbacks, as plain dictionaries.

Field order, optional keys, numbers that are now whole and now fractional, microseconds for stocks and whole seconds for futures: all as
documented. The receipt (`event_id`) is left empty: the broker gives it when it sends the report. `order_quantity` of a change is what is
still open after it (the documents leave that open after a partial fill).
"""

from random import Random
from typing import Any

from execpos.brokers.sim.config import SimAccount
from execpos.brokers.sim.market import CENT, Instrument
from execpos.brokers.sim.orders import Order

# How often an optional key is there, or a number comes without its fraction.
_OFTEN = 0.9


def _number(hundredths: int, rng: Random) -> int | float:
    whole, rest = divmod(hundredths, CENT)
    if rest == 0 and rng.random() > _OFTEN:
        return whole
    return hundredths / CENT


def _seconds(at_us: int, market: str) -> float:
    return at_us / 1_000_000 if market == "S" else float(at_us // 1_000_000)


def market_type(at_us: int) -> str:
    """Return Day or Night, by the clock in Taipei."""
    minute = (at_us // 60_000_000 + 8 * 60) % 1440
    return "Night" if minute >= 14 * 60 + 45 or minute < 6 * 60 else "Day"


def _account(account: SimAccount, rng: Random) -> dict[str, Any]:
    fields = {
        "account_type": account.market,
        "person_id": "",
        "broker_id": account.broker_id,
        "account_id": account.account_id,
        "signed": True,
    }
    if rng.random() < _OFTEN:
        fields["username"] = ""
    return fields


def _contract(instrument: Instrument, rng: Random) -> dict[str, Any]:
    if instrument.market == "S":
        fields = {"exchange": instrument.exchange, "code": instrument.code, "security_type": "STK"}
        if rng.random() < _OFTEN:
            fields |= {"symbol": "", "name": ""}
        fields["currency"] = "TWD"
        return fields
    return {
        "security_type": instrument.security_type,
        "code": instrument.code,
        "exchange": instrument.exchange,
        "delivery_month": instrument.month,
        "full_code": instrument.full_code,
        "delivery_date": "",
        "strike_price": float(instrument.strike),
        "option_right": instrument.right,
    }


def order_report(
    order: Order,
    at_us: int,
    rng: Random,
    *,
    op_type: str = "New",
    op_code: str = "00",
    op_msg: str = "",
    status_id: str = "",
    modified_price: int = 0,
    cancel_quantity: int = 0,
    order_quantity: int = 0,
) -> dict[str, Any]:
    """Return an SORDER or FORDER payload; an order without id (refused early) takes `status_id`."""
    instrument = order.instrument
    stock = instrument.market == "S"
    fields: dict[str, Any] = {
        "id": order.id,
        "seqno": order.seqno,
        "ordno": order.ordno,
        "account": _account(order.account, rng),
        "action": "Buy" if order.side > 0 else "Sell",
        "price": _number(order.price, rng),
        "quantity": order.quantity,
        "order_type": order.time_in_force,
    }
    if rng.random() < 0.5:
        fields["time_in_force"] = order.time_in_force
    fields["price_type"] = order.price_type
    if stock:
        fields |= {"order_cond": order.cond, "order_lot": order.lot, "custom_field": order.custom_field}
    else:
        fields |= {"market_type": market_type(at_us), "oc_type": "Auto", "subaccount": "", "combo": False}
    return {
        "event_id": "",
        "operation": {"op_type": op_type, "op_code": op_code, "op_msg": op_msg},
        "order": fields,
        "status": {
            "id": order.id or status_id,
            "exchange_ts": _seconds(at_us, instrument.market),
            "modified_price": _number(modified_price, rng),
            "cancel_quantity": cancel_quantity,
            "order_quantity": order_quantity,
            "web_id": order.web_id,
        },
        "contract": _contract(instrument, rng),
    }


def deal_report(order: Order, exchange_seq: str, quantity: int, price: int, at_us: int, rng: Random) -> dict[str, Any]:
    """Return an SDEAL or FDEAL payload for the order's latest match."""
    instrument = order.instrument
    stock = instrument.market == "S"
    fields: dict[str, Any] = {
        "event_id": "",
        "trade_id": order.id,
        "seqno": order.seqno,
        "ordno": order.ordno if stock else f"{order.ordno}{order.deals:03d}",
        "exchange_seq": exchange_seq,
        "broker_id": order.account.broker_id,
        "account_id": order.account.account_id,
        "action": "Buy" if order.side > 0 else "Sell",
        "code": instrument.code,
    }
    if stock:
        fields |= {"order_cond": order.cond, "order_lot": order.lot, "price": _number(price, rng), "quantity": quantity}
        fields |= {"web_id": order.web_id, "custom_field": order.custom_field}
    else:
        fields |= {"full_code": instrument.full_code, "price": _number(price, rng), "quantity": quantity, "subaccount": ""}
        fields |= {"security_type": instrument.security_type, "delivery_month": instrument.month, "strike_price": float(instrument.strike)}
        fields |= {"option_right": instrument.right, "market_type": market_type(at_us), "combo": False}
    fields["ts"] = _seconds(at_us, instrument.market)
    return fields
