"""Faults of answers, at a given moment and by chance; and the answers when nothing is wrong."""

from collections.abc import Callable
from typing import Any

import pytest

from execpos.brokers.sim.errors import BadRequestError, ServerError, ShioajiTimeoutError, SystemMaintenance

Make = Callable[..., Any]


def lying(make: Make, kind: str, **fields: Any) -> Any:
    """Return a played day whose first answer of the kind is wrong."""
    return make(schedule=[{"kind": kind, "at_report": 300, "count": 1} | fields]).login().play()


def test_positions_are_those_of_the_truth(stage: Make) -> None:
    played = stage(trading={"margin_share": 0.2, "odd_share": 0.3}).login().play()

    for account in played.api.list_accounts():
        assert played.answered(account) == played.held(account) != {}


def test_an_empty_answer(stage: Make) -> None:
    played = lying(stage, "positions_empty")
    account = played.account()

    assert played.api.list_positions(account) == []
    assert played.answered(account) == played.held(account)
    assert [(fault["account"], fault["detail"]) for fault in played.faults("positions_empty")] == [
        (f"S|9A95|{account.account_id}", "list_positions")
    ]


def test_a_failed_answer(stage: Make) -> None:
    played = lying(stage, "positions_failed", error="SystemMaintenance")

    with pytest.raises(SystemMaintenance):
        played.api.list_positions(played.account())
    assert played.answered(played.account()) == played.held(played.account())
    assert len(played.faults("positions_failed")) == 1


def test_half_an_answer(stage: Make) -> None:
    played = lying(stage, "positions_half")
    half, whole = played.api.list_positions(played.account(), unit="Share"), played.api.list_positions(played.account(), unit="Share")

    assert [(row.code, row.quantity) for row in half] == [(row.code, row.quantity) for row in whole[::2]]
    assert [row.id for row in half] == list(range(len(half)))
    assert len(played.faults("positions_half")) == 1


def test_lots_where_shares_were_asked_for(stage: Make) -> None:
    played = lying(stage, "positions_lots")
    futures = played.account("F")
    assert played.answered(futures) == played.held(futures)
    lots, shares = played.api.list_positions(played.account(), unit="Share"), played.api.list_positions(played.account(), unit="Share")

    assert [row.quantity for row in lots] == [row.quantity // 1000 for row in shares]
    assert [row.price for row in lots] == [row.price for row in shares]
    assert len(played.faults("positions_lots")) == 1


def test_an_answer_without_the_latest_fill(stage: Make) -> None:
    played = lying(stage, "positions_stale")
    account = played.account()
    latest = [fill for fill in played.venue.truth()["fills"] if fill["account"].endswith(account.account_id)][-1]
    key = (latest["symbol"], latest["book"])
    stale = played.answered(account)

    assert played.held(account).get(key, 0) - stale.get(key, 0) == latest["side"] * latest["units"]
    assert len(played.faults("positions_stale")) == 1


def test_one_row_that_comes_as_two(stage: Make) -> None:
    played = lying(stage, "positions_two_rows")
    account = played.account("F")
    rows = played.api.list_positions(account)

    assert rows[0].code == rows[1].code
    assert {rows[0].direction.value, rows[1].direction.value} == {"Buy", "Sell"}
    net = sum(row.quantity * (1 if row.direction == "Buy" else -1) for row in rows[:2])
    assert net == played.held(account)[rows[0].code, "derivative"]
    for row in rows[:2]:
        lots = played.api.list_position_detail(account, row.id)
        assert sum(lot.quantity for lot in lots) == row.quantity
        assert {lot.direction for lot in lots} <= {row.direction, rows[0].direction}
    assert len(played.faults("positions_two_rows")) == 1


def test_a_contract_whose_rows_are_gone(stage: Make) -> None:
    played = lying(stage, "positions_expired")
    account = played.account("F")
    gone = played.answered(account)
    whole = played.answered(account)

    assert whole == played.held(account)
    assert len(whole) - len(gone) == 1
    assert len(played.faults("positions_expired")) == 1


def test_deals_with_other_numbers_and_times_than_the_callbacks(stage: Make) -> None:
    played = lying(stage, "trades_other_ids")
    account = played.account("F")

    def deals() -> dict[str, list[tuple[str, float]]]:
        played.api.update_status(account)
        mine = [trade for trade in played.api.list_trades() if trade.order.account.account_id == account.account_id]
        return {trade.order.id: [(deal.seq, deal.ts) for deal in trade.status.deals] for trade in mine}

    other, right = deals(), deals()

    assert other.keys() == right.keys()
    filled = [key for key, deals in right.items() if deals]
    assert filled
    for key in filled:
        assert [seq for seq, _ in other[key]] == [f"{number:06d}" for number in range(1, len(right[key]) + 1)]
        assert [ts for _, ts in other[key]] == [pytest.approx(ts + 0.5) for _, ts in right[key]]
    assert len(played.faults("trades_other_ids")) == 1


def test_yesterdays_filled_orders_come_back_as_new(stage: Make) -> None:
    days = [{"start": "2026-05-21T09:00", "events": 600}, {"start": "2026-05-22T09:00", "events": 300}]
    played = stage(sessions=days, schedule=[{"kind": "trades_yesterday", "at_s": 86400, "count": 1}]).login().play()
    account = played.account()
    played.api.update_status(account)
    old = [trade for trade in played.api.list_trades() if trade.status.status == "PendingSubmit"]
    filled = {order["order_id"] for order in played.venue.truth()["orders"] if order["trading_date"] == "2026-05-21" and order["filled"]}

    assert old
    assert all(trade.order.ordno == "" and not trade.status.deals and trade.order.id in filled for trade in old)
    assert len(played.faults("trades_yesterday")) == 1


def test_a_call_raises_what_the_schedule_says(stage: Make) -> None:
    played = lying(stage, "call_raises", method="order_deal_records", error="ServerError")
    assert played.answered(played.account()) == played.held(played.account())

    with pytest.raises(ServerError, match="order_deal_records failed"):
        played.api.order_deal_records(played.account())
    assert played.api.order_deal_records(played.account())
    assert [fault["detail"] for fault in played.faults("call_raises")] == ["order_deal_records"]


def test_a_slow_answer_comes_late_or_not_in_time(stage: Make) -> None:
    played = stage(schedule=[{"kind": "call_slow", "at_report": 300, "count": 2, "lag_s": 7}]).login().play()
    played.api.list_positions(played.account(), timeout=8000)
    assert played.slept == [7]

    with pytest.raises(ShioajiTimeoutError, match="no answer within 5 s"):
        played.api.list_positions(played.account(), timeout=5000)
    assert played.slept == [7, 5]
    assert len(played.faults("call_slow")) == 2


def test_every_kind_comes_by_chance_too(stage: Make) -> None:
    kinds = ("empty", "failed", "half", "lots", "stale", "two_rows", "expired")
    for kind in kinds:
        played = stage(answers={f"positions_{kind}": 0.5}, limits=False).login().play()
        for _ in range(20):
            try:
                played.api.list_positions(played.account(), unit="Share")
            except ServerError:
                assert kind == "failed"
        assert 0 < len(played.faults(f"positions_{kind}")) < 20
    played = stage(answers={"call_raises": 0.3, "call_slow": 0.3, "trades_other_ids": 0.5}, limits=False)
    for _ in range(20):
        try:
            played.login()
            played.api.update_status(played.account())
        except ServerError:
            continue
    played.play()
    assert {"call_raises", "call_slow"} <= {fault["kind"] for fault in played.venue.truth()["faults"]}


def test_records_may_come_without_receipts_and_always_the_same_ones(stage: Make) -> None:
    played = stage(answers={"records_without_receipt": 0.5}).login().play()
    first = [event["event_id"] for _, event in played.api.order_deal_records(played.account())]

    assert first == [event["event_id"] for _, event in played.api.order_deal_records(played.account())]
    assert 0.3 < first.count("") / len(first) < 0.7


def test_common_cuts_off_odd_lots_and_share_does_not(stage: Make) -> None:
    played = stage(trading={"odd_share": 1.0, "margin_share": 0.0}).login().play()
    account = played.account()
    shares = {row.code: row for row in played.api.list_positions(account, unit="Share")}
    lots = {row.code: row for row in played.api.list_positions(account)}
    assert shares.keys() == lots.keys()

    assert any(row.quantity < 1000 for row in shares.values())
    for code, row in lots.items():
        assert (row.quantity, row.price) == (shares[code].quantity // 1000, shares[code].price)


def test_details_belong_to_the_last_list_and_sum_to_its_rows(stage: Make) -> None:
    played = stage().login().play()
    account = played.account()
    rows = played.api.list_positions(account, unit="Share")

    for row in rows:
        lots = played.api.list_position_detail(account, row.id)
        assert sum(lot.quantity for lot in lots) == row.quantity
        assert sum(lot.price for lot in lots) == pytest.approx(row.price * row.quantity, abs=0.01 * row.quantity)
    with pytest.raises(BadRequestError, match="not of the last list"):
        played.api.list_position_detail(account, len(rows))


def test_profits_have_details_and_a_summary(stage: Make) -> None:
    played = stage().login().play()
    for account in (played.account(), played.account("F")):
        rows = played.api.list_profit_loss(account, "2026-05-21", "2026-05-21", unit="Share")
        summary = played.api.list_profit_loss_summary(account)

        assert rows
        assert summary.total.pnl == pytest.approx(sum(row.pnl for row in rows))
        assert sum(each.quantity for each in summary.profitloss_summary) == sum(row.quantity for row in rows)
        detail = played.api.list_profit_loss_detail(account, rows[0].id, unit="Share")
        assert sum(each.quantity for each in detail) == rows[0].quantity
        assert played.api.list_profit_loss(account, "2026-05-20", "2026-05-20") == []


def test_money_answers_have_the_shapes_of_the_library(stage: Make) -> None:
    played = stage().login().play()
    margin = played.api.margin()

    assert len(margin) == 26
    assert margin.equity - margin.initial_margin == pytest.approx(margin.available_margin)
    assert [each.T for each in played.api.settlements()] == [0, 1, 2]
    assert played.api.settlements()[2].amount != 0
    assert played.api.account_balance().errmsg == ""
    limits = played.api.trading_limits()
    assert limits.trading_limit - limits.trading_used == limits.trading_available
    assert played.api.usage().connections == 1
    with pytest.raises(BadRequestError):
        played.api.margin(played.account())


def test_contracts_and_snapshots(stage: Make) -> None:
    played = stage().login().play()
    contracts = played.api.contracts
    future = next(iter(contracts.futures))

    assert (len(contracts.stocks), len(contracts.futures), len(contracts.options)) == (8, 3, 2)
    assert contracts.stocks["2330"].unit == 1000
    assert future.multiplier in {10, 50, 200}
    (snapshot,) = played.api.snapshots([future])
    assert snapshot.code == future.code
    assert snapshot.close > 0


def test_records_without_the_deals_that_no_callback_has_told_of(stage: Make) -> None:
    played = stage(delivery={"drop": 0.2}, schedule=[{"kind": "records_incomplete", "at_report": 300, "count": 2}]).login().play()
    account = played.account()
    told = {payload["event_id"] for _, payload in played.heard}
    fills = played.venue.truth()["fills"]

    def deals(records: Any) -> set[str]:
        return {event["event_id"] for state, event in records if state.value.endswith("DEAL")}

    def counted() -> int:
        played.api.update_status(account)
        return sum(trade.status.deal_quantity for trade in played.api.list_trades())

    lacking = deals(played.api.order_deal_records(account))
    fewer, all_of_them = counted(), counted()
    whole = deals(played.api.order_deal_records(account))
    assert lacking == whole & told
    assert len(whole - lacking) == sum(not fill["receipts"] and fill["account"].endswith(account.account_id) for fill in fills) > 0
    assert fewer < all_of_them
    assert played.answered(account) == played.held(account)
    assert len(played.faults("records_incomplete")) == 2


def test_the_parts_of_an_order_stay_what_they_were_when_they_were_asked_for(stage: Make) -> None:
    played = stage().login().play()
    played.api.update_status()
    trade = played.api.list_trades()[0]

    assert trade.status is trade["status"]
    assert list(trade.dict()) == trade.keys() == ["contract", "order", "status"]
    assert len(trade) == 3
    assert "order" in trade
    assert "_makers" not in trade
    assert f"id={trade.order.id!r}" in repr(trade)
    for wrong in ("fills", "_makers"):
        with pytest.raises(KeyError):
            trade[wrong]
    with pytest.raises(AttributeError, match="Trade has no field 'fills'"):
        _ = trade.fills
    with pytest.raises(AttributeError, match="read-only"):
        trade.status = None
