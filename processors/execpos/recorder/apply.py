"""Makes the warehouse what `schemas/` says, on a running system too.

Rows never pass a half-made chain: the Kafka table goes first (its consumer stops, and what it had not committed comes again), then the
views; they are made anew in the order of the file, and rows flow only from the moment when the last view is there.
"""

from typing import Literal, NamedTuple

from clickhouse_connect.driver.client import Client

from execpos.codecs import avro
from execpos.errors import ContractError
from execpos.recorder import contract, groups
from execpos.recorder.client import check_registry, errors_named
from execpos.recorder.options import Options
from execpos.recorder.tables import ERRORS_FILE, TABLES, VIEWS_FILE, Table
from execpos.recorder.templates import Script, record_columns, script, table_columns, table_script

Action = Literal["created", "changed", "unchanged"]


class Applied(NamedTuple):
    """What `apply` did for one table: made it, made anew what reads Kafka, or found all as it should be."""

    table: str
    action: Action
    columns_added: tuple[str, ...]
    read_again: bool
    """The table was empty and new, so the group's old place was forgotten and the topic is read from its beginning."""


def apply(client: Client, options: Options) -> list[Applied]:
    """Create or update every table, view and Kafka consumer; return what was done, table by table.

    Blocks for seconds. May be called at any time and again, by one caller at a time; nothing is lost, and rows that are read twice replace
    themselves. A return does not promise that rows have arrived.

    Raises:
        ConfigError: a name in the options cannot be used.
        DependencyError: ClickHouse, Kafka, the registry or a topic is not there; nothing was changed.
        ContractError: schema and SQL do not fit, a column has another type than the file says, or ClickHouse refused a statement.
    """
    options.check()
    check_contract()
    check_registry(options.registry_url)
    groups.check_topics(options, [options.topic(table.topic) for table in TABLES])
    with errors_named(client, "making the databases"):
        client.command(f"CREATE DATABASE IF NOT EXISTS {options.database}")
        client.command(f"CREATE DATABASE IF NOT EXISTS {options.ingest} ENGINE = Memory")
        _run(client, script(ERRORS_FILE, {"database": options.database}))
    applied = [_apply_table(client, options, table) for table in TABLES]
    with errors_named(client, VIEWS_FILE):
        _run(client, script(VIEWS_FILE, {"database": options.database}))
    return applied


def check_contract() -> None:
    """Compare the SQL files with the schemas. Pure.

    Raises:
        ContractError: a column cannot read its field exactly; names all of them.
    """
    wrong = [
        f"schemas/{table.name}.sql: {each}"
        for table in TABLES
        for each in contract.mismatches(avro.schema_text(table.record), record_columns(table.name))
    ]
    if wrong:
        raise ContractError("\n".join(wrong), hint="change the column's type, or the schema, so that both say the same", count=len(wrong))


def missing(client: Client, options: Options) -> list[str]:
    """Return the tables whose chain from Kafka is not there, or not as the files say; quick enough for every few seconds.

    Raises:
        DependencyError: ClickHouse does not answer.
    """
    with errors_named(client, "looking for the Kafka tables"):
        there = _fingerprints(client, options)
    return [table.name for table in TABLES if not _is_whole(there, table_script(table, options))]


def _apply_table(client: Client, options: Options, table: Table) -> Applied:
    wanted = table_script(table, options)
    with errors_named(client, f"schemas/{table.name}.sql"):
        there = _fingerprints(client, options)
        is_new = not int(client.command(f"EXISTS TABLE {options.database}.{table.name}"))  # type: ignore[arg-type]  # 0 or 1
        added: tuple[str, ...] = ()
        if is_new:
            for statement in wanted.target:
                client.command(statement.sql)
        else:
            added = _missing_columns(client, options, table)
        whole = _is_whole(there, wanted)
        if is_new or added or not whole:
            _stop_reading(client, wanted)
            # A table without rows behind a group that has read already: the old rows are elsewhere or gone, so read again.
            is_empty = not client.query(f"SELECT 1 FROM {options.database}.{table.name} LIMIT 1").result_rows  # noqa: S608 (a checked name)
            for column in table_columns(table.name):
                if column.name in added:
                    client.command(f"ALTER TABLE {options.database}.{table.name} ADD COLUMN IF NOT EXISTS {column.name} {column.type}")
            read_again = is_empty and groups.forget(options, options.group(table.name), options.topic(table.topic))
            for statement in wanted.ingest:
                client.command(statement.sql)
        else:
            read_again = False
        for statement in wanted.views:
            client.command(statement.sql)
    action: Action = "created" if is_new else "unchanged" if whole and not added else "changed"
    return Applied(table.name, action, added, read_again)


def _stop_reading(client: Client, wanted: Script) -> None:
    """Drop the chain against its order of flow: the Kafka table first, so that nothing is read while a view is missing."""
    tables = [each for each in wanted.ingest if each.kind == "TABLE"]
    views = [each for each in wanted.ingest if each.kind == "MATERIALIZED VIEW"]
    for statement in reversed(tables):
        client.command(f"DROP TABLE IF EXISTS {statement.database}.{statement.name} SYNC")
    for statement in reversed(views):
        client.command(f"DROP VIEW IF EXISTS {statement.database}.{statement.name} SYNC")


def _fingerprints(client: Client, options: Options) -> dict[str, str]:
    rows = client.query(
        "SELECT name, comment FROM system.tables WHERE database = {database:String}", parameters={"database": options.ingest}
    ).result_rows
    return {str(name): str(comment) for name, comment in rows}


def _is_whole(there: dict[str, str], wanted: Script) -> bool:
    return all(each.name in there for each in wanted.ingest) and there[wanted.ingest[-1].name] == wanted.fingerprint


def _missing_columns(client: Client, options: Options, table: Table) -> tuple[str, ...]:
    rows = client.query(
        "SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String}",
        parameters={"database": options.database, "table": table.name},
    ).result_rows
    there = {str(name): "".join(str(kind).split()) for name, kind in rows}
    for column in table_columns(table.name):
        found = there.get(column.name)
        if found is not None and found != "".join(column.type.split()):
            raise ContractError(
                f"{options.database}.{table.name}.{column.name} is {found}, schemas/{table.name}.sql says {column.type}",
                hint="rename the old table (RENAME TABLE), apply again, and the rows that the topic still holds are read anew",
                table=table.name,
                column=column.name,
            )
    return tuple(column.name for column in table_columns(table.name) if column.name not in there)


def _run(client: Client, statements: Script) -> None:
    for statement in (*statements.target, *statements.ingest, *statements.views):
        client.command(statement.sql)
