"""One account's reconciliation by its behaviour: what starts, what is corrected, what waits, what is told."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execpos.domain.correction_rules import BLANK
from execpos.domain.events import (
    BridgeHeartbeat,
    BrokerPositionRow,
    BrokerProfitRow,
    Command,
    DeadLetter,
    PositionSnapshot,
    Progress,
    TradingControl,
)
from execpos.domain.reconciliation import allocation, reconcile
from execpos.domain.reconciliation.pace import Pace, calls_of
from execpos.domain.reconciliation.sides import book_of
from reconcile_world import MORNING_US, STOCK, World

SECOND_US = 1_000_000


def world(*, trades: int = 1000, start: bool = True, **changes: Any) -> World:
    made = World(STOCK, mind=reconcile)
    made.rules = msgspec.structs.replace(made.rules, **changes)
    if trades:
        made.done(trades)
    made.now_us += 60 * SECOND_US
    if start:
        made.start()
        made.run(6)
        assert [one.verdict for one in made.rounds] == ["EQUAL"]
    return made


def command(kind: str, **changes: Any) -> Command:
    plain = Command("c-1", STOCK, kind, "", "", (), "", "because", "alice", {}, 0, MORNING_US)
    return msgspec.structs.replace(plain, **changes)


def test_a_start_is_recovering_until_one_round_of_two_reads_is_equal() -> None:
    of = world(start=False)
    of.start()

    of._tell(None)
    assert of.controls[STOCK].state == "RECOVERING"

    of.run(3)

    assert of.controls[STOCK].state == "ACTIVE"
    assert [(one.verdict, one.triggers, one.reads, one.state) for one in of.rounds] == [("EQUAL", ("START",), 2, "ACTIVE")]
    assert sum(one.what == "POSITIONS" for one in of.answers) == 2


def test_a_start_waits_for_the_bridges_own_reading_and_asks_for_none() -> None:
    of = world(start=False)
    of.start()
    reading = msgspec.structs.replace(of.heartbeat(), open_gaps=1, last_catchup_ts=0)
    for _ in range(4):
        of.now_us += SECOND_US
        of._tell(of.progress())
        of._tell(msgspec.structs.replace(reading, ts=of.now_us))
    assert of.asked == []

    of.caught_up_us = of.now_us
    of.now_us += SECOND_US
    of._tell(of.heartbeat())

    assert [one.what for one in of.asked] == [("POSITIONS",)]


def test_the_control_beats_at_least_once_a_second() -> None:
    of = world()
    said: list[int] = []
    for quarter in range(40):
        output = reconcile.step(of.state, None, of.now_us + quarter * SECOND_US // 4, of.rules)
        of.state = output.state
        said += [one.ts for one in output.controls if one.scope == STOCK]

    assert max(later - earlier for earlier, later in pairwise(said)) <= SECOND_US


def test_fills_that_a_catch_up_brings_end_in_equality_without_a_correction() -> None:
    of = world()
    of.lost(300, recorded=True)
    of.gaps += 1

    of.run(30)

    assert of.net() == 1300
    assert of.corrections == []
    assert of.rounds[-1].verdict == "EQUAL"


def test_a_lost_fill_that_a_gap_explains_is_corrected_after_the_second_look_and_confirmed() -> None:
    of = world()
    of.lost(300)
    of.gaps += 1

    of.run(30)

    assert of.net() == of.truth() == 1300
    (correction,) = of.corrections
    assert (correction.kind, correction.quantity, correction.expected_net_version > 0) == ("ADJUST", 300, True)
    assert correction.marker_before
    ended = next(one for one in of.rounds[1:] if one.verdict != "SETTLING")
    assert of.rounds.index(ended) <= 4
    assert (ended.verdict, ended.triggers) == ("EQUAL", ("CONFIRM",))
    assert of.rounds[1].triggers == ("EVENT_GAP",)
    (found,) = of.discrepancies.values()
    assert (found.status, found.cause, found.correction_ids) == ("CORRECTED", "COVERAGE_GAP", (correction.correction_id,))
    assert ended.began_ts - of.rounds[1].ended_ts >= of.rules.settle_us


def test_a_lost_fill_that_nothing_explains_is_an_open_discrepancy_and_no_correction() -> None:
    of = world()
    of.lost(300)

    of.run(120)

    assert of.corrections == []
    (found,) = of.discrepancies.values()
    assert (found.kind, found.status, found.cause) == ("QUANTITY", "OPEN", "NONE")
    assert of.rounds[-1].verdict == "DIFFERENT"
    assert of.rounds[-1].discrepancies == (found.discrepancy_id,)
    # Below the limits it does not stop trading.
    assert of.controls[STOCK].state == "ACTIVE"


def dearer(rows: list[BrokerPositionRow]) -> list[BrokerPositionRow]:
    """Return the broker's list with averages of 5 more."""
    return [msgspec.structs.replace(one, price=one.price + 5 * SECOND_US) for one in rows]


def test_an_average_that_differs_holds_no_recovery_up_and_is_reported_by_the_next_round_that_sees_it() -> None:
    of = world(start=False)
    of.lie = dearer
    of.start()

    of.run(3)

    assert of.controls[STOCK].state == "ACTIVE"
    (first,) = of.rounds
    assert (first.verdict, first.detail, first.state) == ("EQUAL", "averages to be looked at again: 2330 cash", "ACTIVE")
    assert (first.keys_compared, first.equal, first.discrepancies) == (1, 0, ())

    of.run(70)

    (found,) = of.discrepancies.values()
    assert (found.kind, found.status, found.correction_ids) == ("COST", "OPEN", ())
    assert [(one.verdict, one.triggers, one.detail) for one in of.rounds[1:]] == [("DIFFERENT", ("SCHEDULE",), "open: COST")]
    # That of the start.
    assert [one.what for one in of.asked].count(("CATCHUP",)) == 1


def test_an_average_that_differs_in_one_look_only_is_no_discrepancy() -> None:
    of = world(start=False)
    of.lie = dearer
    of.start()
    of.run(3)
    of.lie = list

    of.run(130)

    assert of.discrepancies == {}
    assert {(one.verdict, one.detail) for one in of.rounds[1:]} == {("EQUAL", "")}


def test_a_command_waits_for_the_second_look_at_an_average_and_a_recovery_does_not() -> None:
    of = world(start=False)
    of.lie = dearer
    of.caught_up_us = of.now_us
    of.start()
    of._tell(command("RECONCILE"))

    of.run(3)
    assert of.controls[STOCK].state == "ACTIVE"
    of.run(20)

    first, second = of.rounds
    assert [(one.verdict, one.command_ids, one.state) for one in of.rounds] == [
        ("SETTLING", ("c-1",), "ACTIVE"),
        ("DIFFERENT", ("c-1",), "ACTIVE"),
    ]
    assert second.ended_ts - first.ended_ts >= of.rules.settle_us
    assert [one.kind for one in of.discrepancies.values()] == ["COST"]
    assert [one.what for one in of.asked].count(("CATCHUP",)) == 1


def test_a_command_is_answered_even_if_the_position_moves_in_every_other_look_at_its_average() -> None:
    of = world()
    reads: list[int] = []

    def lie(rows: list[BrokerPositionRow]) -> list[BrokerPositionRow]:
        reads.append(len(reads))
        # Two reads a round: of every second round they do not agree.
        return rows if reads[-1] % 4 == 2 else dearer(rows)

    of.lie = lie
    of._tell(command("RECONCILE"))

    of.run(50)

    answers = [one.verdict for one in of.rounds if one.command_ids]
    assert answers[-1] != "SETTLING"
    assert len(answers) <= 2 * of.rules.rounds
    assert of.state.commands == ()


def test_a_quantity_that_became_equal_is_explained_at_once_whatever_its_average() -> None:
    of = world()
    of.lost(300)
    of.run(90)
    (found,) = of.discrepancies.values()
    assert found.kind == "QUANTITY"
    of.listed.pop()
    of.lie = dearer

    of.run(60)
    assert of.discrepancies[found.discrepancy_id].status == "EXPLAINED"
    assert of.rounds[-1].verdict == "EQUAL"

    of.run(60)
    assert [one.kind for one in of.discrepancies.values()] == ["QUANTITY", "COST"]
    assert of.corrections == []


def test_a_gap_before_a_round_that_found_the_key_equal_explains_nothing_later() -> None:
    of = world()
    of.gaps += 1
    of.run(10)
    assert of.rounds[-1].verdict == "EQUAL"
    of.now_us += SECOND_US
    of.lost(300)

    of.run(120)

    assert of.corrections == []


def test_a_list_that_is_late_by_a_fill_is_given_time_and_no_correction() -> None:
    of = world()
    late = of.trade(500)
    of.call(late)
    of.gaps += 1

    of.run(40)
    (found,) = of.discrepancies.values()
    assert (found.cause, found.status) == ("BROKER_LAG", "OPEN")
    of.enlist(late)
    of.run(70)

    assert of.corrections == []
    assert of.discrepancies[found.discrepancy_id].status == "EXPLAINED"
    assert of.rounds[-1].verdict == "EQUAL"


def test_lag_is_told_after_a_restart_too_because_fills_of_before_are_given_to_begin() -> None:
    of = world(start=False)
    late = of.trade(500)
    of.call(late)
    of.gaps = 1
    of.start()

    of.run(60)

    assert of.corrections == []
    assert [one.cause for one in of.discrepancies.values()] == ["BROKER_LAG"]


def test_a_first_start_in_the_middle_of_the_day_books_what_was_held_before_as_an_opening() -> None:
    of = world(trades=0, start=False)
    before = of.trade(650, 90.0)
    of.enlist(before)
    of.done(325)
    of.now_us += 61 * SECOND_US
    of.start()

    of.run(30)

    assert of.net() == 975
    ((kind, quantity, price),) = [(one.kind, one.quantity, one.price) for one in of.corrections]
    assert (kind, quantity) == ("OPENING", 650)
    # The broker's average is rounded.
    assert abs(price - 90 * SECOND_US) < 10
    assert of.rounds[-1].verdict == "EQUAL"


@pytest.mark.parametrize("enabled", [True, False])
def test_an_opening_waits_for_a_look_a_minute_after_the_newest_fill_for_operators_too(*, enabled: bool) -> None:
    of = world(trades=0, start=False, auto_correct=msgspec.structs.replace(World().rules.auto_correct, enabled=enabled))
    of.enlist(of.trade(1000, 90.0))
    of.trade(500)
    of.call(of.trades[-1])
    of.start()
    of.run(30)
    # The list has the fill now, and no look has seen it.
    of.enlist(of.trades[-1])

    (found,) = of.discrepancies.values()
    assert (found.proposed_kind, found.proposed_quantity) == ("OPENING", 500)
    assert found.cause == ("BROKER_LAG" if enabled else "OPENING")
    assert found.evidence["lacks"].startswith("a later look: a fill is less than 60 s old")
    of._tell(command("APPROVE", discrepancy_id=found.discrepancy_id))
    assert "not followed: name the correction: a later look" in of.discrepancies[found.discrepancy_id].history[-1].reason
    of.run(150)

    if not enabled:
        assert of.corrections == []
        of._tell(command("APPROVE", command_id="c-2", discrepancy_id=found.discrepancy_id))
        of.run(30)
    assert [(one.kind, one.quantity) for one in of.corrections] == [("OPENING", 1000)]
    assert of.net() == 1500
    assert of.rounds[-1].verdict == "EQUAL"


def with_a_past(**changes: Any) -> World:
    """Start for the first time on an account that has an opening already, and lacks another 300."""
    of = world(trades=0, start=False, **changes)
    of.enlist(of.trade(1300, 90.0))
    of.done(500)
    opening = {"correction_id": "before", "account": STOCK, "kind": "OPENING", "symbol": "2330", "book": "cash"}
    made = msgspec.structs.replace(BLANK, **opening, quantity=1000, price=90_000_000, expected_net_version=-1, ts=of.now_us)
    of.harness.pipeline.apply_correction(made, of._source(2))
    of.harness.commit()
    assert of.net() == 1500
    of.now_us += 61 * SECOND_US
    of.start()
    return of


def test_after_an_opening_that_the_ledger_does_not_take_an_adjustment_is_made_within_the_limits() -> None:
    of = with_a_past()

    of.run(90)

    assert [(one.kind, one.quantity) for one in of.corrections] == [("OPENING", 300), ("ADJUST", 300)]
    assert [one.reason for one in of.outcomes] == ["", "not_opening", ""]
    assert of.net() == of.truth() == 1800
    assert of.rounds[-1].verdict == "EQUAL"


def test_beyond_the_limits_the_operator_approves_the_opening_and_then_the_adjustment() -> None:
    of = with_a_past(auto_correct=msgspec.structs.replace(World().rules.auto_correct, enabled=False))
    of.run(30)
    (found,) = of.discrepancies.values()
    assert found.proposed_kind == "OPENING"

    of._tell(command("APPROVE", discrepancy_id=found.discrepancy_id))
    of.run(30)
    (found,) = of.discrepancies.values()
    assert (found.status, found.proposed_kind, found.approvals) == ("OPEN", "ADJUST", ())
    assert len(of.corrections) == 1

    # A restart knows it from the record.
    of.start(discrepancies=list(of.discrepancies.values()), controls=list(of.controls.values()))
    of.run(90)
    assert of.discrepancies[found.discrepancy_id].proposed_kind == "ADJUST"
    of._tell(command("APPROVE", command_id="c-2", discrepancy_id=found.discrepancy_id))
    of.run(30)

    assert [one.kind for one in of.corrections] == ["OPENING", "ADJUST"]
    assert of.net() == of.truth()
    assert of.discrepancies[found.discrepancy_id].status == "CORRECTED"


def test_openings_of_a_whole_account_that_are_approved_at_once_end_in_one_equal_round() -> None:
    of = world(trades=0, start=False, auto_correct=msgspec.structs.replace(World().rules.auto_correct, enabled=False))
    for number in range(40):
        of.enlist(of.trade(1000, symbol=f"{2300 + number}"))
    of.start()
    of.run(30)
    waiting = list(of.discrepancies.values())
    assert {(one.cause, one.proposed_kind) for one in waiting} == {("OPENING", "OPENING")}

    for number, one in enumerate(waiting):
        of._tell(command("APPROVE", command_id=f"c-{number}", discrepancy_id=one.discrepancy_id))
    of.run(30)

    assert {one.status for one in of.discrepancies.values()} == {"CORRECTED"}
    assert all(of.net(one.symbol) == 1000 for one in waiting)
    answering = [one for one in of.rounds if one.command_ids]
    assert [(one.verdict, len(one.command_ids)) for one in answering] == [("EQUAL", len(waiting))]
    assert of.controls[STOCK].reason.startswith("40 of 40 positions are ESTIMATED")


def test_a_command_is_answered_once_by_the_round_that_ends_it() -> None:
    of = world()
    asked = command("RECONCILE")
    of._tell(asked)
    of._tell(asked)

    of.run(5)

    assert [(one.verdict, one.command_ids) for one in of.rounds if one.command_ids] == [("EQUAL", ("c-1",))]


def test_commands_that_come_while_the_records_are_read_share_the_next_round() -> None:
    of = world()
    for number in (1, 2, 3):
        of._tell(command("RECONCILE", command_id=f"c-{number}"))

    of.run(5)

    assert [one.command_ids for one in of.rounds if one.command_ids] == [("c-1",), ("c-2", "c-3")]


def test_a_command_of_a_round_that_settles_is_named_again_by_the_one_that_ends_it() -> None:
    of = world()
    of.lost(300)
    of._tell(command("RECONCILE"))

    of.run(30)

    answered = [(one.verdict, one.command_ids) for one in of.rounds[1:]]
    assert answered[0] == ("SETTLING", ("c-1",))
    assert [one for one in answered if one[0] != "SETTLING"] == [("DIFFERENT", ("c-1",))]


def test_a_command_that_ran_out_is_refused_and_asks_nothing() -> None:
    of = world()
    asked = len(of.asked)
    of._tell(command("RECONCILE", expires_ts=of.now_us - 1))

    assert of.rounds[-1].verdict == "REFUSED"
    assert len(of.asked) == asked


def test_a_command_in_a_window_in_which_the_broker_must_not_be_asked_is_refused_at_once() -> None:
    of = world(blackouts=True)
    # 14:40 in Taipei.
    of.now_us = MORNING_US + 4 * 3600 * SECOND_US
    asked = len(of.asked)
    of._tell(of.heartbeat())
    of._tell(of.progress())
    of._tell(command("RECONCILE"))

    assert len(of.asked) == asked
    assert (of.rounds[-1].verdict, of.rounds[-1].command_ids) == ("REFUSED", ("c-1",))


@pytest.mark.parametrize("change", [{"session": "down"}, {"kind": "CLOSED"}, {"suspended_until_ts": MORNING_US * 2}])
def test_a_broker_that_cannot_be_asked_is_not(change: dict[str, Any]) -> None:
    of = world()
    asked = len(of.asked)
    of._tell(msgspec.structs.replace(of.heartbeat(), **change))
    of._tell(command("RECONCILE"))
    for _ in range(10):
        of.now_us += SECOND_US
        of._tell(of.progress())
        of._tell(msgspec.structs.replace(of.heartbeat(), **change))

    assert len(of.asked) == asked


def test_an_approval_sends_the_correction_and_a_rejection_leaves_the_difference() -> None:
    of = world()
    of.lost(300)
    of.run(90)
    (found,) = of.discrepancies.values()
    of._tell(command("APPROVE", discrepancy_id=found.discrepancy_id))

    of.run(10)

    assert of.net() == 1300
    assert [one.approved_by for one in of.corrections] == ["alice"]
    assert of.discrepancies[found.discrepancy_id].status == "CORRECTED"
    assert [one.verdict for one in of.rounds if "c-1" in one.command_ids] == ["EQUAL"]

    of.now_us += SECOND_US
    of.lost(200)
    of.run(80)
    (other,) = [one for one in of.discrepancies.values() if one.status == "OPEN"]
    of._tell(command("REJECT", command_id="c-2", discrepancy_id=other.discrepancy_id))
    of.run(130)

    assert len(of.corrections) == 1
    assert of.discrepancies[other.discrepancy_id].status == "REJECTED"
    assert of.rounds[-1].verdict == "EQUAL"


def test_an_operators_own_correction_goes_out_after_the_checks_and_bad_ones_are_refused() -> None:
    of = world()
    basis = msgspec.structs.replace(BLANK, kind="COST_BASIS", symbol="2330", book="cash", strategy_id="UNASSIGNED", amount=1_000_000)
    of._tell(command("CORRECT", corrections=(basis,)))
    of._tell(command("CORRECT", command_id="c-2", corrections=(msgspec.structs.replace(basis, kind="NONSENSE"),)))
    of._tell(command("APPROVE", command_id="c-3", discrepancy_id="none such"))

    of.run(5)

    assert [one.outcome for one in of.outcomes] == ["APPLIED"]
    refused = {one.command_ids: one.verdict for one in of.rounds if one.verdict == "REFUSED"}
    assert set(refused) == {("c-2",), ("c-3",)}


def test_a_restart_goes_on_with_open_discrepancies_and_a_latched_halt() -> None:
    of = world(resolve_within_us=20 * SECOND_US)
    of.lost(300)
    of.run(120)
    halted = of.controls[f"{STOCK}|2330"]
    assert halted.state == "HALTED"

    of.start(discrepancies=tuple(of.discrepancies.values()), controls=tuple(of.controls.values()))
    of.run(10)

    assert of.controls[f"{STOCK}|2330"].control_id == halted.control_id
    assert len(of.discrepancies) == 1
    assert of.corrections == []


def test_a_halt_ends_when_the_operator_names_it() -> None:
    of = world(resolve_within_us=20 * SECOND_US)
    of.lost(300)
    of.run(120)
    halted = of.controls[f"{STOCK}|2330"]

    release = TradingControl(f"{STOCK}|2330", "operator", "ACTIVE", "op-1", "seen", "alice", False, halted.control_id, {}, of.now_us)
    of._tell(release)
    of.run(2)

    assert of.controls[f"{STOCK}|2330"].state == "ACTIVE"


def test_silence_of_the_ledger_is_recovering_first_and_a_round_ends_it() -> None:
    of = world()
    for _ in range(4):
        of.now_us += SECOND_US
        of._tell(of.heartbeat())
    assert of.controls[STOCK].state == "RECOVERING"

    of.run(4)

    assert of.controls[STOCK].state == "ACTIVE"


def test_a_pause_of_its_own_is_no_silence_of_others() -> None:
    of = world()
    of.now_us += 60 * SECOND_US

    of._tell(None)
    assert of.controls[STOCK].state == "ACTIVE"

    # The bridge of this world did not beat in between, so a round comes first.
    of.run(10)
    assert of.controls[STOCK].state == "ACTIVE"
    for _ in range(20):
        of.now_us += SECOND_US
        of._tell(None)
    assert of.controls[STOCK].state == "HALTED"


def after_a_pause_of_its_own(of: World) -> tuple[list[BridgeHeartbeat], list[Progress]]:
    """Return what bridge and ledger said each second of a minute in which the reconciler stood still."""
    moments = [of.now_us + second * SECOND_US for second in range(1, 61)]
    of.now_us += 60 * SECOND_US
    return [msgspec.structs.replace(of.heartbeat(), ts=ts) for ts in moments], [
        msgspec.structs.replace(of.progress(), ts=ts) for ts in moments
    ]


def test_a_backlog_after_a_pause_of_its_own_is_no_silence_of_others() -> None:
    of = world()
    said: set[str] = set()
    for beat, progress in zip(*after_a_pause_of_its_own(of), strict=True):
        of._tell(beat)
        of._tell(progress)
        said.add(of.controls[STOCK].state)

    of.run(10)

    assert said <= {"ACTIVE", "RECOVERING"}
    assert of.controls[STOCK].state == "ACTIVE"


@pytest.mark.parametrize("which", [0, 1])
def test_the_oldest_record_of_a_backlog_tells_of_no_silence_and_the_last_of_one_that_goes_on(which: int) -> None:
    of = world()
    oldest = after_a_pause_of_its_own(of)[which][0]

    of._tell(oldest)
    assert of.controls[STOCK].state == "RECOVERING"

    for _ in range(20):
        of.now_us += SECOND_US
        of._tell(None)
    assert of.controls[STOCK].state == "HALTED"


def test_a_beat_that_is_read_before_the_progress_of_its_time_tells_of_no_lag() -> None:
    of = world()
    beats, progress = after_a_pause_of_its_own(of)
    of._tell(progress[0])

    of._tell(msgspec.structs.replace(beats[-1], published_seq=beats[-1].published_seq + 5))

    assert of.controls[STOCK].state == "RECOVERING"


def test_a_dead_letter_counts_until_a_round_has_found_its_key_equal() -> None:
    of = world()
    letter = DeadLetter(
        "exec.raw.v1", 0, 7, "t", "dead_letter", "bad_payload", "", STOCK, f"{STOCK}|2330|cash|UNASSIGNED", b"", b"", 0, 1, of.now_us
    )
    of._tell(letter)
    of._tell(letter)
    assert len(of.state.letters) == 1

    of.run(5)

    assert of.state.letters == ()
    assert of.rounds[-1].triggers == ("MARKED",)


def test_ten_accounts_may_read_twice_at_once_and_no_span_has_more_than_the_limit() -> None:
    pace = Pace(20, 5 * SECOND_US)
    moments: list[int] = []
    for _ in range(11):
        of = world(start=False)
        of.caught_up_us = of.now_us
        of.start()
        output = reconcile.step(of.state, of.heartbeat(), of.now_us, of.rules, pace)
        output = reconcile.step(output.state, of.progress(), of.now_us, of.rules, pace)
        pace = pace.after(output.requests, of.now_us)
        moments.append(sum(map(calls_of, output.requests)))

    assert moments == [2] * 10 + [0]


def _words(of: World, random: Any) -> dict[str, Callable[[], object]]:
    """Return what may happen, by name."""
    letter = DeadLetter("exec.raw.v1", 0, 7, "t", "parked", "bad_payload", "", STOCK, "", b"", b"", 0, 1, of.now_us)
    return {
        "fill": lambda: of.done(random.choice([-100, 100])),
        "lost": lambda: of.lost(random.choice([-100, 100])),
        "gap": lambda: setattr(of, "gaps", of.gaps + 1),
        "command": lambda: of._tell(command("RECONCILE", command_id=f"c{of.now_us}")),
        "late": lambda: of._tell(random.choice(of.answers)),
        "down": lambda: of._tell(msgspec.structs.replace(of.heartbeat(), session="down")),
        "lie": lambda: setattr(of, "lie", lambda rows: rows[1:]),
        "truth": lambda: setattr(of, "lie", list),
        "progress": lambda: of._tell(of.progress()),
        "beat": lambda: of._tell(of.heartbeat()),
        "letter": lambda: of._tell(letter),
        "clock": lambda: of._tell(None),
        "work": of._work,
    }


WORDS = ("fill", "lost", "gap", "command", "late", "down", "lie", "truth", "progress", "beat", "letter", "clock", "work")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=40), st.randoms())
def test_whatever_comes_every_round_ends_and_no_correction_rests_on_an_unusable_round(words: list[str], random: Any) -> None:
    of = world()
    for word in words:
        of.now_us += random.choice([1000, 200_000, 3 * SECOND_US])
        _words(of, random)[word]()
    of.lie = list
    of.run(150)

    usable = {one.round_id for one in of.rounds if one.verdict not in {"UNREADABLE", "REFUSED"}}
    assert {one.marker_after.partition(".")[0] for one in of.corrections} <= usable
    assert max(one.ended_ts - one.began_ts for one in of.rounds) <= 200 * SECOND_US
    assert len({one.round_id for one in of.rounds}) == len(of.rounds)
    assert of.state.current is None or of.now_us - of.state.current.began_us <= 100 * SECOND_US


def closing(of: World) -> PositionSnapshot:
    """Return the checkpoint of the day that is over."""
    return msgspec.structs.replace(of._snapshot(""), reason="SESSION_CLOSE", session_id="2026-05-21D")


def test_after_the_close_the_realized_profit_is_read_once_and_a_difference_is_reported() -> None:
    of = world(trades=0)
    of.done(1000, 100.0)
    of.done(-1000, 110.0)
    of.profits = [BrokerProfitRow("2330", "Cash", "2026-05-21", 1000, 3_000 * SECOND_US, False, 0, 0)]
    of._tell(closing(of))
    of._tell(closing(of))

    of.run(10)

    assert [one.what for one in of.asked].count(("PROFIT_LOSS",)) == 1
    assert [(one.kind, one.status) for one in of.discrepancies.values()] == [("PROFIT", "OPEN")]
    assert of.corrections == []
    # A restart remembers it.
    of.start(discrepancies=tuple(of.discrepancies.values()), controls=tuple(of.controls.values()))
    of._tell(closing(of))
    of.run(10)
    assert [one.what for one in of.asked].count(("PROFIT_LOSS",)) == 1


def test_charges_that_the_broker_names_are_booked() -> None:
    of = world(trades=0)
    of.done(1000, 100.0)
    of.done(-1000, 110.0)
    of.profits = [BrokerProfitRow("2330", "Cash", "2026-05-21", 1000, 9_000 * SECOND_US, True, 300 * SECOND_US, 330 * SECOND_US)]
    of._tell(closing(of))

    of.run(10)

    assert {one.kind for one in of.corrections} == {"FEES"}
    assert {one.outcome for one in of.outcomes} == {"APPLIED"}


def test_an_order_that_differs_twice_is_reported_and_ends_when_it_agrees() -> None:
    of = world()
    strange = msgspec.structs.replace(of.order_row(of.trades[0]), order_id="x1", seqno="", status="Submitted", filled=0, quantity=2000)
    of.orders = [strange]

    of.run(200)
    (found,) = of.discrepancies.values()
    assert (found.kind, found.status) == ("ORDER", "OPEN")
    of.orders = None
    of.run(130)

    assert of.discrepancies[found.discrepancy_id].status == "EXPLAINED"
    assert of.corrections == []


def test_a_marked_key_stops_its_symbol_and_loses_its_mark_by_an_approval() -> None:
    of = world()
    mark = msgspec.structs.replace(
        BLANK,
        correction_id="m",
        account=STOCK,
        kind="QUALITY",
        symbol="2330",
        book="cash",
        strategy_id="*",
        quality="INCOMPLETE",
        ts=of.now_us,
    )
    of._waiting.append(mark)
    of.run(3)
    of._tell(of._snapshot("another/POSITIONS/1/after"))
    of.run(10)
    assert of.rounds[-1].triggers == ("MARKED",)
    assert of.controls[f"{STOCK}|2330"].state == "RECOVERING"
    (found,) = of.discrepancies.values()
    assert (found.kind, found.proposed_kind) == ("MARKED", "QUALITY")

    of._tell(command("APPROVE", discrepancy_id=found.discrepancy_id))
    of.run(10)

    assert of.controls[f"{STOCK}|2330"].state == "ACTIVE"
    assert of.discrepancies[found.discrepancy_id].status in {"CORRECTED", "EXPLAINED"}
    assert of.rounds[-1].verdict == "EQUAL"


def test_an_overfilled_order_starts_a_round() -> None:
    of = world()
    fill = of.harness.committed.fills[-1]
    of._tell(msgspec.structs.replace(fill, fill_id=f"{fill.fill_id}0", order_overfilled=True))

    of.run(3)

    assert of.rounds[-1].triggers == ("OVERFILL",)


def test_a_missing_row_is_looked_at_for_a_witness_and_without_one_is_for_the_operator() -> None:
    of = world(trades=1000)
    of.now_us += 3600 * SECOND_US
    of.run(5)
    of.lie = lambda rows: []
    of.gaps += 1

    of.run(120)

    assert of.corrections == []
    (found,) = of.discrepancies.values()
    assert (found.kind, found.status) == ("MISSING_ROW", "OPEN")
    assert found.rounds >= of.rules.witness_rounds
    assert ("PROFIT_LOSS",) in [one.what for one in of.asked]


def test_two_people_are_needed_where_the_rules_say_so() -> None:
    of = world(four_eyes=True)
    of.lost(300)
    of.run(90)
    (found,) = of.discrepancies.values()
    of._tell(command("APPROVE", discrepancy_id=found.discrepancy_id))
    of.run(5)
    assert of.corrections == []

    of._tell(command("APPROVE", command_id="c-2", by="bob", discrepancy_id=found.discrepancy_id))
    of.run(5)

    assert [one.approved_by for one in of.corrections] == ["alice, bob"]


def test_a_gap_that_no_round_has_covered_is_known_after_a_restart() -> None:
    of = world()
    of.lost(300)
    of.gaps += 1
    of._tell(of.heartbeat())
    of.now_us += SECOND_US
    of._tell(None)

    of.start(discrepancies=(), controls=tuple(of.controls.values()))
    of.run(40)

    assert [(one.kind, one.quantity) for one in of.corrections] == [("ADJUST", 300)]
    assert of.net() == 1300


def state_of_2330(of: World) -> str:
    """Return what is said of trading 2330 once the reconciler knows the book as it is."""
    of._tell(of._snapshot(f"another/{of.now_us}"))
    of.run(2)
    return of.controls[f"{STOCK}|2330"].state


def give(of: World, quantity: int) -> None:
    """Give what UNASSIGNED holds of 2330 to a strategy."""
    parts = {"symbol": "2330", "book": "cash", "quantity": quantity, "expected_net_version": -1, "reason": "because"}
    names = {"strategy_id": "UNASSIGNED", "to_strategy_id": "momentum", "requested_by": "alice"}
    made = msgspec.structs.replace(BLANK, correction_id=f"t-{of.now_us}", account=STOCK, kind="TRANSFER", ts=of.now_us, **parts, **names)
    of._waiting.append(made)
    of._correct()
    assert (of.outcomes[-1].correction_id, of.outcomes[-1].outcome) == (made.correction_id, "APPLIED"), of.outcomes[-1]


def test_reducing_only_after_an_adjustment_ends_once_it_was_given_away_and_a_restart_knows_that() -> None:
    of = world()
    give(of, 800)
    of.lost(300)
    of.gaps += 1
    of.run(30)
    assert [(one.kind, one.quantity) for one in of.corrections] == [("ADJUST", 300)]
    (found,) = of.discrepancies.values()
    assert (found.status, found.evidence["adjusted"]) == ("CORRECTED", "200 to 500")
    assert state_of_2330(of) == "REDUCE_ONLY"

    of.start(discrepancies=tuple(of.discrepancies.values()), controls=tuple(of.controls.values()))
    of.run(6)
    assert state_of_2330(of) == "REDUCE_ONLY"
    give(of, 299)
    assert state_of_2330(of) == "REDUCE_ONLY"
    give(of, 1)

    # What UNASSIGNED held before the adjustment stays with it.
    assert state_of_2330(of) == "ACTIVE"
    assert dict(of.state.book.strategies["2330", "cash"]) == {"UNASSIGNED": 200, "momentum": 1100}


def test_a_restart_before_the_outcome_of_an_adjustment_knows_what_it_does_to_unassigned() -> None:
    of = world()
    give(of, 800)
    of.lost(300)
    of.gaps += 1
    while not of.corrections:
        of.now_us += SECOND_US
        of._tell(of.heartbeat())
        of._tell(of.progress())
        of._tell(None)
        while of._requests:
            of.answer(of._requests.pop(0))
    (found,) = of.discrepancies.values()
    assert found.status == "APPROVED"

    of.start(discrepancies=(found,), controls=tuple(of.controls.values()))
    of.run(6)

    assert of.net() == 1300
    assert state_of_2330(of) == "REDUCE_ONLY"
    give(of, 300)
    assert state_of_2330(of) == "ACTIVE"


KEY = ("2330", "cash")


@pytest.mark.parametrize(
    ("adjusted", "holds", "waits"),
    [
        ("0 to 100", {"UNASSIGNED": 100, "momentum": 50}, True),
        ("0 to 100", {"UNASSIGNED": 1, "momentum": 50}, True),
        ("0 to 100", {"momentum": 150}, False),
        # Nobody else is there to whom it could belong.
        ("0 to 100", {"UNASSIGNED": 100}, False),
        ("200 to 300", {"UNASSIGNED": 201, "momentum": 50}, True),
        ("200 to 300", {"UNASSIGNED": 200, "momentum": 50}, False),
        ("200 to 100", {"UNASSIGNED": 100, "momentum": 50}, True),
        ("200 to 100", {"UNASSIGNED": 200, "momentum": -50}, False),
        ("200 to -100", {"UNASSIGNED": -100, "momentum": 50}, True),
        ("200 to -100", {"momentum": 50}, False),
    ],
)
def test_an_adjustment_waits_beside_strategies_until_unassigned_is_back(adjusted: str, holds: dict[str, int], *, waits: bool) -> None:
    of = world()
    book = msgspec.structs.replace(book_of(of._snapshot("m")), strategies={KEY: tuple(sorted(holds.items()))})
    one = allocation.read(adjusted)
    assert one is not None

    assert allocation.waiting({KEY: one}, book) == ({KEY: one} if waits else {})


def test_a_book_of_before_the_adjustment_does_not_end_it() -> None:
    of = world()
    book = msgspec.structs.replace(book_of(of._snapshot("m")), strategies={KEY: (("UNASSIGNED", 200), ("momentum", 50))})
    now = (book.ledger_epoch, book.rows[KEY].version)
    later = allocation.Adjusted(200, 300, (now[0], now[1] + 1))

    assert allocation.waiting({KEY: later}, book) == {KEY: later}
    assert allocation.waiting({KEY: msgspec.structs.replace(later, since=now)}, book) == {}


def test_a_second_adjustment_does_not_forget_the_first_and_both_survive_as_text() -> None:
    first, second = allocation.Adjusted(200, 500, (1, 7)), allocation.Adjusted(450, 400, (1, 9))

    both = allocation.more(allocation.more({}, KEY, first), KEY, second)

    assert both == {KEY: allocation.Adjusted(200, 400, (1, 9))}
    assert allocation.written(both, "2330") == {"adjusted cash": "200 to 400 at 1.9"}
    assert allocation.written(both, "2317") == {}
    assert allocation.remembered({"adjusted cash": "200 to 400 at 1.9", "adjusted x": "who knows", "cause x": "1 to 2"}, "2330") == both
