"""Conversion, and bridges of a file and of a simulated day against the in-process Kafka: everything arrives, numbered, redacted, once."""

import hashlib
import json
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from bridge_world import PARTITIONS, PATIENCE_S, ScriptedBroker, World, made, options, running, wait_for
from callback_samples import LINES, PATH
from execpos.bridge.capture import Capture, OwnRecord
from execpos.bridge.convert import PAYLOAD_BYTES_MAX, Converter
from execpos.bridge.made import replay_bridge, sim_bridge
from execpos.bridge.options import INTENTS_TOPIC, RAW_TOPIC
from execpos.bridge.service import Bridge
from execpos.brokers.replay import ReplayBroker
from execpos.brokers.sim import Faults, SimConfig, Simulator, market_open_us
from execpos.codecs.avro import Decoder, Encoder, schema_text
from execpos.domain.events import Intent, RawExecEvent
from execpos.errors import ContractError, DependencyError, UsageError
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition

RAW_ID = 7


@pytest.fixture
def world() -> World:
    return World()


def placed(world: World, topic: str) -> list[tuple[int, bytes]]:
    """Return (partition, key) of every record of a topic."""
    found = []
    for partition in range(PARTITIONS):
        tp = TopicPartition(f"t.{topic}", partition)
        end = world.cluster.high_watermarks([tp], 1.0)[tp]
        found += [(partition, message.key() or b"") for message in world.cluster.read(tp, 0, end, PATIENCE_S)]
    return found


def assert_placed_by_key(world: World, topic: str) -> None:
    for partition, key in placed(world, topic):
        assert partition == partition_for(key, PARTITIONS)


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
        ("SDEAL", {"broker_id": "9 " * 150, "account_id": "1"}, "production|S||"),
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
    payload = {"event_id": "v1:SD:x:y:1", "broker_id": "9A95", "account_id": "1", "code": "x " * PAYLOAD_BYTES_MAX}
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


def replayed(world: World, folder: Path, **fields: Any) -> Bridge:
    return replay_bridge(PATH, options(**fields), folder, world.connect)


def test_a_file_arrives_whole_in_order_and_on_its_partitions(world: World, tmp_path: Path) -> None:
    report = replayed(world, tmp_path).run(threading.Event())
    records = world.raw()

    assert [record.bridge_seq for record in records] == list(range(1, len(records) + 1))
    callbacks = [record for record in records if record.kind != "BEAT"]
    assert [(record.kind, json.loads(record.payload)) for record in callbacks] == [(line["kind"], line["payload"]) for line in LINES]
    assert {(record.env, record.bridge_id, record.bridge_epoch) for record in records} == {("replay", "b", report.epoch)}
    assert Counter(key for _, key in placed(world, RAW_TOPIC)) == Counter(record.account.encode() for record in records)
    assert_placed_by_key(world, RAW_TOPIC)
    assert report.callbacks == len(LINES)
    assert report.published == report.acknowledged == len(records)
    assert report.waiting == report.backlog == 0


def test_beats_frame_the_reports_of_each_account(world: World, tmp_path: Path) -> None:
    replayed(world, tmp_path).run(threading.Event())
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for record in world.raw():
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
def test_a_bad_line_names_its_number_and_publishes_nothing(world: World, tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "callbacks.jsonl"
    path.write_bytes(b'{"kind": "SDEAL", "payload": {}}\n\n' + line + b"\n")

    with pytest.raises(ContractError) as caught:
        replay_bridge(path, options(), tmp_path / "journal", world.connect)

    assert f"{path}, line 3: " in caught.value.what
    assert says in caught.value.what
    assert caught.value.fields == {"line": 3}
    assert world.raw() == []
    assert not (tmp_path / "journal").exists()


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*none\.jsonl"):
        ReplayBroker(tmp_path / "none.jsonl")


def test_a_missing_topic_ends_the_bridge_and_what_it_took_is_published_by_the_next(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"exec\.raw"):
        replayed(World(topics=["exec.heartbeats.v1"]), tmp_path).run(threading.Event())
    world = World()
    replayed(world, tmp_path).run(threading.Event())

    numbers = [record.bridge_seq for record in world.raw()]
    assert numbers == list(range(1, len(numbers) + 1))


# --- the simulator ---------------------------------------------------------------------------------------------------------------------


def simulator(events: int | None = 2000, step_us: int = 100) -> Simulator:
    return Simulator(SimConfig(seed=4, start_us=market_open_us(2026, 5, 21), events=events, step_us=step_us, faults=Faults(duplicate=0.1)))


def simulated(world: World, day: Simulator, folder: Path, *, paced: bool = False) -> Bridge:
    return sim_bridge(day, options(), folder, world.connect, paced=paced)


def test_a_simulated_day_arrives_as_the_simulator_counted_it(world: World, tmp_path: Path) -> None:
    day = simulator()
    report = simulated(world, day, tmp_path).run(threading.Event())
    records = world.raw()

    assert [record.bridge_seq for record in records] == list(range(1, len(records) + 1))
    kinds = Counter(record.kind for record in records)
    del kinds["BEAT"]
    assert kinds.total() == day.truth.callbacks == report.callbacks
    receipts = Counter(record.broker_event_id for record in records if record.kind != "BEAT")
    repeated = day.truth.duplicate_orders + day.truth.duplicate_deals
    assert len(receipts) == day.truth.callbacks - repeated
    expected = [event for event in simulator().events() if event.kind == "callback"]
    assert [json.loads(record.payload) for record in records if record.kind != "BEAT"] == [event.payload for event in expected]


def test_the_robot_s_intents_arrive_with_ids_that_come_again(tmp_path: Path) -> None:
    def intents(folder: Path) -> list[Intent]:
        twin, day = World(), simulator()
        report = simulated(twin, day, folder).run(threading.Event())
        found = twin.read(INTENTS_TOPIC, Intent)
        assert_placed_by_key(twin, INTENTS_TOPIC)
        assert len(found) == day.truth.intents == report.intents
        return found

    first, second = intents(tmp_path / "1"), intents(tmp_path / "2")

    assert first == second
    assert len({(intent.account, intent.intent_id) for intent in first}) == len(first)
    assert {intent.session_id for intent in first} == {"2026-05-21D"}
    assert all(bool(intent.order_id) != bool(intent.seqno) for intent in first)


def test_a_stop_delivers_what_is_under_way_and_ends(world: World, tmp_path: Path) -> None:
    day, stop = simulator(events=None, step_us=1000), threading.Event()
    bridge = simulated(world, day, tmp_path, paced=True)
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


# --- when things go wrong --------------------------------------------------------------------------------------------------------------


def test_kafka_away_while_a_login_runs_loses_nothing(world: World, tmp_path: Path) -> None:
    broker = ScriptedBroker()
    with running(made(world, broker, tmp_path)):
        wait_for("the first records", world.raw)
        world.go(up=False)
        broker.send(*range(1, 501))
        world.go(up=True)
        wait_for("the deals", lambda: Counter(record.kind for record in world.raw())["SDEAL"] >= 500)
    records = world.raw()

    assert {record.bridge_seq for record in records} == set(range(1, max(record.bridge_seq for record in records) + 1))
    assert len({record.broker_event_id for record in records if record.kind == "SDEAL"}) == 500


def test_a_file_that_kafka_does_not_take_is_an_error_with_a_count_and_the_next_run_publishes_it(world: World, tmp_path: Path) -> None:
    world.go(up=False)
    with pytest.raises(DependencyError, match=r"\d+ records were not acknowledged in time; they are in the journal"):
        replayed(world, tmp_path, drain_timeout_s=0.2).run(threading.Event())
    world.go(up=True)
    replayed(world, tmp_path).run(threading.Event())
    records = world.raw()

    assert [record.bridge_seq for record in records] == list(range(1, len(records) + 1))
    assert Counter(record.kind != "BEAT" for record in records)[True] == 2 * len(LINES)
    assert len({record.bridge_epoch for record in records}) == 1
