"""Faults of the delivery, each at a given report: what the client hears, and what the truth says."""

from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]


def at(report: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "at_report": report} | fields


def heard(make: Make, *schedule: dict[str, Any], **fields: Any) -> Any:
    return make(schedule=list(schedule), **fields).login().play()


def test_without_faults_every_report_comes_once_and_in_order(stage: Make) -> None:
    quiet = heard(stage)
    truth = quiet.venue.truth()

    assert len(quiet.heard) == truth["counts"]["callbacks"] > 900
    assert len(set(quiet.receipts())) == len(quiet.heard)
    assert truth["faults"] == [fault for fault in truth["faults"] if fault["kind"] in {"early_reject", "failed_operation"}]
    assert all(len(fill["receipts"]) == 1 for fill in truth["fills"])


def test_a_scenario_is_repeatable_byte_for_byte(stage: Make) -> None:
    rough = {"delivery": dict.fromkeys(("duplicate", "new_receipt", "late", "reorder", "drop", "conflict"), 0.05)}
    first, second = heard(stage, **rough), heard(stage, **rough)

    assert first.heard == second.heard
    assert first.venue.truth() == second.venue.truth()


def test_a_duplicate_has_the_receipt_of_the_first(stage: Make) -> None:
    played = heard(stage, at(100, "duplicate", count=2))
    again = [receipt for receipt in set(played.receipts()) if played.receipts().count(receipt) == 2]

    assert sorted(again) == sorted(fault["event_id"] for fault in played.faults("duplicate"))
    assert len(again) == 2


def test_a_dropped_report_never_comes_but_is_on_record(stage: Make) -> None:
    played = heard(stage, at(100, "drop", count=3))
    dropped = {fault["event_id"] for fault in played.faults("drop")}

    assert len(dropped) == 3 == played.venue.truth()["counts"]["dropped"]
    assert not dropped & set(played.receipts())
    on_record = {event["event_id"] for account in played.api.list_accounts() for _, event in played.api.order_deal_records(account)}
    assert dropped <= on_record


def test_dropped_deals_leave_the_reports_of_orders_alone(stage: Make) -> None:
    played = heard(stage, at(100, "drop_deal", count=3))
    lost = [fill for fill in played.venue.truth()["fills"] if not fill["receipts"]]

    assert len(lost) == 3 == len(played.faults("drop"))
    assert sorted(fault["exchange_seq"] for fault in played.faults("drop")) == sorted(fill["exchange_seq"] for fill in lost)


def test_a_late_deal_comes_so_many_seconds_later(stage: Make) -> None:
    played = heard(stage, at(100, "late", lag_s=0.3))
    (fault,) = played.faults("late")
    (fill,) = [fill for fill in played.venue.truth()["fills"] if fault["event_id"] in fill["receipts"]]
    before = played.receipts()[: played.receipts().index(fault["event_id"])]

    assert fault["at_us"] == fill["at_us"] + 300_000
    quiet = heard(stage).receipts()
    assert set(before) - set(quiet[: quiet.index(fault["event_id"])]) != set()


def test_a_reordered_deal_comes_behind_so_many_others(stage: Make) -> None:
    played = heard(stage, at(100, "reorder", reports=5)).receipts()
    quiet = heard(stage).receipts()
    moved = next(there for there, here in zip(quiet, played, strict=True) if there != here)

    assert played.index(moved) == quiet.index(moved) + 5
    assert [each for each in played if each != moved][:800] == [each for each in quiet if each != moved][:800]


def test_a_deal_comes_before_its_order(stage: Make) -> None:
    played = heard(stage, at(100, "deal_before_order"))
    (fault,) = played.faults("deal_before_order")
    first = next(n for n, (_, payload) in enumerate(played.heard) if payload.get("trade_id") == fault["order_id"])
    new = next(n for n, (_, payload) in enumerate(played.heard) if "order" in payload and payload["order"]["id"] == fault["order_id"])

    assert first < new
    assert played.heard[new][1]["operation"]["op_type"] == "New"


def test_a_deal_comes_again_under_a_new_receipt_after_a_reset(stage: Make) -> None:
    played = heard(stage, at(100, "new_receipt"))
    again = played.faults("new_receipt")
    assert again
    for fault in again:
        (fill,) = [fill for fill in played.venue.truth()["fills"] if fault["event_id"] in fill["receipts"]]
        first, second = (payload for payload in played.deals() if payload["event_id"] in fill["receipts"])
        assert {name: first[name] for name in first if name != "event_id"} == {name: second[name] for name in second if name != "event_id"}
        assert first["event_id"].split(":")[3] != second["event_id"].split(":")[3]
    assert len(played.faults("stream_reset")) == 1


def test_a_conflict_is_a_deal_with_another_quantity(stage: Make) -> None:
    played = heard(stage, at(100, "conflict"))
    (fault,) = played.faults("conflict")
    one, other = (
        payload
        for payload in played.deals()
        if (payload["trade_id"], payload["exchange_seq"]) == (fault["order_id"], fault["exchange_seq"])
    )

    assert other["quantity"] == one["quantity"] + 1
    assert other["event_id"] == fault["event_id"] != one["event_id"]


def test_receipts_begin_anew_after_a_reset(stage: Make) -> None:
    played = stage(schedule=[at(300, "event_id_reset", account="S|9A95|1000001")]).login().play()
    resets: dict[str, list[str]] = {}
    for state, payload in played.heard:
        holder = payload["order"]["account"] if "order" in payload else payload
        if state == "SDEAL":
            resets.setdefault(holder["account_id"], []).append(payload["event_id"].rsplit(":", 1)[0])

    assert len(set(resets.pop("1000001"))) == 2
    assert all(len(set(streams)) == 1 for streams in resets.values())
    assert [fault["account"] for fault in played.faults("stream_reset")] == ["S|9A95|1000001"]


def test_each_kind_comes_by_chance_too(stage: Make) -> None:
    kinds = ("duplicate", "new_receipt", "deal_before_order", "late", "reorder", "conflict", "drop")
    played = stage(delivery=dict.fromkeys(kinds, 0.1), connection={"event_id_reset": 0.01}).login().play()

    noted = {"reorder": "reordered"}
    assert {noted.get(kind, kind) for kind in kinds} <= {fault["kind"] for fault in played.venue.truth()["faults"]}
    assert played.faults("stream_reset")


def test_the_exchange_refuses_and_fails_orders_and_says_so(stage: Make) -> None:
    trading = {"reject_share": 0.1, "async_failure_share": 0.2, "market_order_share": 0.3}
    played = stage(trading=trading).login().play()
    operations = {(payload["operation"]["op_type"], payload["operation"]["op_code"]) for _, payload in played.heard if "order" in payload}

    assert {("New", "88"), ("New", "9938"), ("Reject", "99Q9"), ("Cancel", "99Q9")} <= operations
    assert {fault["kind"] for fault in played.venue.truth()["faults"]} == {"early_reject", "rejected", "async_failure", "failed_operation"}
    failed = {order["order_id"] for order in played.venue.truth()["orders"] if order["status"] == "Failed"}
    assert failed == {fault["order_id"] for fault in played.faults("rejected", "async_failure")}


def test_a_match_that_is_taken_back_is_told_to_nobody_and_leaves_book_records_and_orders(stage: Make) -> None:
    played = stage(schedule=[at(300, "bust", account="F|F002000|2000001")]).login().play()
    (fault,) = played.faults("bust")
    account = played.account("F")
    played.api.update_status(account)
    fills = [fill for fill in played.venue.truth()["fills"] if fill["busted"]]

    assert [(fill["trade_id"], fill["exchange_seq"]) for fill in fills] == [(fault["order_id"], fault["exchange_seq"])]
    assert any(deal["exchange_seq"] == fault["exchange_seq"] for deal in played.deals())
    assert fault["exchange_seq"] not in {event.get("exchange_seq") for _, event in played.api.order_deal_records(account)}
    assert fault["exchange_seq"] not in {deal.seq for trade in played.api.list_trades() for deal in trade.status.deals}
    assert played.answered(account) == played.held(account)


@pytest.mark.parametrize("lag", [{"fills": 3}, {"lag_s": 0.2}])
def test_a_book_that_is_ahead_has_what_the_callbacks_lack(stage: Make, lag: dict[str, Any]) -> None:
    account_key = "F|F002000|2000001"
    played = stage(schedule=[at(200, "book_ahead", seconds=10, account=account_key, **lag)]).login()
    played.until(lambda: played.venue._play.truth.matched > 300)
    account = played.account("F")
    heard_of = {deal["exchange_seq"] for deal in played.deals()}
    on_record = {event["exchange_seq"] for state, event in played.api.order_deal_records(account) if state == "FDEAL"}

    assert on_record - heard_of
    assert played.answered(account) == played.held(account)
    played.play()
    on_record = {event["exchange_seq"] for state, event in played.api.order_deal_records(account) if state == "FDEAL"}
    assert on_record <= {deal["exchange_seq"] for deal in played.deals()}
    assert {fault["account"] for fault in played.faults("book_ahead")} == {account_key}


@pytest.mark.parametrize("lag", [{"fills": 3}, {"lag_s": 0.2}])
def test_a_book_that_is_behind_lacks_what_the_callbacks_had(stage: Make, lag: dict[str, Any]) -> None:
    played = stage(schedule=[at(200, "book_behind", count=1, account="F|F002000|2000001", **lag)]).login()
    played.until(lambda: played.venue._play.truth.matched > 300)
    account = played.account("F")
    fills = [fill for fill in played.venue.truth()["fills"] if fill["account"].endswith(account.account_id)]
    now_us = played.venue.truth()["now_us"]
    known = fills[:-3] if "fills" in lag else [fill for fill in fills if fill["at_us"] <= now_us - 200_000]
    expected: dict[tuple[str, str], int] = {}
    for fill in known:
        key = (fill["symbol"], fill["book"])
        expected[key] = expected.get(key, 0) + fill["side"] * fill["units"]

    assert 0 < len(known) < len(fills)
    assert played.answered(account) == {key: units for key, units in expected.items() if units}
    assert played.answered(account) == played.held(account)
    assert len(played.faults("book_behind")) == 1
