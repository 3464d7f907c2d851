"""The link, the session, the clock and the limits."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from execpos.brokers.sim.api import SimApi
from execpos.brokers.sim.errors import (
    AuthError,
    ServerError,
    ShioajiConnectionError,
    SubscribeError,
    SystemMaintenance,
    TokenError,
    ValidationError,
)
from execpos.brokers.sim.link import LocalLink

Make = Callable[..., Any]


def test_trading_begins_when_all_accounts_are_subscribed(stage: Make) -> None:
    played = stage().login(subscribe=False)
    played.step(10)
    assert played.venue.truth()["counts"]["matched"] == 0 == len(played.venue.truth()["orders"])

    for account in played.api.list_accounts()[:-1]:
        assert played.api.subscribe_trade(account)
        assert not played.api.subscribe_trade(account)
    played.step(10)
    assert not played.venue.truth()["orders"]
    played.api.subscribe_trade(played.api.list_accounts()[-1])
    played.until(lambda: played.heard)


def test_what_is_sent_while_nobody_is_connected_comes_from_the_records_alone(stage: Make) -> None:
    played = stage().login()
    played.until(lambda: len(played.heard) > 100)
    before = len(played.receipts())
    played.api.sim_close()
    for _ in range(300):
        played.venue.step(1)
    lost = {fault["event_id"] for fault in played.faults("lost")}
    assert len(lost) == played.venue.truth()["counts"]["lost"] > 100

    link = LocalLink(played.venue)
    api = SimApi(link)
    accounts = api.login("key", "secret")
    again: list[str] = []
    api.set_order_callback(lambda _, event: again.append(event["event_id"]))
    played.venue.step(200)
    assert link.settle()
    on_record = {event["event_id"] for account in accounts for _, event in api.order_deal_records(account)}
    intents = api.sim_intents()
    api.sim_close()

    assert len(played.receipts()) == before
    assert again
    assert not lost & set(again)
    assert lost <= on_record
    assert [intent["number"] for intent in intents] == list(range(len(intents)))


def test_a_disconnect_loses_reports_and_refuses_calls_until_it_is_over(stage: Make) -> None:
    played = stage(schedule=[{"kind": "disconnect", "at_report": 200, "seconds": 0.2}]).login()
    played.until(lambda: any(event[1] == 12 for event in played.events))
    with pytest.raises(ShioajiConnectionError):
        played.api.list_positions(played.account())
    played.until(lambda: any(event[1] == 13 for event in played.events))

    heard_at = dict(played.heard_at)
    assert heard_at[12] == heard_at[13] > 100
    lost = {fault["event_id"] for fault in played.faults("lost")}
    assert 50 < len(lost) < 400
    played.play()
    assert not lost & set(played.receipts())
    assert lost <= {event["event_id"] for account in played.api.list_accounts() for _, event in played.api.order_deal_records(account)}
    (begun,), (ended,) = played.faults("disconnect"), played.faults("reconnect")
    assert ended["at_us"] - begun["at_us"] >= 200_000


def test_a_lost_session_is_over_until_the_next_login(stage: Make) -> None:
    played = stage(schedule=[{"kind": "session_down", "at_report": 200}]).login()
    played.until(lambda: played.downs)
    with pytest.raises(ShioajiConnectionError, match="log in again"):
        played.api.list_positions(played.account())
    heard = len(played.heard)
    played.step(50)
    assert len(played.heard) == heard

    played.login()
    played.step(100)
    assert len(played.heard) > heard
    assert len(played.faults("session_down")) == 1


def test_the_link_fails_by_chance_too(stage: Make) -> None:
    played = stage(connection={"disconnect": 0.01, "disconnect_s": 0.01, "session_down": 0.002}).login().play()

    assert played.faults("disconnect")
    assert played.faults("session_down")
    assert len(played.faults("disconnect")) == len(played.faults("reconnect"))


def test_too_many_calls_shut_out_for_a_minute_and_the_next_time_for_two(stage: Make) -> None:
    played = stage().login().play()
    account = played.account()
    for minutes in (1, 2):
        for _ in range(25):
            played.api.list_positions(account)
        with pytest.raises(SystemMaintenance):
            played.api.list_profit_loss(account)
        for _ in range(minutes * 60 - 1):
            played.clock.pass_s(1)
            with pytest.raises(SystemMaintenance):
                played.api.order_deal_records(account)
        played.clock.pass_s(1)

    assert played.api.list_positions(account)
    assert [fault["detail"].split(":")[0] for fault in played.faults("suspended")] == ["accounting", "accounting"]


def test_calls_below_the_limit_are_never_refused(stage: Make) -> None:
    played = stage().login().play()
    for _ in range(200):
        played.api.list_positions(played.account())
        played.clock.pass_s(0.21)
    for _ in range(600):
        played.api.update_status(played.account())
        played.clock.pass_s(0.041)


def test_orders_and_data_have_limits_of_their_own(stage: Make) -> None:
    played = stage().login().play()
    for _ in range(250):
        played.api.update_status(played.account())
    stock = played.api.contracts.stocks["2330"]
    for _ in range(50):
        played.api.snapshots([stock])
    with pytest.raises(SystemMaintenance):
        played.api.snapshots([stock])
    played.clock.pass_s(60)
    for _ in range(250):
        played.api.update_status(played.account())
    with pytest.raises(SystemMaintenance):
        played.api.update_status(played.account())


def test_a_login_while_suspended_makes_it_longer(stage: Make) -> None:
    played = stage().login().play()
    for _ in range(25):
        played.api.list_positions(played.account())
    with pytest.raises(SystemMaintenance):
        played.api.list_positions(played.account())
    with pytest.raises(SystemMaintenance):
        played.api.login("key", "secret")
    played.clock.pass_s(119)
    with pytest.raises(SystemMaintenance):
        played.api.list_positions(played.account())
    played.clock.pass_s(1)
    assert played.api.list_positions(played.account())


def test_a_token_lives_a_day_and_is_reused_while_it_is_good_for_five_hours(stage: Make) -> None:
    played = stage().login().play()
    played.clock.pass_s(18 * 3600)
    played.api.login("key", "secret")
    played.clock.pass_s(6 * 3600)
    with pytest.raises(TokenError):
        played.api.list_positions(played.account())
    played.api.login("key", "secret")
    played.clock.pass_s(3600)
    played.api.login("key", "secret", force_refresh=True)
    played.clock.pass_s(23.9 * 3600)
    assert played.api.list_positions(played.account())


def test_five_connections_and_a_thousand_logins(stage: Make) -> None:
    played = stage().login()
    others = [SimApi(LocalLink(played.venue)) for _ in range(5)]
    for api in others[:4]:
        api.login("key", "secret")
    with pytest.raises(ServerError, match="451"):
        others[4].login("key", "secret")
    others[0].logout()
    others[4].login("key", "secret")
    with pytest.raises(AuthError):
        others[0].list_positions()
    for _ in range(1000 - 7):
        played.api.login("key", "secret")
    with pytest.raises(ServerError, match="429"):
        played.api.login("key", "secret")
    played.clock.pass_s(86_400)
    played.api.login("key", "secret")
    for api in others:
        api.sim_close()


def test_before_the_login_nothing_is_answered(stage: Make) -> None:
    played = stage()
    with pytest.raises(AuthError):
        played.api.list_positions()
    with pytest.raises(AuthError):
        played.api.set_order_callback(print)
    # The trap of the real library: the callback was kept, and a second try says nothing.
    played.api.set_order_callback(print)
    with pytest.raises(AuthError):
        played.api.login("", "secret")


def test_accounts_carry_made_up_personal_data_and_reports_do_not(stage: Make) -> None:
    played = stage().login().play()
    accounts = played.api.list_accounts()

    assert all(account.person_id and account.username for account in accounts)
    assert accounts[0].person_id in repr(accounts[0])
    text = repr(played.heard)
    assert not any(account.person_id in text or account.username in text for account in accounts)


def test_a_paced_venue_keeps_to_the_clock(stage: Make) -> None:
    played = stage(pace=2, rate=100, sessions=[{"start": "now", "seconds": 10}]).login()
    start_us = played.venue.truth()["start_us"]
    for second in range(1, 5):
        played.clock.pass_s(1)
        while played.venue.step() == 0:
            pass
        assert 0 <= played.venue.truth()["now_us"] - start_us - second * 2_000_000 < 200_000
    assert played.link.settle()
    assert 500 < len(played.heard) + len(played.intents) < 1100
    assert not played.api.sim_finished()
    for _ in range(30):
        played.clock.pass_s(0.1)
        while played.venue.step() == 0:
            pass
    assert played.api.sim_finished()


def test_ticks_come_for_what_was_asked_for(stage: Make) -> None:
    played = stage().login()
    ticks: list[Any] = []
    played.api.set_on_tick_stk_v1_callback(ticks.append)
    played.api.subscribe(played.api.contracts.stocks["2330"])
    played.until(lambda: len(ticks) > 3)
    assert {tick.code for tick in ticks} == {"2330"}
    assert isinstance(ticks[0].close, str)
    assert ticks[0].datetime.hour == 9

    played.api.unsubscribe(played.api.contracts.stocks["2330"])
    count = len(ticks)
    played.play()
    assert len(ticks) == count


def test_two_hundred_subscriptions_at_most(stage: Make) -> None:
    played = stage(market={"stocks": 210}).login()
    stocks = list(played.api.contracts.stocks)
    for stock in stocks[:200]:
        played.api.subscribe(stock)
    played.api.subscribe(stocks[0])
    with pytest.raises(SubscribeError, match="200"):
        played.api.subscribe(stocks[200])


def test_a_client_that_takes_nothing_is_let_go_and_the_others_go_on(stage: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execpos.brokers.sim.link.PUSHES_MAX", 50)
    slow = stage().login(subscribe=False)
    monkeypatch.undo()
    fast_link = LocalLink(slow.venue)
    fast = SimApi(fast_link)
    fast.login("key", "secret")
    heard: list[Any] = []
    fast.set_order_callback(lambda state, event: heard.append((state, event)))
    gate = threading.Event()
    slow.api.set_order_callback(lambda *_: gate.wait(10))
    slow.subscribe()
    for _ in range(100):
        slow.venue.step()
    gate.set()

    assert len(slow.faults("slow_client")) == 1
    assert fast_link.settle()
    assert len(heard) > 500
    fast.sim_close()
    with pytest.raises(ShioajiConnectionError):
        slow.api.list_positions(slow.account())


def test_an_unknown_method_is_refused(stage: Make) -> None:
    played = stage().login()
    for method in ("place_order", "sim_nonsense"):
        with pytest.raises(ValidationError):
            played.link.call(method, {})
    with pytest.raises(ValidationError, match="lacks 'account'"):
        played.link.call("list_positions", {})
