"""Each fault of the simulated broker: what of it stands in the raw stream, and what the ledger makes of it, through adapter and journal."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from execpos.brokers.sim.scenario import Scenario
from execpos.brokers.sim.schedule import FaultKind
from execpos.domain.events import BrokerSnapshot, PositionSnapshot, RawExecEvent
from pipeline_world import Pipeline, scenario

STOCK = "simulation|S|9A95|1000001"
# In the middle of the day, and on an account that has traded by then.
AT: dict[str, Any] = {"at_report": 300}
DEALS = {"SDEAL", "FDEAL", "CATCHUP_SDEAL", "CATCHUP_FDEAL"}
CALLBACKS = {"SORDER", "FORDER", "SDEAL", "FDEAL"}


def played(folder: Path, *schedule: dict[str, Any], **changes: Any) -> Pipeline:
    pipeline = Pipeline(scenario(schedule=schedule, **changes), folder)
    pipeline.play()
    return pipeline


def receipts(pipeline: Pipeline, kinds: set[str] = CALLBACKS) -> Counter[str]:
    return Counter(record.broker_event_id for record in pipeline.raw() if record.kind in kinds)


def of_kind(pipeline: Pipeline, *kinds: str) -> list[RawExecEvent]:
    return [record for record in pipeline.raw() if record.kind in kinds]


# --- reports -----------------------------------------------------------------------------------------------------------------------------


def test_a_quiet_day_needs_no_catch_up_and_is_the_brokers_book(tmp_path: Path) -> None:
    pipeline = played(tmp_path)

    assert pipeline.faults("drop", "lost", "duplicate", "late", "reordered") == []
    assert of_kind(pipeline, "GAP") == []
    assert pipeline.dead_letters() == []
    pipeline.verify()


def test_dropped_reports_leave_gaps_and_come_back_as_records(tmp_path: Path) -> None:
    pipeline = played(tmp_path, {"kind": "drop", "at_report": 200, "count": 20})

    dropped = {fault["event_id"] for fault in pipeline.faults("drop")}
    assert len(dropped) == 20
    assert dropped.isdisjoint(receipts(pipeline))
    assert dropped <= set(receipts(pipeline, {"CATCHUP_SORDER", "CATCHUP_FORDER", "CATCHUP_SDEAL", "CATCHUP_FDEAL"}))
    assert "CATCHUP" in {fill.cause for fill in pipeline.fills()}
    pipeline.verify()


def test_every_tenth_report_dropped_at_random_comes_back_as_a_record(tmp_path: Path) -> None:
    pipeline = played(tmp_path, delivery={"drop": 0.1}, answers={"records_without_receipt": 0.3})

    assert len(pipeline.faults("drop")) > 50
    pipeline.verify()


def test_repeated_reports_count_once(tmp_path: Path) -> None:
    pipeline = played(tmp_path, {"kind": "duplicate", "at_report": 200, "count": 20})

    repeated = Counter(fault["event_id"] for fault in pipeline.faults("duplicate"))
    found = receipts(pipeline)
    assert len(repeated) == 20
    assert all(found[receipt] == 2 for receipt in repeated)
    pipeline.verify()


def test_late_deals_count_when_they_come(tmp_path: Path) -> None:
    pipeline = played(tmp_path, {"kind": "late", "at_report": 200, "count": 5})

    late = [fault["event_id"] for fault in pipeline.faults("late")]
    assert len(late) == 5
    order = [record.broker_event_id.rpartition(":") for record in pipeline.raw() if record.kind in CALLBACKS]
    for stream, _, number in (receipt.rpartition(":") for receipt in late):
        before = order[: order.index((stream, ":", number))]
        assert any(other == stream and int(overtook) > int(number) for other, _, overtook in before)
    pipeline.verify()


def test_reordered_deals_end_in_the_same_book(tmp_path: Path) -> None:
    pipeline = played(tmp_path, {"kind": "reorder", "at_report": 200, "count": 5, "reports": 6})

    assert len(pipeline.faults("reordered")) == 5
    pipeline.verify()


def test_a_deal_before_its_order_counts_and_the_order_gets_it(tmp_path: Path) -> None:
    pipeline = played(tmp_path, {"kind": "deal_before_order", "at_report": 200, "count": 10})

    early = {(fault["account"], fault["order_id"]) for fault in pipeline.faults("deal_before_order")}
    assert early
    filled = {(order.account.removeprefix("simulation|"), order.order_id): order.cum_filled for order in pipeline.orders()}
    assert all(filled[order] > 0 for order in early)
    first: dict[str, dict[str, int]] = {"deal": {}, "report": {}}
    for number, record in enumerate(pipeline.raw()):
        if record.kind in DEALS:
            first["deal"].setdefault(json.loads(record.payload)["trade_id"], number)
        elif record.kind.endswith("ORDER"):
            first["report"].setdefault(json.loads(record.payload)["order"]["id"], number)
    assert all(first["deal"][order_id] < first["report"][order_id] for _, order_id in early)
    pipeline.verify()


def test_a_deal_under_a_new_receipt_counts_once(tmp_path: Path) -> None:
    pipeline = played(tmp_path, {"kind": "new_receipt", "at_report": 200, "count": 5})

    truth = pipeline.venue.truth()
    assert truth["counts"]["new_receipts"] >= 5
    assert any(len(set(fill["receipts"])) > 1 for fill in truth["fills"])
    pipeline.verify()


def test_the_same_deal_with_another_quantity_is_a_conflict_and_the_first_one_stands(tmp_path: Path) -> None:
    pipeline = played(tmp_path, {"kind": "conflict", "at_report": 300, "count": 2})

    letters = pipeline.dead_letters()
    assert [(letter.disposition, letter.reason) for letter in letters] == [("conflict", "fill_conflict")] * 2
    marked = {state.position_key: state.quality for state in pipeline.positions()}
    assert {marked[letter.position_key] for letter in letters} == {"CONFLICT"}
    pipeline.verify()


# --- the broker's side -------------------------------------------------------------------------------------------------------------------


def test_a_reset_of_the_receipts_is_noticed_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    pipeline = played(tmp_path, {"kind": "event_id_reset", **AT}, {"kind": "drop", "at_report": 302, "count": 3})

    streams = {receipt.rpartition(":")[0] for receipt in receipts(pipeline) if receipt}
    kinds = Counter(stream.split(":")[1] + stream.split(":")[2] for stream in streams)
    assert max(kinds.values()) == 2
    assert len(pipeline.faults("stream_reset")) == 3
    pipeline.verify()


def test_order_ids_that_come_again_the_next_day_are_other_orders(tmp_path: Path) -> None:
    sessions = [{"start": "2026-05-21T09:00", "events": 700}, {"start": "2026-05-22T09:00", "events": 700, "numbers": "again"}]
    pipeline = Pipeline(scenario(sessions=sessions), tmp_path)
    pipeline.play()

    days: dict[str, set[str]] = {}
    for order in pipeline.venue.truth()["orders"]:
        days.setdefault(order["order_id"], set()).add(order["trading_date"])
    again = [order_id for order_id, dates in days.items() if len(dates) == 2]
    assert len(again) > 50
    filled: dict[str, set[str]] = {}
    for fill in pipeline.fills():
        filled.setdefault(fill.session_id, set()).add(fill.order_id)
    assert filled["2026-05-21D"] & filled["2026-05-22D"]
    pipeline.verify()


def test_a_match_that_is_taken_back_untold_stays_in_the_ledger_and_the_difference_is_that_match(tmp_path: Path) -> None:
    pipeline = played(tmp_path, {"kind": "bust", "at_report": 400, "account": STOCK.removeprefix("simulation|")})

    busted = [fill for fill in pipeline.venue.truth()["fills"] if fill["busted"]]
    assert len(busted) == 1
    assert {(d.key[0], d.key[1]) for d in pipeline.differences()} == {(STOCK, busted[0]["symbol"])}


def test_a_book_ahead_of_its_callbacks_is_caught_up_with(tmp_path: Path) -> None:
    pipeline = played(tmp_path, {"kind": "book_ahead", "at_report": 200, "seconds": 3, "fills": 3})

    assert pipeline.faults("book_ahead")
    pipeline.verify()


def test_refused_orders_and_operations_change_no_position(tmp_path: Path) -> None:
    pipeline = played(
        tmp_path, trading={"reject_share": 0.1, "market_order_share": 0.3, "async_failure_share": 0.2, "after_hours_odd_share": 0.5}
    )

    assert pipeline.faults("early_reject")
    assert pipeline.faults("rejected", "async_failure")
    refused = {(fault["account"], fault["order_id"]) for fault in pipeline.faults("rejected", "async_failure")}
    states = {(order.account.removeprefix("simulation|"), order.order_id): order.status for order in pipeline.orders()}
    assert {states[key] for key in refused} == {"REJECTED"}
    pipeline.verify()


# --- the link ----------------------------------------------------------------------------------------------------------------------------


def test_what_was_missed_in_thirty_seconds_without_a_link_comes_back_as_records(tmp_path: Path) -> None:
    sessions = [{"start": "2026-05-21T09:00", "events": 6000}]
    pipeline = Pipeline(scenario(sessions=sessions, schedule=[{"kind": "disconnect", "at_s": 10, "seconds": 30}]), tmp_path)
    pipeline.play()

    lost = {fault["event_id"] for fault in pipeline.faults("lost")}
    assert len(lost) > 1000
    assert lost.isdisjoint(receipts(pipeline))
    codes = [json.loads(record.payload)["code"] for record in of_kind(pipeline, "CONNECTION")]
    assert 12 in codes
    assert 13 in codes
    pipeline.verify()


def test_a_lost_session_is_logged_in_again_and_caught_up(tmp_path: Path) -> None:
    pipeline = played(tmp_path, {"kind": "session_down", "at_report": 200})

    kinds = [json.loads(record.payload)["kind"] for record in of_kind(pipeline, "CONNECTION") if record.account == STOCK]
    assert "session_down" in kinds
    assert pipeline.faults("lost")
    pipeline.verify()


def test_what_is_reported_while_no_bridge_runs_comes_back_with_the_next_one(tmp_path: Path) -> None:
    pipeline = Pipeline(scenario(), tmp_path)
    with pipeline.session():
        while pipeline.venue.truth()["counts"]["matched"] < 100:
            pipeline.venue.step(10)
    while not pipeline.venue.finished:
        pipeline.venue.step()
    with pipeline.session():
        pipeline.catch_up()
    pipeline.settle()

    assert pipeline.faults("lost")
    numbers = [record.bridge_seq for record in pipeline.raw()]
    assert numbers == list(range(1, len(numbers) + 1))
    pipeline.verify()


# --- answers -----------------------------------------------------------------------------------------------------------------------------


def answers(
    folder: Path, what: str, *, schedule: dict[str, Any] | None = None, played: Scenario | None = None, every_account: bool = False
) -> tuple[Pipeline, list[BrokerSnapshot]]:
    """Play a day, with a fault of answers, then let the bridge read one account or all."""
    pipeline = Pipeline(played or scenario(schedule=[{"at_report": 1, **schedule}] if schedule else []), folder)
    pipeline.venue.start()
    try:
        with pipeline.session():
            while not pipeline.venue.finished:
                assert pipeline.venue.error is None
            found = pipeline.ask(what, account=None if every_account else STOCK, begin_date=20594, end_date=20594)
            pipeline.catch_up()
    finally:
        pipeline.venue.stop()
    pipeline.settle()
    return pipeline, found


def held(pipeline: Pipeline) -> dict[str, int]:
    """Return the NET rows of the stock account that are not flat, by symbol and book."""
    net = [state for state in pipeline.positions() if state.account == STOCK and state.strategy_id == "*" and state.quantity]
    return {f"{state.symbol} {state.book}": state.quantity for state in net}


BOOKS = {"Cash": "cash", "MarginTrading": "margin", "ShortSelling": "short"}


def told(found: list[BrokerSnapshot]) -> dict[str, int]:
    rows: Counter[str] = Counter()
    for row in (row for answer in found for row in answer.positions):
        rows[f"{row.symbol} {BOOKS[row.order_cond]}"] += row.quantity
    return dict(rows)


def test_the_brokers_positions_are_the_ledgers_net_rows(tmp_path: Path) -> None:
    pipeline, found = answers(tmp_path, "POSITIONS")

    assert [answer.outcome for answer in found] == ["OK"]
    assert len(held(pipeline)) > 3
    assert told(found) == held(pipeline)
    markers = [record.marker_id for record in pipeline.raw() if record.kind == "MARKER" and record.marker_id.startswith("ask-1-0/")]
    assert markers == [found[0].marker_before, found[0].marker_after]
    # The ledger answers both markers with its book at that point of the stream.
    books = {one.marker_id: one for one in pipeline.read("exec.snapshots.v1", PositionSnapshot) if one.account == STOCK}
    before, after = books[found[0].marker_before], books[found[0].marker_after]
    assert before.digest == after.digest
    assert before.source_offset < after.source_offset
    net = {f"{row.symbol} {row.book}": row.quantity for row in after.positions if row.strategy_id == "*" and row.quantity}
    assert told(found) == net


LIES: dict[FaultKind, Callable[[dict[str, int], dict[str, int]], bool]] = {
    "positions_empty": lambda told, held: not told,
    "positions_half": lambda told, held: 0 < len(told) < len(held),
    "positions_lots": lambda told, held: told != held and sum(map(abs, told.values())) < sum(map(abs, held.values())),
    "positions_two_rows": lambda told, held: told == held,
    "positions_expired": lambda told, held: len({key.split()[0] for key in held} - {key.split()[0] for key in told}) == 1,
}


@pytest.mark.parametrize("kind", LIES)
def test_a_wrong_answer_about_positions_travels_as_it_was_and_moves_no_row(kind: FaultKind, tmp_path: Path) -> None:
    pipeline, found = answers(tmp_path, "POSITIONS", schedule={"kind": kind, "count": 20})

    assert [answer.outcome for answer in found] == ["OK"]
    assert pipeline.faults(kind)
    assert LIES[kind](told(found), held(pipeline))
    pipeline.verify()


def test_an_answer_that_lacks_the_latest_fill_travels_as_it_was_and_moves_no_row(tmp_path: Path) -> None:
    pipeline, found = answers(tmp_path, "POSITIONS", schedule={"kind": "positions_stale", "count": 20})

    latest = [fill for fill in pipeline.venue.truth()["fills"] if fill["account"] == STOCK][-1]
    expected, key = held(pipeline), f"{latest['symbol']} {latest['book']}"
    expected[key] = expected.get(key, 0) - latest["side"] * latest["units"]
    assert told(found) == {name: quantity for name, quantity in expected.items() if quantity}
    pipeline.verify()


def test_a_book_behind_its_callbacks_travels_as_it_was_and_moves_no_row(tmp_path: Path) -> None:
    pipeline, found = answers(tmp_path, "POSITIONS", schedule={"kind": "book_behind", "count": 20, "fills": 4})

    assert told(found) != held(pipeline)
    pipeline.verify()


def test_a_failed_answer_says_that_nothing_is_known(tmp_path: Path) -> None:
    pipeline, found = answers(tmp_path, "POSITIONS", schedule={"kind": "positions_failed", "count": 20, "error": "ServerError"})

    assert [(answer.outcome, answer.positions) for answer in found] == [("FAILED", ())]
    assert found[0].detail
    pipeline.verify()


@pytest.mark.parametrize(
    ("error", "outcome"), [("ShioajiTimeoutError", "TIMEOUT"), ("ServerError", "FAILED"), ("ShioajiConnectionError", "FAILED")]
)
def test_a_call_that_raises_is_an_answer_that_says_so(error: str, outcome: str, tmp_path: Path) -> None:
    schedule = {"kind": "call_raises", "method": "list_positions", "count": 1, "error": error}
    pipeline, found = answers(tmp_path, "POSITIONS", schedule=schedule)

    assert [answer.outcome for answer in found] == [outcome]
    pipeline.verify()


def test_a_slow_call_is_waited_for(tmp_path: Path) -> None:
    pipeline, found = answers(tmp_path, "POSITIONS", schedule={"kind": "call_slow", "method": "list_positions", "count": 1, "lag_s": 0.3})

    assert [answer.outcome for answer in found] == ["OK"]
    assert found[0].ended_ts - found[0].began_ts >= 300_000
    assert told(found) == held(pipeline)


def test_an_order_list_with_other_deal_numbers_is_evidence_and_makes_no_fill(tmp_path: Path) -> None:
    pipeline, found = answers(tmp_path, "ORDERS", schedule={"kind": "trades_other_ids", "count": 20})

    rows = [row for answer in found for row in answer.orders]
    assert sum(row.deals for row in rows) == len([fill for fill in pipeline.fills() if fill.account == STOCK])
    pipeline.verify()


def test_orders_of_yesterday_that_come_back_as_new_are_no_orders_of_today(tmp_path: Path) -> None:
    sessions = [{"start": "2026-05-21T09:00", "events": 700}, {"start": "2026-05-22T09:00", "events": 700}]
    schedule = [{"kind": "trades_yesterday", "at_s": 0, "count": 1000}]
    pipeline, found = answers(tmp_path, "ORDERS", played=scenario(sessions=sessions, schedule=schedule), every_account=True)

    assert pipeline.faults("trades_yesterday")
    listed = {row.order_id for answer in found for row in answer.orders}
    today = {order["order_id"] for order in pipeline.venue.truth()["orders"] if order["trading_date"] == "2026-05-22"}
    assert listed == today
    pipeline.verify()


# --- everything at once ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_all_faults_of_delivery_and_link_at_once_end_in_the_brokers_book(seed: int, tmp_path: Path) -> None:
    pipeline = played(
        tmp_path,
        seed=seed,
        delivery={"duplicate": 0.05, "new_receipt": 0.02, "deal_before_order": 0.1, "late": 0.03, "reorder": 0.05, "drop": 0.05},
        connection={"disconnect": 0.002, "disconnect_s": 2, "session_down": 0.001, "event_id_reset": 0.002},
        answers={"records_without_receipt": 0.2, "call_raises": 0.05},
        sessions=[{"start": "2026-05-21T09:00", "events": 4000}],
    )

    assert {fault["kind"] for fault in pipeline.venue.truth()["faults"]} >= {"drop", "duplicate", "late", "lost"}
    pipeline.verify()
