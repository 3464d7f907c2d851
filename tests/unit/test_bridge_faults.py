"""Whatever the broker's library raises, in whatever call: the bridge goes on, says so, and covers what it may have missed."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge_world import KEY, OFTEN, QUICK, Running, ScriptedBroker, World, made, running, wait_for
from execpos.brokers.protocol import BrokerError, BrokerPosition
from execpos.errors import UsageError

# Each call that a bridge makes while it runs, and how it is brought about.
CALLS: dict[str, Callable[[World, ScriptedBroker], None]] = {
    "maintain": lambda world, broker: None,
    "cache_health": lambda world, broker: None,
    "update_status": lambda world, broker: broker.tell("reconnected", 13),
    "order_deal_records": lambda world, broker: broker.tell("reconnected", 13),
    "trades": lambda world, broker: None,
    "positions": lambda world, broker: world.send("POSITIONS"),
    "position_lots": lambda world, broker: world.send("LOTS"),
    "profit_loss": lambda world, broker: world.send("PROFIT_LOSS"),
    "budget": lambda world, broker: None,
}


# Two calls of one read, and the state of the login.
_TOLD_AS = {"update_status": "catch_up", "order_deal_records": "catch_up", "budget": "session"}


def errors() -> dict[str, Callable[[], Exception]]:
    return {
        "BrokerError": lambda: BrokerError("it went wrong", kind="failed"),
        "bare": lambda: RuntimeError("the library's own words about A123456789"),
    }


@pytest.mark.parametrize("error", ["BrokerError", "bare"])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_raises_ends_nothing_and_is_told(tmp_path: Path, name: str, error: str) -> None:
    world, broker = World(), ScriptedBroker()
    broker.rows = [BrokerPosition(0, "2330", "Cash", "Buy", 2000, 612.5, 1000, 615.0, 5000.0)]
    # The order list is looked at once an interval.
    desk = OFTEN if name == "trades" else QUICK
    with capture_logs() as logged, running(made(world, broker, tmp_path, desk=desk)) as run:
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        wait_for("a beat", lambda: any(b.kind == "BEAT" and b.open_gaps == 0 for b in world.heartbeats()))
        broker.raising[name] = errors()[error]
        asked = broker.called(name)
        CALLS[name](world, broker)
        wait_for("the call", lambda: broker.called(name) > asked)
        broker.send(1)
        wait_for("a deal", lambda: any(r.kind == "SDEAL" for r in world.raw()))
        if name in {"update_status", "order_deal_records"}:
            wait_for("the open gap", lambda: world.heartbeats()[-1].open_gaps >= 1)
        if name == "budget":
            wait_for("the state", lambda: world.heartbeats()[-1].session == "down")
        broker.heal()
        wait_for("all to be well", lambda: world.heartbeats()[-1].open_gaps == 0 and world.heartbeats()[-1].session == "up")
        assert run.error is None

    assert "A123456789" not in repr(logged)
    if name in {"positions", "position_lots", "profit_loss"}:
        assert [answer.outcome for answer in world.snapshots()] == ["FAILED"]
    else:
        told = {entry["call"] for entry in logged if entry["event"] == "broker_call_failed"}
        assert told == {_TOLD_AS.get(name, name)}


@pytest.mark.parametrize("error", ["BrokerError", "bare"])
@pytest.mark.parametrize("name", ["connect", "accounts", "set_order_callback", "set_connection_callback", "set_quote_callback", "start"])
def test_a_step_of_the_login_that_raises_is_tried_again(tmp_path: Path, name: str, error: str) -> None:
    world, broker = World(), ScriptedBroker()
    broker.raising[name] = errors()[error]
    with running(made(world, broker, tmp_path)):
        wait_for("the first try", lambda: broker.called(name))
        assert not world.heartbeats() or world.heartbeats()[-1].open_gaps == 1
        broker.heal()
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        broker.send(1)
        wait_for("a deal", lambda: any(r.kind == "SDEAL" for r in world.raw()))

    assert broker.called(name) >= 2


@pytest.mark.parametrize("kind", ["refused", "unsupported"])
def test_a_login_that_would_be_refused_again_ends_the_bridge(tmp_path: Path, kind: str) -> None:
    world, broker = World(), ScriptedBroker()
    broker.fail("connect", kind)
    error = Running(made(world, broker, tmp_path)).join()

    assert isinstance(error, BrokerError)
    assert error.kind == kind
    assert broker.called("connect") == 1


def test_a_suspended_login_waits_for_the_end_of_the_suspension(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    broker.fail("connect", "suspended", until_us=time.time_ns() // 1000 + 3_600_000_000)
    bridge = made(world, broker, tmp_path)
    with running(bridge):
        wait_for("the first try", lambda: broker.called("connect"))
        wait_for("the claim", lambda: [b.kind for b in world.heartbeats()][:1] == ["CLAIM"])
        time.sleep(0.1)

    assert broker.called("connect") == 1
    assert broker.calls[-1] == "stop" or "stop" in broker.calls


def test_before_the_login_the_accounts_of_the_last_one_are_spoken_for(tmp_path: Path) -> None:
    world, first = World(), ScriptedBroker()
    with running(made(world, first, tmp_path)):
        wait_for("the baseline", lambda: first.called("order_deal_records"))
    second = ScriptedBroker()
    second.session = "suspended"
    second.fail("connect", "suspended", until_us=time.time_ns() // 1000 + 3_600_000_000)
    with running(made(world, second, tmp_path)):
        wait_for("heartbeats", lambda: any(b.incarnation == 2 and b.kind == "BEAT" for b in world.heartbeats()))

    beats = [b for b in world.heartbeats() if b.incarnation == 2 and b.kind == "BEAT"]
    assert {(b.account, b.session, b.open_gaps) for b in beats} == {(KEY, "suspended", 1)}


def test_a_suspension_while_it_runs_leaves_the_gap_open_until_it_is_over(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    with running(made(world, broker, tmp_path)):
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        broker.fail("order_deal_records", "suspended", until_us=time.time_ns() // 1000 + 400_000)
        asked = broker.called("order_deal_records")
        broker.tell("reconnected", 13)
        wait_for("the try", lambda: broker.called("order_deal_records") == asked + 1)
        wait_for("the open gap", lambda: world.heartbeats()[-1].open_gaps == 2)
        broker.heal()
        wait_for("the catch-up", lambda: world.heartbeats()[-1].open_gaps == 0)


def test_a_call_that_hangs_does_not_keep_beats_and_reports_from_going_out(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    release = threading.Event()

    def hang() -> None:
        release.wait(30.0)

    broker.during["order_deal_records"] = hang
    with running(made(world, broker, tmp_path)):
        wait_for("the call", lambda: broker.called("order_deal_records"))
        wait_for("the claim", world.heartbeats)
        broker.send(1)
        wait_for("a deal", lambda: any(r.kind == "SDEAL" for r in world.raw()))
        beats = len(world.heartbeats())
        wait_for("heartbeats", lambda: len(world.heartbeats()) > beats + 3)
        assert world.heartbeats()[-1].open_gaps == 1
        release.set()


def test_an_error_that_ends_the_broker_ends_the_bridge_after_what_came_before_is_safe(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    over: list[bool] = []

    def finished() -> bool:
        if over:
            raise UsageError("the broker hung up")
        return False

    broker.finished = finished  # type: ignore[method-assign] # (a broker that ends)
    run = Running(made(world, broker, tmp_path))
    wait_for("the baseline", lambda: broker.called("order_deal_records"))
    broker.send(1, 2, 3)
    over.append(True)
    error = run.join()

    assert isinstance(error, UsageError)
    assert len([r for r in world.raw() if r.kind == "SDEAL"]) == 3
    assert world.heartbeats()[-1].kind == "CLOSED"


def test_a_login_that_ends_by_itself_is_read_once_more(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    over: list[bool] = []
    broker.finished = lambda: bool(over)  # type: ignore[method-assign] # (a scenario that ends)
    run = Running(made(world, broker, tmp_path))
    wait_for("the baseline", lambda: broker.called("order_deal_records"))
    broker.records = [("SDEAL", broker.deal(1))]
    over.append(True)

    assert run.join() is None
    assert [r.kind for r in world.raw() if r.kind.endswith("SDEAL")] == ["CATCHUP_SDEAL"]


def test_a_journal_that_cannot_be_written_is_in_every_heartbeat_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, broker = World(), ScriptedBroker()
    bridge = made(world, broker, tmp_path)
    append = bridge._journal.append
    full = [False]

    def fails(records: Any) -> Any:
        if full[0]:
            bridge._journal._append_error = "No space left on device"
            raise OSError(28, "No space left on device")
        return append(records)

    monkeypatch.setattr(bridge._journal, "append", fails)
    with running(bridge):
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        full[0] = True
        broker.send(1, 2, 3)
        wait_for("the error", lambda: world.heartbeats()[-1].journal_error == "No space left on device")
        assert world.heartbeats()[-1].captured > 0
        full[0] = False
        wait_for("the deals", lambda: len([r for r in world.raw() if r.kind == "SDEAL"]) == 3)
        wait_for("all to be well", lambda: not world.heartbeats()[-1].journal_error)
