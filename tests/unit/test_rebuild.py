"""Rows at an earlier moment: 45 simulated days, each checkpoint and what follows it against the live rows, field by field."""

import random
from collections import defaultdict
from typing import Any, NamedTuple

import msgspec
import pytest

from execpos.codecs.avro import Encoder
from execpos.domain import ids, rebuild
from execpos.domain import snapshot as rules
from execpos.domain.calendar import Calendar
from execpos.domain.events import Correction, Intent, PositionDelta, PositionSnapshot, PositionState
from execpos.domain.invariants import InvariantBroken
from execpos.kafka.history import History
from execpos.kafka.memory.cluster import MemoryCluster
from ledger_world import IDS, NAMES, RULES, SCHEMAS, drain
from snapshot_world import CLOSE_US, DAY_US, HOUR_US, MORNING_US, World, beat, ledger, snapshots

DAYS = 45
STOCK = ("9A95", "1234567", "S")
OTHER = ("9A95", "7654321", "S")
FUTURES = ("F002000", "7654321", "F")
ACCOUNTS = {f"simulation|{market}|{broker}|{number}": (broker, number, market) for broker, number, market in (STOCK, OTHER, FUTURES)}


class Day(NamedTuple):
    """The end of one simulated day: its moment, and the rows as published then."""

    at_us: int
    rows: dict[str, PositionState]


class Span(NamedTuple):
    """All that 45 days left behind."""

    world: World
    days: list[Day]
    checkpoints: dict[str, list[PositionSnapshot]]
    deltas: dict[str, list[PositionDelta]]


def fill(world: World, dice: random.Random, account: str, number: int, at_us: int) -> tuple[str, str]:
    """Put one fill into the stream; return its order's id and its number at the exchange."""
    broker, account_id, market = ACCOUNTS[account]
    payload: dict[str, Any] = {
        "event_id": "", "trade_id": f"{number // 3:08x}", "seqno": f"{number // 3:06d}", "ordno": "Y1", "exchange_seq": f"{number:06d}",
        "broker_id": broker, "account_id": account_id, "action": dice.choice(("Buy", "Sell")), "quantity": dice.randint(1, 5),
        "ts": at_us / 1e6,
    }  # fmt: skip
    if market == "S":
        cond = dice.choice(("Cash", "Cash", "MarginTrading"))
        payload |= {
            "code": dice.choice(("2330", "2317", "1101")),
            "order_cond": cond,
            "order_lot": "Common",
            "price": dice.randint(100, 999) / 10,
        }
        payload |= {"custom_field": dice.choice(("", "alpha", "beta"))}
        world.raw("SDEAL", payload, at_us)
    else:
        payload |= {"code": "TXF", "full_code": "TXFF6", "price": float(dice.randint(19000, 21000)), "combo": False, "market_type": "Day"}
        world.raw("FDEAL", payload, at_us)
    return str(payload["trade_id"]), str(payload["exchange_seq"])


def void(world: World, account: str, fill_id: str, at_us: int) -> None:
    blank: dict[Any, Any] = {str: "", int: 0}
    fields = {name: blank.get(kind, {}) for name, kind in Correction.__annotations__.items()}
    named = {
        "correction_id": f"void-{at_us}",
        "account": account,
        "kind": "VOID",
        "fill_id": fill_id,
        "expected_net_version": -1,
        "ts": at_us,
    }
    record = Correction(**{**fields, **named, "reason": "bust", "requested_by": "test"})
    world.put(NAMES.corrections, account.encode(), Encoder(Correction, IDS[Correction])(record))


def trade(world: World, dice: random.Random, day: int, number: int, busts: list[tuple[str, str]]) -> int:
    """Put one day of fills and intents, the voids of the last one, and the beats past its closes, into the stream; return the next number.

    What is to be voided on the next day is added to `busts`.
    """
    morning_us = MORNING_US + day * DAY_US
    session = ids.session_id(morning_us)
    while busts:
        void(world, *busts.pop(), morning_us + len(busts))
    for account in ACCOUNTS:
        for turn in range(dice.randint(3, 9)):
            at_us = morning_us + turn * 60_000_000
            number += 1
            order_id, exchange_seq = fill(world, dice, account, number, at_us)
            if dice.random() < 0.2:
                record = Intent(f"i{number}", account, dice.choice(("alpha", "gamma")), session, order_id, "", {}, at_us)
                world.put(NAMES.intents, account.encode(), Encoder(Intent, IDS[Intent])(record))
            if dice.random() < 0.1:
                busts.append((account, ids.fill_id(account, session, order_id, exchange_seq)))
        beat(world, CLOSE_US + day * DAY_US + HOUR_US, account)
    return number


@pytest.fixture(scope="module")
def span() -> Span:
    """Return 45 days, each ended by a restart of the ledger."""
    dice, world, number = random.Random(45), World(), 0
    days: list[Day] = []
    busts: list[tuple[str, str]] = []
    calendar: Calendar = RULES.calendar
    for day in range(DAYS):
        world.clock.sleep(max(0.0, (MORNING_US + day * DAY_US) / 1e6 - world.clock()))
        if calendar.is_trading_day((MORNING_US + day * DAY_US) // DAY_US, "S"):
            number = trade(world, dice, day, number, busts)
        loop, _ = ledger(world)
        loop.start()
        drain(loop)
        loop.close()
        days.append(Day(CLOSE_US + day * DAY_US + HOUR_US, world.positions()))
    checkpoints, deltas = defaultdict(list), defaultdict(list)
    for one in snapshots(world, topic=NAMES.checkpoints):
        checkpoints[one.account].append(one)
    for delta in world.read(PositionDelta, NAMES.deltas):
        deltas[delta.account].append(delta)
    return Span(world, days, dict(checkpoints), dict(deltas))


def of(account: str, rows: dict[str, PositionState]) -> list[PositionState]:
    return [state for state in rows.values() if state.account == account]


def test_the_days_have_everything_that_moves_a_row_backwards(span: Span) -> None:
    causes = {delta.cause for deltas in span.deltas.values() for delta in deltas}
    assert {"CALLBACK", "REATTRIBUTED", "VOID", "FEES"} <= causes


def test_every_session_with_trade_has_its_checkpoint_and_its_digest_is_right(span: Span) -> None:
    for account, (_, _, market) in ACCOUNTS.items():
        found = span.checkpoints[account]
        assert len({one.session_id for one in found}) == len(found)
        assert len(found) >= (28 if market == "S" else 56)
        for one in found:
            assert one.digest == rules.digest(one.positions, one.orders)


def test_each_checkpoint_and_the_deltas_after_it_are_the_live_rows(span: Span) -> None:
    for account in ACCOUNTS:
        live = of(account, span.days[-1].rows)
        assert len(live) > 3
        for base in [(), *(one.positions for one in span.checkpoints[account])]:
            rows = rebuild.rows_from(base, span.deltas[account])
            assert rebuild.differences(rows, live) == []


def test_each_checkpoint_is_an_earlier_one_and_the_deltas_between(span: Span) -> None:
    for account in ACCOUNTS:
        found = span.checkpoints[account]
        for earlier, later in zip(found, found[3:], strict=False):
            until = {row.position_key: row.version for row in later.positions}
            nets = {row.position_key: row.version for row in later.positions if row.strategy_id == "*"}
            between = [
                delta
                for delta in span.deltas[account]
                if delta.version_after <= until.get(delta.position_key, 0)
                and delta.net_version_after <= nets.get(ids.position_key(account, delta.symbol, delta.book, "*"), 0)
            ]
            assert rebuild.differences(rebuild.rows_from(earlier.positions, between), later.positions) == []


def test_the_history_finds_the_rows_of_each_evening(span: Span) -> None:
    history = History(MemoryCluster(span.world.broker), SCHEMAS, "t.")
    for day in span.days:
        for account in ACCOUNTS:
            reached = history.positions_at(account, day.at_us)
            assert rebuild.differences(reached.rows, of(account, day.rows)) == []
            assert reached.as_of_ts <= day.at_us
    before = history.positions_at(next(iter(ACCOUNTS)), MORNING_US - 1)
    assert (before.rows, before.session_id, before.deltas, before.as_of_ts) == ({}, "", 0, 0)
    history.close()


def test_the_steps_of_a_span_lead_from_its_first_to_its_last_rows(span: Span) -> None:
    history = History(MemoryCluster(span.world.broker), SCHEMAS, "t.")
    first, last = span.days[7], span.days[20]
    for account in ACCOUNTS:
        rows = dict(history.positions_at(account, first.at_us).rows)
        steps = list(history.steps(account, first.at_us, last.at_us))
        for step in steps:
            assert first.at_us < step.delta.ingest_ts <= last.at_us
            rows |= step.rows
        assert steps
        assert rebuild.differences(rows, of(account, last.rows)) == []
    history.close()


def test_a_long_log_is_searched_by_time_and_gives_the_same(span: Span, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(MemoryCluster(span.world.broker), SCHEMAS, "t.")
    whole = [history.positions_at(account, day.at_us) for day in span.days[::9] for account in ACCOUNTS]
    monkeypatch.setattr("execpos.kafka.history._SEARCH_FROM", 8)
    found = [history.positions_at(account, day.at_us) for day in span.days[::9] for account in ACCOUNTS]
    history.close()

    assert found == whole


def test_a_missing_delta_is_noticed(span: Span) -> None:
    account = next(iter(ACCOUNTS))
    deltas = span.deltas[account]
    with pytest.raises(InvariantBroken, match="goes from version"):
        rebuild.rows_from((), [*deltas[:5], *deltas[6:]])
    wrong = msgspec.structs.replace(deltas[3], d_open_cost=deltas[3].d_open_cost + 1)
    with pytest.raises(InvariantBroken, match="sums to"):
        rebuild.rows_from((), [*deltas[:3], wrong])


def test_deltas_given_twice_count_once(span: Span) -> None:
    for account in ACCOUNTS:
        deltas = span.deltas[account]
        assert rebuild.rows_from((), [*deltas, *deltas[-20:]]) == rebuild.rows_from((), deltas)
