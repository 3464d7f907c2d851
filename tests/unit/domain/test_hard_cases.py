"""The cases in which position keepers are known to go wrong, one test each, through the whole domain.

`docs/hard-cases.md` lists them all, with those that belong elsewhere.
"""

import re
from typing import Any

import msgspec
import pytest

import oracle
from corrections import DAY_US, MICROS, correction
from execpos import settings
from execpos.domain import ids, opening, positions
from execpos.domain.opening import Holding, Traded
from scenarios import Plan, Record, account_of, deal, fill_id, intent, report
from state import Harness, assert_same

RULES = msgspec.structs.replace(settings.load(None).rules(), cost_methods=oracle.METHODS)
BUY = Plan(1, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "", "Buy")
SELL = Plan(2, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "", "Sell")
KEY = (account_of(BUY), "2890", "cash")


def world(*log: Record) -> Harness:
    return Harness(RULES).run(log)


def held(harness: Harness) -> dict[str, int]:
    """Open quantity by strategy of the one key that most cases are about."""
    return {key[3]: position.row.quantity for key, position in harness.rows().items() if key[:3] == KEY and position.row.quantity}


def net(harness: Harness) -> positions.Row:
    return harness.rows()[(*KEY, ids.NET)].row


def quality(harness: Harness) -> str:
    return harness.rows()[(*KEY, ids.NET)].quality


def classes(harness: Harness) -> list[str]:
    return [outcome.disposition for outcome in harness.outcomes]


def answers(harness: Harness) -> list[tuple[str, str]]:
    return [(outcome.outcome, outcome.reason) for outcome in harness.committed.outcomes]


def again(record: Record, **changes: Any) -> Record:
    """A callback once more, as the broker's records have it."""
    return ("callback", f"CATCHUP_{record[1]}", record[2] | changes)


def adjust(correction_id: str, quantity: int, price: int = 0, **fields: Any) -> Record:
    return correction(correction_id, "ADJUST", **{"quantity": quantity, "price": price, "ts": DAY_US + 600 * MICROS} | fields)


def test_case_02_a_true_up_of_a_position_that_moved_meanwhile_is_refused() -> None:
    harness = world(deal(BUY, 1, "Buy", 5, 20.0, "d1"))
    read_at = harness.rows()[(*KEY, ids.NET)].version

    # The broker says 3 when we hold 5; before the correction is applied, two of them are sold.
    harness.run([deal(SELL, 2, "Sell", 2, 20.0, "d2"), adjust("c1", -2, expected_net_version=read_at)])

    assert answers(harness) == [("REJECTED", "stale_version")]
    assert net(harness).quantity == 3


def test_case_03_the_real_fill_takes_the_place_of_the_one_that_was_inferred() -> None:
    real = deal(BUY, 1, "Buy", 5, 20.0, "d1")
    began = round(real[2]["ts"] * MICROS) + 1

    harness = world(adjust("c1", 5, 21 * MICROS, read_began_ts=began, read_ended_ts=began + MICROS), real)

    assert held(harness) == {"UNASSIGNED": 5, "*": 5}
    # At the price of the real one.
    assert net(harness).open_cost == 100 * MICROS
    newest = {fill.fill_id: fill for fill in harness.committed.fills}
    assert sorted((fill.cause, fill.voided) for fill in newest.values()) == [("CALLBACK", False), ("VOID", True)]


def test_case_04_a_fill_whose_transaction_was_aborted_counts_when_it_comes_again() -> None:
    harness = Harness(RULES)
    harness.feed(deal(BUY, 1, "Buy", 5, 20.0, "d1"))
    harness.rollback()
    assert harness.rows() == {}

    harness.run([deal(BUY, 1, "Buy", 5, 20.0, "d1")])

    assert classes(harness) == ["fill", "fill"]
    assert held(harness) == {"UNASSIGNED": 5, "*": 5}


def test_case_05_a_deal_before_its_order_counts_and_finds_its_strategy_later() -> None:
    memo = BUY._replace(custom_field="alpha")

    harness = world(deal(BUY, 1, "Buy", 2, 20.0, "d1", custom_field=""), report(memo, "New", 5, "o1"))

    assert held(harness) == {"alpha": 2, "*": 2}
    assert (harness.committed.orders[-1].status, harness.committed.orders[-1].leaves) == ("PART_FILLED", 3)


def test_case_06_partial_fills_share_the_order_s_number_and_each_of_them_counts() -> None:
    harness = world(*(deal(BUY, seq, "Buy", 1, 20.0, f"d{seq}") for seq in (1, 2, 3)))

    assert {fill.seqno for fill in harness.committed.fills} == {BUY.seqno}
    assert net(harness).quantity == 3


def test_case_07_both_sides_of_a_self_trade_count_though_the_exchange_gives_them_one_number() -> None:
    harness = world(deal(BUY, 7, "Buy", 5, 20.0, "d1"), deal(SELL, 7, "Sell", 5, 20.0, "d2"))

    row = net(harness)
    assert classes(harness) == ["fill", "fill"]
    assert (row.quantity, row.day_buy_quantity, row.day_sell_quantity) == (0, 5, 5)


def test_case_08_a_fill_through_zero_stays_one_fill_and_is_known_when_it_comes_again() -> None:
    flip = deal(SELL, 2, "Sell", 8, 21.0, "d2")

    harness = world(deal(BUY, 1, "Buy", 5, 20.0, "d1"), flip, flip, again(flip, event_id=""))

    assert classes(harness) == ["fill", "fill", "duplicate", "duplicate"]
    assert len(harness.committed.deltas) == 2
    row = net(harness)
    assert (row.quantity, row.open_cost, row.realized) == (-3, -63 * MICROS, 5 * MICROS)


def test_case_09_an_order_that_nobody_answered_for_stays_fillable() -> None:
    # No report of it ever came; a time-out rejects nothing here.
    harness = world(intent(BUY, "alpha"), deal(BUY, 1, "Buy", 2, 20.0, "d1"), report(BUY, "New", 5, "o1", op_code="88"))
    harness.run([deal(BUY, 2, "Buy", 1, 20.0, "d2")])

    assert held(harness) == {"alpha": 3, "*": 3}


@pytest.mark.parametrize(("op_type", "op_code", "status"), [("Cancel", "00", "CANCELLED"), ("New", "88", "REJECTED")])
def test_case_10_a_fill_after_the_end_of_its_order_counts_in_order_and_position_alike(op_type: str, op_code: str, status: str) -> None:
    ended = [report(BUY, "New", 5, "o1"), report(BUY, op_type, 5, "o2", op_code=op_code, cancelled=5 * (op_type == "Cancel"))]

    harness = world(*ended, deal(BUY, 1, "Buy", 2, 20.0, "d1"))

    order = next(iter(harness.pipeline.accounts[KEY[0]].orders.values()))
    assert (order.status, order.cum_filled) == (status, 2)
    assert net(harness).quantity == 2


def test_case_11_fills_that_miss_their_opening_end_in_the_broker_s_average_once_it_is_inferred() -> None:
    log = [deal(BUY, 1, "Buy", 50, 12.0, "d1"), deal(SELL, 2, "Sell", 30, 13.0, "d2")]
    broker = Holding(120, 10_500_000)
    found = opening.opening(broker, [Traded(50, 12 * MICROS), Traded(-30, 13 * MICROS)], "average")

    harness = world(*log, correction("c1", "OPENING", quantity=found.quantity, price=found.price))

    row = net(harness)
    assert answers(harness) == [("APPLIED", "")]
    assert Holding(row.quantity, positions.average_price(row, 1)) == broker
    assert quality(harness) == "ESTIMATED"


def test_case_12_a_warm_start_meets_the_day_s_fills_again_and_none_counts_twice() -> None:
    log = [deal(BUY, 1, "Buy", 5, 20.0, "d1"), deal(SELL, 2, "Sell", 3, 21.0, "d2")]
    live = world(*log)

    restarted = live.restored().run([again(record) for record in log])
    restarted.run(
        [correction("c1", "OPENING", quantity=-2, price=20 * MICROS), correction("c2", "OPENING", quantity=-2, price=20 * MICROS)]
    )

    assert classes(restarted) == ["duplicate", "duplicate"]
    # One opening balance, and no other on top of it.
    assert answers(restarted) == [("APPLIED", ""), ("REJECTED", "not_opening")]


def test_case_13_a_partly_filled_order_counts_by_its_fills_alone() -> None:
    harness = world(
        deal(SELL, 1, "Sell", 5, 20.0, "d1"),
        report(BUY, "New", 9, "o1"),
        deal(BUY, 2, "Buy", 4, 20.0, "d2"),
        report(BUY, "UpdateQty", 9, "o2"),
    )

    assert net(harness).quantity == -1
    assert harness.committed.orders[-1].leaves == 5


def test_case_15_positions_of_one_symbol_on_several_shelves_never_net() -> None:
    conditions = {"Cash": "cash", "MarginTrading": "margin", "ShortSelling": "short", "SBLShort": "sbl", "Emerging": "emerging"}
    plans = [BUY._replace(number=number, order_cond=condition) for number, condition in enumerate(conditions)]

    harness = world(*(deal(plan, seq, "Sell" if seq % 2 else "Buy", seq, 20.0, "") for seq, plan in enumerate(plans, 1)))

    found = {key[2]: position.row.quantity for key, position in harness.rows().items() if key[3] == ids.NET}
    assert found == {book: seq * (-1 if seq % 2 else 1) for seq, book in enumerate(conditions.values(), 1)}


def test_case_16_the_same_fills_found_again_in_each_cycle_change_nothing() -> None:
    first = deal(BUY, 1, "Buy", 5, 20.0, "d1")
    harness = world(first)
    before = net(harness)

    harness.run([again(first, event_id=receipt) for receipt in ("", "v2:1", "", "v2:2")])

    assert classes(harness) == ["fill", *["duplicate"] * 4]
    assert net(harness) == before
    assert len(harness.committed.deltas) == 1


def test_case_17_a_difference_belongs_to_nobody_until_somebody_says_so() -> None:
    log = [deal(BUY, 1, "Buy", 5, 20.0, "d1"), intent(BUY, "alpha"), deal(SELL, 2, "Sell", 2, 20.0, "d2"), intent(SELL, "beta")]

    harness = world(*log, adjust("c1", 4, 20 * MICROS))
    assert held(harness) == {"alpha": 5, "beta": -2, "UNASSIGNED": 4, "*": 7}

    harness.run([correction("c2", "TRANSFER", strategy_id="UNASSIGNED", to_strategy_id="beta", quantity=4)])
    assert held(harness) == {"alpha": 5, "beta": 2, "*": 7}


@pytest.mark.parametrize("voids_first", [True, False])
def test_case_18_voids_before_and_after_their_fills_leave_order_and_position_agreeing(*, voids_first: bool) -> None:
    fills = [deal(BUY, 1, "Buy", 60, 20.0, "d1"), deal(BUY, 2, "Buy", 40, 21.0, "d2"), deal(BUY, 3, "Buy", 10, 22.0, "d3")]
    voids: list[Record] = [("void", fill_id(BUY, 1)), ("void", fill_id(BUY, 3))]

    harness = world(*(voids + fills if voids_first else fills + voids))

    order = next(iter(harness.pipeline.accounts[KEY[0]].orders.values()))
    assert (order.cum_filled, net(harness).quantity, net(harness).open_cost) == (40, 40, 840 * MICROS)


def test_case_19_a_fill_that_fails_days_later_is_still_known_by_name_and_can_be_voided() -> None:
    later = BUY._replace(number=3, session=8)

    harness = world(deal(BUY, 1, "Buy", 5, 20.0, "d1"), deal(later, 2, "Buy", 1, 30.0, "d2"))
    harness.run([correction("c1", "VOID", fill_id=fill_id(BUY, 1), symbol="", book="", ts=DAY_US + 4 * 86_400 * MICROS)])

    assert answers(harness) == [("APPLIED", "")]
    assert (net(harness).quantity, net(harness).open_cost) == (1, 30 * MICROS)


def test_case_20_fills_of_one_moment_have_the_order_of_the_log_for_good() -> None:
    log = [deal(plan, seq, side, 3, price, "", ts=BUY_TS) for seq, (plan, side, price) in enumerate(SAME_MOMENT, 1)]

    live = world(*log)

    assert [fill.fill_seq for fill in live.committed.fills] == [1, 2, 3]
    assert_same(live.restored().dump(), live.dump())


BUY_TS = deal(BUY, 1, "Buy", 1, 1.0, "")[2]["ts"]
SAME_MOMENT = [(BUY, "Buy", 20.0), (SELL, "Sell", 21.0), (BUY._replace(number=3), "Buy", 22.0)]


def test_case_21_a_fill_that_was_never_sent_counts_when_the_records_are_read() -> None:
    sent, lost = deal(BUY, 1, "Buy", 5, 20.0, "d1"), deal(BUY, 2, "Buy", 3, 21.0, "d2")

    harness = world(sent, again(sent), again(lost))

    assert classes(harness) == ["fill", "duplicate", "fill"]
    assert (net(harness).quantity, harness.committed.fills[-1].cause) == (8, "CATCHUP")


def test_case_22_a_report_of_another_operation_neither_brings_nor_hides_a_fill() -> None:
    harness = world(
        report(BUY, "New", 5, "o1"),
        report(BUY, "UpdatePrice", 5, "o2"),
        report(BUY, "Cancel", 5, "o3", cancelled=3),
        deal(BUY, 1, "Buy", 2, 20.0, "d1"),
    )

    order = next(iter(harness.pipeline.accounts[KEY[0]].orders.values()))
    assert (order.status, order.cum_filled, order.cancelled, order.leaves) == ("CANCELLED", 2, 3, 0)
    assert net(harness).quantity == 2


def test_case_23_a_liquidation_by_the_broker_has_no_order_of_ours_and_counts() -> None:
    forced = SELL._replace(number=99)

    harness = world(deal(BUY, 1, "Buy", 5, 20.0, "d1"), intent(BUY, "alpha"), deal(forced, 2, "Sell", 5, 18.0, "d2"))

    assert held(harness) == {"alpha": 5, "UNASSIGNED": -5}
    assert (net(harness).quantity, net(harness).realized) == (0, -10 * MICROS)


def test_case_24_an_order_id_of_another_day_names_another_order_and_another_owner() -> None:
    tomorrow = BUY._replace(session=2)

    harness = world(
        intent(BUY, "alpha"), deal(BUY, 1, "Buy", 5, 20.0, "d1"), intent(tomorrow, "beta"), deal(tomorrow, 1, "Sell", 2, 21.0, "d1-next")
    )

    assert held(harness) == {"alpha": 5, "beta": -2, "*": 3}
    assert len(harness.pipeline.accounts[KEY[0]].orders) == 2


def test_case_25_an_old_report_that_is_read_again_takes_no_owner_and_no_order_away() -> None:
    new, cancel = report(BUY, "New", 5, "o1"), report(BUY, "Cancel", 5, "o2", cancelled=3)
    log = [new, intent(BUY, "alpha"), intent(BUY, "beta"), deal(BUY, 1, "Buy", 1, 20.0, "d1"), cancel]

    harness = world(*log, again(new), again(cancel), again(deal(BUY, 2, "Buy", 1, 21.0, "d2")))

    # The later of two intents holds, and the fill that was missed still finds it after the cancellation.
    assert held(harness) == {"beta": 2, "*": 2}
    order = next(iter(harness.pipeline.accounts[KEY[0]].orders.values()))
    assert (order.status, order.cum_filled) == ("CANCELLED", 2)


@pytest.mark.parametrize(
    ("quantity", "lot", "expected"),
    [(2, "Common", 2000), (2, "Odd", 2), (2, "IntradayOdd", 2), (2, "Fixing", 2000), (2, "BlockTrade", 2000)],
)
def test_case_26_lots_and_shares_never_mix(quantity: int, lot: str, expected: int) -> None:
    harness = world(deal(BUY._replace(order_lot=lot), 1, "Buy", quantity, 20.0, "d1"), deal(SELL, 2, "Sell", 1, 20.0, "d2"))

    assert net(harness).quantity == expected - 1


def test_case_27_an_overfill_by_a_fill_with_a_new_name_counts_and_is_flagged() -> None:
    harness = world(report(BUY, "New", 3, "o1"), deal(BUY, 1, "Buy", 3, 20.0, "d1"), deal(BUY, 2, "Buy", 3, 20.0, "d2"))

    assert (net(harness).quantity, quality(harness)) == (6, "CONFLICT")
    order = next(iter(harness.pipeline.accounts[KEY[0]].orders.values()))
    assert (order.overfilled, order.leaves) == (True, 0)


def test_the_table_of_cases_names_each_of_them_and_no_test_that_does_not_exist(request: pytest.FixtureRequest) -> None:
    text = (request.config.rootpath / "docs" / "hard-cases.md").read_text("utf-8")
    rows = {int(number): row for number, row in re.findall(r"^\| (\d+) \|(.*)$", text, re.MULTILINE)}

    assert list(rows) == list(range(1, 26))
    for name, path in re.findall(r"`(test_\w+)` in `([\w/.]+)`", text):
        assert f"def {name}(" in (request.config.rootpath / path).read_text("utf-8"), name
    here = {int(number) for number in re.findall(r"test_case_(\d+)", text)}
    assert here == {int(name[10:12]) for name in globals() if name.startswith("test_case_")}
    for number, row in rows.items():
        assert f"test_case_{number:02d}" in row or "reconciliation" in row, number
