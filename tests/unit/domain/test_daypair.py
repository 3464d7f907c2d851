"""One row under day_pair_average: the day's fills pair first, and the row is a function of the morning and of the day's sums."""

from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execpos.domain import invariants, positions
from execpos.domain.positions import EMPTY, Entry, EntryKind, Row
from scenarios import examples

TODAY, YESTERDAY = 20_594, 20_593


def fill(seq: int, quantity: int, price: int, day: int = TODAY) -> Entry:
    return Entry(seq, f"f{seq}", quantity, quantity * price, 0, 0, day)


def correction(kind: EntryKind, quantity: int, amount: int, day: int = TODAY) -> Entry:
    return Entry(99, "c", quantity, amount, 0, 0, day, kind)


def row_of(*entries: Entry, base: Row = EMPTY) -> Row:
    row = base
    for entry in entries:
        before, row = row, positions.apply(row, entry, "day_pair_average", 256)
        invariants.conservation(before, row, entry)
        invariants.row_consistent(row, "day_pair_average")
    return row


# 10 at 90 since yesterday.
MORNING = row_of(fill(1, 10, 90, YESTERDAY))


def test_a_buy_and_a_sale_of_one_day_meet_each_other_and_leave_the_morning_alone() -> None:
    row = row_of(fill(2, 4, 100), fill(3, -4, 110), base=MORNING)

    # Moving average would have sold 4 of 14 at 92.857.
    assert (row.quantity, row.open_cost, row.realized, row.realized_day) == (10, 900, 40, 40)


def test_what_is_bought_beyond_the_day_s_sales_joins_the_morning_at_the_day_s_average() -> None:
    row = row_of(fill(2, 4, 100), fill(3, -2, 110), fill(4, 4, 106), base=MORNING)

    # Bought 8 for 824, 103 each: two pair, six join.
    assert (row.quantity, row.open_cost, row.realized_day) == (16, 900 + 618, 220 - 206)


def test_what_is_sold_beyond_the_day_s_buys_comes_from_the_morning() -> None:
    row = row_of(fill(2, 2, 100), fill(3, -5, 110), base=MORNING)

    assert (row.quantity, row.open_cost, row.realized_day) == (7, 630, (220 - 200) + (330 - 270))


def test_a_day_that_goes_through_zero_closes_the_morning_and_opens_the_rest_at_the_day_s_average() -> None:
    row = row_of(fill(2, -14, 110), fill(3, 1, 100), base=MORNING)

    # One pairs, ten close the morning, three are short.
    assert (row.quantity, row.open_cost, row.realized_day) == (-3, -330, 10 + 200)


def test_a_sale_before_the_buy_is_the_same_day_trade() -> None:
    assert row_of(fill(2, -4, 110), fill(3, 4, 100)).realized == 40
    assert row_of(fill(2, -4, 110), fill(3, 4, 100)).quantity == 0


def test_the_next_day_begins_with_what_was_left() -> None:
    row = row_of(fill(2, 2, 100), fill(3, -1, 120), fill(4, 1, 50, TODAY + 1), fill(5, -1, 60, TODAY + 1), base=MORNING)

    assert (row.day_open_cost, row.realized, row.realized_day) == (1000, 30, 10)
    assert (row.quantity, row.open_cost) == (11, 1000)


def test_a_late_fill_of_an_earlier_day_meets_the_morning_and_today_is_computed_again() -> None:
    late = row_of(fill(2, -15, 110), fill(3, 5, 80, YESTERDAY), base=MORNING)

    # Morning 15 for 1300; all of it is sold for 1650.
    assert (late.quantity, late.open_cost, late.realized, late.realized_day) == (0, 0, 350, 350)
    earlier = row_of(fill(3, -5, 110, YESTERDAY), fill(2, 1, 100), base=MORNING)
    assert (earlier.realized, earlier.realized_day) == (100, 0)
    swapped = row_of(fill(2, 1, 100), fill(3, -5, 110, YESTERDAY), base=MORNING)
    assert swapped == earlier


def test_every_order_of_one_day_s_fills_ends_in_the_same_row() -> None:
    day = [fill(2, 3, 101), fill(3, -7, 113), fill(4, 5, 97), fill(5, -11, 127), fill(6, 2, 103)]

    assert len({msgspec.json.encode(row_of(*order, base=MORNING)) for order in permutations(day)}) == 1


@examples(150)
@given(
    st.lists(st.tuples(st.integers(-9, 9).filter(bool), st.integers(1, 10**8), st.integers(0, 2)), min_size=1, max_size=10),
    st.lists(st.sampled_from(["TRANSFER", "AT_COST", "COST_BASIS", "FEES"]), max_size=4),
    st.data(),
)
def test_money_is_conserved_through_fills_of_any_day_and_corrections_among_them(
    fills: list[tuple[int, int, int]], kinds: list[EntryKind], data: st.DataObject
) -> None:
    entries = [fill(seq, quantity, price, TODAY + day) for seq, (quantity, price, day) in enumerate(fills, 1)]
    for kind in kinds:
        quantity = 0 if kind in {"COST_BASIS", "FEES"} else data.draw(st.integers(-5, 5).filter(bool))
        amount = 0 if kind == "FEES" else data.draw(st.integers(0, 10**8)) * (quantity or 1)
        entries.insert(data.draw(st.integers(0, len(entries))), correction(kind, quantity, amount, TODAY + data.draw(st.integers(0, 2))))

    row, cash = EMPTY, 0
    for entry in entries:
        before, row = row, positions.apply(row, entry, "day_pair_average", 256)
        if entry.kind == "COST_BASIS" and not before.quantity:
            assert row == before
            continue
        invariants.conservation(before, row, entry)
        invariants.row_consistent(row, "day_pair_average")
        assert row.quantity == before.quantity + entry.quantity
        cash -= entry.amount if entry.kind != "COST_BASIS" else 0
    assert row.realized == cash + row.open_cost - row.basis


@examples(100)
@given(
    st.lists(st.tuples(st.integers(-9, 9).filter(bool), st.integers(1, 10**8), st.integers(0, 2)), min_size=1, max_size=10),
    st.integers(0, 10),
)
def test_a_refold_from_any_base_gives_the_same_row(fills: list[tuple[int, int, int]], cut: int) -> None:
    entries = [fill(seq, quantity, price, TODAY + day) for seq, (quantity, price, day) in enumerate(fills, 1)]
    base = positions.refold(EMPTY, entries[:cut], "day_pair_average", 4)

    assert positions.refold(base, entries[cut:], "day_pair_average", 4) == positions.refold(EMPTY, entries, "day_pair_average", 4)


def test_corrections_of_the_day_count_as_the_morning_s() -> None:
    basis = row_of(fill(2, -5, 110), correction("COST_BASIS", 0, 50), base=MORNING)
    assert (basis.open_cost, basis.realized_day, basis.basis) == (475, 550 - 475, 50)
    given_away = row_of(fill(2, 4, 100), correction("TRANSFER", -4, -360), fill(3, -4, 110), base=MORNING)
    assert (given_away.quantity, given_away.open_cost, given_away.realized, given_away.realized_day) == (6, 540, 40, 40)
    at_cost = row_of(fill(2, 4, 100), correction("AT_COST", -10, 0), base=MORNING)
    assert (at_cost.quantity, at_cost.open_cost, at_cost.realized, at_cost.basis) == (4, 400, 0, -900)


def test_basis_added_to_what_was_bought_today_is_lost_when_it_is_sold_again() -> None:
    row = row_of(fill(1, 10, 100), correction("COST_BASIS", 0, 5), fill(2, -10, 100))

    assert (row.quantity, row.open_cost, row.realized, row.basis) == (0, 0, -5, 5)


@pytest.mark.parametrize(
    ("security_type", "book", "expected"),
    [
        ("STK", "cash", "day_pair_average"),
        ("STK", "margin", "fifo"),
        ("OPT", "derivative", "average"),
        ("", "cash", "average"),
        ("", "x", "average"),
    ],
)
def test_the_method_of_a_type_in_its_book_goes_before_the_type_s_and_that_before_the_book_s(
    security_type: str, book: str, expected: str
) -> None:
    methods: dict[str, positions.CostMethod] = {
        "cash": "average",
        "margin": "average",
        "derivative": "fifo",
        "STK": "fifo",
        "STK.cash": "day_pair_average",
        "OPT": "average",
    }

    assert positions.method_of(methods, security_type, book) == expected
