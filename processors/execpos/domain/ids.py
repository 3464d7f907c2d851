"""Keys and ids: every one is a function of the event, so a replay makes the same ones.

A key is its parts joined by `|`. Inside a part `%` and `|` are percent-escaped, so that `split` is exact for any text.
"""

from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache

from execpos.domain.events import Market

UNASSIGNED = "UNASSIGNED"
"""Strategy of a fill that nobody claimed."""

NET = "*"
"""Strategy id of the row that nets all strategies as the broker does."""

SYNTHETIC = "~"
"""Stands before the id of a correction where a fill has its trade_id: the broker's ids are hexadecimal."""

WHOLE_ACCOUNT = "*"
"""Symbol and book of the mark that concerns every position of an account."""

# Taipei has kept UTC+8 without daylight saving since 1979, so a fixed offset is exact and needs no zone database.
_TAIPEI_US = 8 * 3_600_000_000
_DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
_QUARTER_US = 15 * 60_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def escape(part: str) -> str:
    """Return `part` with `%` and `|` escaped, for use inside a key."""
    if "%" in part or "|" in part:
        return part.replace("%", "%25").replace("|", "%7C")
    return part


def unescape(part: str) -> str:
    """Return the text that `escape` was given."""
    if "%" in part:
        return part.replace("%7C", "|").replace("%25", "%")
    return part


def join(*parts: str) -> str:
    """Return the key made of `parts`."""
    return "|".join(map(escape, parts))


def split(key: str) -> tuple[str, ...]:
    """Return the parts of `key`, unescaped."""
    return tuple(map(unescape, key.split("|")))


def account_key(env: str, market: Market, broker_id: str, account_id: str) -> str:
    """Return `env|market|broker_id|account_id`, as `production|S|9A95|1234567`."""
    return join(env, market, broker_id, account_id)


def position_key(account: str, symbol: str, book: str, strategy_id: str) -> str:
    """Return `account|symbol|book|strategy_id`; `account` is an account key already."""
    return f"{account}|{escape(symbol)}|{escape(book)}|{escape(strategy_id)}"


def session_id(ts_us: int) -> str:
    """Return the session of a moment: the Taipei date of (ts - 6 h), then D, or N when local time is >= 14:45 or < 06:00.

    A function of the event alone: a holiday entered late changes no id. `2026-05-21N` runs from 14:45 on the 21st to 06:00 on the 22nd.
    """
    return _session_of_quarter((ts_us + _TAIPEI_US) // _QUARTER_US)


# Sessions begin and end on quarters of an hour, so a quarter has one session; a year has 35 000 of them.
@lru_cache(maxsize=65_536)
def _session_of_quarter(quarter: int) -> str:
    local_us = quarter * _QUARTER_US
    of_day_us = local_us % _DAY_US
    half = "N" if of_day_us >= 14 * _HOUR_US + 3 * _QUARTER_US or of_day_us < 6 * _HOUR_US else "D"
    return f"{(_EPOCH + timedelta(microseconds=local_us - 6 * _HOUR_US)).date().isoformat()}{half}"


@cache
def session_ordinal(session: str) -> int:
    """Return a number that rises by one from each half-day session to the next, weekends and holidays included.

    Raises:
        ValueError: `session` is not like 2026-05-21D.
    """
    if len(session) != 11 or session[10] not in "DN":
        msg = f"session {session!r} is not like 2026-05-21D or 2026-05-21N"
        raise ValueError(msg)
    return datetime.strptime(session[:10] + "+0000", "%Y-%m-%d%z").toordinal() * 2 + (session[10] == "N")


def session_name(ordinal: int) -> str:
    """Return the session whose `session_ordinal` this is."""
    return f"{date.fromordinal(ordinal // 2).isoformat()}{'DN'[ordinal % 2]}"


def order_key(account: str, session: str, order_id: str) -> str:
    """Return `account|session|order_id`: order ids come again on another day, so the session is part of it."""
    # Written out, as in `fill_id`: a call costs more than what it would do.
    if "%" in order_id or "|" in order_id:
        order_id = escape(order_id)
    return f"{account}|{session}|{order_id}"


def is_synthetic(trade_id: str) -> bool:
    """Tell whether a fill with this trade_id was made by a correction, so that it has no order."""
    return trade_id.startswith(SYNTHETIC)


def session_of(key: str) -> str:
    """Return the session inside an order key or a fill id."""
    return key.split("|", 5)[4]


def fill_id(account: str, session: str, trade_id: str, exchange_seq: str) -> str:
    """Return the economic key of a fill as text: `account|session|trade_id|exchange_seq`."""
    if "%" in trade_id or "|" in trade_id:
        trade_id = escape(trade_id)
    if "%" in exchange_seq or "|" in exchange_seq:
        exchange_seq = escape(exchange_seq)
    return f"{account}|{session}|{trade_id}|{exchange_seq}"
