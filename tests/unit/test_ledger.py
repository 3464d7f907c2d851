"""The ledger on the in-memory twin: a simulated day with crashes and aborts ends in the simulator's book, each fill once."""

import itertools
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError

from execpos.brokers.sim.config import SimConfig, market_open_us
from execpos.brokers.sim.day import Simulator
from execpos.codecs.avro import Encoder
from execpos.demo import check
from execpos.domain import ids
from execpos.domain.events import DeadLetter, FillEvent, Intent, PositionDelta, PositionState, Progress, RawExecEvent
from execpos.errors import ContractError
from execpos.kafka.loop import Loop
from execpos.kafka.memory.failures import failure
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition
from execpos.ledger.task import LedgerTask
from ledger_world import DEAL, IDS, NAMES, PARTITIONS, World, drain, run, states


class Crash(BaseException):
    """The process dies here."""


def day(seed: int, events: int = 400) -> Simulator:
    start_us = market_open_us(2026, 5, 21)
    return Simulator(
        SimConfig(seed=seed, start_us=start_us, step_us=50_000, events=events, stock_accounts=3, futures_accounts=2, strategies=3)
    )


def verify(world: World, simulator: Simulator, *ledgers: tuple[Loop, LedgerTask]) -> None:
    """Each fill once, rows = deltas = the simulator's book, versions without a gap, and a restored ledger equal to the live ones."""
    live = states(*(task for _, task in ledgers))
    for loop, _ in ledgers:
        loop.close()
    fills = world.read(FillEvent, NAMES.fills)
    deltas = world.read(PositionDelta, NAMES.deltas)
    assert len({(fill.fill_id, fill.revision) for fill in fills}) == len(fills)
    assert len({fill.fill_id for fill in fills}) == simulator.truth.fills

    places = {
        "simulator": check.from_simulator(simulator.book.rows()),
        "positions": check.from_positions(world.positions().values()),
        "deltas": check.from_deltas(deltas),
    }
    assert check.differences(places) == []

    positions = world.positions()
    for key in {delta.position_key for delta in deltas}:
        versions = [(delta.version_before, delta.version_after) for delta in deltas if delta.position_key == key]
        assert versions == [(number, number + 1) for number in range(len(versions))]
        assert positions[key].version == len(versions)

    world.clock.sleep(120)  # static members that are gone leave the group only when their session ends
    witness, task = world.ledger()
    run(witness)
    assert states(task) == live
    witness.close()


def test_a_simulated_day_ends_in_the_simulators_book() -> None:
    world, simulator = World(), day(1)
    loop, task = world.ledger()
    loop.start()
    for event in simulator.events():
        world.send(event)
    drain(loop)

    verify(world, simulator, (loop, task))
    truth = simulator.truth
    assert (task.counts["order"], task.counts["fill"], task.counts["duplicate"]) == (truth.order_reports, truth.fills, truth.duplicates)


POINTS = [
    "after_poll",
    "after_begin",
    "after_send_offsets",
    "before_process",
    "after_process",
    "after_tick",
    "before_commit",
    "after_commit",
]


@pytest.mark.parametrize("seed", [2, 3])
def test_crashes_at_every_step_lose_and_double_nothing(seed: int) -> None:
    world, simulator = World(), day(seed)
    events = simulator.events()
    struck = []
    for number, point in enumerate(POINTS * 2):
        left = itertools.count(0 if point == "after_tick" else number % 2, -1)

        def crash(step: str, point: str = point, left: Any = left) -> None:
            if step == point and next(left) == 0:
                struck.append(step)
                raise Crash(step)

        loop, _ = world.ledger(crash)
        for event in itertools.islice(events, 25):
            world.send(event)
        with pytest.raises(Crash):
            run(loop)
        loop.consumer.suspend()  # type: ignore[attr-defined] # the twin's way to die
    assert struck == POINTS * 2

    loop, task = world.ledger()
    for event in events:
        world.send(event)
    run(loop)

    verify(world, simulator, (loop, task))


def test_aborted_transactions_leave_no_trace_in_memory_or_topics() -> None:
    world, simulator = World(), day(4)
    loop, task = world.ledger()
    loop.start()
    for number, event in enumerate(simulator.events()):
        world.send(event)
        if number % 40 == 20:
            world.broker.plan(
                ("send_offsets", "commit")[number % 80 > 40], lambda: failure(KafkaError.UNSTABLE_OFFSET_COMMIT, "planned", abort=True)
            )
        if number % 10 == 0:
            loop.step()
    drain(loop)

    verify(world, simulator, (loop, task))


def test_a_second_instance_takes_its_partitions_and_nothing_is_lost_or_doubled() -> None:
    world, simulator = World(), day(5)
    events = simulator.events()
    first, task = world.ledger()
    first.start()
    for event in itertools.islice(events, 150):
        world.send(event)
    drain(first)
    second, other = world.ledger(instance="two")
    second.start()
    for event in itertools.islice(events, 150):
        world.send(event)
    drain(first, second)
    assert set(first.partitions) | set(second.partitions) == set(range(PARTITIONS))
    for event in events:
        world.send(event)
    drain(first, second)
    assert task.states.keys() == set(first.partitions)

    verify(world, simulator, (first, task), (second, other))


def bad_records(world: World) -> list[tuple[str, bytes, bytes]]:
    """Return (reason, key, value) of records that must become dead letters."""
    good = world.convert((1_779_331_288_000_000_000, 0, "SDEAL", DEAL))
    encode = Encoder(RawExecEvent, IDS[RawExecEvent])
    key, value = good.account.encode(), encode(good)
    other = msgspec.structs.replace

    def payload(**changes: Any) -> bytes:
        return encode(other(good, payload=msgspec.json.encode({**DEAL, **changes})))

    return [
        ("bad_framing", key, b""),
        ("bad_framing", key, b"{}"),
        ("unknown_schema", key, b"\0\0\0\1\xff" + value[5:]),
        ("bad_avro", key, value[:-3]),
        ("bad_avro", key, value + b"x"),
        ("wrong_account", key, encode(other(good, account="simulation|S|9A95|7"))),
        ("wrong_account", key, payload(account_id="999")),
        ("bad_payload", key, encode(other(good, payload=b"\xff\xfe"))),
        ("bad_payload", key, encode(other(good, payload=b'{"trade_id"'))),
        ("bad_payload", key, payload(quantity="1")),
        ("bad_payload", key, payload(exchange_seq="")),
        ("bad_payload", key, encode(other(good, payload=b'{"price": NaN}'))),
        ("bad_number", key, payload(price=-1)),
        ("bad_number", key, payload(quantity=1.5)),
        ("bad_number", key, payload(quantity=0)),
        ("bad_number", key, payload(ts=1)),
        ("unknown_order_lot", key, payload(order_lot="Gross")),
        ("unknown_order_cond", key, payload(order_cond="Mystery")),
        ("unknown_instrument", key, payload(code="?!")),
        ("unknown_kind", key, encode(other(good, kind="XDEAL"))),
    ]


def test_bad_records_go_to_the_dead_letters_with_their_bytes_and_the_rest_goes_on() -> None:
    world = World()
    loop, task = world.ledger()
    bad = bad_records(world)
    for _, key, value in bad:
        world.put(NAMES.raw, key, value)
    world.raw("SDEAL", {**DEAL, "code": "2330", "exchange_seq": "2"}, 1_779_331_288_000_000)
    run(loop)
    loop.close()

    letters = world.read(DeadLetter, NAMES.dead_letters)
    assert [letter.reason for letter in letters] == [reason for reason, _, _ in bad]
    assert [letter.record_value for letter in letters] == [value for _, _, value in bad]
    assert [letter.source_offset for letter in letters] == list(range(len(bad)))
    assert {letter.disposition for letter in letters} == {"dead_letter", "parked"}
    rows = {(row.symbol, row.book, row.strategy_id): row for row in world.positions().values()}
    assert (rows["2330", "cash", "UNASSIGNED"].quantity, rows["2330", "cash", "UNASSIGNED"].quality) == (1000, "CONFIRMED")
    assert rows["2890", "cash", "*"].quality == "BLOCKED"
    assert rows["2890", "cash", "*"].quantity == 0
    assert rows["*", "*", "*"].quality == "INCOMPLETE"
    assert sum(task.counts.values()) == len(bad) + 1


def test_a_record_on_the_wrong_partition_is_a_dead_letter_and_moves_nothing() -> None:
    world = World()
    event = world.convert((1_779_331_288_000_000_000, 0, "SDEAL", DEAL))
    key = event.account.encode()
    wrong = (partition_for(key, PARTITIONS) + 1) % PARTITIONS
    world.put(NAMES.raw, key, Encoder(RawExecEvent, IDS[RawExecEvent])(event), wrong)
    loop, _ = world.ledger()
    run(loop)
    loop.close()

    letters = world.read(DeadLetter, NAMES.dead_letters)
    assert [(letter.reason, letter.source_partition) for letter in letters] == [("wrong_partition", wrong)]
    assert world.positions() == {}


def test_bad_intents_are_dead_letters_and_mark_nothing() -> None:
    world = World()
    account = ids.account_key("simulation", "S", "9A95", "1234567")
    encode = Encoder(Intent, IDS[Intent])
    good = Intent("i", account, "alpha", "2026-05-21D", "7be1d20c", "", {}, 0)
    for intent in (
        msgspec.structs.replace(good, order_id=""),
        msgspec.structs.replace(good, strategy_id="*"),
        msgspec.structs.replace(good, session_id="today"),
    ):
        world.put(NAMES.intents, account.encode(), encode(intent))
    world.put(NAMES.intents, account.encode(), b"junk")
    loop, _ = world.ledger()
    run(loop)
    loop.close()

    assert [letter.reason for letter in world.read(DeadLetter, NAMES.dead_letters)] == ["bad_intent"] * 3 + ["bad_framing"]
    assert world.positions() == {}


def test_progress_says_how_far_the_ledger_is_and_raises_the_epoch_at_each_restore() -> None:
    world, simulator = World(), day(6, events=60)
    for event in simulator.events():
        world.send(event)
    for _ in range(2):
        loop, _ = world.ledger()
        loop.start()
        drain(loop)
        loop.close()

    for partition in range(PARTITIONS):
        newest = [found for found in world.read(Progress, NAMES.progress) if found.partition == partition][-1]
        assert newest.ledger_epoch == 2
        ends = [world.broker.log(TopicPartition(topic, partition)).high - 1 for topic in (NAMES.raw, NAMES.intents, NAMES.corrections)]
        assert [item.offset for item in newest.inputs] == ends


def test_state_ahead_of_the_committed_offsets_stops_the_ledger() -> None:
    world, simulator = World(), day(7, events=80)
    for event in simulator.events():
        world.send(event)
    loop, _ = world.ledger()
    run(loop)
    loop.close()
    tampered = next(iter(world.positions().values()))
    inputs = tuple(msgspec.structs.replace(item, offset=item.offset + 10_000) for item in tampered.inputs)
    value = Encoder(PositionState, IDS[PositionState])(msgspec.structs.replace(tampered, inputs=inputs))
    world.put(NAMES.positions, tampered.position_key.encode(), value, partition_for(tampered.account.encode(), PARTITIONS))

    loop, _ = world.ledger()
    with pytest.raises(ContractError, match="committed only up to"):
        run(loop)


def test_a_row_that_is_not_what_its_fills_make_of_it_stops_the_ledger() -> None:
    world, simulator = World(), day(8, events=80)
    for event in simulator.events():
        world.send(event)
    loop, _ = world.ledger()
    run(loop)
    loop.close()
    tampered = next(row for row in world.positions().values() if row.quantity)
    value = Encoder(PositionState, IDS[PositionState])(msgspec.structs.replace(tampered, realized_pnl=tampered.realized_pnl + 1))
    world.put(NAMES.positions, tampered.position_key.encode(), value, partition_for(tampered.account.encode(), PARTITIONS))

    loop, _ = world.ledger()
    with pytest.raises(ContractError, match="is not what its base and fills make of it"):
        run(loop)
