"""The broker's patience: how often may be asked, how long one is shut out who asks more, and how many logins and connections there may be.

Times are µs of the venue's clock, which is real time and not the simulated one: a client that is too fast is so on the wall.
"""

from collections import deque
from typing import NamedTuple

from execpos.brokers.sim.errors import ServerError, SystemMaintenance

# In µs, like all times here.
_SECOND_US = 1_000_000
DAY_US = 86_400 * _SECOND_US


class Group(NamedTuple):
    """So many calls in so many µs, together."""

    calls: int
    span_us: int


GROUPS = {
    "accounting": Group(25, 5 * _SECOND_US),
    "orders": Group(250, 10 * _SECOND_US),
    "data": Group(50, 10 * _SECOND_US),
}

_ACCOUNTING = (
    "list_positions",
    "list_position_detail",
    "list_profit_loss",
    "list_profit_loss_detail",
    "list_profit_loss_summary",
    "settlements",
    "account_balance",
    "margin",
    "trading_limits",
)
# Calls that are not listed cost nothing.
GROUP_OF = dict.fromkeys(_ACCOUNTING, "accounting") | {"update_status": "orders", "snapshots": "data"}

# A minute for the first offence, doubled for each further one of the day, and an hour at most: the real broker then acts by hand.
_SHUT_OUT_US, _SHUT_OUT_MAX_US = 60 * _SECOND_US, 3_600 * _SECOND_US
# As the broker's documents have them.
LOGINS_MAX, CONNECTIONS_MAX, QUOTES_MAX = 1000, 5, 200


class Limits:
    """Counts the calls of one person over all his connections. Not thread-safe; never blocks.

    Args:
        enforced: without it, everything is counted and nothing refused.
    """

    def __init__(self, *, enforced: bool = True) -> None:
        self._enforced = enforced
        self._calls: dict[str, deque[int]] = {name: deque() for name in GROUPS}
        self._logins: deque[int] = deque()
        self._offences: deque[int] = deque()
        self.suspended_until_us = 0

    def login(self, now_us: int, connections: int) -> None:
        """Count a login.

        Raises:
            SystemMaintenance: suspended; it now lasts a minute longer.
            ServerError: the day's logins or the connections are used up.
        """
        if not self._enforced:
            return
        if now_us < self.suspended_until_us:
            self.suspended_until_us += _SHUT_OUT_US
            raise SystemMaintenance("503: 帳號暫停使用 請勿重複登入")
        _forget(self._logins, now_us - DAY_US)
        if len(self._logins) >= LOGINS_MAX:
            raise ServerError("429: too many logins today")
        self._logins.append(now_us)
        if connections >= CONNECTIONS_MAX:
            raise ServerError("451: Too Many Connections.")

    def call(self, method: str, now_us: int) -> str:
        """Count a call; return the group that this call has overdrawn, or an empty text.

        The call that overdraws is the first to be refused: see `refuse`.
        """
        group = GROUP_OF.get(method)
        if group is None or not self._enforced or now_us < self.suspended_until_us:
            return ""
        calls, limit = self._calls[group], GROUPS[group]
        _forget(calls, now_us - limit.span_us)
        calls.append(now_us)
        if len(calls) <= limit.calls:
            return ""
        calls.clear()
        _forget(self._offences, now_us - DAY_US)
        self._offences.append(now_us)
        self.suspended_until_us = now_us + min(_SHUT_OUT_US << (len(self._offences) - 1), _SHUT_OUT_MAX_US)
        return group

    def refuse(self, now_us: int) -> None:
        """Refuse while suspended.

        Raises:
            SystemMaintenance: suspended.
        """
        if now_us < self.suspended_until_us:
            raise SystemMaintenance("503: 超過流量限制 暫停使用")


def _forget(times: deque[int], before_us: int) -> None:
    while times and times[0] <= before_us:
        times.popleft()
