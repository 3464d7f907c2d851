"""A REBUILD over any log: a book of other rules becomes the one that today's rules make, by deltas, and a restart finds the same."""

from typing import Any

import msgspec
from hypothesis import given, note
from hypothesis import strategies as st

import properties
from corrections import corrected_logs
from execpos.domain.book import Source
from execpos.domain.correction_rules import BLANK
from execpos.domain.rules import Attribution, Rules
from properties import ANY_METHODS, rules
from scenarios import Record, examples, readable
from state import TOPICS, Harness, assert_same

_FIELDS = ("row", "method", "quality", "fee_quality", "multiplier", "security_type")
_ORDER = ("reported", "quantity", "cancelled", "price", "strategy_id", "intent_id", "cum_filled", "cum_amount", "fee", "tax")


def rebuild(harness: Harness, folded: Harness) -> list[str]:
    """Rebuild every account of `harness` from another one, and return why it was rejected, or an empty text."""
    reasons = []
    for number, (key, account) in enumerate(folded.pipeline.accounts.items()):
        newest = max((fill.exchange_ts for fill in account.fills.values()), default=1)
        correction = msgspec.structs.replace(BLANK, correction_id=f"rebuild{number}", account=key, kind="REBUILD", ts=newest or 1)
        source = Source(TOPICS[2][0], 0, harness.offsets[2], 2, newest, "", 0, 0, 2, 0)
        harness.offsets[2] += 1
        reasons.append(harness.pipeline.apply_correction(correction, source, account).reason)
    return reasons


def figures(harness: Harness) -> dict[Any, Any]:
    """Rows and orders, without what belongs to one fold alone."""
    rows = {key: [getattr(row, name) for name in _FIELDS] for key, row in harness.rows().items() if row.version}
    orders = {
        order.order_key: [getattr(order, name) for name in _ORDER]
        for account in harness.pipeline.accounts.values()
        for order in account.orders.values()
        if order.last is not None
    }
    return {"rows": rows, "orders": orders}


def other(methods: str) -> Rules:
    """Return rules by which nobody's custom field counts."""
    return msgspec.structs.replace(rules(methods), attribution=Attribution(custom_field="ignore"))


@examples(100)
@given(log=corrected_logs(sessions=3), before=ANY_METHODS, now=ANY_METHODS, again=st.booleans())
def test_a_book_of_other_rules_becomes_the_one_of_today_s(log: list[Record], before: str, now: str, *, again: bool) -> None:
    note(readable(log))
    live, folded = Harness(other(before)).run(log), Harness(rules(now)).run(log)
    assert_same(live.restored().dump(), live.dump())
    wanted = figures(folded)

    rebuild(live, folded)
    if again:
        live.rollback()
        live.offsets[2] -= len(folded.pipeline.accounts)
        rebuild(live, folded)
    live.commit()

    found = figures(live)
    for key, row in wanted["rows"].items():
        assert found["rows"][key] == row, key
    for key, row in found["rows"].items():
        assert key in wanted["rows"] or not row[0].quantity, key
    assert_same({key: found["orders"].get(key) for key in wanted["orders"]}, wanted["orders"])
    properties.check_journal(live)
    assert_same(live.restored().dump(), live.dump())


@examples(40)
@given(corrected_logs(sessions=3), ANY_METHODS)
def test_a_book_that_is_right_is_left_alone(log: list[Record], methods: str) -> None:
    note(readable(log))
    live, folded = Harness(rules(methods)).run(log), Harness(rules(methods)).run(log)
    before = figures(live)

    assert set(rebuild(live, folded)) <= {"no_effect", "outside_window"}
    live.commit()

    assert figures(live) == before
