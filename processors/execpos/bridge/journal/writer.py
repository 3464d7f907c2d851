"""Appends to the newest file of a journal, and makes it safe as the policy says."""

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from execpos.bridge.journal.files import sync_folder
from execpos.bridge.journal.segment import SCHEMA, Header, Segment, header_bytes, name_of

Fsync = Literal["always", "interval_ms", "never"]

# Sizes are powers of two of bytes; a day of a busy desk (a million reports) is some 700 MB.
_MIB: Final = 1024 * 1024


class JournalPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How safe, how large, how long.

    Attributes:
        fsync: `always`: each batch is on the disk before it is published; `interval_ms`: about `fsync_interval_ms` later, by a thread of
            its own; `never`: when the operating system likes. A killed process loses nothing in any of them, a machine without power what
            was not synced.
        fsync_interval_ms: time between two syncs, and between two writes of the cursor.
        segment_bytes: a file that is larger is followed by a new one.
        segment_age_s: so is one that is older; both decide how soon what Kafka has can be deleted.
        retain_hours: how long a file stays after Kafka has all of it, for `journal replay`.
        retain_bytes: such files together are not kept beyond this size, whatever their age.
    """

    fsync: Fsync = "interval_ms"
    fsync_interval_ms: int = 50
    segment_bytes: int = 64 * _MIB
    segment_age_s: float = 3600.0
    retain_hours: float = 72.0
    retain_bytes: int = 4096 * _MIB


class Written(NamedTuple):
    """A file as far as it is written: `end` is where its last frame ends."""

    segment: Segment
    end: int
    last_seq: int


class Writer:
    """The newest file. `append` belongs to one thread, `sync` to another one, and neither waits for the other's disk.

    Args:
        folder: where.
        number: of the first file to make.
        env: stands in the headers, as do the next two.
        bridge_id: see `env`.
        epoch: see `env`.
        policy: when to sync and when to begin a new file.
    """

    def __init__(self, folder: Path, number: int, env: str, bridge_id: str, epoch: int, policy: JournalPolicy) -> None:
        self._folder = folder
        self._next_number = number
        self._env, self._bridge_id, self._epoch = env, bridge_id, epoch
        self._policy = policy
        # Guards the list of descriptors, never held during a write or a sync.
        self._lock = threading.Lock()
        self._fd = -1
        self._began_s = 0.0
        self._unsynced: list[int] = []
        """Descriptors of finished files that wait for their last sync."""
        self._dirty = self._distrusted = False
        self.newest: Written | None = None

    def append(self, data: bytes, first_seq: int, last_seq: int) -> Written | None:
        """Write whole frames. Blocks on the disk, with policy `always` until they are on it.

        Returns:
            The file that this call finished, if it began a new one.

        Raises:
            OSError: nothing of it counts as written; call it again with the same frames. It then begins a new file.
        """
        finished = self._roll(first_seq) if self._due() else None
        newest = self.newest
        assert newest is not None  # noqa: S101 (`_roll` has made one)
        try:
            _write_all(self._fd, data, newest.end)
            if self._policy.fsync == "always":
                os.fdatasync(self._fd)
        except OSError:
            # What a failed write or sync left behind is unknown: this file ends where it was good.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, newest.end)
            self._finish()
            raise
        self._dirty = self._policy.fsync == "interval_ms"
        self.newest = newest._replace(end=newest.end + len(data), last_seq=last_seq)
        return finished

    def sync(self) -> bool:
        """Make everything appended so far safe, and say whether there was anything. Blocks on the disk, while `append` may go on.

        Raises:
            OSError: what was appended since the last sync may not be on the disk. What follows goes into a new file.
        """
        with self._lock:
            finished, self._unsynced = self._unsynced, []
            fd = os.dup(self._fd) if self._fd >= 0 and self._dirty else -1
            self._dirty = False
        waiting = [*finished, *((fd,) if fd >= 0 else ())]
        try:
            for one in waiting:
                os.fdatasync(one)
        except OSError:
            self._distrusted = True
            raise
        finally:
            for one in waiting:
                os.close(one)
        return bool(waiting)

    def close(self) -> None:
        """Sync and let go; once.

        Raises:
            OSError: as `sync`.
        """
        self._finish()
        self.sync()
        sync_folder(self._folder)

    def _due(self) -> bool:
        if self._fd < 0 or self.newest is None or self._distrusted:
            return True
        return self.newest.end >= self._policy.segment_bytes or time.monotonic() - self._began_s >= self._policy.segment_age_s

    def _roll(self, first_seq: int) -> Written | None:
        path = self._folder / name_of(self._next_number)
        created_us = time.time_ns() // 1000
        header = Header(
            env=self._env, bridge_id=self._bridge_id, epoch=self._epoch, first_seq=first_seq, created_ts=created_us, schema=SCHEMA
        )
        data = header_bytes(header)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _write_all(fd, data, 0)
            if self._policy.fsync != "never":
                # Once in a file: the name itself has to survive a loss of power.
                os.fsync(fd)
                sync_folder(self._folder)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        finished = self.newest
        self._finish()
        with self._lock:
            self._fd = fd
        self._distrusted = False
        self._began_s = time.monotonic()
        self.newest = Written(Segment(path, self._next_number, header, len(data)), len(data), first_seq - 1)
        self._next_number += 1
        return finished

    def _finish(self) -> None:
        with self._lock:
            if self._fd >= 0 and self._policy.fsync == "never":
                os.close(self._fd)
            elif self._fd >= 0:
                self._unsynced.append(self._fd)
            self._fd = -1


def _write_all(fd: int, data: bytes, at: int) -> None:
    done = os.pwrite(fd, data, at)
    while done < len(data):
        # A short write is how a full disk and a signal announce themselves; the next one says which it was.
        done += os.pwrite(fd, data[done:], at + done)
