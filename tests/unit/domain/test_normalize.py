"""Payloads of every shape: what is documented is read, what is not is kept out of state with a reason, and nothing escapes."""

import copy
import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from execpos import settings
from execpos.domain import normalize
from execpos.domain.fold import Fold
from execpos.domain.pipeline import Class
from execpos.errors import ContractError, Park
from scenarios import FUTURES, STOCK, Plan, deal, examples, report
from state import Harness

RULES = settings.load(None).rules()
INSTRUMENTS = RULES.instruments

ODD = Plan(1, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "alpha", "Buy")
FUTURE = Plan(2, "F", "TMFF6", "TMF", "", "", 0, "", "Buy")
PAYLOADS: dict[str, dict[str, Any]] = {
    "SDEAL": deal(ODD, 1, "Buy", 2, 27.0, "d1")[2],
    "FDEAL": deal(FUTURE, 1, "Buy", 2, 100.0, "d2")[2],
    "SORDER": report(ODD, "New", 2, "o1")[2],
    "FORDER": report(FUTURE, "New", 2, "o2")[2],
}

REQUIRED_OF_DEAL = ("trade_id", "exchange_seq", "broker_id", "account_id", "action", "code", "price", "quantity", "ts")
REQUIRED_OF_ORDER = (
    "operation", "operation.op_type", "operation.op_code", "order", "order.account", "order.account.broker_id", "order.account.account_id",
    "order.action", "order.price", "order.quantity", "status", "status.exchange_ts", "contract", "contract.code",
)  # fmt: skip
REQUIRED = [(kind, path) for kind in ("SDEAL", "FDEAL") for path in REQUIRED_OF_DEAL]
REQUIRED += [(kind, path) for kind in ("SORDER", "FORDER") for path in REQUIRED_OF_ORDER]


def changed(payload: dict[str, Any], path: str, *value: Any) -> dict[str, Any]:
    """Return a copy of a payload with a field set, or without it when no value is given."""
    made = copy.deepcopy(payload)
    *above, name = path.split(".")
    holder = made
    for part in above:
        holder = holder[part]
    holder.pop(name, None)
    if value:
        holder[name] = value[0]
    return made


def read(kind: str, payload: Any) -> normalize.OrderReport | normalize.Deal:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    market = normalize.market_of(kind)
    account = "|".join(("replay", market, *(STOCK if market == "S" else FUTURES)))
    if kind.endswith("ORDER"):
        return normalize.order_report(market, body, "replay", account, INSTRUMENTS)
    return normalize.deal(market, body, "replay", account)


# --- required and optional fields ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "path"), REQUIRED)
def test_a_missing_required_field_is_a_bad_payload_that_names_it(kind: str, path: str) -> None:
    with pytest.raises(Park) as caught:
        read(kind, changed(PAYLOADS[kind], path))

    assert (caught.value.reason, caught.value.disposition) == ("bad_payload", "dead_letter")
    assert path.rpartition(".")[2] in caught.value.what


@pytest.mark.parametrize(("kind", "path"), REQUIRED)
@pytest.mark.parametrize("value", [None, [], True])
def test_a_required_field_of_the_wrong_type_is_a_bad_payload_that_names_it(kind: str, path: str, value: Any) -> None:
    with pytest.raises(Park) as caught:
        read(kind, changed(PAYLOADS[kind], path, value))

    assert caught.value.reason == "bad_payload"
    assert path in caught.value.what


OPTIONAL = {
    "SDEAL": ("event_id", "seqno", "ordno", "custom_field", "web_id"),
    "FDEAL": ("event_id", "seqno", "ordno", "combo", "market_type"),
    "SORDER": ("event_id", "operation.op_msg", "order.id", "order.seqno", "order.ordno", "order.custom_field", "status.modified_price",
               "status.cancel_quantity", "status.order_quantity", "contract.security_type", "order.order_type"),
    "FORDER": ("event_id", "order.order_lot", "order.order_cond", "contract.full_code"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in OPTIONAL.items() for path in paths])
def test_an_optional_field_may_be_missing_or_null(kind: str, path: str) -> None:
    assert read(kind, changed(PAYLOADS[kind], path)) == read(kind, changed(PAYLOADS[kind], path, None))


@pytest.mark.parametrize("kind", list(PAYLOADS))
def test_unknown_keys_and_words_are_ignored(kind: str) -> None:
    payload = copy.deepcopy(PAYLOADS[kind])
    for holder in (payload, payload.get("order", {}), payload.get("status", {}), payload.get("operation", {})):
        holder["a_key_of_2027"] = {"deep": [1, None, {"x": "y"}]}

    assert read(kind, payload) == read(kind, PAYLOADS[kind])


def test_report_only_price_types_and_unknown_operations_are_kept_as_they_are() -> None:
    for word in ("UPD", "UPL", "UPM", "UPP", "CXL", "CXP", "CXQ", "of 2027"):
        found = read("FORDER", changed(changed(PAYLOADS["FORDER"], "order.price_type", word), "operation.op_type", word))
        assert isinstance(found, normalize.OrderReport)
        assert (found.price_type, found.op_type) == (word, word)


def test_time_in_force_goes_before_its_old_name() -> None:
    both = changed(PAYLOADS["SORDER"], "order.time_in_force", "IOC")

    found = read("SORDER", both)
    old = read("SORDER", PAYLOADS["SORDER"])

    assert isinstance(found, normalize.OrderReport)
    assert isinstance(old, normalize.OrderReport)
    assert (found.order_type, old.order_type) == ("IOC", "ROD")


# --- values ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path", "value", "reason"),
    [
        ("SDEAL", "price", -0.01, "bad_number"),
        ("SDEAL", "price", 0.0000001, "bad_number"),
        ("SDEAL", "price", 1e305, "bad_number"),
        ("SDEAL", "quantity", 0, "bad_number"),
        ("SDEAL", "quantity", -1, "bad_number"),
        ("SDEAL", "quantity", 1.5, "bad_number"),
        ("SDEAL", "ts", 0, "bad_number"),
        ("SDEAL", "ts", 1779327000000, "bad_number"),
        ("SDEAL", "ts", -1779327000, "bad_number"),
        ("SDEAL", "action", "buy", "bad_payload"),
        ("SDEAL", "trade_id", "", "bad_payload"),
        ("SDEAL", "exchange_seq", "", "bad_payload"),
        ("SDEAL", "code", "", "bad_payload"),
        ("FDEAL", "full_code", "", "bad_payload"),
        ("FDEAL", "full_code", None, "bad_payload"),
        ("SDEAL", "account_id", "7654321", "wrong_account"),
        ("SORDER", "order.account.broker_id", "other", "wrong_account"),
        ("SORDER", "order.quantity", -1, "bad_number"),
        ("SORDER", "order.price", -1, "bad_number"),
        ("SORDER", "status.cancel_quantity", 0.5, "bad_number"),
        ("SORDER", "order.order_lot", "Strange", "unknown_order_lot"),
        ("SORDER", "order.action", "", "bad_payload"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_reason(kind: str, path: str, value: Any, reason: str) -> None:
    with pytest.raises(Park) as caught:
        read(kind, changed(PAYLOADS[kind], path, value))

    assert caught.value.reason == reason


@pytest.mark.parametrize("body", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1e400", b"9" * 400, b"-" + b"9" * 25])
@pytest.mark.parametrize("name", ["price", "quantity", "ts"])
def test_a_number_beyond_all_numbers_is_refused(name: str, body: bytes) -> None:
    text = json.dumps(changed(PAYLOADS["SDEAL"], name, "@")).encode().replace(b'"@"', body)

    with pytest.raises(Park) as caught:
        read("SDEAL", text)

    assert caught.value.reason in {"bad_payload", "bad_number"}


def test_whole_numbers_and_decimals_read_alike() -> None:
    for name in ("price", "quantity", "ts"):
        whole = int(PAYLOADS["SDEAL"][name])
        assert read("SDEAL", changed(PAYLOADS["SDEAL"], name, whole)) == read("SDEAL", changed(PAYLOADS["SDEAL"], name, float(whole)))


def test_a_time_is_read_to_the_microsecond() -> None:
    for seconds, micros in ((1779331286.678, 1779331286678000), (1789967612.079455, 1789967612079455), (1764685425, 1764685425000000)):
        found = read("SDEAL", changed(PAYLOADS["SDEAL"], "ts", seconds))
        assert found.exchange_ts == micros


def test_the_session_comes_from_the_time_and_never_from_market_type() -> None:
    night = read("FDEAL", changed(changed(PAYLOADS["FDEAL"], "ts", 1764685425.0), "market_type", "Day"))

    assert night.session == "2025-12-02N"


def test_futures_are_named_by_their_full_code() -> None:
    found = read("FDEAL", PAYLOADS["FDEAL"])

    assert isinstance(found, normalize.Deal)
    assert (found.symbol, found.code) == ("TMFF6", "TMF")


def test_an_oversized_report_is_refused_by_its_reason() -> None:
    with pytest.raises(Park) as caught:
        read("SDEAL", b'{"oversized": 300000, "sha256": "00"}')

    assert caught.value.reason == "oversized"


# --- fuzz ------------------------------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["Buy", "Sell", "New", "", "00"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)
CLASSES = set(get_args(Class))


def paths(payload: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in payload.items():
        yield above + name
        if isinstance(value, dict):
            yield from paths(value, f"{above}{name}.")


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, Any]:
    kind = draw(st.sampled_from(list(PAYLOADS)))
    payload = PAYLOADS[kind]
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(paths(payload))))
        payload = changed(payload, path, draw(JSON)) if draw(st.booleans()) else changed(payload, path)
        if not payload:
            break
    return kind, payload


@st.composite
def torn(draw: st.DrawFn) -> tuple[str, bytes]:
    kind = draw(st.sampled_from(list(PAYLOADS)))
    body = bytearray(json.dumps(PAYLOADS[kind]).encode())
    for _ in range(draw(st.integers(0, 3))):
        body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    return kind, bytes(body[: draw(st.integers(0, len(body)))])


HOSTILE = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\xff\xfe\x00",
    b"\x00" * 64,
    b'"' + b"\\" * 9,
    b"9" * 10_000,
    b"{" + b"9" * 10_000,
]


@examples(500)
@given(
    st.one_of(mutated(), torn(), st.tuples(st.sampled_from(list(PAYLOADS)), st.one_of(st.binary(max_size=64), st.sampled_from(HOSTILE))))
)
def test_whatever_comes_a_reader_returns_or_parks(case: tuple[str, Any]) -> None:
    kind, payload = case
    found, reason = None, ""
    try:
        found = read(kind, payload)
    except Park as park:
        reason = park.reason
    assert (found is None) == bool(reason)


@examples(300)
@given(st.one_of(mutated(), torn()), st.sampled_from(["", "CATCHUP_"]))
def test_whatever_comes_the_pipeline_puts_it_in_one_class_and_goes_on(case: tuple[str, Any], prefix: str) -> None:
    kind, payload = case
    note(str(payload))
    harness = Harness(RULES)
    harness.run([("callback", prefix + kind, payload), deal(ODD, 9, "Buy", 1, 27.0, "d9"), deal(FUTURE, 9, "Buy", 1, 27.0, "d9")])

    assert harness.outcomes[0].disposition in CLASSES
    assert bool(harness.outcomes[0].reason) == (harness.outcomes[0].disposition in {"conflict", "parked", "dead_letter"})
    assert harness.outcomes[1].disposition == "fill" or harness.outcomes[1].reason == "key_blocked"
    assert harness.outcomes[2].disposition == "fill" or harness.outcomes[2].reason == "key_blocked"


@examples(200)
@given(
    st.lists(
        st.one_of(st.binary(max_size=80), mutated().map(lambda case: json.dumps({"kind": case[0], "payload": case[1]}).encode())),
        max_size=4,
    )
)
def test_whatever_lines_come_a_fold_counts_them_or_names_the_line(lines: list[bytes]) -> None:
    fold, bad_line = Fold(RULES), 0
    folded = 0
    try:
        for _ in fold.add(lines):
            folded += 1
    except ContractError as error:
        bad_line = int(str(error.fields["line"]))
    counts = fold.result()["counts"]
    assert counts.pop("raw") == folded == sum(counts.values())
    assert folded < bad_line if bad_line else folded == sum(bool(line.strip()) for line in lines)
