"""The demo's verdict: consistent when all places agree, and inconsistent with the difference named when one of them does not."""

from pathlib import Path
from typing import Any

import clickhouse_connect
import msgspec
import pytest
from click.testing import CliRunner, Result

from execpos.cli.main import cli
from execpos.codecs.avro import Encoder
from execpos.demo.run import Demo, DemoOptions
from execpos.demo.sources import TopicSource
from execpos.domain.events import PositionDelta, PositionState
from execpos.errors import CheckFailed
from execpos.kafka.partitions import partition_for

pytestmark = pytest.mark.stack

KEYS = {
    "callbacks",
    "raw_events",
    "orders",
    "fills",
    "duplicates",
    "conflicts",
    "dead_letters",
    "positions",
    "clickhouse_fills",
    "latency_ms",
    "reconciliation",
    "verdict",
    "differences",
}


def put(demo: Demo, topic: str, key: str, account: str, value: bytes) -> None:
    producer = demo.cluster.idempotent_producer("tamper")
    failed: list[object] = []
    producer.produce(
        topic, partition_for(account.encode(), 12), key.encode(), value, lambda error, _: failed.append(error) if error else None
    )
    assert producer.flush(60) == 0
    assert failed == []
    producer.close()


def rows_named(report: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [(row["account"], row["symbol"], row["book"], row["strategy_id"]) for row in report["differences"] if "account" in row]


def tamper_with_each_place(demo: Demo) -> None:
    """Plant one difference after the other, each undone before the next: every one has to be found and named."""
    assert demo.report()["verdict"] == "consistent"
    schemas = demo.schemas()
    found = TopicSource(demo.cluster, demo.names, schemas).all()

    fill = demo.venue._play.book._matched.pop()
    report = demo.report()
    assert report["verdict"] == "inconsistent"
    assert {row["symbol"] for row in report["differences"]} >= {fill.order.instrument.full_code}
    demo.venue._play.book._matched.append(fill)

    state = next(state for state in found.positions if state.quantity)
    encode_state = Encoder(PositionState, schemas.ids[PositionState])
    wrong = msgspec.structs.replace(state, realized_pnl=state.realized_pnl + 1)
    put(demo, demo.names.positions, state.position_key, state.account, encode_state(wrong))
    report = demo.report()
    assert rows_named(report) == [(state.account, state.symbol, state.book, state.strategy_id)]
    assert report["differences"][0]["positions"] != report["differences"][0]["deltas"]
    put(demo, demo.names.positions, state.position_key, state.account, encode_state(state))

    delta = found.deltas[0]
    encode_delta = Encoder(PositionDelta, schemas.ids[PositionDelta])
    put(demo, demo.names.deltas, delta.account, delta.account, encode_delta(delta))
    report = demo.report()
    assert (delta.account, delta.symbol, delta.book, delta.strategy_id) in rows_named(report)
    changed = {name: -getattr(delta, name) for name in delta.__struct_fields__ if name.startswith(("d_", "net_d_"))}
    put(demo, demo.names.deltas, delta.account, delta.account, encode_delta(msgspec.structs.replace(delta, **changed)))
    assert [row for row in demo.report()["differences"] if row["positions"] != row["deltas"]] == []

    client = clickhouse_connect.get_client(dsn=demo.stack.clickhouse.url)
    row = next(state for state in found.positions if state.quantity and state.position_key != delta.position_key)
    columns = client.query(f"SELECT * FROM execpos.positions FINAL WHERE position_key = '{row.position_key}'")
    values = dict(zip(columns.column_names, columns.result_rows[0], strict=True))
    values |= {"quantity": row.quantity + 1, "_version": 1 << 120}
    client.insert("execpos.positions", [list(values.values())], column_names=list(values))
    report = demo.report()
    assert (row.account, row.symbol, row.book, row.strategy_id) in rows_named(report)


def test_a_difference_in_any_of_the_four_places_is_found_and_named(tmp_path: Path) -> None:
    report = Demo(DemoOptions(data=tmp_path, seconds=4, rate=100, seed=3), before_check=tamper_with_each_place).run()

    assert report["verdict"] == "inconsistent"
    assert report.keys() == KEYS


def run_cli(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["demo", "--seconds", "4", "--rate", "100", *arguments])


def test_the_command_prints_one_object_and_succeeds() -> None:
    result = run_cli("--json")

    assert result.exception is None, result.output
    report = msgspec.json.decode(result.stdout)
    assert report.keys() == KEYS
    assert (report["verdict"], report["differences"]) == ("consistent", [])
    assert report["callbacks"] == report["orders"] + report["fills"] + report["duplicates"]
    assert report["fills"] == report["clickhouse_fills"] > 0
    assert report["raw_events"] > report["callbacks"]
    assert report["latency_ms"].keys() == {"p50", "p99", "max", "n"}
    compared = report["reconciliation"]
    assert [one["state"] for one in compared["accounts"]] == ["ACTIVE"] * 6
    assert compared["keys_compared"] == compared["equal"] + sum(one["other_average"] for one in compared["accounts"]) > 0
    planted = compared["planted"]
    assert planted["broker_quantity"] == planted["ledger_quantity"] + 1_000
    assert planted["discrepancy_id"]
    assert (planted["booked"], planted["status"]) == (0, "EXPLAINED")


def test_an_inconsistent_demo_ends_with_the_exit_code_of_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(_: Demo) -> dict[str, Any]:
        latency = {"p50": 1.0, "p99": 1.0, "max": 1.0, "n": 1}
        compared: dict[str, Any] = {"accounts": [], "planted": None}
        found = {"verdict": "inconsistent", "differences": [{"account": "a"}], "latency_ms": latency, "reconciliation": compared}
        return dict.fromkeys(KEYS, 0) | found

    monkeypatch.setattr(Demo, "run", found)
    result = run_cli()

    assert isinstance(result.exception, CheckFailed)
    assert result.exception.exit_code == 6
    assert "inconsistent: 1 differences" in result.stdout
