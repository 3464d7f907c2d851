"""From the library's answers to records: units, words, numbers, and everything that does not hold together."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from execpos.brokers.protocol import BrokerAccount, BrokerError, BrokerLot, BrokerPosition, BrokerProfit, CacheHealth, Quote
from execpos.brokers.shioaji import convert
from shioaji_fake import PERSON, Word
from shioaji_library import types

STOCKS = BrokerAccount("S", "9A95", "1234567")
FUTURES = BrokerAccount("F", "F002", "7654321")
TAIPEI = timezone(timedelta(hours=8))
NOW = datetime(2026, 5, 19, 8, 50, tzinfo=TAIPEI)


def word(kind: str, value: str) -> Any:
    """Return a member of the library's own enum."""
    return getattr(types(), kind)(value)


def stock(**fields: Any) -> Any:
    row = {
        "id": 0,
        "code": "2330",
        "direction": word("Action", "Buy"),
        "quantity": 1200,
        "price": 612.5,
        "last_price": 615.0,
        "pnl": 3000.0,
        "yd_quantity": 1000,
        "cond": word("StockOrderCond", "Cash"),
    }
    return SimpleNamespace(**(row | fields))


def future(**fields: Any) -> Any:
    row = {
        "id": 0,
        "code": "TXFF6",
        "direction": word("Action", "Sell"),
        "quantity": 2,
        "price": 36_112.0,
        "last_price": 36_000.0,
        "pnl": 1.0,
    }
    return SimpleNamespace(**(row | fields))


def malformed(call: Callable[[], object]) -> str:
    with pytest.raises(BrokerError) as caught:
        call()
    assert caught.value.kind == "malformed"
    return caught.value.what


# -- positions


def test_a_stock_position_is_in_shares() -> None:
    assert convert.positions("answer", [stock()], "S", before=True) == [
        BrokerPosition(0, "2330", "Cash", "Buy", 1200, 612.5, 1000, 615.0, 3000.0)
    ]


def test_a_futures_position_has_no_cond_and_no_quantity_before() -> None:
    assert convert.positions("answer", [future()], "F", before=True) == [
        BrokerPosition(0, "TXFF6", "", "Sell", 2, 36_112.0, None, 36_000.0, 1.0)
    ]


def test_the_quantity_before_is_not_believed_where_its_unit_is_wrong() -> None:
    """The broker's simulation multiplies the quantity and forgets this one."""
    assert convert.positions("answer", [stock()], "S", before=False)[0].quantity_before is None


def test_rows_of_one_code_by_cond_and_direction_stay_apart() -> None:
    rows = [stock(id=n, cond=word("StockOrderCond", cond)) for n, cond in enumerate(["Cash", "MarginTrading", "ShortSelling", "SBLShort"])]

    assert [row.order_cond for row in convert.positions("answer", rows, "S", before=True)] == [
        "Cash",
        "MarginTrading",
        "ShortSelling",
        "SBLShort",
    ]


@pytest.mark.parametrize("quantity", [1200, 1200.0, Decimal(1200)])
def test_a_number_is_read_whatever_kind_it_is_of(quantity: Any) -> None:
    assert convert.positions("answer", [stock(quantity=quantity)], "S", before=True)[0].quantity == 1200


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"quantity": -1}, "quantity is -1.0, not a whole number"),
        ({"quantity": 0.5}, "quantity is 0.5"),
        ({"quantity": None}, "quantity is None"),
        ({"quantity": "7"}, "quantity is '7'"),
        ({"quantity": True}, "quantity is True"),
        ({"quantity": float("nan")}, "quantity is nan"),
        ({"quantity": 2**60}, "quantity is"),
        ({"price": float("inf")}, "price is inf"),
        ({"price": Decimal("NaN")}, "price is NaN"),
        ({"code": ""}, "code is ''"),
        ({"code": None}, "code is None"),
        ({"code": "x" * 200}, "code is"),
        ({"direction": "Long"}, "direction is 'Long', not Buy or Sell"),
        ({"direction": 3}, "direction is 3"),
        ({"cond": None}, "cond is None"),
        ({"cond": {}}, "cond is a dict"),
        ({"id": -1}, "id is"),
    ],
)
def test_a_position_that_does_not_hold_together_is_refused_with_its_row_and_field(fields: dict[str, Any], said: str) -> None:
    what = malformed(
        lambda: convert.positions("list_positions of S|9A95|1234567", [stock(), stock(**({"id": 1} | fields))], "S", before=True)
    )

    assert what.startswith("list_positions of S|9A95|1234567, row 1: ")
    assert said in what


def test_a_row_without_a_field_is_refused() -> None:
    row = stock()
    del row.pnl

    assert "pnl is missing in a SimpleNamespace" in malformed(lambda: convert.positions("answer", [row], "S", before=True))


def test_two_rows_of_one_number_are_refused() -> None:
    assert "another row's" in malformed(lambda: convert.positions("answer", [stock(), stock()], "S", before=True))


@pytest.mark.parametrize("found", [None, {}, "rows", 7, object()])
def test_an_answer_that_is_no_list_is_refused(found: Any) -> None:
    assert "not a list" in malformed(lambda: convert.positions("answer", found, "S", before=True))


def test_an_answer_that_says_of_itself_that_it_is_not_complete_is_refused() -> None:
    class Partial(list[Any]):
        status = word("FetchStatus", "Fetching")

    assert "'Fetching', not Fetched" in malformed(lambda: convert.positions("answer", Partial(), "S", before=True))


def test_no_id_number_is_shown_of_a_wrong_value() -> None:
    assert PERSON not in malformed(lambda: convert.positions("answer", [stock(direction=PERSON)], "S", before=True))


# -- lots and profits


def lot(**fields: Any) -> Any:
    row = {
        "date": "2026-05-18",
        "code": "2330",
        "quantity": 1200,
        "price": 735_000.0,
        "dseq": "Y1S5N",
        "direction": word("Action", "Buy"),
        "fee": 1047.0,
    }
    return SimpleNamespace(**(row | fields))


POSITION = convert.positions("answer", [stock()], "S", before=True)[0]


def test_lots_that_add_up_to_the_position_are_in_its_unit() -> None:
    found = convert.lots("answer", [lot(quantity=200, price=122_500.0), lot(quantity=1000, date="20260518")], POSITION, "S")

    assert found[0] == BrokerLot("2026-05-18", 200, 122_500.0, "Y1S5N", 1047.0)
    assert [each.quantity for each in found] == [200, 1000]
    assert found[1].opened == "2026-05-18"


def test_lots_that_add_up_in_thousands_are_board_lots() -> None:
    position = POSITION._replace(quantity=3000)

    assert [each.quantity for each in convert.lots("answer", [lot(quantity=2), lot(quantity=1)], position, "S")] == [2000, 1000]


@pytest.mark.parametrize("quantities", [[1], [1200, 1], [], [0]])
def test_lots_that_do_not_add_up_have_an_unknown_unit_and_are_refused(quantities: list[int]) -> None:
    """200 of 1,200 shares are an odd lot, which an answer in board lots cuts off."""
    assert "add up to" in malformed(lambda: convert.lots("answer", [lot(quantity=each) for each in quantities], POSITION, "S"))


@pytest.mark.parametrize("fields", [{"code": "2317"}, {"direction": word("Action", "Sell")}])
def test_lots_of_another_position_are_refused(fields: dict[str, Any]) -> None:
    assert "another position" in malformed(lambda: convert.lots("answer", [lot(**fields)], POSITION, "S"))


@pytest.mark.parametrize("value", ["2026-13-01", "yesterday", "", None, 20_260_518, "2026-5-18"])
def test_a_date_that_is_none_is_refused(value: Any) -> None:
    assert "date is" in malformed(lambda: convert.lots("answer", [lot(date=value)], POSITION, "S"))


def test_a_date_may_be_an_object() -> None:
    assert convert.lots("answer", [lot(date=date(2026, 5, 18))], POSITION, "S")[0].opened == "2026-05-18"


def test_profits_of_stocks_leave_fee_and_tax_open_and_those_of_futures_have_them() -> None:
    stocks = SimpleNamespace(code="2330", date="2026-05-18", cond=word("StockOrderCond", "Cash"), quantity=1000, pnl=-250.0)
    futures = SimpleNamespace(code="TXFF6", date="20260518", quantity=1, pnl=2_000.0, fee=40, tax=72)

    assert convert.profits("answer", [stocks], "S") == [BrokerProfit("2330", "2026-05-18", "Cash", 1000, -250.0, None, None)]
    assert convert.profits("answer", [futures], "F") == [BrokerProfit("TXFF6", "2026-05-18", "", 1, 2_000.0, 40.0, 72.0)]


# -- orders


def trade(market: str = "S", *, order: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **fields: Any) -> Any:
    owner = types().Account(types().AccountType.Stock, PERSON, "9A95", "1234567", True, "name")
    if market == "F":
        owner = types().Account(types().AccountType.Future, PERSON, "F002", "7654321", True, "name")
    an_order = {
        "id": "348d1c6a",
        "seqno": "351522",
        "ordno": "Y1S5N",
        "action": word("Action", "Buy"),
        "price": 27.0,
        "quantity": 3,
        "order_cond": word("StockOrderCond", "Cash") if market == "S" else None,
        "order_lot": word("StockOrderLot", "Common") if market == "S" else None,
        "account": owner,
    }
    a_status = {
        "status": word("OrderStatus", "PartFilled"),
        "order_datetime": NOW - timedelta(hours=1),
        "deal_quantity": 2,
        "cancel_quantity": 0,
        "deals": [SimpleNamespace(seq="000001", price=27.0, quantity=2)],
    }
    row = {
        "contract": types().BaseContract("STK", "TSE", "2890") if market == "S" else types().BaseContract("FUT", "TAIFEX", "TXFF6"),
        "order": SimpleNamespace(**(an_order | (order or {}))),
        "status": SimpleNamespace(**(a_status | (status or {}))),
    }
    return SimpleNamespace(**(row | fields))


def one(row: Any, account: BrokerAccount = STOCKS) -> Any:
    found = convert.trades("list_trades", [row], account, NOW)
    assert len(found) == 1
    return found[0]


def test_an_order_in_board_lots_is_read_in_shares() -> None:
    found = one(trade())

    assert (found.quantity, found.filled, found.cancelled) == (3000, 2000, 0)
    assert found.deals == [("000001", 27.0, 2000)]
    assert (found.symbol, found.status, found.order_cond, found.order_lot) == ("2890", "PartFilled", "Cash", "Common")
    assert (found.order_id, found.seqno, found.ordno, found.action) == ("348d1c6a", "351522", "Y1S5N", "Buy")


@pytest.mark.parametrize(("lot_kind", "shares"), [("Common", 3000), ("Fixing", 3000), ("BlockTrade", 3000), ("Odd", 3), ("IntradayOdd", 3)])
def test_every_kind_of_lot_has_its_unit(lot_kind: str, shares: int) -> None:
    assert one(trade(order={"order_lot": word("StockOrderLot", lot_kind)})).quantity == shares


@pytest.mark.parametrize("lot_kind", ["Fractional", "", None])
def test_an_unknown_lot_leaves_every_quantity_open(lot_kind: Any) -> None:
    found = one(trade(order={"order_lot": lot_kind}))

    assert (found.quantity, found.filled, found.cancelled) == (None, None, None)
    assert found.deals == [("000001", 27.0, None)]


def test_contracts_of_futures_are_counted_one_by_one() -> None:
    found = one(trade("F"), FUTURES)

    assert (found.symbol, found.quantity, found.filled, found.order_cond, found.order_lot) == ("TXFF6", 3, 2, "", "")


def test_quantities_that_the_library_leaves_out_are_none_yet() -> None:
    found = one(trade(status={"deal_quantity": None, "cancel_quantity": None, "deals": None}))

    assert (found.filled, found.cancelled, found.deals) == (0, 0, [])


def test_the_orders_of_other_accounts_are_left_out() -> None:
    assert convert.trades("list_trades", [trade(), trade("F")], FUTURES, NOW)[0].symbol == "TXFF6"
    assert convert.trades("list_trades", [trade()], STOCKS._replace(account_id="9999999"), NOW) == []


@pytest.mark.parametrize(
    ("status", "ordno", "entered", "kept"),
    [
        ("PendingSubmit", "", NOW - timedelta(hours=4), False),
        ("PendingSubmit", "", None, False),
        ("PendingSubmit", "", NOW - timedelta(minutes=30), True),
        ("PendingSubmit", "ta0fu", NOW - timedelta(hours=4), True),
        ("Filled", "", NOW - timedelta(hours=4), True),
    ],
)
def test_yesterdays_orders_that_come_back_without_a_number_are_left_out(status: str, ordno: str, entered: Any, *, kept: bool) -> None:
    row = trade("F", order={"ordno": ordno}, status={"status": word("OrderStatus", status), "order_datetime": entered})

    assert bool(convert.trades("list_trades", [row], FUTURES, NOW)) is kept


def test_an_order_without_its_account_is_refused() -> None:
    assert "account" in malformed(lambda: convert.trades("list_trades", [trade(order={"account": None})], STOCKS, NOW))


# -- health, records, accounts


def test_health_names_each_reason_with_its_kind_of_report() -> None:
    found = SimpleNamespace(
        state=types().TradeCacheHealthState.Degraded,
        reasons=[SimpleNamespace(event_type=word("OrderState", "SDEAL"), reason=types().TradeCacheHealthReasonCode.SequenceGap)],
    )

    assert convert.health("answer", found) == CacheHealth("Degraded", ["SDEAL SequenceGap"])


def test_a_health_of_another_kind_is_refused() -> None:
    assert "'Ill'" in malformed(lambda: convert.health("answer", SimpleNamespace(state=Word("Ill"), reasons=[])))


def test_records_go_on_as_they_are() -> None:
    event = object()
    found = convert.records("answer", [(word("OrderState", "SDEAL"), event)])

    assert found[0][0].value == "SDEAL"
    assert found[0][1] is event


@pytest.mark.parametrize("found", [None, "x", [("SDEAL",)], [["SDEAL", {}]], [3]])
def test_records_of_another_shape_are_refused(found: Any) -> None:
    malformed(lambda: convert.records("answer", found))


def test_accounts_of_the_real_library_are_read_and_foreign_ones_left_out() -> None:
    kinds = types().AccountType
    made = [
        types().Account(kind, PERSON, broker, number, True, "name")
        for kind, broker, number in ((kinds.Stock, "9A95", "1234567"), (kinds.Future, "F002", "7654321"), (kinds.Intl, "9A95", "1"))
    ]

    found = convert.accounts("accounts", made)
    assert list(found) == [STOCKS, FUTURES]
    assert found[STOCKS] is made[0]


# -- quotes


def tick(**fields: Any) -> Any:
    row = {"code": "2330", "close": "612.5", "datetime": datetime(2026, 5, 19, 9, 10, 11, 123456), "simtrade": False}  # noqa: DTZ001 (as the library gives it)
    return SimpleNamespace(**(row | fields))


UTC_US = int(datetime(2026, 5, 19, 1, 10, 11, tzinfo=UTC).timestamp()) * 1_000_000 + 123_456


def test_a_tick_carries_the_clock_on_the_wall_in_taipei() -> None:
    assert convert.quote(tick(intraday_odd=False), "S") == Quote("S", "2330", 612.5, UTC_US)
    assert convert.quote(tick(), "F") == Quote("F", "2330", 612.5, UTC_US)


def test_a_tick_with_a_zone_is_believed() -> None:
    found = convert.quote(tick(datetime=datetime(2026, 5, 19, 9, 10, 11, 123456, tzinfo=TAIPEI)), "S")

    assert found is not None
    assert found.exchange_ts == UTC_US


@pytest.mark.parametrize("close", [612.5, Decimal("612.5"), "612.5"])
def test_a_price_may_be_text_or_a_number(close: Any) -> None:
    found = convert.quote(tick(close=close), "S")

    assert found is not None
    assert found.price == 612.5


@pytest.mark.parametrize(
    "fields",
    [
        {"simtrade": True},
        {"intraday_odd": True},
        {"close": "0"},
        {"close": ""},
        {"close": None},
        {"close": float("nan")},
        {"close": "inf"},
        {"code": ""},
        {"code": 2330},
        {"datetime": None},
    ],
)
def test_what_is_no_trade_of_board_lots_gives_no_quote(fields: dict[str, Any]) -> None:
    assert convert.quote(tick(**fields), "S") is None


# -- the fields that are read are fields of the real classes

FIELDS = {
    "Account": "account_type broker_id account_id person_id username",
    "StockPosition": "id code direction quantity price last_price pnl yd_quantity cond",
    "FuturePosition": "id code direction quantity price last_price pnl",
    "StockPositionDetail": "date code quantity price dseq direction fee",
    "FuturePositionDetail": "date code quantity price dseq direction fee",
    "StockProfitLoss": "code quantity pnl date cond",
    "FutureProfitLoss": "code quantity pnl date tax fee",
    "Trade": "contract order status",
    "OrderResult": "id seqno ordno action price quantity order_cond order_lot account",
    "OrderStatusInfo": "status order_datetime deal_quantity cancel_quantity deals",
    "Deal": "seq price quantity",
    "TradeCacheHealth": "state reasons",
    "TradeCacheHealthReason": "event_type reason",
    "TickSTKv1": "code close datetime simtrade intraday_odd",
    "TickFOPv1": "code close datetime simtrade",
    "Contracts": "status stocks futures options",
}


@pytest.mark.parametrize("kind", FIELDS)
def test_each_field_that_is_read_is_one_of_the_real_class(kind: str) -> None:
    missing = [name for name in FIELDS[kind].split() if not hasattr(getattr(types(), kind), name)]

    assert missing == []
