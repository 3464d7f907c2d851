"""Records of a topic against rows of a table."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from clickhouse_connect.driver.client import Client

from execpos.recorder import canonical
from execpos.recorder.committed import Entry
from execpos.recorder.options import Options
from execpos.recorder.results import NAMED_MAX, Difference, Kind, TableResult
from execpos.recorder.tables import Table
from execpos.recorder.templates import record_columns

_UNREAD = "ClickHouse could not read it when it came; its bytes are in ingest_errors"
_RANGE = "_topic = {topic:String} AND _partition = {partition:UInt64} AND _offset BETWEEN {first:UInt64} AND {last:UInt64}"


class Comparison(ABC):
    """One table's comparison, fed with chunks in the order of each partition's offsets. Not thread-safe."""

    def __init__(self, client: Client, options: Options, table: Table) -> None:
        self.differences: list[Difference] = []
        self.records = 0
        self.unreadable = 0
        self._client = client
        self._options = options
        self._table = table
        self._topic = options.topic(table.topic)
        self._name = f"{options.database}.{table.name}"
        self._columns = record_columns(table.name)
        self._summed = canonical.summed(self._columns)
        self._sums = {column.name: 0 for column in self._summed}
        self._digest = canonical.Digest(self._columns)
        self._digest_sql = canonical.digest_sql(self._columns)

    @abstractmethod
    def add(self, partition: int, chunk: Sequence[Entry]) -> None:
        """Take the next records of a partition."""

    @abstractmethod
    def finish(self) -> None:
        """Compare what can only be compared at the end."""

    def result(self) -> TableResult:
        """Finish and return what was found."""
        self.finish()
        both = f"SELECT (SELECT count() FROM {self._name}) - (SELECT count() FROM {self._name} FINAL)"  # noqa: S608 (checked names)
        duplicates = self._rows(both)[0][0]
        return TableResult(
            self._table.name, self._topic, self.records, self.unreadable, int(duplicates), self._sums, tuple(self.differences)
        )

    def _rows(self, sql: str, **parameters: object) -> Sequence[Sequence[Any]]:
        return self._client.query(sql, parameters={"topic": self._topic, **parameters}).result_rows

    def _differ(self, kind: Kind, partition: int, offset: int, detail: str) -> None:
        self.differences.append(Difference(kind, self._table.name, partition, offset, detail))

    def _count(self, record: msgspec.Struct) -> None:
        self.records += 1
        for name in self._sums:
            self._sums[name] += getattr(record, name)

    def _kept_errors(self, partition: int, chunk: Sequence[Entry]) -> set[int]:
        """Return the offsets whose bytes stand in ingest_errors."""
        found = self._rows(
            f"SELECT DISTINCT _offset FROM {self._options.database}.ingest_errors WHERE {_RANGE}",  # noqa: S608 (checked names)
            partition=partition,
            first=chunk[0].offset,
            last=chunk[-1].offset,
        )
        return {int(row[0]) for row in found}

    def _offsets_in_errors(self) -> set[tuple[int, int]]:
        """Return partition and offset of every kept error of the topic."""
        sql = (
            f"SELECT _partition, _offset FROM {self._options.database}.ingest_errors FINAL WHERE _topic = {{topic:String}} AND NOT replayed"  # noqa: S608 (a checked name)
        )
        return {(int(partition), int(offset)) for partition, offset in self._rows(sql)}

    def _check_unreadable(self, partition: int, chunk: Sequence[Entry]) -> None:
        unreadable = [entry.offset for entry in chunk if entry.record is None and not entry.tombstone]
        self.unreadable += len(unreadable)
        if unreadable:
            kept = self._kept_errors(partition, chunk)
            for offset in unreadable:
                if offset not in kept:
                    self._differ("missing", partition, offset, "bytes that are no record, and ingest_errors does not have them")

    def _columns_that_differ(self, record: msgspec.Struct, where: str, **parameters: object) -> str:
        texts = ", ".join(canonical.sql(column.type, f"`{column.name}`") for column in self._columns)
        rows = self._rows(f"SELECT {texts} FROM {self._name} FINAL WHERE {where} LIMIT 1", **parameters)  # noqa: S608 (checked names)
        if not rows:
            return "the row is gone"
        expected = [canonical.encoder(column.type)(getattr(record, column.name)) for column in self._columns]
        named = [
            f"{column.name} is {_shown(row)} and should be {_shown(wanted)}"
            for column, row, wanted in zip(self._columns, rows[0], expected, strict=True)
            if _as_bytes(row) != wanted
        ]
        return "; ".join(named) or "it changed while it was compared"


class RowComparison(Comparison):
    """One row a record, of a topic that keeps all: everything but positions."""

    def add(self, partition: int, chunk: Sequence[Entry]) -> None:
        if not chunk:
            return
        self._check_unreadable(partition, chunk)
        good = {entry.offset: entry.record for entry in chunk if entry.record is not None}
        for record in good.values():
            self._count(record)
        expected = {offset: self._digest(record) for offset, record in good.items()}
        bounds = {"partition": partition, "first": chunk[0].offset, "last": chunk[-1].offset}
        if self._totals(good, expected) == self._table_totals(**bounds):
            return
        rows = self._rows(f"SELECT _offset, {self._digest_sql} FROM {self._name} FINAL WHERE {_RANGE}", **bounds)  # noqa: S608 (checked names)
        found = {int(offset): int(digest) for offset, digest in rows}
        self._name_differences(partition, good, expected, found, self._kept_errors(partition, chunk))

    def _totals(self, good: dict[int, Any], digests: dict[int, int]) -> list[int]:
        mixed = 0
        for offset, digest in digests.items():
            mixed ^= (digest + offset) % (1 << 64)
        return [len(good), mixed, *(sum(getattr(record, column.name) for record in good.values()) for column in self._summed)]

    def _table_totals(self, **bounds: int) -> list[int]:
        sums = "".join(f", {canonical.sum_sql(column)}" for column in self._summed)
        row = self._rows(
            f"SELECT count(), groupBitXor({self._digest_sql} + _offset){sums} FROM {self._name} FINAL WHERE {_RANGE}",  # noqa: S608 (checked names)
            **bounds,
        )[0]
        return [int(value) for value in row]

    def _name_differences(
        self, partition: int, good: dict[int, Any], expected: dict[int, int], found: dict[int, int], in_errors: set[int]
    ) -> None:
        for offset in sorted(expected.keys() | found.keys()):
            if offset not in found and offset in in_errors:
                self._differ("unread", partition, offset, _UNREAD)
            elif offset not in found:
                self._differ("missing", partition, offset, f"no row for {_shown_key(good[offset])}")
            elif offset not in expected:
                self._differ("extra", partition, offset, "a row, but no committed record")
            elif expected[offset] != found[offset]:
                where = "_topic = {topic:String} AND _partition = {partition:UInt64} AND _offset = {offset:UInt64}"
                named = len(self.differences) < NAMED_MAX
                detail = self._columns_that_differ(good[offset], where, partition=partition, offset=offset) if named else "a column differs"
                self._differ("altered", partition, offset, detail)

    def finish(self) -> None:
        """Nothing is left."""


class _Newest(NamedTuple):
    version: tuple[int, int]
    partition: int
    offset: int
    digest: int
    record: Any


class LatestComparison(Comparison):
    """One row a key, the newest: by the version of a position, else by the offset, because a key stays in its partition."""

    def __init__(self, client: Client, options: Options, table: Table) -> None:
        super().__init__(client, options, table)
        self._newest: dict[str, _Newest] = {}
        self._versioned = {"ledger_epoch", "version"} <= {column.name for column in self._columns}
        parts = ", '|', ".join(table.key)
        self._key_sql = f"concat({parts}, '')"
        self._read_to: dict[int, int] = {}

    def add(self, partition: int, chunk: Sequence[Entry]) -> None:
        if not chunk:
            return
        self._check_unreadable(partition, chunk)
        self._read_to[partition] = chunk[-1].offset
        for entry in chunk:
            if entry.record is None:
                if entry.tombstone:
                    self._newest.pop(entry.key.decode(errors="replace"), None)
                continue
            record: Any = entry.record
            version = (record.ledger_epoch, record.version) if self._versioned else (0, entry.offset)
            key = "|".join(getattr(record, name) for name in self._table.key)
            before = self._newest.get(key)
            if before is None or version >= before.version:
                self._newest[key] = _Newest(version, partition, entry.offset, self._digest(record), record)

    def finish(self) -> None:
        for newest in self._newest.values():
            self._count(newest.record)
        # A position that holds nothing may have been forgotten since; nothing else is.
        holds = "quantity" if self._versioned else "1"
        wanted = f"{self._key_sql}, _partition, _offset, {self._digest_sql}, {holds}"
        rows = self._rows(f"SELECT {wanted} FROM {self._name} FINAL WHERE _topic = {{topic:String}}")  # noqa: S608 (checked names)
        found = {str(key): (int(partition), int(offset), int(digest), int(quantity)) for key, partition, offset, digest, quantity in rows}
        in_errors = self._offsets_in_errors()
        for key, newest in self._newest.items():
            row = found.get(key)
            if row is not None and (row[2] == newest.digest or row[1] > self._read_to.get(row[0], -1)):
                continue
            if (newest.partition, newest.offset) in in_errors:
                self._differ("unread", newest.partition, newest.offset, f"{key}: {_UNREAD}")
            elif row is None:
                self._differ("missing", newest.partition, newest.offset, f"no row for {key}")
            else:
                detail = self._columns_that_differ(
                    newest.record, f"_topic = {{topic:String}} AND {self._key_sql} = {{key:String}}", key=key
                )
                self._differ("altered", newest.partition, newest.offset, f"{key}: {detail}")
        self._name_rows_without_record(found)

    def _name_rows_without_record(self, found: dict[str, tuple[int, int, int, int]]) -> None:
        for key, (partition, offset, _, quantity) in found.items():
            # A flat key may have been forgotten by a tombstone, which ClickHouse does not see.
            if key not in self._newest and quantity != 0 and offset <= self._read_to.get(partition, -1):
                self._differ("extra", partition, offset, f"a row for {key} with quantity {quantity}, but no record")


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _shown(value: object) -> str:
    text = _as_bytes(value).decode(errors="backslashreplace")
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _shown_key(record: Any) -> str:
    for name in ("fill_id", "event_id", "position_key", "source_topic"):
        if getattr(record, name, ""):
            return f"{name} {getattr(record, name)}"
    return "the record"
