"""One name, one bridge: the journal's lock, and the claim on exec.heartbeats, whoever comes first and whatever is away."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge_world import TOPICS, Running, ScriptedBroker, World, made, running, wait_for
from execpos.bridge.claim import Claim, Claims
from execpos.bridge.gate import GatedProducer
from execpos.bridge.journal.journal import Journal
from execpos.domain.events import BridgeHeartbeat
from execpos.errors import ContractError, Fenced
from execpos.kafka.memory.producer import MemoryIdempotentProducer


def beat(claim: Claim, bridge_id: str = "b") -> BridgeHeartbeat:
    world = World()
    world.claim(claim, bridge_id)
    return world.heartbeats()[0]


# --- the rule ----------------------------------------------------------------------------------------------------------------------------


@given(st.tuples(st.integers(0, 3), st.sampled_from("ab")), st.tuples(st.integers(0, 3), st.sampled_from("ab")))
def test_of_two_claims_both_sides_see_the_same_winner(one: tuple[int, str], other: tuple[int, str]) -> None:
    def fenced(mine: Claim, seen: Claim) -> bool:
        claims = Claims("b", mine.incarnation - 1, mine.claim_id)
        assert claims.stake() == mine
        try:
            claims.see(beat(seen))
        except Fenced:
            return True
        return False

    first, second = Claim(*one), Claim(*other)

    assert fenced(first, second) + fenced(second, first) == (first != second)


def test_a_start_claims_above_everything_it_has_seen_of_its_name() -> None:
    claims = Claims("b", 4, "x")
    claims.see(beat(Claim(9, "other")))
    claims.see(beat(Claim(50, "other"), "another bridge"))

    assert claims.stake() == Claim(10, "x")
    assert claims.stake() == Claim(10, "x")


# --- bridges -----------------------------------------------------------------------------------------------------------------------------


def test_the_incarnation_rises_at_each_start_and_above_what_kafka_knows(tmp_path: Path) -> None:
    world = World()
    world.claim(Claim(7, "0" * 16))
    for _ in range(2):
        with running(made(world, ScriptedBroker(), tmp_path)):
            wait_for("beats", lambda: world.heartbeats()[-1].kind == "BEAT")

    assert [b.incarnation for b in world.heartbeats() if b.kind == "CLAIM"] == [7, 8, 9]


def test_a_second_bridge_on_one_journal_is_refused_at_once(tmp_path: Path) -> None:
    world = World()
    with running(made(world, ScriptedBroker(), tmp_path)), pytest.raises(Fenced) as caught:
        made(world, ScriptedBroker(), tmp_path)

    assert caught.value.exit_code == 7


def test_of_two_bridges_with_one_name_and_two_journals_the_later_one_stays(tmp_path: Path) -> None:
    world, older, newer = World(), ScriptedBroker(), ScriptedBroker()
    first = Running(made(world, older, tmp_path / "1"))
    wait_for("the first one", lambda: any(b.kind == "BEAT" for b in world.heartbeats()))
    with running(made(world, newer, tmp_path / "2")):
        error = first.join()
        wait_for("beats of the second one", lambda: world.heartbeats()[-1].incarnation == 2)

    assert isinstance(error, Fenced)
    assert error.exit_code == 7
    assert "stop" in older.calls
    ours = [b.kind for b in world.heartbeats() if b.incarnation == 1]
    assert "CLOSED" not in ours, "a bridge that lost its name says nothing under it"


def test_two_bridges_that_start_at_one_moment_do_not_both_stay(tmp_path: Path) -> None:
    world = World()
    both = [Running(made(world, ScriptedBroker(), tmp_path / str(n))) for n in range(2)]
    wait_for("one to go", lambda: sum(run.error is not None for run in both) == 1)
    errors = [run.stop() for run in both]

    assert sum(isinstance(error, Fenced) for error in errors) == 1
    assert errors.count(None) == 1


def test_a_fenced_bridge_publishes_nothing_more_and_keeps_its_journal(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    run = Running(made(world, broker, tmp_path))
    wait_for("a beat", lambda: any(b.kind == "BEAT" for b in world.heartbeats()))
    world.claim(Claim(99, "f" * 16))
    error = run.join()
    before = len(world.raw())
    broker.send(1, 2, 3)

    assert isinstance(error, Fenced)
    assert len(world.raw()) == before
    journal = Journal.open(tmp_path, env="simulation", bridge_id="b")
    assert journal.status().last_seq > 0
    journal.close()


def test_a_zombie_finds_out_before_it_publishes(tmp_path: Path) -> None:
    """A bridge that nobody scheduled for a while may not publish before it has looked at the claims again."""
    world, broker = World(), ScriptedBroker()
    bridge = made(world, broker, tmp_path)
    run = Running(bridge)
    wait_for("a beat", lambda: any(b.kind == "BEAT" for b in world.heartbeats()))
    asleep, awake = threading.Event(), threading.Event()
    connect = bridge._inbox._look

    def sleeps(*args: Any) -> None:
        asleep.set()
        awake.wait()
        connect(*args)

    bridge._inbox._look = sleeps  # type: ignore[method-assign, assignment] # (as a stopped process does not look)
    wait_for("sleep", asleep.is_set)
    bridge._inbox._looked_s -= 1000.0
    assert not bridge._inbox.may_publish()
    count = len(world.raw())
    broker.send(1, 2, 3)
    wait_for("the journal", lambda: bridge.report().callbacks == 3 and bridge.report().waiting == 0)
    assert len(world.raw()) == count
    world.claim(Claim(99, "f" * 16))
    awake.set()

    assert isinstance(run.join(), Fenced)
    assert not [r for r in world.raw() if r.kind == "SDEAL"]


def test_a_closed_gate_takes_nothing_and_says_that_there_is_no_room() -> None:
    world = World()
    open_now = [False]
    producer = GatedProducer(MemoryIdempotentProducer(world.broker), lambda: open_now[0])
    with pytest.raises(BufferError):
        producer.produce("t.exec.raw.v1", 0, b"k", b"v", lambda error, message: None)
    open_now[0] = True
    producer.produce("t.exec.raw.v1", 0, b"k", b"v", lambda error, message: None)

    assert producer.poll(0) == 1


# --- Kafka away --------------------------------------------------------------------------------------------------------------------------


def test_kafka_down_at_the_start_keeps_nothing_but_publishing_waiting(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    world.go(up=False)
    broker.records = [("SDEAL", broker.deal(1))]
    with running(made(world, broker, tmp_path)) as run:
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        broker.send(2, 3)
        wait_for("the journal", lambda: run.bridge.report().callbacks == 3 and run.bridge.report().waiting == 0)
        assert run.bridge.report().backlog >= 3
        world.go(up=True)
        wait_for("everything", lambda: len([r for r in world.raw() if r.kind.endswith("SDEAL")]) == 3)

    records = world.raw()
    assert [r.bridge_seq for r in records] == list(range(1, len(records) + 1))
    assert world.heartbeats()[0].kind == "CLAIM"


def test_kafka_away_in_between_drops_heartbeats_and_nothing_else(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    with running(made(world, broker, tmp_path)) as run:
        wait_for("a beat", lambda: any(b.kind == "BEAT" for b in world.heartbeats()))
        world.go(up=False)
        began = time.time_ns() // 1000
        broker.send(*range(1, 101))
        wait_for("the journal", lambda: run.bridge.report().callbacks == 100 and run.bridge.report().waiting == 0)
        queued = run.bridge.report().callbacks
        wait_for("beats in vain", lambda: run.bridge.report().backlog > queued + 20)
        ended = time.time_ns() // 1000
        world.go(up=True)
        wait_for("everything", lambda: len([r for r in world.raw() if r.kind == "SDEAL"]) == 100)
        wait_for("a fresh beat", lambda: world.heartbeats()[-1].ts > ended)

    assert len([b for b in world.heartbeats() if began < b.ts < ended]) <= 1, "only the one that was on its way"
    records = world.raw()
    assert [r.bridge_seq for r in records] == list(range(1, len(records) + 1))


def test_a_stop_without_kafka_ends_in_time_and_the_next_start_publishes(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    world.go(up=False)
    with running(made(world, broker, tmp_path)) as run:
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        broker.send(1, 2, 3)
        wait_for("the journal", lambda: run.bridge.report().callbacks == 3 and run.bridge.report().waiting == 0)
    world.go(up=True)
    assert world.raw() == []
    with running(made(world, ScriptedBroker(), tmp_path)):
        wait_for("everything", lambda: len([r for r in world.raw() if r.kind == "SDEAL"]) == 3)

    records = world.raw()
    assert [r.bridge_seq for r in records] == list(range(1, len(records) + 1))
    assert len({r.bridge_epoch for r in records}) == 1


@pytest.mark.parametrize(
    "missing", ["exec.raw.v1", "exec.heartbeats.v1", "exec.broker-requests.v1", "exec.positions.v1", "exec.broker-snapshots.v1"]
)
def test_a_missing_topic_ends_the_bridge_and_names_it(tmp_path: Path, missing: str) -> None:
    world = World([topic for topic in TOPICS if topic != missing])
    error = Running(made(world, ScriptedBroker(), tmp_path)).join()

    assert isinstance(error, ContractError)
    assert f"t.{missing}" in error.what
