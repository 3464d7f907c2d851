"""Frames: how bytes stand in a journal file so that damage is seen, and what follows it is found again."""

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import google_crc32c

# Magic, CRC32C of all that follows it, length of the body.
HEAD = struct.Struct("<4sII")
MAGIC = b"\xe5XJ\x01"

# What the checksum covers begins here: the length, then the body.
_COVERED_FROM = 8

# Above the largest raw record (256 KiB) with its key, and small enough that a damaged length asks for no absurd read.
BODY_BYTES_MAX = 1024 * 1024

# One read of the file; more would only keep the interpreter from the broker's threads for longer.
_CHUNK_BYTES = 256 * 1024

_LENGTH = struct.Struct("<I")
_CRC = struct.Struct("<I")
_checksum = google_crc32c.value


class Frame(NamedTuple):
    """One frame, or bytes that are none: from `start` to `end` (excluded) of the file; `body` is None for damaged bytes."""

    start: int
    end: int
    body: bytes | None


def frame(body: bytes) -> bytes:
    """Return `body` framed. At most `BODY_BYTES_MAX`."""
    covered = _LENGTH.pack(len(body)) + body
    return MAGIC + _CRC.pack(_checksum(covered)) + covered


class _Window:
    """A part of the file in memory, moved along with the reading."""

    def __init__(self, read: Callable[[int, int], bytes], end: int) -> None:
        self._read = read
        self._end = end
        self._base, self._bytes = 0, b""

    def get(self, at: int, length: int) -> bytes:
        """Return bytes of the file; fewer only when it ends sooner than was said."""
        start = at - self._base
        if start < 0 or start + length > len(self._bytes):
            self._base, start = at, 0
            self._bytes = self._read(at, min(max(length, _CHUNK_BYTES), self._end - at))
        return self._bytes[start : start + length]

    def find(self, at: int) -> int:
        """Return where the next magic may begin, at `at` or behind it."""
        self.get(at, len(MAGIC))
        found = self._bytes.find(MAGIC, at - self._base)
        # The last three bytes may be the beginning of a magic that goes on in the next chunk.
        return self._base + found if found >= 0 else max(at + 1, self._base + len(self._bytes) - len(MAGIC) + 1)


def scan(read: Callable[[int, int], bytes], at: int, end: int) -> Iterator[Frame]:
    """Yield what stands between two offsets, without a hole: whole frames, and spans of damaged bytes between them.

    After damage the next frame is looked for by its magic and accepted by its checksum, so one bad bit costs one frame. Blocks on the disk.

    Args:
        read: returns bytes of the file from an offset, as many as asked for; fewer only at the file's end.
        at: where a frame begins.
        end: where to stop; a frame that goes beyond it counts as damaged.
    """
    window = _Window(read, end)
    damaged_at = -1
    while at < end:
        body = _body(window, at, end)
        if body is None:
            damaged_at = at if damaged_at < 0 else damaged_at
            at = min(window.find(at + 1), end) if at + 1 < end else end
            continue
        if damaged_at >= 0:
            yield Frame(damaged_at, at, None)
            damaged_at = -1
        after = at + HEAD.size + len(body)
        yield Frame(at, after, body)
        at = after
    if damaged_at >= 0:
        yield Frame(damaged_at, end, None)


def _body(window: _Window, at: int, end: int) -> bytes | None:
    """Return the body of the frame at an offset; None when there is none that passes its checksum."""
    head = window.get(at, HEAD.size) if end - at >= HEAD.size else b""
    if len(head) < HEAD.size:
        return None
    magic, checksum, length = HEAD.unpack(head)
    if magic != MAGIC or length > BODY_BYTES_MAX or at + HEAD.size + length > end:
        return None
    covered = window.get(at + _COVERED_FROM, _LENGTH.size + length)
    if len(covered) != _LENGTH.size + length or _checksum(covered) != checksum:
        return None
    return covered[_LENGTH.size :]
