"""The client's order cache: what it shows, and when it says that it cannot be believed."""

from collections.abc import Callable
from typing import Any

from execpos.brokers.sim.cache import TradeCache

Make = Callable[..., Any]
KEY = "F|F002000|2000001"


def reasons(played: Any, account: Any) -> tuple[str, set[tuple[str, str]]]:
    health = played.api.trade_cache_health(account)
    return health.state.value, {(each.event_type.value, each.reason.value) for each in health.reasons}


def test_it_is_empty_after_a_login_and_filled_by_update_status(stage: Make) -> None:
    played = stage().login().play()
    account = played.account("F")
    played.api.login("key", "secret", subscribe_trade=False)
    assert played.api.list_trades() == []
    state, why = reasons(played, account)
    assert (state, why) == ("Unknown", {(kind, code) for kind in ("FORDER", "FDEAL") for code in ("NotSubscribed", "NoBaseline")})

    played.api.update_status(account)
    played.api.subscribe_trade(account)
    assert reasons(played, account) == ("Healthy", set())
    orders = {order["order_id"]: order for order in played.venue.truth()["orders"] if order["account"] == KEY}
    trades = {trade.order.id: trade for trade in played.api.list_trades()}
    assert trades.keys() == orders.keys()
    for key, trade in trades.items():
        assert (trade.status.deal_quantity, trade.status.status.value) == (orders[key]["filled"], orders[key]["status"])


def test_reports_alone_lead_to_what_the_broker_has(stage: Make) -> None:
    played = stage().login().play()
    by_reports = {trade.order.id: trade for trade in played.api.list_trades()}
    for account in played.api.list_accounts():
        played.api.update_status(account)
    by_broker = {trade.order.id: trade for trade in played.api.list_trades()}

    assert by_reports.keys() == by_broker.keys()
    for key, trade in by_broker.items():
        mine = by_reports[key]
        assert (mine.status.status, mine.status.deal_quantity) == (trade.status.status, trade.status.deal_quantity)
        assert [deal.seq for deal in mine.status.deals] == [deal.seq for deal in trade.status.deals]


def test_a_lost_report_is_a_gap_until_update_status(stage: Make) -> None:
    played = stage(schedule=[{"kind": "drop", "at_report": 100, "count": 1, "account": KEY}]).login().play()
    account = played.account("F")
    state, why = reasons(played, account)
    assert state == "Degraded"
    assert {code for _, code in why} >= {"SequenceGap"}

    played.api.update_status(account)
    assert reasons(played, account) == ("Healthy", set())
    assert reasons(played, played.account())[0] == "Healthy"


def test_a_late_report_heals_its_gap(stage: Make) -> None:
    played = stage(schedule=[{"kind": "late", "at_report": 100, "count": 1, "account": KEY, "lag_s": 0.3}]).login()
    played.until(lambda: any(code == "SequenceGap" for _, code in reasons(played, played.account("F"))[1]))
    played.play()

    assert reasons(played, played.account("F")) == ("Healthy", set())


def test_a_deal_without_its_order_is_pending_and_a_receipt_without_a_number_cannot_be_followed() -> None:
    cache = TradeCache()
    cache.subscribe(KEY)
    deal = {"broker_id": "F002000", "account_id": "2000001", "trade_id": "a", "exchange_seq": "1", "price": 1, "quantity": 1, "ts": 1.0}
    cache.take("FDEAL", deal | {"event_id": ""})

    state, why = cache.health(KEY)
    assert state == "Degraded"
    assert set(why) == {("FORDER", "NoBaseline"), ("FDEAL", "UntrackableEventId"), ("FDEAL", "PendingReport")}


def test_trades_are_copies(stage: Make) -> None:
    played = stage().login().play()
    first = played.api.list_trades()[0]
    first.status.deals.append("x")

    assert "x" not in played.api.list_trades()[0].status.deals
