"""The questions of a broker: what is asked of the library, in which group of calls, and what comes back. And quotes."""

from collections.abc import Callable
from datetime import date, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from execpos.brokers.protocol import BrokerAccount, BrokerError, Quote
from execpos.brokers.shioaji import quotes as quotes_module
from shioaji_fake import Rig, Word

STOCKS = BrokerAccount("S", "9A95", "1234567")
FUTURES = BrokerAccount("F", "F002", "7654321")


def failed(call: Callable[[], object]) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        call()
    return caught.value


def stock(**fields: Any) -> Any:
    row = {"id": 0, "code": "2330", "direction": Word("Buy"), "quantity": 1200, "price": 600.0, "last_price": 601.0, "pnl": 1.0}
    return SimpleNamespace(**(row | {"yd_quantity": 0, "cond": Word("Cash")} | fields))


def test_positions_are_asked_for_in_shares_with_a_limit_of_time() -> None:
    """In lots, which is the library's default, odd lots are cut off."""
    rig = Rig()
    broker = rig.up()
    broker.positions(STOCKS)
    asked = rig.desk.asked("list_positions")[0].arguments

    assert asked["unit"] == "Share"
    assert asked["timeout"] == 15_000
    assert asked["account"] is rig.desk.accounts[0]


@pytest.mark.parametrize(("env", "before"), [("production", 1000), ("simulation", None)])
def test_the_quantity_before_is_told_in_production_alone(env: str, before: int | None) -> None:
    rig = Rig(env=env)
    broker = rig.up()
    rig.desk.answers["list_positions"] = [stock(yd_quantity=1000)]

    assert broker.positions(STOCKS)[0].quantity_before == before


def test_lots_are_those_of_a_row_of_the_last_answer() -> None:
    rig = Rig()
    broker = rig.up()
    assert failed(lambda: broker.position_lots(STOCKS, 0)).kind == "refused"
    rig.desk.answers["list_positions"] = [stock(id=3, quantity=200)]
    rig.desk.answers["list_position_detail"] = [
        SimpleNamespace(date="2026-05-18", code="2330", quantity=200, price=1.0, dseq="Y1", direction=Word("Buy"), fee=1.0)
    ]
    broker.positions(STOCKS)

    assert broker.position_lots(STOCKS, 3)[0].quantity == 200
    assert rig.desk.asked("list_position_detail")[0].arguments["detail_id"] == 3
    assert failed(lambda: broker.position_lots(STOCKS, 0)).kind == "refused"
    assert failed(lambda: broker.position_lots(FUTURES, 3)).kind == "refused"


def test_profits_are_asked_for_by_day_and_in_shares() -> None:
    rig = Rig()
    broker = rig.up()
    assert broker.profit_loss(FUTURES, date(2026, 5, 1), date(2026, 5, 19)) == []
    asked = rig.desk.asked("list_profit_loss")[0].arguments

    assert (asked["begin_date"], asked["end_date"], asked["unit"]) == ("2026-05-01", "2026-05-19", "Share")


@pytest.mark.parametrize(
    ("ask", "groups"),
    [
        (lambda broker: broker.update_status(STOCKS), {"orders"}),
        (lambda broker: broker.order_deal_records(STOCKS), {"orders", "accounting"}),
        (lambda broker: broker.positions(STOCKS), {"accounting"}),
        (lambda broker: broker.profit_loss(STOCKS, date(2026, 5, 1), date(2026, 5, 2)), {"accounting"}),
        (lambda broker: broker.trades(STOCKS), set()),
        (lambda broker: broker.cache_health(STOCKS), set()),
    ],
)
def test_each_question_counts_in_its_groups(ask: Callable[[Any], object], groups: set[str]) -> None:
    broker = Rig().up()
    before = {group: state.remaining for group, state in broker.budget().items()}
    ask(broker)
    after = {group: state.remaining for group, state in broker.budget().items()}

    assert {group for group in before if after[group] < before[group]} == groups


def test_a_login_counts_as_one_and_a_subscription_as_an_order_call() -> None:
    broker = Rig().up()

    assert broker.budget()["logins"].remaining == 799
    assert broker.budget()["orders"].remaining == 198


def test_questions_wait_for_their_turn_and_are_refused_when_it_comes_too_late() -> None:
    rig = Rig()
    broker = rig.up()
    began_us = rig.clock.now_us
    for _ in range(41):
        broker.positions(STOCKS)
    assert rig.clock.now_us - began_us > 10_000_000

    rig.desk.latency = lambda _: 30.0
    for _ in range(25):
        broker.positions(STOCKS)
    assert broker.budget()["accounting"].remaining > 0


def test_an_unknown_account_is_refused() -> None:
    broker = Rig().up()

    assert failed(lambda: broker.positions(STOCKS._replace(account_id="1"))).kind == "refused"


def test_a_call_that_the_library_does_not_have_is_unsupported() -> None:
    rig = Rig()
    broker = rig.up()
    rig.desk.answers["trade_cache_health"] = AttributeError("no trade_cache_health")

    assert failed(lambda: broker.cache_health(STOCKS)).kind == "unsupported"
    assert broker.session == "up"


# -- quotes


def contract(code: str) -> Any:
    return SimpleNamespace(code=code)


def watching(*stocks: str, futures: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> Rig:
    rig = Rig()
    rig.desk.contracts = SimpleNamespace(
        status=Word("Fetched"),
        stocks={code: contract(code) for code in stocks},
        futures={code: contract(code) for code in futures} | {"TXF": SimpleNamespace()},
        options={code: contract(code) for code in options},
    )
    rig.up()
    return rig


def subscribed(rig: Rig) -> list[str]:
    return [call.arguments["code"] for call in rig.desk.asked("subscribe")]


def tick(code: str, close: Any = "612.5") -> Any:
    return SimpleNamespace(code=code, close=close, datetime=datetime(2026, 5, 19, 10), simtrade=False)  # noqa: DTZ001 (as the library gives it)


def test_exactly_the_symbols_that_are_wanted_are_subscribed() -> None:
    rig = watching("2330", "2317", futures=("TXFF6",), options=("TXO20000F6",))
    assert set(rig.broker.watch({("S", "2330"), ("F", "TXFF6"), ("F", "TXO20000F6")})) == set()
    assert set(rig.broker.watch({("S", "2330"), ("S", "2317")})) == set()

    assert sorted(subscribed(rig)) == ["2317", "2330", "TXFF6", "TXO20000F6"]
    assert sorted(call.arguments["code"] for call in rig.desk.asked("unsubscribe")) == ["TXFF6", "TXO20000F6"]


def test_what_cannot_be_had_is_returned_and_tried_again_a_minute_later() -> None:
    rig = watching("2330")
    missing: set[Any] = {("S", "2317"), ("F", "TXF")}
    assert set(rig.broker.watch({("S", "2330"), *missing})) == missing
    rig.desk.contracts.stocks["2317"] = contract("2317")
    rig.run(59)
    assert subscribed(rig) == ["2330"]
    rig.run(3)

    assert subscribed(rig) == ["2330", "2317"], "a product's root is a group of contracts, and none of them"


def test_a_subscription_that_is_refused_is_one_that_cannot_be_had() -> None:
    rig = watching("2330", "2317")
    rig.desk.answers["subscribe"] = lambda code, **_: type("SubscribeError", (Exception,), {})("full") if code == "2317" else None

    assert set(rig.broker.watch({("S", "2330"), ("S", "2317")})) == {("S", "2317")}


def test_there_are_no_more_subscriptions_than_a_connection_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotes_module, "SUBSCRIPTIONS_MAX", 3)
    codes = [f"23{n:02}" for n in range(5)]
    rig = watching(*codes)

    assert len(rig.broker.watch({("S", code) for code in codes})) == 2
    assert len(subscribed(rig)) == 3


def test_contracts_that_were_not_read_are_read_once_a_client() -> None:
    rig = watching()
    rig.desk.contracts.status = Word("Unfetch")
    rig.broker.watch({("S", "2330")})
    rig.run(200)

    assert rig.desk.client.steps.count("fetch_contracts True 30000") == 1


def test_a_trade_becomes_a_quote_of_its_market() -> None:
    rig = watching("2330")
    rig.desk.client.on_tick["S"](tick("2330"))
    rig.desk.client.on_tick["F"](tick("TXFF6", "21000"))

    assert [(quote.market, quote.symbol, quote.price) for quote in rig.quotes] == [("S", "2330", 612.5), ("F", "TXFF6", 21_000.0)]
    assert all(isinstance(quote, Quote) for quote in rig.quotes)


@pytest.mark.parametrize("broken", [None, object(), tick("2330", "abc"), SimpleNamespace(code="2330")])
def test_a_tick_that_cannot_be_read_neither_raises_nor_becomes_a_quote(broken: Any) -> None:
    rig = watching("2330")
    rig.desk.client.on_tick["S"](broken)

    assert rig.quotes == []


def test_subscriptions_come_back_with_a_new_client() -> None:
    rig = watching("2330")
    rig.broker.watch({("S", "2330")})
    assert rig.desk.client.on_session_down is not None
    rig.desk.client.on_session_down()
    rig.broker.maintain()

    assert subscribed(rig) == ["2330", "2330"]
    assert set(rig.desk.client.on_tick) == {"S", "F"}


def test_quotes_that_cannot_be_had_again_do_not_cost_the_session() -> None:
    rig = watching("2330")
    rig.broker.watch({("S", "2330")})
    rig.desk.answers["subscribe"] = type("ShioajiTimeoutError", (TimeoutError,), {})("none")
    assert rig.desk.client.on_session_down is not None
    rig.desk.client.on_session_down()
    rig.broker.maintain()
    assert rig.broker.session == "up"
    rig.desk.answers["subscribe"] = None
    rig.run(70)

    assert subscribed(rig)[-1] == "2330"
    assert len(subscribed(rig)) == 3
