"""Records that ClickHouse could not read when they came: what they are, and reading them again from their kept bytes."""

from collections.abc import Sequence
from typing import Any

import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from execpos.errors import UsageError
from execpos.recorder.client import check_registry, errors_named
from execpos.recorder.options import Options
from execpos.recorder.tables import TABLES
from execpos.recorder.templates import reader_columns

# One statement a record, so that a bad one stops no good one; more are done by calling again.
REPLAY_MAX = 10_000
_ORDER = "ORDER BY seen_at, _topic, _partition, _offset"


class IngestError(msgspec.Struct, frozen=True):
    """A record that has not become a row; `raw` are its bytes as hexadecimal digits."""

    table: str
    topic: str
    partition: int
    offset: int
    error: str
    attempt: int
    seen_at: str
    raw: str


class Replayed(msgspec.Struct, frozen=True):
    """What a replay did: records that are rows now, and those that still cannot be read."""

    replayed: int
    failed: tuple[IngestError, ...]


def errors_open(client: Client, options: Options, *, table: str = "", limit: int = 100) -> list[IngestError]:
    """Return the oldest open errors, of one table or of all.

    Raises:
        DependencyError: ClickHouse does not answer.
        ContractError: the table of errors is not there; `apply` makes it.
        UsageError: there is no such table.
    """
    if table and table not in {each.name for each in TABLES}:
        raise UsageError(f"there is no table {table!r}", hint=f"one of: {', '.join(each.name for each in TABLES)}")
    with errors_named(client, "listing the errors"):
        rows = client.query(
            "SELECT target, _topic, _partition, _offset, error, attempt, toString(seen_at), hex(raw) "  # noqa: S608 (a checked name)
            f"FROM {options.database}.ingest_errors FINAL "
            f"WHERE NOT replayed AND ({{table:String}} = '' OR target = {{table:String}}) {_ORDER} LIMIT {{limit:UInt32}}",
            parameters={"table": table, "limit": limit},
        ).result_rows
    return [IngestError(*row) for row in rows]


def replay(client: Client, options: Options, *, table: str = "") -> Replayed:
    """Read the kept bytes of open errors again, through the same views as records from Kafka; at most `REPLAY_MAX` a call.

    May be called again at any time: a record that is a row already replaces itself. What still cannot be read stays open, with its new
    reason.

    Raises:
        DependencyError: ClickHouse or the registry does not answer.
        ContractError: the tables are not there; `apply` makes them.
        UsageError: there is no such table.
    """
    check_registry(options.registry_url)
    failed: list[IngestError] = []
    replayed = 0
    for each in errors_open(client, options, table=table, limit=REPLAY_MAX):
        error = _read_again(client, options, each)
        with errors_named(client, "marking a replayed error"):
            _mark(client, options, each, error)
        if error:
            failed.append(msgspec.structs.replace(each, error=error, attempt=each.attempt + 1))
        else:
            replayed += 1
    return Replayed(replayed, tuple(failed))


def _read_again(client: Client, options: Options, each: IngestError) -> str:
    """Insert one record; return why it cannot be read, or nothing."""
    structure = reader_columns(each.table).replace("\\", "\\\\").replace("'", "\\'")
    parameters: dict[str, Any] = {"topic": each.topic, "partition": each.partition, "offset": each.offset}
    settings = {
        "format_avro_schema_registry_url": options.clickhouse_registry_url or options.registry_url,
        "input_format_avro_allow_missing_fields": 1,
    }
    source = f"format('AvroConfluent', '{structure}', unhex('{each.raw}'))"
    with errors_named(client, "reading an error again"):
        try:
            if client.query(f"SELECT count() FROM {source}", settings=settings).result_rows[0][0] != 1:  # noqa: S608 (hexadecimal digits)
                return "the bytes are not exactly one record"
            client.command(
                f"INSERT INTO {options.ingest}.{each.table}_rows "  # noqa: S608 (as above)
                f"SELECT *, {{topic:String}}, {{partition:UInt64}}, {{offset:UInt64}}, '', '' FROM {source}",
                parameters=parameters,
                settings=settings,
            )
        except ClickHouseError as error:
            if getattr(error, "code", None) in {None, 60, 81}:  # nothing answers, or the tables are not there: no fault of the record
                raise
            return str(error).partition("server response: ")[2] or str(error)
    return ""


def _mark(client: Client, options: Options, each: IngestError, error: str) -> None:
    row: Sequence[object] = (
        each.table,
        each.topic,
        each.partition,
        each.offset,
        error,
        bytes.fromhex(each.raw),
        each.attempt + 1,
        not error,
    )
    names = ("target", "_topic", "_partition", "_offset", "error", "raw", "attempt", "replayed")
    client.insert("ingest_errors", [row], column_names=names, database=options.database)
