"""A bridge killed again and again, and Kafka away for a minute: nothing that was reported is lost, and nothing counts twice."""

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from execpos.bridge.journal.files import NOWHERE
from execpos.bridge.journal.journal import Journal
from execpos.brokers.sim.facts import rows_of
from execpos.codecs import framing
from execpos.codecs.avro import Decoder, schema_text
from execpos.demo import check
from execpos.domain.events import FillEvent, RawExecEvent
from execpos.local.stack import Stack
from installation import Installation, assert_versions

pytestmark = pytest.mark.stack

KILLS = 10
CALLBACKS = 200_000
# What one core of a shared machine can simulate, take, publish and fold at the same time, with a share for the records that come again.
RATE = 1_800
KAFKA_AWAY_S = 60.0

SCENARIO = {
    "seed": 21,
    "rate": RATE,
    "pace": 1,
    "accounts": {"stock": 6, "futures": 2},
    "delivery": {"duplicate": 0.01, "deal_before_order": 0.02, "reorder": 0.01},
    "answers": {"records_without_receipt": 0.1},
    # A fifth of what is delivered are intents, which are no callbacks.
    "sessions": [{"start": "now", "events": CALLBACKS * 5 // 4}],
}

BRIDGE = "killed"


class Desk:
    """The simulated broker as a process of its own, and a bridge that comes again after each kill, as under a supervisor."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self.truth = folder / "truth.json"
        self._journals = folder / "journal"
        scenario = folder / "scenario.yaml"
        scenario.write_text(yaml.safe_dump(SCENARIO), encoding="utf-8")
        self._address = f"unix:{folder / 'broker'}"
        serve = ("sim", "serve", "--scenario", str(scenario), "--listen", self._address, "--truth", str(self.truth))
        self.broker = installation.spawn("-m", "execpos", *serve)
        installation.wait("the simulated broker", (folder / "broker").exists)

    def bridge(self) -> "subprocess.Popen[bytes]":
        return self.installation.spawn(
            *("-m", "execpos", "run", "bridge", "--broker", "sim", "--connect", self._address, "--json"),
            EXECPOS_BRIDGE__ID=BRIDGE,
            EXECPOS_BRIDGE__JOURNAL__FOLDER=str(self._journals),
        )

    @property
    def journal(self) -> Path:
        return self._journals / f"{self.installation.prefix}{BRIDGE}" / "simulation"

    def close(self) -> dict[str, Any]:
        """End the broker and return the truth."""
        self.broker.terminate()
        assert self.broker.wait() == 0, self.installation.log_of(self.broker)
        found: dict[str, Any] = json.loads(self.truth.read_bytes())
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Stack(tmp_path / "stack", clickhouse=False) as stack:
        installation = Installation(stack, tmp_path)
        try:
            yield Desk(installation, tmp_path)
        finally:
            installation.close()


def journaled(folder: Path) -> list[RawExecEvent]:
    """Return every record of a journal that nobody uses."""
    decode = Decoder(RawExecEvent, {1: schema_text(RawExecEvent)})
    assert folder.is_dir()
    journal = Journal.open(folder, env="simulation", bridge_id=BRIDGE)
    try:
        reader = journal.reader(NOWHERE)
        found: list[RawExecEvent] = []
        while entries := reader.read(10_000, 64 << 20):
            found += [decode(framing.header(1) + entry.body) for entry in entries]
        return found
    finally:
        journal.close()


def identity(record: RawExecEvent) -> tuple[str, str, str, int]:
    """Return what makes a deal one deal; within this day, which has one session."""
    deal = json.loads(record.payload)
    return record.account, deal["trade_id"], deal["exchange_seq"], deal["quantity"]


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_while_the_bridge_is_killed_ten_times_and_kafka_is_away_for_a_minute(desk: Desk) -> None:
    installation = desk.installation
    kafka = installation.stack.kafka
    length_s = CALLBACKS * 1.25 / RATE
    began_s = away_s = time.monotonic()
    for kill in range(KILLS):
        bridge = desk.bridge()
        if kill == KILLS // 2:
            # Away while the bridge runs, is killed, starts, and runs again.
            kafka.stop()
            away_s = time.monotonic()
        until_s = began_s + (kill + 1) * length_s / (KILLS + 1)
        while time.monotonic() < until_s:
            assert bridge.poll() is None, installation.log_of(bridge)
            time.sleep(0.05)
        bridge.send_signal(signal.SIGKILL)
        bridge.wait()
        if not kafka.alive() and time.monotonic() > away_s + KAFKA_AWAY_S - length_s / (KILLS + 1):
            time.sleep(max(0.0, away_s + KAFKA_AWAY_S - time.monotonic()))
            kafka.start(120)
    bridge = desk.bridge()
    installation.wait("the broker's day to end", lambda: bridge.poll() is not None)
    assert bridge.returncode == 0, installation.log_of(bridge)
    ledger = installation.ledger("one")
    installation.wait("the ledger to catch up", lambda: installation.lag() == 0)
    ledger.terminate()
    assert ledger.wait() == 0, installation.log_of(ledger)
    truth = desk.close()

    assert truth["counts"]["lost"] > 1_000
    assert truth["counts"]["callbacks"] >= CALLBACKS
    kept = journaled(desk.journal)
    raw = installation.topics.read(RawExecEvent, installation.names.raw)
    numbers = [(record.bridge_epoch, record.bridge_seq) for record in kept]
    assert len(numbers) == len(set(numbers))
    assert set(numbers) <= {(record.bridge_epoch, record.bridge_seq) for record in raw}
    # A kill in the middle of a write leaves half a frame, after which a new epoch begins at 1.
    for epoch in {epoch for epoch, _ in numbers}:
        of_epoch = sorted(number for each, number in numbers if each == epoch)
        assert of_epoch == list(range(1, len(of_epoch) + 1))

    found = installation.topics.all()
    fills = Counter((fill.account, fill.order_id, fill.exchange_seq) for fill in found.fills if fill.revision == 1)
    deals = {identity(record)[:3] for record in kept if record.kind.endswith("DEAL")}
    assert set(fills) == deals
    assert set(fills.values()) == {1}
    assert len(fills) == truth["counts"]["matched"]
    # What was reported while no bridge was there came by asking alone.
    asked = {identity(record)[:3] for record in kept if record.kind.startswith("CATCHUP_") and record.kind.endswith("DEAL")}
    called = {identity(record)[:3] for record in kept if record.kind in {"SDEAL", "FDEAL"}}
    assert len(asked - called) > 500

    # The broker's own book is independent enough; the oracle of the other tests would take many minutes for this many fills of an account.
    places = {
        "broker": check.from_simulator(rows_of(truth, first_met(found.fills))),
        "positions": check.from_positions(found.positions),
        "deltas": check.from_deltas(found.deltas),
    }
    assert check.differences(places) == []
    assert_versions(found.deltas, found.positions)


def first_met(fills: list[FillEvent]) -> list[tuple[str, str, str, str]]:
    """Return the identities of fills in the order in which the ledger first met them."""
    ordered = sorted((fill for fill in fills if fill.revision == 1), key=lambda fill: (fill.account, fill.fill_seq))
    epoch = date(1970, 1, 1)
    return [(fill.account, (epoch + timedelta(days=fill.trading_date)).isoformat(), fill.order_id, fill.exchange_seq) for fill in ordered]
