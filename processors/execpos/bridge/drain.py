"""The thread between the queue and Kafka: converts, redacts, numbers, publishes."""

import threading
import time
from queue import Empty
from typing import Protocol

from execpos.bridge.capture import Capture
from execpos.bridge.convert import Converter
from execpos.domain.events import RawExecEvent
from execpos.errors import ExecposError, Quit

# With nothing to do, acknowledgements are looked at this often.
_IDLE_S = 0.05

# In a burst, acknowledgements are looked at once in so many records.
_POLL_EVERY = 64

# The thread keeps the deadline itself; this is for its last step.
_LAST_STEP_S = 5.0


class Sink(Protocol):
    """Where numbered records go, in order. `RawPublisher` is one; a journal on disk stands here, before it, when there is one."""

    def stop_at(self, deadline_s: float) -> None:
        """Wait for nothing beyond a moment (monotonic); the one method that any thread may call."""
        ...

    def publish(self, record: RawExecEvent) -> None:
        """Take one record over; see `RawPublisher.publish`."""
        ...

    def poll(self) -> None:
        """Notice what became of earlier records."""
        ...

    def finish(self) -> None:
        """Wait until all are safe."""
        ...


class Drain:
    """Empties a `Capture` into a `Sink` on a thread of its own.

    Args:
        capture: what to empty.
        convert: used by the drain thread only, once `start` was called.
        sink: likewise.
    """

    def __init__(self, capture: Capture, convert: Converter, sink: Sink) -> None:
        self._capture = capture
        self._convert = convert
        self._sink = sink
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)
        self.error: ExecposError | None = None
        """What ended the thread before its time."""

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Publish what is on the queue, wait until all is acknowledged, end the thread. Call it when the broker has stopped.

        Raises:
            ExecposError: what the sink raised, now or before; or not everything was safe after `timeout_s`.
        """
        self._sink.stop_at(time.monotonic() + timeout_s)
        self._capture.close()
        self._thread.join(timeout_s + _LAST_STEP_S)
        if self._thread.is_alive():
            raise Quit(
                f"the drain thread did not end in {timeout_s:g} s; {self._capture.waiting()} records wait",
                hint="records were lost with this process: reconcile the accounts after the next start",
            )
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            self._loop()
            self._sink.finish()
        except ExecposError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 (the thread's last words; the bridge raises them)
            self.error = Quit(f"the drain thread stopped: {type(error).__name__}: {error}", hint="this is a defect; please report it")

    def _loop(self) -> None:
        queue, convert, sink = self._capture.queue, self._convert, self._sink
        since_poll = 0
        while True:
            try:
                captured = queue.get(timeout=_IDLE_S)
            except Empty:
                sink.poll()
                since_poll = 0
                continue
            if captured is None:
                return
            sink.publish(convert(captured))
            since_poll += 1
            if since_poll >= _POLL_EVERY or queue.empty():
                sink.poll()
                since_poll = 0
