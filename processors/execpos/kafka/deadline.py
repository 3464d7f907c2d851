"""One limit of time handed down a chain of calls, so that no sum of waits exceeds it."""

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds that never go back; the zero is arbitrary."""


class Deadline:
    """A moment after which nothing is tried any more.

    Args:
        seconds: from now on.
        clock: monotonic seconds; another one in tests.
    """

    __slots__ = ("_clock", "_end", "seconds")

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self.seconds = seconds

    def remaining(self) -> float:
        """Return the seconds left, never below 0."""
        return max(0.0, self._end - self._clock())

    def over(self) -> bool:
        """Say whether the time is up."""
        return self._clock() >= self._end

    def at_most(self, seconds: float) -> float:
        """Return `seconds`, or what is left when that is less."""
        return min(seconds, self.remaining())
