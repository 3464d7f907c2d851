"""The pipeline against the oracle, itself after a rollback, and itself after a restore, over logs in any disorder."""

from typing import Any

from hypothesis import given

import properties
from scenarios import examples


@examples(250)
@given(**properties.ROWS)
def test_rows_fills_classes_and_journal_equal_the_oracle(**drawn: Any) -> None:
    properties.equals_the_oracle(**drawn)


@examples(150)
@given(**properties.DAYS)
def test_a_day_of_trades_with_voids_around_its_close_equals_the_oracle(**drawn: Any) -> None:
    properties.equals_the_oracle(**drawn)


@examples(150)
@given(**properties.WINDOW)
def test_a_window_that_slides_over_many_sessions_with_late_fills_equals_the_oracle(**drawn: Any) -> None:
    properties.equals_the_oracle_in_a_sliding_window(**drawn)


@examples(120)
@given(**properties.ORDER)
def test_any_order_and_repetition_of_intents_and_voids_among_the_same_fills_ends_in_the_same_rows(**drawn: Any) -> None:
    properties.ends_the_same_in_any_order(**drawn)


@examples(60)
@given(**properties.DAYS_CRASH)
def test_a_rollback_around_a_close_restores_the_exact_state_and_so_does_a_restart(**drawn: Any) -> None:
    properties.rolls_back_exactly(**drawn)
    properties.restores_exactly(**drawn)


@examples(50)
@given(**properties.CRASH)
def test_a_rollback_restores_the_exact_state_and_the_replay_makes_the_same_outputs(**drawn: Any) -> None:
    properties.rolls_back_exactly(**drawn)


@examples(80)
@given(**properties.CRASH)
def test_a_state_restored_from_its_outputs_equals_the_live_one_and_goes_on_alike(**drawn: Any) -> None:
    properties.restores_exactly(**drawn)
