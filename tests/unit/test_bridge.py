"""The bridge against the in-process Kafka: everything the broker said arrives, numbered, redacted, once."""

import hashlib
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from callback_samples import LINES, PATH
from execpos.bridge.capture import Capture, OwnRecord
from execpos.bridge.convert import PAYLOAD_BYTES_MAX, Converter
from execpos.bridge.service import INTENTS_TOPIC, RAW_TOPIC, Bridge, BridgeOptions, replay_bridge, sim_bridge
from execpos.brokers.protocol import BrokerAccount, OrderCallback
from execpos.brokers.replay import ReplayBroker
from execpos.brokers.sim import Faults, SimConfig, Simulator, market_open_us
from execpos.codecs.avro import Decoder, Encoder, schema_text
from execpos.domain.events import Intent, RawExecEvent
from execpos.errors import ContractError, DependencyError, UsageError
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.memory.failures import failure
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition

PARTITIONS = 4
RAW_ID, INTENT_ID = 7, 9
OPTIONS = BridgeOptions(prefix="t.", bridge_id="b", bridge_epoch=5, beat_interval_s=0.05, drain_timeout_s=30)

# Long enough for a loaded machine; a test that is right never waits for it.
PATIENCE_S = 60.0


@pytest.fixture
def cluster() -> MemoryCluster:
    broker = MemoryBroker()
    for topic in (RAW_TOPIC, INTENTS_TOPIC):
        broker.create(f"t.{topic}", PARTITIONS)
    return MemoryCluster(broker)


def raw_records(cluster: MemoryCluster) -> list[tuple[int, bytes, RawExecEvent]]:
    """Return (partition, key, record) of everything in exec.raw, by bridge_seq."""
    decode = Decoder(RawExecEvent, {RAW_ID: schema_text(RawExecEvent)})
    found = []
    for partition in range(PARTITIONS):
        tp = TopicPartition(f"t.{RAW_TOPIC}", partition)
        end = cluster.high_watermarks([tp], 1.0)[tp]
        messages = cluster.read(tp, 0, end, PATIENCE_S)
        found += [(partition, message.key() or b"", decode(message.value() or b"")) for message in messages]
    return sorted(found, key=lambda item: item[2].bridge_seq)


def convert(state: Any, event: Any) -> RawExecEvent:
    return Converter("production", "b", 1, "1.7.9")((1_000_000, 2, state, event))


# --- capture ---------------------------------------------------------------------------------------------------------------------------


class Untouchable:
    """A report that nobody may look at."""

    def __getattribute__(self, name: str) -> Any:
        pytest.fail(f"the handler looked at {name}")


def test_the_handler_returns_without_looking_at_what_it_was_given() -> None:
    capture = Capture(wall_ns=lambda: 11, monotonic_ns=lambda: 22)
    state, event = Untouchable(), Untouchable()

    capture.handler(state, event)

    captured = capture.queue.get_nowait()
    assert captured is not None
    assert captured[:2] == (11, 22)
    assert captured[2] is state
    assert captured[3] is event


def test_own_records_stand_in_the_queue_in_the_order_in_which_they_came() -> None:
    capture = Capture(wall_ns=lambda: 5_000, monotonic_ns=lambda: 6)
    capture.handler("SDEAL", {"a": 1})
    capture.put("MARKER", OwnRecord("replay|S|9A95|1", b"{}", "m-1"))
    capture.beat("replay|S|9A95|1")
    convert = Converter("replay", "b", 3, "v")

    deal, marker, beat = (convert(item) for item in (capture.queue.get(), capture.queue.get(), capture.queue.get()) if item is not None)

    assert [record.bridge_seq for record in (deal, marker, beat)] == [1, 2, 3]
    assert (marker.kind, marker.marker_id, marker.account) == ("MARKER", "m-1", "replay|S|9A95|1")
    assert (beat.kind, beat.payload, beat.ingest_ts, beat.broker_event_id) == ("BEAT", b'{"ts":5}', 5, "")
    assert convert.callbacks == 1


# --- conversion ------------------------------------------------------------------------------------------------------------------------


def test_the_record_says_when_who_and_what() -> None:
    payload = LINES[6]["payload"]
    record = convert("SDEAL", payload)

    assert record == RawExecEvent(
        env="production",
        account="production|S|9A95|1234567",
        kind="SDEAL",
        payload=json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode(),
        broker_event_id="v1:SD:A1EGVO30H:BOnKZSD:7",
        bridge_id="b",
        bridge_epoch=1,
        bridge_seq=1,
        ingest_ts=1000,
        ingest_monotonic_ns=2,
        marker_id="",
        sdk_version="1.7.9",
    )


def test_one_payload_gives_the_same_bytes_from_a_dictionary_and_from_a_wrapper() -> None:
    class Wrapper:
        def __init__(self, fields: dict[str, Any]) -> None:
            self._fields = fields

        def items(self) -> list[tuple[str, Any]]:
            return [(key, Wrapper(value) if isinstance(value, dict) else value) for key, value in self._fields.items()]

    for line in LINES:
        assert convert(line["kind"], line["payload"]).payload == convert(line["kind"], Wrapper(line["payload"])).payload


@pytest.mark.parametrize(
    ("kind", "payload", "account"),
    [
        ("SDEAL", {"broker_id": "9A95", "account_id": "1"}, "production|S|9A95|1"),
        ("FORDER", {"order": {"account": {"broker_id": "F|2", "account_id": "1%"}}}, "production|F|F%7C2|1%25"),
        ("FDEAL", {"broker_id": "9A95"}, "production|F||"),
        ("SORDER", {"order": {"account": None}}, "production|S||"),
        ("SORDER", {"order": "?"}, "production|S||"),
        ("SDEAL", {"broker_id": 5, "account_id": "1"}, "production|S||"),
        ("SDEAL", {"broker_id": "9" * 300, "account_id": "1"}, "production|S||"),
        ("NEW_KIND", {}, "production|S||"),
    ],
)
def test_a_report_without_a_readable_account_is_kept_under_an_empty_one(kind: str, payload: Any, account: str) -> None:
    assert convert(kind, payload).account == account


def test_personal_data_never_leaves() -> None:
    record = convert("SORDER", {"order": {"account": {"person_id": "A123456789", "username": "王小明"}, "ca": "x" * 50}, "note": "王小明"})

    assert json.loads(record.payload) == {"order": {"account": {"person_id": "", "username": ""}, "ca": ""}, "note": "[redacted 3 chars]"}


def test_unknown_fields_are_counted_by_name() -> None:
    converter = Converter("production", "b", 1, "1.7.9")
    for _ in range(3):
        converter((1, 1, "SDEAL", {"code": "2330", "fresh": 1}))

    assert converter.unknown == {"fresh": 3}


def test_a_payload_that_is_too_large_travels_as_length_and_hash() -> None:
    payload = {"event_id": "v1:SD:x:y:1", "broker_id": "9A95", "account_id": "1", "code": "x" * PAYLOAD_BYTES_MAX}
    whole = json.dumps(payload, separators=(",", ":")).encode()
    record = convert("SDEAL", payload)

    assert json.loads(record.payload) == {"oversized": {"sha256": hashlib.sha256(whole).hexdigest(), "bytes": len(whole)}}
    assert (record.kind, record.account, record.broker_event_id) == ("SDEAL", "production|S|9A95|1", "v1:SD:x:y:1")


@pytest.mark.parametrize("event", [None, 5, "text", {"price": float("nan")}, {"op": "\ud800"}, {"event_id": "\ud800"}, object()])
def test_whatever_comes_becomes_a_record_that_can_be_stored(event: Any) -> None:
    record = convert(object(), event)
    decode = Decoder(RawExecEvent, {RAW_ID: schema_text(RawExecEvent)})

    assert decode(Encoder(RawExecEvent, RAW_ID)(record)) == record
    json.loads(record.payload)
    assert record.kind == "[object]"


def test_nan_is_kept_as_the_broker_gave_it() -> None:
    assert convert("SDEAL", {"price": float("nan"), "ts": 1.5}).payload == b'{"price":NaN,"ts":1.5}'


# --- a file ----------------------------------------------------------------------------------------------------------------------------


def test_a_file_arrives_whole_in_order_and_on_its_partitions(cluster: MemoryCluster) -> None:
    report = replay_bridge(PATH, OPTIONS, cluster, raw_schema_id=RAW_ID).run(threading.Event())
    found = raw_records(cluster)
    records = [record for _, _, record in found]

    assert [record.bridge_seq for record in records] == list(range(1, len(records) + 1))
    callbacks = [record for record in records if record.kind != "BEAT"]
    assert [(record.kind, json.loads(record.payload)) for record in callbacks] == [(line["kind"], line["payload"]) for line in LINES]
    assert {(record.env, record.bridge_id, record.bridge_epoch) for record in records} == {("replay", "b", 5)}
    for partition, key, record in found:
        assert key == record.account.encode()
        assert partition == partition_for(key, PARTITIONS)
    assert report.callbacks == len(LINES)
    assert report.published == report.acknowledged == len(records)
    assert report.waiting == 0


def test_beats_frame_the_reports_of_each_account(cluster: MemoryCluster) -> None:
    replay_bridge(PATH, OPTIONS, cluster, raw_schema_id=RAW_ID).run(threading.Event())
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for _, _, record in raw_records(cluster):
        kinds[record.account].append(record.kind)

    assert set(kinds) == {"replay|S|9A95|1234567", "replay|F|F002000|7654321"}
    for found in kinds.values():
        assert found[0] == found[-1] == "BEAT"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "a list, not an object"),
        (b'{"kind": "DEAL", "payload": {}}', "kind is 'DEAL'"),
        (b'{"payload": {}}', "kind is 'None'"),
        (b'{"kind": [], "payload": {}}', "kind is '[]'"),
        (b'{"kind": "SDEAL", "payload": []}', "payload is a list"),
        (b'{"kind": "SDEAL"}', "payload is a NoneType"),
    ],
)
def test_a_bad_line_names_its_number_and_publishes_nothing(cluster: MemoryCluster, tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "callbacks.jsonl"
    path.write_bytes(b'{"kind": "SDEAL", "payload": {}}\n\n' + line + b"\n")

    with pytest.raises(ContractError) as caught:
        replay_bridge(path, OPTIONS, cluster, raw_schema_id=RAW_ID)

    assert f"{path}, line 3: " in caught.value.what
    assert says in caught.value.what
    assert caught.value.fields == {"line": 3}
    assert raw_records(cluster) == []


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none\.jsonl"):
        ReplayBroker(tmp_path / "none.jsonl")


def test_a_missing_topic_stops_the_bridge_before_it_takes_anything() -> None:
    with pytest.raises(ContractError, match=r"exec\.raw"):
        replay_bridge(PATH, OPTIONS, MemoryCluster(MemoryBroker()), raw_schema_id=RAW_ID)


# --- the simulator ---------------------------------------------------------------------------------------------------------------------


def simulator(events: int | None = 2000, step_us: int = 100) -> Simulator:
    return Simulator(SimConfig(seed=4, start_us=market_open_us(2026, 5, 21), events=events, step_us=step_us, faults=Faults(duplicate=0.1)))


def test_a_simulated_day_arrives_as_the_simulator_counted_it(cluster: MemoryCluster) -> None:
    day = simulator()
    report = sim_bridge(day, OPTIONS, cluster, raw_schema_id=RAW_ID, intent_schema_id=INTENT_ID, paced=False).run(threading.Event())
    records = [record for _, _, record in raw_records(cluster)]

    assert [record.bridge_seq for record in records] == list(range(1, len(records) + 1))
    kinds = Counter(record.kind for record in records)
    del kinds["BEAT"]
    assert kinds.total() == day.truth.callbacks == report.callbacks
    receipts = Counter(record.broker_event_id for record in records if record.kind != "BEAT")
    repeated = day.truth.duplicate_orders + day.truth.duplicate_deals
    assert len(receipts) == day.truth.callbacks - repeated
    expected = [event for event in simulator().events() if event.kind == "callback"]
    assert [json.loads(record.payload) for record in records if record.kind != "BEAT"] == [event.payload for event in expected]


def test_the_robot_s_intents_arrive_with_ids_that_come_again(cluster: MemoryCluster) -> None:
    def intents() -> list[Intent]:
        broker = MemoryBroker()
        for topic in (RAW_TOPIC, INTENTS_TOPIC):
            broker.create(f"t.{topic}", PARTITIONS)
        twin = MemoryCluster(broker)
        day = simulator()
        report = sim_bridge(day, OPTIONS, twin, raw_schema_id=RAW_ID, intent_schema_id=INTENT_ID, paced=False).run(threading.Event())
        decode = Decoder(Intent, {INTENT_ID: schema_text(Intent)})
        found = []
        for partition in range(PARTITIONS):
            tp = TopicPartition(f"t.{INTENTS_TOPIC}", partition)
            for message in twin.read(tp, 0, twin.high_watermarks([tp], 1.0)[tp], PATIENCE_S):
                assert partition == partition_for(message.key() or b"", PARTITIONS)
                found.append(decode(message.value() or b""))
        assert len(found) == day.truth.intents == report.intents
        return found

    first, second = intents(), intents()

    assert first == second
    assert len({(intent.account, intent.intent_id) for intent in first}) == len(first)
    assert {intent.session_id for intent in first} == {"2026-05-21D"}
    assert all(bool(intent.order_id) != bool(intent.seqno) for intent in first)


def test_a_stop_delivers_what_is_under_way_and_ends(cluster: MemoryCluster) -> None:
    day, stop = simulator(events=None, step_us=1000), threading.Event()
    bridge = sim_bridge(day, OPTIONS, cluster, raw_schema_id=RAW_ID, intent_schema_id=INTENT_ID, paced=True)
    runner = threading.Thread(target=bridge.run, args=(stop,))
    runner.start()
    limit = time.monotonic() + PATIENCE_S
    while bridge.report().callbacks < 20 and time.monotonic() < limit:
        time.sleep(0.01)
    stop.set()
    runner.join(PATIENCE_S)

    assert not runner.is_alive()
    report = bridge.report()
    assert report.callbacks == day.truth.callbacks >= 20
    assert report.published == report.acknowledged


# --- when things go wrong --------------------------------------------------------------------------------------------------------------


class ScriptedBroker:
    """Calls back on the starting thread; then is finished, or fails."""

    env = "simulation"
    sdk_version = "test"

    def __init__(self, events: Sequence[tuple[Any, Any]], then: Callable[[], bool] = lambda: True) -> None:
        self._events = events
        self._then = then
        self._callback: OrderCallback | None = None

    def accounts(self) -> Sequence[BrokerAccount]:
        return [BrokerAccount("S", "9A95", "1")]

    def set_order_callback(self, callback: OrderCallback) -> None:
        self._callback = callback

    def start(self) -> None:
        assert self._callback is not None
        for state, event in self._events:
            self._callback(state, event)

    def finished(self) -> bool:
        return self._then()

    def stop(self) -> None:
        pass


DEAL = {"broker_id": "9A95", "account_id": "1"}


def test_kafka_away_for_a_while_loses_nothing(cluster: MemoryCluster) -> None:
    cluster.broker.reachable = False

    def comes_back() -> bool:
        cluster.broker.reachable = True
        return True

    Bridge(OPTIONS, ScriptedBroker([("SDEAL", DEAL)] * 500, comes_back), cluster, raw_schema_id=RAW_ID).run(threading.Event())

    records = [record for _, _, record in raw_records(cluster)]
    assert [record.bridge_seq for record in records] == list(range(1, 503))


def test_kafka_away_for_good_ends_with_an_error_that_counts_what_is_missing(cluster: MemoryCluster) -> None:
    cluster.broker.reachable = False
    options = BridgeOptions(prefix="t.", drain_timeout_s=0.2)

    with pytest.raises(DependencyError, match=r"12 records of t\.exec\.raw\.v1 were not acknowledged"):
        Bridge(options, ScriptedBroker([("SDEAL", DEAL)] * 10), cluster, raw_schema_id=RAW_ID).run(threading.Event())


def test_a_refused_record_stops_the_bridge(cluster: MemoryCluster) -> None:
    cluster.broker.plan("produce", lambda: failure(KafkaError.MSG_SIZE_TOO_LARGE, "too large"))

    with pytest.raises(DependencyError, match="MSG_SIZE_TOO_LARGE"):
        Bridge(OPTIONS, ScriptedBroker([("SDEAL", DEAL)] * 10, lambda: False), cluster, raw_schema_id=RAW_ID).run(threading.Event())


def test_an_error_of_the_broker_ends_the_bridge_after_what_came_before_it_was_stored(cluster: MemoryCluster) -> None:
    def fails() -> bool:
        raise UsageError("the broker hung up")

    with pytest.raises(UsageError, match="hung up"):
        Bridge(OPTIONS, ScriptedBroker([("SDEAL", DEAL)] * 3, fails), cluster, raw_schema_id=RAW_ID).run(threading.Event())

    assert Counter(record.kind for _, _, record in raw_records(cluster)) == {"SDEAL": 3, "BEAT": 2}


def test_an_epoch_that_is_not_given_rises_with_the_clock(cluster: MemoryCluster) -> None:
    for _ in range(2):
        Bridge(BridgeOptions(prefix="t."), ScriptedBroker([]), cluster, raw_schema_id=RAW_ID).run(threading.Event())

    epochs = {record.bridge_epoch for _, _, record in raw_records(cluster)}
    assert len(epochs) == 2
