"""The budget of calls: windows, suspensions, logins, blackouts, and what a restart knows of them."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execpos.brokers.budget import Budget, BudgetLimits, Rate
from execpos.brokers.budget.window import Window
from execpos.brokers.protocol import BrokerError
from execpos.settings import load
from shioaji_fake import Clock, Memory

SECOND_US = 1_000_000
ROOT = Path(__file__).parents[2]


def budget(clock: Clock, state: Memory | None = None, limits: BudgetLimits | None = None, blackout: Any = None) -> Budget:
    return Budget(
        limits or BudgetLimits(),
        state or Memory(),
        wall_us=clock.wall_us,
        monotonic_us=clock.monotonic_us,
        sleep=clock.sleep,
        blackout=blackout,
    )


def ask(one: Budget, *groups: Any, wait_s: float = 0.0, market: Any = None) -> None:
    with one.call("a question", *groups, wait_s=wait_s, market=market):
        pass


def refused(call: Callable[[], object]) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(("group", "calls"), [("accounting", 20), ("orders", 200), ("data", 40), ("logins", 800)])
def test_four_fifths_of_each_published_limit_are_used_and_the_next_call_is_refused_with_its_moment(group: Any, calls: int) -> None:
    clock = Clock()
    one = budget(clock)

    for _ in range(calls):
        ask(one, group)
    error = refused(lambda: ask(one, group))

    assert error.kind == "budget"
    assert one.states()[group].remaining == 0
    until_us = error.fields["until_us"]
    assert isinstance(until_us, int)
    clock.sleep((until_us - clock.wall_us()) / 1e6)
    ask(one, group)


def test_a_call_waits_for_its_turn_as_long_as_it_may() -> None:
    clock = Clock()
    one = budget(clock)
    began_us = clock.now_us

    for _ in range(21):
        ask(one, "accounting", wait_s=6)

    assert 5 * SECOND_US < clock.now_us - began_us < 5.1 * SECOND_US


def test_a_wait_that_is_too_short_is_not_begun() -> None:
    clock = Clock()
    one = budget(clock)
    for _ in range(20):
        ask(one, "accounting")
    began_us = clock.now_us

    assert refused(lambda: ask(one, "accounting", wait_s=4.9)).kind == "budget"
    assert clock.now_us == began_us


def test_a_call_of_two_groups_counts_in_both_or_in_none() -> None:
    clock = Clock()
    one = budget(clock, limits=BudgetLimits(accounting=Rate(5, 5), orders=Rate(5, 10)))
    for _ in range(4):
        ask(one, "accounting", "orders")
    clock.sleep(5.1)

    assert refused(lambda: ask(one, "accounting", "orders")).kind == "budget"
    assert one.states()["accounting"].remaining == 4


def test_a_slow_call_counts_from_its_end() -> None:
    """The broker may have counted it at any moment while it ran."""
    clock = Clock()
    one = budget(clock, limits=BudgetLimits(accounting=Rate(1, 5)))
    with one.call("slow", "accounting", wait_s=0):
        clock.sleep(20)

    clock.sleep(4.9)
    assert refused(lambda: ask(one, "accounting")).kind == "budget"
    clock.sleep(0.2)
    ask(one, "accounting")


def test_a_call_that_raises_is_counted_as_well() -> None:
    one = budget(Clock(), limits=BudgetLimits(accounting=Rate(1, 5)))
    with pytest.raises(ZeroDivisionError), one.call("a question", "accounting", wait_s=0):
        _ = 1 / 0

    assert one.states()["accounting"].remaining == 0


@given(
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), max_size=60),
    st.randoms(use_true_random=False),
)
def test_no_span_holds_more_than_the_limit_wherever_the_broker_counts_each_call(
    limit: int, calls: list[tuple[int, int]], chance: random.Random
) -> None:
    span_us, now_us = 1000, 0
    window = Window(limit, span_us)
    counted = []
    for pause_us, length_us in calls:
        now_us += pause_us
        wait_us = window.wait_us(now_us)
        assert (wait_us == 0) == (window.free(now_us) > 0)
        now_us += wait_us
        assert window.free(now_us) > 0, "the wait was too short"
        window.begin()
        counted.append(now_us + chance.randint(0, length_us))
        now_us += length_us
        window.end(now_us)

    for first, later in zip(counted, counted[limit:], strict=False):
        assert later - first > span_us


def test_running_calls_count() -> None:
    window = Window(2, 1000)
    window.begin()
    window.begin()

    assert window.free(0) == 0
    assert window.wait_us(0) > 0
    window.end(10)
    assert window.wait_us(10) == 1001


# -- suspensions


def test_a_suspension_silences_every_group_for_a_minute() -> None:
    clock = Clock()
    one = budget(clock)
    until_us = one.suspend()

    assert until_us == clock.wall_us() + 60 * SECOND_US
    for group in ("accounting", "orders", "data", "logins"):
        error = refused(lambda group=group: ask(one, group, wait_s=600))  # type: ignore[misc] # (bound now)
        assert (error.kind, error.fields["until_us"]) == ("suspended", until_us)
        assert one.states()[group].suspended_until == until_us
    clock.sleep(60)
    assert not one.suspended()
    ask(one, "logins")


def test_each_further_suspension_of_a_day_lasts_twice_as_long_up_to_a_limit_and_a_day_later_it_is_a_minute_again() -> None:
    clock = Clock()
    one = budget(clock)

    lengths = []
    for _ in range(6):
        lengths.append((one.suspend() - clock.wall_us()) / SECOND_US)
        clock.sleep(lengths[-1])
    assert lengths == [60, 120, 240, 480, 900, 900]

    clock.sleep(86_400)
    assert one.suspend() - clock.wall_us() == 60 * SECOND_US


def test_a_suspension_outlives_a_restart_and_so_does_the_count_of_the_day() -> None:
    clock, state = Clock(), Memory()
    budget(clock, state).suspend()
    clock.sleep(20)

    again = budget(clock, state)

    error = refused(lambda: ask(again, "logins"))
    assert (error.kind, error.fields["until_us"]) == ("suspended", clock.wall_us() + 40 * SECOND_US)
    clock.sleep(40)
    assert again.suspend() - clock.wall_us() == 120 * SECOND_US


@pytest.mark.parametrize("jump_s", [-86_400 * 400, 86_400 * 400])
def test_a_clock_that_jumps_neither_ends_a_suspension_nor_shuts_out_for_ever(jump_s: int) -> None:
    clock, state = Clock(), Memory()
    one = budget(clock, state)
    one.suspend()
    clock.ahead_us += jump_s * SECOND_US

    assert one.suspended()
    again = budget(clock, state)
    clock.sleep(900)
    assert not one.suspended()
    assert not again.suspended()


def test_a_suspension_that_cannot_be_kept_is_honoured_all_the_same() -> None:
    state = Memory()
    one = budget(Clock(), state)
    state.full = True
    one.suspend()

    assert one.suspended()


# -- logins and restarts


def test_logins_are_counted_over_any_day_and_across_restarts() -> None:
    clock, state = Clock(), Memory()
    limits = BudgetLimits(logins=Rate(10, 86_400))
    for _ in range(8):
        ask(budget(clock, state, limits), "logins")
        clock.sleep(3_600)

    assert refused(lambda: ask(budget(clock, state, limits), "logins")).kind == "budget"
    clock.sleep(86_400 - 8 * 3_600 + 61)
    ask(budget(clock, state, limits), "logins")
    assert refused(lambda: ask(budget(clock, state, limits), "logins")).kind == "budget"


def test_a_login_that_cannot_be_counted_on_disk_is_not_made() -> None:
    state = Memory()
    one = budget(Clock(), state)
    state.full = True

    assert refused(lambda: ask(one, "logins")).kind == "failed"
    state.full = False
    ask(one, "logins")


def test_other_calls_go_on_with_a_full_disk() -> None:
    state = Memory()
    one = budget(Clock(), state)
    state.full = True

    ask(one, "accounting")


def test_a_process_that_is_killed_and_started_at_once_does_not_use_the_window_twice() -> None:
    clock, state = Clock(), Memory()
    one = budget(clock, state)
    for _ in range(20):
        ask(one, "accounting")
        clock.sleep(0.04)

    again = budget(clock, state)

    assert again.states()["accounting"].remaining == 0
    assert again.states()["orders"].remaining == 200
    clock.sleep(6.1)
    assert again.states()["accounting"].remaining == 20


def test_a_second_restart_still_knows_what_the_first_process_used() -> None:
    clock, state = Clock(), Memory()
    one = budget(clock, state)
    for _ in range(200):
        ask(one, "orders")
    ask(budget(clock, state), "accounting")

    assert budget(clock, state).states()["orders"].remaining == 0


def test_a_restart_after_few_calls_has_most_of_the_window_left() -> None:
    """A bridge that comes back has to catch up at once."""
    clock, state = Clock(), Memory()
    one = budget(clock, state)
    for _ in range(3):
        ask(one, "orders", "accounting")

    again = budget(clock, state)

    assert again.states()["orders"].remaining >= 140
    assert again.states()["accounting"].remaining >= 10


def test_few_calls_cost_few_writes() -> None:
    class Counting(Memory):
        writes = 0

        def set(self, key: str, value: Any) -> None:
            self.writes += 1
            super().set(key, value)

    clock, state = Clock(), Counting()
    one = budget(clock, state)
    for _ in range(10):
        ask(one, "accounting")
        clock.sleep(0.09)

    assert 0 < state.writes <= 3


@pytest.mark.parametrize(
    "junk",
    [
        {"budget.silence": 3, "budget.logins": {"a": 1}, "budget.used": []},
        {
            "budget.silence": {"until": "x", "times": [None, "y"]},
            "budget.logins": ["x", None, 1.5],
            "budget.used": {"accounting": ["z", 1], "orders": [1, 2, 3]},
        },
        {
            "budget.silence": {"until": 10**30, "times": [10**30]},
            "budget.logins": [10**30],
            "budget.used": {"orders": [10**30, 10**30], "data": [-5, -5]},
        },
    ],
)
def test_a_state_that_holds_something_else_stops_nobody(junk: dict[str, Any]) -> None:
    clock, state = Clock(), Memory()
    state.values.update(junk)
    one = budget(clock, state)
    clock.sleep(901)

    for group in ("accounting", "orders", "data", "logins"):
        ask(one, group)


# -- blackouts

TAIPEI = timezone(timedelta(hours=8))


def at(hour: int, minute: int) -> Clock:
    return Clock(int(datetime(2026, 5, 19, hour, minute, tzinfo=TAIPEI).astimezone(UTC).timestamp() * 1e6))


@pytest.mark.parametrize(
    ("clock", "group", "market", "until"),
    [
        (at(8, 11), "logins", None, None),
        (at(8, 12), "logins", None, (8, 30)),
        (at(8, 29), "orders", "S", (8, 30)),
        (at(8, 30), "logins", None, None),
        (at(14, 10), "accounting", "F", (14, 45)),
        (at(14, 10), "accounting", "S", None),
        (at(14, 10), "orders", "F", None),
        (at(14, 35), "accounting", "S", (15, 0)),
        (at(14, 35), "logins", None, None),
    ],
)
def test_the_broker_is_not_asked_in_the_windows_of_the_calendar(
    clock: Clock, group: Any, market: Any, until: tuple[int, int] | None
) -> None:
    """In the maintenance nothing; while a market's books are closed, no positions and profits of that market."""
    one = budget(clock, blackout=load(ROOT / "config", environ={}).rules().calendar.blackout)

    if until is None:
        ask(one, group, market=market)
    else:
        error = refused(lambda: ask(one, group, market=market, wait_s=7_200))
        assert (error.kind, error.fields["until_us"]) == ("suspended", at(*until).wall_us())
