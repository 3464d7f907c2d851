"""The ledger's snapshots on the in-memory twin: each reason, at which point of the stream, once, and nothing of what was aborted."""

import itertools
from collections.abc import Iterator

import msgspec
import pytest
from confluent_kafka import KafkaError

from execpos.brokers.sim.config import SimConfig, market_open_us
from execpos.brokers.sim.day import Simulator
from execpos.codecs.avro import Decoder, Encoder
from execpos.domain import snapshot as rules
from execpos.domain.events import DeadLetter, PositionDelta, PositionSnapshot, PositionState, Progress
from execpos.domain.rebuild import differences, rows_from
from execpos.kafka.loop import Loop
from execpos.kafka.memory.failures import failure
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition
from execpos.ledger.snapshots import SnapshotOptions
from ledger_world import IDS, NAMES, PARTITIONS, SCHEMAS, drain, run, states
from snapshot_world import (
    ACCOUNT,
    CLOSE_US,
    DAY_US,
    HOUR_US,
    MORNING_US,
    World,
    again,
    beat,
    deal,
    ledger,
    marker,
    order,
    request,
    snapshots,
    wholes,
)

DELAY_US = 300_000_000
OTHER = "simulation|S|9A95|7654321"


class Crash(BaseException):
    """The process dies here."""


def stop(loop: Loop, world: World) -> None:
    loop.close()
    world.clock.sleep(120)  # a static member that is gone leaves the group only when its session ends


# --- markers ----------------------------------------------------------------------------------------------------------------------------


def test_each_marker_is_answered_with_the_book_of_exactly_its_record() -> None:
    world = World()
    for number in range(1, 31):
        deal(world, number)
        marker(world, f"m{number}", MORNING_US + number)
    loop, _ = ledger(world, batch=1000)
    run(loop)

    found = snapshots(world, "MARKER")
    assert [one.marker_id for one in found] == [f"m{number}" for number in range(1, 31)]
    for number, one in enumerate(found, 1):
        assert {row.strategy_id: row.quantity for row in one.positions} == {"UNASSIGNED": number * 1000, "*": number * 1000}
        assert one.source_offset == 2 * number - 1
        assert one.inputs[0].offset == one.source_offset
        assert one.as_of_ts == MORNING_US + number
        assert one.digest == rules.digest(one.positions, one.orders)
        assert one.rows == 2
    assert len({one.snapshot_id for one in found}) == 30


def test_a_marker_that_comes_again_answers_nothing_also_after_a_restart() -> None:
    world = World()
    deal(world, 1)
    first = marker(world, "m1")
    again(world, first)
    loop, _ = ledger(world)
    run(loop)
    stop(loop, world)
    again(world, first)
    marker(world, "m1")  # another record with the same id
    marker(world, "m2")
    loop, _ = ledger(world)
    run(loop)

    assert [one.marker_id for one in snapshots(world, "MARKER")] == ["m1", "m2"]


def test_a_marker_is_answered_once_whenever_the_process_dies() -> None:
    world = World()
    deal(world, 1)
    events = [marker(world, f"m{number}") for number in range(3)]
    for point in ("after_begin", "after_process", "before_commit", "after_commit"):

        def crash(step: str, point: str = point) -> None:
            if step == point:
                raise Crash(step)

        loop, _ = ledger(world, fault=crash, batch=2)
        with pytest.raises(Crash):
            run(loop)
        loop.consumer.suspend()  # type: ignore[attr-defined] # the twin's way to die
        for event in events:
            again(world, event)
    loop, _ = ledger(world)
    run(loop)

    assert [one.marker_id for one in snapshots(world, "MARKER")] == ["m0", "m1", "m2"]


def test_only_a_marker_record_of_sensible_length_is_answered() -> None:
    world = World()
    marker(world, "")
    marker(world, "x" * 321)
    loop, _ = ledger(world)
    run(loop)

    assert snapshots(world) == []


def test_the_markers_remembered_are_bounded() -> None:
    world = World()
    for number in range(40):
        marker(world, f"m{number}")
    loop, task = ledger(world)
    run(loop)

    kept = [state.markers[ACCOUNT] for state in task.states.values() if ACCOUNT in state.markers]
    assert kept == [tuple(f"m{number}" for number in range(24, 40))]


@pytest.mark.parametrize("kind", ["BEAT", "MARKER", "SDEAL", "GAP"])
def test_a_record_whose_key_is_no_account_is_a_dead_letter_and_stops_nothing(kind: str) -> None:
    world = World()
    for key in ("x", "a|b|c", "simulation|X|9A95|1", ""):
        again(world, msgspec.structs.replace(marker(World(), "m", account=key), kind=kind))
    deal(world, 1)
    loop, _ = ledger(world)
    run(loop)

    assert {letter.reason for letter in world.read(DeadLetter, NAMES.dead_letters)} == {"wrong_account"}
    assert len(world.positions()) == 2
    assert snapshots(world, "MARKER") == []


# --- requests ---------------------------------------------------------------------------------------------------------------------------


def test_a_request_is_answered_once_with_its_id_and_for_an_empty_book_too() -> None:
    world = World()
    request(world, "r1")
    request(world, "r1")
    loop, _ = ledger(world)
    run(loop)
    deal(world, 1)
    drain(loop)
    request(world, "r2")
    drain(loop)

    found = snapshots(world, "REQUEST")
    assert [(one.request_id, one.rows, one.parts) for one in found] == [("r1", 0, 1), ("r2", 2, 1)]
    assert found[0].digest == "0" * 32
    assert found[1].inputs[2].offset == found[1].source_offset


# --- closes -----------------------------------------------------------------------------------------------------------------------------


def test_the_first_record_past_the_close_writes_the_checkpoint_of_the_session_once() -> None:
    world = World()
    deal(world, 1)
    beat(world, CLOSE_US + DELAY_US - 1)
    loop, task = ledger(world)
    run(loop)
    assert snapshots(world, "SESSION_CLOSE") == []
    beat(world, CLOSE_US + DELAY_US)
    beat(world, CLOSE_US + DELAY_US + 1)
    deal(world, 2, CLOSE_US + DELAY_US + 2)
    drain(loop)

    (found,) = snapshots(world, "SESSION_CLOSE", topic=NAMES.checkpoints)
    assert snapshots(world, "SESSION_CLOSE") == [found]
    assert (found.session_id, found.trading_date, found.source_offset) == ("2026-05-21D", 20594, 2)
    assert found.inputs[0].offset == 1
    assert {row.quantity for row in found.positions} == {1000}
    assert {row.base or row.cost_method for row in found.positions}
    live = states(task)[ACCOUNT]
    stop(loop, world)
    beat(world, CLOSE_US + DELAY_US + 3)
    loop, task = ledger(world)
    run(loop)
    assert len(snapshots(world, topic=NAMES.checkpoints)) == 1
    assert states(task)[ACCOUNT] == live


def test_a_weekend_and_an_outage_close_the_newest_session_only_once() -> None:
    world = World()
    deal(world, 1)
    loop, _ = ledger(world)
    run(loop)
    # Monday morning; Thursday's and Friday's sessions went by without a record.
    for number in range(3):
        beat(world, MORNING_US + 4 * DAY_US + number)
    drain(loop)
    # Monday's close.
    beat(world, CLOSE_US + 4 * DAY_US + HOUR_US)
    drain(loop)

    assert [one.session_id for one in snapshots(world, topic=NAMES.checkpoints)] == ["2026-05-22D", "2026-05-25D"]


def test_futures_close_their_day_and_their_night() -> None:
    world = World()
    account = "simulation|F|F002000|7654321"
    payload = {
        "trade_id": "a1", "seqno": "1", "ordno": "tA", "exchange_seq": "1", "broker_id": "F002000", "account_id": "7654321",
        "action": "Buy", "code": "TXF", "full_code": "TXFF6", "price": 20000.0, "quantity": 1, "delivery_month": "202606",
        "security_type": "FUT", "ts": MORNING_US / 1e6, "combo": False, "market_type": "Day",
    }  # fmt: skip
    world.raw("FDEAL", payload, MORNING_US)
    at_us = MORNING_US
    for _ in range(30):
        at_us += HOUR_US
        beat(world, at_us, account)
    loop, _ = ledger(world)
    run(loop)

    assert [one.session_id for one in snapshots(world, topic=NAMES.checkpoints)] == ["2026-05-21D", "2026-05-21N", "2026-05-22D"]


def test_an_account_without_a_book_has_no_checkpoint_but_its_session_is_closed() -> None:
    world = World()
    beat(world, CLOSE_US + DELAY_US)
    deal(world, 1, CLOSE_US + 2 * DELAY_US)
    beat(world, CLOSE_US + 3 * DELAY_US)
    loop, _ = ledger(world)
    run(loop)

    assert snapshots(world, topic=NAMES.checkpoints) == []
    told = [one for progress in world.read(Progress, NAMES.progress) for one in progress.accounts]
    assert {one.closed_session for one in told} == {"2026-05-21D"}


# --- timers -----------------------------------------------------------------------------------------------------------------------------


def test_after_a_restore_each_account_is_written_then_so_and_so_often_when_its_book_changed() -> None:
    world = World()
    options = SnapshotOptions(interval_s=10, idle_interval_s=100)
    deal(world, 1)
    loop, _ = ledger(world, options)
    run(loop)
    stop(loop, world)

    loop, _ = ledger(world, options)
    loop.start()
    drain(loop)
    assert [one.reason for one in snapshots(world)] == ["STARTUP"]
    (first,) = snapshots(world)
    assert (first.source_topic, first.source_offset, first.inputs[0].offset) == ("", -1, 0)
    assert first.as_of_ts == MORNING_US

    def wait(seconds: int) -> None:
        for _ in range(seconds):
            world.clock.sleep(1)
            loop.step()

    wait(60)
    assert len(snapshots(world)) == 1
    deal(world, 2)
    wait(12)
    assert [one.reason for one in snapshots(world)] == ["STARTUP", "PERIODIC"]
    wait(115)
    assert [one.reason for one in snapshots(world)] == ["STARTUP", "PERIODIC", "PERIODIC"]
    assert len({one.snapshot_id for one in snapshots(world)}) == 3


def test_the_accounts_are_spread_over_the_interval() -> None:
    world = World()
    for number in range(40):
        deal(world, 1, account_id=f"{number:07d}")
    loop, _ = ledger(world, SnapshotOptions(interval_s=40))
    loop.start()
    seen = []
    for _ in range(60):
        world.clock.sleep(1)
        loop.step()
        seen.append(len(snapshots(world)))

    assert seen[-1] >= 40
    assert max(later - earlier for earlier, later in itertools.pairwise(seen)) <= 8
    stop(loop, world)

    # After a restart all are written at once, and then each at its place again.
    loop, _ = ledger(world, SnapshotOptions(interval_s=40, idle_interval_s=0.001))
    loop.start()
    seen = []
    for _ in range(90):
        world.clock.sleep(1)
        loop.step()
        seen.append(len(snapshots(world, "PERIODIC")))
    assert len(snapshots(world, "STARTUP")) == 40
    assert seen[-1] - seen[0] >= 80
    assert max(later - earlier for earlier, later in itertools.pairwise(seen)) <= 8


def test_a_large_book_is_encoded_over_several_transactions_and_comes_whole() -> None:
    world = World()
    for number in range(1, 1301):
        deal(world, number, code=f"{2000 + number}", custom_field=f"s{number}")
    loop, _ = ledger(world, SnapshotOptions(max_part_bytes=65_536))
    run(loop)
    assert len(world.positions()) == 2600
    stop(loop, world)
    loop, _ = ledger(world, SnapshotOptions(max_part_bytes=65_536))
    loop.start()
    steps = 0
    while not snapshots(world) and steps < 50:
        world.clock.sleep(1)
        loop.step()
        steps += 1

    assert steps > 2600 // 1000
    (found,) = snapshots(world)
    assert {row.position_key for row in found.positions} == world.positions().keys()
    assert found.digest == rules.digest(world.positions().values(), found.orders)


# --- what a snapshot holds --------------------------------------------------------------------------------------------------------------


def test_a_snapshot_has_the_rows_as_published_and_the_orders_that_still_work() -> None:
    world = World()
    for number in (1, 2, 3):
        order(world, number)
    deal(world, 1, trade_id="order1", seqno="1")
    deal(world, 2, trade_id="order2", seqno="2", quantity=2)
    deal(world, 3, trade_id="nobody", seqno="9")
    loop, _ = ledger(world)
    run(loop)
    request(world, "r")
    drain(loop)

    (found,) = snapshots(world)
    published = world.positions()
    assert {row.position_key for row in found.positions} == published.keys()
    for row in found.positions:
        assert rules.row_digest(row) == rules.row_digest(published[row.position_key])
    assert {(one.order_id, one.status, one.quantity, one.cum_filled, one.leaves) for one in found.orders} == {
        ("order1", "PART_FILLED", 2000, 1000, 1000),
        ("order3", "SUBMITTED", 2000, 0, 2000),
        ("nobody", "UNKNOWN", 0, 1000, 0),
    }


def test_an_order_of_a_closed_session_is_not_open_any_more() -> None:
    world = World()
    order(world, 1)
    loop, _ = ledger(world)
    run(loop)
    marker(world, "before", CLOSE_US)
    beat(world, CLOSE_US + DELAY_US)
    marker(world, "after", CLOSE_US + DELAY_US)
    drain(loop)

    assert [len(one.orders) for one in snapshots(world, "MARKER")] == [1, 0]


def test_large_books_travel_in_parts_below_the_limit_and_come_together() -> None:
    world = World()
    for number in range(1, 201):
        deal(world, number, code=f"{2000 + number}")
        order(world, number)
    loop, _ = ledger(world, SnapshotOptions(max_part_bytes=16_384))
    run(loop)
    marker(world, "m")
    drain(loop)

    place = TopicPartition(NAMES.snapshots, partition_for(ACCOUNT.encode(), PARTITIONS))
    log = world.broker.log(place)
    sizes = [len(message.value() or b"") for message in log.committed(0, log.high)]
    assert len(sizes) > 10
    assert max(sizes) <= 16_384
    parts = [one for one in world.read(PositionSnapshot, NAMES.snapshots) if one.reason == "MARKER"]
    assert [one.part for one in parts] == list(range(1, len(parts) + 1))
    assert {(one.parts, one.rows, one.digest, one.snapshot_id) for one in parts} == {
        (len(parts), 400, parts[0].digest, parts[0].snapshot_id)
    }
    (found,) = wholes(parts)
    assert len(found.positions) == 400
    assert len(found.orders) == 201
    assert found.digest == rules.digest(found.positions, found.orders)


def test_rows_are_valued_at_the_mark_exactly_and_not_at_all_without_one() -> None:
    world = World()
    deal(world, 1, code="2330", price=600.1)
    deal(world, 2, code="2330", price=600.2)
    deal(world, 3, code="2330", price=600.4)
    deal(world, 4, code="2317")
    deal(world, 5, code="1101")
    deal(world, 6, code="1101", action="Sell")
    marks = {("simulation", "S", "2330"): (601_000_000, 77), ("simulation", "S", "1101"): (1_000_000, 78)}
    loop, _ = ledger(world, mark_of=lambda *key: marks.get(key))
    run(loop)
    request(world, "r")
    drain(loop)

    (found,) = snapshots(world)
    gained = 601_000_000 * 3000 - (600_100_000 + 600_200_000 + 600_400_000) * 1000
    assert {(one.position_key, one.mark_price, one.mark_ts, one.unrealized) for one in found.valuations} == {
        (f"{ACCOUNT}|2330|cash|UNASSIGNED", 601_000_000, 77, gained),
        (f"{ACCOUNT}|2330|cash|*", 601_000_000, 77, gained),
    }


def test_marks_are_no_part_of_the_digest() -> None:
    world = World()
    deal(world, 1)
    prices = iter(range(1, 1000))
    loop, _ = ledger(world, mark_of=lambda *_: (next(prices), 1))
    run(loop)
    request(world, "r1")
    request(world, "r2")
    drain(loop)

    one, other = snapshots(world, "REQUEST")
    assert one.valuations != other.valuations
    assert one.digest == other.digest


# --- transactions -----------------------------------------------------------------------------------------------------------------------


def test_an_aborted_transaction_leaves_no_snapshot_and_no_closed_session_behind() -> None:
    world = World()
    deal(world, 1)
    loop, task = ledger(world)
    run(loop)
    before = states(task)
    for failing in ("send_offsets", "commit"):
        world.broker.plan(failing, lambda: failure(KafkaError.UNSTABLE_OFFSET_COMMIT, "planned", abort=True))
    deal(world, 2)
    marker(world, "m")
    beat(world, CLOSE_US + DELAY_US)
    request(world, "r")
    for _ in range(2):
        while not (aborted := states(task)) or loop.step() == 0:
            pass
        assert aborted == before
    drain(loop)

    assert [one.reason for one in snapshots(world, "MARKER", "SESSION_CLOSE", "REQUEST")].count("MARKER") == 1
    assert sorted(one.reason for one in snapshots(world, "MARKER", "SESSION_CLOSE", "REQUEST")) == ["MARKER", "REQUEST", "SESSION_CLOSE"]
    for one in snapshots(world):
        assert one.digest == rules.digest(one.positions, one.orders)
    assert [one.positions[0].quantity for one in snapshots(world, "MARKER", "SESSION_CLOSE")] == [2000, 2000]


def load(world: World) -> Iterator[None]:
    """Fills of a few stocks and strategies, and markers and requests between them, one a turn."""
    for number in range(1, 400):
        deal(
            world,
            number,
            MORNING_US + number * 60_000_000,
            code=("2330", "2317", "1101")[number % 3],
            action=("Buy", "Sell", "Buy")[number % 7 % 3],
            price=10.0 + number % 11,
            custom_field=("alpha", "beta", "")[number % 5 % 3],
        )
        if number % 7 == 0:
            marker(world, f"m{number}", MORNING_US + number * 60_000_000)
        if number % 31 == 0:
            request(world, f"r{number}")
        yield


def test_every_snapshot_under_load_is_the_sum_of_the_deltas_before_its_cut() -> None:
    world = World()
    loop, _ = ledger(world, SnapshotOptions(interval_s=2, max_part_bytes=16_384))
    loop.start()
    for number, _ in enumerate(load(world)):
        if number % 40 == 20:
            world.broker.plan("commit", lambda: failure(KafkaError.UNSTABLE_OFFSET_COMMIT, "planned", abort=True))
        if number % 6 == 0:
            loop.step()
        world.clock.sleep(0.3)
    drain(loop)

    deltas = world.read(PositionDelta, NAMES.deltas)
    found = snapshots(world)
    assert {one.reason for one in found} == {"MARKER", "REQUEST", "SESSION_CLOSE", "PERIODIC"}
    for one in found:
        applied = {item.topic: item.offset for item in one.inputs}
        inside = [
            delta
            for delta in deltas
            if delta.source_offset <= applied[delta.source_topic]
            or (one.reason == "SESSION_CLOSE" and delta.source_offset == one.source_offset and delta.cause == "FEES")
        ]
        assert differences(rows_from((), inside), one.positions) == []
        assert one.digest == rules.digest(one.positions, one.orders)
    stop(loop, world)
    witness, _ = ledger(world)
    run(witness)
    assert snapshots(world)[-1].reason == "STARTUP"
    assert snapshots(world)[-1].digest == rules.digest(world.positions().values(), snapshots(world)[-1].orders)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_restored_ledger_has_the_book_that_the_dead_one_had(seed: int) -> None:
    world = World()
    start_us = market_open_us(2026, 5, 21)
    day = Simulator(SimConfig(seed=seed, start_us=start_us, step_us=50_000, events=300, stock_accounts=3, futures_accounts=2, strategies=3))
    loop, task = ledger(world)
    loop.start()
    for event in day.events():
        world.send(event)
    drain(loop)
    accounts = {key for state in task.states.values() for key in state.pipeline.accounts}
    for account in accounts:
        marker(world, "end", start_us + HOUR_US, account)
    drain(loop)
    stop(loop, world)
    loop, _ = ledger(world)
    run(loop)

    live = {one.account: one for one in snapshots(world, "MARKER")}
    restored = {one.account: one for one in snapshots(world, "STARTUP")}
    assert len(accounts) == 5
    assert live.keys() == restored.keys() == accounts
    assert any(one.orders for one in live.values())
    for account in accounts:
        assert restored[account].digest == live[account].digest
        assert sorted(restored[account].orders, key=repr) == sorted(live[account].orders, key=repr)


# --- bytes ------------------------------------------------------------------------------------------------------------------------------


def test_a_spliced_snapshot_has_the_bytes_that_the_plain_encoder_writes() -> None:
    world = World()
    for number in range(1, 40):
        deal(world, number, code=f"{2000 + number}")
        order(world, number)
    loop, _ = ledger(world, mark_of=lambda *_: (5, 6))
    run(loop)
    request(world, "r")
    drain(loop)

    encode = Encoder(PositionSnapshot, IDS[PositionSnapshot])
    decode = Decoder(PositionSnapshot, SCHEMAS.writers[PositionSnapshot])
    for partition in range(PARTITIONS):
        log = world.broker.log(TopicPartition(NAMES.snapshots, partition))
        for message in log.committed(0, log.high):
            assert encode(decode(message.value() or b"")) == message.value()


def test_a_row_in_a_snapshot_is_the_record_of_its_topic() -> None:
    world = World()
    deal(world, 1)
    marker(world, "m")
    loop, _ = ledger(world)
    run(loop)

    (found,) = snapshots(world, "MARKER")
    published = {state.position_key: state for state in world.read(PositionState, NAMES.positions)}
    assert {row.position_key: row for row in found.positions} == published
