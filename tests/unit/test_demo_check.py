"""The demo's comparison finds what differs, and nothing else."""

import pytest

from execpos.demo.check import Figures, differences
from execpos.demo.observe import percentile

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
