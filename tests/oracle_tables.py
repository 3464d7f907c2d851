"""What the oracle reads: the configuration files, and the numbers, times and names in reports. Apart from the domain, as `oracle` says."""

import re
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

_CONFIG = Path(__file__).resolve().parents[1] / "config"
_TAIPEI = timezone(timedelta(hours=8))
_MILLION = 1_000_000
_LARGEST = 10**18 - 1
_MOST = 10**9


class Bad(Exception):
    """A callback that cannot become state; the class that it counts in."""


@cache
def table(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((_CONFIG / f"{name}.yaml").read_text("utf-8"))
    return read


def product_of(market: str, code: str, full_code: str) -> dict[str, Any] | None:
    tables = table("instruments")
    if market == "F":
        name = tables["roots"].get(code)
    else:
        name = next((rule["product"] for rule in tables["stocks"] if re.fullmatch(rule["pattern"], full_code)), None)
    return tables["products"][name] if name else None


def shares(market: str, lot: str, count: int) -> int:
    if market == "F":
        return count
    return count * int(table("instruments")["lots"][lot])


def escape(part: str) -> str:
    return part.replace("%", "%25").replace("|", "%7C")


def account_key(env: str, market: str, broker_id: str, account_id: str) -> str:
    return "|".join((escape(env), market, escape(broker_id), escape(account_id)))


def number_of(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise Bad("dead_letters")
    return Decimal(repr(value))


def time_us(value: Any) -> int:
    return round(number_of(value) * _MILLION)


def micros_of(value: Any) -> int:
    scaled = number_of(value) * _MILLION
    if scaled != int(scaled) or abs(scaled) > _LARGEST:
        raise Bad("dead_letters")
    return int(scaled)


def count_of(value: Any) -> int:
    number = number_of(value)
    if number != int(number) or not 0 <= number <= _MOST:
        raise Bad("dead_letters")
    return int(number)


def trading_day(ts_us: int, market: str) -> date:
    """The trading date of a moment: the local date, of a night of futures the day after it began, and then the first day with trading."""
    local = datetime(1970, 1, 1, tzinfo=UTC).astimezone(_TAIPEI) + timedelta(microseconds=ts_us)
    day = local.date()
    if market == "F" and (local.hour, local.minute) >= (14, 45):
        day += timedelta(days=1)
    while day.weekday() >= 5 or day in _closed_days(market):
        day += timedelta(days=1)
    return day


@cache
def _closed_days(market: str) -> frozenset[date]:
    return frozenset(each for scope, days in table("calendar")["closed"].items() if scope in {"*", market} for each in days)


def session_of(ts_us: int) -> str:
    """The session of a moment, by the wall clock of Taipei."""
    local = datetime(1970, 1, 1, tzinfo=UTC).astimezone(_TAIPEI) + timedelta(microseconds=ts_us)
    night = (local.hour, local.minute) >= (14, 45) or local.hour < 6
    return f"{(local - timedelta(hours=6)).date()}{'N' if night else 'D'}"


def ordinal(session: str) -> int:
    """A number that rises by one from each half-day session to the next."""
    return date.fromisoformat(session[:10]).toordinal() * 2 + (session[10] == "N")
