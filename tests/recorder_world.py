"""A warehouse under test: what is fed to it, what it holds, and its commands."""

import itertools
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from click.testing import CliRunner, Result
from clickhouse_connect.driver.client import Client

from execpos.cli.clickhouse import clickhouse as command
from execpos.local.stack import Stack
from execpos.recorder import client as recorder_client
from execpos.recorder.options import Options
from execpos.recorder.results import Difference
from execpos.recorder.tables import TABLES, Table
from execpos.recorder.verify import verify
from recorder_feed import Feed, make_topics, record

# What `feed_all` writes into each topic and commits, but for what is no record.
GOOD = 13

_numbers = itertools.count(1)


@contextmanager
def warehouse(stack: Stack) -> Iterator[Options]:
    """Topics and databases; their Kafka readers are dropped at the end, so that they do not crowd out those of the next."""
    number = f"{os.getpid()}_{next(_numbers)}"
    made = Options(
        clickhouse_url=stack.clickhouse.url,
        bootstrap_servers=stack.kafka.bootstrap_servers,
        registry_url=stack.registry.url,
        prefix=f"rec{number}.",
        env="simulation",
        database=f"wh_{number}",
    )
    make_topics(made)
    yield made
    if not stack.clickhouse.alive():
        stack.clickhouse.start()
    client = recorder_client.connect(made.clickhouse_url)
    client.command(f"DROP DATABASE IF EXISTS {made.ingest} SYNC")
    client.command(f"DROP DATABASE IF EXISTS {made.database} SYNC")
    client.close()


def feed_all(feed: Feed, tables: Sequence[Table] = TABLES) -> None:
    """Into each topic: 10 committed, 5 aborted, one that is no record, one tombstone, 3 committed."""
    for each in tables:
        feed.send(each, [record(each.record, i) for i in range(10)])
        feed.send(each, [record(each.record, i) for i in range(100, 105)], abort=True)
        feed.send_bytes(each, [("bad", b"\x07no record"), ("gone", None)])
        feed.send(each, [record(each.record, i) for i in range(20, 23)])


def counts(client: Client, options: Options, tables: Sequence[Table] = TABLES) -> list[int]:
    """Return the rows of each table, of several with one key the newest."""
    return [int(client.query(f"SELECT count() FROM {options.database}.{each.name} FINAL").result_rows[0][0]) for each in tables]


def differences(client: Client, options: Options) -> list[Difference]:
    """Return what `verify` finds."""
    return [each for result in verify(client, options, wait_s=60) for each in result.differences]


def run(options: Options, *arguments: str) -> Result:
    """Run `execpos clickhouse` with these arguments."""
    given = {
        "--clickhouse-url": options.clickhouse_url,
        "--database": options.database,
        "--bootstrap-servers": options.bootstrap_servers,
        "--registry-url": options.registry_url,
        "--prefix": options.prefix,
        "--env": options.env,
    }
    return CliRunner().invoke(command, [*arguments, *(word for pair in given.items() for word in pair)])


def said(result: Result) -> Any:
    """Return the one object that a command printed."""
    return json.loads(result.stdout)
