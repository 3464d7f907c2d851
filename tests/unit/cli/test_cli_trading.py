"""What operators do about trading and differences, on the in-memory twin: halt, resume, status, reconcile, discrepancies, commands."""

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from client_world import ACCOUNT, BRIDGE, IDS, OTHER, WRITERS, blank, position
from execpos.cli import connect, correct, discrepancies, reconcile
from execpos.cli.main import cli
from execpos.codecs.avro import Decoder, Encoder
from execpos.codecs.registry import Schemas
from execpos.domain import control
from execpos.domain.events import (
    BridgeHeartbeat,
    Command,
    Correction,
    CorrectionOutcome,
    Discrepancy,
    DiscrepancyStep,
    InputPosition,
    PositionState,
    Progress,
    ReconciliationRound,
    TradingControl,
)
from execpos.domain.reconciliation.approvals import approved
from execpos.domain.reconciliation.discrepancies import At, corrected, correcting, refused
from execpos.errors import CheckFailed, DependencyError, Quit, Retry, UsageError
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition

RECORDS: dict[str, Any] = {
    "control": TradingControl,
    "commands": Command,
    "discrepancies": Discrepancy,
    "rounds": ReconciliationRound,
    "heartbeats": BridgeHeartbeat,
    "positions": PositionState,
    "progress": Progress,
    "corrections": Correction,
    "correction-outcomes": CorrectionOutcome,
}
SYMBOL_SCOPE = f"{ACCOUNT}|2330"
ID = "9b1c22d0a7f4e613"
WHY = ("--reason", "statement of today", "--by", "alice")
# A command of a test answers at once; what waits for nobody gives up after so long.
SOON = ("--wait", "0.01")


def now_us() -> int:
    return time.time_ns() // 1000


class World:
    """Topics, and the parts that would write them."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(time.time, lambda _: None)
        self.cluster = MemoryCluster(self.broker)
        self.registry = True
        for name in (*RECORDS, "raw", "intents"):
            self.broker.create(f"t.exec.{name}.v1", 1 if name == "control" else 3)

    def schemas(self, _: object) -> Schemas:
        if not self.registry:
            raise DependencyError("no schema registry there")
        return Schemas(ids=IDS, writers=WRITERS)

    def put(self, name: str, key: str, record: msgspec.Struct) -> None:
        topic = f"t.exec.{name}.v1"
        place = partition_for(key.encode(), len(self.broker.topics[topic].logs))
        self.broker.append(TopicPartition(topic, place), key.encode(), Encoder(type(record), IDS[type(record)])(record))

    def control(self, scope: str, source: str, state: str, control_id: str, **more: Any) -> None:
        fields = {"reason": "test", "by": "somebody", "latched": state == "HALTED", "ts": now_us(), **more}
        record = blank(TradingControl, scope=scope, source=source, state=state, control_id=control_id, **fields)
        self.put("control", control.key(scope, source), record)

    def read(self, name: str) -> list[Any]:
        decode: Decoder[Any] = Decoder(RECORDS[name], WRITERS[RECORDS[name]])
        topic = f"t.exec.{name}.v1"
        found = [self.cluster.read(TopicPartition(topic, n), 0, log.high, 1.0) for n, log in enumerate(self.broker.topics[topic].logs)]
        return [decode(message.value() or b"") for messages in found for message in messages]

    def newest(self) -> dict[str, dict[str, TradingControl]]:
        found: dict[str, dict[str, TradingControl]] = {}
        for record in self.read("control"):
            found.setdefault(record.scope, {})[record.source] = record
        return found

    def state(self, account: str = ACCOUNT, symbol: str = "2330", strategy: str = "alpha") -> str:
        return control.effective(self.newest(), control.scopes(account, symbol, strategy)).state

    def lively(self, account: str = ACCOUNT) -> None:
        """Let every part speak for the account."""
        beat = {"kind": "BEAT", "session": "up", "cache_health": "Healthy", "last_catchup_ts": now_us(), "ts": now_us()}
        self.put("heartbeats", account, blank(BridgeHeartbeat, account=account, bridge_id=BRIDGE, incarnation=1, **beat))
        row = position(3000, 4, "*", account=account)
        self.put("positions", row.position_key, row)
        number = partition_for(account.encode(), 3)
        inputs = (InputPosition("t.exec.raw.v1", "id", 0),)
        self.put("progress", str(number), blank(Progress, partition=number, instance="ledger-0", ts=now_us(), inputs=inputs))
        self.control(account, "reconciler", "ACTIVE", "rec-1")

    def round(self, account: str, verdict: str, command_ids: tuple[str, ...] = (), **more: Any) -> None:
        fields = {"began_ts": now_us(), "ended_ts": now_us(), "ts": now_us(), "state": "ACTIVE", "round_id": f"r-{verdict}", **more}
        self.put("rounds", account, blank(ReconciliationRound, account=account, verdict=verdict, command_ids=command_ids, **fields))

    def difference(self, **more: Any) -> Discrepancy:
        fields = {
            "discrepancy_id": ID, "account": ACCOUNT, "kind": "QUANTITY", "symbol": "2330", "book": "cash", "security_type": "STK",
            "status": "OPEN", "ledger_quantity": 2000, "broker_quantity": 3000, "notional": 615_000_000_000, "cause": "NONE",
            "proposed_kind": "ADJUST", "proposed_quantity": 1000, "proposed_price": 612_500_000, "opened_ts": now_us(), "ts": now_us(),
            "history": (DiscrepancyStep(1, "OPEN", "r-1", "reconciler", "differs by 1000"),), "evidence": {"gap": "none"},
        }  # fmt: skip
        made = blank(Discrepancy, **{**fields, **more})
        self.put("discrepancies", made.discrepancy_id, made)
        return made


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(connect, "cluster", lambda settings, client_id: made.cluster)
    monkeypatch.setattr(connect, "schemas", made.schemas)
    for name in ("EXECPOS_CONFIG_DIR", "EXECPOS_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXECPOS_KAFKA__PREFIX", "t.")
    return made


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def answer(*words: str, error: type[Exception] | None = None) -> dict[str, Any]:
    """Return what a command prints for machines; it ends with that error, or with none."""
    result = invoke(*words, "--json")
    if error is None:
        assert result.exit_code == 0, (result.output, result.exception)
    else:
        assert isinstance(result.exception, error), (result.output, result.exception)
    (line,) = result.stdout.splitlines()
    shown: dict[str, Any] = json.loads(line)
    return shown


def on_wait(monkeypatch: pytest.MonkeyPatch, module: Any, part: Callable[[], None]) -> None:
    """Let another part work whenever a command waits."""

    class Time:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def sleep(_: float) -> None:
            part()

    if hasattr(module, "time"):
        monkeypatch.setattr(module, "time", Time)
    else:
        monkeypatch.setattr(time, "sleep", Time.sleep)


# --- halt and resume ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "scope"),
    [
        ((), "*"),
        (("--account", ACCOUNT), ACCOUNT),
        (("--account", ACCOUNT, "--symbol", "a|b"), f"{ACCOUNT}|a%7Cb"),
        (("--strategy", "alpha"), "strategy:alpha"),
    ],
)
def test_a_halt_holds_in_the_scope_that_was_named_and_leaves_a_record(world: World, named: tuple[str, ...], scope: str) -> None:
    shown = answer("halt", *named, *WHY, "--yes")

    ((record,), (command,)) = world.read("control"), world.read("commands")
    assert (record.scope, record.source, record.state, record.latched, record.by) == (scope, "operator", "HALTED", True, "alice")
    assert list(shown) == ["scope", "state", "control_id", "already", "recorded", "by", "reason"]
    assert (shown["control_id"], shown["already"], shown["recorded"]) == (record.control_id, False, True)
    assert (command.kind, command.control_id, command.reason, command.by) == ("HALT", record.control_id, "statement of today", "alice")
    assert command.evidence["scope"] == scope


def test_a_halt_needs_no_registry_where_one_was_ever_written_and_says_so_where_not(world: World) -> None:
    world.registry = False
    assert isinstance(invoke("halt", *WHY, "--yes").exception, DependencyError)
    world.control(ACCOUNT, "reconciler", "ACTIVE", "rec-1")

    result = invoke("halt", *WHY, "--yes")

    assert result.exit_code == 0, result.output
    assert world.state() == "HALTED"
    assert "exec.commands has no record of it" in result.stderr
    world.put("commands", ACCOUNT, blank(Command, command_id="c", account=ACCOUNT))
    assert answer("halt", *WHY, "--yes")["recorded"] is True


def test_a_halt_is_written_though_what_stands_cannot_be_read(world: World) -> None:
    world.control("*", "auditor", "HALTED", "aud-1")
    open_ = world.cluster.transactional_producer("dead")
    open_.init(1.0)
    open_.begin()
    open_.produce("t.exec.control.v1", 0, b"k", b"v")

    result = invoke("halt", *WHY, "--yes")

    assert "cannot be read" in result.stderr
    assert result.exit_code == 0, result.output
    open_.abort(1.0)
    assert world.newest()["*"]["operator"].state == "HALTED"


def test_repeating_a_halt_keeps_it_and_one_that_allows_more_changes_nothing(world: World) -> None:
    first = answer("halt", *WHY, "--yes")
    again = answer("halt", "--reason", "other", "--by", "bob", "--yes")
    looser = answer("halt", *WHY, "--state", "reduce-only", "--yes")

    assert {one["control_id"] for one in (first, again, looser)} == {first["control_id"]}
    assert (again["already"], again["by"], again["reason"]) == (True, "alice", "statement of today")
    assert (looser["already"], looser["state"]) == (True, "HALTED")


def test_a_stricter_halt_takes_the_place_of_a_looser_one(world: World) -> None:
    loose = answer("halt", *WHY, "--state", "reduce-only", "--yes")
    assert world.state() == "REDUCE_ONLY"
    strict = answer("halt", *WHY, "--yes")
    assert world.state() == "HALTED"
    assert strict["control_id"] != loose["control_id"]


@pytest.mark.parametrize(
    "words",
    [
        ("halt", *WHY),
        ("halt", "--reason", " ", "--yes"),
        ("halt", *WHY, "--yes", "--symbol", "2330"),
        ("halt", *WHY, "--yes", "--strategy", "alpha", "--account", ACCOUNT),
        ("resume", "rec-1", *WHY),
        ("resume", "nothing", *WHY, "--yes"),
        ("resume", "", *WHY, "--yes"),
    ],
)
def test_what_is_not_agreed_or_not_there_changes_nothing(world: World, words: tuple[str, ...]) -> None:
    world.control(ACCOUNT, "reconciler", "HALTED", "rec-1")
    result = invoke(*words)
    assert isinstance(result.exception, UsageError), result.output
    assert len(world.read("control")) == 1
    assert world.read("commands") == []


def test_resume_releases_the_halt_it_names_and_leaves_a_record(world: World) -> None:
    world.control(ACCOUNT, "reconciler", "HALTED", "rec-1")
    world.difference()

    shown = answer("resume", "rec-1", *WHY, "--yes")

    assert list(shown) == ["scope", "released", "written", "recorded", "open", "still"]
    assert (shown["released"], shown["written"], shown["recorded"], shown["still"]) == (["rec-1"], True, True, [])
    assert [one["discrepancy_id"] for one in shown["open"]] == [ID]
    assert world.state() == "ACTIVE"
    (command,) = world.read("commands")
    assert (command.kind, command.control_id, command.account) == ("RESUME", "rec-1", ACCOUNT)
    assert answer("resume", ACCOUNT, *WHY)["released"] == []
    world.control(ACCOUNT, "reconciler", "HALTED", "rec-2")
    assert world.state() == "HALTED"


def test_resume_of_a_scope_releases_every_source_of_it_and_nothing_of_other_scopes(world: World) -> None:
    world.control(ACCOUNT, "reconciler", "HALTED", "rec-1")
    world.control(ACCOUNT, "auditor", "HALTED", "aud-1")
    world.control(SYMBOL_SCOPE, "reconciler", "HALTED", "rec-2")
    answer("halt", "--account", ACCOUNT, *WHY, "--yes")

    shown = answer("resume", ACCOUNT, *WHY, "--yes")

    assert {"rec-1", "aud-1"} < set(shown["released"])
    assert len(shown["released"]) == 3
    assert world.state(symbol="2317") == "ACTIVE"
    assert [(one["scope"], one["control_id"]) for one in shown["still"]] == [(SYMBOL_SCOPE, "rec-2")]
    assert world.state() == "HALTED"


def test_releases_add_up_and_the_operators_own_halt_goes_on_until_it_is_named(world: World) -> None:
    world.control(ACCOUNT, "reconciler", "HALTED", "rec-1")
    own = answer("halt", "--account", ACCOUNT, *WHY, "--yes")["control_id"]
    world.control(ACCOUNT, "auditor", "HALTED", "aud-1")

    answer("resume", "rec-1", *WHY, "--yes")
    assert world.state() == "HALTED"
    assert world.newest()[ACCOUNT]["operator"].control_id == own
    answer("resume", "aud-1", *WHY, "--yes")
    assert [one["control_id"] for one in answer("resume", "rec-1", *WHY)["still"]] == [own]
    answer("resume", own, *WHY, "--yes")

    assert world.state() == "ACTIVE"
    assert set(world.newest()[ACCOUNT]["operator"].releases.split()) == {"rec-1", "aud-1"}
    # What no source says any more is no longer carried along.
    world.control(ACCOUNT, "auditor", "ACTIVE", "aud-2")
    world.control(ACCOUNT, "reconciler", "HALTED", "rec-2")
    answer("resume", "rec-2", *WHY, "--yes")
    assert world.newest()[ACCOUNT]["operator"].releases == "rec-2"


def test_a_halt_after_a_release_keeps_what_was_released(world: World) -> None:
    world.control(ACCOUNT, "reconciler", "HALTED", "rec-1")
    answer("resume", "rec-1", *WHY, "--yes")
    own = answer("halt", "--account", ACCOUNT, *WHY, "--yes")["control_id"]
    assert world.state() == "HALTED"
    answer("resume", own, *WHY, "--yes")
    assert world.state() == "ACTIVE"


# --- status ------------------------------------------------------------------------------------------------------------------------------


def test_status_of_a_healthy_installation_is_ok(world: World) -> None:
    world.lively()
    world.round(ACCOUNT, "EQUAL")
    world.broker.append(TopicPartition("t.exec.raw.v1", partition_for(ACCOUNT.encode(), 3)), ACCOUNT.encode(), b"x")
    world.broker.append(TopicPartition("t.exec.raw.v1", partition_for(ACCOUNT.encode(), 3)), ACCOUNT.encode(), b"x")

    shown = answer("status")

    assert list(shown) == ["at", "ok", "unread", "scopes", "accounts"]
    assert (shown["ok"], shown["unread"], shown["scopes"]) == (True, [], [])
    (one,) = shown["accounts"]
    assert (one["account"], one["state"], one["why"]) == (ACCOUNT, "ACTIVE", [])
    assert (one["bridge"]["session"], one["bridge"]["problems"]) == ("up", [])
    assert (one["ledger"]["instance"], one["ledger"]["behind"]) == ("ledger-0", 1)
    assert (one["round"]["verdict"], one["differences"]) == ("EQUAL", {"open": 0, "expired": 0, "oldest_s": 0.0})
    assert ACCOUNT in invoke("status").stdout


def test_status_says_which_part_is_dead_and_why_nothing_trades(world: World) -> None:
    world.registry = False
    old = now_us() - 60_000_000
    world.control(ACCOUNT, "reconciler", "ACTIVE", "rec-1", ts=old)
    world.control("strategy:alpha", "operator", "REDUCE_ONLY", "op-1", latched=True)
    world.put("heartbeats", ACCOUNT, blank(BridgeHeartbeat, account=ACCOUNT, bridge_id=BRIDGE, kind="BEAT", session="up", ts=old))
    world.difference(status="EXPIRED")
    world.broker.topics.pop("t.exec.rounds.v1")

    shown = answer("status", error=CheckFailed)

    assert shown["ok"] is False
    assert [text.partition(":")[0] for text in shown["unread"]] == ["registry", "rounds"]
    assert [(one["scope"], one["stands"]) for one in shown["scopes"]] == [("strategy:alpha", True)]
    (one,) = shown["accounts"]
    assert one["state"] == "DENIED"
    assert one["why"] == ["reconciler is silent for 60 s"]
    assert one["bridge"]["problems"] == ["silent for 60 s"]
    assert (one["ledger"], one["round"]) == (None, None)
    assert (one["differences"]["open"], one["differences"]["expired"]) == (1, 1)


def test_status_of_nothing_fails_and_one_account_can_be_asked_for(world: World) -> None:
    assert isinstance(invoke("status").exception, CheckFailed)
    world.lively()
    world.lively(OTHER)
    world.control(OTHER, "operator", "HALTED", "op-1")
    assert answer("status", "--account", ACCOUNT)["ok"] is True
    (one,) = answer("status", "--account", OTHER, error=CheckFailed)["accounts"]
    assert (one["state"], one["why"]) == ("HALTED", ["operator: test"])
    world.control(SYMBOL_SCOPE, "reconciler", "HALTED", "rec-2")
    shown = answer("status", "--account", ACCOUNT, error=CheckFailed)
    assert (shown["accounts"][0]["state"], [one["scope"] for one in shown["scopes"]]) == ("ACTIVE", [SYMBOL_SCOPE])


# --- reconcile ---------------------------------------------------------------------------------------------------------------------------


def answering(world: World, monkeypatch: pytest.MonkeyPatch, *rounds: dict[str, Any]) -> None:
    """Let a reconciler answer every command with these rounds, one each time somebody waits."""
    left = list(rounds)

    def part() -> None:
        if left:
            fields = left.pop(0)
            for command in world.read("commands"):
                world.round(command.account, command_ids=(command.command_id,), **fields)

    on_wait(monkeypatch, reconcile, part)


def test_without_wait_every_account_is_asked_for_once(world: World) -> None:
    world.lively()
    world.lively(OTHER)

    shown = answer("reconcile", "--by", "alice")

    commands = world.read("commands")
    assert sorted((one["account"], one["command_id"]) for one in shown["commands"]) == sorted((c.account, c.command_id) for c in commands)
    assert {(one.account, one.kind, one.by) for one in commands} == {(ACCOUNT, "RECONCILE", "alice"), (OTHER, "RECONCILE", "alice")}
    assert all(one.expires_ts > one.ts for one in commands)


def test_wait_ends_with_the_round_after_the_second_look_and_adds_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.lively()
    world.lively(OTHER)
    first = {"verdict": "SETTLING", "broker_calls": 3, "keys_compared": 7, "discrepancies": (ID,), "round_id": "r-1"}
    second = {
        "verdict": "EQUAL",
        "broker_calls": 2,
        "keys_compared": 10,
        "equal": 9,
        "moved": 1,
        "corrections": ("c-1",),
        "round_id": "r-2",
    }
    answering(world, monkeypatch, first, second)
    world.difference(status="CORRECTED")

    shown = answer("reconcile", "--wait")

    assert list(shown) == [
        "round", "accounts", "keys_compared", "equal", "moved", "discrepancies", "corrections", "broker_calls", "seconds", "verdict",
    ]  # fmt: skip
    assert (shown["verdict"], shown["keys_compared"], shown["equal"], shown["moved"]) == ("EQUAL", 20, 18, 2)
    assert (shown["broker_calls"], shown["corrections"], shown["discrepancies"]) == (10, ["c-1", "c-1"], [])
    assert shown["round"] == "r-2"
    assert {one["verdict"] for one in shown["accounts"]} == {"EQUAL"}


def test_differences_that_stay_open_fail_and_are_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.lively()
    world.difference()
    answering(world, monkeypatch, {"verdict": "DIFFERENT", "discrepancies": (ID,), "keys_compared": 2, "equal": 1})

    shown = answer("reconcile", "--wait", "--account", "1234567", error=CheckFailed)

    assert shown["verdict"] == "DIFFERENT"
    (one,) = shown["discrepancies"]
    assert (one["discrepancy_id"], one["ledger_quantity"], one["broker_quantity"], one["notional"]) == (ID, 2000, 3000, "615000")


def test_only_the_symbol_that_was_named_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.lively()
    world.difference()
    answering(world, monkeypatch, {"verdict": "DIFFERENT", "discrepancies": (ID,)}, {"verdict": "DIFFERENT", "discrepancies": (ID,)})

    shown = answer("reconcile", "--wait", "--symbol", "2317")

    assert (shown["verdict"], shown["discrepancies"]) == ("EQUAL", [])
    assert [one.symbol for one in world.read("commands")] == ["2317"]


@pytest.mark.parametrize("verdict", ["UNREADABLE", "REFUSED"])
def test_what_was_not_compared_is_to_be_tried_again(world: World, monkeypatch: pytest.MonkeyPatch, verdict: str) -> None:
    world.lively()
    answering(world, monkeypatch, {"verdict": verdict, "detail": "blackout"})
    shown = answer("reconcile", "--wait", error=Retry)
    assert (shown["verdict"], shown["accounts"][0]["detail"]) == (verdict, "blackout")


def test_without_an_answer_the_missing_part_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    on_wait(monkeypatch, reconcile, lambda: None)
    monkeypatch.setattr(reconcile, "_LOOK_S", 0.0)
    old = now_us() - 60_000_000
    world.put("heartbeats", ACCOUNT, blank(BridgeHeartbeat, account=ACCOUNT, bridge_id=BRIDGE, kind="BEAT", session="up", ts=old))

    result = invoke("reconcile", "--wait", "--timeout", "1", "--json")

    assert isinstance(result.exception, Retry)
    (one,) = json.loads(result.stdout)["accounts"]
    assert (one["verdict"], one["round"]) == ("UNANSWERED", None)
    assert one["missing"] == [
        "reconciler has never spoken: is `execpos run reconciler` running?",
        "bridge bridge-0 is silent for 61 s",
        "no ledger has ever spoken for it: is `execpos run ledger` running?",
    ]


def test_an_account_that_nobody_knows_is_refused(world: World) -> None:
    assert isinstance(invoke("reconcile").exception, UsageError)
    world.lively()
    assert isinstance(invoke("reconcile", "--account", "77").exception, UsageError)
    assert answer("reconcile", "--account", "simulation|S|9A95|77")["commands"][0]["account"] == "simulation|S|9A95|77"


# --- discrepancies -----------------------------------------------------------------------------------------------------------------------


def deciding(world: World, monkeypatch: pytest.MonkeyPatch, end: Callable[[Discrepancy, Command], Discrepancy]) -> None:
    """Let a reconciler follow the first command once somebody waits."""
    done: list[str] = []

    def part() -> None:
        for command in world.read("commands"):
            if not done:
                done.append(command.command_id)
                (one,) = [one for one in world.read("discrepancies") if one.discrepancy_id == command.discrepancy_id]
                world.put("discrepancies", one.discrepancy_id, end(one, command))

    on_wait(monkeypatch, discrepancies, part)


def test_the_list_has_what_stands_open_and_with_all_the_rest(world: World) -> None:
    world.difference()
    world.difference(discrepancy_id="0000000000000001", status="EXPLAINED")
    world.difference(discrepancy_id="0000000000000002", account=OTHER, status="EXPIRED")

    shown = answer("discrepancies", "list")["discrepancies"]

    assert [one["discrepancy_id"] for one in shown] == ["0000000000000002", ID]
    assert "history" not in shown[0]
    assert len(answer("discrepancies", "list", "--all")["discrepancies"]) == 3
    assert [one["account"] for one in answer("discrepancies", "list", "--account", "7654321")["discrepancies"]] == [OTHER]
    assert ID in invoke("discrepancies", "list").stdout


def test_show_has_evidence_history_and_what_became_of_the_corrections(world: World) -> None:
    world.difference(correction_ids=("c-1", "c-2"), opened_ts=1)
    outcome = {"account": ACCOUNT, "kind": "ADJUST", "outcome": "REJECTED", "reason": "stale_version", "detail": "at 5, not 4"}
    world.put("correction-outcomes", ACCOUNT, blank(CorrectionOutcome, correction_id="c-1", **outcome))

    shown = answer("discrepancies", "show", ID[:6])

    assert shown["discrepancy"]["evidence"] == {"gap": "none"}
    assert shown["discrepancy"]["history"][0]["reason"] == "differs by 1000"
    assert shown["outcomes"] == {"c-1": {"outcome": "REJECTED", "reason": "stale_version", "detail": "at 5, not 4"}, "c-2": None}
    table = invoke("discrepancies", "show", ID).stdout
    assert "ADJUST 2330 cash +1,000 at 612.5" in table
    assert isinstance(invoke("discrepancies", "show", "9b1").exception, UsageError)
    assert isinstance(invoke("discrepancies", "show", "ffffff").exception, UsageError)


def test_approve_says_what_will_be_booked_and_writes_only_with_yes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.difference()
    dry = answer("discrepancies", "approve", ID, *WHY)
    assert (dry["books"], dry["written"], dry["problem"]) == ("ADJUST 2330 cash +1,000 at 612.5", False, "")
    assert world.read("commands") == []

    def end(one: Discrepancy, command: Command) -> Discrepancy:
        at = At("r-2", command.ts + 1)
        done = approved(one, command, at, four_eyes=False, resolve_within_us=1).discrepancy
        return corrected(correcting(done, [blank(Correction, correction_id="c-1", kind="ADJUST")], at), at, "applied")

    deciding(world, monkeypatch, end)
    shown = answer("discrepancies", "approve", ID, *WHY, "--yes")

    assert (shown["written"], shown["status"], shown["detail"]) == (True, "CORRECTED", "applied")
    (command,) = world.read("commands")
    assert (command.kind, command.discrepancy_id, command.by, command.corrections) == ("APPROVE", ID, "alice", ())


@pytest.mark.parametrize(("by_ledger", "error"), [(True, CheckFailed), (False, None)])
def test_an_approval_that_booked_nothing_is_no_success(
    world: World, monkeypatch: pytest.MonkeyPatch, *, by_ledger: bool, error: type[Exception] | None
) -> None:
    """A first of four eyes leaves the difference open too, and is all that was asked for."""
    monkeypatch.setenv("EXECPOS_RECONCILIATION__FOUR_EYES", "false" if by_ledger else "true")
    world.difference()

    def end(one: Discrepancy, command: Command) -> Discrepancy:
        at = At("r-2", command.ts + 1)
        done = approved(one, command, at, four_eyes=not by_ledger, resolve_within_us=1).discrepancy
        sent = correcting(done, [blank(Correction, correction_id="c-1", kind="ADJUST")], at) if by_ledger else done
        return refused(sent, at, "stale_version: at 5, not 4") if by_ledger else done

    deciding(world, monkeypatch, end)
    done = invoke("discrepancies", "approve", ID, *WHY, "--yes")

    assert f"{ID}: OPEN: " in done.stdout
    assert (type(done.exception) if done.exception else None) is error
    if error:
        assert f"{ID}: OPEN: stale_version: at 5, not 4" in str(done.exception)


def test_show_says_of_a_second_part_whether_it_went_out_and_moments_in_seconds(world: World) -> None:
    made = [blank(Correction, correction_id=name, kind="ADJUST") for name in ("c-1", "c-2")]
    world.difference(opened_ts=1)
    (one,) = world.read("discrepancies")
    sent = correcting(one, made, At("r-2", 1_779_325_200_123_456))
    world.put("discrepancies", ID, sent)
    assert [line.split()[1:3] for line in lines("c-")] == [["no", "answer"], ["not", "sent"]]

    outcome = {"account": ACCOUNT, "kind": "ADJUST", "outcome": "REJECTED", "reason": "stale_version", "detail": "at 5, not 4"}
    world.put("correction-outcomes", ACCOUNT, blank(CorrectionOutcome, correction_id="c-1", **outcome))
    world.put("discrepancies", ID, refused(sent, At("r-2", 1_779_325_201_000_000), "stale_version"))
    assert [line.split()[1] for line in lines("c-")] == ["REJECTED", "not"]
    assert "2026-05-21 01:00:01 " in invoke("discrepancies", "show", ID).stdout
    assert ".123456" not in invoke("discrepancies", "show", ID).stdout

    world.put("correction-outcomes", ACCOUNT, blank(CorrectionOutcome, correction_id="c-1", **outcome | {"outcome": "APPLIED"}))
    assert [line.split()[1] for line in lines("c-")] == ["APPLIED", "no"]


def lines(start: str) -> list[str]:
    """Return the lines of corrections that `show` prints, without frames."""
    shown = (line.strip(" │|┃") for line in invoke("discrepancies", "show", ID).stdout.splitlines())
    return [" ".join(line.replace("│", " ").split()) for line in shown if line.startswith(start)]


def test_an_operators_price_takes_the_place_of_the_proposed_one(world: World) -> None:
    world.difference(proposed_kind="SETTLEMENT", proposed_quantity=0, proposed_price=0)
    words = ("discrepancies", "approve", ID, *WHY, "--price", "0", "--price-source", "statement", "--wait", "0")
    shown = answer(*words, "--yes")
    assert shown["books"] == "SETTLEMENT 2330 cash at 0"
    ((made,),) = (command.corrections for command in world.read("commands"))
    assert (made.kind, made.price, made.evidence) == ("SETTLEMENT", 0, {"price_source": "statement"})
    assert isinstance(invoke("discrepancies", "approve", ID, *WHY, "--price", "1.2345678").exception, UsageError)
    world.difference(proposed_kind="COST_BASIS")
    assert isinstance(invoke(*words).exception, UsageError)


def test_four_eyes_are_announced_and_one_name_is_not_two(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECPOS_RECONCILIATION__FOUR_EYES", "true")
    world.difference()
    assert "a second operator" in answer("discrepancies", "approve", ID, *WHY)["books"]
    world.difference(approvals=("alice",))
    assert "wants another name" in answer("discrepancies", "approve", ID, *WHY, "--yes", error=CheckFailed)["problem"]
    assert world.read("commands") == []


@pytest.mark.parametrize(
    ("verb", "fields"),
    [("approve", {"status": "EXPLAINED"}), ("approve", {"proposed_kind": ""}), ("reject", {"status": "CORRECTED"})],
)
def test_what_is_over_or_has_no_proposal_is_refused_before_anything_is_written(world: World, verb: str, fields: dict[str, str]) -> None:
    world.difference(**fields)
    shown = answer("discrepancies", verb, ID, *WHY, "--yes", error=CheckFailed)
    assert shown["problem"]
    assert shown["written"] is False
    assert world.read("commands") == []


def test_reject_without_an_answer_is_to_be_tried_again_and_with_a_refusal_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.difference()
    assert answer("discrepancies", "reject", ID, *WHY, *SOON, "--yes", error=Retry)["written"] is True

    def end(one: Discrepancy, command: Command) -> Discrepancy:
        step = DiscrepancyStep(command.ts + 1, one.status, "", command.by, "REJECT not followed: too late")
        return msgspec.structs.replace(one, history=(*one.history, step))

    world.broker.topics.pop("t.exec.commands.v1")
    world.broker.create("t.exec.commands.v1", 3)
    deciding(world, monkeypatch, end)
    assert answer("discrepancies", "reject", ID, *WHY, "--yes", error=CheckFailed)["detail"].endswith("too late")


def first_start(world: World, symbols: int = 5) -> list[str]:
    """Let an account wait for the approval of openings, and for other things too; return the ids of the openings."""
    ids = [f"{number:016x}" for number in range(1, symbols + 1)]
    for number, name in enumerate(ids):
        world.difference(discrepancy_id=name, symbol=f"{2300 + number}", cause="OPENING", proposed_kind="OPENING")
    world.difference()
    world.difference(discrepancy_id="a" * 16, cause="OPENING", status="APPROVED")
    world.difference(discrepancy_id="b" * 16, cause="OPENING", status="REJECTED")
    world.difference(discrepancy_id="c" * 16, cause="OPENING", account=OTHER)
    world.difference(discrepancy_id="d" * 16, cause="OPENING", evidence={"request": "cmd-1"})
    return ids


OPENINGS = ("--account", "1234567", "--cause", "OPENING")


def test_all_openings_of_an_account_are_shown_with_their_total_and_approved_by_one_word(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = first_start(world)
    dry = answer("discrepancies", "approve", *OPENINGS, *WHY)
    assert list(dry) == ["decisions", "totals"]
    assert [(one["discrepancy_id"], one["written"], one["problem"]) for one in dry["decisions"]] == [(name, False, "") for name in ids]
    assert dry["totals"] == {"OPENING": {"count": 5, "notional": "3075000"}}
    text = invoke("discrepancies", "approve", *OPENINGS, *WHY).stdout
    assert "Total: 5 by OPENING, worth 3075000" in text
    assert "Nothing was written" in text
    assert world.read("commands") == []
    done: set[str] = set()

    def part() -> None:
        for command in world.read("commands"):
            if command.command_id in done:
                continue
            done.add(command.command_id)
            (one,) = [one for one in world.read("discrepancies") if one.discrepancy_id == command.discrepancy_id]
            at = At("r-2", command.ts + 1)
            said = approved(one, command, at, four_eyes=False, resolve_within_us=1).discrepancy
            said = corrected(correcting(said, [blank(Correction, correction_id="c-1", kind="OPENING")], at), at, "applied")
            world.put("discrepancies", one.discrepancy_id, said)
            # One after the other: all of them are waited for.
            return

    on_wait(monkeypatch, discrepancies, part)
    shown = answer("discrepancies", "approve", *OPENINGS, *WHY, "--yes")

    assert [(one["discrepancy_id"], one["status"]) for one in shown["decisions"]] == [(name, "CORRECTED") for name in ids]
    commands = world.read("commands")
    assert sorted(one.discrepancy_id for one in commands) == ids
    assert len({one.command_id for one in commands}) == len(ids)


def test_of_several_ids_those_that_cannot_be_approved_are_left_out_and_named(world: World) -> None:
    first, second, *_ = first_start(world)
    words = ("discrepancies", "approve", first, second, second, "a" * 16, *WHY, "--wait", "0", "--yes")

    shown = answer(*words, error=CheckFailed)

    assert [one["written"] for one in shown["decisions"]] == [True, True, False]
    assert "under way" in shown["decisions"][2]["problem"]
    assert sorted(one.discrepancy_id for one in world.read("commands")) == [first, second]
    assert f"Left out: {'a' * 16}" in invoke(*words).stdout


def test_a_kind_is_rejected_as_a_whole_and_silence_is_to_be_tried_again(world: World) -> None:
    first_start(world, 2)
    shown = answer("discrepancies", "reject", "--account", ACCOUNT, "--kind", "QUANTITY", *WHY, *SOON, "--yes", error=Retry)
    assert len(shown["decisions"]) == 3
    assert {one.kind for one in world.read("commands")} == {"REJECT"}


@pytest.mark.parametrize(
    "words",
    [
        (),
        (ID, *OPENINGS),
        ("--account", ACCOUNT),
        ("--cause", "OPENING"),
        (ID, "--kind", "QUANTITY"),
        (ID, "1" * 16, "--price", "1"),
        ("--account", ACCOUNT, "--kind", "PROFIT"),
    ],
)
def test_words_that_do_not_say_which_differences_are_meant_are_refused(world: World, words: tuple[str, ...]) -> None:
    world.difference()
    world.difference(discrepancy_id="1" * 16)
    assert isinstance(invoke("discrepancies", "approve", *words, *WHY, "--yes").exception, UsageError)
    assert world.read("commands") == []


# --- corrections of an operator ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (("settlement", "--price", "0", "--price-source", "statement"), {"kind": "SETTLEMENT", "evidence": {"price_source": "statement"}}),
        (("settlement", "--price", "612.5", "--fees", "20"), {"price": 612_500_000, "fees": 20_000_000}),
        (("cost-basis", "--amount", "-1.5", "--confirmed"), {"amount": -1_500_000, "strategy_id": "*", "quality": "CONFIRMED"}),
        (("cost-basis", "--amount", "1", "--strategy", "alpha"), {"strategy_id": "alpha", "quality": ""}),
        (("corporate-action", "--numerator", "2", "--denominator", "1"), {"numerator": 2, "denominator": 1, "to_symbol": ""}),
        (("opening", "--quantity", "-1000", "--price", "600"), {"kind": "OPENING", "quantity": -1000, "price": 600_000_000}),
        (
            ("transfer", "--quantity", "1000", "--strategy", "alpha", "--to-book", "margin", "--to-strategy", "alpha"),
            {"to_book": "margin", "to_strategy_id": "alpha", "strategy_id": "alpha"},
        ),
    ],
)
def test_an_operators_correction_names_the_version_that_was_seen(world: World, words: tuple[str, ...], fields: dict[str, Any]) -> None:
    world.lively()
    where = ("--account", "1234567", "--symbol", "2330", "--book", "cash")
    dry = answer("discrepancies", "correct", *words, *where, *WHY)
    assert (dry["written"], dry["net"]["quantity"], dry["net"]["version"]) == (False, 3000, 4)
    assert world.read("commands") == []

    assert answer("discrepancies", "correct", *words, *where, *WHY, "--yes", "--wait", "0")["written"] is True

    (command,) = world.read("commands")
    (made,) = command.corrections
    assert (command.kind, command.account, made.expected_net_version, made.approved_by) == ("CORRECT", ACCOUNT, 4, "alice")
    assert {name: getattr(made, name) for name in fields} == fields


def correcting_world(world: World, monkeypatch: pytest.MonkeyPatch, part: Callable[[Command], object]) -> tuple[str, ...]:
    world.lively()

    def answered() -> None:
        for command in world.read("commands")[:1]:
            part(command)

    on_wait(monkeypatch, correct, answered)
    where = ("--account", ACCOUNT, "--symbol", "2330", "--book", "cash")
    return ("discrepancies", "correct", "settlement", "--price", "1", *where, *WHY, "--yes")


@pytest.mark.parametrize(("outcome", "error"), [("APPLIED", None), ("REJECTED", CheckFailed)])
def test_the_ledgers_answer_is_told(world: World, monkeypatch: pytest.MonkeyPatch, outcome: str, error: type[Quit] | None) -> None:
    def ledger(command: Command) -> None:
        made = blank(CorrectionOutcome, account=ACCOUNT, correction_id=f"{command.command_id}-4-1", outcome=outcome, reason="", detail="d")
        world.put("correction-outcomes", ACCOUNT, made)

    shown = answer(*correcting_world(world, monkeypatch, ledger), error=error)
    assert (shown["outcome"], shown["detail"]) == (outcome, "d")


def test_a_refusal_of_the_reconciler_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    words = correcting_world(world, monkeypatch, lambda one: world.round(ACCOUNT, "REFUSED", (one.command_id,), detail="not expired yet"))
    shown = answer(*words, error=CheckFailed)
    assert (shown["outcome"], shown["detail"]) == ("REJECTED", "not expired yet")


def test_under_four_eyes_it_waits_for_another_operator(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    words = correcting_world(world, monkeypatch, lambda one: world.difference(first_round=one.command_id))
    assert answer(*words)["waiting"] == ID


# --- who did what ------------------------------------------------------------------------------------------------------------------------


def test_the_list_of_commands_says_who_did_what(world: World) -> None:
    world.lively()
    answer("halt", "--account", ACCOUNT, *WHY, "--yes")
    answer("resume", ACCOUNT, "--reason", "over", "--by", "bob", "--yes")
    answer("reconcile", "--by", "bob")

    found = answer("commands", "list")["commands"]

    assert [(one["by"], one["kind"]) for one in found] == [("alice", "HALT"), ("bob", "RESUME"), ("bob", "RECONCILE")]
    assert [one["kind"] for one in answer("commands", "list", "--by", "alice")["commands"]] == ["HALT"]
    assert answer("commands", "list", "--account", OTHER)["commands"] == []
    assert "statement of today" in invoke("commands", "list").stdout


@pytest.mark.parametrize(
    "words",
    [
        ("halt",), ("resume",), ("status",), ("reconcile",), ("commands", "list"), ("discrepancies", "list"), ("discrepancies", "show"),
        ("discrepancies", "approve"), ("discrepancies", "reject"), ("discrepancies", "correct"),
    ],
)  # fmt: skip
def test_every_command_documents_its_json(words: tuple[str, ...]) -> None:
    done = invoke(*words, "--help")
    assert done.exit_code == 0
    assert "With --json" in " ".join(done.output.split())
