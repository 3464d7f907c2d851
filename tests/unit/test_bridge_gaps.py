"""The gap watch: holes in the broker's numbering are found once each, and what is no hole never is one."""

import json

from hypothesis import given
from hypothesis import strategies as st

from execpos.bridge.gaps import GapWatch, Hole, Receipt, parse

A = "production|S|9A95|1"


def receipt(seq: int, reset: str = "r", sequence: str = "v1:SD:st") -> str:
    return f"{sequence}:{reset}:{seq}"


def missing(holes: list[Hole]) -> list[int]:
    return [seq for hole in holes for seq in range(hole.first, hole.last + 1)]


def test_a_receipt_is_read_from_the_right() -> None:
    assert parse("v1:SD:A1EGVO30H:BOnKZSD:7") == Receipt("v1:SD:A1EGVO30H", "BOnKZSD", 7)
    assert parse("v1:SD:a:b|c:d:r:0012") == Receipt("v1:SD:a:b|c:d", "r", 12)


def test_what_is_no_receipt_is_none() -> None:
    wrong = ("", "7", "r:7", "v1:r:", "v1:r:-7", "v1:r:\u0667", "v1:r:1_0", "v1:r:7x", "v1:r:" + "9" * 61)

    assert [parse(text) for text in wrong] == [None] * len(wrong)


@given(st.integers(0, 10**40), st.permutations(range(12)))
def test_reports_that_overtake_each_other_within_the_tolerance_are_no_hole(first: int, order: list[int]) -> None:
    watch = GapWatch()
    watch.see(A, receipt(first), 0.0)
    for at, seq in enumerate(order):
        watch.see(A, receipt(first + 1 + seq), at * 0.1)
        assert watch.due(at * 0.1) == []

    assert watch.due(1e9) == []
    assert watch.baselines()[A]["v1:SD:st"][1] == str(first + 12)


@given(st.sets(st.integers(1, 30)), st.lists(st.integers(0, 30)))
def test_exactly_the_numbers_that_never_come_are_holes_and_each_is_told_once(came: set[int], repeats: list[int]) -> None:
    watch = GapWatch()
    watch.see(A, receipt(0), 0.0)
    for seq in sorted(came):
        watch.see(A, receipt(seq), 0.0)
    for seq in repeats:
        if seq in came:
            watch.see(A, receipt(seq), 0.5)

    found = watch.due(1.5)

    assert missing(found) == [seq for seq in range(1, max(came, default=0)) if seq not in came]
    assert watch.due(1e9) == []


def test_a_hole_waits_for_the_tolerance_and_a_late_report_closes_it() -> None:
    watch = GapWatch(tolerance_s=1.5)
    for seq, at in ((1, 0.0), (3, 10.0)):
        watch.see(A, receipt(seq), at)
    assert watch.due(11.4) == []

    watch.see(A, receipt(2), 11.45)

    assert watch.due(1e9) == []


def test_a_report_later_than_the_tolerance_opens_nothing_again() -> None:
    watch = GapWatch()
    for seq in (1, 4):
        watch.see(A, receipt(seq), 0.0)
    assert watch.due(2.0) == [Hole(A, "v1:SD:st", "r", 2, 3)]

    watch.see(A, receipt(2), 3.0)
    watch.see(A, receipt(5), 3.0)

    assert watch.due(1e9) == []


def test_orders_deals_and_accounts_count_apart() -> None:
    watch = GapWatch()
    for seq, sequence, account in ((1, "v1:SO:st", A), (9, "v1:SD:st", A), (5, "v1:SO:st", "other")):
        watch.see(account, receipt(seq, sequence=sequence), 0.0)
    watch.see(A, receipt(2, sequence="v1:SO:st"), 0.0)
    watch.see(A, receipt(12, sequence="v1:SD:st"), 0.0)

    assert watch.due(5.0) == [Hole(A, "v1:SD:st", "r", 10, 11)]


def test_a_new_reset_is_a_new_baseline_and_is_told_once() -> None:
    watch = GapWatch()
    watch.see(A, receipt(100), 0.0)

    assert watch.see(A, receipt(7, "s"), 0.0) is True
    assert watch.see(A, receipt(8, "s"), 0.0) is False
    assert watch.see(A, receipt(105), 0.0) is False, "a late report of the numbering that is over"
    assert watch.due(1e9) == []


def test_a_record_that_was_asked_for_closes_a_hole_and_begins_nothing() -> None:
    watch = GapWatch()
    watch.fill(A, receipt(50), 0.0)
    watch.see(A, receipt(1), 0.0)
    watch.fill(A, receipt(1, "s"), 0.0)
    watch.fill(A, receipt(2), 0.0)
    watch.see(A, receipt(3), 0.0)

    assert watch.due(1e9) == []
    assert watch.see(A, receipt(4), 0.0) is False


def test_a_gap_over_a_restart_is_seen() -> None:
    before = GapWatch()
    before.see(A, receipt(10), 0.0)
    before.see(A, receipt(1, "x"), 0.0)
    kept = json.loads(json.dumps(before.baselines()))

    after = GapWatch(kept)
    after.see(A, receipt(4, "x"), 0.0)

    assert GapWatch({A: {"v1:SD:st": ["x"], "v1:SO:st": 5}}).baselines() == {}, "what is not of its form is passed over"
    assert after.due(2.0) == [Hole(A, "v1:SD:st", "x", 2, 3)]
    assert after.see(A, receipt(11), 0.0) is False, "the earlier numbering is remembered"


def test_numbers_of_any_size_are_told_exactly() -> None:
    watch = GapWatch()
    big = 2**70
    watch.see(A, receipt(big), 0.0)
    watch.see(A, receipt(big + 2), 0.0)
    (hole,) = watch.due(2.0)

    assert json.loads(hole.payload()) == {"stream": "v1:SD:st", "reset": "r", "from": big + 1, "to": big + 1}
