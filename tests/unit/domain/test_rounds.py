"""What one round holds, and what the accounts of a login may ask together."""

from typing import Any

import msgspec

from execpos.domain.events import BrokerRequest, BrokerSnapshot
from execpos.domain.reconciliation import rounds
from execpos.domain.reconciliation.pace import Pace, calls_of
from execpos.domain.reconciliation.rounds import Round
from execpos.domain.reconciliation.sides import Book
from reconcile_world import MORNING_US, STOCK, World

SECOND_US = 1_000_000


def request(*what: str, reads: int = 1, name: str = "r.1") -> BrokerRequest:
    return BrokerRequest(name, STOCK, what, reads, 0, 0, "reconciler", "", MORNING_US, MORNING_US)


def answer(what: str = "POSITIONS", read: int = 1, **changes: Any) -> BrokerSnapshot:
    plain = BrokerSnapshot(
        request_id="r.1", account=STOCK, what=what, read=read, reads=2, part=1, parts=1, outcome="OK", detail="",
        marker_before=f"r.1/{what}/{read}/before", marker_after=f"r.1/{what}/{read}/after", began_ts=MORNING_US, ended_ts=MORNING_US,
        records=0, positions=(), lots=(), orders=(), profits=(), bridge_id="b", bridge_epoch=1, sdk_version="", ts=MORNING_US,
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def book(marker: str) -> Book:
    return Book(marker, 1, 1, 0, {}, {}, (), 0, 0, 0)


def asked(*what: str, reads: int = 2) -> Round:
    return rounds.asked(Round("r", ("START",), (), 0, "READ", 0), request(*what, reads=reads))


def test_a_round_is_complete_with_every_answer_and_every_book_at_its_markers() -> None:
    current = asked("POSITIONS")
    for read in (1, 2):
        assert not rounds.complete(current)
        current = rounds.answered(current, answer(read=read))
    for read in (1, 2):
        for side in ("before", "after"):
            assert not rounds.complete(current)
            current = rounds.marked(current, book(f"r.1/POSITIONS/{read}/{side}"))

    assert rounds.complete(current)
    assert [one.read for one in rounds.reads(current)] == [1, 2]
    assert rounds.calls(current) == 2


def test_answers_that_were_not_asked_for_or_came_before_change_nothing() -> None:
    current = rounds.answered(asked("POSITIONS"), answer())

    assert rounds.answered(current, answer(outcome="FAILED")) == current
    assert rounds.answered(current, answer(request_id="another.1", read=2)) == current
    assert rounds.answered(current, answer("ORDERS")) == current
    assert rounds.marked(current, book("another.1/POSITIONS/1/before")) == current


def test_a_failed_answer_needs_no_book() -> None:
    current = rounds.answered(asked("POSITIONS", reads=1), answer(outcome="TIMEOUT", marker_before="", marker_after=""))

    assert rounds.complete(current)
    assert rounds.last(current, "POSITIONS") is None
    assert rounds.calls(current) == 0


def test_books_are_bounded() -> None:
    current = asked("POSITIONS")
    for number in range(1000):
        current = rounds.marked(current, book(f"r.1/{number}"))

    assert len(current.books) == 64


def test_the_pace_gives_no_span_more_than_its_limit() -> None:
    pace, given = Pace(20, 5 * SECOND_US), []
    for tick in range(400):
        now_us = MORNING_US + tick * SECOND_US // 20
        if pace.free(now_us) >= 2:
            pace = pace.after((request("POSITIONS", reads=2),), now_us)
            given.append(now_us)

    for at_us in given:
        assert sum(2 for one in given if at_us <= one < at_us + 5 * SECOND_US) <= 20
    # All of it may be asked for at once: ten accounts that start together.
    assert len([one for one in given if one == MORNING_US]) <= 1
    assert len([one for one in given if one < MORNING_US + SECOND_US]) == 10


def test_the_pace_heeds_what_the_bridge_says_is_left_until_that_is_old() -> None:
    heartbeat = msgspec.structs.replace(World().heartbeat(), remaining_accounting=3, ts=MORNING_US)
    pace = Pace(20, 5 * SECOND_US).heard(heartbeat, MORNING_US)

    assert pace.free(MORNING_US) == 3
    assert pace.after((request("POSITIONS", reads=2),), MORNING_US + 1).free(MORNING_US + 2) == 1
    assert pace.free(MORNING_US + 6 * SECOND_US) == 20


def test_what_is_on_its_way_to_the_bridge_when_it_speaks_is_not_free_again() -> None:
    said = msgspec.structs.replace(World().heartbeat(), remaining_accounting=2)
    asked = Pace(20, 5 * SECOND_US).after((request("POSITIONS", reads=2),), MORNING_US)
    soon = asked.heard(msgspec.structs.replace(said, ts=MORNING_US + SECOND_US // 10), MORNING_US + SECOND_US // 10)
    later = asked.heard(msgspec.structs.replace(said, ts=MORNING_US + SECOND_US // 2), MORNING_US + SECOND_US // 2)

    assert soon.free(MORNING_US + SECOND_US // 10) == 0
    assert later.free(MORNING_US + SECOND_US // 2) == 2


def test_records_and_orders_are_not_calls_of_the_accounting_group() -> None:
    assert calls_of(request("CATCHUP")) == calls_of(request("ORDERS")) == 0
    assert calls_of(request("POSITIONS", reads=2)) == 2
    assert calls_of(request("PROFIT_LOSS")) == 1
