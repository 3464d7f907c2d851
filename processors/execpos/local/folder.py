"""Who owns a data folder, and which process a killed owner may have left behind in it."""

import contextlib
import fcntl
import os
import signal
import time
from pathlib import Path

import orjson

from execpos.errors import DependencyError

# The kernel ends a child right after its parent; five seconds cover a machine that is swapping.
_LEFTOVER_GRACE_S = 5.0
_CHILD_FILE = "process.json"


class FolderLock:
    """An exclusive claim on a folder, dropped by the kernel when the process dies, however it dies. Not thread-safe.

    Args:
        folder: must exist when `acquire` is called.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the claim; does nothing when it is ours. Never blocks.

        Raises:
            DependencyError: another process (or another object here) holds it; names its process id.
        """
        if self._fd is not None:
            return
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            os.close(fd)
            raise DependencyError(
                f"the data folder {self._path.parent} is in use by process {holder or 'unknown'}",
                hint="stop that stack first, or choose another folder with --data",
                pid=int(holder) if holder.isdigit() else None,
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Drop the claim. May be called twice."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def started(pid: int) -> str | None:
    """Return when a process started, in the kernel's ticks; None when there is none or it is a zombie."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else rest[18]  # field 22 of proc_pid_stat(5)


def record_child(folder: Path, pid: int) -> None:
    """Write down which process works on the folder; pid and start time together cannot be mistaken for another one's."""
    (folder / _CHILD_FILE).write_bytes(orjson.dumps({"pid": pid, "started": started(pid)}))


def end_leftover(folder: Path) -> None:
    """Wait for the process on record to be gone, and kill it if it stays; call it holding the folder's lock.

    Raises:
        DependencyError: it cannot be ended.
    """
    try:
        record = orjson.loads((folder / _CHILD_FILE).read_bytes())
        pid, since = int(record["pid"]), record["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if _gone_within(pid, since, _LEFTOVER_GRACE_S):
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    if not _gone_within(pid, since, _LEFTOVER_GRACE_S):
        raise DependencyError(
            f"process {pid} still works on {folder} and could not be ended", hint=f"end process {pid}, then start again", pid=pid
        )


def _gone_within(pid: int, since: str | None, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while since is not None and started(pid) == since:
        if time.monotonic() >= end:
            return False
        time.sleep(0.02)
    return True
