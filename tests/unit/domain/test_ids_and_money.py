"""Names and numbers: exact, reversible, and functions of the event alone."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
from execpos.domain import dedupe, ids, money, normalize
from execpos.errors import Park
from scenarios import examples

PARTS = st.text(alphabet=st.one_of(st.sampled_from("|%27Cc5"), st.characters(codec="utf-8")), max_size=8)


@examples(200)
@given(st.lists(PARTS, min_size=1, max_size=6))
def test_a_key_splits_into_exactly_the_parts_it_was_joined_from(parts: list[str]) -> None:
    assert ids.split(ids.join(*parts)) == tuple(parts)


@examples(200)
@given(PARTS, PARTS)
def test_escaping_is_one_to_one_and_leaves_no_separator(one: str, other: str) -> None:
    assert (ids.escape(one) == ids.escape(other)) == (one == other)
    assert "|" not in ids.escape(one)
    assert ids.unescape(ids.escape(one)) == one


IDENTITY = st.fixed_dictionaries(
    {
        "env": st.sampled_from(["production", "simulation", "re|play"]),
        "market": st.sampled_from(["S", "F"]),
        "broker_id": PARTS,
        "account_id": PARTS,
        "session": st.sampled_from(["2026-05-21D", "2026-05-21N", "2026-05-22D"]),
        "trade_id": PARTS,
        "exchange_seq": PARTS,
    }
)


def _fill_id(parts: dict[str, Any]) -> str:
    account = ids.account_key(parts["env"], parts["market"], parts["broker_id"], parts["account_id"])
    return ids.fill_id(account, parts["session"], parts["trade_id"], parts["exchange_seq"])


@examples(200)
@given(IDENTITY, IDENTITY, st.data())
def test_a_fill_id_changes_with_any_field_of_the_economic_key_and_with_nothing_else(
    parts: dict[str, Any], others: dict[str, Any], data: st.DataObject
) -> None:
    field = data.draw(st.sampled_from(sorted(parts)))
    changed = parts | {field: others[field]}

    assert (_fill_id(parts) == _fill_id(changed)) == (parts == changed)
    assert ids.session_of(_fill_id(parts)) == parts["session"]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"price": 1.0, "quantity": 9, "action": "Sell", "event_id": "x", "seqno": "9", "ordno": "z", "custom_field": "c"}, True),
        ({"ts": 1779327100.5}, True),
        ({"ts": 1779327000.0 + 43_200}, False),
        ({"trade_id": "b"}, False),
        ({"exchange_seq": "2"}, False),
    ],
)
def test_a_deal_s_identity_is_its_session_trade_id_and_exchange_seq(change: dict[str, Any], *, same: bool) -> None:
    payload: dict[str, Any] = {"trade_id": "a", "exchange_seq": "1", "broker_id": "b", "account_id": "c", "action": "Buy", "code": "2890"}
    payload |= {"price": 27.0, "quantity": 1, "ts": 1779327000.0, "event_id": "r", "seqno": "1", "ordno": "o", "custom_field": ""}

    keys = []
    for body in (payload, payload | change):
        deal = normalize.deal("S", json.dumps(body).encode(), "e", "e|S|b|c")
        keys.append(ids.fill_id("e|S|b|c", deal.session, deal.trade_id, deal.exchange_seq))
    assert (keys[0] == keys[1]) == same


@examples(300)
@given(st.integers(946_684_800_000_000, 4_102_444_800_000_000))
def test_a_session_is_the_taipei_date_six_hours_before_and_its_half(ts_us: int) -> None:
    # By the zone database, which knows Taipei's offset since 1979 apart from our constant.
    local = datetime.fromtimestamp(ts_us // 1_000_000, tz=ZoneInfo("Asia/Taipei"))
    night = local.hour < 6 or (local.hour, local.minute) >= (14, 45)
    expected = f"{(local - timedelta(hours=6)).date()}{'N' if night else 'D'}"

    assert ids.session_id(ts_us) == expected == oracle.session_of(ts_us)


@pytest.mark.parametrize(
    ("local", "session"),
    [
        ("2026-05-21 05:59:59.999999", "2026-05-20N"),
        ("2026-05-21 06:00:00", "2026-05-21D"),
        ("2026-05-21 14:44:59.999999", "2026-05-21D"),
        ("2026-05-21 14:45:00", "2026-05-21N"),
        ("2026-05-22 00:00:00", "2026-05-21N"),
        ("2026-01-01 03:00:00", "2025-12-31N"),
    ],
)
def test_a_session_begins_and_ends_at_the_microsecond(local: str, session: str) -> None:
    moment = datetime.fromisoformat(f"{local}+08:00")

    assert ids.session_id((moment - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) // timedelta(microseconds=1)) == session


@examples(100)
@given(st.integers(946_684_800_000_000, 4_102_444_800_000_000))
def test_session_ordinals_rise_by_one_from_each_half_day_to_the_next(ts_us: int) -> None:
    half_day_us = 43_200_000_000
    steps = [ids.session_ordinal(ids.session_id(ts_us + count * half_day_us)) for count in range(6)]

    assert sorted(steps) == steps
    assert steps[4] - steps[2] == steps[2] - steps[0] == 2
    assert ids.session_ordinal(ids.session_id(ts_us)) == oracle.ordinal(ids.session_id(ts_us))


@pytest.mark.parametrize("text", ["", "2026-05-21", "2026-05-21X", "2026-5-21D ", "20260521DDD", "2026-02-30D", "2026-05-21d"])
def test_what_is_no_session_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ids.session_ordinal(text)


FLOATS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**13), 10**13).map(lambda n: n / 10**6),
    st.integers(-(10**18), 10**18).map(lambda n: n / 10**6),
    st.integers(-(10**9), 10**9).map(lambda n: n / 100),
    st.integers(-(10**15), 10**15).map(lambda n: n / 10**7),
)


@examples(1000)
@given(st.one_of(FLOATS, st.integers(-(10**20), 10**20)))
def test_a_number_is_read_by_its_shortest_decimal_form_or_refused(value: float) -> None:
    exact = Decimal(repr(value)) * 10**6

    if exact.is_finite() and exact == exact.to_integral_value() and abs(exact) < 10**18:
        assert money.micros(value, "price") == int(exact)
    else:
        with pytest.raises(Park, match="price is") as caught:
            money.micros(value, "price")
        assert caught.value.reason == "bad_number"


@examples(300)
@given(st.one_of(st.floats(), st.integers(-(10**20), 10**20), st.integers(0, 10**15).map(float)))
def test_a_count_is_whole_and_not_negative_or_refused(value: float) -> None:
    exact = Decimal(repr(value))

    if exact.is_finite() and exact == exact.to_integral_value() and 0 <= exact < 10**18:
        assert money.whole(value, "quantity") == int(exact)
    else:
        with pytest.raises(Park, match="quantity is") as caught:
            money.whole(value, "quantity")
        assert caught.value.reason == "bad_number"


@examples(300)
@given(st.integers(-(10**30), 10**30), st.integers(1, 10**15))
def test_division_rounds_to_the_nearest_and_ties_to_even(numerator: int, denominator: int) -> None:
    assert money.divide_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@pytest.mark.parametrize(("numerator", "expected"), [(-5, -2), (-3, -2), (-1, 0), (1, 0), (3, 2), (5, 2), (7, 4)])
def test_half_goes_to_the_even_neighbour(numerator: int, expected: int) -> None:
    assert money.divide_half_even(numerator, 2) == expected


@examples(200)
@given(st.integers(-(10**18) + 1, 10**18 - 1))
def test_an_amount_as_text_is_exact_and_shortest(amount: int) -> None:
    text = money.text(amount)

    assert Decimal(text) * 10**6 == amount
    assert money.parse(text, "amount") == amount
    assert money.grouped(amount).replace(",", "") == text
    assert not ("." in text and text.endswith(("0", ".")))


@pytest.mark.parametrize("text", ["", "x", "NaN", "Infinity", "1.0000001"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(Park) as caught:
        money.parse(text, "amount")

    assert caught.value.reason == "bad_number"


CONTENT = st.tuples(st.sampled_from(["BUY", "SELL"]), st.integers(0, 30), st.integers(0, 30))


@examples(100)
@given(CONTENT, CONTENT)
def test_a_digest_tells_side_price_and_quantity_apart(one: tuple[str, int, int], other: tuple[str, int, int]) -> None:
    assert (dedupe.digest(*one) == dedupe.digest(*other)) == (one == other)
    assert len(dedupe.digest(*one)) == 8
