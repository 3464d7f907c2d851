"""Time that moves only when somebody waits."""


class VirtualClock:
    """Monotonic seconds, moved by `sleep` alone. Calling the object reads it, as `time.monotonic` does."""

    def __init__(self, start_s: float = 1_000.0) -> None:
        self._now_s = start_s

    def __call__(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Move time forward; returns at once."""
        if seconds > 0:
            self._now_s += seconds
