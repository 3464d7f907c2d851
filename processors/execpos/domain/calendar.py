"""Trading dates, session windows and blackout windows in Taipei time.

The tables come from `config/calendar.yaml`. A trading date is an attribute of an event and never part of its identity, so a holiday that is
entered late changes no id.
"""

from typing import Literal

import msgspec

from execpos.domain.events import Market

Scope = Literal["S", "F", "*"]

# Taipei has kept UTC+8 without daylight saving since 1979, so a fixed offset is exact.
_TAIPEI_US = 8 * 3_600_000_000
_DAY_US = 86_400_000_000
_SECOND_US = 1_000_000
# The night session of futures opens at 15:00; what is stamped from 14:45 on is already its preparation.
_NIGHT_FROM_US = (14 * 60 + 45) * 60_000_000
# It closes at 05:00; until 06:00 its late reports still arrive.
_NIGHT_TO_US = 6 * 3_600_000_000
# Day 0 of the epoch was a Thursday; Monday is 0.
_EPOCH_WEEKDAY = 3
_SATURDAY = 5
# Days of ten years and both halves; beyond it the memo starts anew.
_MEMO_LIMIT = 8_192
# The longest closure is the Lunar New Year with about twelve days; a table that closes the market for longer is wrong.
_CLOSED_LIMIT_DAYS = 60


class Window(msgspec.Struct, frozen=True):
    """A span of the day in Taipei time, in seconds since midnight, start included and end not; past midnight when end <= start.

    Attributes:
        name: what it is.
        market: S, F, or * for both.
        start_s: first second.
        end_s: first second after it.
        trading_days_only: it exists only on days (those of its start) on which the market trades.
    """

    name: str
    market: Scope
    start_s: int
    end_s: int
    trading_days_only: bool = True


class Calendar(msgspec.Struct, frozen=True, eq=False):
    """The tables of `config/calendar.yaml`. Pure; not thread-safe (it fills a memo), one a thread. Dates are days since the epoch.

    Args:
        closed: market -> days from Monday to Friday without trading.
        extra: market -> Saturdays or Sundays with trading.
        known_from: first day for which the holidays are known.
        known_until: last such day. Outside, only weekends are known; `covers` says so, and nothing is rejected.
        sessions: when each market trades.
        blackouts: when the broker must not be asked.
    """

    closed: dict[Market, frozenset[int]]
    extra: dict[Market, frozenset[int]]
    known_from: int
    known_until: int
    sessions: tuple[Window, ...] = ()
    blackouts: tuple[Window, ...] = ()
    _memo: dict[tuple[Market, int], int] = {}

    def trading_date(self, ts_us: int, market: Market) -> int:
        """Return the trading date of a moment.

        Stocks: the local date. Futures and options: the local date, and for the night (from 14:45 until 06:00 of the next morning) the
        first trading day after the date on which that night began. A day without trading gives the next day with trading.

        Args:
            ts_us: microseconds since the epoch, UTC.
            market: S or F.
        """
        local_us = ts_us + _TAIPEI_US
        if market == "S":
            slot = local_us // _DAY_US * 2
        else:
            of_day_us = local_us % _DAY_US
            # An even slot is a day, the odd one after it the night that began on it.
            slot = local_us // _DAY_US * 2 + (of_day_us >= _NIGHT_FROM_US) - (of_day_us < _NIGHT_TO_US)
        key = (market, slot)
        found = self._memo.get(key)
        if found is None:
            found = self._next_trading_day(slot // 2 + slot % 2, market)
            if len(self._memo) >= _MEMO_LIMIT:
                self._memo.clear()
            self._memo[key] = found
        return found

    def is_trading_day(self, day: int, market: Market) -> bool:
        """Return whether the market trades on that date."""
        if (day + _EPOCH_WEEKDAY) % 7 >= _SATURDAY:
            return day in self.extra.get(market, frozenset())
        return day not in self.closed.get(market, frozenset())

    def previous_trading_day(self, day: int, market: Market) -> int:
        """Return the last date before `day` on which the market traded."""
        for candidate in range(day - 1, day - 1 - _CLOSED_LIMIT_DAYS, -1):
            if self.is_trading_day(candidate, market):
                return candidate
        msg = f"no trading day of market {market} within {_CLOSED_LIMIT_DAYS} days before day {day}: the calendar is wrong"
        raise AssertionError(msg)

    def next_trading_day(self, day: int, market: Market) -> int:
        """Return the first date after `day` on which the market trades."""
        return self._next_trading_day(day + 1, market)

    def covers(self, day: int) -> bool:
        """Return whether the holidays of that date are known; if not, its trading date rests on weekends alone."""
        return self.known_from <= day <= self.known_until

    def session(self, ts_us: int, market: Market) -> str:
        """Return the name of the session that is open, or an empty text."""
        return self._window(self.sessions, ts_us, market)

    def blackout(self, ts_us: int, market: Market) -> str:
        """Return the name of the blackout window of that moment, or an empty text when the broker may be asked."""
        return self._window(self.blackouts, ts_us, market)

    def _window(self, windows: tuple[Window, ...], ts_us: int, market: Market) -> str:
        local_s = (ts_us + _TAIPEI_US) // _SECOND_US
        day, second = divmod(local_s, 86_400)
        for window in windows:
            if window.market not in {"*", market}:
                continue
            if window.start_s < window.end_s:
                began = day if window.start_s <= second < window.end_s else None
            else:
                began = day if second >= window.start_s else day - 1 if second < window.end_s else None
            if began is not None and (not window.trading_days_only or self.is_trading_day(began, market)):
                return window.name
        return ""

    def _next_trading_day(self, day: int, market: Market) -> int:
        for candidate in range(day, day + _CLOSED_LIMIT_DAYS):
            if self.is_trading_day(candidate, market):
                return candidate
        msg = f"no trading day of market {market} within {_CLOSED_LIMIT_DAYS} days from day {day}: the calendar is wrong"
        raise AssertionError(msg)
