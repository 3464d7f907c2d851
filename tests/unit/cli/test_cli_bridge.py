"""`execpos bridge` and `execpos run bridge` on the in-memory twin: output, exit codes, what is refused."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from click.testing import CliRunner, Result

from bridge_world import KEY, ScriptedBroker, World, made, options, running, wait_for
from callback_samples import LINES, PATH
from execpos.bridge.gaps import parse
from execpos.bridge.made import replay_bridge
from execpos.bridge.overview import Limits, latest, problems
from execpos.brokers.protocol import BrokerAccount
from execpos.cli import connect
from execpos.cli.bridges import blackouts
from execpos.cli.main import cli
from execpos.domain.events import BridgeHeartbeat
from execpos.errors import CheckFailed, ConfigError, UsageError
from execpos.settings import load

LIMITS = Limits(silence_s=10.0, recovery_s=120.0, backlog=100)
NOW_US = 1_779_331_286_000_000


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """A command sets logging up for its process; the next test begins anew."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made_world = World()
    monkeypatch.setattr(connect, "wire", lambda settings, client_id: made_world.connect)
    return made_world


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    for name in ("EXECPOS_CONFIG_DIR", "EXECPOS_SECRETS_DIR", "SHIOAJI_API_KEY", "SHIOAJI_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXECPOS_KAFKA__PREFIX", "t.")
    monkeypatch.setenv("EXECPOS_BRIDGE__JOURNAL__FOLDER", str(tmp_path / "journals"))

    def run(*arguments: str, **variables: str) -> Result:
        return CliRunner(env=variables).invoke(cli, arguments)

    return run


def heartbeat(world: World, **fields: Any) -> BridgeHeartbeat:
    if not world.heartbeats():
        from execpos.bridge.claim import Claim  # noqa: PLC0415 (used here alone)

        world.claim(Claim(1, "c"))
    well = {"kind": "BEAT", "ts": NOW_US, "last_catchup_ts": NOW_US, "cache_health": "Healthy"}
    return msgspec.structs.replace(world.heartbeats()[0], **{**well, **fields})


# --- status ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, []),
        ({"ts": NOW_US - 9_000_000}, []),
        ({"ts": NOW_US - 11_000_000}, ["silent for 11 s"]),
        ({"ts": NOW_US - 11_000_000, "kind": "CLOSED", "session": "closed"}, []),
        ({"kind": "CLOSED", "session": "closed", "backlog_records": 1}, ["1 records are not in Kafka"]),
        ({"journal_error": "No space left on device"}, ["journal: No space left on device"]),
        ({"publish_error": "_TRANSPORT"}, ["publishing: _TRANSPORT"]),
        ({"backlog_records": 100}, []),
        ({"backlog_records": 101}, ["101 records are not in Kafka"]),
        ({"session": "suspended"}, ["session suspended"]),
        ({"session": "recovering"}, []),
        ({"open_gaps": 2}, []),
        (
            {"open_gaps": 2, "last_catchup_ts": NOW_US - 121_000_000},
            ["2 open gaps, and no catch-up for longer than 120 s"],
        ),
        ({"cache_health": "Degraded", "cache_reasons": ("SequenceGap",)}, ["order cache: SequenceGap"]),
    ],
)
def test_what_needs_an_operator(fields: dict[str, Any], says: list[str]) -> None:
    assert problems(heartbeat(World(), **fields), NOW_US, LIMITS) == says


def test_the_newest_word_of_the_newest_incarnation_counts() -> None:
    world = World()
    first, second = heartbeat(world, incarnation=1, ts=NOW_US + 5), heartbeat(world, incarnation=2, ts=NOW_US)
    nameless = heartbeat(world, account="")
    other = heartbeat(world, bridge_id="x", account="")

    assert latest([second, nameless, first, other]) == [second, other]


def test_status_shows_each_bridge_and_fails_when_one_is_silent(world: World, invoke: Callable[..., Result], tmp_path: Path) -> None:
    with running(made(world, ScriptedBroker(), tmp_path / "j")):
        wait_for("a good beat", lambda: any(b.kind == "BEAT" and not b.open_gaps and not b.publish_error for b in world.heartbeats()))
        result = invoke("bridge", "status")
        assert result.exit_code == 0, result.output
        assert KEY in result.stdout
    well = json.loads(invoke("bridge", "status", "--json").stdout)["bridges"]
    assert [(b["account"], b["kind"], b["problems"]) for b in well] == [(KEY, "CLOSED", [])]
    old = heartbeat(world, incarnation=9, ts=time.time_ns() // 1000 - 60_000_000)
    world.write("exec.heartbeats.v1", KEY, old)

    result = invoke("bridge", "status", "--json")

    assert isinstance(result.exception, CheckFailed)
    (shown,) = json.loads(result.stdout)["bridges"]
    assert shown["problems"][0].startswith("silent for 6")
    assert shown["age_s"] >= 60


def test_status_without_a_bridge_fails(world: World, invoke: Callable[..., Result]) -> None:
    result = invoke("bridge", "status")

    assert isinstance(result.exception, CheckFailed)
    assert world.heartbeats() == []


# --- the journal -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A journal of a replayed file."""
    path = tmp_path / "journals" / "t.bridge-0" / "replay"
    replay_bridge(PATH, options(bridge_id="bridge-0"), path, World().connect).run(threading.Event())
    return path


def test_inspect_counts_what_is_there_and_changes_nothing(folder: Path, invoke: Callable[..., Result]) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shown = json.loads(invoke("bridge", "journal", "inspect", "--json", EXECPOS_ENV="replay").stdout)

    assert shown["folder"] == str(folder)
    assert (shown["bridge_id"], shown["env"], shown["backlog_records"], shown["closed"]) == ("bridge-0", "replay", 0, True)
    assert shown["records"] == sum(one["records"] for one in shown["segments"]) == shown["acknowledged"][1] > len(LINES)
    assert (shown["damaged"], shown["unreadable"], shown["torn"], shown["parked"]) == (False, [], [], [])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    table = invoke("bridge", "journal", "inspect", str(folder))
    assert table.exit_code == 0
    assert "Journal of bridge-0 (replay)" in table.stdout


def test_inspect_fails_on_damage(folder: Path, invoke: Callable[..., Result]) -> None:
    file = next(folder.glob("*.journal"))
    content = bytearray(file.read_bytes())
    content[-200] ^= 1
    file.write_bytes(content + b"more")
    (folder / "0.torn").write_bytes(b"x")
    result = invoke("bridge", "journal", "inspect", str(folder), "--json")

    assert isinstance(result.exception, CheckFailed)
    assert [bool(one["damage"]) for one in json.loads(result.stdout)["segments"]] == [True]


def test_a_folder_that_is_no_journal_says_so(tmp_path: Path, invoke: Callable[..., Result]) -> None:
    assert isinstance(invoke("bridge", "journal", "inspect", str(tmp_path)).exception, UsageError)
    assert isinstance(invoke("bridge", "journal", "inspect").exception, UsageError)


def test_replay_counts_and_only_with_yes_publishes_under_the_same_numbers(
    world: World, folder: Path, invoke: Callable[..., Result]
) -> None:
    dry = json.loads(invoke("bridge", "journal", "replay", str(folder), "--json").stdout)
    assert (dry["published"], dry["lost"]) == (0, 0)
    assert world.raw() == []

    done = json.loads(invoke("bridge", "journal", "replay", str(folder), "--yes", "--json").stdout)

    assert done["records"] == done["published"] == dry["records"]
    records = world.raw()
    assert [r.bridge_seq for r in records] == list(range(1, done["records"] + 1))
    assert [json.loads(r.payload) for r in records if r.kind != "BEAT"] == [line["payload"] for line in LINES]


def test_replay_keeps_to_its_span(world: World, folder: Path, invoke: Callable[..., Result]) -> None:
    done = invoke("bridge", "journal", "replay", str(folder), "--from", "3", "--to", "5", "--yes")

    assert done.stdout == "3 records published\n"
    assert [r.bridge_seq for r in world.raw()] == [3, 4, 5]
    assert isinstance(invoke("bridge", "journal", "replay", str(folder), "--epoch", "7").exception, UsageError)


# --- run ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "give one of"),
        (("--sim", "--broker", "sim"), "give one of"),
        (("--broker", "shioaji", "--scenario", "quiet-day"), "belong to --broker sim"),
        (("--sim", "--connect", "127.0.0.1:1"), "belong to --broker sim"),
        (("--broker", "sim", "--scenario", "x", "--connect", "y"), "has its own"),
        (("--broker", "other"), "other"),
    ],
)
def test_what_does_not_go_together_is_refused(invoke: Callable[..., Result], arguments: tuple[str, ...], says: str) -> None:
    result = invoke("run", "bridge", *arguments)

    assert result.exit_code == 2
    assert says in result.output


def test_a_file_is_published_and_the_report_is_one_object(world: World, invoke: Callable[..., Result]) -> None:
    result = invoke("run", "bridge", "--file", str(PATH), "--json", EXECPOS_BRIDGE__ID="b")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout.splitlines()[-1])

    assert list(report) == [
        "callbacks",
        "published",
        "acknowledged",
        "waiting",
        "backlog",
        "oversized",
        "parked",
        "intents",
        "gaps",
        "open_gaps",
        "heartbeats",
        "marks",
        "incarnation",
        "epoch",
        "unknown_fields",
    ]
    assert report["callbacks"] == len(LINES)
    assert report["backlog"] == 0
    assert len(world.raw()) == report["acknowledged"]


@pytest.mark.parametrize(
    ("moment", "market", "what", "window"),
    [
        ("08:20", "S", "CATCHUP", "broker_maintenance"),
        ("08:20", "F", "POSITIONS", "broker_maintenance"),
        ("14:40", "S", "CATCHUP", ""),
        ("14:40", "S", "POSITIONS", "stock_end_of_day_batch"),
        ("14:40", "F", "LOTS", "derivative_end_of_day_batch"),
        ("14:50", "F", "LOTS", ""),
        ("10:00", "S", "PROFIT_LOSS", ""),
    ],
)
def test_a_real_login_is_not_asked_while_the_broker_is_busy(moment: str, market: Any, what: str, window: str) -> None:
    ts_us = int(datetime.fromisoformat(f"2026-05-21T{moment}+08:00").timestamp()) * 1_000_000

    assert blackouts(load(environ={}))(ts_us, BrokerAccount(market, "9A95", "1"), what) == window


def test_a_login_needs_keys_and_an_env_that_has_logins(world: World, invoke: Callable[..., Result]) -> None:
    missing = invoke("run", "bridge", "--broker", "shioaji")
    replay = invoke("run", "bridge", "--broker", "shioaji", EXECPOS_ENV="replay")

    assert isinstance(missing.exception, ConfigError)
    assert "SHIOAJI_API_KEY" in missing.exception.what
    assert isinstance(replay.exception, ConfigError)
    assert world.heartbeats() == []


def test_a_scenario_of_the_simulated_broker_arrives_with_nothing_open(world: World, invoke: Callable[..., Result], tmp_path: Path) -> None:
    scenario = tmp_path / "short.yaml"
    scenario.write_text(
        "seed: 3\nrate: 2000\npace: 0\naccounts: {stock: 2, futures: 1}\nlimits: false\n"
        "delivery: {drop: 0.02, duplicate: 0.05, reorder: 0.05}\nsessions:\n  - {start: now, events: 600}\n",
        encoding="utf-8",
    )
    result = invoke("run", "bridge", "--broker", "sim", "--scenario", str(scenario), "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout.splitlines()[-1])

    assert report["open_gaps"] == 0
    assert report["backlog"] == 0
    assert report["callbacks"] > 0
    assert report["intents"] > 0
    records = world.raw()
    kinds = {r.kind for r in records}
    assert {"SORDER", "SDEAL", "FORDER", "FDEAL", "BEAT", "CONNECTION"} <= kinds
    numbers: dict[str, set[int]] = {}
    for record in records:
        if (receipt := parse(record.broker_event_id)) is not None:
            numbers.setdefault(f"{record.account} {receipt.sequence}", set()).add(receipt.seq)
    # What the line dropped came by the records: the broker's numbering has no hole.
    assert all(max(found) - min(found) + 1 == len(found) for found in numbers.values())
    assert any(kind.startswith("CATCHUP_") for kind in kinds)
