"""The restart bench without its processes: the broker that is told what to do, and the figures."""

from datetime import UTC, datetime

from execpos.bench.restart_broker import Stage, scenario
from execpos.bench.restart_parts import most_within
from execpos.brokers.sim.client import Client
from execpos.brokers.sim.config import SimEvent
from execpos.brokers.sim.mailbox import Mailbox

# 2026-11-24, a Tuesday, 21:00 in Taipei.
NOW_S = datetime(2026, 11, 24, 13, tzinfo=UTC).timestamp()
FILLS, DAYS = 60, 3


def staged() -> tuple[Stage, Client]:
    """Return a broker with a client that takes everything."""
    stage = Stage(scenario(accounts=2, symbols=4, fills=FILLS, days=DAYS, rate=10.0, seed=1, now_s=NOW_S))
    client = stage.attach(Mailbox(100_000))
    stage.call(client, "login", {"api_key": "a", "secret_key": "b", "subscribe_trade": True})
    return stage, client


def matched(stage: Stage) -> int:
    found: int = stage.call(None, "sim_truth", {})["counts"]["matched"]
    return found


def played(stage: Stage, word: str, **arguments: int) -> None:
    while stage.call(None, word, arguments):
        stage.step()


def test_the_history_is_played_in_two_parts_and_no_further_than_it_was_asked_for() -> None:
    stage, _ = staged()
    stage.step()
    assert matched(stage) == 0

    played(stage, "sim_days")
    before_today = matched(stage)
    stage.step()
    assert 0 < before_today == matched(stage) < FILLS

    played(stage, "sim_history", fills=FILLS)
    stage.step()
    # A step may match several orders at one price.
    assert FILLS <= matched(stage) < FILLS + 20


def test_todays_history_ends_before_now_and_the_days_before_it_are_earlier_dates() -> None:
    stage, _ = staged()
    played(stage, "sim_days")
    played(stage, "sim_history", fills=FILLS)
    truth = stage.call(None, "sim_truth", {})

    assert truth["now_us"] < NOW_S * 1_000_000
    assert [fill["trading_date"] for fill in truth["fills"]] == sorted(fill["trading_date"] for fill in truth["fills"])
    assert {fill["trading_date"] for fill in truth["fills"]} <= {"2026-11-22", "2026-11-23", "2026-11-24"}
    assert truth["fills"][-1]["trading_date"] == "2026-11-24"


def test_calls_of_the_accounting_group_are_written_down_and_no_others() -> None:
    stage, client = staged()
    account = stage.call(None, "sim_truth", {})["accounts"][0]
    stage.call(client, "update_status", {"account": account})
    stage.call(client, "list_positions", {"account": account, "unit": "Share"})

    assert len(stage.call(None, "sim_asked", {})) == 1
    assert stage.call(None, "sim_idle_us", {}) >= 0


def test_what_was_handed_out_is_told_by_account_and_receipt_once_the_market_is_live() -> None:
    stage, _ = staged()
    played(stage, "sim_days")
    assert stage.call(None, "sim_handed", {}) == []

    stage.call(None, "sim_live", {})
    for _ in range(50):
        stage.event(SimEvent(0, "callback", "SDEAL", {"broker_id": "9A95", "account_id": "1000001", "event_id": "D-1"}))
    stage.call(None, "sim_rest", {})

    assert set(stage.call(None, "sim_handed", {})) == {"S|9A95|1000001 D-1"}


def test_the_most_calls_within_a_span_are_counted_wherever_it_begins() -> None:
    moments = [0, 1, 4, 5, 6, 7, 14]

    assert most_within(moments, 5) == 4
    assert most_within(moments, 1) == 1
    assert most_within([], 5) == 0
