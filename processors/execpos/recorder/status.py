"""How the warehouse does: rows, readers, errors and lag of each table."""

import msgspec
from clickhouse_connect.driver.client import Client

from execpos.recorder import groups
from execpos.recorder.apply import missing
from execpos.recorder.client import errors_named
from execpos.recorder.options import Options
from execpos.recorder.tables import TABLES, Table


class PartitionStatus(msgspec.Struct, frozen=True):
    """One partition: next offset to read, end of what is committed, and the distance (a transaction's end mark counts as one)."""

    partition: int
    read_to: int
    end: int
    lag: int


class TableStatus(msgspec.Struct, frozen=True):
    """One table. `reading`: its chain from Kafka is there as the files say; `last_exception`: the newest one of its Kafka reader."""

    table: str
    topic: str
    rows: int
    open_errors: int
    reading: bool
    consumers: int
    last_exception: str
    lag: int
    partitions: tuple[PartitionStatus, ...]


def status(client: Client, options: Options) -> list[TableStatus]:
    """Return the state of each table; a table that is not there has -1 rows. Blocks for a second or less.

    Raises:
        DependencyError: ClickHouse or Kafka does not answer, or a topic is not there.
    """
    options.check()
    topics = groups.check_topics(options, [options.topic(table.topic) for table in TABLES])
    absent = set(missing(client, options))
    with errors_named(client, "asking for the state of the tables"):
        rows = _rows(client, options)
        errors = _open_errors(client, options)
        readers = _readers(client, options)
    extents = groups.extents(options, [(topic, partition) for topic, count in topics.items() for partition in range(count)])
    found = []
    for table in TABLES:
        topic = options.topic(table.topic)
        partitions = _partitions(options, table, {key: extent for key, extent in extents.items() if key[0] == topic})
        consumers, exception = readers.get(f"{table.name}_source", (0, ""))
        found.append(
            TableStatus(
                table=table.name,
                topic=topic,
                rows=rows.get(table.name, -1),
                open_errors=errors.get(table.name, 0),
                reading=table.name not in absent,
                consumers=consumers,
                last_exception=exception,
                lag=sum(each.lag for each in partitions),
                partitions=partitions,
            )
        )
    return found


def _partitions(options: Options, table: Table, extents: dict[tuple[str, int], groups.Extent]) -> tuple[PartitionStatus, ...]:
    committed = groups.committed(options, options.group(table.name), list(extents))
    made = []
    for key, extent in sorted(extents.items()):
        read_to = committed.get(key, extent.low)
        made.append(PartitionStatus(key[1], read_to, extent.end, max(0, extent.end - read_to)))
    return tuple(made)


def _rows(client: Client, options: Options) -> dict[str, int]:
    found = client.query(
        "SELECT name, total_rows FROM system.tables WHERE database = {database:String}", parameters={"database": options.database}
    ).result_rows
    return {str(name): int(rows or 0) for name, rows in found}


def _open_errors(client: Client, options: Options) -> dict[str, int]:
    if not client.query(
        "SELECT 1 FROM system.tables WHERE database = {database:String} AND name = 'ingest_errors'",
        parameters={"database": options.database},
    ).result_rows:
        return {}
    found = client.query(
        f"SELECT target, count() FROM {options.database}.ingest_errors FINAL WHERE NOT replayed GROUP BY target"  # noqa: S608 (a checked name)
    ).result_rows
    return {str(target): int(count) for target, count in found}


def _readers(client: Client, options: Options) -> dict[str, tuple[int, str]]:
    found = client.query(
        "SELECT table, count(), max(if(empty(exceptions.text), '', arrayElement(exceptions.text, -1))) "
        "FROM system.kafka_consumers WHERE database = {database:String} GROUP BY table",
        parameters={"database": options.ingest},
    ).result_rows
    return {str(table): (int(count), str(exception)) for table, count, exception in found}
