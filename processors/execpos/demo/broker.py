"""The demo's simulated broker and the bridge to it, in this process: a day of orders and deals, and one answer that is wrong on purpose."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from execpos.bridge.intents import IntentPump
from execpos.bridge.journal.journal import Journal
from execpos.bridge.made import intent_writer
from execpos.bridge.options import BridgeOptions
from execpos.bridge.service import Bridge
from execpos.bridge.tail import Wire
from execpos.brokers.budget import Budget, BudgetLimits
from execpos.brokers.shioaji import BrokerOptions, Credentials, ShioajiBroker
from execpos.brokers.sim.api import SimApi
from execpos.brokers.sim.client import Client
from execpos.brokers.sim.config import SDK_VERSION, Faults, start_within_session
from execpos.brokers.sim.facts import rows_of
from execpos.brokers.sim.link import LocalLink
from execpos.brokers.sim.scenario import Delivery, Scenario, Session
from execpos.brokers.sim.venue import Venue

ENV: Final = "simulation"

# What the wrong answer adds to a position: a lot, which is less than any limit that halts.
_PLANTED_SHARES = 1_000

# The simulated day has to stay in one session; this is for what comes after the market has closed.
_SPAN_MARGIN_S = 180


class Planted(NamedTuple):
    """The position of which the broker's list says too much. `quantity` is the true one."""

    account: str
    symbol: str
    quantity: int
    stated: int


class DemoVenue(Venue):
    """A simulated broker whose clients stay after its day, and whose position list can be made wrong by one lot. Any thread may call."""

    def __init__(self, seconds: float, rate: float, seed: int) -> None:
        disorder = Delivery(**msgspec.structs.asdict(Faults()))
        session = Session(events=max(1, round(rate * seconds)))
        start_us = start_within_session(time.time_ns() // 1000, round((seconds + _SPAN_MARGIN_S) * 1e6))
        super().__init__(Scenario(seed=seed, rate=rate, delivery=disorder, sessions=(session,)), now_us=start_us)
        self.closed = False
        """Whether the bridge is told that everything is over."""
        self._planted: Planted | None = None

    def call(self, client: Client | None, method: str, arguments: Mapping[str, Any]) -> Any:
        """Answer as the broker does, but for the end and for what is planted."""
        if method == "sim_finished":
            return self.closed and super().call(client, method, arguments)
        answer, planted = super().call(client, method, arguments), self._planted
        if planted and method == "list_positions" and planted.account.endswith(arguments["account"]):
            return [row | {"quantity": planted.stated} if _is(planted, row) else row for row in answer]
        return answer

    def plant(self) -> Planted | None:
        """Make the position list wrong by a lot of one stock until `unplant`; return of which, or None when no stock is held."""
        for row in rows_of(self.truth()):
            if row["strategy_id"] == "*" and row["book"] == "cash" and row["quantity"] > 0:
                stated = row["quantity"] + _PLANTED_SHARES
                self._planted = Planted(row["account"], row["symbol"], row["quantity"], stated)
                return self._planted
        return None

    def unplant(self) -> None:
        """Let the position list be right again."""
        self._planted = None


def _is(planted: Planted, row: Mapping[str, Any]) -> bool:
    return (row["code"], row["cond"], row["direction"]) == (planted.symbol, "Cash", "Buy")


class CountingApi(SimApi):
    """A client that counts the callbacks that it makes; one thread counts, any may read."""

    taken = 0

    def set_order_callback(self, func: Callable[[Any, Any], None]) -> None:
        """Set what takes a callback."""

        def take(state: Any, event: Any) -> None:
            self.taken += 1
            func(state, event)

        super().set_order_callback(take)


class Desk(NamedTuple):
    """A bridge of the venue, not running, and the clients that its login has made."""

    bridge: Bridge
    clients: list[CountingApi]
    watcher: SimApi

    @property
    def callbacks(self) -> int:
        """How many callbacks came; records that were asked for are none."""
        return sum(client.taken for client in self.clients)


def desk(venue: DemoVenue, journal: Path, wire: Wire) -> Desk:
    """Return the bridge of the real adapter, talking to a simulated broker in this process; `watcher.sim_close` afterwards."""
    options = BridgeOptions(bridge_id="demo")
    clients: list[CountingApi] = []

    def client() -> CountingApi:
        clients.append(CountingApi(LocalLink(venue)))
        return clients[-1]

    writer = intent_writer(options, wire)
    kept = Journal.open(journal, env=ENV, bridge_id=options.bridge_id)
    watcher = SimApi(LocalLink(venue))
    broker = ShioajiBroker(
        BrokerOptions(env=ENV, sdk_version=SDK_VERSION),
        client,
        Credentials("simulated", "simulated"),
        Budget(
            BudgetLimits(),
            kept.state,
            wall_us=lambda: time.time_ns() // 1000,
            monotonic_us=lambda: time.monotonic_ns() // 1000,
            sleep=time.sleep,
        ),
        drop_api=_leave,
        is_finished=watcher.sim_finished,
    )
    bridge = Bridge(options, broker, kept, lambda: wire, broker=broker, intents=IntentPump(watcher.sim_intents, writer))
    return Desk(bridge, clients, watcher)


def _leave(api: Any) -> None:
    """End a client of the simulated broker."""
    try:
        api.logout()
    finally:
        api.sim_close()
