"""Dead letters that are read again: they count once what was missing is there, once, and stay what they are when it is not."""

from typing import Any

import msgspec

from corrections import MICROS
from execpos.codecs.avro import Encoder
from execpos.domain.events import Correction, CorrectionOutcome, DeadLetter, FillEvent, PositionDelta
from execpos.domain.rules import Rules
from execpos.kafka.loop import Loop, LoopLimits
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.ports import TopicPartition
from execpos.ledger import service
from execpos.ledger.task import LedgerTask
from ledger_world import DEAL, IDS, NAMES, RULES, SCHEMAS, drain, states
from snapshot_world import MORNING_US, World
from state import assert_same, correction_of

ACCOUNT = "simulation|F|F002000|7654321"
FUTURE = {
    "event_id": "", "trade_id": "7be1d20c", "seqno": "351530", "ordno": "Y1", "exchange_seq": "1", "broker_id": "F002000",
    "account_id": "7654321", "action": "Buy", "code": "TXF", "full_code": "TXFF6", "price": 20000.0, "quantity": 1, "combo": False,
    "market_type": "Day", "ts": MORNING_US / 1e6,
}  # fmt: skip


def without_roots() -> Rules:
    """Return rules whose table names no derivative."""
    return msgspec.structs.replace(RULES, instruments=msgspec.structs.replace(RULES.instruments, roots={}, _memo={}))


def ledger(world: World, rules: Rules = RULES) -> tuple[Loop, LedgerTask]:
    cluster = MemoryCluster(world.broker)
    options = service.LedgerOptions(env="simulation", prefix="t.", instance="one", limits=LoopLimits(batch=40))
    task = service.ledger_task(options, cluster, rules, SCHEMAS)
    loop = Loop(
        cluster,
        task,
        group_id=options.group_id,
        instance_id="one",
        transactional_id_prefix="t.one.",
        limits=options.limits,
        clock=world.clock,
        sleep=world.clock.sleep,
    )
    loop.start()
    drain(loop)
    return loop, task


def replay(world: World, correction_id: str, letter: DeadLetter, **fields: Any) -> None:
    named = {
        "correction_id": correction_id,
        "account": letter.account,
        "kind": "REPLAY",
        "ts": MORNING_US,
        "source_topic": letter.source_topic,
        "source_partition": letter.source_partition,
        "source_offset": letter.source_offset,
    }
    world.put(NAMES.corrections, letter.account.encode(), Encoder(Correction, IDS[Correction])(correction_of(named | fields)))


def answers(world: World) -> list[tuple[str, str, str]]:
    return [(one.correction_id, one.outcome, one.reason) for one in world.read(CorrectionOutcome, NAMES.correction_outcomes)]


def quality(world: World) -> dict[str, tuple[int, str]]:
    return {state.strategy_id: (state.quantity, state.quality) for state in world.positions().values()}


def test_fills_that_were_parked_for_an_unknown_unit_count_after_the_table_was_completed_and_they_were_replayed() -> None:
    world = World()
    for number in (1, 2):
        world.raw("FDEAL", FUTURE | {"exchange_seq": str(number), "price": 20000.0 + number}, MORNING_US)
    loop, _ = ledger(world, without_roots())
    loop.close()
    letters = world.read(DeadLetter, NAMES.dead_letters)
    assert [letter.reason for letter in letters] == ["unknown_instrument", "unknown_instrument"]
    assert quality(world) == {"UNASSIGNED": (0, "BLOCKED"), "*": (0, "BLOCKED")}

    loop, task = ledger(world)
    for number, letter in enumerate(letters):
        replay(world, f"r{number}", letter, symbol="TXFF6", book="derivative")
    drain(loop)

    assert answers(world) == [("r0", "APPLIED", ""), ("r1", "APPLIED", "")]
    # What is counted is right, and the mark stays until somebody has looked.
    assert quality(world) == {"UNASSIGNED": (2, "BLOCKED"), "*": (2, "BLOCKED")}
    fills = world.read(FillEvent, NAMES.fills)
    assert [(fill.price, fill.source_topic) for fill in fills] == [(20001 * MICROS, NAMES.corrections), (20002 * MICROS, NAMES.corrections)]
    assert world.positions()[f"{ACCOUNT}|TXFF6|derivative|*"].open_cost == (20001 + 20002) * 200 * MICROS

    # Twice is once, whether the command or the report brings it again.
    for number, letter in enumerate(letters):
        replay(world, f"again{number}", letter)
    replay(world, "r0", letters[0])
    world.raw("FDEAL", FUTURE | {"exchange_seq": "1", "price": 20001.0}, MORNING_US)
    drain(loop)
    assert answers(world)[2:] == [("again0", "REJECTED", "no_effect"), ("again1", "REJECTED", "no_effect")]
    assert task.counts["duplicate"] == 2
    assert len(world.read(FillEvent, NAMES.fills)) == 2
    clearing = {"kind": "QUALITY", "symbol": "TXFF6", "book": "derivative", "strategy_id": "*", "quality": "CONFIRMED", "ts": MORNING_US}
    world.put(
        NAMES.corrections,
        ACCOUNT.encode(),
        Encoder(Correction, IDS[Correction])(correction_of(clearing | {"correction_id": "q", "account": ACCOUNT})),
    )
    drain(loop)
    assert quality(world) == {"UNASSIGNED": (2, "CONFIRMED"), "*": (2, "CONFIRMED")}

    live = states(task)
    loop.close()
    again, restored = ledger(world)
    assert_same(states(restored), live)
    again.close()


def test_what_still_cannot_be_read_stays_a_dead_letter_and_says_why() -> None:
    world = World()
    account = "simulation|S|9A95|1234567"
    world.put(NAMES.raw, account.encode(), b"junk")
    world.raw("SDEAL", {**DEAL, "price": "much"}, MORNING_US)
    world.raw("SDEAL", {**DEAL, "ts": MORNING_US / 1e6, "exchange_seq": "9"}, MORNING_US)
    loop, task = ledger(world)
    letters = world.read(DeadLetter, NAMES.dead_letters)
    assert len(letters) == 2
    deltas = len(world.read(PositionDelta, NAMES.deltas))
    for number, letter in enumerate(letters):
        replay(world, f"r{number}", letter)
    drain(loop)

    found = world.read(CorrectionOutcome, NAMES.correction_outcomes)
    assert [(one.outcome, one.reason, one.detail.split(":")[0]) for one in found] == [
        ("REJECTED", "dead_letter", letter.reason) for letter in letters
    ]
    assert len(world.read(DeadLetter, NAMES.dead_letters)) == 2
    assert len(world.read(PositionDelta, NAMES.deltas)) == deltas
    live = states(task)
    loop.close()
    again, restored = ledger(world)
    assert_same(states(restored), live)
    again.close()


def test_a_place_that_is_none_is_refused() -> None:
    world = World()
    world.raw("FDEAL", FUTURE, MORNING_US)
    loop, _ = ledger(world, without_roots())
    letter = world.read(DeadLetter, NAMES.dead_letters)[0]
    replay(world, "ahead", letter, source_offset=1)
    replay(world, "topic", letter, source_topic=NAMES.intents)
    replay(world, "partition", letter, source_partition=(letter.source_partition + 1) % 3)
    drain(loop)
    world.broker.log(TopicPartition(NAMES.raw, letter.source_partition)).truncate(1)
    replay(world, "gone", letter)
    drain(loop)

    assert answers(world) == [
        ("ahead", "REJECTED", "not_found"),
        ("topic", "REJECTED", "bad_correction"),
        ("partition", "REJECTED", "bad_correction"),
        ("gone", "REJECTED", "not_found"),
    ]
    loop.close()
