"""When to log in: the age of the token, and waits between attempts. Pure: the time comes from the caller, in µs."""

_MINUTE_US = 60_000_000
_HOUR_US = 60 * _MINUTE_US
_DAY_US = 24 * _HOUR_US
# A token lives for about 24 hours. Two hours before, it is time, whatever the market does; the maintenance at 08:12 lies in between then.
_RENEW_AT_US = 22 * _HOUR_US
# Sooner while nothing trades: in Taipei from 06:00 to 08:00, and from 14:35 to 14:50, between the last stocks and the night of futures
# (here in UTC). A day alone has no such window less than 24 hours after that of the day before.
_QUIET_US = ((22 * _HOUR_US, 24 * _HOUR_US), (6 * _HOUR_US + 35 * _MINUTE_US, 6 * _HOUR_US + 50 * _MINUTE_US))
# A token of that age is renewed there; the two windows are further apart.
_RENEW_QUIET_AT_US = 6 * _HOUR_US
# A token refused before this age was taken away: that is one of the two forms of a suspension.
_TOKEN_LIVES_US = 23 * _HOUR_US

# Waits between logins: the first one is at once, then they double. At the longest one, a day has 288 of the 800 logins.
WAIT_FIRST_US = 5_000_000
WAIT_MAX_US = 300_000_000
# A session that held for so long was a good one: the waits begin anew.
GOOD_US = 600_000_000


class Plan:
    """Notes logins, and says when the next one may be."""

    def __init__(self) -> None:
        self._token_us = 0
        self._wait_us = 0
        self._not_before_us = 0

    @property
    def patient(self) -> bool:
        """Whether more than one login has failed, so that the next one is waited for."""
        return self._wait_us > WAIT_FIRST_US

    def got_token(self, now_us: int) -> None:
        """Note a login that was answered."""
        self._token_us = now_us

    def attempted(self, now_us: int) -> None:
        """Note that a login was tried, answered or not: the next one waits, longer than the last time."""
        self._wait_us = min(WAIT_MAX_US, 2 * self._wait_us or WAIT_FIRST_US)
        self._not_before_us = now_us + self._wait_us

    def postpone(self, until_us: int) -> None:
        """Note that no login may be before then, without one having been tried."""
        self._not_before_us = until_us

    def held(self, now_us: int) -> None:
        """Note that the session is up."""
        if now_us - self._token_us > GOOD_US:
            self._wait_us = 0

    def may_log_in(self, now_us: int) -> bool:
        """Say whether the wait is over."""
        return now_us >= self._not_before_us

    def renewal_due(self, now_us: int, wall_us: int) -> bool:
        """Say whether the token should be replaced now."""
        age_us = now_us - self._token_us
        quiet = any(begin <= wall_us % _DAY_US < end for begin, end in _QUIET_US)
        return age_us >= _RENEW_AT_US or (quiet and age_us >= _RENEW_QUIET_AT_US)

    def too_young_to_end(self, now_us: int) -> bool:
        """Say whether a token that is refused now was taken away before its time."""
        return now_us - self._token_us < _TOKEN_LIVES_US
