"""`execpos clickhouse`: make the warehouse, look at it, compare it with the topics, and read failed records again."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from execpos.cli import connect
from execpos.cli.config import config_option
from execpos.cli.output import json_option, print_json, stderr, stdout, table

if TYPE_CHECKING:
    from execpos.recorder.errors import IngestError
    from execpos.recorder.options import Options
    from execpos.recorder.results import TableResult
    from execpos.recorder.status import TableStatus

# Differences printed one by one; --json has them all.
_SHOWN_MAX = 20


def _connection(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the configuration and what may stand in its place, and hand them over as one `options`."""

    @config_option
    @click.option("--clickhouse-url", help="HTTP interface of ClickHouse. [default: clickhouse.url of the configuration]")
    @click.option("--database", help="Database of the tables. [default: clickhouse.database]")
    @click.option("--bootstrap-servers", help="Kafka. [default: kafka.bootstrap_servers]")
    @click.option("--registry-url", help="The registry's Confluent API. [default: registry.url]")
    @click.option("--clickhouse-bootstrap-servers", default="", help="Kafka as ClickHouse sees it, when that is another address.")
    @click.option("--clickhouse-registry-url", default="", help="The registry as ClickHouse sees it, likewise.")
    @click.option("--prefix", help="Of topics and consumer groups. [default: kafka.prefix]")
    @click.option("--env", help="Part of the groups' names. [default: env]")
    @functools.wraps(command)
    def connected(
        *,
        config_dir: Path | None,
        clickhouse_url: str | None,
        database: str | None,
        bootstrap_servers: str | None,
        registry_url: str | None,
        clickhouse_bootstrap_servers: str,
        clickhouse_registry_url: str,
        prefix: str | None,
        env: str | None,
        **rest: Any,
    ) -> None:
        import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

        from execpos.settings import load  # noqa: PLC0415 (as above)

        named = {
            "clickhouse_url": clickhouse_url,
            "database": database,
            "bootstrap_servers": bootstrap_servers,
            "registry_url": registry_url,
            "prefix": prefix,
            "env": env,
        }
        options = msgspec.structs.replace(
            connect.recorder_options(load(config_dir)),
            clickhouse_bootstrap_servers=clickhouse_bootstrap_servers,
            clickhouse_registry_url=clickhouse_registry_url,
            **{name: value for name, value in named.items() if value is not None},
        )
        options.check()
        command(options, **rest)

    return connected


@click.group()
def clickhouse() -> None:
    """Create, watch and verify the warehouse."""


@clickhouse.command("apply")
@_connection
@json_option
def apply_command(options: "Options", *, as_json: bool) -> None:
    """Make databases, tables, views and Kafka readers what `schemas/` says; safe to repeat, also while rows flow.

    With --json: `{"database", "tables": [{"table", "action", "columns_added", "read_again"}]}`; action is created, changed or unchanged.
    """
    from execpos.recorder.apply import apply  # noqa: PLC0415 (`--help` must not pay for it)
    from execpos.recorder.client import connect as reach  # noqa: PLC0415 (as above)

    applied = apply(reach(options.clickhouse_url), options)
    if as_json:
        print_json({"database": options.database, "tables": [each._asdict() for each in applied]})
        return
    rows = [[each.table, each.action, ", ".join(each.columns_added), "yes" if each.read_again else ""] for each in applied]
    stdout().print(table(f"Warehouse {options.database}", ["table", "action", "columns added", "read again"], rows))


@clickhouse.command("status")
@_connection
@json_option
def status_command(options: "Options", *, as_json: bool) -> None:
    """Show rows, readers, errors and lag of each table.

    With --json: `{"database", "tables": [{"table", "topic", "rows", "open_errors", "reading", "consumers", "last_exception", "lag",
    "partitions": [{"partition", "read_to", "end", "lag"}]}]}`; rows is -1 for a table that is not there, and the end mark of a transaction
    counts as one record of lag.
    """
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.recorder.client import connect as reach  # noqa: PLC0415 (as above)
    from execpos.recorder.status import status  # noqa: PLC0415 (as above)

    found = status(reach(options.clickhouse_url), options)
    if as_json:
        print_json({"database": options.database, "tables": [msgspec.to_builtins(each) for each in found]})
        return
    columns = ["table", "rows", "errors", "reading", "consumers", "lag", "last exception"]
    stdout().print(
        table(f"Warehouse {options.database}", columns, list(map(_status_row, found)), numeric=("rows", "errors", "consumers", "lag"))
    )


def _status_row(each: "TableStatus") -> list[str]:
    return [
        each.table,
        "not there" if each.rows < 0 else f"{each.rows:,}",
        f"{each.open_errors:,}",
        "yes" if each.reading else "NO",
        str(each.consumers),
        f"{each.lag:,}",
        each.last_exception[:80],
    ]


@clickhouse.command("verify")
@_connection
@click.option(
    "--wait", "wait_s", type=click.FloatRange(0), default=30.0, show_default=True, help="Seconds that ClickHouse may need to catch up."
)
@json_option
def verify_command(options: "Options", *, wait_s: float, as_json: bool) -> None:
    """Compare every table with the committed records of its topic; exit 6 when they differ.

    With --json: `{"database", "equal", "tables": [{"table", "topic", "records", "unreadable", "duplicates", "sums", "differences":
    [{"kind", "table", "partition", "offset", "detail"}]}]}`; kind is missing, extra, altered, unread or lag, sums of money are in 10^-6.
    """
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.recorder.client import connect as reach  # noqa: PLC0415 (as above)
    from execpos.recorder.results import ensure_equal  # noqa: PLC0415 (as above)
    from execpos.recorder.verify import verify  # noqa: PLC0415 (as above)

    client = reach(options.clickhouse_url)
    with stderr().status("comparing") as shown:
        results = verify(client, options, wait_s=wait_s, progress=lambda name, count: shown.update(f"comparing {name}: {count:,} records"))
    if as_json:
        equal = not any(result.differences for result in results)
        print_json({"database": options.database, "equal": equal, "tables": [_result(msgspec.to_builtins(each)) for each in results]})
    else:
        _print_results(options, results)
    ensure_equal(results)


def _result(built: dict[str, Any]) -> dict[str, Any]:
    # Sums may pass what a JSON number holds exactly, so they travel as text.
    return {**built, "sums": {name: str(value) for name, value in built["sums"].items()}}


def _print_results(options: "Options", results: "list[TableResult]") -> None:
    rows = [
        [
            each.table,
            f"{each.records:,}",
            f"{each.unreadable:,}",
            f"{each.duplicates:,}",
            f"{len(each.differences):,}" if each.differences else "none",
        ]
        for each in results
    ]
    columns = ["table", "records", "unreadable", "duplicates", "differences"]
    stdout().print(table(f"Warehouse {options.database} against the topics", columns, rows, numeric=columns[1:]))


@clickhouse.group("errors")
def errors_group() -> None:
    """Records that ClickHouse could not read when they came; their bytes are kept."""


@errors_group.command("list")
@_connection
@click.option("--table", "name", default="", help="Of one table only.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True)
@json_option
def errors_list(options: "Options", *, name: str, limit: int, as_json: bool) -> None:
    """List the open errors, oldest first.

    With --json: `{"database", "errors": [{"table", "topic", "partition", "offset", "error", "attempt", "seen_at", "raw"}]}`, raw in
    hexadecimal digits.
    """
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.recorder.client import connect as reach  # noqa: PLC0415 (as above)
    from execpos.recorder.errors import errors_open  # noqa: PLC0415 (as above)

    found = errors_open(reach(options.clickhouse_url), options, table=name, limit=limit)
    if as_json:
        print_json({"database": options.database, "errors": [msgspec.to_builtins(each) for each in found]})
        return
    _print_errors("Records that could not be read", found)


@errors_group.command("replay")
@_connection
@click.option("--table", "name", default="", help="Of one table only.")
@json_option
def errors_replay(options: "Options", *, name: str, as_json: bool) -> None:
    """Read the kept bytes again; exit 6 when some still cannot be read.

    With --json: `{"database", "replayed", "failed": [as in `errors list`]}`.
    """
    import msgspec  # noqa: PLC0415 (`--help` must not pay for it)

    from execpos.errors import CheckFailed  # noqa: PLC0415 (as above)
    from execpos.recorder.client import connect as reach  # noqa: PLC0415 (as above)
    from execpos.recorder.errors import replay  # noqa: PLC0415 (as above)

    done = replay(reach(options.clickhouse_url), options, table=name)
    if as_json:
        print_json({"database": options.database, **msgspec.to_builtins(done)})
    else:
        stdout().print(f"{done.replayed:,} records are rows now, {len(done.failed):,} still cannot be read")
        if done.failed:
            _print_errors("Still not readable", list(done.failed))
    if done.failed:
        raise CheckFailed(
            f"{len(done.failed)} records still cannot be read",
            hint="the reason stands beside each; the bytes stay in ingest_errors",
            count=len(done.failed),
        )


def _print_errors(title: str, found: "list[IngestError]") -> None:
    rows = [
        [each.table, each.topic, str(each.partition), str(each.offset), str(each.attempt), each.seen_at, each.error[:100].strip()]
        for each in found[:_SHOWN_MAX]
    ]
    columns = ["table", "topic", "partition", "offset", "attempt", "seen", "reason"]
    stdout().print(table(title, columns, rows, numeric=("partition", "offset", "attempt")))
    if len(found) > _SHOWN_MAX:
        stderr().print(f"and {len(found) - _SHOWN_MAX:,} more; --json has them all")
