"""What a heartbeat, a progress record and a book make necessary, and what they say may have been missed."""

from typing import Any

import msgspec
import pytest

from execpos.domain.events import AccountProgress, BridgeHeartbeat, BridgeProgress, Progress
from execpos.domain.reconciliation import triggers
from execpos.domain.reconciliation.repair import Gap
from execpos.domain.reconciliation.triggers import Bridge, heard, kept
from reconcile_world import MORNING_US, STOCK, World

SECOND_US = 1_000_000
SILENCE_US = 5 * SECOND_US


def beat(number: int, **changes: Any) -> BridgeHeartbeat:
    return msgspec.structs.replace(World().heartbeat(), ts=MORNING_US + number * SECOND_US, last_catchup_ts=MORNING_US, **changes)


def after(*beats: BridgeHeartbeat) -> tuple[Bridge | None, list[str], list[str]]:
    """Return the view after some heartbeats, and the triggers and gaps of the last one."""
    view, found = None, None
    for one in beats:
        found = heard(view, one, one.ts, SILENCE_US)
        view = found.bridge
    assert found is not None
    return view, list(found.triggers), [gap.why for gap in found.gaps]


def test_beats_in_order_make_nothing_necessary() -> None:
    assert after(beat(0), beat(1), beat(2))[1:] == ([], [])


@pytest.mark.parametrize(
    ("change", "trigger"),
    [
        ({"gaps": 1}, "EVENT_GAP"),
        ({"open_gaps": 1}, "RECONNECT"),
        ({"cache_health": "Degraded"}, "CACHE"),
        ({"incarnation": 2}, "EPOCH"),
        ({"bridge_epoch": 2}, "EPOCH"),
        ({"bridge_id": "another"}, "EPOCH"),
    ],
)
def test_each_change_that_may_lose_a_report_is_a_trigger_and_a_gap_of_that_time(change: dict[str, Any], trigger: str) -> None:
    view = after(beat(0))[0]

    found = heard(view, beat(1, **change), MORNING_US + SECOND_US, SILENCE_US)

    assert found.triggers == (trigger,)
    assert [(gap.from_ts, gap.to_ts) for gap in found.gaps] == [(MORNING_US, MORNING_US + SECOND_US)]
    again = heard(found.bridge, beat(2, **change), MORNING_US + 2 * SECOND_US, SILENCE_US)
    assert (again.triggers, again.gaps) == ((), ())


def test_silence_is_a_gap_only_beyond_what_is_usual() -> None:
    assert after(beat(0), beat(5))[1] == []
    assert after(beat(0), beat(6))[1] == ["HEARTBEAT_GAP"]


def test_a_lost_session_is_a_gap_from_when_it_was_lost_until_it_is_up() -> None:
    view = after(beat(0), beat(1, session="down"), beat(2, session="down"))[0]

    found = heard(view, beat(3), MORNING_US + 3 * SECOND_US, SILENCE_US)

    assert found.triggers == ("RECONNECT",)
    assert found.gaps == (Gap(MORNING_US + SECOND_US, MORNING_US + 3 * SECOND_US, "the session was not up"),)


def test_what_an_older_start_of_the_bridge_says_changes_nothing() -> None:
    view = after(beat(0, incarnation=2))[0]

    found = heard(view, beat(1, incarnation=1, gaps=9), MORNING_US + SECOND_US, SILENCE_US)

    assert (found.bridge, found.triggers, found.gaps) == (view, (), ())


def test_the_claim_and_the_first_beat_of_a_start_are_one_gap() -> None:
    view, wanted, _ = after(beat(0), beat(3, kind="CLAIM", incarnation=2))
    assert wanted == ["EPOCH"]

    assert heard(view, beat(4, incarnation=2), MORNING_US + 4 * SECOND_US, SILENCE_US).triggers == ()


def test_a_claim_as_the_first_that_is_heard_is_a_gap_of_unknown_begin() -> None:
    assert heard(None, beat(0, kind="CLAIM"), MORNING_US, SILENCE_US).gaps[0].from_ts == 0
    assert heard(None, beat(0), MORNING_US, SILENCE_US).gaps == ()


def test_only_records_read_after_the_gap_and_nothing_open_cover_it() -> None:
    view = after(beat(0))[0]
    assert view is not None

    assert triggers.covered(view, MORNING_US - 1)
    assert not triggers.covered(view, MORNING_US)
    assert not triggers.covered(Bridge(beat(0, open_gaps=1)), 0)
    assert not triggers.covered(Bridge(beat(0, session="recovering")), 0)


def test_gaps_are_bounded_and_what_is_merged_covers_both() -> None:
    gaps: tuple[Gap, ...] = ()
    for number in range(100):
        gaps = kept(gaps, (Gap(number * 10, number * 10 + 1, "x"),))

    assert len(gaps) == 32
    assert (gaps[0].from_ts, gaps[-1].to_ts) == (0, 991)


def progress(epoch: int, beat_ts: int, seq: int = 5) -> Progress:
    return Progress(
        0, (), (BridgeProgress(STOCK, "b", 1, seq, beat_ts),), (AccountProgress(STOCK, "2026-05-20D", ()),), epoch, "one", MORNING_US
    )


def test_a_new_incarnation_of_the_ledger_is_told_and_an_old_one_is_not_heard() -> None:
    first, rebuilt = triggers.progressed(None, progress(1, MORNING_US), STOCK, MORNING_US)
    assert (rebuilt, first.closed_session) == (False, "2026-05-20D")

    second, rebuilt = triggers.progressed(first, progress(2, MORNING_US), STOCK, MORNING_US)
    assert rebuilt
    assert triggers.progressed(second, progress(1, MORNING_US), STOCK, MORNING_US) == (second, False)


def test_the_ledgers_lag_is_the_age_of_the_newest_beat_that_it_has_by_the_bridges_clock() -> None:
    ledger = triggers.progressed(None, progress(1, MORNING_US), STOCK, MORNING_US)[0]

    assert triggers.lag_us(Bridge(beat(4, published_seq=9)), ledger) == 4 * SECOND_US
    assert triggers.lag_us(Bridge(beat(4, published_seq=5)), ledger) == 0
    assert triggers.lag_us(None, ledger) == 0


def test_a_mark_is_new_once_and_again_when_it_is_another() -> None:
    key = ("2330", "cash")

    assert not triggers.newly_marked(None, {key: "INCOMPLETE"})
    assert triggers.newly_marked({}, {key: "INCOMPLETE"})
    assert not triggers.newly_marked({key: "INCOMPLETE"}, {key: "INCOMPLETE"})
    assert triggers.newly_marked({key: "INCOMPLETE"}, {key: "BLOCKED"})
