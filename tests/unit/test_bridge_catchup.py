"""Catch-up: when the records are asked for, and what of the answer goes into the stream."""

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge_world import KEY, OFTEN, Running, ScriptedBroker, World, made, running, wait_for
from execpos.bridge.capture import CaughtUp
from execpos.bridge.catchup import Coverage
from execpos.bridge.content import Contents, digest
from execpos.bridge.convert import Converter
from execpos.bridge.journal.journal import Journal
from execpos.bridge.observed import Observed
from execpos.brokers.protocol import BrokerTrade, BudgetState, CacheHealth
from execpos.domain.events import RawExecEvent
from execpos.domain.ids import session_id


def caught(world: World) -> list[str]:
    """Return the trade ids of the catch-up records in the stream."""
    return [json.loads(r.payload)["trade_id"] for r in world.raw() if r.kind == "CATCHUP_SDEAL"]


# --- when --------------------------------------------------------------------------------------------------------------------------------


def test_what_comes_together_is_one_read() -> None:
    coverage = Coverage(30.0, 0.0)
    coverage.want("start")
    coverage.want("gap", 2)
    coverage.want("cache")

    assert coverage.due(0.0)
    assert coverage.open == 4
    assert coverage.begin() == ["cache", "gap", "start"]
    assert not coverage.due(0.0)
    coverage.done(1.0)
    assert coverage.open == 0


def test_what_comes_during_a_read_needs_another_one() -> None:
    coverage = Coverage(30.0, 0.0)
    coverage.want("start")
    coverage.begin()
    coverage.want("gap")
    coverage.done(1.0)

    assert coverage.open == 1
    assert coverage.begin() == ["gap"]


def test_a_failed_read_leaves_everything_open_and_waits_longer_each_time() -> None:
    coverage = Coverage(30.0, 0.0)
    coverage.want("gap")
    waits = []
    now_s = 0.0
    for _ in range(8):
        coverage.begin()
        coverage.failed(now_s)
        assert coverage.open == 2, "the gap, and the read that failed"
        wait_s = next(step / 10 for step in range(1000) if coverage.due(now_s + step / 10))
        waits.append(wait_s)
        now_s += wait_s

    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    coverage.begin()
    coverage.done(now_s)
    assert coverage.open == 0


def test_nothing_is_asked_before_a_suspension_is_over() -> None:
    coverage = Coverage(30.0, 0.0)
    coverage.want("gap")
    coverage.begin()
    coverage.failed(0.0, not_before_s=60.0)

    assert not coverage.due(59.9)
    assert coverage.due(60.0)


def test_the_schedule_counts_from_the_last_answer_and_is_no_gap() -> None:
    coverage = Coverage(30.0, 0.0)
    assert not coverage.due(29.9)
    assert coverage.due(30.0)
    assert coverage.open == 0
    coverage.begin()
    coverage.done(31.0)
    assert not coverage.due(60.9)
    assert coverage.due(61.0)


@pytest.mark.parametrize(("kind", "code"), [("reconnected", 13), ("other", 17), ("session_down", -1), ("logged_in", -1), ("renewed", -1)])
def test_whatever_may_have_hidden_reports_brings_a_catch_up(tmp_path: Path, kind: str, code: int) -> None:
    world, broker = World(), ScriptedBroker()
    with running(made(world, broker, tmp_path)):
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        asked = broker.called("order_deal_records")
        broker.records = [("SDEAL", broker.deal(5))]
        broker.tell(kind, code)
        wait_for("the record", lambda: caught(world) == ["o5"])

    assert broker.called("order_deal_records") >= asked + 1
    connection = [json.loads(r.payload) for r in world.raw() if r.kind == "CONNECTION"]
    assert connection == [{"kind": kind, "code": code, "detail": "test"}]


def test_what_a_comparison_waits_for_is_told_between_two_beats(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    broker.budgets = {"accounting": BudgetState(0, 0)}
    with running(made(world, broker, tmp_path, beat_interval_s=3600.0)):
        wait_for("the read", lambda: world.heartbeats() and world.heartbeats()[-1].last_catchup_ts > 0)
        assert (world.heartbeats()[-1].open_gaps, world.heartbeats()[-1].remaining_accounting) == (0, 0)
        broker.budgets = {"accounting": BudgetState(2, 0)}
        wait_for("the free calls", lambda: world.heartbeats()[-1].remaining_accounting == 2)

        told, asked = len(world.heartbeats()), broker.called("budget")
        broker.budgets = {"accounting": BudgetState(1, 0)}
        wait_for("some looks", lambda: broker.called("budget") > asked + 3)
        assert len(world.heartbeats()) == told, "fewer calls than before are nothing to wait for"


def test_what_the_login_itself_tells_is_covered_by_the_first_read(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    broker.during["start"] = lambda: broker.tell("logged_in", -1)
    with running(made(world, broker, tmp_path)):
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        looked = broker.called("maintain")
        wait_for("more looks", lambda: broker.called("maintain") > looked + 5)
        assert broker.called("order_deal_records") == 1
        wait_for("the heartbeat", lambda: world.heartbeats() and world.heartbeats()[-1].open_gaps == 0)


def test_a_degraded_cache_brings_one_catch_up_until_it_was_healthy_again(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    with running(made(world, broker, tmp_path)):
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        broker.cache = CacheHealth("Degraded", ("SequenceGap",))
        wait_for("the catch-up", lambda: broker.called("order_deal_records") == 2)
        looked = broker.called("cache_health")
        wait_for("more looks", lambda: broker.called("cache_health") > looked + 5)
        assert broker.called("order_deal_records") == 2
        wait_for("the heartbeat", lambda: world.heartbeats()[-1].cache_health == "Degraded")
        assert world.heartbeats()[-1].cache_reasons == ("SequenceGap",)


def test_a_hole_in_the_numbering_is_told_in_the_stream_and_covered(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    with running(made(world, broker, tmp_path)) as run:
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        broker.records = [("SDEAL", broker.deal(n)) for n in (1, 2, 3, 4)]
        broker.send(1, 4)
        wait_for("the gap", lambda: run.bridge.report().gaps == 1)
        wait_for("what was missing", lambda: sorted(caught(world)) == ["o2", "o3"])
        wait_for("the heartbeat", lambda: world.heartbeats()[-1].gaps == 1 and world.heartbeats()[-1].open_gaps == 0)

    gaps = [r for r in world.raw() if r.kind == "GAP"]
    assert [(r.account, json.loads(r.payload)) for r in gaps] == [(KEY, {"stream": "v1:SD:st", "reset": "r1", "from": 2, "to": 3})]


def test_a_reset_of_the_numbering_brings_a_catch_up_and_is_no_hole(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    with running(made(world, broker, tmp_path)):
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        broker.send(1, 2)
        broker.send(9, reset="r2")
        wait_for("the catch-up", lambda: broker.called("order_deal_records") == 2)

    assert [r.kind for r in world.raw() if r.kind == "GAP"] == []


@pytest.mark.parametrize("noted", [True, False])
def test_a_gap_over_a_restart_is_found(tmp_path: Path, noted: bool) -> None:  # noqa: FBT001 (a case)
    world, first = World(), ScriptedBroker()
    with running(made(world, first, tmp_path)) as run:
        wait_for("the baseline", lambda: first.called("order_deal_records"))
        first.send(1, 2)
        wait_for("the deals", lambda: run.bridge.report().callbacks == 2)
    if not noted:
        # As a kill before the first note of the numbering leaves it: what the journal holds says the same.
        journal = Journal.open(tmp_path, env="simulation", bridge_id="b")
        journal.state.set("receipts", {"at": [journal.epoch, 0], "baselines": {}})
        journal.close()
    second = ScriptedBroker()
    with running(made(world, second, tmp_path)) as run:
        wait_for("the baseline", lambda: second.called("order_deal_records"))
        second.send(5)
        wait_for("the gap", lambda: run.bridge.report().gaps == 1)
        wait_for("its record", lambda: any(r.kind == "GAP" for r in world.raw()))

    gaps = [json.loads(r.payload) for r in world.raw() if r.kind == "GAP"]
    assert [(gap["from"], gap["to"]) for gap in gaps] == [(3, 4)]


def test_nothing_is_asked_while_the_session_is_not_up_or_in_a_blackout(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    broker.session = "suspended"
    dark = ["maintenance"]
    bridge = made(world, broker, tmp_path, blackout=lambda ts_us, account, what: dark[0])
    with running(bridge):
        wait_for("maintenance of the session", lambda: broker.called("maintain") > 5)
        assert broker.called("order_deal_records") == 0
        broker.session = "up"
        looked = broker.called("maintain")
        wait_for("more of it", lambda: broker.called("maintain") > looked + 5)
        assert broker.called("order_deal_records") == 0
        assert world.heartbeats()[-1].open_gaps == 1
        dark[0] = ""
        wait_for("the catch-up", lambda: broker.called("order_deal_records"))
        wait_for("the heartbeat", lambda: world.heartbeats()[-1].open_gaps == 0)


def test_records_are_read_on_schedule(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    with running(made(world, broker, tmp_path, desk=OFTEN)):
        wait_for("reads", lambda: broker.called("order_deal_records") >= 4)


# --- what --------------------------------------------------------------------------------------------------------------------------------


def test_what_is_in_the_journal_already_is_left_out_and_the_rest_is_put(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    with running(made(world, broker, tmp_path)) as run:
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        broker.send(1, 2)
        wait_for("the deals", lambda: run.bridge.report().callbacks == 2)
        wait_for("the journal", lambda: run.bridge.report().waiting == 0)
        # The same deals, one without its receipt; one that differs in its price; and one that is new.
        broker.records = [
            ("SDEAL", broker.deal(1)),
            ("SDEAL", broker.deal(2, event_id="")),
            ("SDEAL", broker.deal(2, price=1.0)),
            ("SDEAL", broker.deal(3)),
        ]
        broker.tell("reconnected", 13)
        wait_for("the records", lambda: caught(world) == ["o2", "o3"])
        asked = broker.called("order_deal_records")
        broker.tell("reconnected", 13)
        wait_for("another read", lambda: broker.called("order_deal_records") > asked)

    assert caught(world) == ["o2", "o3"], "a second read puts nothing"


def _has_caught(world: World, number: int) -> bool:
    return len(caught(world)) == number


def _has_no_gaps(run: Running) -> bool:
    return run.bridge.report().open_gaps == 0


def test_a_new_bridge_leaves_out_what_the_journal_has_and_nothing_else(tmp_path: Path) -> None:
    world = World()
    for number in range(1, 4):
        broker = ScriptedBroker()
        broker.records = [("SDEAL", broker.deal(seq)) for seq in range(1, number + 1)]
        with running(made(world, broker, tmp_path)) as run:
            wait_for("the record", partial(_has_caught, world, number))
            wait_for("the baseline", partial(_has_no_gaps, run))

    assert caught(world) == ["o1", "o2", "o3"]


def test_a_new_bridge_without_the_journal_puts_everything_again(tmp_path: Path) -> None:
    world = World()
    for folder in ("one", "two"):
        broker = ScriptedBroker()
        broker.records = [("SDEAL", broker.deal(1))]
        with running(made(world, broker, tmp_path / folder)):
            wait_for("the baseline", partial(broker.called, "order_deal_records"))

    assert caught(world) == ["o1", "o1"]


def test_a_journal_that_cannot_be_read_back_costs_repeats_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Observed, now_us: int) -> None:
        raise OSError(5, "Input/output error")

    world = World()
    for number in (1, 2):
        broker = ScriptedBroker()
        broker.records = [("SDEAL", broker.deal(1))]
        with running(made(world, broker, tmp_path)):
            wait_for("the record", partial(_has_caught, world, number))
        monkeypatch.setattr(Observed, "remember", fail)

    assert caught(world) == ["o1", "o1"]


def test_what_the_journal_has_of_another_session_is_not_remembered() -> None:
    contents = Contents()
    old = record("SDEAL", {"trade_id": "t"})

    contents.remember([old], session="2026-05-22N")
    assert not contents.holds(key_of(old))

    contents = Contents()
    contents.remember([old], session=session_id(old.ingest_ts))
    assert contents.holds(key_of(old))


def record(kind: str, event: Any) -> RawExecEvent:
    return Converter("simulation", "b", 1, "v")((1_779_331_286_000_000_000, 0, kind, event))


def key_of(made: RawExecEvent) -> bytes:
    return digest(made.kind, made.payload, made.broker_event_id)


def test_the_receipt_alone_makes_no_other_content() -> None:
    deal = {"event_id": "v1:SD:s:r:1", "trade_id": "t", "price": 1.0}
    last = {"trade_id": "t", "price": 1.0, "event_id": "v1:SD:s:r:1"}
    same = [key_of(record("SDEAL", each)) for each in (deal, {**deal, "event_id": ""}, {**deal, "event_id": 'a"b'}, last)]

    assert len(set(same)) == 1
    assert key_of(record("CATCHUP_SDEAL", CaughtUp(deal))) == same[0]


def test_any_other_field_or_kind_makes_another_content() -> None:
    deal = {"event_id": "v1:SD:s:r:1", "trade_id": "t", "price": 1.0}
    others = [{**deal, "price": 1.5}, {**deal, "trade_id": "u"}, {**deal, "quantity": 1}, {"event_id": deal["event_id"]}]
    keys = [key_of(record("SDEAL", each)) for each in (deal, *others)] + [key_of(record("FDEAL", deal))]

    assert len(set(keys)) == len(keys)


def test_contents_are_of_one_session_and_of_reports_only() -> None:
    contents = Contents()
    day = record("SDEAL", {"trade_id": "t"})
    marker = record("MARKER", {"trade_id": "t"})
    contents.add([day, marker])
    assert contents.holds(key_of(day))
    assert not contents.holds(key_of(marker))

    # Half a day later.
    night = Converter("simulation", "b", 1, "v")((1_779_331_286_000_000_000 + 43_200_000_000_000, 0, "SDEAL", {"trade_id": "u"}))
    contents.add([night])

    assert contents.holds(key_of(night))
    assert not contents.holds(key_of(day))


def test_the_order_list_is_taken_once_an_interval_and_not_at_first() -> None:
    coverage = Coverage(30.0, 0.0)

    assert [now_s for now_s in range(0, 100, 10) if coverage.evidence_due(float(now_s))] == [30, 60, 90]


def test_deals_that_only_the_order_list_knows_are_told_and_never_put(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    broker.records = [("SDEAL", broker.deal(1))]
    deals = (("1", 10.0, 1), ("2", 10.0, 1))
    order = BrokerTrade("o1", "1", "Y1", "2330", "Buy", "Filled", "Cash", "Common", 10.0, 2, 2, 0, deals)
    broker.orders = [order]
    told: list[Any] = []
    with capture_logs() as logged, running(made(world, broker, tmp_path, desk=OFTEN)):
        wait_for("the read", lambda: broker.called("order_deal_records") and caught(world))
        wait_for("the list", lambda: any(entry["event"] == "deals_unaccounted" for entry in logged))
        told = [entry["orders"] for entry in logged if entry["event"] == "deals_unaccounted"]

    assert told[0] == {"o1": 1}
    assert Counter(r.kind for r in world.raw())["CATCHUP_SDEAL"] == 1
