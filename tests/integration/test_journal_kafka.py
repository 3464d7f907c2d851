"""Journal and publisher on a real Kafka: producers that fail in the middle leave no hole, and what was published once may be so again."""

import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from execpos.bridge.capture import Capture
from execpos.bridge.journal.inspection import replay
from execpos.bridge.journal.journal import Journal
from execpos.bridge.outbox import Outbox, OutboxStatus
from execpos.bridge.publisher import PARKED_FOLDER, Target
from execpos.codecs import framing
from execpos.codecs.avro import Decoder, schema_text
from execpos.domain.events import RawExecEvent
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.ports import Span, TopicPartition
from execpos.local.stack import Stack

pytestmark = pytest.mark.stack

PARTITIONS = 3
RAW_ID = 1
PATIENCE_S = 120.0


class Desk:
    """One topic, and outboxes that publish to it."""

    def __init__(self, servers: str, topic: str, folder: Path) -> None:
        self.cluster = KafkaCluster(KafkaSettings(servers), "test-journal")
        self.topic, self.folder = topic, folder
        self.cluster.create(topic, PARTITIONS, 1, {"max.message.bytes": "300000"}, 30.0)
        self.targets: list[Target] = []

    def connect(self) -> Target:
        target = Target(self.cluster.idempotent_producer("test-journal"), self.topic, RAW_ID)
        self.targets.append(target)
        return target

    def outbox(self, **options: Any) -> tuple[Capture, Outbox]:
        capture = Capture()
        journal = Journal.open(self.folder, env="simulation", bridge_id="b")
        return capture, Outbox(capture, journal, self.connect, sdk_version="1.7.9", **options)

    def published(self) -> list[list[RawExecEvent]]:
        """Return the records of each partition, in order."""
        decode = Decoder(RawExecEvent, {RAW_ID: schema_text(RawExecEvent)})
        tps = [TopicPartition(self.topic, partition) for partition in range(PARTITIONS)]
        ends = self.cluster.high_watermarks(tps, 30.0)
        found: list[list[RawExecEvent]] = [[] for _ in tps]
        reader = self.cluster.reader()
        for message in reader.read([Span(tp, 0, end) for tp, end in ends.items()], 30.0):
            found[message.partition()].append(decode(message.value() or b""))
        reader.close()
        return found


@pytest.fixture
def desk(stack: Stack, tmp_path: Path, request: pytest.FixtureRequest) -> Desk:
    return Desk(stack.kafka.bootstrap_servers, f"{request.node.name}.exec.raw.v1", tmp_path / "journal")


def deal(number: int) -> dict[str, Any]:
    return {"broker_id": "9A95", "account_id": str(number % 7), "event_id": f"e-{number}", "quantity": number}


def until(outbox: Outbox, seq: int) -> OutboxStatus:
    limit_s = time.monotonic() + PATIENCE_S
    while (status := outbox.status()).published_seq < seq:
        assert time.monotonic() < limit_s, status
        time.sleep(0.01)
    return status


def test_producers_that_are_lost_in_the_middle_leave_no_hole(desk: Desk) -> None:
    capture, outbox = desk.outbox()
    outbox.start()
    for number in range(1, 20_001):
        capture.handler("SDEAL", deal(number))
        if number % 4_000 == 0:
            # The producer is told to give everything up: some of it was written, some was not, and nobody knows which.
            until(outbox, number - 3_000)
            desk.targets[-1].producer.purge()
    until(outbox, 20_000)
    status = outbox.finish(PATIENCE_S)

    assert status.backlog_records == 0
    assert len(desk.targets) > 1
    content: dict[int, RawExecEvent] = {}
    for partition in desk.published():
        last_seen: dict[int, None] = {}
        for record in partition:
            assert content.setdefault(record.bridge_seq, record) == record
            last_seen.pop(record.bridge_seq, None)
            last_seen[record.bridge_seq] = None
        assert list(last_seen) == sorted(last_seen)
    assert sorted(content) == list(range(1, 20_001))


def test_a_record_that_the_broker_refuses_is_parked_alone(desk: Desk) -> None:
    desk.cluster.alter_configs(desk.topic, {"max.message.bytes": "20000"}, 30.0)
    capture, outbox = desk.outbox()
    for number in range(1, 101):
        capture.handler("SDEAL", deal(number) | ({"code": "x " * 15_000} if number == 50 else {}))
    outbox.start()
    status = until(outbox, 100)
    assert status.parked == 1
    outbox.finish(PATIENCE_S)

    assert [path.name for path in (desk.folder / PARKED_FOLDER).iterdir()] == [f"{status.epoch}-50.avro"]
    assert {record.bridge_seq for partition in desk.published() for record in partition} == set(range(1, 101)) - {50}


def test_a_replay_writes_the_same_records_once_more(desk: Desk) -> None:
    capture, outbox = desk.outbox()
    outbox.start()
    for number in range(1, 51):
        capture.handler("SDEAL", deal(number))
    outbox.finish(PATIENCE_S)
    target, errors = desk.connect(), []

    def note(error: KafkaError | None, message: object) -> None:
        del message
        if error is not None:
            errors.append(error)

    header = framing.header(target.schema_id)
    count, lost = replay(
        desk.folder, 11, 30, lambda entry: target.producer.produce(target.topic, -1, entry.account, header + entry.body, note)
    )
    assert target.producer.flush(PATIENCE_S) == 0
    target.producer.close()

    assert (count, lost, errors) == (20, (), [])
    everything = [record for partition in desk.published() for record in partition]
    assert len(everything) == 70
    assert {record.bridge_seq for record in everything} == set(range(1, 51))
    assert len({(record.bridge_seq, record.payload, record.broker_event_id, record.ingest_ts) for record in everything}) == 50
