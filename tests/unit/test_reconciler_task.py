"""The reconciler's task on the twin: every record once through crashes and aborts, what a start knows, and what is passed over."""

from collections import Counter
from itertools import pairwise
from typing import Any, cast

import pytest

from client_world import blank
from execpos.domain.events import (
    BrokerPositionRow,
    BrokerRequest,
    BrokerSnapshot,
    Command,
    CorrectionOutcome,
    DeadLetter,
    Discrepancy,
    FillEvent,
    PositionSnapshot,
    PositionState,
    Progress,
    ReconciliationRound,
    TradingControl,
)
from execpos.domain.reconciliation import reconcile
from execpos.domain.reconciliation.pace import Pace
from execpos.errors import AbortTransaction
from execpos.kafka.ports import TopicPartition
from execpos.reconciler import parts
from execpos.reconciler.task import ReconcilerTask
from execpos.telemetry import metrics
from reconciler_world import ACCOUNTS, BRIDGE, NAMES, PARTITIONS, Seen, World, drain, run

ONE, TWO, *_ = ACCOUNTS

STEPS = [
    "committed_read", "restored", "resumed", "after_poll", "before_begin", "after_begin", "before_process", "after_process", "before_tick",
    "after_tick", "before_send_offsets", "after_send_offsets", "before_commit", "after_commit", "task_committed",
]  # fmt: skip


class Crash(BaseException):
    """The process dies here."""


def halves(snapshot_id: str, account: str, quantities: tuple[int, ...], **fields: Any) -> list[PositionSnapshot]:
    """Return a book in as many parts as it has rows."""
    whole = {"snapshot_id": snapshot_id, "account": account, "parts": len(quantities), **fields}
    return [
        blank(PositionSnapshot, part=number, positions=(blank(PositionState, account=account, quantity=quantity),), **whole)
        for number, quantity in enumerate(quantities, 1)
    ]


def answers(request_id: str, account: str, symbols: tuple[str, ...], read: int = 1) -> list[BrokerSnapshot]:
    """Return a broker's answer in as many parts as it has rows."""
    whole = {"request_id": request_id, "account": account, "what": "POSITIONS", "read": read, "reads": 2, "parts": len(symbols)}
    return [
        blank(BrokerSnapshot, part=number, outcome="OK", positions=(blank(BrokerPositionRow, symbol=symbol),), **whole)
        for number, symbol in enumerate(symbols, 1)
    ]


def morning(world: World) -> Counter[str]:
    """Write some of everything; return how often each of it has to be told."""
    expected: Counter[str] = Counter()
    for account in ACCOUNTS:
        expected[world.heartbeat(account)] += 1
    for number, account in enumerate(ACCOUNTS):
        world.put(halves(f"book-{number}", account, (1, 2, 3))[0])
        world.put(answers(f"ask-{number}", account, ("2330", "2890"))[0])
        expected[world.command(account)] += 1
        expected[world.fill(account)] += 1
        for part in halves(f"book-{number}", account, (1, 2, 3))[1:]:
            world.put(part)
        expected[f"book-{number}(3)"] += 1
        world.put(answers(f"ask-{number}", account, ("2330", "2890"))[1])
        expected[f"ask-{number}(2)"] += 1
        expected[world.outcome(account)] += 1
    for partition in range(PARTITIONS):
        here = sum(world.partition(account) == partition for account in ACCOUNTS)
        world.put(blank(Progress, partition=partition, instance=f"ledger-{partition}"))
        world.put(blank(DeadLetter, source_partition=partition, detail=f"letter-{partition}"))
        expected[f"ledger-{partition}"] += here
        expected[f"letter-{partition}"] += here
    return +expected


def seen(task: ReconcilerTask) -> dict[str, Seen]:
    return {account: cast("Seen", held.state) for account, held in task.accounts.items()}


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_loses_and_doubles_no_record(step: str) -> None:
    for passes in (0, 1, 3):
        world = World()
        # Every account is known before anything else is said, as a bridge makes sure by its beats.
        expected = Counter(world.heartbeat(account) for account in ACCOUNTS)
        loop, _ = world.reconciler()
        run(loop)
        loop.close()
        expected += morning(world)
        left = [passes]

        def die(reached: str, left: list[int] = left) -> None:
            if reached == step:
                left[0] -= 1
                if left[0] < 0:
                    raise Crash

        loop, _ = world.reconciler(die)
        try:
            run(loop)
            for _ in range(40):
                loop.step()
        except Crash:
            pass
        else:
            assert step in {"committed_read", "restored", "resumed"}, "the step was never reached"
        loop.close()
        loop, task = world.reconciler()
        run(loop)
        assert set(task.accounts) == set(ACCOUNTS)
        loop.close()

        # What was put together from parts is told again only if its end was: parts on both sides of a crash say nothing, as the contract
        # of a restart has it; the round that waits for them begins anew.
        told = Counter(world.rounds())
        wholes = {name for name in expected if name.endswith(")")}
        assert {name: count for name, count in told.items() if name not in wholes} == {
            name: count for name, count in expected.items() if name not in wholes
        }
        assert all(told[name] <= 1 for name in wholes)
        assert set(told) <= set(expected)
        outcomes = [one.discrepancy_id for one in world.read(Discrepancy, NAMES.discrepancies)]
        assert sorted(outcomes) == sorted(name for name in expected if name.startswith("CorrectionOutcome"))
        requests = Counter(one.request_id for one in world.read(BrokerRequest, NAMES.broker_requests))
        assert requests == Counter({name: 1 for name in expected if name.startswith("BridgeHeartbeat")})


@pytest.mark.parametrize("step", ["after_process", "after_tick", "before_send_offsets", "after_send_offsets", "before_commit"])
def test_an_abort_takes_everything_back_so_that_the_end_is_as_without_it(step: str) -> None:
    ends = []
    for aborts in (0, 7):
        world = World()
        pace = Pace(limit=20, span_us=5_000_000)
        left = [aborts]

        def refuse(reached: str, left: list[int] = left) -> None:
            if reached == step and left[0]:
                left[0] -= 1
                raise AbortTransaction("the group moves")

        expected = Counter(world.heartbeat(account) for account in ACCOUNTS)
        loop, _ = world.reconciler()
        run(loop)
        loop.close()
        expected += morning(world)
        loop, task = world.reconciler(refuse, pace=pace, batch=3)
        run(loop)
        assert left == [0]
        assert Counter(world.rounds()) == expected
        ends.append(
            # Which topic comes first is the consumer's; the order within one is in the names.
            {account: (sorted(one.told)) for account, one in seen(task).items()}
            | {"kept": [(held.books, held.answers, held.differences) for _, held in sorted(task.accounts.items())]}
            | {"pace": sum(calls for _, calls in task._paces[BRIDGE].asked)}
        )
        loop.close()

    assert ends[0] == ends[1]


def test_parts_are_whole_only_in_their_order_and_without_a_stranger_between() -> None:
    one, two, three = halves("a", ONE, (1, 2, 3))
    (other,) = halves("b", ONE, (9,))

    def fold(*given: PositionSnapshot) -> list[tuple[str, int]]:
        open_parts: tuple[PositionSnapshot, ...] = ()
        found = []
        for part in given:
            open_parts, whole = parts.book(open_parts, part)
            if whole is not None:
                assert whole.part == whole.parts == 1
                found.append((whole.snapshot_id, len(whole.positions)))
        return found

    assert fold(one, two, three) == [("a", 3)]
    assert fold(two, three, one, two, three) == [("a", 3)]
    assert fold(one, three, one, two, two, three) == []
    assert fold(one, two, other, three) == [("b", 1)]
    first, second = answers("r", ONE, ("2330", "2890"))
    again, _ = answers("r", ONE, ("2330", "2890"), read=2)
    assert parts.answer((first,), again) == ((again,), None), "another read of the same request begins anew"
    _, whole = parts.answer((first,), second)
    assert whole is not None
    assert [row.symbol for row in whole.positions] == ["2330", "2890"]


def test_a_start_knows_differences_controls_and_the_fills_of_the_last_minutes() -> None:
    world = World()
    long_ago = world.now_us() - 60 * 86_400_000_000
    for name, status, updated in (("settled", "CORRECTED", long_ago), ("kept", "REJECTED", long_ago), ("open", "OPEN", long_ago)):
        world.put(blank(Discrepancy, discrepancy_id=name, account=ONE, status="OPEN", updated_ts=long_ago))
        world.put(blank(Discrepancy, discrepancy_id=name, account=ONE, status=status, kind="COST", updated_ts=updated, opened_ts=len(name)))
    world.put(blank(TradingControl, scope=ONE, source="reconciler", state="HALTED", latched=True, control_id="halt-1"))
    world.put(blank(TradingControl, scope=f"{ONE}|2330", source="operator", state="ACTIVE", releases="x", control_id="op-1"))
    world.put(blank(TradingControl, scope="strategy:alpha", source="operator", state="HALTED", control_id="op-2"))
    world.put(blank(TradingControl, scope=TWO, source="reconciler", state="ACTIVE", control_id="beat"))
    old = world.fill(ONE)
    # Past midnight in Taipei.
    world.clock.sleep(15 * 3600)
    early = world.fill(ONE)
    world.clock.sleep(3600)
    recent = world.fill(ONE)
    loop, task = world.reconciler()
    run(loop)
    assert seen(task)[ONE].told == (early, recent), "those of the day make an opening balance"
    assert set(seen(task)[ONE].known) == {"kept", "open", "halt-1", "op-1"}
    loop.close()
    later = world.fill(ONE)
    loop, task = world.reconciler()
    run(loop)

    assert set(task.accounts) == {ONE}, "what is neither beating, nor open, nor halted is not watched"
    state = seen(task)[ONE]
    assert {name for name in state.known if not name.startswith("c-")} == {"kept", "open", "op-1", recent}
    assert state.told == (later,)
    assert not {old, early} & {*state.known, *state.told}, "of what was compared before, older ones say nothing"
    assert task.accounts[ONE].differences == {"open": "COST"}
    world.heartbeat(TWO)
    drain(loop)
    assert "beat" in seen(task)[TWO].known, "an account that comes later finds what was said of it"
    loop.close()


def test_of_a_backlog_only_the_newest_word_of_bridge_and_ledger_counts_as_now() -> None:
    world = World()
    first = [world.heartbeat(ONE) for _ in range(50)]
    for number in range(20):
        world.put(blank(Progress, partition=world.partition(ONE), instance=f"ledger-{number}"))
    loop, task = world.reconciler(batch=1000)
    run(loop)

    assert sorted(world.rounds()) == sorted([first[-1], "ledger-19"])
    assert seen(task)[ONE].heard == tuple(first[:-1]), "a gap between two of them is a gap"
    assert len(world.read(BrokerRequest, NAMES.broker_requests)) == 1
    loop.close()


def test_a_backlog_leaves_what_its_beats_one_by_one_would_have_left() -> None:
    ends = []
    for batch in (1, 1000):
        world = World()
        for second in range(60):
            world.clock.sleep(1.0)
            # At 20 s nobody beats for ten, at 40 s the session is lost for two, and at 50 s the bridge starts again.
            down = second in {40, 41}
            incarnation = 1 + (second >= 50)
            if not 20 <= second < 30:
                kind = "CLAIM" if second == 50 else "BEAT"
                world.heartbeat(ONE, kind=kind, session="lost" if down else "up", incarnation=incarnation, bridge_epoch=incarnation)
        loop, task = world.reconciler(batch=batch, mind=reconcile)
        run(loop)
        state = task.accounts[ONE].state
        loop.close()
        ends.append((state.gaps, set(state.triggers), state.bridge))
        assert [gap.why for gap in state.gaps] == ["the bridge was silent", "the session was not up", "the bridge started again"]

    assert ends[0] == ends[1]


def test_an_operators_word_is_heard_once_and_only_by_the_account_that_it_concerns() -> None:
    world = World()
    for account in (ONE, TWO):
        world.heartbeat(account)
    aborting: list[str] = []

    def refuse(reached: str) -> None:
        if reached in aborting:
            aborting.remove(reached)
            raise AbortTransaction("the group moves")

    watch = world.watch()
    loop, task = world.reconciler(refuse, watch=watch)
    run(loop)
    tail = watch.open()
    world.put(blank(TradingControl, scope=ONE, source="operator", state="ACTIVE", releases="halt-1", control_id="release"))
    world.put(blank(TradingControl, scope=f"{TWO}|2330", source="auditor", state="HALTED", control_id="breach"))
    world.put(blank(TradingControl, scope="*", source="operator", state="HALTED", control_id="everything"))
    world.broker.append(TopicPartition(NAMES.control, 0), b"x|operator", b"not a record")
    watch.look(tail, 0.0)
    aborting.append("before_commit")
    world.clock.sleep(1.0)
    drain(loop)

    assert not aborting
    assert [name for name in seen(task)[ONE].told if "Bridge" not in name] == ["release"]
    assert [name for name in seen(task)[TWO].told if "Bridge" not in name] == ["breach"]
    watch.look(tail, 0.0)
    loop.close()
    loop, task = world.reconciler(watch=watch)
    run(loop)
    assert "release" in seen(task)[ONE].known
    assert seen(task)[ONE].told == (), "what the restore has read is not heard again"
    loop.close()


def test_what_cannot_be_read_is_passed_over_and_counted() -> None:
    world = World()
    before = metrics.counter("execpos_reconciler_unreadable_total").labels(topic="exec.heartbeats.v1")._value.get()
    place = TopicPartition(NAMES.heartbeats, world.partition(ONE))
    world.broker.append(place, ONE.encode(), b"not a record")
    world.broker.append(place, ONE.encode(), None)
    world.put(blank(Command, account=TWO, command_id="astray", kind="RECONCILE"), partition=world.partition(TWO), key=ONE.encode())
    elsewhere = next(partition for partition in range(PARTITIONS) if partition != world.partition(ONE))
    world.put(blank(CorrectionOutcome, account=ONE, correction_id="misplaced"), partition=elsewhere)
    world.put(blank(FillEvent, account="nobody", fill_id="nameless", digest=b"12345678", side="BUY", market="S"))
    name = world.heartbeat(ONE)
    loop, task = world.reconciler()
    run(loop)
    assert set(task.accounts) == {ONE}
    loop.close()

    assert world.rounds() == [name]
    after = metrics.counter("execpos_reconciler_unreadable_total").labels(topic="exec.heartbeats.v1")._value.get()
    assert after - before == 1


def test_a_command_for_an_account_that_nobody_has_is_refused_and_an_audit_record_is_not_ours() -> None:
    world = World()
    typo = world.command(ONE)
    world.put(blank(Command, account="*", command_id="audit", kind="HALT"))
    loop, task = world.reconciler()
    run(loop)
    assert task.accounts == {}
    loop.close()

    (refused,) = world.read(ReconciliationRound, NAMES.rounds)
    assert (refused.account, refused.verdict, refused.command_ids) == (ONE, "REFUSED", (typo,))


def test_the_accounts_of_one_bridge_share_its_budget() -> None:
    world = World()
    for account in ACCOUNTS:
        world.heartbeat(account)
    loop, _ = world.reconciler(pace=Pace(limit=5, span_us=3_600_000_000))
    run(loop)
    loop.close()

    assert len(world.read(BrokerRequest, NAMES.broker_requests)) == 2, "a third read of two calls would make six"


def test_every_account_speaks_once_a_second_while_nothing_comes() -> None:
    world = World()
    for account in ACCOUNTS:
        world.heartbeat(account)
    loop, _ = world.reconciler()
    run(loop)
    began_us = world.now_us()
    while world.now_us() - began_us < 10_000_000:
        loop.step()
    loop.close()

    for account in ACCOUNTS:
        spoken = [said.ts for said in world.read(TradingControl, NAMES.control) if said.scope == account]
        gaps = [after - before for before, after in pairwise(spoken)]
        assert len(spoken) >= 8
        assert max(gaps) <= 1_300_000


def test_a_spare_takes_over_what_another_leaves_and_tells_nothing_twice() -> None:
    world = World()
    one, one_task = world.reconciler()
    two, two_task = world.reconciler(instance="two")
    expected = Counter(world.heartbeat(account) for account in ACCOUNTS)
    run(one)
    two.start()
    drain(one, two)
    assert set(one_task.accounts) | set(two_task.accounts) == set(ACCOUNTS)
    assert set(one_task.accounts) & set(two_task.accounts) == set()
    expected += morning(world)
    for _ in range(3):
        one.step()
        two.step()
    one.consumer.leave(1.0)
    one.close()
    drain(two)
    assert set(two_task.accounts) == set(ACCOUNTS)
    two.close()

    told = Counter(world.rounds())
    assert {name: told[name] for name in expected if not name.endswith(")")} == {
        name: count for name, count in expected.items() if not name.endswith(")")
    }
    assert all(count <= expected[name] for name, count in told.items())
