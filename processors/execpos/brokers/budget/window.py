"""A sliding window over the calls of one group. Pure: the time comes from the caller, in µs of a clock that never goes back."""

from collections import deque


class Window:
    """Lets a call begin only while any span holds at most `limit` calls, wherever between its start and its end the broker counts each.

    A call counts from its beginning until `span_us` after its end. So if two calls lie a span or less apart at the broker, the first one
    still counted when the second began; a window over the starts alone would not keep this when the first of them was slow.

    Args:
        limit: calls.
        span_us: span.
    """

    def __init__(self, limit: int, span_us: int) -> None:
        self.limit = limit
        self.span_us = span_us
        self._running = 0
        self._ended: deque[int] = deque()

    def free(self, now_us: int) -> int:
        """Return how many calls may begin now."""
        ended = self._ended
        while ended and ended[0] < now_us - self.span_us:
            ended.popleft()
        return max(0, self.limit - self._running - len(ended))

    def wait_us(self, now_us: int) -> int:
        """Return how long until a call may begin: 0 for now. It may be longer, when calls are still running then."""
        if self.free(now_us):
            return 0
        due = self._running + len(self._ended) - self.limit
        # With more calls running than allowed nothing is known before one ends.
        return self._ended[due] + self.span_us + 1 - now_us if due < len(self._ended) else self.span_us

    def begin(self) -> None:
        """Count a call that begins now."""
        self._running += 1

    def end(self, now_us: int) -> None:
        """Count it as ended now."""
        self._running -= 1
        self._ended.append(now_us)

    def ended_before(self, at_us: int, count: int = 1) -> None:
        """Count calls of an earlier process, the last of which ended at `at_us`; in order of time, before any other call."""
        self._ended.extend([at_us] * count)
