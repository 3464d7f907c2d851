"""What is looked at when a journal is opened: the end of its newest file, where a crash leaves its traces."""

import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from execpos.bridge.journal.files import sync_folder
from execpos.bridge.journal.segment import SUFFIX, Segment, frames_of, read_entry, segments
from execpos.bridge.journal.writer import Written


class Found(NamedTuple):
    """The files of a folder.

    `torn`: what was cut off and set aside; `unreadable`: files without a header that can be read, left where they are.
    """

    files: tuple[Written, ...]
    torn: tuple[str, ...]
    unreadable: tuple[Path, ...]
    next_number: int


def examine(folder: Path) -> Found:
    """Return the files and cut a damaged tail off the newest one; what is cut is kept beside it. Reads that one file. Blocks on the disk.

    A file without a record, left by a start without reports, is deleted.

    Raises:
        OSError: the disk cannot be read or written.
        ContractError: a newer version of this program wrote a file.
    """
    readable, unreadable = segments(folder)
    torn = []
    numbers = [*(one.number for one in readable), *(int(path.name.removesuffix(SUFFIX)) for path in unreadable)]
    newest = max(numbers, default=-1)
    for path in list(unreadable):
        if int(path.name.removesuffix(SUFFIX)) == newest:
            # The crash came while it was made: no record of it was ever published.
            aside = _aside(path, 0)
            path.replace(aside)
            unreadable.remove(path)
            torn.append(aside.name)
    files = _complete(readable)
    if readable:
        last, cut = _newest(readable[-1])
        if cut:
            torn.append(cut)
        if last.last_seq < last.segment.header.first_seq and not cut:
            last.segment.path.unlink()
        else:
            files.append(last)
    if torn:
        sync_folder(folder)
    return Found(tuple(files), tuple(torn), tuple(unreadable), newest + 1)


def _complete(readable: Sequence[Segment]) -> list[Written]:
    """Return all files but the newest: the header of the next one says where each ends, so they are not read."""
    files = []
    for one, following in itertools.pairwise(readable):
        same = one.header.epoch == following.header.epoch
        last_seq = following.header.first_seq - 1 if same else _last_seq(one)
        files.append(Written(one, one.path.stat().st_size, last_seq))
    return files


def _last_seq(segment: Segment) -> int:
    last = segment.header.first_seq - 1
    for found in frames_of(segment):
        if found.body is not None:
            last = read_entry(segment.header.epoch, found.body).seq
    return last


def _newest(segment: Segment) -> tuple[Written, str]:
    """Return the newest file without its damaged tail, and the name of what was cut off (empty when nothing was)."""
    last, end = segment.header.first_seq - 1, segment.data_at
    size = segment.path.stat().st_size
    for found in frames_of(segment):
        if found.body is not None:
            last, end = read_entry(segment.header.epoch, found.body).seq, found.end
    if end >= size:
        return Written(segment, end, last), ""
    aside = _aside(segment.path, end)
    with segment.path.open("rb") as source, aside.open("xb") as target:
        source.seek(end)
        shutil.copyfileobj(source, target)
        target.flush()
        os.fsync(target.fileno())
    os.truncate(segment.path, end)
    return Written(segment, end, last), aside.name


def _aside(path: Path, offset: int) -> Path:
    """Return a free name for what stood in a file from an offset on."""
    made = path.with_name(f"{path.name}.{offset}.torn")
    again = 1
    while made.exists():
        made = path.with_name(f"{path.name}.{offset}.{again}.torn")
        again += 1
    return made
