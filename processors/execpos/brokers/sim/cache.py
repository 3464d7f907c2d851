"""The client's own order cache: what `list_trades` shows, and how far it can be believed.

It is a second opinion as in the real library: empty after a login, filled by `update_status`, carried on by the reports. A report that it
cannot place makes it Degraded, never wrong on purpose; the callback gets every report nevertheless.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

# A stream that jumps further has begun anew unnoticed; to list every missing number would only cost memory.
_MISSING_MAX = 10_000

_ORDER_KIND = {"S": "SORDER", "F": "FORDER"}
_DEAL_KIND = {"S": "SDEAL", "F": "FDEAL"}
_INFORMATION = frozenset({"NotSubscribed", "NoBaseline"})

Fields = dict[str, Any]


class _Stream:
    """Receipts of one kind of an account: where they stand and which are missing."""

    def __init__(self) -> None:
        self.name = ""
        self.last = 0
        self.missing: set[int] = set()
        self.untrackable = False

    def take(self, receipt: str) -> None:
        stream, _, number = receipt.rpartition(":")
        if not stream or not number.isdigit():
            self.untrackable = True
            return
        seq = int(number)
        if stream != self.name:
            self.name, self.last = stream, seq
            self.missing.clear()
        elif seq > self.last:
            self.missing.update(range(max(self.last + 1, seq - _MISSING_MAX), seq))
            self.last = seq
        else:
            self.missing.discard(seq)


class _AccountCache:
    def __init__(self) -> None:
        self.subscribed = False
        self.trades: dict[str, Fields] = {}
        self.streams: dict[str, _Stream] = {}
        # Kinds that a baseline or a report has shown.
        self.known: set[str] = set()
        # Deals whose order has not come.
        self.pending: dict[str, list[Mapping[str, Any]]] = {}


class TradeCache:
    """Orders by account, from `load` and from reports. Any thread; never blocks for long."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts: dict[str, _AccountCache] = {}

    def clear(self) -> None:
        """Forget everything, subscriptions too: a new login."""
        with self._lock:
            self._accounts.clear()

    def subscribe(self, account: str) -> None:
        """Note that an account's reports come."""
        with self._lock:
            self._of(account).subscribed = True

    def unsubscribe(self, account: str) -> None:
        """Note that an account's reports come no more."""
        with self._lock:
            self._of(account).subscribed = False

    def load(self, account: str, trades: Sequence[Fields]) -> None:
        """Take the broker's list of an account as the new baseline: gaps and pending deals are settled by it."""
        with self._lock:
            cache = self._of(account)
            cache.trades = {each["order"]["id"]: _copied(each) for each in trades}
            cache.pending.clear()
            cache.known.add(_ORDER_KIND[account[0]])
            if any(each["status"]["deals"] for each in trades):
                cache.known.add(_DEAL_KIND[account[0]])
            for stream in cache.streams.values():
                stream.missing.clear()
                stream.untrackable = False

    def take(self, state: str, payload: Mapping[str, Any]) -> None:
        """Carry the cache on by a report; one that repeats changes nothing."""
        deal = state.endswith("DEAL")
        holder = payload if deal else payload["order"]["account"]
        with self._lock:
            cache = self._of(f"{state[0]}|{holder['broker_id']}|{holder['account_id']}")
            cache.streams.setdefault(state, _Stream()).take(payload["event_id"])
            cache.known.add(state)
            if not deal:
                self._order(cache, payload)
            elif payload["trade_id"] in cache.trades:
                _fill(cache.trades[payload["trade_id"]], payload)
            else:
                cache.pending.setdefault(payload["trade_id"], []).append(payload)

    def trades(self) -> list[Fields]:
        """Return copies of all orders, account by account."""
        with self._lock:
            return [_copied(trade) for account in sorted(self._accounts) for trade in self._accounts[account].trades.values()]

    def health(self, account: str) -> tuple[str, list[tuple[str, str]]]:
        """Return Unknown, Healthy or Degraded, and the reasons as (kind of report, code)."""
        orders, deals = _ORDER_KIND[account[0]], _DEAL_KIND[account[0]]
        with self._lock:
            cache = self._of(account)
            reasons = []
            for kind in (orders, deals):
                stream = cache.streams.get(kind)
                if not cache.subscribed:
                    reasons.append((kind, "NotSubscribed"))
                if kind not in cache.known:
                    reasons.append((kind, "NoBaseline"))
                if stream is not None and stream.missing:
                    reasons.append((kind, "SequenceGap"))
                if stream is not None and stream.untrackable:
                    reasons.append((kind, "UntrackableEventId"))
            if cache.pending:
                reasons.append((deals, "PendingReport"))
        if any(code not in _INFORMATION for _, code in reasons):
            return "Degraded", reasons
        return ("Unknown" if reasons else "Healthy"), reasons

    def _of(self, account: str) -> _AccountCache:
        return self._accounts.setdefault(account, _AccountCache())

    @staticmethod
    def _order(cache: _AccountCache, payload: Mapping[str, Any]) -> None:
        order, operation, status = payload["order"], payload["operation"], payload["status"]
        if not order["id"]:
            return
        trade = cache.trades.get(order["id"])
        if trade is None:
            trade = cache.trades[order["id"]] = _new(payload)
        for deal in cache.pending.pop(order["id"], ()):
            _fill(trade, deal)
        seen = trade.setdefault("_seen", set())
        if payload["event_id"] in seen:
            return
        seen.add(payload["event_id"])
        found = trade["status"]
        if operation["op_code"] != "00":
            if operation["op_type"] in {"New", "Reject"}:
                found["status"] = "Failed"
            return
        if operation["op_type"] in {"Cancel", "UpdateQty"}:
            # No more than is open: a cancel that the baseline has already may come as a report too.
            left = trade["order"]["quantity"] - found["deal_quantity"] - found["cancel_quantity"]
            found["cancel_quantity"] += min(status["cancel_quantity"], max(0, left))
        elif operation["op_type"] == "UpdatePrice":
            found["modified_price"] = float(status["modified_price"])
        found["modified_us"] = round(status["exchange_ts"] * 1_000_000)
        _judge(trade)


def _new(payload: Mapping[str, Any]) -> Fields:
    """Return the list's entry of an order that a report speaks of for the first time."""
    order, contract = payload["order"], payload["contract"]
    futures = contract["security_type"] != "STK"
    at_us = round(payload["status"]["exchange_ts"] * 1_000_000)
    names = ("id", "seqno", "ordno", "action", "price", "quantity", "order_type", "price_type", "order_cond", "order_lot", "custom_field")
    fields = {name: order.get(name) for name in names}
    fields |= {"time_in_force": order["order_type"], "daytrade_short": None if futures else False, "octype": order.get("oc_type")}
    account = order["account"]
    return {
        "account": f"{account['account_type']}|{account['broker_id']}|{account['account_id']}",
        "contract": {
            "security_type": contract["security_type"],
            "exchange": "TAIFEX" if futures else contract["exchange"],
            "code": contract["full_code"] if futures else contract["code"],
        },
        "order": fields,
        "status": {
            "id": order["id"],
            "status": "Submitted",
            "status_code": "0000" if futures else "00",
            "web_id": payload["status"]["web_id"],
            "order_us": at_us,
            "msg": payload["operation"]["op_msg"],
            "modified_us": at_us,
            "modified_price": 0.0,
            "order_quantity": order["quantity"],
            "deal_quantity": 0,
            "cancel_quantity": 0,
            "deals": [],
        },
    }


def _fill(trade: Fields, deal: Mapping[str, Any]) -> None:
    status = trade["status"]
    if any(each["seq"] == deal["exchange_seq"] for each in status["deals"]):
        return
    fields = {"seq": deal["exchange_seq"], "price": float(deal["price"]), "quantity": deal["quantity"], "ts": deal["ts"]}
    status["deals"].append(fields)
    status["deal_quantity"] += deal["quantity"]
    _judge(trade)


def _judge(trade: Fields) -> None:
    status = trade["status"]
    if status["status"] == "Failed":
        return
    left = trade["order"]["quantity"] - status["deal_quantity"] - status["cancel_quantity"]
    if left > 0:
        status["status"] = "PartFilled" if status["deal_quantity"] else "Submitted"
    else:
        status["status"] = "Cancelled" if status["cancel_quantity"] else "Filled"


def _copied(trade: Fields) -> Fields:
    """Return a copy that shares nothing that changes."""
    status = trade["status"]
    return {
        **trade,
        "contract": dict(trade["contract"]),
        "order": dict(trade["order"]),
        "status": {**status, "deals": [dict(deal) for deal in status["deals"]]},
    }
