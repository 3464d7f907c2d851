"""What an instrument is, by the shipped tables and by tables with overrides."""

from datetime import date

import msgspec
import pytest

from execpos.domain.instruments import ContractOverride, Instruments
from execpos.errors import Park
from execpos.settings import load


def day(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


@pytest.fixture(scope="module")
def shipped() -> Instruments:
    return load(environ={}).rules().instruments


@pytest.mark.parametrize(
    ("code", "name", "security_type", "tax"),
    [
        ("2330", "stock", "STK", "stock"),
        ("2881A", "stock", "STK", "stock"),
        ("0050", "etf", "ETF", "etf"),
        ("0061", "etf", "ETF", "etf"),
        ("00878", "etf", "ETF", "etf"),
        ("00631L", "etf", "ETF", "etf"),
        ("006208", "etf", "ETF", "etf"),
        ("00679B", "bond_etf", "ETF", "bond_etf"),
        ("01001T", "reit", "STK", "exempt"),
        ("030001", "warrant", "WRT", "warrant"),
        ("03001P", "warrant", "WRT", "warrant"),
        ("712345", "warrant", "WRT", "warrant"),
        ("9105", "depositary", "STK", "depositary"),
        ("910322", "depositary", "STK", "depositary"),
    ],
)
def test_a_stock_code_gives_its_product(shipped: Instruments, code: str, name: str, security_type: str, tax: str) -> None:
    product = shipped.product("S", code, "", "")

    assert (name, "S", security_type, 1, "TWD", "stock", tax) == msgspec.structs.astuple(product)


@pytest.mark.parametrize("code", ["", "0000", "0049", "020001", "11011", "233", "23301234", "TXF", "2330 ", "2\uff13\uff130"])
def test_a_stock_code_that_no_rule_matches_is_parked(shipped: Instruments, code: str) -> None:
    with pytest.raises(Park) as caught:
        shipped.product("S", code, "", "STK")

    assert caught.value.reason == "unknown_instrument"


@pytest.mark.parametrize(
    ("root", "full_code", "security_type", "multiplier"),
    [
        ("TXF", "TXFF6", "FUT", 200),
        ("MXF", "MXFF6", "FUT", 50),
        ("TMF", "TMFF6", "FUT", 10),
        ("EXF", "EXFF6", "FUT", 4000),
        ("ZEF", "ZEFF6", "FUT", 500),
        ("ZFF", "ZFFF6", "FUT", 250),
        ("TXO", "TXO27900L5", "OPT", 50),
        *[(root, f"{root}27900L5", "OPT", 50) for root in ("TX1", "TX2", "TX4", "TX5", "TXU", "TXV", "TXX", "TXY", "TXZ")],
    ],
)
def test_a_root_gives_its_multiplier(shipped: Instruments, root: str, full_code: str, security_type: str, multiplier: int) -> None:
    product = shipped.product("F", root, full_code, security_type)

    assert (security_type, multiplier) == (product.security_type, product.multiplier)


@pytest.mark.parametrize("root", ["CDF", "CDO", "TX3", "", "txf", "2330"])
def test_a_root_that_stands_nowhere_is_parked_and_not_guessed(shipped: Instruments, root: str) -> None:
    with pytest.raises(Park) as caught:
        shipped.product("F", root, f"{root}F6", "FUT")

    assert caught.value.reason == "unknown_instrument"


def test_an_order_and_its_deal_get_the_same_product(shipped: Instruments) -> None:
    for code in ("2330", "0050", "030001", "9105"):
        assert shipped.product("S", code, "", "STK") is shipped.product("S", code, "", "")


@pytest.mark.parametrize(
    ("market", "code", "full_code", "said"), [("S", "2330", "", "WRT"), ("S", "2330", "", "FUT"), ("F", "TXF", "TXFF6", "OPT")]
)
def test_a_security_type_that_contradicts_the_table_is_parked(
    shipped: Instruments, market: str, code: str, full_code: str, said: str
) -> None:
    with pytest.raises(Park) as caught:
        shipped.product("S" if market == "S" else "F", code, full_code, said)

    assert caught.value.reason == "unknown_instrument"
    assert said in caught.value.what


def test_an_adjusted_contract_has_its_own_multiplier_within_its_dates_only(shipped: Instruments) -> None:
    root = msgspec.structs.replace(shipped.roots["TXF"], name="stock_future", multiplier=2000)
    adjusted = msgspec.structs.replace(root, multiplier=2100)
    override = ContractOverride("CDFF6", adjusted, day("2026-05-04"), day("2026-06-17"))
    tables = Instruments(shipped.stock_rules, {"CDF": root}, {"CDFF6": (override,)}, shipped.books, shipped.lots)

    multipliers = {
        text: tables.product("F", "CDF", "CDFF6", "FUT", day(text)).multiplier
        for text in ("2026-05-03", "2026-05-04", "2026-06-17", "2026-06-18")
    }

    assert multipliers == {"2026-05-03": 2000, "2026-05-04": 2100, "2026-06-17": 2100, "2026-06-18": 2000}
    assert tables.product("F", "CDF", "CDFG6", "FUT").multiplier == 2000


def test_a_dated_override_without_a_date_is_parked_and_an_undated_one_always_holds(shipped: Instruments) -> None:
    root = shipped.roots["TXF"]
    dated = ContractOverride("CD1F6", root, day("2026-05-04"), None)
    always = ContractOverride("CD2F6", root)
    tables = Instruments((), {}, {"CD1F6": (dated,), "CD2F6": (always,)}, {}, {})

    assert tables.product("F", "CD2", "CD2F6", "FUT") is root
    with pytest.raises(Park) as caught:
        tables.product("F", "CD1", "CD1F6", "FUT")
    assert caught.value.reason == "unknown_instrument"


@pytest.mark.parametrize(
    ("order_cond", "book"),
    [
        ("Cash", "cash"),
        ("Netting", "cash"),
        ("MarginTrading", "margin"),
        ("ShortSelling", "short"),
        ("SBLShort", "sbl"),
        ("SBLShortPriceExempt", "sbl"),
        ("Emerging", "emerging"),
    ],
)
def test_an_order_condition_gives_its_shelf(shipped: Instruments, order_cond: str, book: str) -> None:
    assert book == shipped.book("S", order_cond)


def test_futures_are_on_the_derivative_shelf_and_unknown_conditions_are_parked(shipped: Instruments) -> None:
    assert shipped.book("F", "") == "derivative"
    for unknown in ("", "cash", "Lending"):
        with pytest.raises(Park) as caught:
            shipped.book("S", unknown)
        assert caught.value.reason == "unknown_order_cond"


@pytest.mark.parametrize(("lot", "shares"), [("Common", 3000), ("Fixing", 3000), ("BlockTrade", 3000), ("Odd", 3), ("IntradayOdd", 3)])
def test_a_lot_gives_its_shares(shipped: Instruments, lot: str, shares: int) -> None:
    assert shares == shipped.shares(lot, 3)


def test_a_lot_that_stands_nowhere_is_parked(shipped: Instruments) -> None:
    for unknown in ("", "common", "Block"):
        with pytest.raises(Park) as caught:
            shipped.shares(unknown, 3)
        assert caught.value.reason == "unknown_order_lot"


def test_the_memo_stays_bounded(shipped: Instruments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execpos.domain.instruments._MEMO_LIMIT", 10)
    tables = Instruments(shipped.stock_rules, {}, {}, {}, {})

    for number in range(1000, 1100):
        assert tables.product("S", str(number), "", "").name == "stock"
        assert len(tables._memo) <= 10
