"""Which changes of a schema can follow a released version, shown on made-up versions."""

import json
from pathlib import Path
from typing import Any

import pytest

from execpos import resources
from execpos.codecs import compatibility
from execpos.errors import ContractError

PRICE = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 6}
TS = {"type": "long", "logicalType": "timestamp-micros"}
ENUM = {"type": "enum", "name": "Side", "symbols": ["BUY", "SELL"]}
LOT = {"type": "record", "name": "Lot", "fields": [{"name": "quantity", "type": "long"}]}


def version(*fields: Any, name: str = "Thing") -> str:
    return json.dumps({"type": "record", "name": name, "namespace": "execpos", "fields": list(fields)})


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def problems(*texts: str) -> list[str]:
    return compatibility.problems([(f"v{number}", text) for number, text in enumerate(texts, start=1)])


BASE = version(
    field("id", "string"), field("price", PRICE), field("ts", TS), field("side", ENUM), field("lots", {"type": "array", "items": LOT})
)


@pytest.mark.parametrize(
    "after",
    [
        BASE,
        BASE.replace('"name": "id"', '"doc": "what it is", "name": "id"'),
        version(*json.loads(BASE)["fields"], field("note", "string", default="")),
        version(*json.loads(BASE)["fields"], field("note", ["null", "string"], default=None)),
        version(*reversed(json.loads(BASE)["fields"])),
    ],
    ids=["the same", "a doc", "a field with a default", "an optional field", "another order"],
)
def test_changes_that_may_follow(after: str) -> None:
    assert problems(BASE, after) == []


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (version(*json.loads(BASE)["fields"], field("note", "string")), "new code cannot read old data: note: it was not written"),
        (version(*json.loads(BASE)["fields"][1:]), "old code cannot read new data: id: it was not written"),
        (BASE.replace('"name": "id"', '"name": "uid"'), "old code cannot read new data: id: it was not written"),
        (BASE.replace('"name": "id", "type": "string"', '"name": "id", "type": "long"'), "id: string cannot be read as long"),
        (
            BASE.replace('"type": "long", "logicalType"', '"type": "int", "logicalType"'),
            "new code cannot read old data: ts: long cannot be read as int",
        ),
        (BASE.replace('["BUY", "SELL"]', '["BUY", "SELL", "VOID"]'), "enum Side: its symbols are immutable"),
        (BASE.replace('["BUY", "SELL"]', '["SELL", "BUY"]'), "enum Side: its symbols are immutable"),
        (BASE.replace('"scale": 6', '"scale": 4'), "Thing.price: scale is immutable, and changed from 6 to 4"),
        (BASE.replace('"precision": 18', '"precision": 20'), "Thing.price: precision is immutable"),
        (BASE.replace("timestamp-micros", "timestamp-millis"), "Thing.ts: logicalType is immutable"),
        (
            BASE.replace(', "logicalType": "timestamp-micros"', ""),
            "Thing.ts: logicalType is immutable, and changed from timestamp-micros to None",
        ),
        (BASE.replace('"quantity", "type": "long"', '"quantity", "type": "string"'), "lots[].quantity: long cannot be read as string"),
        (BASE.replace('"name": "Thing"', '"name": "Other"'), "the name changed from Thing to Other"),
    ],
)
def test_changes_that_may_not_follow(after: str, expected: str) -> None:
    found = problems(BASE, after)

    assert any(expected in what for what in found), found


def test_a_promotion_is_refused_because_old_code_cannot_read_it() -> None:
    found = problems(version(field("n", "int")), version(field("n", "long")))

    assert found == ["v1 -> v2: old code cannot read new data: n: long cannot be read as int"]


def test_a_union_may_grow_for_readers_and_not_for_writers() -> None:
    found = problems(version(field("n", ["null", "long"])), version(field("n", ["null", "long", "string"])))

    assert found == ["v1 -> v2: old code cannot read new data: n: no branch of the union reads string"]


def test_a_logical_type_inside_a_union_is_immutable_too() -> None:
    found = problems(version(field("at", ["null", TS])), version(field("at", ["null", "long"])))

    assert found == ["v1 -> v2: Thing.at: logicalType is immutable, and changed from timestamp-micros to None"]


def test_the_first_fields_of_a_fill_stay_first() -> None:
    three = [field("fill_id", "string"), field("broker_event_id", "string"), field("digest", "bytes")]
    new = field("revision", "long", default=0)

    assert problems(version(*three, name="FillEvent"), version(*three, new, name="FillEvent")) == []
    assert problems(version(*three, name="FillEvent"), version(new, *three, name="FillEvent")) == [
        "v1 -> v2: the first 3 fields must stay fill_id, broker_event_id, digest, in type and order"
    ]


def test_every_version_is_compared_with_every_other() -> None:
    first = version(field("id", "string"))
    second = version(field("id", "string"), field("note", "string", default=""))
    third = version(field("id", "string"), field("note", "string"))

    assert problems(second, third) == []
    assert problems(first, second, third) == [
        "v1 -> v3: new code cannot read old data: note: it was not written, and the reader has no default"
    ]


def test_a_record_inside_itself_is_compared_once() -> None:
    tree = version(field("id", "string"), field("child", ["null", "execpos.Thing"], default=None))

    assert problems(tree, tree.replace('"name": "id"', '"doc": "x", "name": "id"')) == []


# --- released versions -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the check at a folder of its own, with our schemas as they are."""
    (tmp_path / "avro").mkdir()
    (tmp_path / "contracts" / "released").mkdir(parents=True)
    for file in resources.folder("avro").glob("*.avsc"):
        (tmp_path / "avro" / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(resources, "folder", lambda name: tmp_path / name)
    return tmp_path / "contracts" / "released"


def release(folder: Path, tag: str, source: Path) -> Path:
    (folder / tag).mkdir()
    for file in source.glob("*.avsc"):
        (folder / tag / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    return folder / tag


def test_our_schemas_can_follow_what_was_released() -> None:
    assert compatibility.check_released() >= 0


def test_before_the_first_release_there_is_nothing_to_follow(released: Path) -> None:
    assert compatibility.check_released() == 0
    released.rmdir()
    assert compatibility.check_released() == 0


def test_a_released_version_is_followed_in_the_order_of_versions(released: Path) -> None:
    release(released, "v0.9.0", released.parents[1] / "avro")
    release(released, "v0.10.0", released.parents[1] / "avro")

    assert compatibility.check_released() == 2
    assert [tag.name for tag in sorted(released.iterdir(), key=compatibility._release_order)] == ["v0.9.0", "v0.10.0"]


def test_a_change_that_cannot_follow_a_release_is_a_contract_error(released: Path) -> None:
    tag = release(released, "v0.1.0", released.parents[1] / "avro")
    old = json.loads((tag / "fill_event.avsc").read_text(encoding="utf-8"))
    old["fields"].insert(0, {"name": "gone", "type": "string"})
    (tag / "fill_event.avsc").write_text(json.dumps(old))

    with pytest.raises(ContractError) as caught:
        compatibility.check_released()

    assert caught.value.exit_code == 5
    assert "v0.1.0/fill_event.avsc -> avro/fill_event.avsc" in caught.value.what
    assert "gone" in caught.value.what


def test_a_released_record_may_not_vanish(released: Path) -> None:
    tag = release(released, "v0.1.0", released.parents[1] / "avro")
    (tag / "old_record.avsc").write_text(version(field("id", "string")))

    with pytest.raises(ContractError, match="the record is gone"):
        compatibility.check_released()
