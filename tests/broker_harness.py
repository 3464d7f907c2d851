"""One suite, several brokers, each seen through `ShioajiBroker`: the simulator, and a client that says what the test tells it to.

Time is the test's in both. A harness is made with the faults that the test wants, each of which begins five seconds after the start.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Literal

from callback_samples import LINES
from execpos.brokers.budget import Budget, BudgetLimits
from execpos.brokers.shioaji import BrokerOptions, Credentials, ShioajiBroker
from execpos.brokers.sim.api import SimApi
from execpos.brokers.sim.link import LocalLink
from execpos.brokers.sim.scenario import Accounts, Scenario, Session
from execpos.brokers.sim.schedule import Entry
from execpos.brokers.sim.venue import Venue
from shioaji_fake import MORNING_US, Clock, Memory, Rig, Word

Fault = Literal["session_down", "disconnect", "suspended", "timeouts"]

FAULT_AT_S = 5.0
DISCONNECT_S = 10.0

FAULTS_OVER_S = 20


class Harness(ABC):
    """A broker of ours over some broker, and what it told."""

    personal: tuple[str, ...]

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.reports: list[tuple[Any, Any]] = []
        self.told: list[Any] = []
        self.quotes: list[Any] = []

    @property
    @abstractmethod
    def broker(self) -> ShioajiBroker: ...

    @abstractmethod
    def pass_time(self, seconds: float) -> None:
        """Let reports and ticks come; return when they have come."""

    @abstractmethod
    def symbol(self, market: Literal["S", "F"]) -> str:
        """Return a symbol that has trades."""

    def close(self) -> None:
        self.broker.stop()

    def up(self) -> ShioajiBroker:
        self.broker.connect()
        self.broker.set_order_callback(lambda state, event: self.reports.append((state, event)))
        self.broker.set_connection_callback(self.told.append)
        self.broker.set_quote_callback(self.quotes.append)
        self.broker.start()
        return self.broker

    def run(self, seconds: float) -> None:
        """Let time pass, with a call of `maintain` each second."""
        for _ in range(int(seconds)):
            self.pass_time(1.0)
            self.broker.maintain()

    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]


class Simulated(Harness):
    """Over the simulator."""

    personal = ("虛構人物", "X900000000")

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(Clock())
        entries = {
            "session_down": [Entry("session_down", at_s=FAULT_AT_S)],
            "disconnect": [Entry("disconnect", at_s=FAULT_AT_S, seconds=DISCONNECT_S)],
            "suspended": [Entry("call_raises", at_s=FAULT_AT_S, count=1, method="list_positions", error="SystemMaintenance")],
            "timeouts": [Entry("call_raises", at_s=FAULT_AT_S, count=3, method="list_positions", error="ShioajiTimeoutError")],
        }
        scenario = Scenario(
            rate=40,
            accounts=Accounts(stock=1, futures=1),
            sessions=(Session(start="2026-05-19T10:00", seconds=600),),
            schedule=tuple(entry for fault in faults for entry in entries[fault]),
        )
        self.venue = Venue(scenario, clock=self.clock.monotonic_us, sleep=self.clock.sleep, now_us=MORNING_US)
        self.links: list[LocalLink] = []
        budget = Budget(
            BudgetLimits(),
            Memory(),
            wall_us=self.clock.wall_us,
            monotonic_us=self.clock.monotonic_us,
            sleep=self.clock.sleep,
        )
        self._broker = ShioajiBroker(
            BrokerOptions(env="simulation", sdk_version="sim"),
            self._client,
            Credentials("simulated-key", "simulated-secret"),
            budget,
            clocks=self.clock.clocks(),
            drop_api=_drop,
            is_finished=lambda: self.venue.finished,
        )

    @property
    def broker(self) -> ShioajiBroker:
        return self._broker

    def _client(self) -> SimApi:
        self.links.append(LocalLink(self.venue))
        return SimApi(self.links[-1])

    def pass_time(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        while self.venue.step() == 0.0:
            continue
        assert self.links[-1].settle()

    def symbol(self, market: Literal["S", "F"]) -> str:
        while True:
            for state, event in self.reports:
                if state.value == f"{market}DEAL":
                    return str(event["full_code"] if market == "F" else event["code"])
            self.pass_time(1)

    def close(self) -> None:
        super().close()
        self.venue.stop()


def _drop(api: Any) -> None:
    api.sim_close()


class Scripted(Harness):
    """Over the client that says what it is told to; a report of each kind a second, two symbols that tick."""

    personal = ("王大明", "A123456789")

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.rig = Rig(env="simulation")
        super().__init__(self.rig.clock)
        self.desk = self.rig.desk
        self.faults = list(faults)
        self.started_us = self.clock.now_us
        self.link_down_until_us = 0
        stocks, futures = {"2330": SimpleNamespace(code="2330")}, {"TXFF6": SimpleNamespace(code="TXFF6")}
        self.desk.contracts = SimpleNamespace(status=Word("Fetched"), stocks=stocks, futures=futures, options={})
        self.desk.answers["list_positions"] = lambda account, **_: [_position(account.account_type.value)]
        self.desk.answers["list_position_detail"] = lambda account, **_: [_lot(account.account_type.value)]
        self.desk.answers["order_deal_records"] = lambda account, **_: [
            (Word(kind), payload) for kind, payload in _samples() if kind[0] == account.account_type.value
        ]

    @property
    def broker(self) -> ShioajiBroker:
        return self.rig.broker

    def pass_time(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        self._begin_faults()
        client = self.desk.client
        if self.clock.now_us < self.link_down_until_us:
            return
        if self.link_down_until_us and client.on_event is not None:
            self.link_down_until_us = 0
            client.on_event(0, 13, "host", "reconnected")
        subscribed = sum(step.startswith("subscribe_trade") for step in client.steps)
        for kind, payload in _samples() if subscribed else ():
            if client.on_order is not None:
                client.on_order(Word(kind), payload)
        for market, code, close in (("S", "2330", "612.5"), ("F", "TXFF6", "21000")):
            if market in client.on_tick and any(call.arguments["code"] == code for call in self.desk.asked("subscribe")):
                client.on_tick[market](SimpleNamespace(code=code, close=close, datetime=_taipei(self.clock.wall_us()), simtrade=False))

    def _begin_faults(self) -> None:
        if self.clock.now_us - self.started_us < FAULT_AT_S * 1e6:
            return
        client = self.desk.client
        while self.faults:
            fault = self.faults.pop()
            if fault == "session_down" and client.on_session_down is not None:
                client.on_session_down()
            elif fault == "disconnect" and client.on_event is not None:
                client.on_event(0, 12, "host", "reconnecting")
                self.link_down_until_us = self.clock.now_us + int(DISCONNECT_S * 1e6)
            elif fault in {"suspended", "timeouts"}:
                self._fail(1 if fault == "suspended" else 3, "SystemMaintenance" if fault == "suspended" else "ShioajiTimeoutError")

    def _fail(self, count: int, name: str) -> None:
        good, left = self.desk.answers["list_positions"], [None] * count

        def answer(**arguments: Any) -> Any:
            if left:
                left.pop()
                return type(name, (Exception,), {})("no")
            return good(**arguments)

        self.desk.answers["list_positions"] = answer

    def symbol(self, market: Literal["S", "F"]) -> str:
        return {"S": "2330", "F": "TXFF6"}[market]


def _taipei(wall_us: int) -> Any:
    return datetime.fromtimestamp(wall_us / 1e6, UTC).replace(tzinfo=None) + timedelta(hours=8)


def _samples() -> list[tuple[str, dict[str, Any]]]:
    return [(line["kind"], line["payload"]) for line in LINES]


def _position(market: str) -> Any:
    row = {"id": 0, "code": "2330" if market == "S" else "TXFF6", "direction": Word("Buy"), "quantity": 1200 if market == "S" else 2}
    return SimpleNamespace(**(row | {"price": 1.0, "last_price": 1.0, "pnl": 0.0, "yd_quantity": 0, "cond": Word("Cash")}))


def _lot(market: str) -> Any:
    position = _position(market)
    return SimpleNamespace(**(vars(position) | {"date": "2026-05-18", "dseq": "Y1S5N", "fee": 1.0}))


Make = Callable[..., Harness]
"""Takes the faults that are wanted."""

BROKERS: dict[str, type[Simulated] | type[Scripted]] = {"simulator": Simulated, "scripted": Scripted}
