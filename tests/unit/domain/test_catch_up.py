"""Records that the broker is asked for after a gap, among the callbacks of the same reports: whatever comes again counts once."""

from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from execpos import settings
from execpos.domain.events import OrderEvent
from scenarios import DAY_S, HALF_DAY_S, Plan, Record, account_of, deal, examples, intent, readable, report, session_name
from state import Harness, assert_same

RULES = settings.load(None).rules()
ODD = Plan(1, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "", "Buy")
FUTURE = Plan(2, "F", "TMFF6", "TMF", "", "", 0, "", "Buy")
S = account_of(ODD)


def book(*records: Record) -> Harness:
    """Return a ledger that took the records, after checking that one restored from its outputs knows the same."""
    harness = Harness(RULES).run(records)
    assert_same(harness.restored().dump(), harness.dump())
    return harness


def classes(harness: Harness) -> list[str]:
    return [outcome.disposition for outcome in harness.outcomes]


def last(harness: Harness) -> OrderEvent:
    return harness.committed.orders[-1]


def changed(record: Record, path: str, value: Any) -> Record:
    """Return a callback with one field set, or without it where the value is `...`."""
    payload = msgspec.json.decode(msgspec.json.encode(record[2]))
    *above, name = path.split(".")
    holder = payload
    for part in above:
        holder = holder[part]
    holder.pop(name) if value is ... else holder.update({name: value})
    return (record[0], record[1], payload, *record[3:])


def caught_up(record: Record, receipt: str = "") -> Record:
    """Return a callback as the broker's records have it."""
    kind, payload = record[1:3]
    return ("callback", f"CATCHUP_{kind}", payload | {"event_id": receipt}, *record[3:])


def at(record: Record, seconds: float) -> Record:
    """Return an order report stamped so much after the first moment of its session."""
    return changed(record, "status.exchange_ts", record[2]["status"]["exchange_ts"] + seconds)


NEW, CUT = report(ODD, "New", 9, "o1"), report(ODD, "UpdateQty", 9, "o2", cancelled=2)


# --- one report, told twice --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("receipt", ["", "after the reset", "o2"])
@pytest.mark.parametrize("record_first", [True, False])
def test_a_report_and_the_record_of_it_count_once_in_either_order(receipt: str, *, record_first: bool) -> None:
    pair = [CUT, caught_up(CUT, receipt)]

    harness = book(NEW, *(reversed(pair) if record_first else pair), caught_up(NEW))

    assert classes(harness) == ["order", "order", "duplicate", "duplicate"]
    assert (last(harness).cancelled, last(harness).leaves) == (2, 7)


@pytest.mark.parametrize("receipts", [("o1", "o2", ""), ("", "o1", "o2"), ("o1", "", "o2"), ("o2", "o1", "o1")])
def test_a_report_that_comes_again_under_new_receipts_counts_once(receipts: tuple[str, ...]) -> None:
    harness = book(*(report(ODD, "UpdateQty", 9, receipt, cancelled=2) for receipt in receipts))

    assert classes(harness) == ["order", "duplicate", "duplicate"]
    assert last(harness).cancelled == 2


def test_a_known_receipt_is_a_repeat_whatever_the_report_says() -> None:
    assert classes(book(NEW, report(ODD, "Cancel", 9, "o1", cancelled=9))) == ["order", "duplicate"]


SAME: list[tuple[str, Any]] = [
    ("status.modified_price", ...),
    ("status.modified_price", None),
    ("status.modified_price", 0.0),
    ("status.cancel_quantity", 2.0),
    ("status.order_quantity", 7.0),
    ("order.quantity", 9.0),
    ("order.price", 27.50),
    ("order.order_type", ...),
    ("order.time_in_force", "ROD"),
    ("order.price_type", None),
    ("order.ordno", ""),
    ("order.ordno", "00"),
    ("order.seqno", ...),
    ("order.custom_field", ""),
    ("order.account.person_id", ""),
    ("status.web_id", "137"),
    ("operation.op_msg", "委託成功"),
    ("contract.security_type", "STK"),
    ("order.id", ...),
    ("status.id", ...),
]


@pytest.mark.parametrize(("path", "value"), SAME)
def test_a_record_may_write_the_same_report_otherwise(path: str, value: Any) -> None:
    assert classes(book(CUT, changed(caught_up(CUT), path, value))) == ["order", "duplicate"]


OTHER: list[tuple[str, Any]] = [
    ("status.modified_price", 27.55),
    ("status.cancel_quantity", 1),
    ("status.order_quantity", 6),
    ("status.exchange_ts", DAY_S + 0.500001),
    ("order.quantity", 8),
    ("order.price", 27.55),
    ("operation.op_type", "Cancel"),
    ("operation.op_code", "48"),
]


@pytest.mark.parametrize("receipt", ["", "o3"])
@pytest.mark.parametrize(("path", "value"), OTHER)
def test_reports_that_differ_in_what_they_say_are_two(path: str, value: Any, receipt: str) -> None:
    assert classes(book(CUT, changed(caught_up(CUT, receipt), path, value))) == ["order", "order"]


def test_two_orders_with_the_same_words_are_two() -> None:
    other = ODD._replace(number=7)

    assert classes(book(report(ODD, "New", 5, ""), report(other, "New", 5, ""))) == ["order", "order"]


def test_two_changes_of_price_within_one_second_are_two_whose_records_count_no_more() -> None:
    # Futures are stamped in whole seconds; the older way tells the new price in order.price, the newer one in modified_price.
    moves = [changed(report(FUTURE, "UpdatePrice", 3, f"o{tick}"), "status.modified_price", 100.0 + tick) for tick in (1, 2)]
    moves += [report(FUTURE, "UpdatePrice", 3, f"p{tick}", price=200.0 + tick) for tick in (1, 2)]

    harness = book(*moves, *map(caught_up, moves))

    assert classes(harness) == ["order"] * 4 + ["duplicate"] * 4


def test_two_reductions_within_one_second_are_two_by_what_each_leaves() -> None:
    one, two = (changed(report(FUTURE, "UpdateQty", 5, f"o{left}", cancelled=1), "status.order_quantity", left) for left in (4, 3))

    harness = book(report(FUTURE, "New", 5, "o1"), one, two, caught_up(two), caught_up(one))

    assert classes(harness) == ["order"] * 3 + ["duplicate"] * 2
    assert (last(harness).cancelled, last(harness).leaves) == (2, 3)


def test_a_report_that_names_no_order_is_told_by_its_receipt_and_without_one_by_its_content() -> None:
    def nameless(receipt: str, **changes: Any) -> Record:
        made = report(ODD, "New", 5, receipt, op_code="88", id="", seqno="", ordno="", **changes)
        return changed(made, "status.id", "")

    harness = book(nameless("o1"), nameless("o2"), nameless("o1"), nameless(""), nameless("", price=1.0), nameless("", price=1.0))

    assert classes(harness) == ["order", "order", "duplicate", "duplicate", "order", "duplicate"]
    assert {event.status for event in harness.committed.orders} == {"REJECTED"}
    assert len({event.order_key for event in harness.committed.orders}) == 3


def test_what_a_late_intent_rewrites_keeps_the_identity_of_the_report() -> None:
    live = Harness(RULES).run([NEW, CUT, intent(ODD, "alpha")])

    assert [event.cause for event in live.committed.orders] == ["CALLBACK", "CALLBACK", "REATTRIBUTED"]
    for harness in (live, live.restored()):
        assert [found.disposition for found in map(harness.feed, [caught_up(CUT), caught_up(NEW), CUT]) if found] == ["duplicate"] * 3


# --- receipts of repeats -----------------------------------------------------------------------------------------------------------------


def test_the_receipt_of_a_repeated_fill_identifies_nothing_live_or_restored() -> None:
    live = Harness(RULES).run([deal(ODD, 1, "Buy", 2, 27.0, "A"), deal(ODD, 1, "Buy", 2, 27.0, "B")])

    for harness in (live.restored(), live):
        harness.run([deal(ODD, 2, "Buy", 2, 27.0, "B"), deal(ODD, 3, "Buy", 2, 27.0, "A"), deal(ODD, 4, "Buy", 2, 27.0, "B")])
        after = [(outcome.disposition, outcome.reason) for outcome in harness.outcomes[-3:]]
        assert after == [("fill", ""), ("conflict", "receipt_conflict"), ("conflict", "receipt_conflict")]
    assert classes(live)[:2] == ["fill", "duplicate"]


def test_the_receipt_of_a_repeated_order_report_identifies_nothing_live_or_restored() -> None:
    live = Harness(RULES).run([NEW, report(ODD, "New", 9, "B")])

    for harness in (live.restored(), live):
        harness.run([report(ODD, "UpdateQty", 9, "B", cancelled=2), report(ODD, "Cancel", 9, "B", cancelled=7)])
        assert classes(harness)[-2:] == ["order", "duplicate"]
    assert classes(live)[:2] == ["order", "duplicate"]


# --- fills -------------------------------------------------------------------------------------------------------------------------------


def test_fills_caught_up_after_later_ones_count_and_their_callbacks_are_repeats() -> None:
    early, late = [deal(ODD, seq, "Buy", 1, 27.0 + seq, f"d{seq}") for seq in (1, 2)], deal(ODD, 3, "Sell", 1, 30.0, "d3")

    harness = book(late, *map(caught_up, early), *early, caught_up(late))

    assert classes(harness) == ["fill"] * 3 + ["duplicate"] * 3
    assert [event.cause for event in harness.committed.fills] == ["CALLBACK", "CATCHUP", "CATCHUP"]
    assert [event.fill_seq for event in harness.committed.fills] == [1, 2, 3]
    assert harness.rows()[S, "2890", "cash", "*"].row.quantity == 1


def test_a_fill_whose_order_becomes_known_by_catch_up_alone_is_that_orders() -> None:
    fill = deal(ODD, 1, "Buy", 2, 27.0, "")
    new = report(Plan(1, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "alpha", "Buy"), "New", 5, "o1")

    harness = book(caught_up(fill), caught_up(new), fill, new)

    assert classes(harness) == ["fill", "order", "duplicate", "duplicate"]
    assert (last(harness).status, last(harness).cum_filled, last(harness).leaves, last(harness).cause) == ("PART_FILLED", 2, 3, "CATCHUP")
    assert harness.rows()[S, "2890", "cash", "alpha"].row.quantity == 2


# --- orders of yesterday -----------------------------------------------------------------------------------------------------------------

FILLED = [report(ODD, "New", 5, "o1"), deal(ODD, 1, "Buy", 5, 27.0, "d1")]
CANCELLED = [report(ODD, "New", 5, "o1"), report(ODD, "Cancel", 5, "o2", cancelled=5)]
REJECTED = [report(ODD, "New", 5, "o1"), report(ODD, "New", 5, "o2", op_code="88")]


@pytest.mark.parametrize(("closed", "status"), [(FILLED, "FILLED"), (CANCELLED, "CANCELLED"), (REJECTED, "REJECTED")])
@pytest.mark.parametrize("quantity", [5, 3, 0])
def test_a_new_of_yesterday_that_comes_back_in_the_morning_reopens_nothing(closed: list[Record], status: str, quantity: int) -> None:
    today = ODD._replace(session=2, number=9)
    back = at(caught_up(report(ODD, "New", quantity, "", ordno="", price=1.0)), -0.25)

    harness = book(*closed, deal(today, 7, "Buy", 1, 27.0, "d7"), back)

    assert harness.outcomes[-1].disposition == "order"
    assert (last(harness).status, last(harness).leaves, last(harness).quantity) == (status, 0, 5)
    assert last(harness).price == 27_500_000


def test_a_new_of_a_closed_order_older_than_the_window_is_parked() -> None:
    today = ODD._replace(session=11, number=9)

    harness = book(*FILLED, deal(today, 7, "Buy", 1, 27.0, "d7"), at(caught_up(report(ODD, "New", 5, "", ordno="")), -0.25))

    assert (harness.outcomes[-1].disposition, harness.outcomes[-1].reason) == ("parked", "outside_window")
    assert len(harness.committed.orders) == 1


def test_a_price_that_is_older_than_the_one_known_leaves_it() -> None:
    new, first, second = (
        at(report(ODD, op_type, 5, "", price=price), seconds)
        for op_type, price, seconds in (("New", 10.0, 0), ("UpdatePrice", 11.0, 1), ("UpdatePrice", 12.0, 2))
    )

    for records in ((new, first, second), (second, new, first), (first, second, new)):
        harness = book(*records)
        assert last(harness).price == 12_000_000
        third = at(report(ODD, "UpdatePrice", 5, "", price=13.0), 3)
        assert [again.run([first, third]).committed.orders[-1].price for again in (harness.restored(), harness)] == [13_000_000] * 2


# --- ids that come again -----------------------------------------------------------------------------------------------------------------


def same_ids(session: int, strategy: str, quantity: int) -> list[Record]:
    """One order with a fill and an intent by seqno; order id and seqno are one, as in the broker's simulation."""
    plan = ODD._replace(session=session)
    return [
        changed(report(plan, "New", quantity, "", id=plan.seqno), "status.id", plan.seqno),
        deal(plan, 1, "Buy", quantity, 27.0, "", trade_id=plan.seqno, ts=DAY_S + session * HALF_DAY_S),
        intent(plan, strategy, by_seqno=True),
    ]


@pytest.mark.parametrize("together", [True, False])
def test_the_same_seqno_id_and_exchange_seq_in_the_next_session_are_another_order_and_fill(*, together: bool) -> None:
    one, two = same_ids(0, "alpha", 2), same_ids(1, "beta", 3)
    records = [record for pair in zip(one, two, strict=True) for record in pair] if together else [*one, *two]

    harness = book(*records, *(caught_up(record) for record in records if record[0] == "callback"))

    assert sorted(classes(harness)) == [*["duplicate"] * 4, "fill", "fill", "order", "order"]
    rows = {key[3]: position.row.quantity for key, position in harness.rows().items() if position.row.quantity}
    assert rows == {"alpha": 2, "beta": 3, "*": 5}
    newest = {event.session_id: (event.strategy_id, event.quantity) for event in harness.committed.orders}
    assert newest == {session_name(0): ("alpha", 2), session_name(1): ("beta", 3)}


@pytest.mark.parametrize("restored", [True, False])
def test_a_late_intent_by_seqno_moves_every_order_under_it(*, restored: bool) -> None:
    twin = ODD._replace(number=8)
    harness = Harness(RULES)
    harness.run(
        [
            deal(twin, 1, "Buy", 3, 27.0, "d1", seqno=ODD.seqno),
            report(ODD, "New", 5, "o1"),
            deal(ODD, 2, "Buy", 2, 27.0, "d2"),
            report(twin, "New", 5, "o2", seqno=ODD.seqno),
        ]
    )
    harness = harness.restored() if restored else harness

    harness.run([intent(ODD, "alpha", by_seqno=True), deal(twin, 3, "Buy", 1, 27.0, "d3", seqno=ODD.seqno)])

    rows = {key[3]: position.row.quantity for key, position in harness.rows().items() if position.row.quantity}
    assert rows == {"alpha": 6, "*": 6}
    assert [event.strategy_id for event in harness.committed.orders[-2:]] == ["alpha", "alpha"]


# --- any interleaving --------------------------------------------------------------------------------------------------------------------


class _Day(NamedTuple):
    """What happened at the broker, once each, and how it was told: with repeats and records, some in place of the callback."""

    callbacks: list[Record]
    told: list[Record]


@st.composite
def operations(draw: st.DrawFn, plan: Plan) -> list[Record]:
    """The reports and fills of one order, in the broker's order: reductions, changes of price, failures, and how it ended."""
    placed = draw(st.integers(1, 9))
    open_, stamp, name = placed, 0, f"{plan.market}{plan.number}.{plan.session}"
    made = [report(plan, "New", placed, f"v1:{name}:0")]
    for number in range(1, draw(st.integers(0, 6)) + 1):
        receipt, what = f"v1:{name}:{number}", draw(st.sampled_from(["fill", "fill", "reduce", "price", "failed", "cancel"]))
        # Several operations may have one stamp.
        stamp += draw(st.integers(0, 1))
        if not open_:
            break
        if what == "fill":
            quantity = draw(st.integers(1, open_))
            made.append(deal(plan, number, plan.side, quantity, draw(st.integers(10, 12)), receipt))
            open_ -= quantity
            continue
        removed = draw(st.integers(1, open_)) if what == "reduce" else open_ if what == "cancel" else 0
        open_ -= removed
        op_type = {"reduce": "UpdateQty", "cancel": "Cancel", "price": "UpdatePrice", "failed": "Cancel"}[what]
        code = "99Q9" if what == "failed" else "00"
        one = report(plan, op_type, placed, receipt, op_code=code, cancelled=removed, price=20.0 + number)
        made.append(changed(at(one, stamp), "status.order_quantity", open_))
        if what == "cancel":
            break
    return made


@st.composite
def days(draw: st.DrawFn) -> _Day:
    plans = [ODD, FUTURE, ODD._replace(number=3, side="Sell"), ODD._replace(session=1)]
    callbacks = [record for plan in plans[: draw(st.integers(1, 4))] for record in draw(operations(plan))]
    told: list[Record] = []
    for record in callbacks:
        receipt = record[2]["event_id"]
        again = [caught_up(record), caught_up(record, receipt), caught_up(record, f"{receipt}r"), record]
        told += draw(st.lists(st.sampled_from(again), min_size=1, max_size=4))
    return _Day(callbacks, draw(st.permutations(told)))


def _orders(harness: Harness) -> dict[str, Any]:
    return {
        order.order_key: (order.cancelled, order.leaves, order.status, order.quantity, order.cum_filled, order.overfilled)
        for account in harness.pipeline.accounts.values()
        for order in account.orders.values()
    }


def _fills(harness: Harness) -> dict[str, Any]:
    return {fill.fill_id: (fill.side, fill.quantity, fill.price, fill.order_key) for fill in harness.committed.fills}


@examples(150)
@given(days(), st.data())
def test_any_interleaving_of_callbacks_and_records_ends_in_the_orders_and_fills_of_the_callbacks(day: _Day, data: st.DataObject) -> None:
    note(readable(day.told))
    expected = book(*day.callbacks)
    crash = data.draw(st.integers(0, len(day.told)))

    live = Harness(RULES).run(day.told)
    before = Harness(RULES).run(day.told[:crash])
    after = before.restored().run(day.told[crash:])

    assert set(classes(expected)) <= {"order", "fill"}
    assert_same(_orders(live), _orders(expected))
    assert_same(_fills(live), _fills(expected))
    assert_same(
        {key: row.row.quantity for key, row in live.rows().items()}, {key: row.row.quantity for key, row in expected.rows().items()}
    )
    assert_same(after.dump(), live.dump())
    assert [*before.committed.orders, *after.committed.orders] == live.committed.orders
    assert classes(live).count("order") == classes(expected).count("order")
    assert_same(live.restored().dump(), live.dump())
