"""Corrections against the oracle: what each that was applied did to every row, among fills, intents, voids and closes in any order."""

from typing import Any

from hypothesis import given, note
from hypothesis import strategies as st

import oracle_corrections
from corrections import corrected_logs, correction
from execpos.domain import ids
from properties import METHODS, rules
from scenarios import Plan, Record, deal, examples, intent, readable
from state import Harness

# What the oracle does not follow: what settles or blocks a key, and charges that the broker states for one fill.
_APART = {"CORPORATE_ACTION", "QUALITY", "SNAPSHOT"}


def followed(record: Record) -> bool:
    return record[0] != "correction" or not (record[1]["kind"] in _APART or (record[1]["kind"] == "FEES" and record[1]["fill_id"]))


def answered(log: list[Record], harness: Harness) -> list[Record]:
    """The log, with what was applied: the first of each id, where its outcome says so."""
    applied = {outcome.correction_id for outcome in harness.committed.outcomes if outcome.outcome == "APPLIED"}
    told: list[Record] = []
    for record in log:
        if record[0] == "correction":
            told.append((*record, record[1]["correction_id"] in applied))
            applied.discard(record[1]["correction_id"])
        else:
            told.append(record)
    return told


def figures(row: Any) -> dict[str, Any]:
    names = ("quantity", "open_cost", "realized", "basis", "fees", "taxes")
    lots = [[lot.quantity, lot.cost] if hasattr(lot, "cost") else lot for lot in row.lots]
    return {name: getattr(row, name) for name in names} | {"lots": lots}


@examples(250)
@given(corrected_logs(), st.sampled_from(list(METHODS)))
def test_every_row_is_what_the_oracle_makes_of_what_was_applied(log: list[Record], methods: str) -> None:
    log = list(filter(followed, log))
    note(readable(log))
    harness = Harness(rules(methods)).run(log)

    expected = oracle_corrections.fold(answered(log, harness), METHODS[methods])

    rows = harness.rows()
    for key in rows.keys() | expected.keys():
        found = figures(rows[key].row) if key in rows else figures(oracle_corrections.Row())
        assert found == figures(expected.get(key, oracle_corrections.Row())), key


@examples(150)
@given(st.lists(st.integers(-50, 50), min_size=3, max_size=3), st.integers(1, 9), st.integers(1, 9))
def test_a_corporate_action_leaves_each_row_the_oracle_s_quantity(held: list[int], numerator: int, denominator: int) -> None:
    plans = [Plan(number, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "", "Buy") for number in range(3)]
    log: list[Record] = [intent(plan, name) for plan, name in zip(plans, ("alpha", "beta"), strict=False)]
    log += [
        deal(plan, seq, "Buy" if size > 0 else "Sell", abs(size), 10.0, "")
        for seq, (plan, size) in enumerate(zip(plans, held, strict=True), 1)
        if size
    ]
    harness = Harness(rules("average")).run(log)
    before = {key[3]: position.row.quantity for key, position in harness.rows().items()}
    cost = {key[3]: position.row.open_cost for key, position in harness.rows().items()}

    harness.run([correction("c1", "CORPORATE_ACTION", numerator=numerator, denominator=denominator)])

    after = {key[3]: position.row.quantity for key, position in harness.rows().items()}
    expected = oracle_corrections.after_action(before, numerator, denominator) if any(before.values()) else before
    assert {name: quantity for name, quantity in after.items() if quantity} == {name: size for name, size in expected.items() if size}
    for name, quantity in after.items():
        if quantity * before.get(name, 0) > 0:
            assert harness.rows()["replay|S|9A95|1234567", "2890", "cash", name].row.open_cost == cost[name]
    assert sum(quantity for name, quantity in after.items() if name != ids.NET) == after.get(ids.NET, 0)
