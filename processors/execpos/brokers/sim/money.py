"""The broker's answers about money: balance, settlements, limits, margin, profits by code. Only the deposits are made up."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from execpos.brokers.sim.errors import BadRequestError
from execpos.brokers.sim.house import AccountFile
from execpos.brokers.sim.market import CENT

# TWD that every stock and every futures account begins with, and may buy for.
_DEPOSIT, _FUTURES_DEPOSIT = 50_000_000, 20_000_000
# Parts of a contract's value that are asked as margin.
_INITIAL, _MAINTENANCE = 0.08, 0.061
# trading_limits answers from 08:30 to 15:00, in minutes of the Taipei day.
_OPEN, _CLOSED = 8 * 60 + 30, 15 * 60
_ZERO_MARGIN = (
    "yesterday_balance", "today_balance", "deposit_withdrawal", "fee", "tax", "initial_margin", "maintenance_margin", "margin_call",
    "risk_indicator", "royalty_revenue_expenditure", "equity", "equity_amount", "option_openbuy_market_value",
    "option_opensell_market_value", "option_open_position", "option_settle_profitloss", "future_open_position",
    "today_future_open_position", "future_settle_profitloss", "available_margin", "plus_margin", "plus_margin_indicator",
    "security_collateral_amount", "order_margin_premium", "collateral_amount",
)  # fmt: skip


def _weekday(day: date, ahead: int) -> date:
    """Return the weekday so many weekdays after `day`, or before it."""
    step = 1 if ahead > 0 else -1
    while ahead:
        day += timedelta(days=step)
        ahead -= step * (day.weekday() < 5)
    return day


def settlements(file: AccountFile) -> list[dict[str, Any]]:
    """Return the money of stocks that moves today, tomorrow and the day after: what was traded two weekdays before each."""
    today = date.fromisoformat(file.date)
    return [
        {
            "date": _weekday(today, late).isoformat(),
            "amount": float(round(file.statement.flows.get(_weekday(today, late - 2).isoformat(), 0) / CENT)),
            "T": late,
        }
        for late in range(3)
    ]


def balance(file: AccountFile) -> dict[str, Any]:
    """Return what lies on the settlement account: the deposit and all that has moved by today."""
    settled = _weekday(date.fromisoformat(file.date), -2).isoformat()
    moved = sum(amount for day, amount in file.statement.flows.items() if day <= settled)
    return {"fetch_status": "Fetched", "acc_balance": float(_DEPOSIT + round(moved / CENT)), "date": file.date, "errmsg": ""}


def limits(file: AccountFile, now_us: int) -> dict[str, Any]:
    """Return the limits of a stock account.

    Raises:
        BadRequestError: it is not between 08:30 and 15:00.
    """
    minute = (now_us // 60_000_000 + 8 * 60) % 1440
    if not _OPEN <= minute < _CLOSED:
        raise BadRequestError("400: trading limits can be asked for from 08:30 to 15:00")
    used = sum(
        fill.units * fill.price for fill in file.fills if fill.order.side > 0 and fill.order.trading_date == file.date and not fill.busted
    )
    spent = used // CENT
    fields: dict[str, Any] = {"fetch_status": "Fetched"}
    for name, part in (("trading", spent), ("margin", 0), ("short", 0)):
        fields |= {f"{name}_limit": _DEPOSIT, f"{name}_used": part, f"{name}_available": _DEPOSIT - part}
    return fields


def margin(file: AccountFile) -> dict[str, Any]:
    """Return the 25 figures of a futures account; those that the simulator has no notion of are 0."""
    statement = file.statement
    rows = statement.positions()
    value = statement.contract_values()
    open_pnl = float(sum(row["pnl"] for row in rows))
    today = [row for row in statement.profits if row["date"] == file.date]
    realized = float(sum(row["pnl"] - row["fee"] - row["tax"] for row in statement.profits))
    equity = _FUTURES_DEPOSIT + realized + open_pnl
    initial = round(value * _INITIAL)
    fields: dict[str, Any] = dict.fromkeys(_ZERO_MARGIN, 0.0)
    fields |= {
        "yesterday_balance": float(_FUTURES_DEPOSIT + realized - sum(row["pnl"] - row["fee"] - row["tax"] for row in today)),
        "today_balance": float(_FUTURES_DEPOSIT + realized),
        "fee": float(sum(row["fee"] for row in today)),
        "tax": float(sum(row["tax"] for row in today)),
        "initial_margin": float(initial),
        "maintenance_margin": float(round(value * _MAINTENANCE)),
        "risk_indicator": round(100 * equity / initial, 2) if initial else 999.0,
        "equity": equity,
        "equity_amount": equity,
        "future_open_position": open_pnl,
        "future_settle_profitloss": float(sum(row["pnl"] for row in today)),
        "available_margin": equity - initial,
        "fetch_status": "Fetched",
    }
    return fields


def summary(market: str, profits: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return profits by code (and cond, or direction), and their total."""
    groups: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in profits:
        groups[row["code"], row["cond" if market == "S" else "direction"]].append(row)
    rows = [_stock_group(*key, found) if market == "S" else _contract_group(*key, found) for key, found in sorted(groups.items())]
    entry = float(sum(row["entry_price"] * row["quantity"] for row in rows))
    cover = float(sum(row["cover_price"] * row["quantity"] for row in rows))
    pnl = float(sum(row["pnl"] for row in rows))
    total = {
        "entry_amount": entry,
        "cover_amount": cover,
        "quantity": sum(row["quantity"] for row in rows),
        "buy_cost": entry,
        "sell_cost": cover,
        "pnl": pnl,
        "pr_ratio": round(100 * pnl / entry, 2) if entry else 0.0,
    }
    return {"market": market, "rows": rows, "total": total}


def _stock_group(code: str, cond: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    quantity = sum(row["quantity"] for row in found)
    entry = sum(detail["cost"] for row in found for detail in row["_details"])
    cover = round(sum(row["price"] * row["quantity"] for row in found))
    pnl = float(sum(row["pnl"] for row in found))
    return {
        "code": code,
        "quantity": quantity,
        "entry_price": round(entry / quantity, 2),
        "cover_price": round(cover / quantity, 2),
        "pnl": pnl,
        "currency": "TWD",
        "entry_cost": entry,
        "cover_cost": cover,
        "buy_cost": entry,
        "sell_cost": cover,
        "pr_ratio": round(100 * pnl / entry, 2) if entry else 0.0,
        "cond": cond,
    }


def _contract_group(code: str, direction: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    quantity = sum(row["quantity"] for row in found)
    return {
        "code": code,
        "quantity": quantity,
        "entry_price": sum(row["entry_price"] * row["quantity"] for row in found) / quantity,
        "cover_price": sum(row["cover_price"] * row["quantity"] for row in found) / quantity,
        "pnl": float(sum(row["pnl"] for row in found)),
        "currency": "TWD",
        "direction": direction,
        "tax": sum(row["tax"] for row in found),
        "fee": sum(row["fee"] for row in found),
    }


def taipei_wall_ns(at_us: int) -> int:
    """Return the clock on the wall in Taipei as ns, read as if it were UTC: the time of market data."""
    return (at_us + 8 * 3_600_000_000) * 1000


def day_of(now_us: int) -> str:
    """Return the ISO date in Taipei."""
    return datetime.fromtimestamp(now_us / 1_000_000 + 8 * 3600, UTC).date().isoformat()
