"""Whatever happens to ClickHouse, to a reader or to a record, the rows are the committed records in the end, or it is told."""

from decimal import Decimal

import msgspec
import pytest
from clickhouse_connect.driver.client import Client

from execpos.errors import CheckFailed, ContractError, DependencyError
from execpos.local.stack import Stack
from execpos.recorder import client as recorder_client
from execpos.recorder import groups
from execpos.recorder.apply import apply, missing
from execpos.recorder.errors import errors_open, replay
from execpos.recorder.options import Options
from execpos.recorder.status import status
from execpos.recorder.tables import Table, table
from execpos.recorder.verify import verify
from recorder_feed import Feed, RegistryFront, record, until
from recorder_world import GOOD, counts, differences, feed_all, run, said

pytestmark = pytest.mark.stack

Few = tuple[Table, ...]


def test_a_changed_chain_is_made_anew_under_traffic_without_loss(client: Client, options: Options, few: Few) -> None:
    apply(client, options)
    feed = Feed(options)
    fills = table("fills")
    for i in range(10):
        feed.send(fills, [record(fills.record, i * 10 + j) for j in range(10)])
        other = msgspec.structs.replace(options, clickhouse_registry_url=f"{options.registry_url}{'/' * (i % 2)}")
        assert {each.action for each in apply(client, other)} == {"unchanged" if i == 0 else "changed"}

    assert until(lambda: counts(client, options, few)[0] == 100)
    assert differences(client, options) == []


def test_after_a_kill_nothing_is_lost_or_doubled(client: Client, options: Options, stack: Stack, few: Few) -> None:
    apply(client, options)
    feed = Feed(options)
    feed_all(feed, few)
    assert until(lambda: counts(client, options, few) == [GOOD] * len(few))

    stack.clickhouse.kill()
    for each in few:
        feed.send(each, [record(each.record, i) for i in range(30, 35)])
    stack.clickhouse.start()
    after = recorder_client.connect(stack.clickhouse.url)

    assert counts(after, options, few) == [GOOD] * len(few)
    assert missing(after, options) == [each.name for each in few]
    assert [(each.action, each.read_again) for each in apply(after, options)] == [("changed", False)] * len(few)
    assert until(lambda: counts(after, options, few) == [GOOD + 5] * len(few))
    assert differences(after, options) == []


def test_new_tables_behind_an_old_group_read_the_topic_again(client: Client, options: Options, few: Few) -> None:
    apply(client, options)
    feed_all(Feed(options), few)
    assert until(lambda: counts(client, options, few) == [GOOD] * len(few))
    assert until(lambda: all(each.lag <= 4 for each in status(client, options)))
    client.command(f"DROP DATABASE {options.ingest} SYNC")
    client.command(f"DROP DATABASE {options.database} SYNC")

    assert [each.read_again for each in apply(client, options)] == [True] * len(few)

    assert until(lambda: counts(client, options, few) == [GOOD] * len(few))
    assert differences(client, options) == []


def test_a_reader_that_stands_still_is_told_as_lag(client: Client, options: Options, few: Few) -> None:
    apply(client, options)
    feed = Feed(options)
    feed_all(feed, few)
    assert until(lambda: counts(client, options, few) == [GOOD] * len(few))
    client.command(f"DROP TABLE {options.ingest}.fills_source SYNC")
    feed.send(table("fills"), [record(table("fills").record, 50)])

    found = [each for result in verify(client, options, wait_s=1, tables=[table("fills")]) for each in result.differences]

    assert [each.kind for each in found] == ["lag"]
    assert [each.table for each in status(client, options) if not each.reading] == ["fills"]


def test_records_that_the_registry_could_not_explain_are_replayed_later(client: Client, options: Options, few: Few) -> None:
    with RegistryFront(options.registry_url) as front:
        behind = msgspec.structs.replace(options, clickhouse_registry_url=front.url)
        apply(client, behind)
        front.away = True
        feed_all(Feed(options), few)
        assert until(lambda: len(errors_open(client, options, limit=1000)) == (GOOD + 1) * len(few))
        assert {each.kind for each in differences(client, options)} == {"unread"}
        still_away = replay(client, behind)
        assert (still_away.replayed, len(still_away.failed)) == (0, (GOOD + 1) * len(few))

        front.away = False
        done = replay(client, behind)

        assert done.replayed == GOOD * len(few)
        assert [each.attempt for each in done.failed] == [2] * len(few)
        assert all("magic byte" in each.error for each in done.failed)
        assert counts(client, options, few) == [GOOD] * len(few)
        assert differences(client, options) == []
        listed = run(options, "errors", "list", "--json", "--table", "fills")
        assert [bytes.fromhex(each["raw"]) for each in said(listed)["errors"]] == [b"\x07no record"]
        replayed = run(options, "errors", "replay", "--json")
        assert isinstance(replayed.exception, CheckFailed)
        assert said(replayed)["replayed"] == 0


def test_the_newest_version_of_a_position_wins_whatever_comes_last(client: Client, options: Options) -> None:
    apply(client, options)
    positions = table("positions")
    row = record(positions.record, 1, ledger_epoch=2, version=7, quantity=70)
    older = [msgspec.structs.replace(row, version=6, quantity=60), msgspec.structs.replace(row, ledger_epoch=1, version=99, quantity=99)]
    feed = Feed(options)
    for each in (row, *older):
        feed.send(positions, [each])

    now = f"SELECT quantity, version, ledger_epoch FROM {options.database}.positions_now"
    assert until(lambda: [int(each.lag) for each in status(client, options) if each.table == "positions"] <= [1])
    assert until(lambda: client.query(now).result_rows == [(70, 7, 2)])
    assert differences(client, options) == []


def test_views_count_each_fill_as_it_is_now_and_sum_the_journal(client: Client, options: Options) -> None:
    apply(client, options)
    fills, deltas = table("fills").record, table("deltas").record
    feed = Feed(options)
    first = record(fills, 1, fill_id="f1", revision=1, strategy_id="UNASSIGNED", cause="CALLBACK", side="BUY", quantity=2, price=10_000_000)
    owned = msgspec.structs.replace(first, revision=2, strategy_id="alpha", cause="REATTRIBUTED", multiplier=50)
    void = record(fills, 2, fill_id="f2", revision=1, cause="VOID")
    feed.send(table("fills"), [first, owned, void])
    row = {
        "account": "a",
        "symbol": "2330",
        "book": "cash",
        "d_open_cost": 0,
        "net_d_open_cost": 0,
        "d_fees": 1,
        "net_d_fees": 1,
        "d_taxes": 2,
    }
    line = {**row, "net_d_taxes": 2, "d_basis": 0, "net_d_basis": 0, "trading_date": 20_000}
    feed.send(
        table("deltas"),
        [
            record(
                deltas, 1, **line, strategy_id="x", d_quantity=5, net_d_quantity=5, d_realized=0, net_d_realized=0, exchange_ts=1_000_000
            ),
            record(
                deltas, 2, **line, strategy_id="y", d_quantity=3, net_d_quantity=3, d_realized=9, net_d_realized=9, exchange_ts=2_000_000
            ),
            record(
                deltas,
                3,
                **line,
                strategy_id="x",
                d_quantity=-2,
                net_d_quantity=-2,
                d_realized=70,
                net_d_realized=70,
                exchange_ts=3_000_000,
            ),
        ],
    )
    assert until(lambda: counts(client, options, [table("fills"), table("deltas")]) == [3, 3])

    db = options.database
    enriched = client.query(f"SELECT fill_id, strategy_id, signed_quantity, notional FROM {db}.fills_enriched").result_rows
    assert [(*row[:3], row[3]) for row in enriched] == [("f1", "alpha", 2, Decimal(1000))]
    at = client.query(f"SELECT strategy_id, quantity FROM {db}.positions_at(at = '1970-01-01 00:00:02') ORDER BY 1").result_rows
    assert at == [("*", 8), ("x", 5), ("y", 3)]
    later = client.query(f"SELECT strategy_id, quantity FROM {db}.positions_at(at = '2100-01-01 00:00:00') ORDER BY 1").result_rows
    assert later == [("*", 6), ("x", 3), ("y", 3)]
    daily = client.query(f"SELECT strategy_id, realized, realized_net FROM {db}.pnl_daily ORDER BY 1").result_rows
    micro = Decimal("0.000001")
    assert daily == [("*", 79 * micro, 70 * micro), ("x", 70 * micro, 64 * micro), ("y", 9 * micro, 6 * micro)]


def test_an_old_table_gets_a_new_column_and_a_changed_type_is_refused(client: Client, options: Options) -> None:
    apply(client, options)
    client.command(f"ALTER TABLE {options.database}.fills DROP COLUMN custom_field")

    applied = {each.table: each for each in apply(client, options)}

    assert (applied["fills"].action, applied["fills"].columns_added) == ("changed", ("custom_field",))
    client.command(f"ALTER TABLE {options.database}.fills MODIFY COLUMN multiplier Int32", settings={"mutations_sync": 1})
    with pytest.raises(ContractError) as raised:
        apply(client, options)
    assert raised.value.fields["column"] == "multiplier"


def test_what_is_not_there_is_named_with_what_to_do(client: Client, options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    away = "127.0.0.1:9"
    for changed, told, patience_s in (
        # Nothing listens there, however long one waits.
        ({"bootstrap_servers": away}, "--bootstrap-servers", 1.0),
        ({"registry_url": f"http://{away}"}, "--registry-url", groups._TIMEOUT_S),
        ({"prefix": "nobody."}, "execpos topics apply", groups._TIMEOUT_S),
    ):
        monkeypatch.setattr(groups, "_TIMEOUT_S", patience_s)
        with pytest.raises(DependencyError) as raised:
            apply(client, msgspec.structs.replace(options, **changed))
        assert told in raised.value.hint
    with pytest.raises(DependencyError) as raised:
        recorder_client.connect(f"http://u:secret@{away}")
    assert "secret" not in str(raised.value)
    assert not int(client.query(f"EXISTS DATABASE {options.database}").result_rows[0][0])
    result = run(msgspec.structs.replace(options, clickhouse_url=f"http://{away}"), "status")
    assert isinstance(result.exception, DependencyError)


def test_the_views_say_what_stands_and_what_became_of_corrections(client: Client, options: Options) -> None:
    apply(client, options)
    feed = Feed(options)
    halt, done, asked, differs = table("control"), table("correction_outcomes"), table("corrections"), table("discrepancies")
    said_by = {"scope": "a", "latched": True, "state": "HALTED", "releases": ""}
    feed.send(halt, [record(halt.record, i, **{**said_by, "source": "reconciler", "control_id": f"r-{i}"}) for i in (1, 2)])
    feed.send(halt, [record(halt.record, 3, **{**said_by, "source": "auditor", "control_id": "a-1"})])
    feed.send(
        halt, [record(halt.record, 4, **{**said_by, "source": "operator", "control_id": "o-1", "state": "ACTIVE", "releases": "r-1 a-1"})]
    )
    feed.send(asked, [record(asked.record, i, account="a", correction_id=f"c-{i}") for i in (1, 2)])
    feed.send(
        done,
        [
            record(done.record, i, account="a", position_key="p", correction_id="c-1", outcome=word)
            for i, word in ((1, "APPLIED"), (2, "REJECTED"))
        ],
    )
    feed.send(
        differs, [record(differs.record, i, discrepancy_id="d", account="a", status=word) for i, word in ((1, "OPEN"), (2, "CORRECTED"))]
    )
    rows = f"SELECT count() FROM {options.database}.discrepancies FINAL WHERE status = 'CORRECTED'"
    outcomes = f"SELECT count() FROM {options.database}.correction_outcomes"
    assert until(lambda: [client.query(sql).result_rows[0][0] for sql in (rows, outcomes)] == [1, 2])
    assert until(lambda: client.query(f"SELECT count() FROM {options.database}.control FINAL").result_rows[0][0] == 3)
    assert until(lambda: client.query(f"SELECT count() FROM {options.database}.corrections").result_rows[0][0] == 2)

    stands = client.query(f"SELECT source, control_id, stands FROM {options.database}.control_now ORDER BY source").result_rows
    became = client.query(f"SELECT correction_id, outcome FROM {options.database}.corrections_done ORDER BY correction_id").result_rows

    assert [tuple(row) for row in stands] == [("auditor", "a-1", False), ("operator", "o-1", False), ("reconciler", "r-2", True)]
    assert [tuple(row) for row in became] == [("c-1", "APPLIED"), ("c-2", "")]
    assert differences(client, options) == []
