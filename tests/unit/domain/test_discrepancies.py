"""How a discrepancy lives: which step may follow which, what operators may say of it and when, and what stays written."""

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrections import MICROS, STOCK
from execpos.domain.events import Discrepancy
from execpos.domain.reconciliation import approvals, discrepancies, repair
from execpos.domain.reconciliation.approvals import approved, asked_by, complete, is_request, rejected, requested, waiting
from execpos.domain.reconciliation.comparison import Book
from execpos.domain.reconciliation.discrepancies import (
    FOLLOWS,
    HISTORY_MAX,
    OPEN_STATUSES,
    TERMINAL,
    At,
    corrected,
    correcting,
    due,
    expired,
    explained,
    observed,
    proposed,
    refused,
)
from execpos.domain.reconciliation.evidence import evidence_of, moment
from execpos.domain.reconciliation.lag import RecentFill
from execpos.domain.reconciliation.repair import Coverage, Gap, Proposal
from execpos.domain.vocabulary import WORDS
from repair_world import BEGAN, NOW, READ, TODAY, WITHIN, at, command, difference, finding, micros, wanted

FOUND = finding(None, 5, 10.0)
ADJUST = repair.proposal(FOUND, method="average", net=None)
MADE = repair.corrections(difference(FOUND), ADJUST, READ, NOW, by="reconciler")


def again(before: Discrepancy | None, found: Any, number: int, kind: Any = "QUANTITY", cause: Any = "NONE", **evidence: str) -> Any:
    return observed(before, STOCK, kind, found, at(number), cause=cause, evidence=evidence, trading_date=TODAY, resolve_within_us=WITHIN)


def approve(one: Discrepancy, by: str = "ann", /, *, four_eyes: bool = False, **changes: Any) -> approvals.Decision:
    return approved(one, command("APPROVE", by, **changes), at(9), four_eyes=four_eyes, resolve_within_us=WITHIN)


def reject(one: Discrepancy, by: str = "ann", /, **changes: Any) -> approvals.Decision:
    return rejected(one, command("REJECT", by, **changes), at(9))


def in_status(status: str) -> Discrepancy:
    one = proposed(difference(FOUND), ADJUST)
    under_way = correcting(one, MADE, at(2))
    return {
        "OPEN": one,
        "APPROVED": under_way,
        "EXPIRED": expired(one, at(2), "halt-1"),
        "REJECTED": reject(one).discrepancy,
        "EXPLAINED": explained(one, at(2), "equal"),
        "CORRECTED": corrected(under_way, at(3), "applied"),
    }[status]


# --- the table -------------------------------------------------------------------------------------------------------------------------


def test_every_status_of_the_vocabulary_has_its_place_in_the_table() -> None:
    words = set(WORDS["discrepancy_status"])

    assert set(FOLLOWS) == words
    assert set().union(*FOLLOWS.values()) == words
    assert {status for status, next_ in FOLLOWS.items() if not next_} == TERMINAL
    assert words - TERMINAL - OPEN_STATUSES == {"REJECTED"}


@pytest.mark.parametrize(("before", "then"), list(itertools.product(FOLLOWS, FOLLOWS)))
def test_only_the_steps_of_the_table_can_be_taken(before: str, then: Any) -> None:
    one = in_status(before)

    if then in FOLLOWS[before]:
        assert discrepancies.step(one, then, at(4), "why").status == then
    else:
        with pytest.raises(ValueError, match=f"cannot become {then}: it is {before}"):
            discrepancies.step(one, then, at(4), "why")


def test_each_step_says_who_when_why_and_in_which_round() -> None:
    one = corrected(correcting(proposed(difference(FOUND), ADJUST), MADE, at(2)), at(3), "applied at version 1")

    assert [(step.status, step.round_id, step.by) for step in one.history] == [
        ("OPEN", "r1", "reconciler"), ("APPROVED", "r2", "reconciler"), ("CORRECTED", "r3", "reconciler")
    ]  # fmt: skip
    assert one.history[0].reason == "the broker has 5, the book 0; NONE"
    assert MADE[0].correction_id in one.history[1].reason
    assert one.correction_ids == (MADE[0].correction_id,)
    assert (one.opened_ts, one.updated_ts, one.ts, one.expires_ts) == (at(1).ts, at(3).ts, at(3).ts, 0)


def test_the_id_is_a_function_of_what_was_found_first() -> None:
    names = [("a", "QUANTITY", "s", "b", "r1"), ("x", "QUANTITY", "s", "b", "r1"), ("a", "COST", "s", "b", "r1")]
    names += [("a", "QUANTITY", "x", "b", "r1"), ("a", "QUANTITY", "s", "x", "r1"), ("a", "QUANTITY", "s", "b", "r2")]
    found = [discrepancies.identity(*name) for name in names]

    assert found[0] == discrepancies.identity(*names[0])
    assert len(set(found)) == len(names)
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in found)


# --- seen again ------------------------------------------------------------------------------------------------------------------------


def test_seen_again_it_counts_the_round_and_writes_a_step_only_when_something_changed() -> None:
    one = difference(FOUND)

    (twice,) = again(one, FOUND, 2, broker_row="5 at 10")
    (other,) = again(twice, finding(None, 7, 10.0), 3)
    (lag,) = again(other, finding(None, 7, 10.0), 4, cause="BROKER_LAG")

    assert (twice.rounds, twice.first_round, twice.last_round, len(twice.history)) == (2, "r1", "r2", 1)
    assert twice.evidence == {"broker_row": "5 at 10"}
    assert (other.rounds, other.broker_quantity, other.notional, len(other.history)) == (3, 7, micros(70), 2)
    said = "the broker has 7, the book 0"
    assert [step.reason for step in lag.history[1:]] == [f"{said}; NONE", f"{said}; BROKER_LAG"]
    assert {item.discrepancy_id for item in (one, twice, other, lag)} == {one.discrepancy_id}


def test_a_rejected_one_stays_rejected_for_as_long_as_the_difference_is_the_same() -> None:
    one = reject(difference(FOUND)).discrepancy

    for number in range(2, 200):
        (one,) = again(one, FOUND, number)

    assert (one.status, one.rounds, one.expires_ts, len(one.history)) == ("REJECTED", 199, 0, 2)
    assert one.history[-1].reason == "seen on the statement"


def test_when_the_difference_changes_the_rejected_one_ends_and_a_new_one_opens() -> None:
    one = reject(difference(FOUND)).discrepancy

    old, new = again(one, finding(None, 6, 10.0), 2)

    assert (old.discrepancy_id, old.status) == (one.discrepancy_id, "EXPLAINED")
    assert (new.status, new.rounds, new.broker_quantity) == ("OPEN", 1, 6)
    assert new.discrepancy_id != one.discrepancy_id


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_after_its_end_a_difference_opens_a_new_one(status: str) -> None:
    (new,) = again(in_status(status), FOUND, 5)

    assert (new.status, new.first_round) == ("OPEN", "r5")


def test_a_finding_is_the_same_difference_when_kind_and_size_agree() -> None:
    one = difference(FOUND)

    assert discrepancies.same(one, finding(None, 5, 99.0))
    assert not discrepancies.same(one, finding(None, 6, 10.0))
    assert not discrepancies.same(one, finding(None, 5, 10.0, "COST"))
    assert not discrepancies.same(one, finding(None, 5, 10.0, "MOVED"))


def test_money_that_differs_by_no_more_is_the_same_and_never_expires() -> None:
    (one,) = again(None, finding(None, 5, 10.0, "COST", notional=100), 1, kind="COST")
    judged = reject(one).discrepancy

    (less,) = again(judged, finding(None, 5, 10.0, "COST", notional=99), 2, kind="COST")
    more = again(judged, finding(None, 5, 10.0, "COST", notional=101), 2, kind="COST")

    assert one.expires_ts == 0
    assert less.status == "REJECTED"
    assert [item.status for item in more] == ["EXPLAINED", "OPEN"]


def test_a_key_has_one_at_a_time_which_becomes_the_kind_that_is_seen() -> None:
    (moving,) = again(None, finding(None, 5, 10.0, "MOVED"), 1, kind="MOVING", cause="MOVING")
    (same,) = again(moving, finding(None, 8, 10.0, "MOVED"), 2, kind="MOVING", cause="MOVING")
    (quantity,) = again(same, finding(None, 8, 10.0), 3)

    assert (len(same.history), quantity.kind, quantity.discrepancy_id) == (1, "QUANTITY", moving.discrepancy_id)
    assert quantity.history[-1].round_id == "r3"


def test_a_quantity_that_agrees_again_while_the_cost_differs_does_not_expire_and_the_other_way_round_it_does() -> None:
    one = difference(FOUND)

    (cost,) = again(one, finding(None, 5, 10.0, "COST"), 2, kind="COST")
    (quantity,) = again(cost, FOUND, 3)
    (rejected_,) = again(reject(cost).discrepancy, finding(None, 5, 10.0, "COST"), 4, kind="COST")

    assert (cost.kind, cost.expires_ts) == ("COST", 0)
    assert (quantity.kind, quantity.expires_ts) == ("QUANTITY", at(3).ts + WITHIN)
    assert (rejected_.status, rejected_.expires_ts) == ("REJECTED", 0)
    assert again(one, finding(None, 0, 0.0, "MISSING", ledger_quantity=5), 2, kind="MISSING_ROW")[0].expires_ts == one.expires_ts


def test_one_of_a_whole_account_has_no_key_and_says_what_it_is() -> None:
    (one,) = observed(None, STOCK, "UNREADABLE", None, at(), cause="UNREADABLE", evidence={}, trading_date=TODAY,
                      resolve_within_us=WITHIN, detail="6 answers could not be used")  # fmt: skip

    assert (one.symbol, one.book, one.status) == ("", "", "OPEN")
    assert one.history[0].reason == "6 answers could not be used"


@given(st.integers(1, 150))
def test_history_is_bounded_and_says_how_many_steps_are_merged(count: int) -> None:
    one = difference(FOUND)
    for number in range(2, count + 1):
        (one,) = again(one, finding(None, 5 + number, 10.0), number)

    assert len(one.history) == min(count, HISTORY_MAX)
    assert one.history[0].round_id == "r1"
    assert one.history[-1].round_id == f"r{count}"
    if count > HISTORY_MAX:
        marker = one.history[1]
        # What it stands for, itself included, and the others are all that there were.
        assert (marker.reason, marker.by) == (f"{count - HISTORY_MAX + 1} older steps merged", "")
        assert marker.round_id == f"r{count - HISTORY_MAX + 2}"
    else:
        assert not any("merged" in step.reason for step in one.history)


# --- time ------------------------------------------------------------------------------------------------------------------------------


def test_its_time_is_over_when_resolve_within_has_passed_and_only_while_it_is_open() -> None:
    end = at(1).ts + WITHIN

    for status in ("OPEN", "APPROVED"):
        assert due(in_status(status), end)
        assert not due(in_status(status), end - 1)
    for status in ("EXPIRED", "REJECTED", "EXPLAINED", "CORRECTED"):
        assert not due(in_status(status), end * 2)


def test_expired_it_names_its_halt_and_still_takes_a_decision_or_its_outcome() -> None:
    one = in_status("EXPIRED")

    assert one.control_id == "halt-1"
    assert approve(one).ready
    assert approve(one).discrepancy.status == "EXPIRED"
    assert reject(one).discrepancy.status == "REJECTED"
    late = expired(in_status("APPROVED"), at(5), "halt-2")
    assert corrected(late, at(6), "applied").status == "CORRECTED"


# --- approvals -------------------------------------------------------------------------------------------------------------------------


def test_one_name_is_enough_without_four_eyes() -> None:
    decision = approve(in_status("OPEN"))

    assert (decision.ready, decision.problem, decision.discrepancy.approvals) == (True, "", ("ann",))
    assert decision.discrepancy.history[-1].by == "ann"
    assert decision.discrepancy.history[-1].reason == "approved ADJUST +5 at 10: seen on the statement"


@pytest.mark.parametrize("second", ["ann", "Ann", " ANN "])
def test_under_four_eyes_the_same_person_is_not_two(second: str) -> None:
    first = approve(in_status("OPEN"), four_eyes=True)
    decision = approve(first.discrepancy, second, four_eyes=True)

    assert not first.ready
    assert not decision.ready
    assert "another name" in decision.problem
    assert decision.discrepancy.approvals == ("ann",)
    assert approve(first.discrepancy, "bob", four_eyes=True).ready


def test_who_names_the_correction_is_one_of_the_two() -> None:
    mine = wanted("ADJUST", quantity=5, price=micros(9))
    first = approve(in_status("OPEN"), four_eyes=True, kind="CORRECT", corrections=(mine,))

    assert (first.ready, asked_by(first.discrepancy)) == (False, "ann")
    assert approve(first.discrepancy, four_eyes=True).problem
    second = approve(first.discrepancy, "bob", four_eyes=True)
    assert second.ready
    assert second.discrepancy.approvals == ("ann", "bob")
    (kept,) = waiting(second.discrepancy)
    assert (kept.kind, kept.quantity, kept.price, kept.symbol, kept.account) == ("ADJUST", 5, micros(9), "2890", STOCK)


@pytest.mark.parametrize("four_eyes", [False, True])
def test_with_all_names_there_another_word_is_another_try(*, four_eyes: bool) -> None:
    one = approve(in_status("OPEN"), four_eyes=four_eyes).discrepancy
    one = approve(one, "bob", four_eyes=four_eyes).discrepancy

    again_ = approve(one, four_eyes=four_eyes)

    assert again_.ready
    assert again_.discrepancy.approvals == ("ann", "bob")


def test_two_people_who_name_the_same_correction_are_two_names() -> None:
    mine = {"kind": "CORRECT", "corrections": (wanted("ADJUST", quantity=5, price=micros(9)),)}
    first = approve(in_status("OPEN"), four_eyes=True, **mine)

    assert approve(first.discrepancy, "bob", four_eyes=True, **mine).ready
    assert asked_by(approve(first.discrepancy, "bob", four_eyes=True, **mine).discrepancy) == "ann"


def test_another_correction_needs_both_names_again() -> None:
    first = approve(in_status("OPEN"), four_eyes=True)
    dear = approve(first.discrepancy, "bob", four_eyes=True, corrections=(wanted(price=micros(99)),))

    assert not dear.ready
    assert (dear.discrepancy.approvals, dear.discrepancy.proposed_price) == (("bob",), micros(99))
    assert waiting(dear.discrepancy)[0].quantity == 5


def test_approvals_stand_for_the_same_booking_at_another_price_and_fall_with_another_one() -> None:
    one = approve(in_status("OPEN"), four_eyes=True).discrepancy

    assert proposed(one, msgspec.structs.replace(ADJUST, price=1)).approvals == ("ann",)
    for changes in ({"quantity": 6}, {"kind": "OPENING"}, {"amount": 1}):
        assert proposed(one, msgspec.structs.replace(ADJUST, **changes)).approvals == ()
    (other,) = again(one, finding(None, 6, 10.0), 9)
    assert other.approvals == ()


def test_what_an_operator_named_is_not_replaced_by_a_rule_until_the_difference_changes() -> None:
    one = approve(in_status("OPEN"), corrections=(wanted(price=micros(99)),)).discrepancy

    assert proposed(one, ADJUST).proposed_price == micros(99)
    (same,) = again(one, FOUND, 5)
    assert waiting(same)
    (other,) = again(one, finding(None, 6, 10.0), 5)
    assert not waiting(other)
    assert proposed(other, ADJUST).proposed_price == micros(10)


def test_after_the_ledger_rejected_it_the_names_still_count() -> None:
    one = approve(approve(in_status("OPEN"), four_eyes=True).discrepancy, "bob", four_eyes=True).discrepancy

    back = refused(correcting(one, MADE, at(3)), at(4), "stale_version: NET is at version 2")

    assert (back.status, back.history[-1].reason) == ("OPEN", "stale_version: NET is at version 2")
    assert complete(back, four_eyes=True)
    assert not complete(in_status("OPEN"), four_eyes=False)


def test_a_proposal_that_lacks_something_cannot_be_approved_without_it() -> None:
    lacking = repair.proposal(finding(None, 0, 0.0, "MISSING", ledger_quantity=3), method="fifo", net=None, expired=True)
    one = proposed(difference(finding(None, 0, 0.0, ledger_quantity=3)), lacking)

    assert "its final price" in approve(one).problem
    named = approve(one, corrections=(wanted(price=micros(11)),))
    assert (named.ready, named.discrepancy.proposed_kind, named.discrepancy.proposed_price) == (True, "SETTLEMENT", micros(11))
    assert waiting(named.discrepancy)[0].quantity == 0


def test_without_any_proposal_the_correction_has_to_be_named() -> None:
    one = proposed(difference(FOUND), Proposal("", lacks="a correction", why="ORDER"))

    assert approve(one).problem
    assert approve(one, corrections=(wanted(price=1),)).problem
    assert approve(one, corrections=(wanted("ADJUST", quantity=5, price=1),)).ready


_WRONG: list[tuple[dict[str, Any], str]] = [
    ({"account": "replay|S|9A95|7654321"}, "is of account"),
    ({"expires_ts": NOW}, "ran out at"),
    ({"by": ""}, "no operator"),
    ({"by": "Reconciler "}, "no operator"),
    ({"reason": "  "}, "needs a reason"),
]


@pytest.mark.parametrize(("changes", "problem"), _WRONG)
@pytest.mark.parametrize("decide", [approve, reject])
def test_a_word_that_cannot_be_followed_changes_nothing_but_the_history(decide: Any, changes: dict[str, Any], problem: str) -> None:
    one = in_status("OPEN")

    decision = decide(one, **changes)

    assert problem in decision.problem
    assert not decision.ready
    now = decision.discrepancy
    assert now.history[:-1] == one.history
    assert "not followed" in now.history[-1].reason
    assert msgspec.structs.replace(now, history=one.history, updated_ts=one.updated_ts, ts=one.ts) == one


@pytest.mark.parametrize("decide", [approve, reject])
@pytest.mark.parametrize("status", ["APPROVED", "EXPLAINED", "CORRECTED"])
def test_a_decision_that_comes_too_late_says_so(decide: Any, status: str) -> None:
    decision = decide(in_status(status))

    assert ("under way" if status == "APPROVED" else f"{status} already") in decision.problem
    assert decision.discrepancy.status == status


def test_an_operator_may_change_their_mind_about_a_rejected_one() -> None:
    assert "REJECTED already" in reject(in_status("REJECTED")).problem
    decision = approve(in_status("REJECTED"))

    assert (decision.ready, decision.discrepancy.status, decision.discrepancy.expires_ts) == (True, "OPEN", at(9).ts + WITHIN)


# --- requests --------------------------------------------------------------------------------------------------------------------------


def test_a_correction_that_belongs_to_no_difference_waits_for_its_second_name() -> None:
    split = wanted("CORPORATE_ACTION", symbol="2890", book="cash", numerator=3, denominator=2)
    one = requested(command("CORRECT", "ann", split), at(), trading_date=TODAY)

    assert is_request(one)
    assert (one.first_round, one.approvals, one.expires_ts, one.symbol) == ("op-1", ("ann",), 0, "2890")
    assert not complete(one, four_eyes=True)
    decision = approve(one, "bob", four_eyes=True)
    assert decision.ready
    (kept,) = waiting(decision.discrepancy)
    assert (kept.numerator, kept.denominator) == (3, 2)
    assert not is_request(in_status("OPEN"))
    assert not due(one, NOW * 2)


def test_a_request_may_be_withdrawn_and_a_command_without_a_correction_is_a_bug() -> None:
    one = requested(command("CORRECT", "ann", wanted("VOID", fill_id="f")), at(), trading_date=TODAY)

    gone = reject(one, "bob").discrepancy

    assert (gone.status, gone.history[-1].reason) == ("EXPLAINED", "withdrawn: seen on the statement")
    with pytest.raises(ValueError, match="holds no correction"):
        requested(command("CORRECT"), at(), trading_date=TODAY)


def after(one: Discrepancy, event: str, number: int, *, four_eyes: bool) -> Discrepancy:
    """Return what an event makes of it; one that cannot happen then makes nothing."""
    over = one.status in TERMINAL
    if event in {"ann", "bob"}:
        decision = approved(one, command("APPROVE", event), at(number), four_eyes=four_eyes, resolve_within_us=WITHIN)
        assert not decision.ready or len(set(decision.discrepancy.approvals)) >= (2 if four_eyes else 1)
        return decision.discrepancy
    ready = one.status in {"OPEN", "EXPIRED"} and complete(one, four_eyes=four_eyes)
    happens: dict[str, Callable[[], Discrepancy]] = {
        "seen": lambda: one if over else again(one, FOUND, number)[-1],
        "changed": lambda: one if over else again(one, finding(None, 5 + number, 10.0), number)[-1],
        "reject": lambda: rejected(one, command("REJECT"), at(number)).discrepancy,
        "correcting": lambda: correcting(one, MADE, at(number)) if ready else one,
        "refused": lambda: refused(one, at(number), "stale_version") if one.status == "APPROVED" else one,
        "applied": lambda: corrected(one, at(number), "applied") if one.status == "APPROVED" else one,
        "due": lambda: expired(one, at(number), "halt-1") if due(one, NOW * 2) else one,
        "gone": lambda: one if over else explained(one, at(number), "equal"),
    }
    return happens[event]()


_EVENTS = ["seen", "changed", "ann", "bob", "reject", "refused", "applied", "due", "gone", "correcting"]


@given(events=st.lists(st.sampled_from(_EVENTS), max_size=40), four_eyes=st.booleans())
def test_any_sequence_of_events_keeps_to_the_table_and_never_books_without_its_names(events: list[str], *, four_eyes: bool) -> None:
    one = proposed(difference(FOUND), ADJUST)
    for number, event in enumerate(events, 2):
        before, one = one, after(one, event, number, four_eyes=four_eyes)
        if one.discrepancy_id == before.discrepancy_id:
            assert one.status == before.status or one.status in FOLLOWS[before.status]
        assert len(one.history) <= HISTORY_MAX
        assert (one.expires_ts == 0) == (one.status in TERMINAL | {"REJECTED"})
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=Discrepancy) == one


# --- evidence --------------------------------------------------------------------------------------------------------------------------


def test_evidence_names_reads_markers_offsets_rows_gaps_and_fills() -> None:
    book = Book("r/1/before", 41, 1, TODAY, {}, {}, (), 0, 0, BEGAN)
    found = msgspec.structs.replace(finding(None, 5, 10.25), ledger_quantity=3, ledger_average=micros(9), net_version=7, detail="two reads")
    fills = [RecentFill(number, BEGAN, BEGAN) for number in range(1, 13)]

    evidence = evidence_of(found, READ, fills=fills, coverage=Coverage((Gap(BEGAN - MICROS, BEGAN, "reconnect"),)), books=(book, book))

    assert evidence["read_began"] == "2026-05-21T01:30:10.000Z"
    assert evidence["markers"] == "r/1/before .. r/2/after"
    assert evidence["marker_offsets"] == "41 41"
    assert evidence["broker_row"] == "5 at 10.25, last 0"
    assert evidence["our_row"] == "3 at 9, version 7"
    assert (evidence["difference"], evidence["detail"]) == ("2", "two reads")
    assert evidence["gaps"] == "2026-05-21T01:30:09.000Z .. 2026-05-21T01:30:10.000Z reconnect"
    assert evidence["fills"].startswith("12, newest last: +3 2026-05-21T01:30:10.000Z")
    assert evidence_of(None, READ, coverage=Coverage()).keys() == {"read_began", "read_ended", "markers", "ledger_epoch", "gaps"}
    assert moment(0) == "-"


def test_a_step_by_another_component_names_it() -> None:
    assert explained(difference(FOUND), At("r2", NOW, "reconciler-1"), "equal").history[-1].by == "reconciler-1"
