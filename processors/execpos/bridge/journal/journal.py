"""The journal: every record before it is published, numbered, on disk, until Kafka has it.

One process writes a folder (a kernel lock sees to it), one thread of it appends. `contracts/journal.md` describes the files, ADR 0009 the
decisions: when an epoch ends, what damage costs, what is deleted.
"""

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec

from execpos.bridge.journal.files import NOWHERE, CursorFile, Identity, Lock, Position, State, boot_id, read_cursor
from execpos.bridge.journal.reader import Lost, Reader, Source
from execpos.bridge.journal.repair import Found, examine
from execpos.bridge.journal.segment import Entry, entry_frame, entry_of
from execpos.bridge.journal.writer import JournalPolicy, Writer, Written
from execpos.domain.events import RawExecEvent
from execpos.errors import ConfigError, DependencyError

# How often files that Kafka has are looked through for old ones.
_RETAIN_EVERY_S: Final = 10.0


class JournalStatus(msgspec.Struct, frozen=True):
    """How a journal is.

    Attributes:
        epoch: of the records that are written now.
        last_seq: last record in it.
        acknowledged: last position of which Kafka has everything up to it.
        backlog_records: records that Kafka does not have.
        backlog_bytes: their size, to about the size of a record.
        files: how many segments there are.
        bytes: their size.
        error: why it cannot be written or synced; empty while it can.
        torn: names of files with tails that were cut off at the start.
        lost: records that were there once and cannot be read any more.
    """

    epoch: int
    last_seq: int
    acknowledged: Position
    backlog_records: int
    backlog_bytes: int
    files: int
    bytes: int
    error: str
    torn: tuple[str, ...]
    lost: tuple[Lost, ...]


class _Opened(NamedTuple):
    """What `open` has found and made."""

    lock: Lock
    identity: Identity
    found: Found
    cursor: Position


class Journal:
    """See the module. Made by `open`; `append` and readers belong to one thread, all else may be called by any."""

    def __init__(self, folder: Path, opened: _Opened, policy: JournalPolicy) -> None:
        identity, found = opened.identity, opened.found
        self.folder = folder
        self.env, self.bridge_id, self.epoch = identity.env, identity.bridge_id, identity.epoch
        self.state = State(folder)
        """Small facts of the bridge that outlive it."""
        self._opened = opened
        self._policy = policy
        self._files = list(found.files)
        self._torn = found.torn
        self._lost: dict[Lost, None] = {}
        same_epoch = bool(self._files) and self._files[-1].segment.header.epoch == self.epoch
        self._last_seq = self._files[-1].last_seq if same_epoch else opened.cursor.seq if opened.cursor.epoch == self.epoch else 0
        self._acknowledged = self._noted = opened.cursor
        self._cursor = CursorFile(folder)
        self._writer = Writer(folder, found.next_number, self.env, self.bridge_id, self.epoch, policy)
        self._append_error = self._keeper_error = ""
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="journal", daemon=True)
        self._keeper.start()

    @classmethod
    def open(cls, folder: Path, *, env: str, bridge_id: str, policy: JournalPolicy | None = None, epoch_floor: int = 0) -> Self:
        """Take a folder over, repair its end, and go on where it stopped. Blocks for the reading of one file.

        Args:
            folder: made if it is not there; of this bridge alone.
            env: env of the records.
            bridge_id: the bridge that they are of.
            policy: how safe, how large, how long.
            epoch_floor: an epoch that begins now is above it (what is known from Kafka, for one).

        Raises:
            Fenced: another process uses the folder.
            ConfigError: the folder belongs to another bridge or env.
            ContractError: a file was written by a newer version, or one of the small files is damaged.
            DependencyError: the disk cannot be read or written.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = Lock(folder)
            try:
                return cls(folder, _take_over(folder, lock, env, bridge_id, epoch_floor), policy or JournalPolicy())
            except BaseException:
                lock.release()
                raise
        except OSError as error:
            raise DependencyError(
                f"the journal in {folder} cannot be used: {error.strerror or error}",
                hint="look at the disk's space, rights and health; a bridge does not start without a journal",
                folder=str(folder),
            ) from error

    @property
    def next_seq(self) -> int:
        """The number of the next record."""
        return self._last_seq + 1

    @property
    def last(self) -> Position:
        """Where the journal ends."""
        return Position(self.epoch, self._last_seq) if self._last_seq else self._end_of_files()

    @property
    def acknowledged(self) -> Position:
        """The last position of which Kafka has everything up to it."""
        return self._acknowledged

    def append(self, records: Sequence[RawExecEvent]) -> list[Entry]:
        """Write records, numbered from `next_seq` on without a gap. Blocks on the disk; a killed process loses none that this returned for.

        Raises:
            OSError: none of them is in the journal; call it again with the same records, later. `status` says why.
        """
        entries = list(map(entry_of, records))
        if not entries:
            return entries
        assert entries[0].seq == self._last_seq + 1, "numbers have a gap"  # noqa: S101 (a mistake of the caller)
        last_seq = entries[-1].seq
        try:
            finished = self._writer.append(b"".join(map(entry_frame, entries)), entries[0].seq, last_seq)
        except OSError as error:
            self._append_error = error.strerror or str(error)
            self._settle()
            raise
        self._append_error = ""
        if finished is not None:
            self._settle(finished)
        self._last_seq = last_seq
        return entries

    def acknowledge(self, position: Position) -> None:
        """Note that Kafka has everything up to `position`. Does not block; it is on the disk a moment later."""
        self._acknowledged = max(self._acknowledged, position)

    def reader(self, after: Position) -> Reader:
        """Return a reader of what stands behind a position; what is appended later comes too."""
        return Reader(self._sources, after, self._note_lost)

    def before(self, ts_us: int) -> Position:
        """Return a position behind which is everything that was written from a moment (µs, UTC) on, and what else its file holds."""
        older = [one for one in self._all_files() if one.segment.header.created_ts <= ts_us]
        return Position(older[-1].segment.header.epoch, older[-1].segment.header.first_seq - 1) if older else NOWHERE

    def _note_lost(self, lost: Lost) -> None:
        self._lost[lost] = None

    def status(self) -> JournalStatus:
        """Return how it is now. Does not block on the disk."""
        files = self._all_files()
        records, size = _backlog(files, self._acknowledged)
        return JournalStatus(
            epoch=self.epoch,
            last_seq=self._last_seq,
            acknowledged=self._acknowledged,
            backlog_records=records,
            backlog_bytes=size,
            files=len(files),
            bytes=sum(one.end for one in files),
            error=self._append_error or self._keeper_error,
            torn=self._torn,
            lost=tuple(self._lost),
        )

    def close(self) -> None:
        """Sync, note the cursor, release the folder. Blocks on the disk. A second call does nothing.

        What could not be synced makes the next start begin a new epoch; it is no error here, because the files are as good as they can be.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        self._keeper.join()
        with contextlib.suppress(OSError):
            self._writer.close()
            self._note_cursor()
            self._cursor.close()
            if not self._keeper_error:
                msgspec.structs.replace(self._opened.identity, clean=True).write(self.folder)
        self._opened.lock.release()

    def abandon(self) -> None:
        """Let go of the folder as a killed process does: nothing is synced or noted. For tests."""
        self._closing.set()
        self._keeper.join()
        self._opened.lock.release()

    # --- the keeper's thread ---------------------------------------------------------------------------------------------------------

    def _keep(self) -> None:
        next_retain_s = 0.0
        while not self._closing.wait(self._policy.fsync_interval_ms / 1000):
            try:
                synced = self._writer.sync()
                self._note_cursor()
                if time.monotonic() >= next_retain_s:
                    next_retain_s = time.monotonic() + _RETAIN_EVERY_S
                    self.retain()
            except OSError as error:
                self._keeper_error = error.strerror or str(error)
            else:
                # An error stays until something has reached the disk again, so that it is seen.
                if synced or self._policy.fsync != "interval_ms":
                    self._keeper_error = ""

    def _note_cursor(self) -> None:
        if (now := self._acknowledged) != self._noted:
            self._cursor.write(now)
            self._noted = now

    def retain(self) -> None:
        """Delete files that Kafka has all of and that are too old, or too many. Blocks on the disk.

        Raises:
            OSError: one could not be deleted.
        """
        # A file must not be gone before the cursor that allows it is safe, or the next start would miss its records.
        self._cursor.sync()
        size = 0
        limit_s = time.time() - self._policy.retain_hours * 3600
        for one in reversed(self._files):
            if Position(one.segment.header.epoch, one.last_seq) > self._noted:
                continue
            size += one.end
            if size > self._policy.retain_bytes or _modified_s(one.segment.path) < limit_s:
                one.segment.path.unlink(missing_ok=True)
                # The appending thread only adds at the end of the list.
                self._files.remove(one)

    # --- files -----------------------------------------------------------------------------------------------------------------------

    def _settle(self, finished: Written | None = None) -> None:
        """Put the file that is complete on the list."""
        finished = finished or self._writer.newest
        if finished is not None and (not self._files or self._files[-1].segment.number < finished.segment.number):
            self._files.append(finished)

    def _all_files(self) -> list[Written]:
        files = list(self._files)
        newest = self._writer.newest
        if newest is not None and (not files or files[-1].segment.number < newest.segment.number):
            files.append(newest)
        return files

    def _sources(self) -> list[Source]:
        return [Source(one.segment, one.end) for one in self._all_files()]

    def _end_of_files(self) -> Position:
        files = self._all_files()
        return Position(files[-1].segment.header.epoch, files[-1].last_seq) if files else NOWHERE


def _take_over(folder: Path, lock: Lock, env: str, bridge_id: str, epoch_floor: int) -> _Opened:
    """Examine the folder, decide the epoch, and write the identity as in use."""
    identity = Identity.read(folder)
    if identity is not None and (identity.env, identity.bridge_id) != (env, bridge_id):
        raise ConfigError(
            f"the journal in {folder} is of bridge {identity.bridge_id!r} in env {identity.env}, not of {bridge_id!r} in {env}",
            hint="give every bridge and env a folder of its own",
            folder=str(folder),
        )
    found = examine(folder)
    cursor = read_cursor(folder)
    known = [cursor.epoch, epoch_floor, *(one.segment.header.epoch for one in found.files), *((identity.epoch,) if identity else ())]
    boot = boot_id()
    if identity is None or epoch_floor > identity.epoch or not _may_continue(identity, found, cursor, boot):
        epoch = max(time.time_ns() // 1000, max(known) + 1)
    else:
        epoch = identity.epoch
    made = Identity(env=env, bridge_id=bridge_id, epoch=epoch, boot_id=boot, clean=False)
    made.write(folder)
    return _Opened(lock, made, found, cursor)


def _may_continue(identity: Identity, found: Found, cursor: Position, boot: str) -> bool:
    """Return whether it is certain that no number of the epoch was used and lost: only then it goes on."""
    if found.torn or found.unreadable:
        return False
    if not identity.clean and identity.boot_id != boot:
        # The machine went down under a bridge: records that Kafka has may not have reached the disk.
        return False
    last = Position(found.files[-1].segment.header.epoch, found.files[-1].last_seq) if found.files else NOWHERE
    if last == NOWHERE or last.epoch < identity.epoch:
        # Nothing of this epoch is on the disk any more; only the cursor can say that its last number is known.
        return cursor.epoch == identity.epoch
    return last.epoch == identity.epoch and cursor <= last


def _backlog(files: Sequence[Written], acknowledged: Position) -> tuple[int, int]:
    records = size = 0
    for one in files:
        header = one.segment.header
        count = one.last_seq - header.first_seq + 1
        done = min(count, acknowledged.seq - header.first_seq + 1) if header.epoch == acknowledged.epoch else 0
        waiting = count - max(0, done) if header.epoch >= acknowledged.epoch else 0
        if waiting > 0:
            records += waiting
            size += (one.end - one.segment.data_at) * waiting // count
    return records, size


def _modified_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
