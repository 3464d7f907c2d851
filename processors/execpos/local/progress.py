"""Progress of a download: a bar on a terminal, one line every ten seconds elsewhere; always on stderr."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from execpos.errors import Retry

# Often enough to see that it moves, seldom enough not to fill a build's log.
_LINE_EVERY_S = 10.0


class Meter:
    """Counts bytes from several threads and shows them.

    Args:
        title: what is being downloaded.
        total_bytes: the sum that `advance` will reach.
    """

    def __init__(self, title: str, total_bytes: int) -> None:
        self._title = title
        self._total = total_bytes
        self._done = 0
        self._lock = threading.Lock()
        self._next_line = 0.0
        self._cancelled = False
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(title, total=total_bytes)

    @contextlib.contextmanager
    def shown(self) -> Iterator["Meter"]:
        """Show the meter while the block runs."""
        if self._bar is not None:
            with self._bar:
                yield self
        else:
            yield self

    def cancel(self) -> None:
        """Make every later `advance` raise, so that downloads on other threads end soon. Thread-safe."""
        self._cancelled = True

    def advance(self, count_bytes: int) -> None:
        """Add to the count. Thread-safe.

        Raises:
            Retry: the download was cancelled.
        """
        if self._cancelled:
            raise Retry(f"{self._title} was cancelled", hint="start again: verified files are kept")
        with self._lock:
            self._done += count_bytes
            if self._bar is not None:
                self._bar.advance(self._task, count_bytes)
            elif time.monotonic() >= self._next_line:
                self._next_line = time.monotonic() + _LINE_EVERY_S
                sys.stderr.write(f"{self._title}: {self._done / 2**20:.0f} of {self._total / 2**20:.0f} MiB\n")
                sys.stderr.flush()
