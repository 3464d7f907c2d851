"""The oracle stays apart from what it judges, and is right where the answer is plain."""

import ast
from pathlib import Path
from types import ModuleType

import pytest

import oracle
import oracle_charges
import oracle_corrections
import oracle_rows
import oracle_tables
from execpos import settings
from scenarios import Plan, account_of, deal, intent
from state import Harness

ODD = Plan(1, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "", "Buy")
FUTURE = Plan(2, "F", "TMFF6", "TMF", "", "", 0, "", "Buy")


@pytest.mark.parametrize("module", [oracle, oracle_charges, oracle_corrections, oracle_rows, oracle_tables])
def test_the_oracle_imports_the_record_types_and_nothing_else_of_execpos(module: ModuleType) -> None:
    found = set()
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module)}

    assert {name for name in found if name.startswith("execpos")} <= {"execpos.domain.events"}
    assert not found & {"importlib", "state", "scenarios", "properties"}


def test_the_oracle_adds_up_a_short_day_by_hand() -> None:
    log = [
        intent(ODD, "alpha"),
        deal(ODD, 1, "Buy", 3, 10.0, "d1"),
        deal(ODD, 2, "Buy", 1, 20.0, "d2"),
        deal(ODD, 3, "Sell", 2, 30.0, "d3"),
        deal(FUTURE, 4, "Buy", 1, 100.0, "d4"),
        deal(FUTURE, 5, "Buy", 1, 110.0, "d5"),
        deal(FUTURE, 6, "Sell", 3, 120.0, "d6"),
    ]

    rows = oracle.fold(log).rows

    # Average: 4 shares cost 50, half of them leave 25; sold for 60.
    stock = rows[account_of(ODD), "2890", "cash", "alpha"]
    assert (stock.quantity, stock.open_cost, stock.realized) == (2, 25_000_000, 35_000_000)
    # FIFO: 200 + 100 from the two longs at 10 TWD a point, then one short at 120.
    future = rows[account_of(FUTURE), "TMFF6", "derivative", "UNASSIGNED"]
    assert (future.quantity, future.open_cost, future.realized) == (-1, -1_200_000_000, 300_000_000)


def test_raw_events_and_intents_as_they_stand_in_kafka_fold_like_the_records_they_came_from() -> None:
    log = [
        deal(ODD, 1, "Buy", 3, 10.0, "d1"),
        intent(ODD, "alpha"),
        deal(ODD, 2, "Sell", 2, 30.0, "d3"),
        deal(ODD, 2, "Sell", 2, 30.0, "d3"),
    ]
    harness = Harness(settings.load(None).rules())
    raws = [harness.raw_event(*record[1:]) for record in log if record[0] == "callback"]
    harness.run(log)

    expected, found = oracle.fold(log), oracle.from_raw_events(raws, [record for _, record in harness.committed.intents])

    assert (found.rows, found.counts) == (expected.rows, expected.counts)
