"""What the embedded ClickHouse's HTTP face reads off a statement."""

import pytest

from execpos.local.clickhouse_statement import created_table, insert_with_rows, output_format


@pytest.mark.parametrize(
    ("sql", "statement", "kind", "rows"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", b"INSERT INTO t", "CSV", b"1,2\n"),
        (b"insert into d.t (a, `FORMAT`)\n format Native\r\n\x00\x01", b"insert into d.t (a, `FORMAT`)", "Native", b"\x00\x01"),
        (
            b"-- FORMAT x\nINSERT INTO t SETTINGS a = 'FORMAT y' FORMAT TSV\n",
            b"-- FORMAT x\nINSERT INTO t SETTINGS a = 'FORMAT y'",
            "TSV",
            b"",
        ),
        (b"INSERT INTO t (format) FORMAT RowBinary \n\n\x0a", b"INSERT INTO t (format)", "RowBinary", b"\n\x0a"),
    ],
)
def test_an_insert_with_rows_is_cut_where_they_begin(sql: bytes, statement: bytes, kind: str, rows: bytes) -> None:
    found = insert_with_rows(sql)

    assert found is not None
    assert (found.statement, found.format, sql[found.rows_at :]) == (statement, kind, rows)


@pytest.mark.parametrize(
    "sql",
    [
        b"SELECT 1 FORMAT CSV",
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t VALUES (1, 'FORMAT CSV')",
        b"INSERT INTO t WITH 1 AS x SELECT x",
        b"/* INSERT INTO t FORMAT CSV */ SELECT 1",
        b"",
    ],
)
def test_other_statements_are_left_whole(sql: bytes) -> None:
    assert insert_with_rows(sql) is None


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"SELECT 1", "TabSeparated"),
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 format Native ;", "Native"),
        (b"SELECT ' FORMAT CSV' -- FORMAT XML\n", "TabSeparated"),
        (b"SELECT format('{}', 1)", "TabSeparated"),
        (b"SELECT * FROM format(CSV, '1') FORMAT JSONEachRow SETTINGS max_threads = 1", "JSONEachRow"),
    ],
)
def test_the_format_of_an_answer_is_that_of_the_last_clause(sql: bytes, expected: str) -> None:
    assert output_format(sql, "TabSeparated") == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (b"CREATE TABLE a.b (x Int8) ENGINE = Kafka", "a.b"),
        (b' create table if not exists `a b`."c" ENGINE = Kafka', '`a b`."c"'),
        (b"ATTACH TABLE a.b", "a.b"),
        (b"CREATE MATERIALIZED VIEW a.b TO c AS SELECT 1", None),
        (b"SELECT 1", None),
    ],
)
def test_the_table_of_a_create_is_named(sql: bytes, expected: str | None) -> None:
    assert created_table(sql) == expected
