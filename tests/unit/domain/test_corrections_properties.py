"""What must hold for any log with corrections among its fills; and each planted fault is caught, so that it can be trusted."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import corrections
import properties
from corrections import ANY, CRASH, ORDER, ROLLBACK, SHARED
from execpos.domain import positions
from execpos.domain.account import Account
from execpos.domain.book import Position, Source
from execpos.domain.corrected import CorrectedBook
from execpos.domain.events import FillEvent, PositionDelta
from execpos.domain.positions import Row
from execpos.errors import ExecposError
from execpos.ledger import restore_corrections
from scenarios import Record, examples


@examples(150)
@given(**ANY)
def test_rows_are_the_sums_of_their_deltas_and_strategies_sum_to_net(log: list[Record], methods: str) -> None:
    corrections.rows_are_sums_of_deltas(log, methods)


@examples(100)
@given(**SHARED)
def test_what_the_strategies_of_a_key_share_sums_to_its_net(log: list[Record], methods: str) -> None:
    corrections.rows_are_sums_of_deltas(log, methods)


@examples(150)
@given(**ANY)
def test_every_entry_conserves_and_base_and_entries_fold_to_the_row(log: list[Record], methods: str) -> None:
    corrections.entries_conserve_and_fold_to_the_row(log, methods)


@examples(150)
@given(**ANY)
def test_each_correction_is_answered_once_and_a_rejected_one_has_no_delta(log: list[Record], methods: str) -> None:
    corrections.each_is_answered_once(log, methods)


@examples(150)
@given(**ANY)
def test_places_in_the_log_are_taken_once_in_each_row(log: list[Record], methods: str) -> None:
    corrections.places_are_taken_once_in_each_row(log, methods)


@examples(150)
@given(**ORDER)
def test_any_order_of_intents_and_voids_ends_in_the_same_rows(log: list[Record], methods: str, seed: int) -> None:
    corrections.ends_the_same_in_any_order(log, methods, seed)


@examples(150)
@given(**ROLLBACK)
def test_a_rollback_takes_corrections_back_exactly(log: list[Record], data: st.DataObject) -> None:
    properties.rolls_back_exactly(log, data)


@examples(200)
@given(**CRASH)
def test_a_restored_ledger_goes_on_as_one_that_never_stopped(log: list[Record], methods: str, data: st.DataObject) -> None:
    corrections.restores_exactly(log, methods, data)


# --- planted faults -----------------------------------------------------------------------------------------------------------------------

REBASE, PARTS, RESTORE_FILLS = CorrectedBook.rebase, positions.parts, Account.restore_fills


def _take_seqs_for_good(account: Account, count: int) -> tuple[int, ...]:
    account.next_seq += count
    return tuple(range(account.next_seq - count, account.next_seq))


def _restore_without_synthetic(account: Account, fills: list[FillEvent]) -> None:
    RESTORE_FILLS(account, fills)
    account.synthetic.clear()


def _rebase_with_entries(book: CorrectedBook, row: Position, *arguments: Any) -> PositionDelta:
    entries = row.entries
    delta = REBASE(book, row, *arguments)
    row.entries = entries
    return delta


def _revise_without_net(book: CorrectedBook, fill: FillEvent, source: Source) -> PositionDelta:
    row, net = book._rows_of(fill)
    before = (row.row, row.version, net.row, net.version)
    book._touch(row, source, fill)
    return book._delta(row, net, before, fill.cause, source, fill)


def _one_part_too_dear(row: Row, *arguments: Any) -> list[positions.Part]:
    return [part._replace(cost=part.cost + 1) for part in PARTS(row, *arguments)[:-1]]


Fault = tuple[Callable[..., None], dict[str, Any], Any, str, Any]
JOURNAL = (corrections.rows_are_sums_of_deltas, ANY)
SHARES = (corrections.rows_are_sums_of_deltas, SHARED)
FOLD = (corrections.entries_conserve_and_fold_to_the_row, ANY)
ANSWER = (corrections.each_is_answered_once, ANY)
UNDO = (properties.rolls_back_exactly, ROLLBACK)
RESTORE = (corrections.restores_exactly, CRASH)

FAULTS: dict[str, Fault] = {
    "places are not given back": (*UNDO, Account, "take_seqs", _take_seqs_for_good),
    "ids are not remembered": (*ANSWER, Account, "put_correction", lambda *_: None),
    "a restart forgets outcomes": (*RESTORE, restore_corrections, "restore", lambda *_: None),
    "a restart forgets what stands for a fill": (*RESTORE, Account, "restore_fills", _restore_without_synthetic),
    "a corporate action leaves the entries": (*FOLD, CorrectedBook, "rebase", _rebase_with_entries),
    "what is absorbed stays in the rows": (*RESTORE, CorrectedBook, "revise", _revise_without_net),
    "a transfer loses a part": (*JOURNAL, positions, "parts", _one_part_too_dear),
    "shares lose their rest": (*SHARES, positions, "shares", lambda total, weights: [total * w // sum(weights) for w in weights]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    holds, drawn, owner, name, planted = FAULTS[fault]
    monkeypatch.setattr(owner, name, planted)
    # The same examples each time, and the first find is enough.
    search = settings(
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        max_examples=3000,
    )

    with pytest.raises((AssertionError, ExecposError, KeyError, ValueError, IndexError)):
        search(given(**drawn)(holds))()
