"""What is given to the handler becomes a record that can be stored, whatever it is."""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from execpos.bridge.capture import Capture
from execpos.bridge.convert import Converter
from execpos.bridge.journal.segment import entry_frame, entry_of, read_entry
from execpos.codecs.avro import Decoder, schema_text
from execpos.codecs.framing import header
from execpos.domain.events import RawExecEvent

DECODE = Decoder(RawExecEvent, {7: schema_text(RawExecEvent)})


def taken(capture: Capture) -> list[RawExecEvent]:
    convert = Converter("simulation", "b", 3, "1.7.9")
    return [convert(one) for one in capture.take(1000, 0.0) if one is not None]


def handled(state: Any, event: Any) -> RawExecEvent:
    capture = Capture()
    capture.handler(state, event)
    (record,) = taken(capture)
    # As it goes to disk and to Kafka.
    body = entry_of(record).body
    assert DECODE(header(7) + body) == record
    framed = entry_frame(entry_of(record))
    assert read_entry(3, framed[12:]).body == body
    return record


class Raising:
    """An object of which everything raises."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError(name)


class RaisingItems:
    def items(self) -> NoReturn:
        raise SystemError("gone")


class Endless:
    def items(self) -> Iterator[tuple[str, int]]:
        number = 0
        while True:
            number += 1
            yield f"k{number}", number


class RaisingValue:
    @property
    def value(self) -> NoReturn:
        raise ValueError("no")


def recursive() -> dict[str, Any]:
    made: dict[str, Any] = {"broker_id": "9A95", "account_id": "1"}
    made["order"] = made
    return made


def deep() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for _ in range(100_000):
        made = {"order": made}
    return made


@pytest.mark.parametrize(
    "event",
    [
        None,
        1,
        "text",
        b"bytes",
        [],
        (1, 2),
        set(),
        object(),
        Raising,
        RaisingItems,
        Endless,
        recursive,
        lambda: {"order": [recursive()] * 10},
        {1: 2, None: 3, (1,): 4},
        {"price": float("nan"), "quantity": 10**400},
        {"code": "\ud800"},
        {"quantity": 2**64},
        {"x " * 150_000: "y " * 150_000},
        {"code": "z " * 5_000_000},
        lambda: type,
        NotImplemented,
    ],
)
def test_no_report_is_too_strange_to_be_recorded(event: Any) -> None:
    record = handled("SDEAL", event() if callable(event) else event)

    assert (record.kind, record.bridge_seq) == ("SDEAL", 1)
    assert isinstance(json.loads(record.payload), dict)
    assert len(record.payload) <= 256 * 1024


def test_a_report_of_a_hundred_thousand_levels_is_recorded() -> None:
    event = deep()
    record = handled("SDEAL", event)

    assert b"too deep" in record.payload
    # Letting go of it level by level, because letting go of all at once recurses.
    while event:
        event = event.pop("order")


def test_a_report_that_escapes_the_redaction_is_still_counted_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(payload: Any) -> NoReturn:
        raise RecursionError

    monkeypatch.setattr("execpos.bridge.convert.redact", fails)
    record = handled("FDEAL", {"code": "TXFF6"})

    assert json.loads(record.payload) == {"unconvertible": {"type": "dict", "error": "RecursionError"}}
    assert record.account == "simulation|F||"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("SORDER", "SORDER"),
        ("NEW", "NEW"),
        (None, "[NoneType]"),
        (5, "[int]"),
        (Raising, "[Raising]"),
        (RaisingValue, "[RaisingValue]"),
        ("x " * 500, "x " * 20),
        ("\ud800", "\\ud800"),
        ("A123456789", "[redacted id]"),
        # A broker that says a word of the bridge's own must not be taken for it.
        ("MARKER", "[MARKER]"),
        ("BEAT", "[BEAT]"),
        ("GAP", "[GAP]"),
        ("CONNECTION", "[CONNECTION]"),
        ("CATCHUP_SDEAL", "[CATCHUP_SDEAL]"),
    ],
)
def test_an_unknown_state_is_kept_as_text_and_stands_for_nothing_else(state: Any, kind: str) -> None:
    assert handled(state() if callable(state) else state, {}).kind == kind


def test_take_returns_what_waits_in_order_and_no_more_than_asked_for() -> None:
    capture = Capture(wall_ns=lambda: 1, monotonic_ns=lambda: 2)
    for number in range(5):
        capture.handler("SDEAL", number)
    capture.close()

    assert capture.waiting() == 6
    assert capture.take(3, 0.0) == [(1, 2, "SDEAL", 0), (1, 2, "SDEAL", 1), (1, 2, "SDEAL", 2)]
    assert capture.take(10, 0.0) == [(1, 2, "SDEAL", 3), (1, 2, "SDEAL", 4), None]
    assert capture.take(10, 0.0) == []
    assert capture.take(10, 0.001) == []


def test_planted_personal_data_is_in_no_byte_that_goes_to_disk() -> None:
    event = {
        "person_id": "A123456789",
        "username": "王小明",
        "ca": "MIIBcertificate",
        "order": {"account": {"person_id": "A123456789", "username": "王小明"}, "ordno": "A123456789"},
        "operation": {"op_msg": "客戶 A123456789 不存在"},
        "unheard_of": "王小明 MIIBcertificate",
    }
    framed = entry_frame(entry_of(handled("SORDER", event)))

    for planted in ("A123456789", "王小明", "MIIBcertificate"):
        assert planted.encode() not in framed
