"""A warehouse of its own for each test, on the shared stack."""

from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from execpos.local.stack import Stack
from execpos.recorder import apply, status
from execpos.recorder import client as recorder_client
from execpos.recorder.options import Options
from execpos.recorder.tables import ERRORS_FILE, Table, table
from execpos.recorder.verify import verify
from recorder_world import warehouse


@pytest.fixture
def options(stack: Stack) -> Iterator[Options]:
    with warehouse(stack) as made:
        yield made


@pytest.fixture
def client(options: Options) -> Iterator[Client]:
    made = recorder_client.connect(options.clickhouse_url)
    yield made
    made.close()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[Table, ...]:
    """Let the warehouse have one table of each sort and no views over several: what a fault does to a table it does to each.

    A chain from Kafka takes a third of a second to be made, and faults make all of them anew.
    """
    tables = (table("fills"), table("positions"))
    for module in (apply, status):
        monkeypatch.setattr(module, "TABLES", tables)
    # Once more the table of errors, which is there by then.
    monkeypatch.setattr(apply, "VIEWS_FILE", ERRORS_FILE)
    monkeypatch.setitem(verify.__kwdefaults__ or {}, "tables", tables)
    return tables
