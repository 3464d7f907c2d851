"""What an operator asks of a journal: what is in it, and to publish a part again. Both only read, and work beside a running bridge."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from execpos.bridge.journal.files import CURSOR, Identity, Position, read_cursor
from execpos.bridge.journal.reader import Lost, Reader, Source
from execpos.bridge.journal.segment import SCHEMA, Entry, Segment, frames_of, read_entry, segments
from execpos.errors import UsageError

# Records handed over at once; a few hundred KB.
_CHUNK_RECORDS = 1000
_CHUNK_BYTES = 4 * 1024 * 1024


class Damage(msgspec.Struct, frozen=True):
    """Bytes of a file that are no frame: from `start` to `end` (excluded)."""

    start: int
    end: int


class SegmentReport(msgspec.Struct, frozen=True):
    """One file.

    Attributes:
        file: its name.
        epoch: of its records.
        first_seq: number of its first record.
        last_seq: of its last one that can be read; below `first_seq` when there is none.
        records: how many can be read.
        bytes: its size.
        created_ts: when it was begun, UTC in µs.
        first_ts: when its first record was taken, UTC in µs; 0 without one.
        last_ts: likewise its last record.
        current_schema: whether its records have today's schema.
        damage: bytes that are no frame. At the very end of the newest file of a running bridge it is a record being written.
    """

    file: str
    epoch: int
    first_seq: int
    last_seq: int
    records: int
    bytes: int
    created_ts: int
    first_ts: int
    last_ts: int
    current_schema: bool
    damage: tuple[Damage, ...]


class JournalReport(msgspec.Struct, frozen=True):
    """A whole folder.

    Attributes:
        folder: which.
        env: of its bridge; empty when the folder has no identity.
        bridge_id: likewise.
        epoch: likewise, of the records that are written now; 0.
        closed: the last bridge closed it with everything on the disk, and none has opened it since.
        acknowledged: last position of which Kafka has everything up to it, as the cursor's file says.
        records: how many can be read.
        backlog_records: those behind the cursor.
        bytes: size of all files.
        segments: from old to new.
        lost: numbers that are missing.
        unreadable: files whose header is damaged.
        torn: tails that were cut off and kept.
        parked: records that Kafka refused for good.
    """

    folder: str
    env: str
    bridge_id: str
    epoch: int
    closed: bool
    acknowledged: Position
    records: int
    backlog_records: int
    bytes: int
    segments: tuple[SegmentReport, ...]
    lost: tuple[Lost, ...]
    unreadable: tuple[str, ...]
    torn: tuple[str, ...]
    parked: tuple[str, ...]

    @property
    def damaged(self) -> bool:
        """Whether something that was in the journal cannot be read any more."""
        return bool(self.lost or self.unreadable)


class _Counted(NamedTuple):
    report: SegmentReport
    backlog: int


def inspect(folder: Path) -> JournalReport:
    """Return what is in a journal; every frame is read and checked. Blocks on the disk; changes nothing, takes no lock.

    Raises:
        UsageError: there is no journal in the folder.
        ContractError: a newer version of this program wrote a file.
    """
    _require(folder)
    identity = Identity.read(folder)
    cursor = read_cursor(folder)
    readable, unreadable = segments(folder)
    counted = [_count(one, cursor) for one in readable]
    lost: list[Lost] = []
    reader = _reader(readable, Position(0, 0), lost.append)
    while reader.read(_CHUNK_RECORDS, _CHUNK_BYTES):
        pass
    return JournalReport(
        folder=str(folder),
        env=identity.env if identity else "",
        bridge_id=identity.bridge_id if identity else "",
        epoch=identity.epoch if identity else 0,
        closed=identity.clean if identity else False,
        acknowledged=cursor,
        records=sum(one.report.records for one in counted),
        backlog_records=sum(one.backlog for one in counted),
        bytes=sum(one.report.bytes for one in counted),
        segments=tuple(one.report for one in counted),
        lost=tuple(lost),
        unreadable=tuple(path.name for path in unreadable),
        torn=tuple(sorted(path.name for path in folder.glob("*.torn"))),
        parked=tuple(sorted(path.name for path in (folder / "parked").glob("*"))),
    )


def replay(folder: Path, from_seq: int, to_seq: int, publish: Callable[[Entry], None], epoch: int = 0) -> tuple[int, tuple[Lost, ...]]:
    """Hand records of a journal to `publish` once more, in order, with the numbers, receipts and bytes that they had.

    A ledger that has them already counts none of them again. Blocks on the disk; changes nothing, takes no lock.

    Args:
        folder: the journal.
        from_seq: first number.
        to_seq: last number.
        publish: takes one record; what it raises ends the replay.
        epoch: whose numbers these are; 0 for the newest epoch in the folder.

    Returns:
        How many were handed over, and which of those asked for are not there any more.

    Raises:
        UsageError: there is no journal in the folder, or no record of that epoch.
        ContractError: a newer version of this program wrote a file.
    """
    _require(folder)
    readable, _ = segments(folder)
    epoch = epoch or max((one.header.epoch for one in readable), default=0)
    mine = [one for one in readable if one.header.epoch == epoch]
    if not mine or from_seq > to_seq:
        raise UsageError(
            f"{folder} has no records {from_seq} to {to_seq} of epoch {epoch}",
            hint="`execpos bridge journal inspect` shows what there is",
            folder=str(folder),
        )
    lost: list[Lost] = []
    reader = _reader(mine, Position(epoch, from_seq - 1), lost.append)
    count = 0
    while entries := reader.read(_CHUNK_RECORDS, _CHUNK_BYTES):
        for entry in entries:
            if entry.seq > to_seq:
                return count, _within(lost, to_seq)
            publish(entry)
            count += 1
    return count, _within(lost, to_seq)


def _within(lost: list[Lost], to_seq: int) -> tuple[Lost, ...]:
    return tuple(one._replace(last=min(one.last, to_seq)) for one in lost if one.first <= to_seq)


def _require(folder: Path) -> None:
    if not any(folder.glob("*.journal")) and not (folder / CURSOR).exists():
        raise UsageError(f"{folder} holds no journal", hint="give the folder of one bridge", folder=str(folder))


def _reader(readable: list[Segment], after: Position, on_lost: Callable[[Lost], None]) -> Reader:
    sources = [Source(one, None) for one in readable]
    return Reader(lambda: sources, after, on_lost)


def _count(segment: Segment, cursor: Position) -> _Counted:
    header = segment.header
    damage = []
    records = backlog = first_ts = last_ts = 0
    end, last = segment.data_at, header.first_seq - 1
    for found in frames_of(segment):
        end = found.end
        if found.body is None:
            damage.append(Damage(found.start, found.end))
            continue
        entry = read_entry(header.epoch, found.body)
        records += 1
        backlog += Position(entry.epoch, entry.seq) > cursor
        first_ts, last_ts, last = first_ts or entry.ingest_ts, entry.ingest_ts, entry.seq
    report = SegmentReport(
        file=segment.path.name,
        epoch=header.epoch,
        first_seq=header.first_seq,
        last_seq=last,
        records=records,
        bytes=end,
        created_ts=header.created_ts,
        first_ts=first_ts,
        last_ts=last_ts,
        current_schema=header.schema == SCHEMA,
        damage=tuple(damage),
    )
    return _Counted(report, backlog)
