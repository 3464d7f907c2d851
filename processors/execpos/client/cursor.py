"""How far a runner has delivered, and the two places where that can be kept."""

import fcntl
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import orjson

from execpos.errors import ContractError, DependencyError, Fenced
from execpos.kafka.ports import TopicPartition

# A cursor of another shape is not read.
_FORMAT = 1


class Cursor(msgspec.Struct, frozen=True):
    """The next offset of every partition, and the ids that the topics had."""

    topic_ids: Mapping[str, str]
    offsets: Mapping[TopicPartition, int]


class Store(Protocol):
    """Keeps the cursor. One thread; every call may block on the disk."""

    def load(self) -> Cursor | None:
        """Return the cursor that was committed last; None when there never was one. Once, before all else.

        Raises:
            Fenced: another process has this store.
        """
        ...

    def begin(self) -> None:
        """Called before the handlers of a batch."""
        ...

    def commit(self, cursor: Cursor) -> None:
        """Make the batch final: after a return it is not delivered again, whatever happens to the process or the machine.

        Raises:
            Fenced: another process has taken this store over; nothing of the batch holds.
        """
        ...

    def rollback(self) -> None:
        """Called instead of `commit` when a handler has raised."""
        ...

    def close(self) -> None:
        """Let go. A second call does nothing."""
        ...


class FileStore:
    """A cursor in a file: at least once.

    It is written after the handlers of a batch have returned. A process that dies between the two delivers the batch again at its next
    start; `Delivery.key` tells a repeat. A lock on a file beside it keeps a second process out.

    Args:
        path: the file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def load(self) -> Cursor | None:
        self._lock = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Fenced(f"another process delivers from {self._path}", hint="one runner a cursor") from error
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return None
        return decoded(text, str(self._path))

    def begin(self) -> None:
        """Nothing has to be prepared."""

    def commit(self, cursor: Cursor) -> None:
        beside = self._path.with_name(self._path.name + ".new")
        try:
            with beside.open("wb") as file:
                file.write(encoded(cursor))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                # The new name is on the disk only with its folder.
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise DependencyError(f"the cursor {self._path} cannot be written: {error}") from error

    def rollback(self) -> None:
        """What a handler did outside stays done."""

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class SqliteStore:
    """A cursor in the SQLite database that also holds what the handlers write: exactly once.

    A handler writes through `connection`, and never commits. Its rows and the cursor are committed together and flushed to the disk; a
    process that dies leaves both as they were before the batch, and the batch is delivered again as if it had never been. A process
    that was replaced by another one on the same file is refused at its next commit.

    Args:
        path: the database; made when it is not there.
        name: of the runner, so that several may share a database.
    """

    def __init__(self, path: Path, name: str = "runner") -> None:
        self._path = path
        self._name = name
        self._connection: sqlite3.Connection | None = None
        self._turn = 0

    @property
    def connection(self) -> sqlite3.Connection:
        """The open database; of the runner's thread, valid from `load` on."""
        if self._connection is None:
            raise DependencyError(f"{self._path} is not open", hint="the runner opens it; handlers are called after that")
        return self._connection

    def load(self) -> Cursor | None:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=30.0)
        self._connection = connection
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS execpos_cursor (name TEXT PRIMARY KEY, turn INTEGER NOT NULL, cursor BLOB NOT NULL) WITHOUT ROWID"
        )
        connection.execute("BEGIN IMMEDIATE")
        found = connection.execute("SELECT turn, cursor FROM execpos_cursor WHERE name = ?", (self._name,)).fetchone()
        self._turn = (0 if found is None else found[0]) + 1
        connection.execute(
            "INSERT INTO execpos_cursor VALUES (?, ?, x'') ON CONFLICT (name) DO UPDATE SET turn = excluded.turn", (self._name, self._turn)
        )
        connection.execute("COMMIT")
        return decoded(found[1], str(self._path)) if found is not None and found[1] else None

    def begin(self) -> None:
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self, cursor: Cursor) -> None:
        connection = self.connection
        if not connection.in_transaction:
            raise DependencyError(
                "a handler has committed by itself: its effects and the cursor are apart", hint="leave that to the runner"
            )
        changed = connection.execute(
            "UPDATE execpos_cursor SET cursor = ? WHERE name = ? AND turn = ?", (encoded(cursor), self._name, self._turn)
        ).rowcount
        if not changed:
            connection.execute("ROLLBACK")
            raise Fenced(f"another process delivers from {self._path} as {self._name!r}", hint="one runner a cursor")
        connection.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def encoded(cursor: Cursor) -> bytes:
    """Return a cursor as JSON."""
    offsets: dict[str, dict[str, int]] = {}
    for tp, offset in sorted(cursor.offsets.items()):
        offsets.setdefault(tp.topic, {})[str(tp.partition)] = offset
    return orjson.dumps({"format": _FORMAT, "topic_ids": dict(cursor.topic_ids), "offsets": offsets})


def decoded(text: bytes, where: str) -> Cursor:
    """Return the cursor that `encoded` wrote.

    Raises:
        ContractError: it is none.
    """
    try:
        found = orjson.loads(text)
        if found["format"] != _FORMAT:
            raise ContractError(f"{where} holds a cursor of format {found['format']}", hint="it was written by another version")
        offsets = {
            TopicPartition(topic, int(partition)): int(offset)
            for topic, partitions in found["offsets"].items()
            for partition, offset in partitions.items()
        }
        return Cursor(dict(found["topic_ids"]), offsets)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ContractError(f"{where} holds no cursor: {error}", hint="restore it, or begin anew without it") from error
