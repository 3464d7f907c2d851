"""The SQL files against the schemas: each field has its column, of the one type that reads it exactly."""

import json

import pytest

from execpos.codecs import avro
from execpos.errors import ContractError
from execpos.recorder.apply import check_contract
from execpos.recorder.contract import mismatches
from execpos.recorder.tables import TABLES, Table, table
from execpos.recorder.templates import Column, record_columns


@pytest.mark.parametrize("each", TABLES, ids=lambda each: each.name)
def test_every_field_has_a_column_that_reads_it_exactly(each: Table) -> None:
    fields = [field["name"] for field in json.loads(avro.schema_text(each.record))["fields"]]

    assert [column.name for column in record_columns(each.name)] == fields
    assert mismatches(avro.schema_text(each.record), record_columns(each.name)) == []


def _with_type(name: str, column: str, kind: str) -> list[Column]:
    return [Column(each.name, kind if each.name == column else each.type) for each in record_columns(name)]


@pytest.mark.parametrize(
    ("name", "column", "kind"),
    [
        ("fills", "exchange_ts", "DateTime64(3, 'UTC')"),
        ("fills", "exchange_ts", "DateTime64(6)"),
        ("fills", "exchange_ts", "DateTime"),
        ("fills", "price", "Int64"),
        ("fills", "price", "Decimal(18, 4)"),
        ("fills", "tax_est", "Int64"),
        ("fills", "quantity", "UInt8"),
        ("fills", "quantity", "Decimal(18, 6)"),
        ("fills", "trading_date", "Date"),
        ("fills", "side", "Enum8('SELL' = 1, 'BUY' = 2)"),
        ("fills", "side", "Enum8('BUY' = 1)"),
        ("fills", "order_overfilled", "UInt8"),
        ("fills", "source_partition", "Int16"),
        ("fills", "fill_id", "Decimal(18, 6)"),
        ("positions", "lots", "Array(Tuple(quantity Int64, cost Int64, fill_id String))"),
        ("positions", "lots", "Array(Tuple(cost Decimal(18, 6), quantity Int64, fill_id String))"),
        ("positions", "lots", "Array(Tuple(quantity Int64, cost Decimal(18, 6)))"),
        ("positions", "lots", "String"),
        ("rounds", "triggers", "Array(Int64)"),
        ("rounds", "triggers", "String"),
        ("correction_outcomes", "seqs", "Array(Int32)"),
        ("corrections", "evidence", "Map(String, LowCardinality(String))"),
        ("corrections", "evidence", "String"),
    ],
)
def test_a_pair_that_would_corrupt_is_found(name: str, column: str, kind: str) -> None:
    wrong = mismatches(avro.schema_text(table(name).record), _with_type(name, column, kind))

    assert len(wrong) >= 1
    assert all(sentence.startswith(column) for sentence in wrong)


def test_a_missing_a_foreign_and_a_misplaced_column_are_found() -> None:
    schema = avro.schema_text(table("fills").record)
    columns = list(record_columns("fills"))

    assert mismatches(schema, columns[1:]) == ["fill_id: the table has no such column"]
    assert mismatches(schema, [*columns, Column("x", "Int64")]) == ["x: the record has no such field"]
    assert mismatches(schema, [columns[1], columns[0], *columns[2:]]) == ["FillEvent: the columns stand in another order than the fields"]


def test_apply_refuses_files_that_do_not_fit_and_names_file_and_column(monkeypatch: pytest.MonkeyPatch) -> None:
    check_contract()
    monkeypatch.setattr("execpos.recorder.apply.record_columns", lambda name: _with_type(name, "exchange_ts", "DateTime64(3, 'UTC')"))

    with pytest.raises(ContractError) as raised:
        check_contract()

    assert raised.value.fields["count"] == 3
    assert "schemas/fills.sql: exchange_ts: DateTime64(3, 'UTC') does not read" in raised.value.what
