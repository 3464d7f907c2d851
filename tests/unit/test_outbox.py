"""From the handler to Kafka, against the in-process twin: in order, without a hole, whatever fails on the way."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from execpos.bridge.capture import Capture, OwnRecord
from execpos.bridge.journal.files import Position
from execpos.bridge.journal.journal import Journal
from execpos.bridge.journal.writer import JournalPolicy
from execpos.bridge.outbox import Outbox, OutboxStatus
from execpos.bridge.publisher import PARKED_FOLDER, WINDOW_RECORDS, Publisher, Target
from execpos.codecs.avro import Decoder, schema_text
from execpos.domain.events import RawExecEvent
from execpos.errors import DependencyError, Quit
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.memory.failures import failure
from execpos.kafka.ports import TopicPartition

TOPIC = "t.exec.raw.v1"
PARTITIONS = 4
RAW_ID = 7

# Long enough for a loaded machine; a test that is right never waits for it.
PATIENCE_S = 60.0


def deal(number: int) -> dict[str, Any]:
    return {"broker_id": "9A95", "account_id": str(number % 5), "event_id": f"e-{number}", "quantity": number}


class World:
    """A twin of Kafka, a folder, and one outbox after the other on both."""

    def __init__(self, folder: Path) -> None:
        self.broker = MemoryBroker()
        self.broker.create(TOPIC, PARTITIONS)
        self.cluster = MemoryCluster(self.broker)
        self.folder = folder
        self.connects = 0
        self.refusals: list[Exception] = []
        self.journaled: list[int] = []
        self.open()

    def open(self) -> None:
        self.capture = Capture()
        self.journal = Journal.open(self.folder, env="simulation", bridge_id="b", policy=JournalPolicy(fsync_interval_ms=10))
        self.outbox = Outbox(self.capture, self.journal, self.connect, sdk_version="1.7.9", on_journaled=self.note, alarm_records=50)

    def connect(self) -> Target:
        self.connects += 1
        if self.refusals:
            raise self.refusals.pop(0)
        return Target(self.cluster.idempotent_producer("b"), TOPIC, RAW_ID)

    def note(self, records: Any) -> None:
        self.journaled += [record.bridge_seq for record in records]

    def call(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            self.capture.handler("SDEAL", deal(number))

    def until(self, holds: Callable[[OutboxStatus], bool]) -> OutboxStatus:
        limit_s = time.monotonic() + PATIENCE_S
        while not holds(status := self.outbox.status()):
            assert time.monotonic() < limit_s, status
            time.sleep(0.002)
        return status

    def until_published(self, last: int) -> None:
        self.until(lambda status: status.published_seq == last)

    def published(self) -> list[RawExecEvent]:
        """Return everything in the topic, as it lies in each partition, by time of writing there."""
        decode = Decoder(RawExecEvent, {RAW_ID: schema_text(RawExecEvent)})
        found = []
        for partition in range(PARTITIONS):
            tp = TopicPartition(TOPIC, partition)
            end = self.cluster.high_watermarks([tp], 1.0)[tp]
            found += [decode(message.value() or b"") for message in self.cluster.read(tp, 0, end, PATIENCE_S)]
        return found

    def assert_gapless(self, last: int) -> None:
        """All numbers are there, a repeat is the same record, and the last appearances of an account's records are in order.

        First appearances need not be: the twin, as the library without its gapless guarantee, goes on behind a record that it gave up.
        """
        content: dict[int, RawExecEvent] = {}
        numbers: dict[str, dict[int, None]] = {}
        for record in self.published():
            assert content.setdefault(record.bridge_seq, record) == record
            mine = numbers.setdefault(record.account, {})
            mine.pop(record.bridge_seq, None)
            mine[record.bridge_seq] = None
        assert sorted(content) == list(range(1, last + 1))
        for mine in numbers.values():
            assert list(mine) == sorted(mine)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "journal")
    yield made
    made.broker.reachable = True
    made.outbox._publisher.close()
    if made.outbox._thread.is_alive():
        made.outbox._deadline_s = 0.0
        made.capture.close()
        made.outbox._thread.join(PATIENCE_S)
    made.journal.close()


def test_what_is_called_back_arrives_numbered_in_order_once(world: World) -> None:
    world.outbox.start()
    world.call(1, 500)
    status = world.outbox.finish(PATIENCE_S)

    world.assert_gapless(500)
    assert (status.callbacks, status.journaled_seq, status.published_seq, status.backlog_records) == (500, 500, 500, 0)
    assert status.published == status.delivered == 500
    assert (status.journal_error, status.publish_error, status.captured, status.alarm) == ("", "", 0, False)
    assert world.journaled == list(range(1, 501))


def test_an_idle_outbox_publishes_a_single_report_without_a_further_one(world: World) -> None:
    world.outbox.start()
    for number in (1, 2, 3):
        world.call(number, number)
        world.until_published(number)
    world.outbox.finish(PATIENCE_S)

    world.assert_gapless(3)


def test_kafka_that_is_down_at_the_start_is_tried_again_and_gets_everything(world: World) -> None:
    world.refusals = [
        DependencyError("the registry does not answer"),
        failure(KafkaError._TRANSPORT, "down"),
        OSError("refused"),
        ValueError("what nobody foresaw"),
    ]
    world.outbox.start()
    world.call(1, 200)
    status = world.until(lambda status: status.journaled_seq == 200)
    assert status.publish_error != ""
    world.until(lambda status: status.published_seq == 200)
    status = world.outbox.finish(PATIENCE_S)

    assert (status.publish_error, world.connects) == ("", 5)
    world.assert_gapless(200)


def test_kafka_that_is_away_leaves_everything_in_the_journal_and_is_no_error_at_the_end(world: World) -> None:
    world.broker.reachable = False
    world.outbox.start()
    world.call(1, 100)
    world.until(lambda status: status.journaled_seq == 100)
    status = world.outbox.finish(0.05)

    assert (status.backlog_records, status.published_seq) == (100, 0)
    assert world.published() == []
    epoch = status.epoch
    world.broker.reachable = True
    world.open()
    world.outbox.start()
    world.call(101, 150)
    status = world.outbox.finish(PATIENCE_S)

    assert (status.epoch, status.backlog_records, status.journaled_seq) == (epoch, 0, 150)
    world.assert_gapless(150)


def test_a_killed_bridge_s_records_are_published_by_the_next_one_with_the_same_numbers(world: World) -> None:
    world.broker.reachable = False
    world.outbox.start()
    world.call(1, 30)
    world.until(lambda status: status.journaled_seq == 30)
    world.outbox._publisher.close()
    world.outbox._deadline_s = 0.0
    world.capture.close()
    world.outbox._thread.join(PATIENCE_S)
    world.journal.abandon()
    world.broker.reachable = True
    world.open()
    world.outbox.start()
    world.call(31, 40)
    world.outbox.finish(PATIENCE_S)

    world.assert_gapless(40)


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("fatal", [False, True])
def test_a_delivery_that_fails_rewinds_and_leaves_no_hole(world: World, *, fatal: bool, after_effect: bool) -> None:
    world.outbox.start()
    world.call(1, 50)
    world.until(lambda status: status.published_seq == 50)
    code = KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER if fatal else KafkaError.NOT_ENOUGH_REPLICAS
    world.broker.plan("produce", lambda: failure(code, "no", fatal=fatal), after_effect=after_effect, times=3)
    world.call(51, 200)
    world.until(lambda status: status.published_seq == 200)
    status = world.outbox.finish(PATIENCE_S)

    assert world.connects > 1
    assert status.publish_error == ""
    world.assert_gapless(200)


def test_a_record_that_kafka_will_never_take_is_parked_and_the_rest_goes_on(world: World) -> None:
    world.broker.topics[TOPIC].configs["max.message.bytes"] = "1000"
    world.outbox.start()
    world.call(1, 20)
    world.capture.handler("SDEAL", deal(21) | {"code": "x " * 1000})
    world.call(22, 40)
    world.until(lambda status: status.published_seq == 40)
    status = world.outbox.finish(PATIENCE_S)

    assert (status.parked, status.backlog_records) == (1, 0)
    (kept,) = (world.folder / PARKED_FOLDER).iterdir()
    assert kept.name == f"{status.epoch}-21.avro"
    assert b"x " * 1000 in kept.read_bytes()
    assert {record.bridge_seq for record in world.published()} == set(range(1, 41)) - {21}


def test_a_window_that_is_full_goes_on_from_the_journal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execpos.bridge.publisher.WINDOW_RECORDS", 10)
    world.broker.reachable = False
    world.outbox.start()
    world.call(1, 300)
    world.until(lambda status: status.journaled_seq == 300)
    assert world.outbox._publisher.published <= 10 < WINDOW_RECORDS
    world.broker.reachable = True
    world.until(lambda status: status.published_seq == 300)
    world.outbox.finish(PATIENCE_S)

    world.assert_gapless(300)


def test_a_producer_that_has_no_room_is_offered_the_same_record_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execpos.kafka.memory.producer.MemoryIdempotentProducer.QUEUE_LIMIT", 3)
    world.outbox.start()
    world.call(1, 100)
    world.until(lambda status: status.published_seq == 100)
    status = world.outbox.finish(PATIENCE_S)

    assert status.published == 100
    world.assert_gapless(100)


def test_silence_of_kafka_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execpos.bridge.publisher._SILENT_S", 0.0)
    world.outbox.start()
    world.call(1, 1)
    world.until(lambda status: status.published_seq == 1)
    world.broker.reachable = False
    world.call(2, 2)
    world.until(lambda status: "has not answered" in status.publish_error)
    world.broker.reachable = True
    world.until(lambda status: status.publish_error == "")


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes, at: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("execpos.bridge.journal.writer.os.pwrite", full)


def test_a_full_disk_holds_reports_in_memory_in_order_and_publishes_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execpos.bridge.outbox._RETRY_MAX_S", 0.05)
    world.outbox.start()
    world.call(1, 10)
    world.until(lambda status: status.published_seq == 10)
    with monkeypatch.context() as patch:
        full_disk(patch)
        world.call(11, 100)
        status = world.until(lambda status: status.journal_error != "" and status.captured == 90)
        assert status.alarm
        assert (status.journal_error, status.journaled_seq, status.published_seq) == ("No space left on device", 10, 10)
    status = world.until(lambda status: status.published_seq == 100)
    assert (status.journal_error, status.captured, status.alarm) == ("", 0, False)
    world.outbox.finish(PATIENCE_S)

    world.assert_gapless(100)


def test_a_disk_that_stays_full_to_the_end_is_an_error_that_counts_what_is_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.outbox.start()
    with monkeypatch.context() as patch:
        full_disk(patch)
        world.call(1, 7)
        with pytest.raises(Quit, match=r"No space left on device\); 7 records are in memory only"):
            world.outbox.finish(0.1)


def test_own_records_and_reports_that_were_asked_for_keep_their_place(world: World) -> None:
    world.outbox.start()
    world.call(1, 1)
    world.capture.put("MARKER", OwnRecord("simulation|S|9A95|1", b"{}", "m-1"))
    world.capture.put_report("CATCHUP_SDEAL", deal(6))
    world.capture.put_report("FDEAL", deal(6))
    world.capture.beat("simulation|S|9A95|1")
    world.outbox.finish(PATIENCE_S)

    made = sorted(world.published(), key=lambda record: record.bridge_seq)
    assert [record.kind for record in made] == ["SDEAL", "MARKER", "CATCHUP_SDEAL", "CATCHUP_FDEAL", "BEAT"]
    assert [record.account for record in made] == [*["simulation|S|9A95|1"] * 3, "simulation|F|9A95|1", "simulation|S|9A95|1"]
    assert world.outbox.status().callbacks == 3


def test_a_hook_that_raises_is_an_error_of_the_bridge_and_loses_nothing(world: World) -> None:
    def fails(records: Any) -> None:
        raise ValueError("a mistake")

    world.outbox._on_journaled = fails
    world.outbox.start()
    world.call(1, 5)
    with pytest.raises(Quit, match="a hook of the journal failed: ValueError: a mistake"):
        world.outbox.finish(PATIENCE_S)

    world.assert_gapless(5)


def test_reports_that_come_while_the_end_is_near_are_kept(world: World) -> None:
    world.outbox.start()
    world.capture.close()
    world.call(1, 100)
    world.outbox._thread.join(PATIENCE_S)

    assert world.journal.last.seq == 100


def test_several_threads_may_call_back_at_once(world: World) -> None:
    world.outbox.start()
    threads = [threading.Thread(target=world.call, args=(1, 250)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.outbox.finish(PATIENCE_S)

    made = world.published()
    assert sorted(record.bridge_seq for record in made) == list(range(1, 1001))
    assert len({record.broker_event_id for record in made}) == 250


def test_a_damaged_record_in_the_backlog_is_said_and_the_rest_arrives(world: World) -> None:
    world.broker.reachable = False
    world.outbox.start()
    world.call(1, 10)
    world.until(lambda status: status.journaled_seq == 10)
    world.outbox.finish(0.0)
    path = max(world.folder.glob("*.journal"))
    data = bytearray(path.read_bytes())
    at = data.index(b"e-4")
    data[at] ^= 1
    path.write_bytes(data)
    world.broker.reachable = True
    world.open()
    world.outbox.start()
    world.call(11, 12)
    status = world.outbox.finish(PATIENCE_S)

    assert [(lost.first, lost.last) for lost in status.lost] == [(4, 4)]
    assert (status.backlog_records, status.journaled_seq) == (0, 12)
    assert sorted(record.bridge_seq for record in world.published()) == [1, 2, 3, *range(5, 13)]


def test_an_old_epoch_is_published_before_the_new_one(world: World) -> None:
    world.broker.reachable = False
    world.outbox.start()
    world.call(1, 10)
    world.until(lambda status: status.journaled_seq == 10)
    first = world.outbox.finish(0.0).epoch
    with max(world.folder.glob("*.journal")).open("ab") as file:
        file.write(b"torn")
    world.broker.reachable = True
    world.open()
    world.outbox.start()
    world.call(11, 15)
    status = world.outbox.finish(PATIENCE_S)

    assert (status.epoch > first, len(status.torn), status.backlog_records) == (True, 1, 0)
    assert status.acknowledged == Position(status.epoch, 5)
    for account in {record.account for record in world.published()}:
        mine = [(record.bridge_epoch, record.bridge_seq) for record in world.published() if record.account == account]
        assert mine == sorted(mine)
    assert len(world.published()) == 15


def test_the_publisher_closes_a_target_that_comes_too_late(world: World) -> None:
    let_go, closed = threading.Event(), threading.Event()

    class Late:
        def close(self) -> None:
            closed.set()

    def connect() -> Target:
        let_go.wait(PATIENCE_S)
        return Target(Late(), TOPIC, RAW_ID)  # type: ignore[arg-type]  # only `close` is called

    publisher = Publisher(world.journal, connect)
    publisher.work()
    publisher.close()
    let_go.set()

    assert closed.wait(PATIENCE_S)
