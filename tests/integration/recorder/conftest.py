"""A warehouse of its own for each test, on the shared stack."""

import itertools
import os
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from execpos.local.stack import Stack
from execpos.recorder import client as recorder_client
from execpos.recorder.options import Options
from recorder_feed import make_topics

_numbers = itertools.count(1)


@pytest.fixture
def options(stack: Stack) -> Iterator[Options]:
    """Topics and databases of one test; its Kafka readers are dropped at the end, so that they do not crowd out those of the next."""
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


@pytest.fixture
def client(options: Options) -> Iterator[Client]:
    made = recorder_client.connect(options.clickhouse_url)
    yield made
    made.close()
