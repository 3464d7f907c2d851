"""Filling in and splitting the SQL files."""

import re

import pytest

from execpos import resources
from execpos.errors import ConfigError, ContractError
from execpos.recorder import templates
from execpos.recorder.options import Options
from execpos.recorder.tables import ERRORS_FILE, TABLES, VIEWS_FILE, Table

OPTIONS = Options("http://127.0.0.1:1", "127.0.0.1:2", "http://u:p%40@127.0.0.1:3", prefix="desk.", env="simulation", database="wh")


@pytest.mark.parametrize("each", TABLES, ids=lambda each: each.name)
def test_a_table_s_script_reads_its_topic_with_its_group_and_leaves_no_placeholder(each: Table) -> None:
    script = templates.table_script(each, OPTIONS)
    text = "\n".join(statement.sql for statement in (*script.target, *script.ingest, *script.views))

    assert "{{" not in text
    assert f"kafka_topic_list = 'desk.exec.{each.topic}.v1'" in text
    assert f"kafka_group_name = 'desk.simulation.clickhouse.wh.{each.name}'" in text
    assert [statement.name for statement in script.target] == [each.name]


@pytest.mark.parametrize("each", TABLES, ids=lambda each: each.name)
def test_rows_can_flow_only_once_everything_else_is_made(each: Table) -> None:
    ingest = templates.table_script(each, OPTIONS).ingest
    pump = ingest[-1]

    assert pump.name == f"{each.name}_pump"
    assert all(statement.database == "wh_ingest" for statement in ingest)
    # Only the pump reads the Kafka table.
    assert [statement.name for statement in ingest if f"FROM wh_ingest.{each.name}_source" in statement.sql] == [pump.name]
    assert pump.sql.endswith(f"COMMENT '{templates.table_script(each, OPTIONS).fingerprint}'")


def test_the_fingerprint_changes_with_anything_between_kafka_and_rows() -> None:
    plain = templates.table_script(TABLES[0], OPTIONS).fingerprint

    assert plain == templates.table_script(TABLES[0], OPTIONS).fingerprint
    assert plain != templates.table_script(TABLES[0], Options("http://127.0.0.1:1", "127.0.0.1:9", "http://127.0.0.1:3")).fingerprint


def test_an_unknown_placeholder_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "text", lambda *_: "CREATE TABLE {{datbase}}.x (a Int8) ENGINE = Null;")

    with pytest.raises(ContractError) as raised:
        templates.script("x.sql", {"database": "wh"})

    assert "{{datbase}}" in raised.value.what
    assert "database" in raised.value.hint


def test_semicolons_in_texts_and_comments_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "-- a; b\nCREATE TABLE d.x (a String DEFAULT ';--') ENGINE = Null; -- c; d\nCREATE OR REPLACE VIEW d.v AS SELECT {at:Date};\n"
    monkeypatch.setattr(resources, "text", lambda *_: text)

    script = templates.script("x.sql", {})

    assert [statement.sql for statement in script.ingest] == ["CREATE TABLE d.x (a String DEFAULT ';--') ENGINE = Null"]
    assert [statement.sql for statement in script.views] == ["CREATE OR REPLACE VIEW d.v AS SELECT {at:Date}"]


def test_a_statement_that_makes_nothing_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "text", lambda *_: "DROP TABLE d.x;")

    with pytest.raises(ContractError):
        templates.script("x.sql", {})


def test_quotes_in_an_address_stay_inside_the_text() -> None:
    odd = Options("http://127.0.0.1:1", "127.0.0.1:2', x='", "http://127.0.0.1:3")

    assert r"kafka_broker_list = '127.0.0.1:2\', x=\''" in templates.table_script(TABLES[0], odd).ingest[-2].sql


@pytest.mark.parametrize(
    ("field", "value"), [("database", "a-b"), ("database", "a.b"), ("database", ""), ("prefix", "a b"), ("prefix", "a'"), ("env", "ü")]
)
def test_names_that_need_quotes_are_refused(field: str, value: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Options(**{"clickhouse_url": "", "bootstrap_servers": "", "registry_url": "", field: value}).check()

    assert raised.value.fields["field"] == field


def test_every_file_in_schemas_is_used_and_the_other_way_round() -> None:
    files = {path.name for path in resources.folder("schemas").glob("*.sql")}

    assert files == {f"{each.name}.sql" for each in TABLES} | {ERRORS_FILE, VIEWS_FILE}


def test_columns_are_read_from_the_file_whole_and_in_order() -> None:
    text = resources.text("schemas", "positions.sql")
    names = [column.name for column in templates.table_columns("positions")]
    body = text[text.index("(") + 1 : text.index("\n)\nENGINE")]

    assert names == re.findall(r"^    (\w+) ", body, re.MULTILINE)
    assert templates.table_columns("fills")[0] == templates.Column("fill_id", "String")
