"""Reads a broker's own log files: which transactions ended how, as the markers on disk say."""

import struct
from collections.abc import Iterator
from pathlib import Path

# Record batch, format 2: base offset, length, leader epoch, magic, crc, attributes, last offset delta, two timestamps, producer id and
# epoch, base sequence, record count.
_BATCH = struct.Struct(">qiibIhiqqqhii")
_CONTROL_BIT = 1 << 5
_ABORT = 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at


def _batches(data: bytes) -> Iterator[tuple[int, tuple[int, int], bytes]]:
    """Yield attributes, producer id and epoch, and records of each whole batch."""
    at = 0
    while at + _BATCH.size <= len(data):
        head = _BATCH.unpack_from(data, at)
        end = at + 12 + head[1]
        if head[1] <= 0 or end > len(data):
            return
        yield head[5], (head[9], head[10]), data[at + _BATCH.size : end]
        at = end


def aborted_transactions(log_folder: Path, *topics: str) -> set[tuple[int, int]]:
    """Return producer id and epoch of the transactions that were aborted when they had reached topics of these patterns.

    The markers of one transaction stand on each partition that it had registered, with the producer's id and epoch. A dead producer's
    transaction is ended with an epoch of its own, so each death counts; several aborts of one that lives count as one.
    """
    aborted = set()
    for segment in sorted(segment for pattern in topics for segment in log_folder.glob(f"{pattern}-*/*.log")):
        for attributes, producer, records in _batches(segment.read_bytes()):
            if not attributes & _CONTROL_BIT:
                continue
            # length, attributes, timestamp delta, offset delta, key length, then the key: version and type, two bytes each.
            _, at = _varint(records, 0)
            at += 1
            for _ in range(3):
                _, at = _varint(records, at)
            if struct.unpack_from(">hh", records, at)[1] == _ABORT:
                aborted.add(producer)
    return aborted
