"""What a snapshot is: its digest, its parts, and when a session ends."""

import hashlib
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execpos.domain import snapshot
from execpos.domain.calendar import Calendar, Window
from execpos.domain.events import Lot, OpenOrder, PositionSnapshot, PositionState
from execpos.domain.ids import session_name, session_ordinal
from execpos.domain.sessions import last_ended, next_end
from ledger_world import RULES

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
# Midnight in Taipei at the beginning of Thursday 2026-05-21.
MIDNIGHT_US = 1_779_292_800_000_000


def row(number: int = 1, **changes: Any) -> PositionState:
    blank: dict[Any, Any] = {str: "", int: 0, bool: False}
    fields = {name: blank.get(kind, ()) for name, kind in PositionState.__annotations__.items()}
    fields |= {"position_key": f"a|{number}", "quantity": number, "open_cost": 7 * number, "version": 3, "quality": "CONFIRMED"}
    return PositionState(**{**fields, **changes})


def order(number: int = 1, **changes: Any) -> OpenOrder:
    blank: dict[Any, Any] = {str: "", int: 0}
    fields = {name: blank[kind] for name, kind in OpenOrder.__annotations__.items()}
    return OpenOrder(**{**fields, "order_key": f"o{number}", "leaves": number, **changes})


ROWS = [row(number) for number in range(1, 20)]
ORDERS = [order(number) for number in range(1, 6)]


def test_the_digest_does_not_depend_on_the_order_of_rows_and_orders() -> None:
    rows, orders = list(ROWS), list(ORDERS)
    random.Random(1).shuffle(rows)
    random.Random(2).shuffle(orders)

    assert snapshot.digest(rows, orders) == snapshot.digest(ROWS, ORDERS)
    assert snapshot.digest((), ()) == "0" * 32


IN_DIGEST = {
    "position_key", "quantity", "open_cost", "realized_pnl", "realized_pnl_day", "trading_date", "fees", "taxes", "basis_adjustment",
    "day_buy_quantity", "day_buy_amount", "day_sell_quantity", "day_sell_amount", "day_open_cost", "cost_method", "lots", "lots_merged",
    "multiplier", "quality", "fee_quality", "version",
}  # fmt: skip


@pytest.mark.parametrize("name", PositionState.__struct_fields__)
def test_the_digest_sees_what_the_book_is_and_nothing_of_how_it_was_handled(name: str) -> None:
    now = getattr(ROWS[3], name)
    other: Any = {str: "x", int: 99, bool: True, tuple: (Lot(1, 2, "f"),)}[type(now)]
    changed = [*ROWS[:3], msgspec.structs.replace(ROWS[3], **{name: other}), *ROWS[4:]]

    assert (snapshot.digest(changed, ORDERS) != snapshot.digest(ROWS, ORDERS)) == (name in IN_DIGEST)


def test_the_digest_tells_a_missing_and_a_doubled_row_and_order() -> None:
    whole = snapshot.digest(ROWS, ORDERS)

    assert snapshot.digest(ROWS[1:], ORDERS) != whole
    assert snapshot.digest([*ROWS, ROWS[0]], ORDERS) != whole
    assert snapshot.digest(ROWS, ORDERS[1:]) != whole
    assert snapshot.digest(ROWS, [*ORDERS[1:], order(1, leaves=2)]) != whole


def test_the_digest_is_the_text_of_the_contract() -> None:
    lots = (Lot(1000, 600_000_000_000, "f1"), Lot(2000, 1_200_000_000_000, "f2"))
    held = row(
        1, position_key="production|S|9A95|1|2330|cash|*", quantity=3000, open_cost=1_800_000_000_000, realized_pnl=-5, realized_pnl_day=-6,
        trading_date=20594, fees=7, taxes=8, basis_adjustment=9, day_buy_quantity=10, day_buy_amount=11, day_sell_quantity=12,
        day_sell_amount=13, day_open_cost=14, cost_method="fifo", lots=lots, lots_merged=True, multiplier=1, quality="CONFLICT",
        fee_quality="ESTIMATED", version=42,
    )  # fmt: skip
    working = order(
        1, order_key="k", strategy_id="momentum-1", symbol="台積電", side="BUY", price=15, quantity=16, cum_filled=17, cancelled=18,
        leaves=19, status="PART_FILLED",
    )  # fmt: skip
    of_lots = "1000:600000000000:f1;2000:1200000000000:f2"
    texts = [
        f"{held.position_key},3000,1800000000000,-5,-6,20594,7,8,9,10,11,12,13,14,fifo,{of_lots},1,1,CONFLICT,ESTIMATED,42",
        "k,momentum-1,台積電,BUY,15,16,17,18,19,PART_FILLED",
    ]
    hashes = [hashlib.sha256(text.replace(",", "\n").encode()).digest()[:16] for text in texts]
    expected = sum(int.from_bytes(one, "big") for one in hashes) % (1 << 128)

    assert snapshot.digest([held], [working]) == f"{expected:032x}"


SIZES = st.lists(st.integers(1, 400), max_size=40)


@given(SIZES, SIZES, SIZES, st.integers(1, 1000))
def test_parts_hold_everything_once_in_order_and_stay_below_the_limit(
    rows: list[int], orders: list[int], valuations: list[int], bytes_max: int
) -> None:
    parts = snapshot.split(rows, orders, valuations, bytes_max)

    for sizes, name in ((rows, "rows"), (orders, "orders"), (valuations, "valuations")):
        spans = [getattr(part, name) for part in parts]
        assert [size for first, end in spans for size in sizes[first:end]] == sizes
    for part in parts:
        taken = [*rows[slice(*part.rows)], *orders[slice(*part.orders)], *valuations[slice(*part.valuations)]]
        assert sum(taken) <= bytes_max or len(taken) == 1
        assert taken or len(parts) == 1


def part(number: int, parts: int, name: str = "s", account: str = "a") -> PositionSnapshot:
    blank: dict[Any, Any] = {str: "", int: 0}
    fields = {key: blank.get(kind, ()) for key, kind in PositionSnapshot.__annotations__.items()}
    given_fields = {"snapshot_id": name, "account": account, "part": number, "parts": parts, "positions": (row(number),)}
    return PositionSnapshot(**{**fields, **given_fields})


def test_parts_come_together_and_what_is_incomplete_is_dropped() -> None:
    put = snapshot.Parts()

    assert put.take(part(2, 3)) is None  # its first part is past the beginning
    assert put.take(part(3, 3)) is None
    assert put.take(part(1, 3, "t")) is None
    assert put.take(part(1, 2, "other", "b")) is None  # another account's stands between
    assert put.take(part(2, 3, "t")) is None
    whole = put.take(part(3, 3, "t"))
    assert whole is not None
    assert (whole.part, whole.parts, whole.positions) == (1, 1, (row(1), row(2), row(3)))
    assert put.take(part(1, 2, "u")) is None
    assert put.take(part(1, 2, "v")) is None  # u was never finished
    assert put.take(part(2, 2, "v")) is not None
    assert put.take(part(2, 2, "other", "b")) is not None


# --- sessions ---------------------------------------------------------------------------------------------------------------------------

CALENDAR: Calendar = RULES.calendar


def at(day: int, hour: float) -> int:
    """Return a moment in Taipei, `day` days after 2026-05-21."""
    return MIDNIGHT_US + day * DAY_US + round(hour * HOUR_US)


@pytest.mark.parametrize(
    ("market", "moment_us", "session"),
    [
        ("S", at(0, 14.5), "2026-05-21D"),
        ("S", at(0, 14.5) - 1, "2026-05-20D"),
        ("S", at(1, 9), "2026-05-21D"),
        ("S", at(4, 9), "2026-05-22D"),  # Monday morning: Friday's
        ("F", at(0, 13.75), "2026-05-21D"),
        ("F", at(0, 13.75) - 1, "2026-05-20N"),
        ("F", at(1, 5), "2026-05-21N"),
        ("F", at(2, 4.9), "2026-05-22D"),
        ("F", at(4, 8), "2026-05-22N"),  # the night of Friday
    ],
)
def test_the_newest_session_that_is_over(market: Any, moment_us: int, session: str) -> None:
    found = last_ended(CALENDAR, market, moment_us)

    assert found is not None
    assert (found.session_id, found.ordinal) == (session, session_ordinal(session))
    assert found.end_us <= moment_us


def test_sessions_end_one_after_the_other_and_none_is_left_out() -> None:
    for market in ("S", "F"):
        known: Any = market
        moment_us = at(0, 0)
        seen: list[int] = []
        while len(seen) < 120:
            end_us = next_end(CALENDAR, known, moment_us)
            assert end_us is not None
            ended = last_ended(CALENDAR, known, end_us)
            before = last_ended(CALENDAR, known, end_us - 1)
            assert ended is not None
            assert before is not None
            assert ended.end_us == end_us
            assert before.ordinal < ended.ordinal
            seen.append(ended.ordinal)
            moment_us = end_us
        assert seen == sorted(set(seen))


def test_a_calendar_without_sessions_never_closes_one() -> None:
    empty = Calendar({}, {}, 0, 0)
    other = Calendar({}, {}, 0, 0, (Window("night", "F", 54_000, 18_000),))

    assert last_ended(empty, "S", at(0, 12)) is None
    assert next_end(empty, "S", at(0, 12)) is None
    assert last_ended(other, "S", at(0, 12)) is None
    assert next_end(other, "F", at(0, 12)) == at(1, 5)


def test_a_session_has_one_name_and_one_number() -> None:
    for session in ("2026-05-21D", "2026-05-21N", "1970-01-01D", "2099-12-31N"):
        assert session_name(session_ordinal(session)) == session


def test_sessions_sort_by_name_as_by_number() -> None:
    first = session_ordinal("2025-12-01D")
    names = [session_name(number) for number in range(first, first + 1000)]

    assert names == sorted(names)
