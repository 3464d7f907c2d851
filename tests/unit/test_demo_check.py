"""The demo's comparison finds what differs, and nothing else."""

from typing import Any, TypeVar

import msgspec
import pytest

from execpos.demo.broker import Planted
from execpos.demo.check import Figures, differences, first_met
from execpos.demo.observe import percentile
from execpos.demo.reconciliation import Asked, problems, summary
from execpos.domain.events import Discrepancy, RawExecEvent, ReconciliationRound

T = TypeVar("T", bound=msgspec.Struct)

KEY = ("simulation|S|9A95|1", "2330", "cash", "alpha")
HELD = Figures(1000, 600_000_000_000, 0, 20_000_000, 0)


def test_places_that_agree_give_no_difference_and_unknown_figures_are_left_out() -> None:
    simulator = Figures(1000, 600_000_000_000, 0)

    assert differences({"simulator": {KEY: simulator}, "positions": {KEY: HELD}, "deltas": {KEY: HELD}}) == []


def test_a_row_that_a_place_lacks_is_nothing_held_there() -> None:
    flat = Figures(0, 0, 0, 0, 0)

    assert differences({"positions": {KEY: flat}, "clickhouse": {}}) == []
    (found,) = differences({"positions": {KEY: HELD}, "clickhouse": {}})
    assert found.key == KEY


@pytest.mark.parametrize("field", Figures._fields)
def test_a_difference_in_any_single_figure_is_found_and_shown_exactly(field: str) -> None:
    other = HELD._replace(**{field: getattr(HELD, field) + 1})

    (found,) = differences({"positions": {KEY: HELD}, "deltas": {KEY: other}})

    shown = found.plain()
    assert (shown["account"], shown["symbol"], shown["book"], shown["strategy_id"]) == KEY
    assert shown["positions"] != shown["deltas"]
    assert shown["positions"]["open_cost"] == "600000"


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.75, 3.0), (0.99, 4.0), (1.0, 4.0), (0.0, 1.0)])
def test_percentile_is_the_smallest_value_that_enough_values_do_not_exceed(share: float, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == expected
    assert percentile([], share) == 0.0


def made(record: type[T], **given: Any) -> T:
    """Return a record with these fields, and nothing in the others."""
    nothing: dict[str, Any] = {field.name: getattr(field.type, "__origin__", field.type)() for field in msgspec.structs.fields(record)}
    return record(**nothing | given)


def raw(kind: str, **payload: str) -> RawExecEvent:
    return made(RawExecEvent, account=KEY[0], kind=kind, payload=msgspec.json.encode(payload))


def test_fills_are_met_in_the_order_of_the_stream_whether_by_callback_or_by_record_and_unknown_ones_are_left_out() -> None:
    fills = [
        {"account": KEY[0], "trade_id": "a", "exchange_seq": number, "trading_date": "2026-05-20", "units": 1} for number in ("1", "2")
    ]
    stream = [
        raw("STOCK_ORDER", trade_id="a", exchange_seq="1"),
        raw("STOCK_DEAL", trade_id="a", exchange_seq="2"),
        raw("STOCK_DEAL", trade_id="a", exchange_seq="9"),
        raw("STOCK_DEAL", trade_id="a", exchange_seq="1"),
        raw("BEAT"),
    ]

    assert [met[2:] for met in first_met(stream, fills)] == [("a", "2"), ("a", "1")]
    assert {met[:2] for met in first_met(stream, fills)} == {(KEY[0], "2026-05-20")}


PLANTED = Planted(KEY[0], "2330", 1_000, 2_000)
SEEN = {
    "discrepancy_id": "d1",
    "account": KEY[0],
    "symbol": "2330",
    "book": "cash",
    "kind": "QUANTITY",
    "ledger_quantity": 1_000,
    "broker_quantity": 2_000,
}


def compared(
    *, state: str = "ACTIVE", seen: Any = SEEN, corrections: tuple[str, ...] = (), status: str = "EXPLAINED", **other: Any
) -> dict[str, Any]:
    """Return the summary of a day on which one difference was planted."""
    account = {"account": KEY[0], "state": state}
    wrong = {
        "accounts": [account | {"round": "r1"}],
        "discrepancies": [seen] if seen else [],
        "corrections": list(corrections),
        "broker_calls": 4,
    }
    right = wrong | {"accounts": [account | {"round": "r2"}], "discrepancies": [], "corrections": []}
    rounds = [
        made(ReconciliationRound, round_id="r1", keys_compared=3, equal=2, discrepancies=("d1",)),
        made(ReconciliationRound, round_id="r2", **{"keys_compared": 3, "equal": 3} | other),
    ]
    found = [
        made(Discrepancy, discrepancy_id="d1", kind="QUANTITY", status="OPEN"),
        made(Discrepancy, discrepancy_id="d1", kind="QUANTITY", status=status),
        made(Discrepancy, discrepancy_id="d2", kind="COST", status="OPEN"),
        made(Discrepancy, discrepancy_id="d3", kind="MISSING_ROW", status="OPEN"),
    ]
    return summary(PLANTED, Asked(wrong, 2.0), Asked(right, 1.5), rounds, found)


def test_a_planted_difference_that_was_found_left_alone_and_explained_is_no_problem() -> None:
    said = compared()

    assert problems(said) == []
    assert (said["keys_compared"], said["equal"], said["broker_calls"], said["seconds"]) == (3, 3, 8, 3.5)
    assert said["planted"]["discrepancy_id"] == "d1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "RECOVERING"},
        {"seen": None},
        {"seen": SEEN | {"broker_quantity": 2_001}},
        {"corrections": ("c1",)},
        {"status": "OPEN"},
        {"equal": 2},
        {"discrepancies": ("d3",)},
    ],
)
def test_whatever_else_the_comparison_says_makes_the_demo_inconsistent(wrong: dict[str, Any]) -> None:
    assert problems(compared(**wrong)) != []


def test_another_average_alone_is_shown_and_is_no_problem() -> None:
    said = compared(equal=2, discrepancies=("d2",))

    assert [one["other_average"] for one in said["accounts"]] == [1]
    assert problems(said) == []
