"""The bridge on real Kafka and registry: its claim, its heartbeats, requests and marks, and the commands that look at it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge_world import KEY, Running, ScriptedBroker, made, running, wait_for
from execpos.bridge.claim import Claim
from execpos.bridge.tail import Wire
from execpos.brokers.protocol import BrokerPosition
from execpos.codecs.avro import Decoder, Encoder
from execpos.domain.events import BridgeHeartbeat, BrokerRequest, BrokerSnapshot, Mark, PositionState, RawExecEvent
from execpos.errors import Fenced
from execpos.kafka.ports import Span, TopicPartition
from execpos.local.stack import Stack
from installation import Installation

pytestmark = pytest.mark.stack


class Site:
    """What `bridge_world.World` is to the twin, on real Kafka."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.prefix = installation.prefix
        self.cluster = installation.cluster

    def connect(self) -> Wire:
        schemas = self.installation.schemas
        return Wire(self.cluster, schemas.ids, schemas.writers)

    def read(self, topic: str, record: type[Any]) -> list[Any]:
        """Return all records of a topic, in order within a partition."""
        name = self.prefix + topic
        tps = [TopicPartition(name, number) for number in range(self.cluster.partition_count(name, 30.0))]
        marks = self.cluster.watermarks(tps, 30.0)
        decode = Decoder(record, self.installation.schemas.writers[record])
        reader = self.cluster.reader()
        try:
            spans = [Span(tp, mark.low, mark.high) for tp, mark in marks.items() if mark.low < mark.high]
            return [decode(message.value() or b"") for message in reader.read(spans, 30.0)]
        finally:
            reader.close()

    def write(self, topic: str, key: str, record: msgspec.Struct) -> None:
        """Write one record, placed by its key."""
        producer = self.cluster.idempotent_producer("test")
        value = Encoder(type(record), self.installation.schemas.ids[type(record)])(record)
        producer.produce(self.prefix + topic, -1, key.encode(), value, lambda error, message: None)
        assert producer.flush(30.0) == 0
        producer.close()

    def heartbeats(self) -> list[BridgeHeartbeat]:
        """Return all heartbeats."""
        return sorted(self.read("exec.heartbeats.v1", BridgeHeartbeat), key=lambda beat: (beat.incarnation, beat.ts))


@pytest.fixture
def site(stack: Stack, tmp_path: Path) -> Iterator[Site]:
    installation = Installation(stack, tmp_path)
    yield Site(installation)
    installation.close()


def bridge(site: Site, broker: ScriptedBroker, folder: Path) -> Any:
    return made(site, broker, folder, prefix=site.prefix, beat_interval_s=0.2, inbox_poll_s=0.1)


def held(symbol: str) -> PositionState:
    blank: dict[Any, Any] = {str: "", int: 0, bool: False}
    fields = {name: blank.get(kind, ()) for name, kind in PositionState.__annotations__.items()}
    return PositionState(**{**fields, "account": KEY, "symbol": symbol, "strategy_id": "*", "quantity": 1000, "book": "cash"})


def test_claim_beats_answers_and_marks_are_on_their_topics(site: Site, tmp_path: Path) -> None:
    broker = ScriptedBroker()
    broker.rows = [BrokerPosition(0, "2330", "Cash", "Buy", 2000, 612.5, 1000, 615.0, 5000.0)]
    broker.records = [("SDEAL", broker.deal(1))]
    site.write("exec.positions.v1", KEY, held("2330"))
    now = time.time_ns() // 1000
    request = BrokerRequest("rq", KEY, ("POSITIONS", "CATCHUP"), 2, 0, 0, "test", "", now + 600_000_000, now)
    with running(bridge(site, broker, tmp_path / "journal")):
        site.write("exec.broker-requests.v1", KEY, request)
        wait_for("the subscription", lambda: broker.watching == {("S", "2330")})
        broker.trade("2330", 613.0, now)
        wait_for("answers", lambda: len(site.read("exec.broker-snapshots.v1", BrokerSnapshot)) == 4)
        wait_for("the mark", lambda: site.read("exec.marks.v1", Mark))
        wait_for("a good beat", lambda: site.heartbeats()[-1].open_gaps == 0)

    answers = site.read("exec.broker-snapshots.v1", BrokerSnapshot)
    assert [(a.what, a.read, a.outcome) for a in answers] == [(what, n, "OK") for what in ("POSITIONS", "CATCHUP") for n in (1, 2)]
    assert [row.quantity for row in answers[0].positions] == [2000]
    raw = sorted(site.read("exec.raw.v1", RawExecEvent), key=lambda record: record.bridge_seq)
    assert [r.bridge_seq for r in raw] == list(range(1, len(raw) + 1))
    markers = [r.marker_id for r in raw if r.kind == "MARKER"]
    assert markers == [marker for a in answers for marker in (a.marker_before, a.marker_after)]
    kinds = [beat.kind for beat in site.heartbeats()]
    assert (kinds[0], kinds[-1]) == ("CLAIM", "CLOSED")


def test_the_later_of_two_bridges_stays_and_a_restart_answers_nothing_twice(site: Site, tmp_path: Path) -> None:
    now = time.time_ns() // 1000
    site.write("exec.broker-requests.v1", KEY, BrokerRequest("rq", KEY, ("POSITIONS",), 1, 0, 0, "test", "", now + 600_000_000, now))
    first = Running(bridge(site, ScriptedBroker(), tmp_path / "1"))
    wait_for("the answer", lambda: len(site.read("exec.broker-snapshots.v1", BrokerSnapshot)) == 1)
    wait_for("a beat", lambda: site.heartbeats()[-1].kind == "BEAT")
    with running(bridge(site, ScriptedBroker(), tmp_path / "2")):
        error = first.join()
    assert isinstance(error, Fenced)
    again = ScriptedBroker()
    with running(bridge(site, again, tmp_path / "1")):
        wait_for("the catch-up", lambda: again.called("order_deal_records"))
        wait_for("a beat", lambda: site.heartbeats()[-1].incarnation == 3)

    claims = [Claim(beat.incarnation, beat.claim_id) for beat in site.heartbeats() if beat.kind == "CLAIM"]
    assert [claim.incarnation for claim in claims] == [1, 2, 3]
    assert again.called("positions") == 0


def test_the_commands_run_a_scenario_and_say_how_it_is(site: Site, tmp_path: Path) -> None:
    environ = site.installation.environ | {"EXECPOS_BRIDGE__JOURNAL__FOLDER": str(tmp_path / "journals")}
    scenario = tmp_path / "day.yaml"
    scenario.write_text(
        "seed: 3\nrate: 200\naccounts: {stock: 2, futures: 1}\nsessions:\n  - {start: now, seconds: 600}\n", encoding="utf-8"
    )

    def execpos(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-m", "execpos", *arguments], env=environ, capture_output=True, text=True, check=False)

    child = subprocess.Popen(
        [sys.executable, "-m", "execpos", "run", "bridge", "--broker", "sim", "--scenario", str(scenario), "--json"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(
            "good beats", lambda: any(beat.kind == "BEAT" and beat.callbacks > 200 and not beat.open_gaps for beat in site.heartbeats())
        )
        second = execpos("run", "bridge", "--broker", "sim", "--scenario", str(scenario))
        assert second.returncode == 7, second.stderr
        shown = execpos("bridge", "status", "--json")
        assert shown.returncode == 0, shown.stdout + shown.stderr
        assert len(json.loads(shown.stdout)["bridges"]) == 3
    finally:
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    report = json.loads(out)
    assert (report["backlog"], report["waiting"], report["incarnation"]) == (0, 0, 1)
    assert report["callbacks"] > 200
    journal = execpos("bridge", "journal", "inspect", "--json")
    assert json.loads(journal.stdout)["backlog_records"] == 0
