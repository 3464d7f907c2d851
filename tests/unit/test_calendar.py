"""Trading dates and windows in Taipei time."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execpos.domain.calendar import Calendar, Window
from execpos.domain.events import Market
from execpos.settings import load

TAIPEI = timezone(timedelta(hours=8))
SHIPPED: Calendar = load(environ={}).rules().calendar


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=TAIPEI).timestamp() * 1_000_000)


def trading_date(text: str, market: Market) -> str:
    return (date(1970, 1, 1) + timedelta(days=SHIPPED.trading_date(us(text), market))).isoformat()


def day(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-05-21 09:00", "2026-05-21"),
        ("2026-05-21 00:00", "2026-05-21"),
        ("2026-05-21 23:59:59.999999", "2026-05-21"),
        ("2026-05-23 10:00", "2026-05-25"),  # a Saturday
        ("2026-05-01 10:00", "2026-05-04"),  # Labour Day, a Friday
        ("2026-02-11 13:30", "2026-02-11"),  # the last day before the Lunar New Year
        ("2026-02-12 09:00", "2026-02-23"),
    ],
)
def test_a_stock_event_belongs_to_its_local_date_or_the_next_trading_day(moment: str, expected: str) -> None:
    assert expected == trading_date(moment, "S")


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-05-21 08:45", "2026-05-21"),
        ("2026-05-21 13:45", "2026-05-21"),
        ("2026-05-21 14:44:59.999999", "2026-05-21"),
        ("2026-05-21 14:45", "2026-05-22"),
        ("2026-05-21 15:00", "2026-05-22"),
        ("2026-05-22 04:59", "2026-05-22"),
        ("2026-05-22 05:59:59.999999", "2026-05-22"),
        ("2026-05-22 06:00", "2026-05-22"),
        ("2026-05-22 15:00", "2026-05-25"),  # Friday night
        ("2026-05-23 04:59", "2026-05-25"),  # the same night, on Saturday
        ("2026-05-23 10:00", "2026-05-25"),
        ("2026-04-30 15:00", "2026-05-04"),  # the night before Labour Day
        ("2026-05-01 03:00", "2026-05-04"),  # the same night, on the holiday
        ("2026-05-25 03:00", "2026-05-25"),  # a Monday morning belongs to a night of Sunday, which was none
    ],
)
def test_a_night_belongs_to_the_trading_day_after_the_date_on_which_it_began(moment: str, expected: str) -> None:
    assert expected == trading_date(moment, "F")


@given(st.integers(-(10**17), 10**17), st.sampled_from(["S", "F"]))
def test_every_moment_has_a_trading_day_that_is_not_before_it_began(ts_us: int, market: str) -> None:
    of: Market = "S" if market == "S" else "F"
    found = SHIPPED.trading_date(ts_us, of)
    session_began_us = ts_us + (8 if of == "S" else 2) * 3_600_000_000

    assert SHIPPED.is_trading_day(found, of)
    assert 0 <= found - session_began_us // 86_400_000_000 <= 15


@given(st.integers(1_700_000_000, 1_900_000_000), st.integers(0, 10**6), st.sampled_from(["S", "F"]))
def test_a_trading_date_never_moves_back_in_time(ts_s: int, step_s: int, market: str) -> None:
    of: Market = "S" if market == "S" else "F"

    assert SHIPPED.trading_date(ts_s * 10**6, of) <= SHIPPED.trading_date((ts_s + step_s) * 10**6, of)


def test_outside_the_list_weekends_are_known_and_the_date_is_labelled() -> None:
    assert SHIPPED.covers(day("2025-01-01"))
    assert SHIPPED.covers(day("2026-12-31"))
    assert not SHIPPED.covers(day("2027-01-01"))
    assert not SHIPPED.covers(day("2024-12-31"))
    assert trading_date("2027-01-02 10:00", "S") == "2027-01-04"


def test_a_saturday_with_trading_and_a_holiday_of_one_market_are_kept_apart() -> None:
    calendar = Calendar(
        closed={"S": frozenset({day("2026-05-21")}), "F": frozenset()},
        extra={"S": frozenset({day("2026-05-23")}), "F": frozenset()},
        known_from=0,
        known_until=0,
    )

    assert calendar.trading_date(us("2026-05-21 10:00"), "S") == day("2026-05-22")
    assert calendar.trading_date(us("2026-05-21 10:00"), "F") == day("2026-05-21")
    assert calendar.trading_date(us("2026-05-23 10:00"), "S") == day("2026-05-23")
    assert calendar.trading_date(us("2026-05-23 10:00"), "F") == day("2026-05-25")


@pytest.mark.parametrize(
    ("moment", "market", "expected"),
    [
        ("2026-05-21 08:59:59", "S", ""),
        ("2026-05-21 09:00", "S", "stock_regular"),
        ("2026-05-21 13:30", "S", ""),
        ("2026-05-21 14:00", "S", "stock_after_hours"),
        ("2026-05-21 08:45", "F", "derivative_day"),
        ("2026-05-21 15:00", "F", "derivative_night"),
        ("2026-05-22 04:59", "F", "derivative_night"),
        ("2026-05-22 05:00", "F", ""),
        ("2026-05-23 03:00", "F", "derivative_night"),  # Saturday morning: the night of Friday
        ("2026-05-23 15:00", "F", ""),
        ("2026-05-25 03:00", "F", ""),  # Monday morning: Sunday has no night
        ("2026-05-23 10:00", "S", ""),
        ("2026-05-01 10:00", "S", ""),
    ],
)
def test_a_session_is_open_between_its_times_on_trading_days(moment: str, market: Market, expected: str) -> None:
    assert expected == SHIPPED.session(us(moment), market)


@pytest.mark.parametrize(
    ("moment", "market", "expected"),
    [
        ("2026-05-21 08:11:59", "S", ""),
        ("2026-05-21 08:12", "S", "broker_maintenance"),
        ("2026-05-21 08:29:59.999999", "F", "broker_maintenance"),
        ("2026-05-21 08:30", "F", ""),
        ("2026-05-23 08:15", "S", "broker_maintenance"),  # also on a Saturday
        ("2026-05-21 14:30", "S", "stock_end_of_day_batch"),
        ("2026-05-21 13:45", "F", "derivative_end_of_day_batch"),
        ("2026-05-21 13:45", "S", ""),
    ],
)
def test_the_broker_is_left_alone_in_blackout_windows(moment: str, market: Market, expected: str) -> None:
    assert expected == SHIPPED.blackout(us(moment), market)


def test_a_window_as_long_as_the_day_is_always_open() -> None:
    window = Window("all", "*", 0, 0, trading_days_only=False)
    calendar = Calendar({}, {}, 0, 0, blackouts=(window,))

    for hour in range(24):
        assert calendar.blackout(us(f"2026-05-23 {hour:02}:30"), "S") == "all"


def test_the_memo_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execpos.domain.calendar._MEMO_LIMIT", 5)
    calendar = Calendar({}, {}, 0, 0)

    for offset in range(100):
        calendar.trading_date(offset * 86_400_000_000, "F")
        assert len(calendar._memo) <= 5


def test_days_are_those_of_utc_plus_eight_and_not_of_utc() -> None:
    late = int(datetime(2026, 5, 20, 16, 30, tzinfo=UTC).timestamp() * 1_000_000)

    assert SHIPPED.trading_date(late, "S") == day("2026-05-21")
