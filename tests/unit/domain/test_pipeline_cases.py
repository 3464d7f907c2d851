"""One case a test: what the pipeline makes of a short log that somebody has met or fears."""

from typing import Any

import msgspec
import pytest

import oracle
from execpos import settings
from execpos.domain.events import FillEvent, OrderEvent
from execpos.domain.pipeline import Outcome
from execpos.domain.rules import Attribution, Rules
from scenarios import DAY_S, HALF_DAY_S, Plan, account_of, deal, fill_id, intent, report, session_name
from state import Harness

BASE = settings.load(None).rules()

ODD = Plan(1, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "", "Buy")
LOTS = Plan(2, "S", "2890", "2890", "Cash", "Common", 0, "", "Buy")
MARGIN = Plan(3, "S", "2890", "2890", "MarginTrading", "IntradayOdd", 0, "", "Buy")
CUSTOM = Plan(4, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "alpha", "Buy")
FUTURE = Plan(5, "F", "TMFF6", "TMF", "", "", 0, "", "Buy")
S, F = account_of(ODD), account_of(FUTURE)


def rules(**changes: Any) -> Rules:
    return msgspec.structs.replace(BASE, cost_methods=oracle.METHODS, **changes)


def book(*records: tuple[Any, ...], **changes: Any) -> Harness:
    return Harness(rules(**changes)).run(records)


def held(harness: Harness) -> dict[tuple[str, str, str], int]:
    """Quantities that are not 0, by (symbol, book, strategy)."""
    return {key[1:]: position.row.quantity for key, position in harness.rows().items() if position.row.quantity}


def qualities(harness: Harness) -> dict[tuple[str, str, str], str]:
    return {key[1:]: position.quality for key, position in harness.rows().items()}


def classes(harness: Harness) -> list[str]:
    return [outcome.disposition for outcome in harness.outcomes]


def last(harness: Harness) -> Outcome:
    return harness.outcomes[-1]


def order(harness: Harness) -> OrderEvent:
    return harness.committed.orders[-1]


def fill(harness: Harness) -> FillEvent:
    return harness.committed.fills[-1]


# --- orders and their fills --------------------------------------------------------------------------------------------------------------


def test_a_fill_before_its_order_counts_and_the_order_knows_it() -> None:
    harness = book(deal(ODD, 1, "Buy", 2, 27.0, "d1"), report(ODD, "New", 5, "o1"))

    assert held(harness)["2890", "cash", "UNASSIGNED"] == 2
    assert (order(harness).status, order(harness).cum_filled, order(harness).leaves) == ("PART_FILLED", 2, 3)


def test_a_fill_after_the_cancellation_counts_and_the_order_stays_cancelled() -> None:
    harness = book(
        report(ODD, "New", 5, "o1"),
        report(ODD, "Cancel", 5, "o2", cancelled=5),
        deal(ODD, 1, "Buy", 2, 27.0, "d1"),
        report(ODD, "Other", 5, "o3"),
    )

    assert held(harness)["2890", "cash", "*"] == 2
    assert (order(harness).status, order(harness).cancelled, order(harness).leaves, order(harness).cum_filled) == ("CANCELLED", 5, 0, 2)


def test_a_fill_after_the_rejection_counts() -> None:
    harness = book(report(ODD, "New", 5, "o1", op_code="88"), deal(ODD, 1, "Buy", 2, 27.0, "d1"))

    assert order(harness).status == "REJECTED"
    assert held(harness)["2890", "cash", "UNASSIGNED"] == 2


def test_a_failed_cancel_or_update_leaves_the_order_as_it_was() -> None:
    harness = book(
        report(ODD, "New", 5, "o1"),
        report(ODD, "Cancel", 5, "o2", op_code="99Q9", cancelled=5),
        report(ODD, "UpdateQty", 5, "o3", op_code="99Q9", cancelled=2),
        report(ODD, "UpdatePrice", 5, "o4", op_code="99Q9", price=99.0),
    )

    assert (order(harness).status, order(harness).leaves, order(harness).cancelled) == ("SUBMITTED", 5, 0)
    assert order(harness).price == 27_500_000


def test_cancel_quantity_is_per_operation_and_sums_up() -> None:
    harness = book(
        report(ODD, "New", 9, "o1"), report(ODD, "UpdateQty", 9, "o2", cancelled=2), report(ODD, "UpdateQty", 7, "o3", cancelled=3)
    )

    assert (order(harness).quantity, order(harness).cancelled, order(harness).leaves, order(harness).status) == (9, 5, 4, "SUBMITTED")


def test_a_reduction_down_to_what_is_filled_fills_the_order() -> None:
    harness = book(report(ODD, "New", 9, "o1"), deal(ODD, 1, "Buy", 4, 27.0, "d1"), report(ODD, "UpdateQty", 9, "o2", cancelled=5))

    assert (order(harness).status, order(harness).leaves) == ("FILLED", 0)


@pytest.mark.parametrize("report_first", [True, False])
def test_an_overfill_counts_and_flags_the_row(*, report_first: bool) -> None:
    new, fills = report(ODD, "New", 3, "o1"), [deal(ODD, 1, "Buy", 2, 27.0, "d1"), deal(ODD, 2, "Buy", 2, 27.0, "d2")]

    harness = book(*([new, *fills] if report_first else [*fills, new]))

    assert held(harness)["2890", "cash", "UNASSIGNED"] == 4
    assert qualities(harness) == {("2890", "cash", "UNASSIGNED"): "CONFLICT", ("2890", "cash", "*"): "CONFLICT"}
    assert fill(harness).order_overfilled is report_first
    assert harness.committed.deltas[-1].cause == "QUALITY"


def test_an_overfill_that_a_void_takes_back_flags_nothing_of_an_unknown_symbol() -> None:
    harness = book(deal(ODD, 1, "Buy", 4, 27.0, "d1"), ("void", fill_id(ODD, 2)), report(ODD, "New", 3, "o1"))

    assert ("", "", "UNASSIGNED") not in qualities(harness)
    assert qualities(harness)["2890", "cash", "UNASSIGNED"] == "CONFLICT"


def test_an_early_reject_without_an_order_id_is_an_order_of_its_own() -> None:
    nameless = report(ODD, "New", 5, "o1", op_code="88", id="", seqno="", ordno="")
    nameless[2]["status"]["id"] = ""

    harness = book(nameless)

    assert classes(harness) == ["order"]
    assert (order(harness).order_id, order(harness).status) == ("o1", "REJECTED")


def test_the_same_order_id_on_another_day_is_another_order() -> None:
    tomorrow = ODD._replace(session=2)

    harness = book(report(ODD, "New", 5, "o1"), deal(ODD, 1, "Buy", 5, 27.0, "d1"), report(tomorrow, "New", 5, "o2"))

    assert (order(harness).status, order(harness).cum_filled) == ("SUBMITTED", 0)
    assert order(harness).order_key != harness.committed.orders[0].order_key


# --- duplicates and conflicts ------------------------------------------------------------------------------------------------------------


def test_the_same_fill_counts_once_whatever_its_receipt() -> None:
    again = [deal(ODD, 1, "Buy", 2, 27.0, receipt) for receipt in ("d1", "d1", "d2", "")]

    harness = book(*again, ("callback", "CATCHUP_SDEAL", again[0][2]))

    assert classes(harness) == ["fill", *["duplicate"] * 4]
    assert held(harness)["2890", "cash", "*"] == 2


def test_two_fills_of_one_match_count_both() -> None:
    harness = book(deal(ODD, 1, "Buy", 2, 27.0, "d1", ts=DAY_S), deal(ODD, 2, "Buy", 2, 27.0, "d2", ts=DAY_S))

    assert held(harness)["2890", "cash", "*"] == 4


@pytest.mark.parametrize("change", [{"price": 27.05}, {"quantity": 3}, {"action": "Sell"}, {"order_lot": "Common"}])
def test_the_same_key_with_other_content_is_a_conflict_that_nobody_wins(change: dict[str, Any]) -> None:
    harness = book(deal(ODD, 1, "Buy", 2, 27.0, "d1"), deal(ODD, 1, "Buy", 2, 27.0, "d2", **change))

    assert (last(harness).disposition, last(harness).reason) == ("conflict", "fill_conflict")
    assert last(harness).position_key == f"{S}|2890|cash|UNASSIGNED"
    assert held(harness)["2890", "cash", "*"] == 2
    assert qualities(harness) == {("2890", "cash", "UNASSIGNED"): "CONFLICT", ("2890", "cash", "*"): "CONFLICT"}


def test_a_conflict_marks_the_row_that_holds_the_fill_whoever_owns_it_by_now() -> None:
    harness = book(deal(ODD, 1, "Buy", 2, 27.0, "d1"), intent(ODD, "alpha"), deal(ODD, 1, "Buy", 3, 27.0, "d2"))

    assert qualities(harness)["2890", "cash", "alpha"] == "CONFLICT"
    assert qualities(harness)["2890", "cash", "UNASSIGNED"] == "CONFIRMED"


def test_a_known_receipt_with_another_fill_is_a_conflict() -> None:
    harness = book(deal(ODD, 1, "Buy", 2, 27.0, "d1"), deal(ODD, 2, "Buy", 2, 27.0, "d1"))

    assert (last(harness).disposition, last(harness).reason) == ("conflict", "receipt_conflict")
    assert held(harness)["2890", "cash", "*"] == 2


def test_two_accounts_and_two_markets_never_share_a_key() -> None:
    harness = book(
        deal(ODD, 1, "Buy", 2, 27.0, "d1"),
        deal(ODD, 1, "Buy", 2, 27.0, "d1", account_id="other"),
        deal(ODD, 1, "Buy", 2, 27.0, "d1", broker_id="other"),
        deal(FUTURE._replace(number=1), 1, "Buy", 2, 27.0, "d1"),
    )

    assert classes(harness) == ["fill"] * 4


# --- the window --------------------------------------------------------------------------------------------------------------------------


def test_a_fill_older_than_the_window_is_parked_and_moves_no_window() -> None:
    new, old, edge = ODD._replace(session=12), ODD, ODD._replace(session=2)

    harness = book(*(deal(plan, seq, "Buy", 1, 27.0, "") for seq, plan in enumerate((new, old, edge), 1)))

    assert [(outcome.disposition, outcome.reason) for outcome in harness.outcomes] == [
        ("fill", ""),
        ("parked", "outside_window"),
        ("fill", ""),
    ]
    assert qualities(harness)["2890", "cash", "UNASSIGNED"] == "INCOMPLETE"
    assert held(harness)["2890", "cash", "*"] == 2


@pytest.mark.parametrize(("ahead", "disposition"), [(0, "fill"), (1, "fill"), (2, "parked"), (20, "parked")])
def test_a_fill_more_than_one_session_ahead_of_its_arrival_is_parked(ahead: int, disposition: str) -> None:
    taken_us = (DAY_S + 60) * 1_000_000
    future = (*deal(ODD._replace(session=ahead), 1, "Buy", 1, 27.0, ""), taken_us)

    harness = book(future, (*deal(ODD, 2, "Buy", 1, 27.0, ""), taken_us))

    assert classes(harness) == [disposition, "fill"]
    assert harness.outcomes[0].reason == ("from_future" if disposition == "parked" else "")


def test_an_intent_a_void_and_an_order_report_older_than_the_window_are_parked() -> None:
    harness = Harness(rules())
    harness.run([deal(ODD, 1, "Buy", 1, 27.0, ""), deal(ODD._replace(session=11), 2, "Buy", 1, 27.0, "")])

    late = [harness.feed(record) for record in (intent(ODD, "alpha"), ("void", fill_id(ODD, 1)), report(ODD, "New", 1, "o1"))]

    assert [(outcome.disposition, outcome.reason) for outcome in late if outcome] == [("parked", "outside_window")] * 3
    harness.commit()
    assert held(harness) == {("2890", "cash", "UNASSIGNED"): 2, ("2890", "cash", "*"): 2}


def test_what_left_the_window_is_forgotten_and_stays_in_the_rows() -> None:
    sessions = [deal(ODD._replace(session=half_day), 1, "Buy", 1, 27.0, f"d{half_day}") for half_day in range(60)]

    harness = book(*sessions, *(report(ODD._replace(session=half_day), "New", 1, "") for half_day in range(50, 60)))

    account = harness.pipeline.accounts[S]
    assert held(harness)["2890", "cash", "*"] == 60
    assert (len(account.fills), len(account.fill_log), len(account.receipts), len(account.orders), len(account.fills_of_order)) == (11,) * 5
    assert len(harness.rows()[S, "2890", "cash", "*"].entries) == 11


# --- what cannot become state ------------------------------------------------------------------------------------------------------------


def test_a_combo_leg_is_parked_and_its_key_is_incomplete_and_goes_on() -> None:
    harness = book(deal(FUTURE, 1, "Buy", 1, 100.0, "", combo=True), deal(FUTURE, 2, "Buy", 1, 100.0, ""))

    assert (harness.outcomes[0].disposition, harness.outcomes[0].reason) == ("parked", "combo_leg")
    assert held(harness)["TMFF6", "derivative", "*"] == 1
    assert qualities(harness)["TMFF6", "derivative", "*"] == "INCOMPLETE"


def test_combo_legs_are_booked_where_the_rules_say_so() -> None:
    harness = book(deal(FUTURE, 1, "Sell", 2, -3.5, "", combo=True), combo="legs")

    row = harness.rows()[F, "TMFF6", "derivative", "*"].row
    assert (row.quantity, row.open_cost, row.realized) == (-2, 70_000_000, 0)


@pytest.mark.parametrize(("change", "reason"), [({"order_lot": "Strange"}, "unknown_order_lot"), ({"code": "ZZZ9"}, "unknown_instrument")])
def test_an_unknown_lot_or_instrument_blocks_its_key_and_nothing_is_guessed(change: dict[str, Any], reason: str) -> None:
    harness = book(deal(ODD, 1, "Buy", 2, 27.0, "d1", **change), deal(ODD, 2, "Buy", 2, 27.0, "d2", code=change.get("code", "2890")))

    symbol = change.get("code", "2890")
    assert (harness.outcomes[0].disposition, harness.outcomes[0].reason) == ("dead_letter", reason)
    assert last(harness).reason == ("key_blocked" if symbol == "2890" else reason)
    assert held(harness) == {}
    assert qualities(harness) == {(symbol, "cash", "UNASSIGNED"): "BLOCKED", (symbol, "cash", "*"): "BLOCKED"}


def test_a_blocked_key_parks_what_follows_and_leaves_other_keys_alone() -> None:
    harness = book(
        deal(ODD, 1, "Buy", 1, 27.0, "d1"),
        deal(ODD, 2, "Buy", 1, 27.0, "d2", order_lot="Strange"),
        deal(ODD, 3, "Buy", 1, 27.0, "d3"),
        deal(MARGIN, 4, "Buy", 1, 27.0, "d4"),
        deal(ODD, 1, "Buy", 1, 27.0, "d1"),
    )

    assert [(outcome.disposition, outcome.reason) for outcome in harness.outcomes] == [
        ("fill", ""),
        ("dead_letter", "unknown_order_lot"),
        ("parked", "key_blocked"),
        ("fill", ""),
        ("duplicate", ""),
    ]
    assert held(harness) == {
        ("2890", "cash", "UNASSIGNED"): 1,
        ("2890", "cash", "*"): 1,
        ("2890", "margin", "UNASSIGNED"): 1,
        ("2890", "margin", "*"): 1,
    }


def test_an_unknown_order_condition_blocks_the_unknown_shelf_of_its_symbol() -> None:
    harness = book(deal(ODD, 1, "Buy", 1, 27.0, "", order_cond="Strange"), deal(ODD, 2, "Buy", 1, 27.0, ""))

    assert harness.outcomes[0].reason == "unknown_order_cond"
    assert qualities(harness)["2890", "*", "*"] == "BLOCKED"
    assert held(harness)["2890", "cash", "*"] == 1


def test_a_broken_deal_marks_its_key_where_it_can_be_read_and_else_the_account() -> None:
    harness = book(
        deal(ODD, 1, "Buy", 1, 27.0, "", price="x"), deal(ODD, 1, "Buy", 1, 27.0, "", price="x", code=7), ("callback", "SDEAL", b"{")
    )

    assert [(outcome.disposition, outcome.reason) for outcome in harness.outcomes] == [("dead_letter", "bad_payload")] * 3
    assert [outcome.position_key for outcome in harness.outcomes] == [
        f"{S}|2890|cash|UNASSIGNED",
        f"{S}|*|*|UNASSIGNED",
        f"{S}|*|*|UNASSIGNED",
    ]
    assert set(qualities(harness).values()) == {"INCOMPLETE"}


def test_a_marked_key_has_a_published_row_with_quantity_0() -> None:
    harness = book(deal(ODD, 1, "Buy", 1, 27.0, "", quantity=0))

    states = {state.strategy_id: (state.quantity, state.quality, state.version) for state in harness.committed.positions}
    assert states == {"UNASSIGNED": (0, "INCOMPLETE", 1), "*": (0, "INCOMPLETE", 1)}


def test_a_broken_order_report_moves_no_position_and_marks_none() -> None:
    harness = book(("callback", "SORDER", b"{}"), report(ODD, "New", 1, "", quantity="many"))

    assert classes(harness) == ["dead_letter"] * 2
    assert harness.rows() == {}


def test_an_unknown_kind_is_parked_and_marks_the_account() -> None:
    harness = book(("callback", "SNEWS", deal(ODD, 1, "Buy", 1, 27.0, "")[2]))

    assert (last(harness).disposition, last(harness).reason) == ("parked", "unknown_kind")
    assert qualities(harness) == {("*", "*", "UNASSIGNED"): "INCOMPLETE", ("*", "*", "*"): "INCOMPLETE"}


def test_a_fill_worth_more_than_a_decimal_18_6_holds_is_a_dead_letter() -> None:
    harness = book(deal(ODD, 1, "Buy", 2_000_000, 999_999.0, ""))

    assert (last(harness).disposition, last(harness).reason) == ("dead_letter", "bad_number")


def test_beats_and_markers_are_no_callbacks_and_change_nothing() -> None:
    harness = book(*(("callback", kind, b"") for kind in ("BEAT", "MARKER", "GAP", "CONNECTION")))

    assert classes(harness) == ["control"] * 4
    assert harness.rows() == {}


# --- voids -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("void_first", [True, False])
def test_a_voided_fill_counts_nowhere_also_when_the_void_came_first(*, void_first: bool) -> None:
    pair = [deal(ODD, 1, "Buy", 2, 27.0, "d1"), ("void", fill_id(ODD, 1))]

    harness = book(*(reversed(pair) if void_first else pair), deal(ODD, 2, "Buy", 3, 28.0, "d2"))

    assert held(harness) == {("2890", "cash", "UNASSIGNED"): 3, ("2890", "cash", "*"): 3}
    voided = [event for event in harness.committed.fills if event.fill_id == fill_id(ODD, 1)]
    assert [(event.revision, event.voided) for event in voided] == [(1, void_first), (2, True)]


def test_a_second_void_and_a_repeat_of_a_voided_fill_are_duplicates() -> None:
    harness = Harness(rules()).run([deal(ODD, 1, "Buy", 2, 27.0, "d1"), ("void", fill_id(ODD, 1))])

    again = harness.feed(("void", fill_id(ODD, 1)))
    repeat = harness.feed(deal(ODD, 1, "Buy", 2, 27.0, "d1"))

    assert again is not None
    assert repeat is not None
    assert (again.disposition, repeat.disposition) == ("duplicate", "duplicate")


def test_a_void_takes_the_fill_out_of_its_order() -> None:
    harness = book(
        report(ODD, "New", 2, "o1"), deal(ODD, 1, "Buy", 2, 27.0, "d1"), ("void", fill_id(ODD, 1)), report(ODD, "UpdatePrice", 2, "o2")
    )

    assert (order(harness).cum_filled, order(harness).status, order(harness).leaves) == (0, "SUBMITTED", 2)


def test_a_void_of_another_account_s_fill_is_refused() -> None:
    with pytest.raises(ValueError, match="is not of account"):
        Harness(rules()).pipeline.apply_void(F, fill_id(ODD, 1), Harness(rules())._source(0, 0))


# --- who owns what -----------------------------------------------------------------------------------------------------------------------


def test_two_strategies_in_one_symbol_have_rows_of_their_own_and_net_nets() -> None:
    a, b = ODD, ODD._replace(number=9)

    harness = book(
        intent(a, "alpha"),
        intent(b, "beta"),
        deal(a, 1, "Buy", 5, 10.0, ""),
        deal(b, 2, "Sell", 3, 12.0, ""),
        deal(a, 3, "Sell", 2, 13.0, ""),
    )

    rows = {key[3]: (position.row.quantity, position.row.realized) for key, position in harness.rows().items()}
    # alpha: 5 at 10, 2 of them sold at 13. NET: 5 at 10, 3 sold at 12, 2 sold at 13.
    assert rows == {"alpha": (3, 6_000_000), "beta": (-3, 0), "*": (0, 12_000_000)}


@pytest.mark.parametrize("by_seqno", [True, False])
def test_a_late_intent_moves_the_fills_as_if_they_had_been_booked_right_from_the_start(*, by_seqno: bool) -> None:
    fills = [deal(ODD, 1, "Buy", 2, 27.0, "d1"), deal(MARGIN, 2, "Buy", 1, 28.0, "d2"), deal(ODD, 3, "Sell", 1, 29.0, "d3")]

    early, late = book(intent(ODD, "alpha", by_seqno=by_seqno), *fills), book(*fills, intent(ODD, "alpha", by_seqno=by_seqno))

    assert held(late) == held(early)
    assert late.rows()[S, "2890", "cash", "alpha"].row == early.rows()[S, "2890", "cash", "alpha"].row
    moved = [delta for delta in late.committed.deltas if delta.cause == "REATTRIBUTED"]
    assert {(delta.strategy_id, delta.net_d_quantity, delta.net_version_after - delta.net_version_before) for delta in moved} == {
        ("UNASSIGNED", 0, 0),
        ("alpha", 0, 0),
    }
    assert [(event.revision, event.strategy_id) for event in late.committed.fills[3:]] == [(2, "alpha"), (2, "alpha")]


def test_of_two_intents_for_one_order_the_later_one_holds() -> None:
    harness = book(intent(ODD, "alpha"), intent(ODD, "beta", by_seqno=True), deal(ODD, 1, "Buy", 1, 27.0, ""), intent(ODD, "gamma"))

    assert held(harness) == {("2890", "cash", "gamma"): 1, ("2890", "cash", "*"): 1}


def test_an_intent_of_another_session_names_another_order() -> None:
    harness = book(intent(ODD._replace(session=1), "alpha"), deal(ODD, 1, "Buy", 1, 27.0, ""))

    assert ("2890", "cash", "UNASSIGNED") in held(harness)


def test_an_intent_by_seqno_finds_a_fill_that_does_not_say_its_seqno() -> None:
    silent = deal(ODD, 1, "Buy", 1, 27.0, "", seqno=None)
    named = [report(ODD, "New", 1, "o1"), intent(ODD, "alpha", by_seqno=True)]

    for records in ([silent, *named], [*named, silent], [named[1], silent, named[0]], [named[0], silent, named[1]]):
        harness = book(*records)
        assert held(harness) == {("2890", "cash", "alpha"): 1, ("2890", "cash", "*"): 1}


def test_a_custom_field_that_only_the_order_report_has_names_the_owner_also_afterwards() -> None:
    silent, told = deal(ODD, 1, "Buy", 1, 27.0, ""), report(CUSTOM._replace(number=1), "New", 1, "o1")

    for records in ([silent, told], [told, silent]):
        harness = book(*records)
        assert held(harness) == {("2890", "cash", "alpha"): 1, ("2890", "cash", "*"): 1}
        assert order(harness).strategy_id == "alpha"


def test_an_intent_goes_before_the_custom_field() -> None:
    harness = book(deal(CUSTOM, 1, "Buy", 1, 27.0, ""), intent(CUSTOM, "beta"), deal(CUSTOM, 2, "Buy", 1, 27.0, ""))

    assert held(harness) == {("2890", "cash", "beta"): 2, ("2890", "cash", "*"): 2}


@pytest.mark.parametrize(
    ("attribution", "owner"),
    [
        (Attribution(), "alpha"),
        (Attribution(custom_field="mapped", custom_field_map={"alpha": "carry"}), "carry"),
        (Attribution(custom_field="mapped", custom_field_map={"other": "carry"}), "UNASSIGNED"),
        (Attribution(custom_field="ignore"), "UNASSIGNED"),
    ],
)
def test_the_custom_field_names_the_owner_by_the_rule(attribution: Attribution, owner: str) -> None:
    assert ("2890", "cash", owner) in held(book(deal(CUSTOM, 1, "Buy", 1, 27.0, ""), attribution=attribution))


def test_a_custom_field_on_a_futures_deal_names_nobody() -> None:
    assert ("TMFF6", "derivative", "UNASSIGNED") in held(book(deal(FUTURE, 1, "Buy", 1, 100.0, "", custom_field="alpha")))


@pytest.mark.parametrize(
    "change", [{"strategy_id": ""}, {"strategy_id": "*"}, {"order_id": ""}, {"session_id": "2026-05-21"}, {"session_id": "x"}]
)
def test_a_bad_intent_is_a_dead_letter(change: dict[str, str]) -> None:
    record = intent(ODD, "alpha")

    outcome = Harness(rules()).feed(("intent", record[1] | change))

    assert outcome is not None
    assert (outcome.disposition, outcome.reason) == ("dead_letter", "bad_intent")


# --- units and money ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lot", "shares"), [("Common", 1000), ("Fixing", 1000), ("BlockTrade", 1000), ("Odd", 1), ("IntradayOdd", 1)])
def test_stock_quantities_become_shares_by_their_lot(lot: str, shares: int) -> None:
    assert held(book(deal(ODD, 1, "Buy", 3, 27.0, "", order_lot=lot)))["2890", "cash", "*"] == 3 * shares


@pytest.mark.parametrize(
    ("cond", "shelf"),
    [
        ("Cash", "cash"),
        ("Netting", "cash"),
        ("MarginTrading", "margin"),
        ("ShortSelling", "short"),
        ("SBLShort", "sbl"),
        ("SBLShortPriceExempt", "sbl"),
        ("Emerging", "emerging"),
    ],
)
def test_each_order_condition_has_its_shelf_and_shelves_never_net(cond: str, shelf: str) -> None:
    harness = book(
        deal(ODD, 1, "Buy", 1, 27.0, ""), deal(MARGIN, 2, "Buy", 1, 27.0, ""), deal(LOTS, 3, "Sell", 1, 27.0, "", order_cond=cond)
    )

    expected = {"cash": 1, "margin": 1}
    expected[shelf] = expected.get(shelf, 0) - 1000
    assert {key[1]: quantity for key, quantity in held(harness).items() if key[2] == "*"} == expected


def test_a_flip_closes_then_opens_in_one_delta() -> None:
    harness = book(deal(FUTURE, 1, "Buy", 2, 100.0, ""), deal(FUTURE, 2, "Sell", 5, 103.0, ""))

    row = harness.rows()[F, "TMFF6", "derivative", "*"].row
    assert (row.quantity, row.open_cost, row.realized) == (-3, -30_900_000_00, 60_000_000)
    assert len(harness.committed.deltas) == 2
    assert [(lot.quantity, lot.cost) for lot in row.lots] == [(-3, -3_090_000_000)]


def test_a_partial_reduction_rounds_half_to_even_and_flat_keeps_the_exact_cash_flow() -> None:
    # 2 shares at 0.0000005 more than half: cost 3 micros for 2 shares, so one share is 1.5 micros: to even, 2.
    harness = book(deal(ODD, 1, "Buy", 1, 0.000001, ""), deal(ODD, 2, "Buy", 1, 0.000002, ""), deal(ODD, 3, "Sell", 1, 1.0, ""))
    row = harness.rows()[S, "2890", "cash", "*"].row
    assert (row.quantity, row.open_cost, row.realized) == (1, 1, 999_998)

    harness.run([deal(ODD, 4, "Sell", 1, 1.0, "")])
    row = harness.rows()[S, "2890", "cash", "*"].row
    assert (row.quantity, row.open_cost, row.realized) == (0, 0, 1_999_997)


def test_more_lots_than_the_limit_merge_the_oldest_and_say_so() -> None:
    records = [deal(FUTURE, seq, "Buy", seq, 100.0 + seq, "") for seq in range(1, 7)]

    harness = book(*records, deal(FUTURE, 7, "Sell", 2, 100.0, ""), max_lots=3)

    expected = oracle.fold([*records, deal(FUTURE, 7, "Sell", 2, 100.0, "")], max_lots=3).rows[F, "TMFF6", "derivative", "*"]
    row = harness.rows()[F, "TMFF6", "derivative", "*"].row
    assert [[lot.quantity, lot.cost] for lot in row.lots] == expected.lots
    assert (row.lots_merged, len(row.lots), row.realized) == (True, 3, expected.realized)


def test_the_day_s_figures_start_anew_on_a_later_trading_date_and_a_late_fill_of_an_older_one_leaves_them() -> None:
    morning, evening = FUTURE, FUTURE._replace(session=1, number=6)

    harness = book(
        deal(morning, 1, "Buy", 2, 100.0, ""),
        deal(morning, 2, "Sell", 1, 101.0, ""),
        deal(evening, 3, "Sell", 1, 103.0, ""),
        deal(morning, 4, "Buy", 1, 90.0, ""),
    )

    row = harness.rows()[F, "TMFF6", "derivative", "*"].row
    assert (row.realized, row.realized_day) == (40_000_000, 30_000_000)
    assert (row.day_sell_quantity, row.day_sell_amount, row.day_buy_quantity) == (1, 1_030_000_000, 0)
    assert [delta.trading_date - harness.committed.deltas[0].trading_date for delta in harness.committed.deltas] == [0, 0, 1, 0]


def test_the_fees_of_an_order_are_its_cumulative_estimate_whatever_its_parts() -> None:
    parts = book(*(deal(LOTS, seq, "Buy", 1, 27.0, "") for seq in range(1, 6)))
    whole = book(deal(LOTS, 1, "Buy", 5, 27.0, ""))

    key = (S, "2890", "cash", "*")
    assert parts.rows()[key].row.fees == whole.rows()[key].row.fees > 0
    assert [event.fee_est for event in parts.committed.fills] == [38_000_000, 38_000_000, 39_000_000, 38_000_000, 39_000_000]


def test_sessions_follow_each_other_as_the_scenarios_say() -> None:
    names = [session_name(half_day) for half_day in (0, 1, 2, 21, 22)]

    assert names == ["2026-05-21D", "2026-05-21N", "2026-05-22D", "2026-05-31N", "2026-06-01D"]
    assert [oracle.session_of(int((DAY_S + half_day * HALF_DAY_S) * 1e6)) for half_day in (0, 1, 2, 21, 22)] == names
