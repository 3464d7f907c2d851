"""A login from its first step to its last: the order of steps, a new token, lost sessions, suspensions, what is told and to whom."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from execpos.brokers.protocol import BrokerAccount, BrokerError
from execpos.brokers.shioaji import guarded
from execpos.brokers.shioaji import session as session_module
from execpos.brokers.shioaji.plan import Plan
from shioaji_fake import PERSON, SECRET, USER, FakeApi, Rig

STOCKS = BrokerAccount("S", "9A95", "1234567")
FUTURES = BrokerAccount("F", "F002", "7654321")
HOUR_S = 3600


def error_named(name: str, text: str = "", base: type[Exception] = Exception) -> Exception:
    made: type[Exception] = type(name, (base,), {})
    return made(text)


def failed(call: Callable[[], object]) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        call()
    return caught.value


def state(rig: Rig) -> str:
    return rig.broker.session


def logins(rig: Rig) -> int:
    return len(rig.desk.asked("login"))


# -- the order of steps


def test_login_comes_first_then_the_callbacks_then_the_subscriptions() -> None:
    """Callbacks before the login end up half registered; subscriptions before the callbacks lose reports."""
    rig = Rig()
    rig.up()

    assert rig.desk.client.steps == [
        "login subscribe_trade=False force_refresh=True",
        "set_event_callback",
        "set_session_down_callback",
        "set_order_callback",
        "subscribe_trade 1234567",
        "subscribe_trade 7654321",
    ]
    assert rig.broker.accounts() == (STOCKS, FUTURES)
    assert state(rig) == "up"
    assert rig.kinds() == ["logged_in"]


def test_the_library_calls_the_handler_itself() -> None:
    """Nothing stands between: each step there is time between the broker and the journal."""
    rig = Rig()
    handler = rig.report
    rig.broker.connect()
    rig.broker.set_order_callback(handler)
    rig.broker.start()

    assert rig.desk.client.on_order == handler


def test_the_state_of_a_login_goes_from_new_to_closed() -> None:
    rig = Rig()
    assert state(rig) == "new"
    rig.up()
    assert state(rig) == "up"
    rig.broker.stop()
    assert state(rig) == "closed"


def test_nothing_is_delivered_after_stop_and_a_second_stop_does_nothing() -> None:
    rig = Rig()
    broker = rig.up()
    client = rig.desk.client
    on_event, on_down, on_tick = client.on_event, client.on_session_down, client.on_tick["S"]
    rig.told.clear()
    broker.stop()
    broker.stop()

    assert (client.on_order, client.on_event, client.on_session_down, client.on_tick) == (None, None, None, {})
    assert client.steps.count("logout") == 1
    # What the library still had in hand.
    assert on_event is not None
    assert on_down is not None
    on_event(200, 13, "info", "event")
    on_down()
    on_tick(object())
    broker.maintain()
    assert rig.told == []
    assert rig.quotes == []
    assert failed(lambda: broker.positions(STOCKS)).kind == "session"


def test_a_client_that_does_not_let_go_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_LOGOUT_S", 0.05)
    rig = Rig()
    broker = rig.up()
    hanging = threading.Event()
    rig.desk.answers["logout"] = lambda: hanging.wait(30)
    broker.stop()

    assert state(rig) == "closed"
    hanging.set()


def test_a_login_that_never_returns_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_LOGIN_S", 0.05)
    rig = Rig()
    hanging = threading.Event()
    rig.desk.answers["login"] = lambda: hanging.wait(30)

    assert failed(rig.broker.connect).kind == "timeout"
    hanging.set()


def test_connect_and_start_are_done_once() -> None:
    rig = Rig()
    assert failed(rig.broker.start).kind == "failed"
    rig.up()

    assert failed(rig.broker.connect).kind == "failed"
    assert failed(rig.broker.start).kind == "failed"


def test_a_connect_that_failed_may_be_tried_again() -> None:
    rig = Rig()
    rig.desk.answers["login"] = error_named("ShioajiConnectionError", "no route")
    assert failed(rig.broker.connect).kind == "failed"
    rig.desk.answers["login"] = lambda: rig.desk.accounts
    rig.up()

    assert state(rig) == "up"
    assert "logout" in rig.desk.clients[0].steps, "it may have been logged in all the same"


def test_a_key_that_is_refused_is_refused_and_not_a_lost_session() -> None:
    """Trying again would use up logins and change nothing."""
    rig = Rig()
    rig.desk.answers["login"] = error_named("AuthError", "invalid api key")

    assert failed(rig.broker.connect).kind == "refused"


def test_a_session_lost_between_connect_and_start_is_made_anew_by_start() -> None:
    rig = Rig()
    rig.broker.connect()
    rig.broker.set_order_callback(rig.report)
    assert rig.desk.client.on_session_down is not None
    rig.desk.client.on_session_down()
    rig.broker.start()

    assert len(rig.desk.clients) == 2
    assert state(rig) == "up"
    assert rig.desk.client.on_order == rig.report


def test_a_subscription_that_fails_fails_the_start_and_a_second_start_completes_it() -> None:
    rig = Rig()
    rig.broker.connect()
    rig.broker.set_order_callback(rig.report)
    rig.desk.answers["subscribe_trade"] = error_named("ShioajiTimeoutError", "30 s")
    assert failed(rig.broker.start).kind == "timeout"
    rig.desk.answers["subscribe_trade"] = True
    rig.broker.start()

    assert state(rig) == "up"


def test_a_login_without_accounts_of_a_known_kind_is_refused() -> None:
    rig = Rig()
    rig.desk.accounts = rig.desk.accounts[2:]

    assert failed(rig.broker.connect).kind == "refused"


# -- the token


def test_the_token_is_renewed_before_its_day_is_over_with_the_same_client_and_everything_is_subscribed_again() -> None:
    rig = Rig()
    rig.up()
    # From 10:00 in Taipei: at 14:35 the token is too young, the next quiet window is 06:00.
    rig.run(19.9 * HOUR_S, step_s=60)
    assert logins(rig) == 1
    rig.run(600, step_s=60)

    assert logins(rig) == 2
    assert len(rig.desk.clients) == 1
    assert rig.kinds() == ["logged_in", "renewed"]
    again = rig.desk.client.steps[6:]
    assert again[0] == "login subscribe_trade=False force_refresh=True"
    assert again[3:] == ["set_order_callback", "subscribe_trade 1234567", "subscribe_trade 7654321"]


def test_over_a_week_the_token_is_renewed_in_the_quiet_hours_and_never_grows_a_day_old() -> None:
    rig = Rig()
    rig.up()
    rig.run(7 * 24 * HOUR_S, step_s=60)

    times = [call.end_us for call in rig.desk.asked("login")]
    assert max(later - earlier for earlier, later in pairwise(times)) < 20.1 * HOUR_S * 1e6
    # In UTC: from 06:00, and from 14:35 in Taipei.
    assert {(time + rig.clock.ahead_us) // 1_000_000 // HOUR_S % 24 for time in times[1:]} == {22, 6}


@pytest.mark.parametrize(("hours", "due"), [(5.9, False), (6.1, True)])
def test_a_young_token_is_left_alone_in_the_quiet_hours(hours: float, *, due: bool) -> None:
    plan = Plan()
    plan.got_token(0)
    quiet_us = int(datetime(2026, 5, 19, 23, tzinfo=UTC).timestamp() * 1e6)

    assert plan.renewal_due(int(hours * HOUR_S * 1e6), quiet_us) is due
    assert not plan.renewal_due(int(hours * HOUR_S * 1e6), quiet_us + 2 * HOUR_S * 1_000_000)


def test_a_renewal_that_fails_leaves_the_session_as_it_is_and_is_tried_again() -> None:
    rig = Rig()
    rig.up()
    good = rig.desk.answers["login"]
    rig.desk.answers["login"] = error_named("ServerError", "StatusCode: 500, Detail: later")
    rig.run(20 * HOUR_S + 1_200, step_s=30)

    assert state(rig) == "up"
    assert "down" not in rig.kinds()
    rig.desk.answers["login"] = good
    rig.run(400)
    assert rig.kinds()[-1] == "renewed"


# -- lost sessions


def test_a_session_that_the_library_gives_up_is_replaced_with_a_new_client_and_then_told() -> None:
    rig = Rig()
    rig.up()
    rig.run(900)
    first = rig.desk.client
    assert first.on_session_down is not None
    first.on_session_down()
    assert state(rig) == "recovering"
    rig.broker.maintain()

    assert state(rig) == "up"
    assert rig.desk.client is not first
    assert (first.on_order, first.on_event, first.on_tick) == (None, None, {})
    assert "logout" in first.steps
    assert rig.desk.client.on_order == rig.report
    assert rig.desk.client.steps[-2:] == ["subscribe_trade 1234567", "subscribe_trade 7654321"]
    assert rig.kinds() == ["logged_in", "session_down", "logged_in"]


def test_what_an_old_client_still_says_does_not_count() -> None:
    rig = Rig()
    rig.up()
    old = rig.desk.client
    on_event, on_down = old.on_event, old.on_session_down
    assert on_event is not None
    assert on_down is not None
    on_down()
    rig.broker.maintain()
    rig.told.clear()
    on_event(200, 1, "", "down")
    on_down()

    assert rig.told == []
    assert state(rig) == "up"


def test_logins_after_a_loss_wait_longer_and_longer_up_to_five_minutes() -> None:
    rig = Rig()
    rig.up()
    rig.run(900)
    rig.desk.answers["login"] = error_named("ShioajiConnectionError", "no route")
    assert rig.desk.client.on_session_down is not None
    rig.desk.client.on_session_down()
    rig.run(3_600)

    starts = [call.start_us for call in rig.desk.asked("login")][1:]
    waits = [round((later - earlier) / 1e6) for earlier, later in pairwise(starts)]
    assert waits[:6] == pytest.approx([5, 10, 20, 40, 80, 160], abs=1.5)
    assert waits[6:] == pytest.approx([300] * len(waits[6:]), abs=1.5)
    assert state(rig) == "down"


def test_a_session_that_falls_again_and_again_is_not_logged_in_again_at_once() -> None:
    rig = Rig()
    rig.up()
    for _ in range(60):
        if rig.desk.client.on_session_down is not None:
            rig.desk.client.on_session_down()
        rig.run(10)

    assert 7 <= logins(rig) <= 9


def test_a_lost_session_refuses_questions_without_asking() -> None:
    rig = Rig()
    broker = rig.up()
    assert rig.desk.client.on_session_down is not None
    rig.desk.client.on_session_down()
    before = len(rig.desk.calls)

    assert failed(lambda: broker.positions(STOCKS)).kind == "session"
    assert failed(lambda: broker.trades(STOCKS)).kind == "session"
    assert len(rig.desk.calls) == before
    assert broker.budget()["accounting"].remaining == 20


def test_three_questions_without_an_answer_end_a_session_that_looks_alive() -> None:
    """The library is known to give up in silence."""
    rig = Rig()
    broker = rig.up()
    rig.desk.answers["list_positions"] = error_named("ShioajiTimeoutError", "no answer")

    for n in range(3):
        assert state(rig) == "up", n
        assert failed(lambda: broker.positions(STOCKS)).kind == "timeout"
        # The library's own cache answers all the while; that proves nothing.
        if n < 2:
            broker.cache_health(STOCKS)
    assert rig.kinds() == ["logged_in", "session_down"]
    rig.broker.maintain()
    assert state(rig) == "up"


def test_an_answer_in_between_begins_the_count_anew() -> None:
    rig = Rig()
    broker = rig.up()
    for _ in range(5):
        rig.desk.answers["list_positions"] = error_named("ShioajiTimeoutError", "no answer")
        for _ in range(2):
            failed(lambda: broker.positions(STOCKS))
        rig.desk.answers["list_positions"] = []
        rig.clock.sleep(5.1)
        broker.positions(STOCKS)

    assert state(rig) == "up"


def test_a_refused_token_of_its_age_is_a_lost_session_and_no_suspension() -> None:
    rig = Rig()
    broker = rig.up()
    # The machine slept through the renewal.
    rig.clock.sleep(24 * HOUR_S)
    rig.desk.answers["update_status"] = error_named("TokenError", "StatusCode: 401, Detail: Token is expired.")

    assert failed(lambda: broker.update_status(STOCKS)).kind == "session"
    assert state(rig) == "recovering"
    broker.maintain()
    assert state(rig) == "up"


def test_reports_go_on_while_the_library_reconnects_and_the_reconnection_is_told() -> None:
    rig = Rig()
    rig.up()
    on_event = rig.desk.client.on_event
    assert on_event is not None
    on_event(0, 12, "host", "reconnecting")
    assert state(rig) == "recovering"
    rig.run(20)
    on_event(0, 13, "host", "reconnected")

    assert state(rig) == "up"
    assert [(event.kind, event.code) for event in rig.told[1:]] == [("reconnecting", 12), ("reconnected", 13)]
    assert logins(rig) == 1


def test_a_reconnection_that_does_not_come_within_a_minute_is_made_by_us() -> None:
    rig = Rig()
    rig.up()
    assert rig.desk.client.on_event is not None
    rig.desk.client.on_event(0, 1, "", "down")
    rig.run(58)
    assert logins(rig) == 1
    rig.run(5)

    assert logins(rig) == 2
    assert state(rig) == "up"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0, "up"),
        (1, "down"),
        (2, "down"),
        (3, "other"),
        (4, "other"),
        (12, "reconnecting"),
        (13, "reconnected"),
        (16, "other"),
        (17, "reconnected"),
        (18, "other"),
        (19, "other"),
        (99, "other"),
        (None, "other"),
    ],
)
def test_each_code_of_the_link_has_a_meaning(code: Any, kind: str) -> None:
    rig = Rig()
    rig.up()
    assert rig.desk.client.on_event is not None
    rig.desk.client.on_event(0, code, "info", "event")

    event = rig.told[-1]
    assert (event.kind, event.code) == (kind, -1 if code is None else code)


def test_an_account_that_is_gone_after_a_new_login_is_an_error_and_not_left_out() -> None:
    rig = Rig()
    broker = rig.up()
    rig.desk.accounts = rig.desk.accounts[:1]
    assert rig.desk.client.on_session_down is not None
    rig.desk.client.on_session_down()
    broker.maintain()

    assert state(rig) == "recovering"
    assert "F|F002|7654321" in rig.told[-1].detail
    assert rig.told[-1].kind == "down"


# -- suspensions


def test_a_suspension_is_honoured_by_every_call_and_no_login_falls_into_it() -> None:
    rig = Rig()
    broker = rig.up()
    rig.run(700)
    rig.desk.answers["list_positions"] = error_named("SystemMaintenance", "StatusCode: 503, Detail: 流量")
    error = failed(lambda: broker.positions(STOCKS))
    before = len(rig.desk.calls)

    assert error.kind == "suspended"
    assert error.fields["until_us"] == rig.clock.wall_us() + 60_000_000
    assert state(rig) == "suspended"
    assert rig.kinds()[-1] == "suspended"
    assert rig.desk.client.on_session_down is not None
    rig.desk.client.on_session_down()
    rig.run(58)
    assert failed(lambda: broker.update_status(STOCKS)).kind in {"suspended", "session"}
    assert len(rig.desk.calls) == before
    rig.run(5)
    assert logins(rig) == 2
    assert state(rig) == "up"


def test_a_token_taken_away_before_its_time_is_the_other_form_of_a_suspension() -> None:
    rig = Rig()
    broker = rig.up()
    rig.run(700)
    rig.desk.answers["list_positions"] = error_named("TokenError", "StatusCode: 401, Detail: Token is expired.")
    failed(lambda: broker.positions(STOCKS))

    assert state(rig) == "suspended"
    rig.run(59)
    assert logins(rig) == 1
    rig.run(5)
    assert logins(rig) == 2
    assert state(rig) == "up"


def test_a_token_that_is_refused_after_a_suspension_costs_no_second_silence() -> None:
    rig = Rig()
    broker = rig.up()
    rig.run(700)
    rig.desk.answers["list_positions"] = error_named("SystemMaintenance", "503")
    failed(lambda: broker.positions(STOCKS))
    rig.run(61)
    rig.desk.answers["list_positions"] = error_named("TokenError", "401")
    failed(lambda: broker.positions(STOCKS))
    rig.run(2)

    assert state(rig) == "up"
    assert logins(rig) == 2


def test_a_login_that_meets_a_suspension_lengthens_the_silence() -> None:
    rig = Rig()
    rig.up()
    rig.run(700)
    rig.desk.answers["login"] = error_named("SystemMaintenance", "503")
    assert rig.desk.client.on_session_down is not None
    rig.desk.client.on_session_down()
    rig.run(3_600)

    starts = [call.start_us / 1e6 for call in rig.desk.asked("login")][1:]
    assert [round(later - earlier) for earlier, later in pairwise(starts)] == pytest.approx([60, 120, 240, 480, 900, 900], abs=2)
    assert state(rig) == "suspended"


def test_a_restart_within_a_suspension_does_not_log_in() -> None:
    rig = Rig()
    broker = rig.up()
    rig.desk.answers["list_positions"] = error_named("SystemMaintenance", "503")
    failed(lambda: broker.positions(STOCKS))
    rig.broker = rig.make()

    error = failed(rig.broker.connect)

    assert error.kind == "suspended"
    assert logins(rig) == 1


def test_no_login_in_the_maintenance_window_and_one_after_it() -> None:
    def blackout(wall_us: int, _: Any) -> str:
        return "maintenance" if 12 * 60 <= wall_us // 1_000_000 % 86_400 - 7_200 < 30 * 60 else ""

    rig = Rig(blackout=blackout)
    rig.up()
    rig.run(13 * 60, step_s=10)
    assert rig.desk.client.on_session_down is not None
    rig.desk.client.on_session_down()
    rig.run(16 * 60, step_s=10)
    assert logins(rig) == 1
    assert "down" not in rig.kinds()
    rig.run(2 * 60, step_s=10)

    assert logins(rig) == 2
    assert state(rig) == "up"


# -- personal data


def test_no_personal_data_and_no_key_is_in_any_error_or_event() -> None:
    rig = Rig()
    broker = rig.up()
    text = f"user {USER} ({PERSON}) key AKEY42longer secret {SECRET} failed\n" + "x" * 5_000
    rig.desk.answers["list_positions"] = error_named("ServerError", text)
    rig.desk.answers["update_status"] = error_named("TokenError", text)
    errors = [failed(lambda: broker.positions(STOCKS)), failed(lambda: broker.update_status(STOCKS))]
    assert rig.desk.client.on_event is not None
    rig.desk.client.on_event(200, 3, f"client PYAPI/AKEY42long/1124 {PERSON}", f"{USER} rejected")

    said = [f"{error!s} {error!r} {error.fields}" for error in errors] + [repr(event) for event in rig.told]
    assert any("redacted" in each for each in said)
    for each in said:
        for secret in (PERSON, USER, SECRET, "AKEY42long"):
            assert secret not in each
    for error in errors:
        assert error.__cause__ is None
        assert error.__context__ is None, "a traceback would show the library's text"
        assert len(error.what) < 500


def test_an_error_whose_text_cannot_be_had_is_an_error_like_any_other() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    rig = Rig()
    broker = rig.up()
    rig.desk.answers["list_positions"] = Mute()

    assert failed(lambda: broker.positions(STOCKS)).kind == "failed"
    assert state(rig) == "up"


# -- the end of a scenario


def test_a_broker_is_finished_when_its_scenario_is() -> None:
    over = [False]
    assert not Rig().broker.finished()
    broker = Rig(is_finished=lambda: over[0]).broker
    assert not broker.finished()
    over[0] = True
    assert broker.finished()


def test_a_scenario_that_cannot_be_asked_is_not_finished() -> None:
    def unreachable() -> bool:
        raise ConnectionError("no link")

    assert not Rig(is_finished=unreachable).broker.finished()


def test_a_step_that_takes_too_long_is_left_to_itself() -> None:
    release = threading.Event()
    with pytest.raises(TimeoutError):
        guarded.limited(lambda: release.wait(30), 0.01)
    release.set()

    with pytest.raises(KeyError):
        guarded.limited(lambda: dict[str, int]()["x"], 5)


def test_the_fake_is_a_client_as_the_adapter_wants_it() -> None:
    """Kept by the type checker: `Rig` hands `Desk.make_api` to a broker that wants an `Api`."""
    assert isinstance(Rig().desk.make_api(), FakeApi)
