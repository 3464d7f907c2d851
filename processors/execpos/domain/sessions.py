"""When the sessions of a market end, by its trading windows: what closes a session is the time in a record, never a clock.

A session is the half day that identity uses (`ids.session_id`); it ends with the last window that begins in it. A half day in which the
market does not trade has no end.
"""

from collections.abc import Iterator

import msgspec

from execpos.domain import ids
from execpos.domain.calendar import Calendar, Scope
from execpos.domain.events import Market

_TAIPEI_US = 8 * 3_600_000_000
_DAY_US = 86_400_000_000
_SECOND_US = 1_000_000
# The longest closure is the Lunar New Year with about twelve days; a table without sessions for longer has none.
_CLOSED_LIMIT_DAYS = 60


class Ended(msgspec.Struct, frozen=True):
    """One session of a market: `ordinal` is `ids.session_ordinal` of it, `end_us` its end in µs UTC."""

    session_id: str
    ordinal: int
    end_us: int


def last_ended(calendar: Calendar, market: Market, ts_us: int) -> Ended | None:
    """Return the newest session that ended at `ts_us` or before; None when the calendar knows none of the last 60 days."""
    today = (ts_us + _TAIPEI_US) // _DAY_US
    for day in range(today, today - _CLOSED_LIMIT_DAYS, -1):
        found = [session for session in _beginning_on(calendar, market, day) if session.end_us <= ts_us]
        if found:
            return found[-1]
    return None


def next_end(calendar: Calendar, market: Market, ts_us: int) -> int | None:
    """Return when the next session ends after `ts_us`, in µs UTC; None when the calendar knows none in the next 60 days."""
    today = (ts_us + _TAIPEI_US) // _DAY_US
    for day in range(today - 1, today + _CLOSED_LIMIT_DAYS):
        found = [session.end_us for session in _beginning_on(calendar, market, day) if session.end_us > ts_us]
        if found:
            return min(found)
    return None


def _beginning_on(calendar: Calendar, market: Market, day: int) -> list[Ended]:
    """Return the sessions that begin on a local day, in order."""
    ends: dict[str, int] = {}
    for start_us, end_us in _windows(calendar, market, day):
        session = ids.session_id(start_us)
        ends[session] = max(ends.get(session, 0), end_us)
    return sorted((Ended(session, ids.session_ordinal(session), end_us) for session, end_us in ends.items()), key=lambda one: one.ordinal)


def _windows(calendar: Calendar, market: Market, day: int) -> Iterator[tuple[int, int]]:
    scopes: set[Scope] = {"*", market}
    midnight_us = day * _DAY_US - _TAIPEI_US
    for window in calendar.sessions:
        if window.market in scopes and (not window.trading_days_only or calendar.is_trading_day(day, market)):
            start_us = midnight_us + window.start_s * _SECOND_US
            end_us = midnight_us + window.end_s * _SECOND_US
            yield start_us, end_us if end_us > start_us else end_us + _DAY_US
