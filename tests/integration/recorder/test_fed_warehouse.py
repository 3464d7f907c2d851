"""Committed records become rows, once each and exactly, in every table; whatever happens to a row is found. One warehouse for all."""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

import pytest
from clickhouse_connect.driver.client import Client

from execpos.errors import CheckFailed
from execpos.local.stack import Stack
from execpos.recorder import client as recorder_client
from execpos.recorder.apply import apply
from execpos.recorder.errors import errors_open
from execpos.recorder.options import Options
from execpos.recorder.results import ensure_equal
from execpos.recorder.tables import TABLES, table
from execpos.recorder.verify import verify
from recorder_feed import Feed, record, until
from recorder_world import GOOD, counts, differences, feed_all, run, said, warehouse

pytestmark = pytest.mark.stack


class Fed(NamedTuple):
    """A warehouse that has read all that there is, and how it was made."""

    client: Client
    options: Options
    actions: list[str]


@pytest.fixture(scope="module")
def fed(stack: Stack) -> Iterator[Fed]:
    with warehouse(stack) as options:
        client = recorder_client.connect(options.clickhouse_url)
        applied = apply(client, options)
        feed_all(Feed(options))
        assert until(lambda: counts(client, options) == [GOOD] * len(TABLES))
        yield Fed(client, options, [each.action for each in applied])
        client.close()


@pytest.fixture
def harmed(fed: Fed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fed]:
    """Let a test harm rows of a table that it may, look at those tables alone, and put the rows back."""
    client, db = fed.client, fed.options.database
    tables = tuple(map(table, ("orders", "fills", "deltas", "positions")))
    monkeypatch.setitem(verify.__kwdefaults__ or {}, "tables", tables)
    names = [*(each.name for each in tables), "ingest_errors"]
    for name in names:
        client.command(f"CREATE TABLE {db}.kept_{name} ENGINE = Memory AS SELECT * FROM {db}.{name}")
    yield fed
    for name in names:
        client.command(f"TRUNCATE TABLE {db}.{name}")
        client.command(f"INSERT INTO {db}.{name} SELECT * FROM {db}.kept_{name}")
        client.command(f"DROP TABLE {db}.kept_{name} SYNC")


def test_committed_records_are_rows_and_aborted_ones_are_not(fed: Fed) -> None:
    client, options = fed.client, fed.options
    assert fed.actions == ["created"] * len(TABLES)

    results = verify(client, options, wait_s=60)
    ensure_equal(results)
    assert [(each.records, each.unreadable) for each in results] == [(GOOD, 1)] * len(TABLES)
    fills = record(table("fills").record, 3)
    row = client.query(f"SELECT * FROM {options.database}.fills WHERE fill_id = {{id:String}}", parameters={"id": fills.fill_id}).first_item
    assert row is not None
    assert row["price"] == Decimal(fills.price).scaleb(-6)
    assert row["quantity"] == fills.quantity
    assert round(row["exchange_ts"].timestamp() * 1e6) % 86_400_000_000 == fills.exchange_ts % 86_400_000_000
    assert (row["side"], row["order_overfilled"]) == (fills.side, fills.order_overfilled)
    assert [(each.table, bytes.fromhex(each.raw)) for each in errors_open(client, options)] == [
        (each.table, b"\x07no record") for each in errors_open(client, options)
    ]
    assert {each.table for each in errors_open(client, options)} == {each.name for each in TABLES}


def test_apply_again_changes_nothing_and_stops_no_reader(fed: Fed) -> None:
    client, options = fed.client, fed.options
    commits = "SELECT sum(num_commits) FROM system.kafka_consumers WHERE database = {database:String}"
    before = client.query(commits, parameters={"database": options.ingest}).result_rows[0][0]

    again = apply(client, options)

    assert [(each.action, each.columns_added, each.read_again) for each in again] == [("unchanged", (), False)] * len(TABLES)
    assert client.query(commits, parameters={"database": options.ingest}).result_rows[0][0] >= before > 0


@pytest.mark.parametrize(
    ("harm", "kind", "told"),
    [
        ("DELETE FROM {db}.fills WHERE fill_id LIKE 'fill_id-3-%'", "missing", "fill_id-3-"),
        ("ALTER TABLE {db}.deltas UPDATE d_realized = d_realized + 0.000001 WHERE position_key LIKE '%-4-%'", "altered", "d_realized"),
        ("ALTER TABLE {db}.orders UPDATE op_msg = 'x' WHERE event_id LIKE 'event_id-5-%'", "altered", "op_msg is 'x'"),
        ("ALTER TABLE {db}.positions UPDATE lots = [] WHERE position_key LIKE '%-6-%'", "altered", "lots"),
        ("DELETE FROM {db}.positions WHERE position_key LIKE '%-6-%'", "missing", "position_key-6-"),
        ("INSERT INTO {db}.positions SELECT * REPLACE ('new' AS position_key) FROM {db}.positions LIMIT 1", "extra", "new"),
        (
            "INSERT INTO {db}.fills SELECT * REPLACE (_offset - 1 AS _offset) FROM {db}.fills WHERE fill_id LIKE 'fill_id-20-%'",
            "extra",
            "no com",
        ),
        ("TRUNCATE TABLE {db}.ingest_errors", "missing", "bytes that are no record"),
    ],
)
def test_verify_names_each_harm(harmed: Fed, harm: str, kind: str, told: str) -> None:
    client, options = harmed.client, harmed.options
    assert run(options, "verify", "--json").exit_code == 0

    client.command(harm.format(db=options.database), settings={"mutations_sync": 1})

    found = differences(client, options)
    assert {each.kind for each in found} == {kind}
    assert all(told in each.detail for each in found)
    result = run(options, "verify", "--json")
    assert isinstance(result.exception, CheckFailed)
    assert result.exception.exit_code == 6
    assert told in result.exception.what
    assert said(result)["equal"] is False


def test_the_commands_print_one_object_each(fed: Fed) -> None:
    options = fed.options
    applied = run(options, "apply", "--json")
    shown = run(options, "status", "--json")

    assert (applied.exit_code, shown.exit_code) == (0, 0)
    assert [each["table"] for each in said(applied)["tables"]] == [each.name for each in TABLES]
    assert [(each["rows"], each["open_errors"], each["reading"], each["consumers"]) for each in said(shown)["tables"]] == [
        (GOOD, 1, True, 1) for _ in TABLES
    ]
    for words in (["apply"], ["status"], ["verify"], ["errors", "list"]):
        result = run(options, *words)
        assert result.exit_code == 0, result.output
        assert "fills" in result.stdout
