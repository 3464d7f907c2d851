"""Names cut from bytes equal those of the decoded record, whatever schema wrote it."""

import io
import json

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_world import IDS, WRITERS, blank, fill, order
from execpos.client.cuts import Cutter
from execpos.codecs.avro import Encoder, schema_text
from execpos.codecs.framing import HEADER_LENGTH, header
from execpos.domain.events import FillEvent, OrderEvent, PositionSnapshot
from execpos.errors import Park

CUT = Cutter(WRITERS)
texts = st.text(max_size=200)


@given(texts, texts, texts, st.integers(0, 2**62), st.integers(0, 2**40))
def test_names_are_cut_from_any_fill_and_order(receipt: str, name: str, strategy: str, revision: int, seq: int) -> None:
    made = fill(seq, name, cum=1, revision=revision, broker_event_id=receipt, strategy_id=strategy)
    assert CUT.fill(Encoder(FillEvent, IDS[FillEvent])(made)) == (made.fill_id, made.order_key, made.strategy_id)
    event = order(name, event_id=receipt, content_key=strategy)
    assert CUT.order_key(Encoder(OrderEvent, IDS[OrderEvent])(event)) == event.order_key


@given(texts, texts, texts, st.integers(-(2**31), 2**31 - 1), st.integers(1, 2**31 - 1))
def test_names_are_cut_from_any_part_of_a_snapshot(account: str, marker: str, session: str, date: int, part: int) -> None:
    made = blank(
        PositionSnapshot,
        snapshot_id=f"{account}|{marker}",
        account=account,
        marker_id=marker,
        session_id=session,
        trading_date=date,
        as_of_ts=2**60,
        part=part,
        parts=part,
    )
    expected = (made.snapshot_id, account, session, date, part, part)
    value = Encoder(PositionSnapshot, IDS[PositionSnapshot])(made)
    assert CUT.part(value) == expected
    # By a schema whose beginning is not ours the whole record is decoded, with the same result.
    older = json.loads(schema_text(PositionSnapshot))
    older["fields"][0]["type"] = {"type": "string"}
    writers: dict[type[msgspec.Struct], dict[int, str]] = {**WRITERS, PositionSnapshot: {900: json.dumps(older)}}
    assert Cutter(writers).part(header(900) + value[HEADER_LENGTH:]) == expected


def test_a_record_of_a_schema_with_another_beginning_is_decoded_instead() -> None:

    older = json.loads(schema_text(FillEvent))
    older["fields"] = [*older["fields"][1:], older["fields"][0]]
    writers: dict[type[msgspec.Struct], dict[int, str]] = {**WRITERS, FillEvent: {**WRITERS[FillEvent], 900: json.dumps(older)}}
    made = fill(1, "a", cum=1)

    stream = io.BytesIO()
    plain = {**msgspec.structs.asdict(made)}
    for field in older["fields"]:
        if isinstance(field["type"], dict) and "logicalType" in field["type"]:
            field["type"] = field["type"]["type"]
    fastavro.schemaless_writer(stream, fastavro.parse_schema(older), plain)
    assert Cutter(writers).fill(header(900) + stream.getvalue()) == (made.fill_id, made.order_key, made.strategy_id)


@pytest.mark.parametrize("wrong", [b"", b"\x01abcd", header(77) + b"abc"])
def test_bytes_that_are_no_record_are_refused(wrong: bytes) -> None:
    with pytest.raises(Park):
        CUT.fill(wrong)
    with pytest.raises(Park):
        CUT.order_key(wrong)
    with pytest.raises(Park):
        CUT.part(wrong)
