"""The contracts on paper equal what runs: schemas, structures, the page for people, and the closed lists."""

import ast
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from execpos import resources
from execpos.codecs import avro
from execpos.domain import book, calendar, events, fees, instruments, orders, pipeline, positions, rules, vocabulary
from execpos.domain.ids import position_key
from execpos.settings import model

PAGE = resources.text("contracts", "execution.md")
VOCABULARIES: dict[str, Any] = yaml.safe_load(resources.text("contracts", "vocabularies.yaml"))


def schemas() -> dict[str, dict[str, Any]]:
    """Return every record in avro/, nested ones too, by name."""
    found: dict[str, dict[str, Any]] = {}

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                walk(item)
        elif isinstance(node, dict):
            if node.get("type") == "record":
                assert found.setdefault(node["name"], node) == node, f"{node['name']} has two definitions"
            for value in node.values():
                walk(value)

    for file in sorted(resources.folder("avro").glob("*.avsc")):
        walk(json.loads(file.read_text(encoding="utf-8")))
    return found


SCHEMAS = schemas()


def python_type(schema: Any) -> object:
    """Return the type by which a structure of ours holds a value of this Avro type."""
    if isinstance(schema, dict):
        kind = schema["type"]
        if kind == "array":
            return types.GenericAlias(tuple, (python_type(schema["items"]), ...))
        if kind == "map":
            return types.GenericAlias(dict, (str, python_type(schema["values"])))
        if kind == "enum":
            return typing.Literal.__getitem__(tuple(schema["symbols"]))
        if kind == "record":
            return getattr(events, schema["name"])
        return python_type(kind)
    plain: dict[str, object] = {"string": str, "bytes": bytes, "int": int, "long": int, "boolean": bool}
    return plain.get(schema) or getattr(events, schema)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_each_structure_equals_its_schema_field_by_field(name: str) -> None:
    structure = getattr(events, name)
    hints = typing.get_type_hints(structure)

    assert [field["name"] for field in SCHEMAS[name]["fields"]] == list(structure.__struct_fields__)
    for field in SCHEMAS[name]["fields"]:
        assert python_type(field["type"]) == hints[field["name"]], field["name"]


def test_every_structure_has_a_schema_and_every_file_a_topic_record() -> None:
    structures = {name for name, value in vars(events).items() if isinstance(value, type) and issubclass(value, msgspec.Struct)}

    assert structures == SCHEMAS.keys()
    assert {avro.file_name(record) for record in avro.RECORDS} == {file.name for file in resources.folder("avro").glob("*.avsc")}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_schemas_keep_to_the_rules(name: str) -> None:
    for field in SCHEMAS[name]["fields"]:
        assert field["doc"], field["name"]
        kind = field["type"]["type"] if isinstance(field["type"], dict) else field["type"]
        assert kind not in {"float", "double", "fixed"}, f"{field['name']}: exact numbers only"
        logical = field["type"].get("logicalType") if isinstance(field["type"], dict) else None
        assert (logical == "timestamp-micros") == field["name"].endswith(("_ts", "_timestamp")) or field["name"] == "ts", field["name"]
        assert (logical == "date") == field["name"].endswith("_date"), field["name"]


def test_the_first_fields_of_a_fill_can_be_sliced() -> None:
    assert [(f["name"], f["type"]) for f in SCHEMAS["FillEvent"]["fields"][:3]] == [
        ("fill_id", "string"),
        ("broker_event_id", "string"),
        ("digest", "bytes"),
    ]


# --- the page --------------------------------------------------------------------------------------------------------------------------


def page_tables() -> dict[str, list[list[str]]]:
    """Return record -> rows of its table on the page."""
    found: dict[str, list[list[str]]] = {}
    for part in re.split(r"^#{3,4} ", PAGE, flags=re.MULTILINE)[1:]:
        name = part.partition("\n")[0].strip()
        rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in part.splitlines() if line.startswith("| `")]
        found[name] = [[cell.strip() for cell in row] for row in rows if len(row) == 6]
    return found


TABLES = page_tables()


def shown_type(schema: Any) -> str:
    if isinstance(schema, str):
        return schema
    kind = schema["type"]
    if kind in {"array", "map"}:
        return f"{kind} of {shown_type(schema['items' if kind == 'array' else 'values'])}"
    if kind == "record":
        return str(schema["name"])
    return f"enum {schema['name']}" if kind == "enum" else f"{kind}, {schema['logicalType']}"


def test_the_page_describes_exactly_the_records_that_there_are() -> None:
    assert TABLES.keys() == SCHEMAS.keys()


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_page_describes_exactly_the_fields_that_there_are(name: str) -> None:
    described = [(row[0].strip("`"), row[1]) for row in TABLES[name]]

    assert [(field["name"], shown_type(field["type"])) for field in SCHEMAS[name]["fields"]] == described
    for row in TABLES[name]:
        assert row[3], f"{row[0]} has no meaning"
        assert row[4], f"{row[0]} has no source"
        assert row[5], f"{row[0]} has no example"


def test_the_page_names_every_class_quality_and_quality_order() -> None:
    for word in (*VOCABULARIES["classification"], *VOCABULARIES["quality"]):
        assert re.search(rf"^\| {word} \|", PAGE, flags=re.MULTILINE), word
    assert " < ".join(VOCABULARIES["quality"]) in PAGE


def test_the_keys_on_the_page_are_those_that_the_code_makes() -> None:
    account = "production|S|9A95|1234567"

    for made in (account, position_key(account, "2330", "cash", "momentum-1"), position_key(account, "*", "*", "UNASSIGNED")):
        assert f"`{made}`".replace("|", "\\|") in PAGE
    assert position_key(account, "2330", "cash", "a|b").endswith("|2330|cash|a%7Cb")


# --- the closed lists ------------------------------------------------------------------------------------------------------------------


def test_the_lists_in_code_are_those_of_the_contract() -> None:
    assert {name: tuple(words) for name, words in VOCABULARIES.items()} == vocabulary.WORDS


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("market", events.Market),
        ("side", events.Side),
        ("classification", pipeline.Class),
        ("status", orders.Status),
        ("reported", orders.Reported),
        ("env", model.Env),
        ("security_type", model.SecurityType),
        ("cost_method", positions.CostMethod),
    ],
)
def test_the_types_in_use_have_the_words_of_the_contract(name: str, words: object) -> None:
    assert set(VOCABULARIES[name]) == set(typing.get_args(words))


def test_qualities_are_ordered_as_in_the_contract() -> None:
    assert tuple(VOCABULARIES["quality"]) == book.QUALITIES


def test_the_shipped_books_and_security_types_are_in_the_contract() -> None:
    shipped = yaml.safe_load(resources.text("config", "instruments.yaml"))

    assert {*shipped["books"].values(), instruments.DERIVATIVE} == set(VOCABULARIES["book"])
    assert {product["security_type"] for product in shipped["products"].values()} == set(VOCABULARIES["security_type"])


def source_files() -> list[Path]:
    return sorted(Path(vocabulary.__file__).parents[1].rglob("*.py"))


def test_every_reason_that_the_code_gives_is_in_the_contract() -> None:
    given = set()
    for file in source_files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Park" and node.args:
                for constant in ast.walk(node.args[0]):
                    if isinstance(constant, ast.Constant) and isinstance(constant.value, str):
                        given.add(constant.value)

    assert given
    assert given <= vocabulary.REASONS


@pytest.mark.parametrize("module", [calendar, fees, instruments, rules])
def test_the_rule_tables_are_frozen_structures(module: types.ModuleType) -> None:
    made = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == module.__name__
    ]

    assert made
    for structure in made:
        assert structure.__struct_config__.frozen, structure
