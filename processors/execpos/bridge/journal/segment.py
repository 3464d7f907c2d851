"""One file of the journal: a header, twice, then one frame a record."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from execpos.bridge.journal.frames import Frame, frame, scan
from execpos.codecs import avro, compiled
from execpos.domain.events import RawExecEvent
from execpos.errors import ContractError

FORMAT: Final = 1
SUFFIX: Final = ".journal"

# bridge_seq, ingest_ts (µs), lengths of account and kind; then both texts, then the Avro body.
_ENTRY = struct.Struct("<QqHB")

# One damaged header frame must not make a file unreadable.
_HEADER_COPIES = 2

SCHEMA: Final = avro.schema_text(RawExecEvent)
_encode = compiled.encoder(avro.expanded(SCHEMA))


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself. `schema` is the writer's schema of the bodies; `created_ts` is UTC in µs."""

    format: int = FORMAT
    env: str
    bridge_id: str
    epoch: int
    first_seq: int
    created_ts: int
    schema: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One record in the journal: the Avro body without frame, and what is needed to publish it without reading the body."""

    epoch: int
    seq: int
    ingest_ts: int
    account: bytes
    kind: bytes
    body: bytes


class Segment(NamedTuple):
    """A file with a readable header. `data_at` is where its first record begins."""

    path: Path
    number: int
    header: Header
    data_at: int


def name_of(number: int) -> str:
    """Return the file name of a segment: they sort by age."""
    return f"{number:012d}{SUFFIX}"


def entry_of(record: RawExecEvent) -> Entry:
    """Return a record encoded."""
    return Entry(
        record.bridge_epoch, record.bridge_seq, record.ingest_ts, record.account.encode(), record.kind.encode()[:255], _encode(record)
    )


def entry_frame(entry: Entry) -> bytes:
    """Return the frame of an entry."""
    account, kind = entry.account, entry.kind
    return frame(b"".join((_ENTRY.pack(entry.seq, entry.ingest_ts, len(account), len(kind)), account, kind, entry.body)))


def read_entry(epoch: int, body: bytes) -> Entry:
    """Return the entry in the body of a frame that has passed its checksum."""
    seq, ingest_ts, account_length, kind_length = _ENTRY.unpack_from(body)
    kind_at = _ENTRY.size + account_length
    body_at = kind_at + kind_length
    return Entry(epoch, seq, ingest_ts, body[_ENTRY.size : kind_at], body[kind_at:body_at], body[body_at:])


def header_bytes(header: Header) -> bytes:
    """Return what a new file begins with."""
    return frame(msgspec.json.encode(header)) * _HEADER_COPIES


def read_header(path: Path) -> Segment | None:
    """Return a file with its header; None when no copy of it can be read. May block on the disk.

    Raises:
        ContractError: a newer version of this program wrote it.
    """
    number = int(path.name.removesuffix(SUFFIX))
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        found = scan(lambda at, length: os.pread(fd, length, at), 0, size)
        copies = [one for one in (next(found, None) for _ in range(2 * _HEADER_COPIES)) if one is not None]
    finally:
        os.close(fd)
    for copy in copies:
        header = _header(path, copy)
        if header is not None:
            return Segment(path, number, header, _HEADER_COPIES * (copy.end - copy.start))
    return None


def _header(path: Path, copy: Frame) -> Header | None:
    if copy.body is None or not copy.body.startswith(b"{"):
        return None
    try:
        header = msgspec.json.decode(copy.body, type=Header)
    except msgspec.MsgspecError:
        return None
    if header.format != FORMAT:
        raise ContractError(
            f"{path} has format {header.format}, this program reads {FORMAT}",
            hint="a newer version wrote it: run that version, or let it publish everything before going back",
            file=str(path),
        )
    return header


def segments(folder: Path) -> tuple[list[Segment], list[Path]]:
    """Return the readable files from old to new, and those without a readable header. A file that vanishes meanwhile is left out."""
    readable, unreadable = [], []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if not path.name.removesuffix(SUFFIX).isdigit():
            continue
        try:
            found = read_header(path)
        except FileNotFoundError:
            continue
        if found is None:
            unreadable.append(path)
        else:
            readable.append(found)
    return readable, unreadable


def frames_of(segment: Segment, end: int | None = None) -> Iterator[Frame]:
    """Yield what stands behind the header; `end` is where to stop, by default the size of the file now. May block on the disk."""
    fd = os.open(segment.path, os.O_RDONLY)
    try:
        stop = os.fstat(fd).st_size if end is None else end
        yield from scan(lambda at, length: os.pread(fd, length, at), segment.data_at, stop)
    finally:
        os.close(fd)
