"""The broker's own cost rules, by examples computed by hand."""

from itertools import count

import pytest

from execpos.brokers.sim.config import SimAccount
from execpos.brokers.sim.market import Instrument
from execpos.brokers.sim.orders import Fill, Order
from execpos.brokers.sim.statement import Statement, in_lots

STOCK = SimAccount("S", "9A95", "1000001")
FUTURES = SimAccount("F", "F002000", "2000001")
NUMBERS = count(1)


def fill(instrument: Instrument, units: int, price: float, *, date: str = "2026-05-21", cond: str = "Cash", lot: str = "Common") -> Fill:
    """Return the only fill of an order; negative units are sold."""
    account = STOCK if instrument.market == "S" else FUTURES
    order = Order(account, instrument, side=1 if units > 0 else -1, quantity=abs(units), price=0, cond=cond, lot=lot)
    order.id = order.seqno = order.ordno = f"{next(NUMBERS)}"
    order.trading_date = date
    instrument.price = round(price * 100)
    return Fill(order, abs(units), round(price * 100), order.id, 0)


def stock() -> Instrument:
    return Instrument("S", "STK", "2890", "2890", 100_00)


def future(code: str = "TXF", security_type: str = "FUT") -> Instrument:
    return Instrument("F", security_type, code, f"{code}F6", 22_850_00)


def after(*fills: Fill) -> Statement:
    statement = Statement(fills[0].order.account.market)
    for each in fills:
        statement.apply(each)
    return statement


def test_stocks_are_kept_at_average_cost_and_profits_are_net() -> None:
    it = stock()
    statement = after(fill(it, 2000, 100), fill(it, 1000, 106), fill(it, -1000, 110, date="2026-05-22"))
    (row,), (profit,) = statement.positions(), statement.profits

    assert (row["direction"], row["quantity"], row["price"], row["yd_quantity"]) == ("Buy", 2000, 102.0, 3000)
    # (110 - 102) * 1000, less 156 for the sale, half of the first purchase's 285, and 0.3 % of 110,000.
    assert profit["pnl"] == 8000 - 156 - 142 - 330
    (detail,) = profit["_details"]
    assert (detail["fee"], detail["tax"], detail["cost"], detail["trade_type"]) == (298, 330, 102_000, "Common")


def test_a_day_trade_pays_half_the_tax_for_what_was_bought_the_same_day() -> None:
    it = stock()
    statement = after(fill(it, 1000, 100, date="2026-05-20"), fill(it, 1000, 100), fill(it, -2000, 100))
    (profit,) = statement.profits

    # 0.15 % of 100,000 and 0.3 % of 100,000.
    assert profit["_details"][0]["tax"] == 150 + 300
    assert profit["_details"][0]["trade_type"] == "DayTrade"
    assert profit["pnl"] == -(450 + 285 + 142 + 142)


def test_margin_and_short_sales_are_rows_of_their_own_and_no_day_trades() -> None:
    it = stock()
    statement = after(
        fill(it, 1000, 100), fill(it, 1000, 90, cond="MarginTrading"), fill(it, -1000, 95, cond="ShortSelling"), fill(it, -1000, 101)
    )

    assert {(row["cond"], row["direction"]): row["price"] for row in statement.positions()} == {
        ("MarginTrading", "Buy"): 90.0,
        ("ShortSelling", "Sell"): 95.0,
    }
    closed = after(fill(it, -1000, 95, cond="ShortSelling"), fill(it, 1000, 90, cond="ShortSelling"))
    # The seller of a short sale pays the whole tax, on what was sold.
    assert closed.profits[0]["_details"][0]["tax"] == 285
    assert closed.profits[0]["pnl"] == 5000 - 285 - 135 - 128


def test_a_sale_through_zero_closes_first_and_opens_with_the_rest() -> None:
    it = stock()
    statement = after(fill(it, 1000, 100), fill(it, -3000, 104))
    (row,) = statement.positions()

    assert (row["direction"], row["quantity"], row["price"]) == ("Sell", 2000, 104.0)
    assert statement.profits[0]["quantity"] == 1000


@pytest.mark.parametrize(
    ("units", "price", "lot", "fee"), [(1000, 10, "Common", 20), (3, 50, "IntradayOdd", 1), (1000, 100, "Common", 142)]
)
def test_the_commission_has_a_minimum(units: int, price: float, lot: str, fee: int) -> None:
    statement = after(fill(stock(), units, price, lot=lot))

    assert [lot["fee"] for lot in statement.details()[0]] == [fee]


def test_the_minimum_is_paid_once_an_order() -> None:
    it = stock()
    first = fill(it, 1000, 10)
    again = Fill(first.order, 1000, 10_00, "x", 0)
    statement = after(first, again)

    # 0.1425 % of 20,000 is 28: 20 with the first part, 8 with the second.
    assert [lot["fee"] for lot in statement.details()[0]] == [20, 8]


def test_futures_are_first_in_first_out_and_profits_are_gross() -> None:
    it = future()
    statement = after(fill(it, 2, 22_850), fill(it, 1, 22_860), fill(it, -3, 22_870))

    assert statement.positions() == []
    assert [(row["quantity"], row["entry_price"], row["cover_price"], row["pnl"]) for row in statement.profits] == [
        (2, 22_850.0, 22_870.0, 8000.0),
        (1, 22_860.0, 22_870.0, 2000.0),
    ]
    # 20 a contract and side; 0.002 % of 9,140,000 (182.8) and 9,148,000 (182.96), of 4,572,000 (91.44) and 4,574,000 (91.48).
    assert [(row["fee"], row["tax"]) for row in statement.profits] == [(80, 366), (40, 182)]


def test_the_open_lots_of_a_future_are_the_latest() -> None:
    it = future("MXF")
    statement = after(fill(it, 2, 100), fill(it, 2, 110), fill(it, -3, 120))
    (row,), (lots,) = statement.positions(), statement.details()

    assert (row["quantity"], row["price"]) == (1, 110.0)
    assert [(lot["quantity"], lot["price"]) for lot in lots] == [(1, 110.0)]
    # Bought at 110, now at 120, 50 TWD a point.
    assert row["pnl"] == 500.0


def test_options_pay_a_tenth_of_a_percent_of_the_premium() -> None:
    it = future("TXO", "OPT")
    statement = after(fill(it, 2, 180), fill(it, -2, 200))
    (profit,) = statement.profits

    assert (profit["pnl"], profit["fee"], profit["tax"]) == (2000.0, 60, 18 + 20)


def test_odd_lots_are_cut_off_in_lots() -> None:
    rows = after(fill(stock(), 1200, 100, lot="IntradayOdd")).positions()

    assert in_lots(rows)[0]["quantity"] == 1
    assert in_lots(after(fill(stock(), 200, 100, lot="Odd")).positions())[0]["quantity"] == 0
