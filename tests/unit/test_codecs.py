"""The compiled codec writes the bytes that fastavro writes, and refuses what is no record."""

import contextlib
import io
import json
import typing
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execpos.codecs import compiled, framing
from execpos.codecs.avro import NESTED, RECORDS, Decoder, Encoder, expanded, schema_text
from execpos.domain import events
from execpos.errors import Park

SCHEMA_ID = 77
_LONG = st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-9000, 9000)
_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=40) | st.text(min_size=60, max_size=70, alphabet="aé台"),
    int: _LONG,
    bool: st.booleans(),
    bytes: st.binary(max_size=80),
    events.Side: st.sampled_from(["BUY", "SELL"]),
    events.Market: st.sampled_from(["S", "F"]),
    tuple[int, ...]: st.lists(_LONG, max_size=3).map(tuple),
    tuple[str, ...]: st.lists(st.text(max_size=5), max_size=3).map(tuple),
    dict[str, str]: st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
}


@pytest.fixture(params=[False, True], ids=["python", "native"], autouse=True)
def _codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test with the codec that is made in Python and, where it was built, with the one in C."""
    if request.param and not compiled.NATIVE:
        pytest.skip("the codec in C is not built here: `make native`")
    monkeypatch.setattr(compiled, "NATIVE", request.param)


def _strategy(record: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    fields = {}
    schema = {field["name"]: field["type"] for field in _schema(record)["fields"]}
    for name, kind in typing.get_type_hints(record).items():
        if kind in _SCALARS:
            fields[name] = st.integers(-(1 << 31), (1 << 31) - 1) if schema[name] in ("int", {"type": "int"}) else _SCALARS[kind]
        else:
            fields[name] = st.lists(_strategy(typing.get_args(kind)[0]), max_size=3).map(tuple)
    return st.builds(record, **fields)


def _schema(record: type[msgspec.Struct]) -> Any:
    if record in RECORDS:
        return expanded(schema_text(record))
    for outer in RECORDS:
        for field in expanded(schema_text(outer))["fields"]:
            items = field["type"].get("items") if isinstance(field["type"], dict) else None
            if isinstance(items, dict) and items["name"] == record.__name__:
                return items
    raise AssertionError(record)


def _without_logical_types(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_logical_types(value) for key, value in schema.items() if key != "logicalType"}
    return [_without_logical_types(item) for item in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_bytes_equal_those_of_fastavro_and_read_back_as_the_record(record: type[msgspec.Struct]) -> None:
    encode, decode = Encoder(record, SCHEMA_ID), Decoder(record, {SCHEMA_ID: schema_text(record)})
    reference = fastavro.parse_schema(_without_logical_types(json.loads(schema_text(record))))

    @given(_strategy(record))
    def check(made: msgspec.Struct) -> None:
        value = encode(made)
        body = io.BytesIO()
        fastavro.schemaless_writer(body, reference, msgspec.to_builtins(made, builtin_types=(bytes,)))

        assert value == framing.header(SCHEMA_ID) + body.getvalue()
        assert decode(value) == made

    check()


def test_every_nested_record_class_has_a_schema() -> None:
    assert {_schema(record)["name"] for record in NESTED.values()} == set(NESTED)


def _intent(**changes: Any) -> events.Intent:
    fields = {"intent_id": "i", "account": "a", "strategy_id": "s", "session_id": "2026-05-21D", "order_id": "o", "seqno": ""}
    return events.Intent(**{**fields, "tags": {}, "created_ts": 1, **changes})


def _written_as(schema: Any, fields: dict[str, Any]) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), fields)
    return framing.header(1) + body.getvalue()


def test_a_record_of_another_schema_version_is_resolved() -> None:
    other = _without_logical_types(json.loads(schema_text(events.Intent)))
    other["fields"].insert(2, {"name": "note", "type": "string", "default": ""})
    decode = Decoder(events.Intent, {1: json.dumps(other), 2: schema_text(events.Intent)})

    assert decode(_written_as(other, {**msgspec.to_builtins(_intent()), "note": "unknown here"})) == _intent()


def test_a_schema_that_the_registry_has_shortened_is_still_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    shortened = json.loads(schema_text(events.PositionState))
    for field in shortened["fields"]:
        if isinstance(field["type"], dict) and isinstance(field["type"].get("items"), dict):
            field["type"]["items"].pop("namespace", None)
            field.pop("doc", None)
    decode = Decoder(events.PositionState, {7: json.dumps(shortened)})
    monkeypatch.setattr(fastavro, "schemaless_reader", lambda *_: pytest.fail("read by the slow way"))
    state = events.PositionState(**EMPTY_STATE)

    assert decode(Encoder(events.PositionState, 7)(state)) == state


EMPTY_STATE: dict[str, Any] = {
    name: kind() if kind in {int, bool, str} else () for name, kind in typing.get_type_hints(events.PositionState).items()
}


def test_a_record_of_a_version_that_lacks_a_field_without_default_is_parked_not_guessed() -> None:
    other = _without_logical_types(json.loads(schema_text(events.Intent)))
    other["fields"] = [field for field in other["fields"] if field["name"] != "tags"]
    decode = Decoder(events.Intent, {1: json.dumps(other)})

    with pytest.raises(Park, match="tags") as raised:
        decode(_written_as(other, msgspec.to_builtins(_intent())))

    assert raised.value.reason == "bad_avro"


def test_a_number_that_reads_as_more_than_64_bits_is_parked() -> None:
    decode = Decoder(events.Intent, {SCHEMA_ID: schema_text(events.Intent)})
    value = Encoder(events.Intent, SCHEMA_ID)(_intent(created_ts=-(1 << 63)))

    assert decode(value).created_ts == -(1 << 63)
    for ending in (b"\x02", b"\x7f", b"\x81\x00"):
        with pytest.raises(Park, match="more than 64 bits"):
            decode(value[:-1] + ending)


@pytest.mark.parametrize("changes", [{"created_ts": "1"}, {"created_ts": 1.5}, {"order_id": b"o"}, {"order_id": None}, {"tags": {"a": 1}}])
def test_a_value_of_another_type_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises((TypeError, AttributeError)):
        Encoder(events.Intent, SCHEMA_ID)(_intent(**changes))


def test_a_class_with_other_attributes_is_refused_and_the_next_record_is_written_as_before() -> None:
    encode = Encoder(events.Intent, SCHEMA_ID)
    before = encode(_intent())

    with pytest.raises(AttributeError):
        encode(events.Lot(1, 2, "f"))  # type: ignore[arg-type]  # the mistake that is tested

    assert encode(_intent()) == before


def test_texts_that_come_again_are_read_as_they_are() -> None:
    encode, decode = Encoder(events.Intent, SCHEMA_ID), Decoder(events.Intent, {SCHEMA_ID: schema_text(events.Intent)})
    texts = ["a", "a", "b", "aé", "aé", "a", "", "", "台" * 30, "x" * 64, "x" * 64, "x" * 65, "x" * 64]

    assert [decode(encode(_intent(order_id=text))).order_id for text in texts] == texts


def test_a_number_beyond_64_bits_is_refused() -> None:
    encode = Encoder(events.Intent, SCHEMA_ID)

    for number in (1 << 63, -(1 << 63) - 1):
        with pytest.raises(OverflowError, match="64-bit"):
            encode(_intent(created_ts=number))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "bad_framing"),
        (b"\0\0\0", "bad_framing"),
        (b"{}{}{}", "bad_framing"),
        (framing.header(78) + b"x", "unknown_schema"),
        (framing.header(SCHEMA_ID), "bad_avro"),
    ],
)
def test_what_is_no_record_is_parked_with_a_reason(value: bytes, reason: str) -> None:
    with pytest.raises(Park) as raised:
        Decoder(events.Intent, {SCHEMA_ID: schema_text(events.Intent)})(value)

    assert raised.value.reason == reason


def test_a_record_cut_or_extended_anywhere_is_parked() -> None:
    decode = Decoder(events.Intent, {SCHEMA_ID: schema_text(events.Intent)})
    value = Encoder(events.Intent, SCHEMA_ID)(_intent(tags={"a": "b"}, created_ts=1 << 50))

    for length in range(framing.HEADER_LENGTH, len(value)):
        with pytest.raises(Park) as raised:
            decode(value[:length])
        assert raised.value.reason == "bad_avro"
    with pytest.raises(Park, match="1 bytes follow"):
        decode(value + b"\0")


@given(st.binary(max_size=300), st.sampled_from(RECORDS))
def test_random_bytes_are_a_record_or_parked_and_nothing_else(body: bytes, record: type[msgspec.Struct]) -> None:
    decode = Decoder(record, {SCHEMA_ID: schema_text(record)})
    made: object = None
    with contextlib.suppress(Park):
        made = decode(framing.header(SCHEMA_ID) + body)

    assert made is None or isinstance(made, record)
