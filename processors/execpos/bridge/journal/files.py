"""The small files beside the segments: the lock, who the journal belongs to, the cursor, and a key-value state."""

import fcntl
import os
import struct
import threading
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import google_crc32c
import msgspec
import orjson

from execpos.errors import ContractError, Fenced

LOCK: Final = "lock"
IDENTITY: Final = "identity.json"
CURSOR: Final = "cursor"
STATE: Final = "state.json"

# Epoch, seq, checksum of both.
_SLOT = struct.Struct("<QQI")
_NUMBERS = struct.Struct("<QQ")


class Position(NamedTuple):
    """A record's place: positions sort as the records were captured."""

    epoch: int
    seq: int


NOWHERE: Final = Position(0, 0)


def replace(path: Path, data: bytes) -> None:
    """Write a file so that at any instant the old one or the new one is there. Blocks on the disk.

    Raises:
        OSError: it could not be written; the old one is still there.
    """
    beside = path.with_name(path.name + ".new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names of files in a folder survive a loss of power."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Lock:
    """Exclusive use of a folder, by the kernel's lock: it ends with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise Fenced(
                f"another bridge uses the journal in {folder}" + (f" (process {holder})" if holder else ""),
                hint="one bridge has one journal: stop the other one, or give this one a bridge id and a folder of its own",
                folder=str(folder),
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)

    def release(self) -> None:
        """Let go; once."""
        os.close(self._fd)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whose journal it is, and whether its last user closed it with everything on the disk."""

    env: str
    bridge_id: str
    epoch: int
    boot_id: str
    clean: bool

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return what the folder says; None in a new one.

        Raises:
            ContractError: the file is there and cannot be read.
        """
        path = folder / IDENTITY
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise ContractError(
                f"{path} is damaged: {error}",
                hint="move the file away: the journal then begins a new epoch, and what it holds is published all the same",
                file=str(path),
            ) from error

    def write(self, folder: Path) -> None:
        """Replace the file. Blocks on the disk."""
        replace(folder / IDENTITY, msgspec.json.encode(self))


def boot_id() -> str:
    """Return what changes when the machine restarts; empty where that cannot be known."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


class CursorFile:
    """The last position up to which Kafka has everything. Two slots, written in turn: one torn write leaves the other."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / CURSOR, os.O_RDWR | os.O_CREAT, 0o600)
        self._turn = 0

    def write(self, position: Position) -> None:
        """Note a position. Does not wait for the disk: a cursor that is lost or old only means that records are published again."""
        numbers = _NUMBERS.pack(*position)
        os.pwrite(self._fd, numbers + google_crc32c.value(numbers).to_bytes(4, "little"), self._turn * _SLOT.size)
        self._turn = 1 - self._turn

    def sync(self) -> None:
        """Make what was written survive a loss of power. Blocks on the disk."""
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Sync and close; once."""
        try:
            self.sync()
        finally:
            os.close(self._fd)


def read_cursor(folder: Path) -> Position:
    """Return the newest position that can be read; `NOWHERE` without one."""
    try:
        data = (folder / CURSOR).read_bytes()
    except FileNotFoundError:
        return NOWHERE
    found = [NOWHERE]
    for at in range(0, len(data) - _SLOT.size + 1, _SLOT.size):
        epoch, seq, checksum = _SLOT.unpack_from(data, at)
        if google_crc32c.value(data[at : at + _NUMBERS.size]) == checksum:
            found.append(Position(epoch, seq))
    return max(found)


class State:
    """Small facts of the bridge that outlive it (baselines of the broker's numbering, counts of logins). Thread-safe.

    Values are what JSON holds. Every change replaces the file, so it is for what changes seldom: seconds, not records.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / STATE
        self._lock = threading.Lock()
        try:
            found = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            found = {}
        except orjson.JSONDecodeError as error:
            raise self._damaged() from error
        if not isinstance(found, dict):
            raise self._damaged()
        self._values: dict[str, Any] = found

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or `default`. Does not block on the disk. What it returns must not be changed in place."""
        return self._values.get(key, default)

    def items(self) -> dict[str, Any]:
        """Return all values, copied."""
        return dict(self._values)

    def set(self, key: str, value: Any) -> None:
        """Note a value. Blocks until it is on the disk; see `update`."""
        self.update({key: value})

    def update(self, values: dict[str, Any]) -> None:
        """Note several values at once: all of them or none. None as a value removes the key. Blocks until it is on the disk.

        Raises:
            OSError: it could not be written; nothing has changed.
        """
        with self._lock:
            made = {key: value for key, value in {**self._values, **values}.items() if value is not None}
            if made != self._values:
                replace(self._path, orjson.dumps(made, option=orjson.OPT_SORT_KEYS))
                self._values = made

    def _damaged(self) -> ContractError:
        return ContractError(
            f"{self._path} is damaged",
            hint="move the file away: baselines begin anew, so the bridge reads the broker's records once more",
            file=str(self._path),
        )
