"""What two reads between four markers say of a book, and what they do not say."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from execpos import resources
from execpos.domain.events import BrokerOrderRow, BrokerPositionRow, BrokerProfitRow, OpenOrder
from execpos.domain.reconciliation.beside import charges_found, compare_orders, compare_profit
from execpos.domain.reconciliation.comparison import BrokerRead, Comparison, Finding, compare
from execpos.domain.reconciliation.expiry import expiry_day
from execpos.domain.reconciliation.lag import RecentFill, is_lag, is_young
from execpos.domain.reconciliation.sides import NO_ROW, Book, Key, NetRow
from execpos.domain.reconciliation.units import Line, Units, by_result
from execpos.domain.reconciliation.witness import Evidence, Known, known_orders, witnessed
from execpos.errors import ConfigError
from execpos.settings import load
from reconcile_world import FUTURES, MICROS, RULES, SESSION, STOCK, World, row

MARKERS = ("1/before", "1/after", "2/before", "2/after")
TSMC: Key = ("2330", "cash")


def day(text: str) -> int:
    return (date.fromisoformat(text) - date(1970, 1, 1)).days


DAY = day("2026-05-21")


def net(quantity: int, average: float = 100.0, *, version: int = 1, multiplier: int = 1, **fields: Any) -> NetRow:
    average_micros = round(average * MICROS)
    return NetRow(
        quantity, quantity * average_micros * multiplier, average_micros, multiplier, version, "CONFIRMED", "STK", "TWD", **fields
    )


def book(number: int, rows: dict[Key, NetRow], **changes: Any) -> Book:
    made = Book(MARKERS[number], number, 1, DAY, rows, {}, (), 0, len(rows), 1_000 * number)
    return msgspec.structs.replace(made, **changes)


def read(number: int, rows: Sequence[BrokerPositionRow], **changes: Any) -> BrokerRead:
    made = BrokerRead(
        "r", number, "OK", "", MARKERS[2 * number - 2], MARKERS[2 * number - 1], 10 * number, 10 * number + 5, "b", 1, tuple(rows)
    )
    return msgspec.structs.replace(made, **changes)


def compared(
    ours: dict[Key, NetRow], theirs: Sequence[BrokerPositionRow], *, second: Sequence[BrokerPositionRow] | None = None, account: str = STOCK
) -> Comparison:
    books = {MARKERS[number]: book(number, ours) for number in range(4)}
    return compare(account, [read(1, theirs), read(2, theirs if second is None else second)], books, RULES.compare, gap=False)


def only(comparison: Comparison) -> Finding:
    assert comparison.usable, comparison
    (finding,) = comparison.findings
    return finding


# --- verdicts -----------------------------------------------------------------------------------------------------------------------------


def test_what_agrees_is_equal() -> None:
    comparison = compared({TSMC: net(1000)}, [row("2330", 1000)])

    assert only(comparison).verdict == "EQUAL"
    assert (comparison.marker_before, comparison.marker_after) == (MARKERS[0], MARKERS[3])
    assert (comparison.read_began_ts, comparison.read_ended_ts, comparison.as_of_ts) == (10, 25, 3_000)


def test_a_quantity_that_differs_is_worth_the_difference_at_the_last_price() -> None:
    finding = only(
        compared(
            {
                TSMC: net(1000),
            },
            [row("2330", 3000, 101.0, last=110.0)],
        )
    )

    assert (finding.verdict, finding.difference, finding.notional) == ("QUANTITY", 2000, 2000 * 110 * MICROS)


def test_without_a_last_price_the_average_stands_in() -> None:
    assert only(compared({TSMC: net(1000)}, [row("2330", 3000, 101.0, last=0)])).notional == 2000 * 101 * MICROS
    assert only(compared({TSMC: net(1000, 99.0)}, [])).notional == 1000 * 99 * MICROS


def test_a_row_that_we_lack_is_a_quantity() -> None:
    finding = only(compared({}, [row("2330", 2000)]))

    assert (finding.verdict, finding.ledger_quantity, finding.security_type, finding.multiplier) == ("QUANTITY", 0, "STK", 1)


def test_the_notional_of_a_contract_counts_its_multiplier() -> None:
    ours = {("TXFF6", "derivative"): net(2, 22_000.0, multiplier=200)}

    finding = only(compared(ours, [row("TXFF6", 3, 22_000.0, cond="", last=22_100.0)], account=FUTURES))

    assert (finding.verdict, finding.notional) == ("QUANTITY", 22_100 * 200 * MICROS)


@pytest.mark.parametrize("theirs", [[], [row("2330", 0)]])
def test_a_row_that_is_not_there_or_empty_is_missing(theirs: list[BrokerPositionRow]) -> None:
    assert only(compared({TSMC: net(1000)}, theirs)).verdict == "MISSING"


def test_empty_against_empty_is_equal_and_says_that_it_was_empty() -> None:
    comparison = compared({TSMC: net(0, version=7)}, [])

    assert (comparison.usable, comparison.empty, comparison.findings) == (True, True, ())


def test_an_empty_list_against_a_book_that_holds_something_is_a_claim_of_each_row() -> None:
    comparison = compared({TSMC: net(1000), ("2317", "margin"): net(-500)}, [])

    assert comparison.empty
    assert {finding.verdict for finding in comparison.findings} == {"MISSING"}


@pytest.mark.parametrize("place", range(4))
def test_a_version_that_moved_at_any_marker_is_no_difference(place: int) -> None:
    books = {MARKERS[number]: book(number, {TSMC: net(1000, version=2 if number >= place else 1)}) for number in range(4)}
    expected = "MOVED" if place else "QUANTITY"

    found = only(compare(STOCK, [read(1, [row("2330", 3000)]), read(2, [row("2330", 3000)])], books, RULES.compare, gap=False))

    assert found.verdict == expected


def test_a_version_that_moved_is_not_even_equal_when_the_quantities_are() -> None:
    books = {MARKERS[number]: book(number, {TSMC: net(1000, version=number)}) for number in range(4)}

    assert (
        only(compare(STOCK, [read(1, [row("2330", 1000)]), read(2, [row("2330", 1000)])], books, RULES.compare, gap=False)).verdict
        == "MOVED"
    )


def test_reads_that_do_not_agree_are_no_difference() -> None:
    assert only(compared({TSMC: net(1000)}, [row("2330", 1000)], second=[row("2330", 3000)])).verdict == "MOVED"
    assert only(compared({TSMC: net(1000)}, [row("2330", 3000)], second=[])).verdict == "MOVED"


def test_a_price_that_moves_between_the_reads_moves_nothing() -> None:
    assert only(compared({TSMC: net(1000)}, [row("2330", 1000, last=99.0)], second=[row("2330", 1000, last=98.0)])).verdict == "EQUAL"


def test_long_and_short_rows_of_one_key_are_summed_and_their_cost_is_not_compared() -> None:
    ours = {("TXFF6", "derivative"): net(1, 22_000.0, multiplier=200)}
    rows = [row("TXFF6", 3, 21_000.0, cond=""), row("TXFF6", -2, 23_000.0, cond="")]

    assert only(compared(ours, rows, account=FUTURES)).verdict == "EQUAL"
    assert only(compared(ours, [rows[0], row("TXFF6", -3, 23_000.0, cond="")], account=FUTURES)).verdict == "QUANTITY"


def test_rows_of_one_code_on_several_shelves_are_keys_of_their_own() -> None:
    ours = {TSMC: net(1000), ("2330", "margin"): net(2000), ("2330", "short"): net(-1000)}
    rows = [row("2330", 1000), row("2330", 2000, cond="MarginTrading"), row("2330", -1000, cond="ShortSelling")]

    assert {finding.verdict for finding in compared(ours, rows).findings} == {"EQUAL"}


def test_two_conditions_of_one_shelf_are_one_key() -> None:
    assert only(compared({TSMC: net(3000)}, [row("2330", 1000), row("2330", 2000, cond="Netting")])).verdict == "EQUAL"


def test_one_row_told_twice_is_doubtful_unless_the_sum_agrees() -> None:
    twice = [row("2330", 1000), row("2330", 1000)]

    assert only(compared({TSMC: net(1000)}, twice)).verdict == "UNKNOWN"
    assert only(compared({TSMC: net(2000)}, twice)).verdict == "EQUAL"


def test_a_row_of_an_unknown_condition_is_unknown_and_makes_its_symbol_doubtful() -> None:
    ours = {TSMC: net(1000), ("2317", "cash"): net(1000)}

    found = {(one.symbol, one.book): one.verdict for one in compared(ours, [row("2330", 1000, cond="Gift"), row("2317", 3000)]).findings}

    assert found == {("2330", ""): "UNKNOWN", TSMC: "UNKNOWN", ("2317", "cash"): "QUANTITY"}


def test_an_instrument_that_no_table_names_is_unknown() -> None:
    assert only(compared({}, [row("ABCD", 2000)])).verdict == "UNKNOWN"


def test_the_mark_of_a_whole_account_is_no_key() -> None:
    assert compared({("*", "*"): net(0)}, []).findings == ()


# --- cost ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        # A tick from 100 on is 0.5, and a broker's average has two decimals.
        (100.0, 100.5, "EQUAL"),
        (100.0, 99.5, "EQUAL"),
        (100.0, 100.51, "COST"),
        (100.0, 99.49, "COST"),
        (9.0, 9.01, "EQUAL"),
        (9.0, 9.02, "COST"),
        (1000.0, 1005.0, "EQUAL"),
        (1000.0, 1005.02, "COST"),
    ],
)
def test_cost_is_compared_within_a_tick_and_the_rounding(ours: float, theirs: float, verdict: str) -> None:
    finding = only(compared({TSMC: net(2000, ours)}, [row("2330", 2000, theirs)]))

    assert finding.verdict == verdict
    assert finding.notional == (round(abs(theirs - ours) * MICROS) * 2000 if verdict == "COST" else 0)


def test_the_tolerance_is_in_ticks() -> None:
    rules = msgspec.structs.replace(RULES.compare, cost_tolerance_ticks=0)
    books = {MARKERS[number]: book(number, {TSMC: net(2000)}) for number in range(4)}
    rows = [row("2330", 2000, 100.5)]

    assert only(compare(STOCK, [read(1, rows), read(2, rows)], books, rules, gap=False)).verdict == "COST"


def test_ticks_are_of_the_product() -> None:
    tables = RULES.compare.instruments
    steps = [
        (tables.product("S", "0050", "", ""), 60.0, 50_000),
        (tables.product("S", "2330", "", ""), 60.0, 100_000),
        (tables.product("F", "TXF", "TXFF6", "FUT"), 22_000.0, MICROS),
        (tables.product("F", "TXO", "TXO22800F6", "OPT"), 45.0, 500_000),
        (tables.product("S", "01001T", "", ""), 12.0, 10_000),
    ]

    assert [tables.tick(product, round(price * MICROS)) for product, price, _ in steps] == [tick for _, _, tick in steps]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("[{below: 10, tick: 1}]", "only the last step has none"),
        ("[{tick: 1}, {tick: 2}]", "only the last step has none"),
        ("[{below: 9, tick: 1}, {below: 9, tick: 1}, {tick: 2}]", "has to rise"),
        (None, "unknown steps 'gold'"),
    ],
)
def test_steps_that_do_not_rise_or_are_not_there_are_refused(tmp_path: Path, steps: str | None, says: str) -> None:
    text = resources.text("config", "instruments.yaml").replace("tax: exempt}", "tax: exempt, ticks: gold}")
    (tmp_path / "instruments.yaml").write_text(text + (f"  gold: {steps}\n" if steps else ""), encoding="utf-8")

    with pytest.raises(ConfigError, match=says):
        load(tmp_path, {})


# --- what says nothing --------------------------------------------------------------------------------------------------------------------


def whole(**changes: Any) -> Comparison:
    """Compare with changes: `first` and `second` of the reads, `books` by number, `gap`."""
    books = {MARKERS[n]: book(n, {TSMC: net(1000)}, **changes.get("books", {}).get(n, {})) for n in range(4)}
    for missing in changes.get("without", ()):
        del books[MARKERS[missing]]
    rows = [row("2330", 3000)]
    reads = [read(1, rows, **changes.get("first", {})), read(2, rows, **changes.get("second", {}))]
    return compare(STOCK, reads[: changes.get("count", 2)], books, RULES.compare, gap=changes.get("gap", False))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"count": 1}, "reads"),
        ({"count": 0}, "reads"),
        ({"second": {"read": 1}}, "reads"),
        ({"second": {"request_id": "other"}}, "reads"),
        ({"first": {"outcome": "FAILED"}}, "outcome"),
        ({"second": {"outcome": "MALFORMED"}}, "outcome"),
        ({"second": {"bridge_epoch": 2}}, "bridge_epoch"),
        ({"second": {"bridge_id": "c"}}, "bridge_epoch"),
        ({"without": [2]}, "markers"),
        ({"first": {"marker_before": ""}}, "markers"),
        ({"books": {3: {"offset": 1}}}, "markers"),
        ({"books": {3: {"ledger_epoch": 2}}}, "ledger_epoch"),
        ({"gap": True}, "gap"),
    ],
)
def test_answers_that_cannot_be_compared_say_why_and_find_nothing(changes: dict[str, Any], reason: str) -> None:
    comparison = whole(**changes)

    assert (comparison.usable, comparison.reason, comparison.findings, comparison.empty) == (False, reason, (), False)
    assert comparison.detail


def test_the_order_in_which_answers_come_does_not_matter() -> None:
    books = {MARKERS[number]: book(number, {TSMC: net(1000)}) for number in range(4)}
    reads = [read(2, [row("2330", 3000)]), read(1, [row("2330", 3000)])]

    assert only(compare(STOCK, reads, books, RULES.compare, gap=False)).verdict == "QUANTITY"


# --- units --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(3000, 3), (2300, 2), (-4000, -4), (1000, 2), (5, 5000), (5, 3000), (2300, 5), (1000, 10)],
)
def test_a_quantity_that_may_be_lots_is_unknown(ours: int, theirs: int) -> None:
    assert only(compared({TSMC: net(ours)}, [row("2330", theirs)])).verdict == "UNKNOWN"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(3000, 2950), (3000, 1000), (200, 250), (200, -50), (1000, -1000), (5, 1005), (0, 1000), (-1500, -500), (1000, 11), (200, 3000)],
)
def test_a_difference_that_fits_is_a_quantity(ours: int, theirs: int) -> None:
    assert only(compared({TSMC: net(ours)}, [row("2330", theirs)])).verdict == "QUANTITY"


def test_a_list_in_lots_says_nothing_of_any_row_that_differs() -> None:
    ours = {TSMC: net(3000), ("2317", "cash"): net(300), ("2454", "cash"): net(0)}

    found = compared(ours, [row("2330", 3), row("2317", 0), row("2454", 2)])

    assert {finding.verdict for finding in found.findings} == {"UNKNOWN"}


def test_an_odd_lot_of_a_list_that_agrees_elsewhere_is_one() -> None:
    ours = {("2317", "cash"): net(3000)}

    found = {one.symbol: one.verdict for one in compared(ours, [row("2330", 5), row("2317", 3000)]).findings}

    assert found == {"2330": "QUANTITY", "2317": "EQUAL"}


def test_a_small_row_alone_is_believed_only_when_its_result_tells_the_unit() -> None:
    alone = row("2330", 5, 100.0, last=100.0)
    shares = row("2330", 5, 100.0, last=150.0, pnl=248.0)
    lots = row("2330", 5, 100.0, last=150.0, pnl=248_000.0)

    assert [only(compared({}, [one])).verdict for one in (alone, shares, lots)] == ["UNKNOWN", "QUANTITY", "UNKNOWN"]


def test_contracts_have_no_lots() -> None:
    ours = {("TXFF6", "derivative"): net(2000, 22_000.0, multiplier=200)}

    assert only(compared(ours, [row("TXFF6", 2, 22_000.0, cond="")], account=FUTURES)).verdict == "QUANTITY"


def test_the_result_of_a_row_tells_nothing_until_the_price_has_moved() -> None:
    line = Line(0, 5, 100 * MICROS, 101 * MICROS, 5 * MICROS)

    assert by_result(line) == ""
    assert Units([line]).doubt(line)


# --- lag ----------------------------------------------------------------------------------------------------------------------------------


def difference(value: int) -> Finding:
    return only(compared({TSMC: net(10_000)}, [row("2330", 10_000 + value)]))


def fills(*quantities: int) -> list[RecentFill]:
    return [RecentFill(quantity, number, number) for number, quantity in enumerate(quantities, 1)]


@pytest.mark.parametrize(
    ("value", "behind"),
    [(-300, True), (-500, True), (-600, True), (300, False), (-200, False), (-100, False), (-400, False)],
)
def test_a_list_is_late_when_it_lacks_a_suffix_of_the_recent_fills(value: int, behind: bool) -> None:  # noqa: FBT001 (a case of the table)
    assert is_lag(difference(value), fills(100, 200, 300)) is behind


@pytest.mark.parametrize(("value", "lag"), [(200, True), (500, True), (300, False), (-100, True), (100, False)])
def test_a_list_is_early_when_it_has_a_prefix_of_what_came_after_the_markers(value: int, lag: bool) -> None:  # noqa: FBT001 (as above)
    assert is_lag(difference(value), fills(100, 200, 300), as_of_ts=1) is lag


def test_a_list_books_in_the_order_of_the_exchange() -> None:
    assert is_lag(difference(-100), [RecentFill(100, 9, 1), RecentFill(200, 3, 2)])


def test_no_fill_explains_no_difference() -> None:
    assert not is_lag(difference(-300), [])
    assert not is_lag(only(compared({TSMC: net(1000)}, [row("2330", 1000)])), fills(100, -100))


@pytest.mark.parametrize(("exchange_ts", "ingest_ts", "young"), [(40, 40, False), (41, 40, True), (40, 41, True), (200, 0, True)])
def test_a_fill_is_young_that_happened_or_was_told_less_than_the_span_before_a_read(
    exchange_ts: int, ingest_ts: int, *, young: bool
) -> None:
    old = RecentFill(100, 1, 1)
    assert is_young([old, RecentFill(100, exchange_ts, ingest_ts), old], 100, 60) is young
    assert not is_young([old], 100, 60)


# --- second witness -----------------------------------------------------------------------------------------------------------------------

GONE = only(compared({TSMC: net(1000)}, []))
SOLD = World(STOCK).order_row(World(STOCK).trade(-1000))
KNOWN = Known(SOLD.order_id, SOLD.seqno, "2330", "SELL", 0)


def witness_of(evidence: Evidence, finding: Finding = GONE, ours: NetRow | None = None, account: str = STOCK) -> Any:
    held_here = ours or net(1000, trading_date=DAY)
    return witnessed(account, finding, held_here, msgspec.structs.replace(evidence, trading_date=DAY), RULES.compare, RULES.book.calendar)


@pytest.mark.parametrize(
    ("orders", "known", "by"),
    [
        ((SOLD,), (KNOWN,), "orders"),
        ((SOLD,), (), None),
        ((SOLD,), (msgspec.structs.replace(KNOWN, filled=1000),), None),
        ((msgspec.structs.replace(SOLD, filled=500),), (KNOWN,), None),
        ((msgspec.structs.replace(SOLD, action="Buy"),), (KNOWN,), None),
        ((msgspec.structs.replace(SOLD, symbol="2317"),), (KNOWN,), None),
        ((msgspec.structs.replace(SOLD, seqno="9"),), (KNOWN,), None),
        ((msgspec.structs.replace(SOLD, order_cond="MarginTrading"),), (KNOWN,), None),
        ((msgspec.structs.replace(SOLD, filled=-1),), (KNOWN,), None),
        ((), (KNOWN,), None),
        (None, (KNOWN,), None),
    ],
)
def test_an_order_that_we_know_with_fills_that_we_do_not_is_a_witness(
    orders: tuple[BrokerOrderRow, ...] | None, known: tuple[Known, ...], by: str | None
) -> None:
    found = witness_of(Evidence(orders=orders, known=known))

    assert (found.by if found else None) == by


def test_what_the_ledger_knows_of_orders_comes_from_fills_and_the_book() -> None:
    world = World(STOCK)
    world.done(300)
    world.done(-100)
    fills = [fill for fill in world.harness.committed.fills if fill.order_id == "o1"]
    ours = [
        msgspec.structs.replace(OPEN, order_id="o2", seqno="2", cum_filled=100),
        msgspec.structs.replace(OPEN, session_id="2026-05-20D"),
    ]

    known = known_orders([*fills, msgspec.structs.replace(fills[0], voided=True)], book(0, {}, orders=tuple(ours)), SESSION)

    assert known == (Known("o1", "1", "2330", "BUY", 300), Known("o2", "2", "2330", "SELL", 100))
    assert known_orders(fills, book(0, {}), "2026-05-20D") == ()


def profit(quantity: int, **fields: Any) -> BrokerProfitRow:
    return msgspec.structs.replace(BrokerProfitRow("2330", "Cash", "2026-05-21", quantity, 0, False, 0, 0), **fields)


@pytest.mark.parametrize(
    ("profits", "ours", "begin", "by"),
    [
        ((profit(1000),), net(1000, trading_date=DAY), DAY, "profits"),
        ((profit(600), profit(400)), net(1000, trading_date=DAY), DAY, "profits"),
        # Sold here already, 400 of it.
        ((profit(1400),), net(1000, trading_date=DAY, day_sell_quantity=400), DAY, "profits"),
        ((profit(1000),), net(1000, trading_date=DAY, day_sell_quantity=1000), DAY, None),
        ((profit(999),), net(1000, trading_date=DAY), DAY, None),
        ((profit(1000, day="2026-05-20"),), net(1000, trading_date=DAY), DAY, None),
        ((profit(1000, order_cond="MarginTrading"),), net(1000, trading_date=DAY), DAY, None),
        # The day of the last fill is not asked for as a whole: only what came after it counts.
        ((profit(1000),), net(1000, trading_date=DAY - 1, day_sell_quantity=400), DAY, "profits"),
        ((profit(1000),), net(1000, trading_date=DAY), DAY + 1, None),
        (None, net(1000, trading_date=DAY), DAY, None),
    ],
)
def test_realized_profit_of_what_is_open_here_is_a_witness(
    profits: tuple[BrokerProfitRow, ...] | None, ours: NetRow, begin: int, by: str | None
) -> None:
    found = witness_of(Evidence(profits=profits, begin_date=begin), ours=ours)

    assert (found.by if found else None) == by


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("TXFF6", "2026-06-17"),
        ("TMFE6", "2026-05-20"),
        ("TXO22800R6", "2026-06-17"),
        ("TX122800F6", "2026-06-03"),
        ("TX222800F6", "2026-06-10"),
        ("TXV22800F6", "2026-06-12"),
        ("CDFF6", "2026-06-17"),
        # A fifth Friday that its month does not have, a product of another rule, and no code at all.
        ("TXZ22800F6", None),
        ("GDFF6", None),
        ("2330", None),
        ("TXFF", None),
    ],
)
def test_a_contract_ends_on_the_day_that_its_code_says(symbol: str, expected: str | None) -> None:
    assert expiry_day(symbol, DAY, RULES.book.calendar) == (day(expected) if expected else None)


def test_an_expiry_on_a_holiday_is_the_next_trading_day() -> None:
    calendar = RULES.book.calendar
    closed = msgspec.structs.replace(calendar, closed={**calendar.closed, "F": frozenset({day("2026-06-17")})})

    assert expiry_day("TXFF6", DAY, closed) == day("2026-06-18")


def test_of_a_year_without_holidays_no_expiry_is_known() -> None:
    assert expiry_day("TXFF9", day("2029-05-21"), RULES.book.calendar) is None


@pytest.mark.parametrize(("trading_date", "cause"), [("2026-05-20", None), ("2026-05-21", "EXPIRED_CONTRACT")])
def test_a_contract_is_gone_from_the_day_after_its_last(trading_date: str, cause: str | None) -> None:
    ours = {("TXFE6", "derivative"): net(2, 22_000.0, multiplier=200)}
    finding = only(compared(ours, [], account=FUTURES))
    evidence = Evidence(trading_date=day(trading_date))

    found = witnessed(FUTURES, finding, net(2, trading_date=DAY - 3), evidence, RULES.compare, RULES.book.calendar)

    assert (found.cause if found else None) == cause


def test_only_a_missing_row_needs_a_witness() -> None:
    assert witness_of(Evidence(orders=(SOLD,), known=(KNOWN,)), finding=difference(-1000)) is None


# --- orders, profit and charges -----------------------------------------------------------------------------------------------------------

OPEN = OpenOrder(
    "k", "o1", "1", SESSION, "s", "", "2330", "SELL", "ROD", "LMT", "Cash", "", 100 * MICROS, 3000, 1000, 0, 2000, "PART_FILLED"
)
LISTED = BrokerOrderRow("o1", "1", "X1", "2330", "Sell", "PartFilled", "Cash", "Common", 100 * MICROS, 3000, 1000, 0, 1)


def orders_of(
    ours: Sequence[OpenOrder], theirs: Sequence[BrokerOrderRow], before: Sequence[OpenOrder] | None = None
) -> tuple[Finding, ...]:
    books = [book(0, {TSMC: net(1000)}, orders=tuple(ours if before is None else before)), book(1, {TSMC: net(1000)}, orders=tuple(ours))]
    return compare_orders(STOCK, theirs, books, RULES.compare, SESSION)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((OPEN,), (LISTED,)),
        # Cancelled 500, told in two ways.
        ((msgspec.structs.replace(OPEN, leaves=1500, cancelled=500),), (msgspec.structs.replace(LISTED, cancelled=500),)),
        ((msgspec.structs.replace(OPEN, leaves=1500, cancelled=500),), (msgspec.structs.replace(LISTED, quantity=2500, cancelled=500),)),
        # A unit that the broker's answer does not give.
        ((OPEN,), (msgspec.structs.replace(LISTED, quantity=-1, filled=-1, cancelled=-1),)),
        # Yesterday's, under the same id, beside today's; and history that we have no more.
        ((OPEN,), (msgspec.structs.replace(LISTED, symbol="2317", status="Filled"), LISTED)),
        ((OPEN,), (msgspec.structs.replace(LISTED, seqno="0", status="Filled"), LISTED)),
        ((), (msgspec.structs.replace(LISTED, status="Filled"),)),
        # Of another session, and one of which only fills are known.
        ((msgspec.structs.replace(OPEN, session_id="2026-05-20D"),), ()),
        ((msgspec.structs.replace(OPEN, status="UNKNOWN", leaves=0),), ()),
        ((), ()),
    ],
)
def test_orders_that_agree_or_say_nothing(ours: tuple[OpenOrder, ...], theirs: tuple[BrokerOrderRow, ...]) -> None:
    assert orders_of(ours, theirs) == ()


@pytest.mark.parametrize(
    ("ours", "theirs", "quantities"),
    [
        ((OPEN,), (), (-2000, 0)),
        ((), (LISTED,), (0, -2000)),
        ((OPEN,), (msgspec.structs.replace(LISTED, filled=2000),), (-2000, -1000)),
        ((OPEN,), (msgspec.structs.replace(LISTED, status="Cancelled"),), (-2000, 0)),
        ((OPEN,), (msgspec.structs.replace(LISTED, seqno="0", status="Filled"),), (-2000, 0)),
    ],
)
def test_orders_that_differ_are_one_finding_a_key(
    ours: tuple[OpenOrder, ...], theirs: tuple[BrokerOrderRow, ...], quantities: tuple[int, int]
) -> None:
    (finding,) = orders_of(ours, theirs)

    assert (finding.key, finding.verdict) == (TSMC, "ORDER")
    assert (finding.ledger_quantity, finding.broker_quantity) == quantities
    assert finding.detail.startswith("o1 is ")


def test_an_order_that_changed_between_the_markers_is_left_out() -> None:
    assert orders_of([OPEN], [msgspec.structs.replace(LISTED, filled=3000)], before=[msgspec.structs.replace(OPEN, cum_filled=0)]) == ()
    assert orders_of([], [LISTED], before=[OPEN]) == ()


def test_many_orders_are_named_up_to_a_bound() -> None:
    many = [msgspec.structs.replace(OPEN, order_id=f"o{number}") for number in range(9)]

    (finding,) = orders_of(many, [])

    assert (finding.ledger_quantity, finding.notional) == (-18_000, 18_000 * 100 * MICROS)
    assert finding.detail.endswith("; 4 more")


@pytest.mark.parametrize(
    ("account", "theirs", "differs"),
    [
        # 100 000 TWD sold; charges of both sides are 585 TWD, and 2 000 are too many.
        (STOCK, 1000.0, False),
        (STOCK, 415.0, False),
        (STOCK, -1500.0, True),
        (STOCK, 1100.0, True),
        (FUTURES, 1000.0, False),
        (FUTURES, 900.0, True),
    ],
)
def test_realized_profit_is_compared_less_the_charges_of_stocks(account: str, theirs: float, *, differs: bool) -> None:
    key = TSMC if account == STOCK else ("TXFF6", "derivative")
    ours = {key: net(0, day_sell_amount=100_000 * MICROS, realized_day=1000 * MICROS, trading_date=DAY)}
    told = profit(1000, symbol=key[0], pnl=round(theirs * MICROS))

    found = compare_profit(account, [told, profit(9, day="2026-05-20", pnl=MICROS)], book(0, ours), RULES.compare, DAY)

    assert [(one.key, one.verdict) for one in found] == ([(key, "PROFIT")] if differs else [])
    assert all(one.notional == round(abs(theirs - 1000) * MICROS) for one in found)


def test_a_profit_of_another_day_is_none_of_this_one() -> None:
    ours = {TSMC: net(0, realized_day=1000 * MICROS, trading_date=DAY - 1)}

    assert compare_profit(STOCK, [], book(0, ours), RULES.compare, DAY) == ()
    (finding,) = compare_profit(STOCK, [], book(0, ours), RULES.compare, DAY - 1)
    assert finding.notional == 1000 * MICROS


def test_charges_are_summed_by_key_and_day_where_all_rows_have_them() -> None:
    charged = profit(1, symbol="TXFF6", has_charges=True, fee=5, tax=2)
    other = msgspec.structs.replace(charged, symbol="MXFF6")

    (found,) = charges_found(FUTURES, [charged, charged, other, msgspec.structs.replace(other, has_charges=False)], RULES.compare)

    assert msgspec.structs.astuple(found) == ("TXFF6", "derivative", "2026-05-21", 2, 10, 4)


def test_an_empty_row_stands_for_a_key_that_we_lack() -> None:
    assert (NO_ROW.quantity, NO_ROW.version) == (0, 0)
