"""REBUILD: an hour that was judged by wrong tables is put right by the ledger itself, while rows stay the sums of their deltas."""

import itertools

import msgspec
import pytest

from execpos.domain import ids, rebuild
from execpos.domain.events import DeadLetter, FillEvent, OrderEvent, PositionDelta, Progress
from execpos.domain.rules import Attribution
from execpos.kafka.ports import TopicPartition
from ledger_world import NAMES, RULES, drain, states
from rebuild_world import MICROS, START_US, Hour
from snapshot_world import CLOSE_US, HOUR_US
from state import assert_same

# Nobody's custom field counts, and no derivative is known.
WRONG = msgspec.structs.replace(
    RULES, attribution=Attribution(custom_field="ignore"), instruments=msgspec.structs.replace(RULES.instruments, roots={}, _memo={})
)


@pytest.fixture(scope="module")
def hour() -> Hour:
    """Return an hour that was played by wrong rules, whose ledger has the right ones now and was told to rebuild every account."""
    played = Hour(1, rules=WRONG)
    played.play()
    played.rules = RULES
    played.restart()
    return played


def check(hour: Hour) -> None:
    """Rows are the sums of their deltas, versions have no gap, and a restarted ledger is the live one."""
    positions = hour.world.positions()
    deltas = hour.world.read(PositionDelta, NAMES.deltas)
    assert rebuild.differences(rebuild.rows_from((), deltas), positions.values()) == []
    revisions = [(fill.fill_id, fill.revision) for fill in hour.world.read(FillEvent, NAMES.fills)]
    assert len(set(revisions)) == len(revisions)
    orders = [(event.order_key, event.revision) for event in hour.world.read(OrderEvent, NAMES.orders)]
    assert len(set(orders)) == len(orders)
    before = states(hour.task)
    hour.restart()
    assert_same(states(hour.task), before)


def test_a_rebuild_puts_right_what_wrong_tables_did(hour: Hour) -> None:
    assert {letter.reason for letter in hour.world.read(DeadLetter, NAMES.dead_letters)} >= {"unknown_instrument"}
    wrong = {one.account: one for one in hour.compared()}
    assert {one.verdict for one in wrong.values()} == {"DIFFERENT"}
    futures = next(account for account in wrong if account.split("|")[1] == "F")
    assert not any(row.quantity for row in hour.world.positions().values() if row.account == futures)
    epochs = {progress.partition: progress.ledger_epoch for progress in hour.world.read(Progress, NAMES.progress)}

    asked = [hour.put("REBUILD", account, CLOSE_US + HOUR_US, reason="wrong tables") for account in wrong]
    answers = hour.answered(*asked)

    assert {answer.outcome for answer in answers.values()} == {"APPLIED"}
    for one in hour.compared():
        # A row whose amounts were right keeps its number of changes.
        assert one.verdict in {"EQUAL", "VERSIONS"}, one
    assert any(row.quantity for row in hour.world.positions().values() if row.account == futures)
    for account in hour.accounts:
        partition = next(number for number, state in hour.task.states.items() if account.key in state.pipeline.accounts)
        assert hour.task.states[partition].epoch > epochs[partition]
    causes = [delta for delta in hour.world.read(PositionDelta, NAMES.deltas) if delta.cause == "REBUILD"]
    assert {delta.account for delta in causes} == set(wrong)
    drain(hour.loop)
    check(hour)


def test_after_it_everything_goes_on_and_the_next_one_finds_nothing(hour: Hour) -> None:
    fill = next(fill for account in hour.accounts if account.market == "S" for fill in account.fills.values() if not fill.voided)
    late = {
        "event_id": "", "trade_id": "aaaa0001", "seqno": "999999", "ordno": "Z", "exchange_seq": "777", "broker_id": "9A95",
        "account_id": ids.split(fill.account)[3], "action": "Buy", "code": fill.symbol, "order_cond": "Cash", "order_lot": "Common",
        "price": 27.0, "quantity": 1, "custom_field": "alpha", "ts": (CLOSE_US - HOUR_US) / MICROS,
    }  # fmt: skip
    hour.world.raw("SDEAL", late, CLOSE_US + HOUR_US)
    voided = hour.put("VOID", fill.account, CLOSE_US + HOUR_US, fill_id=fill.fill_id)
    drain(hour.loop)

    # What was put right is settled: neither moved nor voided any more.
    assert hour.answered(voided)[voided.correction_id].reason == "settled"
    assert {one.verdict for one in hour.compared()} <= {"EQUAL", "VERSIONS"}
    again = hour.put("REBUILD", fill.account, CLOSE_US + HOUR_US)
    answer = hour.answered(again)[again.correction_id]
    assert (answer.outcome, answer.reason) == ("REJECTED", "no_effect")
    check(hour)


def test_the_ledger_goes_on_while_it_folds_and_what_comes_meanwhile_counts_once() -> None:
    hour = Hour(2, events=200, rules=WRONG)
    events = hour.simulator.events()
    for event in itertools.islice(events, 150):
        hour.send(event)
    drain(hour.loop)
    hour.rules = RULES
    hour.restart()
    account = next(one.account for one in hour.compared() if one.verdict == "DIFFERENT")
    asked = hour.put("REBUILD", account, START_US + 200 * MICROS)
    for event in events:
        hour.send(event)
    assert hour.answered(asked)[asked.correction_id].outcome == "APPLIED"
    drain(hour.loop)
    assert {one.verdict for one in hour.compared() if one.account == account} <= {"EQUAL", "VERSIONS"}
    check(hour)


def test_one_that_cannot_be_folded_says_why_and_changes_nothing() -> None:
    hour = Hour(3, events=100)
    for event in hour.simulator.events():
        hour.send(event)
    drain(hour.loop)
    account = hour.accounts[0].key
    partition = next(number for number, state in hour.task.states.items() if account in state.pipeline.accounts)
    hour.world.broker.log(TopicPartition(NAMES.raw, partition)).truncate(3)
    before = hour.world.positions()
    asked = hour.put("REBUILD", account, START_US + 4_000 * MICROS)

    answer = hour.answered(asked)[asked.correction_id]

    assert (answer.outcome, answer.reason) == ("REJECTED", "rebuild_failed")
    assert "past its retention" in answer.detail
    assert hour.world.positions() == before
    check(hour)
