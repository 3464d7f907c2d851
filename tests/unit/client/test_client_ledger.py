"""A view beside a real ledger on the twin: rows, working orders and waiting, at the end and in the middle of a simulated day."""

from collections import Counter

import pytest

from execpos import settings
from execpos.brokers.sim.config import SimConfig, market_open_us
from execpos.brokers.sim.day import Simulator
from execpos.client.link import Ages, Link
from execpos.client.view import PositionView
from execpos.domain.events import FillEvent
from execpos.domain.ids import NET
from execpos.domain.snapshot import open_orders
from execpos.kafka.loop import Loop
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.ledger.task import LedgerTask
from ledger_world import IDS, NAMES, SCHEMAS, World, drain


def linked(world: World) -> Link:
    for name in {"t.exec.heartbeats.v1", "t.exec.marks.v1", "t.exec.control.v1"} - world.broker.topics.keys():
        world.broker.create(name, 3)
    rules = settings.load(None, {}).rules()
    return Link(MemoryCluster(world.broker), SCHEMAS.writers, IDS, "t.", "simulation", Ages(orders_within_s=1e12), rules.instruments)


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
