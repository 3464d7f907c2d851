"""Estimates of commission and tax: exact, cumulative, by date, lot and side."""

from datetime import date

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execpos.domain.fees import FeeRate, FeeSchedule, TaxRate
from execpos.domain.rules import Rules
from execpos.settings import load

TWD = 1_000_000
TODAY = (date(2026, 5, 21) - date(1970, 1, 1)).days
RULES: Rules = load(environ={}).rules()


def estimate(code: str, lot: str, side: str, amount_twd: int, quantity: int, *, market: str = "S", on: int = TODAY) -> tuple[int, int]:
    product = RULES.instruments.product("S" if market == "S" else "F", code, code, "")
    book = "cash" if market == "S" else "derivative"
    fee, tax = RULES.fees.estimate(product, book, lot, "BUY" if side == "BUY" else "SELL", amount_twd * TWD, quantity, on)
    assert (fee % TWD, tax % TWD) == (0, 0)
    return fee // TWD, tax // TWD


@pytest.mark.parametrize(
    ("code", "lot", "side", "amount_twd", "quantity", "expected"),
    [
        ("2330", "Common", "BUY", 612_000, 1000, (872, 0)),  # 872.1
        ("2330", "Common", "SELL", 612_000, 1000, (872, 1836)),
        ("2330", "Common", "BUY", 10_000, 1000, (20, 0)),  # 14.25 is below the minimum
        ("2330", "IntradayOdd", "BUY", 600, 1, (1, 0)),  # 0.855 is below the odd lot's minimum
        ("2330", "Odd", "SELL", 10_000, 10, (14, 30)),
        ("0050", "Common", "SELL", 200_000, 1000, (285, 200)),
        ("030001", "Common", "SELL", 5_000, 1000, (20, 5)),
        ("9105", "Common", "SELL", 9_999, 1000, (20, 9)),
        ("01001T", "Common", "SELL", 20_000, 1000, (28, 0)),
    ],
)
def test_stocks_pay_commission_on_both_sides_and_tax_when_sold(
    code: str, lot: str, side: str, amount_twd: int, quantity: int, expected: tuple[int, int]
) -> None:
    assert expected == estimate(code, lot, side, amount_twd, quantity)


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_futures_and_options_pay_tax_on_both_sides(side: str) -> None:
    assert estimate("TXF", "", side, 36_110 * 200, 1, market="F") == (0, 144)
    assert estimate("TXO", "", side, 25 * 50 * 4, 4, market="F") == (0, 5)


def test_nothing_filled_costs_nothing() -> None:
    assert estimate("2330", "Common", "SELL", 0, 0) == (0, 0)


def test_a_rate_holds_between_its_dates() -> None:
    last = (date(2026, 12, 31) - date(1970, 1, 1)).days

    assert estimate("00679B", "Common", "SELL", 30_000, 1000, on=last) == (42, 0)
    assert estimate("00679B", "Common", "SELL", 30_000, 1000, on=last + 1) == (42, 30)


def schedule(fee: FeeRate, tax: TaxRate, *more: FeeRate) -> FeeSchedule:
    return FeeSchedule({"stock": (*more, fee)}, {"stock": (tax,)}, frozenset({"Odd"}))


NO_TAX = TaxRate(0, ("SELL",))
STOCK = RULES.instruments.product("S", "2330", "", "")


def test_a_fee_per_contract_is_counted_over_the_whole_order() -> None:
    fees = schedule(FeeRate(per_contract=17_500_000, rounding="none"), NO_TAX)

    assert fees.estimate(STOCK, "cash", "", "BUY", 0, 3, TODAY) == (52_500_000, 0)


@pytest.mark.parametrize(("rounding", "expected"), [("floor", 1_000_000), ("half_up", 2_000_000), ("none", 1_500_000)])
def test_rounding_is_as_the_table_says(rounding: str, expected: int) -> None:
    rate = msgspec.convert({"rate": 1_000_000, "rounding": rounding}, FeeRate)

    assert schedule(rate, NO_TAX).estimate(STOCK, "cash", "Common", "BUY", 1500 * TWD, 1000, TODAY) == (expected, 0)


def test_an_entry_for_certain_books_goes_before_the_one_for_all() -> None:
    fees = schedule(FeeRate(minimum=20 * TWD), NO_TAX, FeeRate(minimum=50 * TWD, books=("emerging",)))

    assert fees.estimate(STOCK, "emerging", "Common", "BUY", TWD, 1, TODAY) == (50 * TWD, 0)
    assert fees.estimate(STOCK, "cash", "Common", "BUY", TWD, 1, TODAY) == (20 * TWD, 0)


@given(st.lists(st.integers(1, 10**15), min_size=1, max_size=20), st.sampled_from(["Common", "Odd"]))
def test_what_an_order_pays_never_depends_on_how_it_was_filled(amounts: list[int], lot: str) -> None:
    total = 0
    charged = [0, 0]
    for count, amount in enumerate(amounts, start=1):
        before = RULES.fees.estimate(STOCK, "cash", lot, "SELL", total, count - 1, TODAY)
        total += amount
        after = RULES.fees.estimate(STOCK, "cash", lot, "SELL", total, count, TODAY)
        assert after[0] >= before[0]
        assert after[1] >= before[1]
        charged = [charged[0] + after[0] - before[0], charged[1] + after[1] - before[1]]

    assert tuple(charged) == RULES.fees.estimate(STOCK, "cash", lot, "SELL", total, len(amounts), TODAY)


@given(st.integers(0, 10**20))
def test_the_commission_is_the_exact_rate_rounded_down(amount: int) -> None:
    fee, tax = RULES.fees.estimate(STOCK, "cash", "Common", "SELL", amount, 1, TODAY)

    assert max(20, amount * 1425 // (1_000_000 * TWD)) * TWD == fee
    assert amount * 3 // (1000 * TWD) * TWD == tax
