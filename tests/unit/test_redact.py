"""Personal data does not pass, whatever the report looks like; what is known passes unchanged."""

import json
import math
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callback_samples import LINES
from execpos.domain.redact import DEPTH_MAX, MASK, VALUES_MAX, mask, redact

# Made up; both have a valid check digit. The second is the resident form of today, the third the one before 2021.
NATIONAL, RESIDENT, OLD_RESIDENT = "A123456789", "A800000014", "AC01234567"


def test_known_reports_pass_as_they_are() -> None:
    for line in LINES:
        redacted, unknown = redact(line["payload"])
        assert json.dumps(redacted) == json.dumps(line["payload"])
        assert unknown == ()


@pytest.mark.parametrize("identity", [NATIONAL, NATIONAL.lower(), RESIDENT, OLD_RESIDENT, "Ａ１２３４５６７８９"])  # noqa: RUF001 (full-width on purpose)
@pytest.mark.parametrize("around", ["{}", "客戶{}額度不足", "x{}y", "{}{}", "9{}", "{}01"])
def test_an_identity_number_is_masked_in_any_text(identity: str, around: str) -> None:
    text = around.replace("{}", identity)

    assert identity not in mask(text)
    assert MASK in mask(text)
    assert not any(identity[at : at + 6] in mask(text) for at in range(len(identity) - 5))


@pytest.mark.parametrize("text", ["A123456788", "j5006396", "348d1c6a", "v1:SO:A1EGVO30H:BOnKZSD:4", "TX127900L5", "", "A12345678"])
def test_what_only_looks_like_an_identity_number_stays(text: str) -> None:
    assert mask(text) == text


BLOB = "MIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQG"


@pytest.mark.parametrize("blob", [BLOB, f"{BLOB}==", BLOB[:40], "0123456789abcdef" * 4, "eyJhbGciOiJIUzI1NiJ9_" * 3])
def test_what_has_the_form_of_a_certificate_or_a_key_is_masked_in_any_text(blob: str) -> None:
    assert mask(f"憑證 {blob} 無效") == f"憑證 {MASK} 無效"
    assert mask(blob) == MASK


def test_a_shorter_run_of_letters_and_digits_stays() -> None:
    assert mask(f"v1:SO:{'A' * 39}:4") == f"v1:SO:{'A' * 39}:4"


def planted() -> dict[str, Any]:
    return {
        "event_id": f"v1:{NATIONAL}",
        "operation": {"op_type": "New", "op_code": "00", "op_msg": f"客戶 {NATIONAL} 不存在"},
        "order": {
            "id": NATIONAL,
            "account": {"person_id": NATIONAL, "username": "王小明", "broker_id": "9A95", "account_id": "1", "Person-ID": "王小明"},
            "ca": "MIIsecret",
            "custom_field": NATIONAL,
            "price": {"deep": [{"person_id": "王小明"}, NATIONAL, ("王小明", {NATIONAL: "王小明"})]},
        },
        "new_key": "王小明",
        "new_list": ["王小明", {"CA_Passwd": "王小明", "other": NATIONAL}, 5, True, None],
        NATIONAL: NATIONAL,
        "blob": "王小明".encode(),
    }


def test_nothing_planted_comes_through() -> None:
    redacted, _ = redact(planted())
    text = json.dumps(redacted, ensure_ascii=False)

    for secret in (NATIONAL, "王小明", "MIIsecret"):
        assert secret not in text
    assert redacted["order"]["account"]["person_id"] == ""
    assert redacted["order"]["account"]["Person-ID"] == ""
    assert redacted["order"]["ca"] == ""
    assert redacted["operation"]["op_msg"] == f"客戶 {MASK} 不存在"
    assert redacted["order"]["account"]["account_id"] == "1"


def test_unknown_fields_keep_name_and_numbers_and_are_reported() -> None:
    redacted, unknown = redact(
        {"seqno": "1", "fresh": "text", "flag": True, "n": 1.5, "none": None, "order": {"later": {"a": "b", "c": 2}}}
    )

    assert redacted == {
        "seqno": "1",
        "fresh": "[redacted 4 chars]",
        "flag": True,
        "n": 1.5,
        "none": None,
        "order": {"later": {"a": "[redacted 1 chars]", "c": 2}},
    }
    assert unknown == ("fresh", "flag", "n", "none", "order.later", "order.later.a", "order.later.c")


def test_a_name_is_known_only_where_it_belongs() -> None:
    redacted, unknown = redact(
        {"contract": {"seqno": "secret"}, "other": {"order": {"id": "secret"}}, "order.account": {"broker_id": "secret"}}
    )

    assert "secret" not in json.dumps(redacted)
    assert "contract.seqno" in unknown


class Wrapper:
    """As the broker library's payloads: no dict, but it has items."""

    def __init__(self, **fields: Any) -> None:
        self._fields = fields

    def items(self) -> Any:
        return self._fields.items()


class KeysOnly:
    def keys(self) -> list[str]:
        return ["id", "seqno"]

    def __getitem__(self, key: str) -> str:
        return key.upper()


class State(StrEnum):
    DEAL = "SDEAL"


class Pretender:
    """As the broker library's enums: says it is text, and is not."""

    value = "Buy"

    def __getattribute__(self, name: str) -> Any:
        # As the library does: `isinstance(x, str)` is true, and json still refuses it.
        return str if name == "__class__" else super().__getattribute__(name)


class Broken:
    def items(self) -> Any:
        raise RuntimeError(NATIONAL)

    def __repr__(self) -> str:
        raise RuntimeError(NATIONAL)


def test_wrappers_and_enums_of_the_broker_become_plain() -> None:
    redacted, unknown = redact(Wrapper(action=Pretender(), operation=Wrapper(op_type=State.DEAL), order=KeysOnly(), quantity=True))

    assert redacted == {"action": "Buy", "operation": {"op_type": "SDEAL"}, "order": {"id": "ID", "seqno": "SEQNO"}, "quantity": True}
    assert unknown == ()
    assert json.loads(json.dumps(redacted)) == redacted


def test_floats_stay_as_they_came_nan_too() -> None:
    redacted, _ = redact({"price": math.nan, "ts": 1779331286.678, "quantity": math.inf})

    assert math.isnan(redacted["price"])
    assert redacted["ts"] == 1779331286.678
    assert redacted["quantity"] == math.inf


@pytest.mark.parametrize("payload", [None, "A123456789", 5, [1], b"x", Broken(), object(), Decimal(1)])
def test_what_is_no_report_gives_a_marker(payload: Any) -> None:
    redacted, _ = redact(payload)

    assert redacted == {"[payload]": f"[{type(payload).__name__}]"}


def test_odd_values_give_markers_and_never_raise() -> None:
    redacted, _ = redact({"price": Broken(), "quantity": Decimal(1), "ts": 10**5000, "code": object(), 5: 1, None: 2, b"k": 3})

    assert redacted["price"].startswith("[unreadable Broken")
    assert redacted["quantity"] == "[Decimal]"
    assert redacted["ts"].startswith("[int of ")
    assert redacted["code"] == "[object]"
    json.dumps(redacted)


def test_depth_and_size_are_bounded() -> None:
    ring: dict[str, Any] = {"order": {}}
    ring["order"]["account"] = ring
    deep, _ = redact(ring)
    wide, _ = redact({"code": list(range(VALUES_MAX * 3)), "order": dict.fromkeys(map(str, range(VALUES_MAX)), 0)})

    assert json.dumps(deep).count("{") <= DEPTH_MAX + 2
    assert len(wide["code"]) <= VALUES_MAX
    assert "[truncated]" in json.dumps(wide)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(f"_{NATIONAL}"),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.sampled_from(["order", "account", "ca", "id"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text() | st.sampled_from(["order", "status", "op_msg", "code"]), VALUES))
def test_any_report_gives_plain_json_without_identities_and_the_same_each_time(payload: dict[str, Any]) -> None:
    redacted, unknown = redact(payload)

    assert NATIONAL not in json.dumps(redacted)
    again, unknown_again = redact(payload)
    assert json.dumps(again) == json.dumps(redacted)
    assert unknown_again == unknown
