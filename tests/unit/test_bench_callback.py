"""The bench's own arithmetic: it is open loop, and its figures are what they say."""

import time

from execpos.bench.callback import Timed


def test_a_handler_that_blocks_delays_every_report_that_was_due_meanwhile() -> None:
    calls: list[object] = []
    blocked_ns = 20_000_000

    def handler(state: object, event: object) -> None:
        calls.append((state, event))
        if len(calls) == 1:
            end_ns = time.perf_counter_ns() + blocked_ns
            while time.perf_counter_ns() < end_ns:
                pass

    timed = Timed(handler, [("a", 1), ("b", 2)], 10, rate=1000.0)
    timed.run()

    assert calls == [("a", 1), ("b", 2)] * 5
    # Report i was due i ms after the first one, whose handler took 20 ms: none of the ten could be in time.
    assert [delay >= blocked_ns - number * 1_000_000 for number, delay in enumerate(timed.delay_ns)] == [True] * 10
    assert timed.call_ns[0] >= blocked_ns


def test_figures_are_percentiles_in_microseconds() -> None:
    timed = Timed(lambda state, event: None, [("a", 1)], 1000, rate=10_000.0)
    for number in range(1000):
        timed.call_ns[number] = (1000 - number) * 1000
        timed.delay_ns[number] = 2000 * number

    assert timed.figures() == {
        "p50_us": 501.0,
        "p99_us": 991.0,
        "p999_us": 1000.0,
        "max_us": 1000.0,
        "capture_delay_p50_us": 1000.0,
        "capture_delay_p99_us": 1980.0,
        "capture_delay_p999_us": 1998.0,
        "capture_delay_max_us": 1998.0,
    }


def test_without_a_rate_nothing_is_due_and_no_delay_is_claimed() -> None:
    timed = Timed(lambda state, event: None, [("a", 1)], 10, rate=0.0)
    timed.run()

    assert not any(name.startswith("capture_delay") for name in timed.figures())
