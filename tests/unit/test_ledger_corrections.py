"""Corrections through the ledger's task: read from their topic, answered in the same transaction, and back after a restart."""

from typing import Any

from corrections import MICROS
from execpos.codecs.avro import Encoder
from execpos.domain.events import Correction, CorrectionOutcome, DeadLetter
from execpos.kafka.ports import TopicPartition
from ledger_world import IDS, NAMES, World, drain, run, states
from state import assert_same, correction_of

ACCOUNT = "simulation|S|9A95|1234567"
ENCODE = Encoder(Correction, IDS[Correction])
# The twin's clock stands at the beginning of 1970, and a correction cannot be made ahead of it.
MADE_US = MICROS


def put(world: World, correction_id: str, kind: str, *, key: str = ACCOUNT, partition: int | None = None, **fields: Any) -> None:
    named = {"correction_id": correction_id, "account": ACCOUNT, "kind": kind, "symbol": "2890", "book": "cash", "ts": MADE_US}
    world.put(NAMES.corrections, key.encode(), ENCODE(correction_of(named | fields)), partition)


def test_a_correction_is_answered_with_its_effect_and_a_restarted_ledger_knows_both() -> None:
    world = World()
    put(world, "c1", "OPENING", quantity=10, price=5 * MICROS)
    put(world, "c2", "TRANSFER", strategy_id="UNASSIGNED", to_strategy_id="beta", quantity=4)
    put(world, "c2", "TRANSFER", strategy_id="UNASSIGNED", to_strategy_id="beta", quantity=4)
    put(world, "c3", "ADJUST", quantity=1, price=MICROS, expected_net_version=7)
    loop, task = world.ledger()
    run(loop)

    outcomes = world.read(CorrectionOutcome, NAMES.correction_outcomes)
    assert [(outcome.correction_id, outcome.outcome, outcome.reason) for outcome in outcomes] == [
        ("c1", "APPLIED", ""),
        ("c2", "APPLIED", ""),
        ("c3", "REJECTED", "stale_version"),
    ]
    held = {state.strategy_id: (state.quantity, state.open_cost) for state in world.positions().values()}
    assert held == {"UNASSIGNED": (6, 30 * MICROS), "beta": (4, 20 * MICROS), "*": (10, 50 * MICROS)}
    assert task.counts == {"control": 3, "duplicate": 1}
    live = states(task)
    loop.close()

    again, restored = world.ledger()
    run(again)
    assert_same(states(restored), live)
    put(world, "c2", "TRANSFER", strategy_id="UNASSIGNED", to_strategy_id="beta", quantity=4)
    drain(again)
    assert len(world.read(CorrectionOutcome, NAMES.correction_outcomes)) == 3
    again.close()


def test_one_that_cannot_be_read_goes_to_the_dead_letters_and_marks_nothing() -> None:
    world = World()
    world.put(NAMES.corrections, ACCOUNT.encode(), b"junk")
    put(world, "c1", "ADJUST", key="simulation|S|9A95|7654321")
    put(world, "c2", "ADJUST", account="nobody", key="nobody")
    put(world, "", "ADJUST")
    loop, task = world.ledger()
    run(loop)
    loop.close()

    letters = world.read(DeadLetter, NAMES.dead_letters)
    assert sorted(letter.reason for letter in letters) == ["bad_correction", "bad_framing", "wrong_account", "wrong_account"]
    assert {letter.source_topic for letter in letters} == {NAMES.corrections}
    assert world.positions() == {}
    assert task.counts == {"dead_letter": 4}


def test_outcomes_stand_on_the_partition_of_their_account() -> None:
    world = World()
    put(world, "c1", "QUALITY", quality="CONFIRMED")
    loop, _ = world.ledger()
    run(loop)
    loop.close()

    for partition in range(3):
        correction = world.broker.log(TopicPartition(NAMES.corrections, partition)).high
        outcome = world.broker.log(TopicPartition(NAMES.correction_outcomes, partition)).high
        assert (correction > 0) == (outcome > 0)
