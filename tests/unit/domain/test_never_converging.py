"""A difference that no correction ends: it comes to rest as a discrepancy and a halt, with few corrections and few calls, day after day."""

from collections.abc import Callable

import msgspec
import pytest

from execpos.domain.book import Source
from execpos.domain.events import BrokerPositionRow, Command, Correction
from execpos.domain.outcome import Outcome
from execpos.domain.reconciliation import reconcile
from reconcile_world import STOCK, World

Rows = list[BrokerPositionRow]

DAYS = 4
# Of each day so much is lived through; the rest is jumped over, which is a gap that would explain anything.
LIVED_S = 400
RESOLVE_S = 120
DAY_US = 86_400_000_000


def world() -> World:
    rules = msgspec.structs.replace(World().rules, resolve_within_us=RESOLVE_S * 1_000_000)
    made = World(STOCK, mind=reconcile, rules=rules)
    made.done(1000)
    made.now_us += 60_000_000
    made.start()
    made.run(6)
    assert made.controls[STOCK].state == "ACTIVE"
    return made


def running_away(of: World) -> Callable[[Rows], Rows]:
    """Let the broker always have a hundred more than the book, whatever was corrected."""
    return lambda rows: [msgspec.structs.replace(one, quantity=of.net() + 100) for one in rows]


def restless(of: World) -> Callable[[Rows], Rows]:
    """Let each round see another difference; the two reads of a round agree."""
    return lambda rows: [
        msgspec.structs.replace(one, quantity=one.quantity + 100 * len({ask.request_id for ask in of.asked})) for one in rows
    ]


def calls(of: World) -> int:
    return sum(1 for answer in of.answers if answer.what == "POSITIONS")


@pytest.mark.parametrize("lie", [running_away, restless], ids=["running away", "restless"])
def test_it_ends_in_a_halt_with_few_corrections_and_few_calls(lie: Callable[[World], Callable[[Rows], Rows]]) -> None:
    of = world()
    of.lie = lie(of)
    limit = of.rules.auto_correct.daily_count_per_key

    for _ in range(DAYS):
        corrections, reads = len(of.corrections), calls(of)
        of.gaps += 1
        of.run(LIVED_S)
        assert len(of.corrections) - corrections <= limit
        # Two reads a minute, and a cycle of looks that is bounded after each of them; far below what one window of the budget holds.
        assert calls(of) - reads <= LIVED_S
        of.now_us += DAY_US - LIVED_S * 1_000_000

    open_now = [one for one in of.discrepancies.values() if one.status not in {"EXPLAINED", "CORRECTED"}]
    assert [one.status for one in open_now] == ["EXPIRED"]
    # The account itself may be halted too: nothing was heard of the ledger between the days.
    halt = of.controls[f"{STOCK}|2330"]
    assert (halt.state, halt.latched) == ("HALTED", True)
    assert open_now[0].control_id == halt.control_id


def test_calls_of_the_last_hour_are_no_more_than_those_of_the_first() -> None:
    of = world()
    of.lie = running_away(of)
    of.gaps += 1
    of.run(LIVED_S)
    first = calls(of)

    of.run(LIVED_S)

    assert calls(of) - first <= first


def test_corrections_stay_below_the_days_budget_of_money() -> None:
    of = world()
    limits = msgspec.structs.replace(of.rules.auto_correct, daily_notional=15_000 * 1_000_000)
    of.rules = msgspec.structs.replace(of.rules, auto_correct=limits)
    of.lie = running_away(of)
    of.gaps += 1

    of.run(LIVED_S)

    # A hundred shares at 100 are 10 000 TWD: a second one is beyond it.
    assert len(of.corrections) == 1


def test_a_correction_that_the_ledger_always_rejects_is_not_sent_for_ever() -> None:
    of = world()
    of.lost(100)
    of.gaps += 1
    send = of.harness.pipeline.apply_correction

    def moved_on(correction: Correction, source: Source) -> Outcome:
        """Answer as a ledger does that has always moved on."""
        return send(msgspec.structs.replace(correction, expected_net_version=99), source)

    of.harness.pipeline.apply_correction = moved_on  # type: ignore[assignment,method-assign]  # it takes what the world gives it

    of.run(LIVED_S)

    assert 1 < len(of.corrections) <= 5
    assert of.net() == 1000
    (found,) = of.discrepancies.values()
    assert found.status == "EXPIRED"


@pytest.mark.parametrize("answered", [True, False])
def test_a_correction_that_the_ledger_rejected_for_good_or_never_answered_is_sent_once(*, answered: bool) -> None:
    of = world()
    of.lost(100)
    of.gaps += 1
    send = of.harness.pipeline.apply_correction

    def never(correction: Correction, source: Source) -> Outcome | None:
        """Answer as a ledger does that cannot do it, or that is not there."""
        return send(msgspec.structs.replace(correction, kind="NONSENSE"), source) if answered else None

    of.harness.pipeline.apply_correction = never  # type: ignore[assignment,method-assign]  # it takes what the world gives it

    of.run(LIVED_S)

    assert [outcome.reason for outcome in of.outcomes] == ["bad_correction"] * answered
    assert len(of.corrections) == 1
    (found,) = of.discrepancies.values()
    assert found.status == "EXPIRED"

    # Nor does an operator send it again; the record says why.
    of._tell(Command("c-1", STOCK, "APPROVE", "", found.discrepancy_id, (), "", "because", "alice", {}, 0, of.now_us))
    of.run(30)
    assert len(of.corrections) == 1
    assert "had this very correction already" in of.discrepancies[found.discrepancy_id].history[-1].reason


def test_answers_that_never_come_end_every_round_and_are_not_asked_for_faster() -> None:
    of = world()
    of.answer = lambda request: None  # type: ignore[method-assign]  # a bridge that beats and does not answer
    before = len(of.asked)

    of.run(600)

    # Each round waits for its answers until they would be too late, and asks for positions and orders.
    assert len(of.asked) - before <= 20
    assert {one.verdict for one in of.rounds[1:]} == {"UNREADABLE"}
    (found,) = of.discrepancies.values()
    assert found.kind == "UNREADABLE"
