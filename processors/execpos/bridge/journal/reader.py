"""Reads a journal from a position on, across its files, and notices what is missing."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from execpos.bridge.journal.files import Position
from execpos.bridge.journal.frames import scan
from execpos.bridge.journal.segment import SCHEMA, Entry, Segment, read_entry
from execpos.codecs import avro, compiled, framing
from execpos.domain.events import RawExecEvent
from execpos.errors import Park

# Any id does: it only ties a body to its schema for the decoder.
_WRITER_ID = 1


class Lost(NamedTuple):
    """Records that were in the journal and cannot be read any more: `first` to `last` (included) of an epoch."""

    epoch: int
    first: int
    last: int
    file: str
    reason: str


class Source(NamedTuple):
    """One file to read, and where its last whole frame ends; None: wherever the file ends."""

    segment: Segment
    end: int | None


class _Upgrade:
    """Writes bodies of an older schema with the one of today."""

    def __init__(self, writer: str) -> None:
        self._decode = avro.Decoder(RawExecEvent, {_WRITER_ID: writer})
        self._encode = compiled.encoder(avro.expanded(SCHEMA))
        self._header = framing.header(_WRITER_ID)

    def __call__(self, entry: Entry) -> Entry:
        body = self._encode(self._decode(self._header + entry.body))
        return Entry(entry.epoch, entry.seq, entry.ingest_ts, entry.account, entry.kind, body)


class Reader:
    """Reads entries behind a position, oldest first. One thread; may block on the disk.

    A number that is missing within an epoch is a record that was lost with its bytes: `on_lost` says so, and reading goes on.

    Args:
        sources: gives the files from old to new, with where each ends at this moment.
        after: the last position not wanted.
        on_lost: called for each hole.
    """

    def __init__(self, sources: Callable[[], Sequence[Source]], after: Position, on_lost: Callable[[Lost], None]) -> None:
        self._sources = sources
        self._at = after
        self._on_lost = on_lost
        self._number = -1
        self._offset = 0
        self._upgrades: dict[str, _Upgrade] = {}

    def read(self, records: int, size: int) -> list[Entry]:
        """Return the next entries: up to `records` of them, and about `size` bytes. Empty when there are no more now."""
        made: list[Entry] = []
        for entry in self._entries():
            made.append(entry)
            size -= len(entry.body)
            if len(made) >= records or size <= 0:
                break
        return made

    def _entries(self) -> Iterator[Entry]:
        sources = list(self._sources())
        for number, source in enumerate(sources, 1):
            following = sources[number] if number < len(sources) else None
            header = source.segment.header
            if source.segment.number < self._number or (following is not None and self._covers(following)):
                continue
            if source.segment.number > self._number:
                self._number, self._offset = source.segment.number, source.segment.data_at
            yield from self._segment(source)
            if following is not None and following.segment.header.epoch == header.epoch:
                self._expect(header.epoch, following.segment.header.first_seq, source.segment, "the end of the file is missing or damaged")

    def _covers(self, following: Source) -> bool:
        """Return whether everything before `following` is behind us already."""
        header = following.segment.header
        return (header.epoch, header.first_seq) <= (self._at.epoch, self._at.seq + 1)

    def _segment(self, source: Source) -> Iterator[Entry]:
        segment, end = source
        epoch = segment.header.epoch
        try:
            fd = os.open(segment.path, os.O_RDONLY)
        except FileNotFoundError:
            return
        try:
            stop = os.fstat(fd).st_size if end is None else end
            for found in scan(lambda at, length: os.pread(fd, length, at), self._offset, stop):
                self._offset = found.end
                if found.body is None:
                    continue
                entry = read_entry(epoch, found.body)
                if (epoch, entry.seq) <= self._at:
                    continue
                self._expect(epoch, entry.seq, segment, f"damaged bytes before offset {found.start}")
                if segment.header.schema != SCHEMA:
                    upgraded = self._upgraded(segment, entry)
                    if upgraded is None:
                        continue
                    entry = upgraded
                self._at = Position(epoch, entry.seq)
                yield entry
        finally:
            os.close(fd)

    def _expect(self, epoch: int, seq: int, segment: Segment, reason: str) -> None:
        """Say what is missing between the last record and `seq` of an epoch."""
        first = self._at.seq + 1 if self._at.epoch == epoch else segment.header.first_seq
        if first < seq and (epoch, seq) > self._at:
            self._on_lost(Lost(epoch, first, seq - 1, segment.path.name, reason))
            self._at = Position(epoch, seq - 1)

    def _upgraded(self, segment: Segment, entry: Entry) -> Entry | None:
        schema = segment.header.schema
        if schema not in self._upgrades:
            self._upgrades[schema] = _Upgrade(schema)
        try:
            return self._upgrades[schema](entry)
        except Park as error:
            self._on_lost(Lost(entry.epoch, entry.seq, entry.seq, segment.path.name, str(error)))
            self._at = Position(entry.epoch, entry.seq)
            return None
