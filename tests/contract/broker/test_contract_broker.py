"""What a broker of ours does, whoever is behind it."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from broker_harness import FAULTS_OVER_S, Harness, Make
from execpos.brokers.protocol import Broker, BrokerError
from execpos.domain.redact import redact

KINDS = {"S": {"SORDER", "SDEAL"}, "F": {"FORDER", "FDEAL"}}


def failed(call: Callable[[], object]) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        call()
    return caught.value


def kinds_of(reports: list[tuple[Any, Any]]) -> set[str]:
    return {state.value for state, _ in reports}


def up(make: Make, *faults: Any) -> tuple[Harness, Broker]:
    harness = make(*faults)
    return harness, harness.up()


# -- the session


def test_accounts_of_both_markets_are_known_after_connect_and_nothing_comes_before_start(make: Make) -> None:
    harness = make()
    states = [harness.broker.session]
    harness.broker.connect()
    harness.broker.set_order_callback(lambda state, event: harness.reports.append((state, event)))
    harness.pass_time(3)

    assert {account.market for account in harness.broker.accounts()} == {"S", "F"}
    assert harness.reports == []
    harness.broker.start()
    harness.pass_time(3)
    states.append(harness.broker.session)
    assert harness.reports
    harness.broker.stop()
    states.append(harness.broker.session)
    assert states == ["new", "up", "closed"]


def test_reports_of_every_kind_come_in_the_broker_librarys_shapes_and_are_made_plain_without_personal_data(make: Make) -> None:
    harness, _ = up(make)
    harness.pass_time(30)

    assert kinds_of(harness.reports) == KINDS["S"] | KINDS["F"]
    for state, event in harness.reports:
        plain, _ = redact(event)
        owner = plain if state.value.endswith("DEAL") else plain["order"]["account"]
        assert owner["broker_id"]
        assert owner["account_id"]
        assert not any(word in repr(plain) for word in harness.personal)


def test_nothing_comes_after_stop(make: Make) -> None:
    harness, broker = up(make)
    harness.pass_time(2)
    broker.stop()
    before = (len(harness.reports), len(harness.told), len(harness.quotes))
    broker.stop()
    harness.clock.sleep(5)
    broker.maintain()

    assert (len(harness.reports), len(harness.told), len(harness.quotes)) == before
    assert failed(lambda: broker.positions(broker.accounts()[0])).kind == "session"


def test_a_quiet_session_stays_up_and_logs_in_once(make: Make) -> None:
    harness, broker = up(make)
    before = broker.budget()["logins"].remaining
    harness.run(120)

    assert broker.session == "up"
    assert broker.budget()["logins"].remaining == before == 799
    assert harness.kinds().count("logged_in") == 1


def test_a_lost_session_is_made_anew_and_told_and_reports_come_again(make: Make) -> None:
    harness, broker = up(make, "session_down")
    harness.run(FAULTS_OVER_S)
    count = len(harness.reports)
    harness.run(10)

    assert broker.session == "up"
    kinds = harness.kinds()
    assert kinds.count("session_down") == 1
    assert kinds.index("session_down") < len(kinds) - 1 - kinds[::-1].index("logged_in")
    assert broker.budget()["logins"].remaining == 798
    assert len(harness.reports) > count
    for account in broker.accounts():
        broker.update_status(account)


def test_a_link_that_comes_back_by_itself_needs_no_login_and_is_told(make: Make) -> None:
    harness, broker = up(make, "disconnect")
    harness.run(8)
    states = [broker.session]
    harness.run(FAULTS_OVER_S)
    count = len(harness.reports)
    harness.run(10)

    kinds = harness.kinds()
    assert kinds.index("reconnecting") < kinds.index("reconnected")
    states.append(broker.session)
    assert states == ["recovering", "up"]
    assert broker.budget()["logins"].remaining == 799
    assert len(harness.reports) > count


def test_a_suspension_is_honoured_for_a_minute_and_told(make: Make) -> None:
    harness, broker = up(make, "suspended")
    account = broker.accounts()[0]
    harness.run(6)
    error = failed(lambda: broker.positions(account))

    assert error.kind == "suspended"
    assert error.fields["until_us"] == harness.clock.wall_us() + 60_000_000
    assert harness.kinds()[-1] == "suspended"
    assert failed(lambda: broker.update_status(account)).kind == "suspended"
    assert all(state.suspended_until for state in broker.budget().values())
    harness.run(61)
    broker.positions(account)
    assert broker.session == "up"


def test_answers_that_do_not_come_end_a_session_that_looks_alive(make: Make) -> None:
    harness, broker = up(make, "timeouts")
    account = broker.accounts()[0]
    harness.run(6)
    for _ in range(3):
        assert failed(lambda: broker.positions(account)).kind == "timeout"

    assert failed(lambda: broker.positions(account)).kind == "session"
    harness.run(2)
    assert broker.session == "up"
    broker.positions(account)


# -- questions


def test_questions_before_the_login_are_refused(make: Make) -> None:
    broker = make().broker

    assert broker.accounts() == ()
    assert broker.session == "new"
    assert broker.budget()["accounting"].remaining == 20


def test_positions_are_in_shares_and_contracts_and_their_lots_add_up(make: Make) -> None:
    harness, broker = up(make)
    harness.pass_time(60)
    held = 0
    for account in broker.accounts():
        rows = broker.positions(account)
        assert len({row.row_id for row in rows}) == len(rows)
        for row in rows[:4]:
            held += 1
            assert row.direction in {"Buy", "Sell"}
            assert bool(row.order_cond) == (account.market == "S")
            assert sum(lot.quantity for lot in broker.position_lots(account, row.row_id)) == row.quantity > 0

    assert held > 1


def test_records_of_an_account_are_reports_of_its_market(make: Make) -> None:
    harness, broker = up(make)
    harness.pass_time(30)
    for account in broker.accounts():
        broker.update_status(account)
        records = broker.order_deal_records(account)

        assert records
        assert kinds_of(list(records)) <= KINDS[account.market]


def test_every_question_has_an_answer_of_its_type(make: Make) -> None:
    harness, broker = up(make)
    harness.pass_time(30)
    for account in broker.accounts():
        broker.update_status(account)
        for trade in broker.trades(account):
            assert trade.action in {"Buy", "Sell"}
            assert trade.quantity is None or trade.quantity >= (trade.filled or 0) >= 0
            assert trade.quantity is None or trade.filled == sum(quantity or 0 for _, _, quantity in trade.deals)
        assert broker.cache_health(account).state in {"Unknown", "Healthy", "Degraded"}
        for profit in broker.profit_loss(account, date(2026, 5, 1), date(2026, 5, 31)):
            assert date.fromisoformat(profit.date).isoformat() == profit.date
            assert (profit.fee is None) == (account.market == "S")


def test_an_account_of_somebody_else_is_refused(make: Make) -> None:
    _, broker = up(make)

    assert failed(lambda: broker.positions(broker.accounts()[0]._replace(account_id="0"))).kind == "refused"


def test_four_fifths_of_the_calls_are_used_and_the_rest_waits(make: Make) -> None:
    harness, broker = up(make)
    account = broker.accounts()[0]
    began_us = harness.clock.now_us
    for _ in range(41):
        broker.positions(account)

    assert harness.clock.now_us - began_us > 10_000_000
    assert broker.session == "up"


# -- quotes


def test_quotes_come_for_exactly_what_is_watched(make: Make) -> None:
    harness, broker = up(make)
    wanted: set[Any] = {("S", harness.symbol("S")), ("F", harness.symbol("F"))}
    unknown: Any = ("S", "no-such-code")
    assert set(broker.watch({*wanted, unknown})) == {unknown}
    harness.pass_time(60)
    found = {(quote.market, quote.symbol) for quote in harness.quotes}
    assert found == wanted
    for quote in harness.quotes:
        assert quote.price > 0
        # UTC, though ticks carry the clock on the wall in Taipei.
        assert abs(quote.exchange_ts - harness.clock.wall_us()) < 3_600_000_000

    assert set(broker.watch(set())) == set()


def test_nothing_that_is_told_names_a_person(make: Make) -> None:
    harness, _ = up(make, "session_down")
    harness.run(FAULTS_OVER_S)

    assert harness.told
    assert not any(word in repr(harness.told) for word in harness.personal)
    assert not any(word in repr(harness.told) for word in ("simulated-key", "simulated-secret", "AKEY42", "9fLo8"))
