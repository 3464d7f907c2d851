"""The broker's suspensions: how long nothing may be asked, across restarts."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from execpos.brokers.budget.limits import BudgetLimits, State
from execpos.errors import ExecposError

_KEY = "budget.silence"
_DAY_US = 86_400_000_000
# Suspensions of a day that are remembered; the silence has long been the longest by then.
_REMEMBERED = 20


def whole(value: Any) -> int | None:
    """Return a number that was kept, if it is one."""
    return value if type(value) is int else None


class Silence:
    """Until when nothing may be asked. Not thread-safe.

    Within a process it is timed by the clock that never goes back; across a restart by the wall clock, and never for longer than the
    longest silence, so that a wrong clock shuts nobody out.
    """

    def __init__(self, limits: BudgetLimits, state: State, wall_us: Callable[[], int], monotonic_us: Callable[[], int]) -> None:
        self._limits = limits
        self._state = state
        self._wall_us = wall_us
        self._monotonic_us = monotonic_us
        kept = state.get(_KEY)
        kept = kept if isinstance(kept, dict) else {}
        times = kept.get("times")
        now_us = wall_us()
        # One from the future is of a clock that was wrong: it counts as of now.
        self._times = [min(each, now_us) for each in (times if isinstance(times, list) else []) if type(each) is int]
        left_us = (whole(kept.get("until")) or 0) - now_us
        self._until_us = monotonic_us() + min(max(0, left_us), int(limits.suspension_max_s * 1e6))

    def left_us(self) -> int:
        """Return how long it still lasts; 0 when the broker may be asked."""
        return max(0, self._until_us - self._monotonic_us())

    def begin(self) -> int:
        """Begin one, longer than the last one of the same day, and return how long it is in µs. Kept before this returns, if possible."""
        now_us = self._wall_us()
        self._times = [each for each in self._times if now_us - _DAY_US < each <= now_us][-_REMEMBERED:]
        length_s = min(self._limits.suspension_max_s, self._limits.suspension_s * 2 ** len(self._times))
        self._times.append(now_us)
        length_us = int(length_s * 1e6)
        self._until_us = max(self._until_us, self._monotonic_us() + length_us)
        # It is honoured all the same, by this process. The journal tells what is wrong with the disk.
        with suppress(OSError, ExecposError):
            self._state.set(_KEY, {"until": now_us + length_us, "times": self._times})
        return length_us
