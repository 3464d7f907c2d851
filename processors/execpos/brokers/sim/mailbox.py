"""What waits for one client: a bounded queue that the venue fills and never waits for."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any


class Mailbox:
    """First in, first out. Any thread.

    Args:
        most: things that may wait; what comes beyond is refused.
        on_close: called once, by whoever closes it; must not block.
    """

    def __init__(self, most: int, on_close: Callable[[], None] = lambda: None) -> None:
        self._most = most
        self._on_close = on_close
        self._things: deque[Any] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self.closed = False

    def __len__(self) -> int:
        return len(self._things)

    def put(self, thing: Any) -> bool:
        """Add a thing, for which there is always room; False once it is closed. Does not block."""
        with self._changed:
            if self.closed:
                return False
            self._things.append(thing)
            self._changed.notify_all()
            return True

    def put_many(self, things: Sequence[Any]) -> bool:
        """Add things, all or none; say whether there was room. Does not block."""
        with self._changed:
            if self.closed or len(self._things) + len(things) > self._most:
                return False
            self._things.extend(things)
            self._changed.notify_all()
            return True

    def put_all(self, things: Sequence[Any]) -> bool:
        """Add things, and wait for room first; False once it is closed. Blocks."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or len(self._things) < self._most)
            if self.closed:
                return False
            self._things.extend(things)
            self._changed.notify_all()
            return True

    def take(self, most: int) -> list[Any]:
        """Take what there is, and wait for something first; nothing once it is closed. What was taken before counts as done. Blocks."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.closed or bool(self._things))
            if self.closed:
                return []
            self._busy = True
            taken = [self._things.popleft() for _ in range(min(most, len(self._things)))]
            self._changed.notify_all()
            return taken

    def settle(self, timeout_s: float) -> bool:
        """Wait until all was taken and done; False if that takes longer. Blocks."""
        with self._changed:
            return self._changed.wait_for(lambda: self.closed or not (self._busy or self._things), timeout_s)

    def close(self) -> None:
        """Let nothing more in or out. A second call does nothing."""
        with self._changed:
            if self.closed:
                return
            self.closed = True
            self._things.clear()
            self._changed.notify_all()
        self._on_close()
