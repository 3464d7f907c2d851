"""A view beside a real ledger on the twin: rows, working orders and waiting, at the end and in the middle of a simulated day."""

from collections import Counter
from functools import partial

import pytest

import snapshot_world
from execpos import settings
from execpos.brokers.sim.config import SimConfig, market_open_us
from execpos.brokers.sim.day import Simulator
from execpos.client import view as view_module
from execpos.client.link import Ages, Link, current_day
from execpos.client.view import PositionView
from execpos.codecs.avro import Encoder
from execpos.domain.calendar import Calendar
from execpos.domain.events import FillEvent, Mark, PositionSnapshot
from execpos.domain.ids import NET
from execpos.domain.snapshot import open_orders
from execpos.kafka.loop import Loop
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.ledger.snapshots import SnapshotOptions
from execpos.ledger.task import LedgerTask
from ledger_world import IDS, NAMES, SCHEMAS, World, drain
from snapshot_world import ACCOUNT, CLOSE_US, DAY_US, MORNING_US


def linked(world: World, calendar: Calendar | None = None) -> Link:
    for name in {"t.exec.heartbeats.v1", "t.exec.marks.v1", "t.exec.control.v1"} - world.broker.topics.keys():
        world.broker.create(name, 3)
    rules = settings.load(None, {}).rules()
    ages = Ages(orders_within_s=1e12, closes_within_s=1e12)
    return Link(MemoryCluster(world.broker), SCHEMAS.writers, IDS, "t.", "simulation", ages, rules.instruments, calendar)


def compare(view: PositionView, world: World, task: LedgerTask) -> None:
    """Rows are those of the topic, orders those of the ledger's memory."""
    assert {one.state.position_key: one.state for one in view.positions()} == world.positions()
    expected, sums = {}, Counter[tuple[str, str, str, str]]()
    for state in task.states.values():
        for account, found in state.pipeline.accounts.items():
            for order in open_orders(found):
                if order.leaves:
                    expected[order.order_key] = (order.leaves, order.cum_filled, order.strategy_id)
                    for strategy in (order.strategy_id, NET):
                        sums[account, order.symbol, strategy, order.side] += order.leaves
    shown = {one.event.order_key: (one.leaves, one.cum_filled, one.event.strategy_id) for one in view.open_orders()}
    assert shown == expected
    for (account, symbol, strategy, side), leaves in sums.items():
        books = {one.book for one in view.open_orders(account, symbol)}
        working = [view.working(account, symbol, book, strategy) for book in books]
        assert sum(one.buy if side == "BUY" else one.sell for one in working) == leaves


@pytest.mark.parametrize("seed", [1, 2])
def test_a_view_shows_what_the_ledger_has_at_every_moment_and_after_a_late_start(seed: int) -> None:
    world = World()
    link = linked(world)
    loop, task = world.ledger()
    loop.start()
    live = PositionView(link, None, world.clock)
    live.step()
    config = SimConfig(
        seed=seed, start_us=market_open_us(2026, 5, 21), step_us=50_000, events=700, stock_accounts=3, futures_accounts=2, strategies=3
    )
    open_seen = 0
    for number, event in enumerate(Simulator(config).events()):
        world.send(event)
        if number % 100 == 99:
            open_seen += _look(world, loop, task, live)
    _look(world, loop, task, live)
    assert open_seen > 0
    late = PositionView(link, None, world.clock)
    late.step()
    assert late.ready
    compare(late, world, task)
    fills = world.read(FillEvent, NAMES.fills)
    assert fills
    assert all(live.wait_for(fill_id=fill.fill_id, timeout_s=0) and late.wait_for(fill_id=fill.fill_id, timeout_s=0) for fill in fills)
    loop.close()


def _look(world: World, loop: Loop, task: LedgerTask, view: PositionView) -> int:
    drain(loop)
    view.step()
    compare(view, world, task)
    return len(view.open_orders())


@pytest.mark.parametrize("max_part_bytes", [262_144, 5_000])
def test_the_result_since_the_close_is_that_of_the_ledgers_own_checkpoint(monkeypatch: pytest.MonkeyPatch, max_part_bytes: int) -> None:
    world = snapshot_world.World()
    link = linked(world, settings.load(None, {}).rules().calendar)
    options = SnapshotOptions(max_part_bytes=max_part_bytes)
    loop, _ = snapshot_world.ledger(world, options, lambda *symbol: (28_000_000, CLOSE_US) if symbol[2] != "1101" else None)
    loop.start()
    view = PositionView(link, None, world.clock)
    for number, code in enumerate(("2330", "2317", "1101"), 1):
        snapshot_world.deal(world, number, code=code)
    drain(loop)
    next_us = MORNING_US + DAY_US
    monkeypatch.setattr(view_module, "current_day", partial(current_day, wall_us=lambda: next_us))
    view.step()
    assert view.day_pnl(ACCOUNT).session_id == ""
    # The next morning's first fill closes the session before it counts: 1 000 more at 27, with 28 at the close and 29 now.
    snapshot_world.deal(world, 4, next_us, trade_id="another")
    drain(loop)
    view.step()
    for code in ("2330", "2317", "1101"):
        key = f"simulation|S|{code}"
        mark = Mark("simulation", "S", code, 29_000_000, next_us, next_us, "bridge-0")
        world.put(link.topic("marks"), key.encode(), Encoder(Mark, IDS[Mark])(mark))
    view.step()
    found = {one.state.symbol: one.day_pnl for one in view.positions(ACCOUNT, NET)}
    assert found == {"2330": 1000 * 1_000_000 + 1000 * 2_000_000, "2317": 1000 * 1_000_000, "1101": None}
    whole = view.day_pnl(ACCOUNT)
    assert (whole.amount, whole.session_id) == (None, "2026-05-21D")
    assert whole.missing == (f"{ACCOUNT}|1101|cash|*",)
    parts = world.read(PositionSnapshot, NAMES.checkpoints)
    assert len(parts) == parts[0].parts
    assert (len(parts) == 1) is (max_part_bytes == 262_144)
    loop.close()
