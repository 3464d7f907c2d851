"""Child processes of the embedded stack: one log, one data folder, one owner each, and none outlives its parent.

The kernel ends a child when the *thread* that started it ends, so every child is started by one thread that lives as long as this process.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from execpos.errors import DependencyError
from execpos.local.folder import FolderLock, end_leftover, record_child

# Long enough for Kafka to flush and leave its logs clean, short enough for somebody who waits at a terminal.
STOP_GRACE_S = 20.0
# A probe costs a connection attempt; ten a second find readiness early enough and cost nothing.
_POLL_S = 0.1
# What fits on a screen and still shows the cause under a Java stack trace.
_TAIL_LINES = 25

_LAUNCH = str(Path(__file__).with_name("launch.py"))
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="execpos-spawn")


class Part(Protocol):
    """One server of the stack. Its methods are called by one thread at a time."""

    @property
    def name(self) -> str:
        """A short name for messages: kafka, registry, clickhouse."""

    @property
    def address(self) -> str:
        """Where clients connect; valid once `start` has returned, and unchanged by a later start unless the port was taken meanwhile."""

    @property
    def log_path(self) -> Path:
        """The file that holds what the server printed since its last start."""

    def start(self, deadline_s: float) -> None:
        """Start and block until it answers; does nothing when it is running. May be called again after stop or kill.

        Raises:
            DependencyError: it did not answer in time, or its data folder belongs to another live process.
        """

    def stop(self) -> None:
        """End it cleanly and block until it is gone; killed after a grace period. May be called twice."""

    def kill(self) -> None:
        """End it at once, as a crash would, and block until it is gone. May be called twice."""

    def alive(self) -> bool:
        """Tell whether its process runs. Never blocks; says nothing about its health."""


class ChildFailed(DependencyError):
    """A child ended, or did not answer, while it was being started. `fields["log"]` holds the end of its log."""


class Child:
    """A process with a data folder that it owns alone. Not thread-safe.

    Args:
        name: for messages and the log's name.
        folder: its data; the lock, the process record and the log stand in it.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.log_path = folder / f"{name}.log"
        self._lock = FolderLock(folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it is ours to end."""
        return self._process.pid if self._process else None

    def claim(self) -> None:
        """Own the folder until `release`: create it, lock it, and end what a killed owner left running there.

        Raises:
            DependencyError: another live process owns it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        end_leftover(self.folder)

    def release(self) -> None:
        """Give the folder up. May be called twice."""
        self._lock.release()

    def spawn(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start the program in a process group of its own, with its output in the log; `claim` comes first. Does not wait for readiness.

        Args:
            argv: the program's absolute path, and its arguments.
            env: added to this process's environment.
        """
        if self.log_path.exists():
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        self._process = _spawner.submit(self._popen, [sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), *argv], env).result()
        record_child(self.folder, self._process.pid)

    def _popen(self, argv: list[str], env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
        with self.log_path.open("wb") as log:
            return subprocess.Popen(
                argv,
                cwd=self.folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C at the terminal is for the parent, which then stops its children in order
            )

    def wait_ready(self, probe: Callable[[], bool], deadline_s: float) -> None:
        """Block until `probe` says yes.

        Args:
            probe: a quick check, called repeatedly; must not raise.
            deadline_s: seconds from now.

        Raises:
            ChildFailed: the process ended, or the time is over; in both cases the process is gone afterwards.
        """
        end = time.monotonic() + deadline_s
        while not probe():
            if not self.alive():
                code = self._process.poll() if self._process else None
                raise self._failed(f"{self.name} ended with status {code} while starting")
            if time.monotonic() >= end:
                self.kill()
                raise self._failed(f"{self.name} did not answer within {deadline_s:.0f} s")
            time.sleep(_POLL_S)

    def run(self, argv: Sequence[str], deadline_s: float) -> None:
        """Run a program of the same folder to its end, with its output in the log.

        Raises:
            ChildFailed: it ended with another status than 0, or not in time.
        """
        self.spawn(argv)
        assert self._process is not None  # noqa: S101 (spawn has just set it)
        try:
            code = self._process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            code = None
        self._process = None
        if code != 0:
            raise self._failed(f"{self.name}: preparing the data folder {'took too long' if code is None else f'ended with status {code}'}")

    def alive(self) -> bool:
        """Tell whether the process runs. Never blocks."""
        return self._process is not None and self._process.poll() is None

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Send SIGTERM, wait at most `grace_s`, then kill; block until it is gone and give the folder up. May be called twice."""
        if self._process is not None and self.alive():
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the process group, block until the process is gone and give the folder up. May be called twice."""
        if self._process is not None:
            if self.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        self.release()

    def tail(self) -> str:
        """Return the last lines of the log; empty when there is none."""
        return log_tail(self.log_path)

    def _failed(self, what: str) -> ChildFailed:
        tail = self.tail()
        hint = (
            f"the end of {self.log_path}:\n" + "\n".join(f"  | {line}" for line in tail.splitlines())
            if tail
            else f"its log is {self.log_path}"
        )
        return ChildFailed(what, hint=hint, part=self.name, log=tail)


def log_tail(path: Path, lines: int = _TAIL_LINES) -> str:
    """Return the last lines of a log file, or nothing when it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 500 * lines))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
