"""Others read what we write: Java, Confluent's deserializer, ClickHouse from another process; also after the whole stack was killed."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

import java_tools
from execpos import settings
from execpos.cli import connect
from execpos.codecs.avro import Decoder
from execpos.domain.events import PositionState
from execpos.kafka.follow import Follower
from execpos.kafka.history import History
from local_tools import Up, processes_on, until

pytestmark = pytest.mark.stack

TOPIC = "exec.positions.v1"
SNAPSHOTS = "exec.snapshots.v1"
# The year 2100.
FOREVER_US = 4_102_444_800_000_000


class Desk:
    """`execpos up` and the components, as somebody at a desk starts them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ups: list[Up] = []
        self.children: list[subprocess.Popen[bytes]] = []
        self.environ: dict[str, str] = {}

    def start(self) -> None:
        """Start the stack, then ledger and recorder."""
        self.ups.append(Up(self.folder / "data"))
        self.environ = {**os.environ, **self.ups[-1].ready()["settings"], "EXECPOS_ENV": "simulation"}
        self.environ["EXECPOS_BRIDGE__JOURNAL__FOLDER"] = str(self.folder / "journal")
        self.execpos("topics", "apply", "--yes")
        self.execpos("schemas", "register")
        self.spawn("run", "recorder")
        self.spawn("run", "ledger")

    def execpos(self, *command: str) -> str:
        done = subprocess.run([sys.executable, "-m", "execpos", *command], env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def spawn(self, *command: str) -> None:
        with (self.folder / f"{len(self.children)}.log").open("wb") as log:
            self.children.append(subprocess.Popen([sys.executable, "-m", "execpos", *command], env=self.environ, stdout=log, stderr=log))

    def kill(self) -> None:
        """Kill -9 everything at once."""
        for child in self.children:
            child.kill()
            child.wait()
        self.children.clear()
        self.ups[-1].end(signal.SIGKILL)
        assert until(lambda: not processes_on(self.folder / "data"))

    def close(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
        for up in self.ups:
            up.close()

    # --- readers -----------------------------------------------------------------------------------------------------------------------

    def positions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.execpos("positions", "get", "--flat", "--json"))["positions"]
        return found

    def messages(self) -> list[tuple[int, bytes, bytes]]:
        """Return partition, key and value of every committed record, as our own reader sees them."""
        loaded = settings.load(None, self.environ)
        follower = Follower(connect.cluster(loaded, "test"), [TOPIC])
        try:
            return [(message.partition(), message.key() or b"", message.value() or b"") for message in follower.poll()]
        finally:
            follower.close()

    def warehouse(self) -> list[dict[str, Any]]:
        """Ask ClickHouse through clickhouse-connect in another process."""
        script = """
import json, os, clickhouse_connect
client = clickhouse_connect.get_client(dsn=os.environ["EXECPOS_CLICKHOUSE__URL"])
columns = "account, symbol, book, strategy_id, quantity, open_cost, realized_pnl, version"
found = client.query(f"SELECT {columns} FROM execpos.positions FINAL ORDER BY position_key")
plain = lambda value: format(value.normalize(), "f") if hasattr(value, "normalize") else value
print(json.dumps([dict(zip(found.column_names, map(plain, row))) for row in found.result_rows]))
"""
        done = subprocess.run([sys.executable, "-c", script], env=self.environ, capture_output=True, text=True, check=False)
        if done.returncode and "UNKNOWN_TABLE" in done.stderr:
            return []
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found


def same(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("account", "symbol", "book", "strategy_id", "quantity", "open_cost", "realized_pnl", "version")}


def java_records(address: str, count: int) -> list[tuple[int, bytes, bytes]]:
    """Return what the Java console consumer prints; values are binary and may hold line ends, so keys part the records."""
    options = ("--from-beginning", "--max-messages", str(count), "--isolation-level", "read_committed")
    shown = ("--formatter-property", "print.partition=true", "--formatter-property", "print.key=true")
    text = java_tools._run("consumer.ConsoleConsumer", "--bootstrap-server", address, "--topic", TOPIC, *options, *shown)
    parts = re.split(rb"(?:\A|\n)Partition:(\d+)\t(simulation\|[^\t\n]+)\t", text)
    values = [*parts[3::3]]
    # The last record ends with the tool's own line end, the others gave theirs to the separator.
    values[-1] = values[-1].removesuffix(b"\n")
    return [(int(partition), key, value) for partition, key, value in zip(parts[1::3], parts[2::3], values, strict=True)]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def test_java_confluent_and_clickhouse_read_the_same_positions_also_after_a_kill_of_everything(desk: Desk) -> None:
    desk.start()
    desk.execpos("run", "bridge", "--sim", "--seconds", "3", "--rate", "100", "--seed", "5")
    assert until(lambda: len(desk.positions()) > 20 and [same(row) for row in desk.positions()] == desk.warehouse())
    before = desk.positions()
    messages = desk.messages()

    assert_snapshots_are_the_positions(desk)
    assert sorted(java_records(desk.environ["EXECPOS_KAFKA__BOOTSTRAP_SERVERS"], len(messages))) == sorted(messages)
    assert_read_by_confluent(desk, messages)

    desk.kill()
    desk.start()

    assert desk.positions() == before
    assert desk.messages() == messages
    assert_read_by_confluent(desk, messages)
    assert until(lambda: desk.warehouse() == [same(row) for row in before])
    # It goes on where it was: another day on top, with order ids of its own.
    desk.execpos("run", "bridge", "--sim", "--seconds", "2", "--rate", "100", "--seed", "6")
    assert until(lambda: [same(row) for row in desk.positions()] == desk.warehouse() != [same(row) for row in before])


def assert_snapshots_are_the_positions(desk: Desk) -> None:
    """The ledger answers on request with the rows that it has published, others can read the answer, and the deltas sum to it."""
    schemas = connect.schemas(settings.load(None, desk.environ))
    found = json.loads(desk.execpos("snapshot", "--all", "--json"))
    names = ("symbol", "book", "strategy_id", "quantity", "open_cost", "realized_pnl", "fees", "taxes", "quality", "version")
    rows = {(one["account"], *(row[name] for name in names)) for one in found["snapshots"] for row in one["positions"]}
    assert rows == {(row["account"], *(row[name] for name in names)) for row in desk.positions()}

    follower = Follower(connect.cluster(settings.load(None, desk.environ), "test"), [SNAPSHOTS])
    registry = SchemaRegistryClient({"url": desk.environ["EXECPOS_REGISTRY__URL"]})
    try:
        deserialize = AvroDeserializer(registry)
        theirs = [deserialize(message.value(), SerializationContext(SNAPSHOTS, MessageField.VALUE)) for message in follower.poll()]
    finally:
        registry.close()
        follower.close()
    history = History(connect.cluster(settings.load(None, desk.environ), "test"), schemas)
    try:
        sums = {key: row for one in found["snapshots"] for key, row in history.positions_at(one["account"], FOREVER_US).rows.items()}
    finally:
        history.close()
    assert {key: row.version for key, row in sums.items()} == {
        row["position_key"]: row["version"] for one in theirs for row in one["positions"]
    }
    digests = {one["request_id"]: one["digest"] for one in theirs if one["reason"] == "REQUEST"}
    assert digests == {one["request_id"]: one["digest"] for one in found["snapshots"]}
    assert sum(len(one["positions"]) for one in theirs if one["reason"] == "REQUEST") == len(rows)


def assert_read_by_confluent(desk: Desk, messages: list[tuple[int, bytes, bytes]]) -> None:
    registry = SchemaRegistryClient({"url": desk.environ["EXECPOS_REGISTRY__URL"]})
    try:
        deserialize = AvroDeserializer(registry)
        theirs = [deserialize(value, SerializationContext(TOPIC, MessageField.VALUE)) for _, _, value in messages]
    finally:
        registry.close()
    decode = Decoder(PositionState, connect.schemas(settings.load(None, desk.environ)).writers[PositionState])
    ours = [decode(value) for _, _, value in messages]
    names = ("position_key", "quantity", "open_cost", "version", "last_fill_id")
    assert [[row[name] for name in names] for row in theirs] == [[getattr(row, name) for name in names] for row in ours]
    assert [row["lots"] for row in theirs] == [[msgspec.structs.asdict(lot) for lot in row.lots] for row in ours]
