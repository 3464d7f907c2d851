"""The first microseconds of a report: a clock is read, the report is put on a queue, the broker's thread goes on."""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple


class OwnRecord(NamedTuple):
    """A record that the bridge itself puts between the reports: the account it is about, its payload, and a marker's id."""

    account: str
    payload: bytes
    marker_id: str = ""


class CaughtUp(NamedTuple):
    """A report that did not come by itself: it was asked for."""

    report: Any


Captured = tuple[int, int, Any, Any]
"""UTC in ns, monotonic ns, state, and the report as the broker gave it, or an `OwnRecord`, or a `CaughtUp`."""


class Capture:
    """The queue between the broker's threads and the drain thread; in the order of arrival, without a bound and without loss.

    A bound would have to drop or to block, and either loses reports. What is in the queue is counted (`waiting`), for an alarm.

    Args:
        wall_ns: clock, UTC in ns.
        monotonic_ns: clock that never goes back, ns.
    """

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns
        # Its `put` is one step in C: it takes no lock that another thread could hold, and wakes the reader without polling.
        self.queue: SimpleQueue[Captured | None] = SimpleQueue()
        put = self.queue.put

        def handler(state: Any, event: Any) -> None:
            put((wall_ns(), monotonic_ns(), state, event))

        self.handler = handler
        """The order callback. Takes about a microsecond; any thread; never raises, blocks, converts or looks at what it was given."""

    def put(self, kind: str, record: OwnRecord) -> None:
        """Put a record of the bridge's own behind the reports taken so far. Does not block."""
        self.queue.put((self._wall_ns(), self._monotonic_ns(), kind, record))

    def put_report(self, kind: str, report: Any) -> None:
        """Put a report that was asked for, with its kind (`CATCHUP_SDEAL`…), behind those taken so far. Does not block or look at it."""
        self.queue.put((self._wall_ns(), self._monotonic_ns(), kind, CaughtUp(report)))

    def beat(self, account: str) -> None:
        """Put a beat of one account on the queue: proof that everything before it has been handed over."""
        now_ns = self._wall_ns()
        self.queue.put((now_ns, self._monotonic_ns(), "BEAT", OwnRecord(account, b'{"ts":%d}' % (now_ns // 1000))))

    def close(self) -> None:
        """Tell the reader that nothing comes any more. Call it when the broker has stopped."""
        self.queue.put(None)

    def waiting(self) -> int:
        """Return how many records wait for the drain thread."""
        return self.queue.qsize()

    def take(self, limit: int, timeout_s: float) -> list[Captured | None]:
        """Return what waits, up to `limit`; wait up to `timeout_s` for the first. None stands for the end. The drain thread's."""
        get = self.queue.get
        try:
            # Without a wait first: a wait of the queue costs two calls to the system even when something is there.
            made = [get(block=False)]
        except Empty:
            if timeout_s <= 0:
                return []
            try:
                made = [get(timeout=timeout_s)]
            except Empty:
                return []
        try:
            while len(made) < limit:
                made.append(get(block=False))
        except Empty:
            pass
        return made
