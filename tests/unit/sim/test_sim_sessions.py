"""Days, nights, and order numbers that come back; intents; recordings."""

from collections.abc import Callable
from typing import Any

from execpos.brokers.sim.facts import rows_of
from execpos.brokers.sim.recording import Recording
from execpos.brokers.sim.scenario import parse

Make = Callable[..., Any]
DAYS = [
    {"start": "2026-05-21T09:00", "events": 500},
    {"start": "2026-05-21T15:00", "events": 300, "night": True, "numbers": "continue"},
    {"start": "2026-05-22T09:00", "events": 1200, "numbers": "again"},
]


def test_a_night_trades_futures_alone_and_belongs_to_the_next_day(stage: Make) -> None:
    played = stage(sessions=DAYS).login().play()
    night = [payload for state, payload in played.heard if payload.get("market_type") == "Night" and state == "FDEAL"]
    keys = {payload["exchange_seq"] for payload in night}
    fills = [fill for fill in played.venue.truth()["fills"] if fill["exchange_seq"] in keys]

    assert night
    assert {fill["trading_date"] for fill in fills} == {"2026-05-22"}
    assert not [payload for state, payload in played.heard if state == "SDEAL" and 1_779_346_800 <= payload["ts"] < 1_779_400_000]


def test_order_ids_come_back_on_another_day_but_not_on_the_same(stage: Make) -> None:
    played = stage(sessions=DAYS).login().play()
    orders = played.venue.truth()["orders"]
    by_date: dict[str, list[str]] = {}
    for order in orders:
        by_date.setdefault(order["trading_date"], []).append(order["order_id"])
    first, second = by_date["2026-05-21"], by_date["2026-05-22"]

    assert len(set(first)) == len(first)
    assert len(set(second)) == len(second)
    assert len(set(first) & set(second)) > 50
    fills = played.venue.truth()["fills"]
    names = ("account", "trading_date", "trade_id", "exchange_seq")
    assert len({tuple(fill[name] for name in names) for fill in fills}) == len(fills)
    assert len({receipt for fill in fills for receipt in fill["receipts"]}) == len(fills)


def test_new_numbers_are_others(stage: Make) -> None:
    played = stage(sessions=[DAYS[0], DAYS[2] | {"numbers": "new"}]).login().play()
    orders = played.venue.truth()["orders"]

    assert len({order["order_id"] for order in orders}) == len(orders)


def test_records_and_orders_are_those_of_the_day(stage: Make) -> None:
    played = stage(sessions=DAYS).login().play()
    account = played.account()
    played.api.update_status(account)
    mine = [order for order in played.venue.truth()["orders"] if order["account"] == f"S|9A95|{account.account_id}"]

    assert {trade.order.seqno for trade in played.api.list_trades() if trade.order.account.account_id == account.account_id} == {
        order["seqno"] for order in mine if order["trading_date"] == "2026-05-22"
    }
    for _, event in played.api.order_deal_records(account):
        assert (event.get("ts") or event["status"]["exchange_ts"]) > 1_779_400_000
    assert played.answered(account) == played.held(account)


def test_intents_come_in_order_and_can_be_asked_for_again(stage: Make) -> None:
    played = stage(attribution={"intent_before": 0.5, "intent_late": 0.5}).login().play()
    again = played.api.sim_intents()

    assert [dict(intent) for intent in played.intents] == again
    assert played.api.sim_intents(since=7) == again[7:]
    assert all(bool(intent["order_id"]) != bool(intent["seqno"]) for intent in again)


def test_the_truth_leads_to_the_positions_in_any_order_of_the_fills(stage: Make) -> None:
    played = stage(delivery={"late": 0.1, "reorder": 0.1, "drop": 0.02}).login().play()
    truth = played.venue.truth()
    names = ("account", "trading_date", "trade_id", "exchange_seq")
    order = [tuple(fill[name] for name in names) for fill in truth["fills"]]

    assert rows_of(truth) == played.venue._play.book.rows(order)
    backwards = rows_of(truth, reversed(order))
    assert [row["quantity"] for row in backwards] == [row["quantity"] for row in rows_of(truth)]
    assert backwards != rows_of(truth)


def test_a_recording_is_what_a_client_hears(stage: Make) -> None:
    fields = {
        "delivery": {"duplicate": 0.05, "reorder": 0.05, "drop": 0.02},
        "schedule": [{"kind": "disconnect", "at_report": 200, "seconds": 0.1}],
    }
    played = stage(**fields).login().play()
    written: list[tuple[str, Any, int, list[str]]] = []
    base = {"seed": 3, "rate": 1000, "pace": 0, "sessions": [{"start": "2026-05-21T09:00", "events": 1200}]}
    recording = Recording(parse(base | fields, str), lambda *callback: written.append(callback), 0)
    recording.run()

    assert [(kind, payload) for kind, payload, _, _ in written] == played.heard
    noted = [kind for _, _, _, kinds in written for kind in kinds]
    lost = {(fault["event_id"], fault["at_us"]) for fault in played.faults("lost")}
    there = [fault for fault in played.faults("duplicate") if (fault["event_id"], fault["at_us"]) not in lost]
    assert noted.count("duplicate") == len(there) > 10
    times = [at_us for _, _, at_us, _ in written]
    assert times == sorted(times)
    assert recording.play.truth.counts() == played.venue.truth()["counts"]
