"""A venue with one client and a clock moved by hand."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from execpos.brokers.sim.api import SimApi
from execpos.brokers.sim.link import LocalLink
from execpos.brokers.sim.objects import Account
from execpos.brokers.sim.scenario import parse
from execpos.brokers.sim.venue import Venue

DAY = [{"start": "2026-05-21T09:00", "events": 1200}]


class Clock:
    def __init__(self) -> None:
        self.us = 1_000_000_000

    def __call__(self) -> int:
        return self.us

    def pass_s(self, seconds: float) -> None:
        self.us += int(seconds * 1_000_000)


class Stage:
    """One scenario, unpaced unless it says otherwise, and what one client has heard of it."""

    def __init__(self, **fields: Any) -> None:
        self.scenario = parse({"seed": 3, "rate": 1000, "pace": 0, "sessions": DAY} | fields, lambda path: f"scenario.yaml {path}")
        self.clock = Clock()
        self.slept: list[float] = []
        self.venue = Venue(self.scenario, clock=self.clock, sleep=self.slept.append, now_us=1_779_327_000_000_000)
        self.link = LocalLink(self.venue)
        self.api = SimApi(self.link)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.events: list[tuple[int, int, str, str]] = []
        # Event codes, and how many reports had been heard by then.
        self.heard_at: list[tuple[int, int]] = []
        self.downs = 0
        self.intents: list[Any] = []

    def login(self, *, subscribe: bool = True) -> "Stage":
        self.api.set_event_callback(self._event)
        self.api.sim_set_intent_callback(self.intents.append)
        self.api.login("key", "secret", subscribe_trade=False)
        self.api.set_order_callback(lambda state, event: self.heard.append((state.value, plain(event))))
        self.api.set_session_down_callback(self._down)
        if subscribe:
            self.subscribe()
        return self

    def _event(self, *event: Any) -> None:
        self.events.append(event)
        self.heard_at.append((event[1], len(self.heard)))

    def _down(self) -> None:
        self.downs += 1

    def subscribe(self) -> None:
        for account in self.api.list_accounts():
            self.api.subscribe_trade(account)

    def step(self, count: int = 1) -> None:
        """Take single steps of the venue, then wait until the client has heard all of it."""
        for _ in range(count):
            self.venue.step(1)
        assert self.link.settle()

    def until(self, condition: Callable[[], object], most: int = 20_000) -> None:
        for _ in range(most):
            if condition():
                return
            self.step()
        raise AssertionError("the condition has not come about")

    def play(self) -> "Stage":
        """Go on to the end."""
        for _ in range(20_000):
            if self.venue.finished:
                break
            self.venue.step()
        assert self.venue.finished
        assert self.link.settle()
        return self

    def deals(self) -> list[dict[str, Any]]:
        return [payload for state, payload in self.heard if state.endswith("DEAL")]

    def receipts(self) -> list[str]:
        return [payload["event_id"] for _, payload in self.heard]

    def faults(self, *kinds: str) -> list[dict[str, Any]]:
        return [fault for fault in self.venue.truth()["faults"] if fault["kind"] in kinds]

    def account(self, market: str = "S", number: int = 0) -> Account:
        return [account for account in self.api.list_accounts() if account.account_type.value == market][number]

    def held(self, account: Account) -> dict[tuple[str, str], int]:
        """Return what the truth says is held, by symbol and book."""
        held: dict[tuple[str, str], int] = {}
        for fill in self.venue.truth()["fills"]:
            if fill["account"].endswith(f"|{account.account_id}") and not fill["busted"]:
                key = (fill["symbol"], fill["book"])
                held[key] = held.get(key, 0) + fill["side"] * fill["units"]
        return {key: units for key, units in held.items() if units}

    def answered(self, account: Account, unit: str = "Share") -> dict[tuple[str, str], int]:
        """Return what the broker says is held, long and short rows summed."""
        books = {"Cash": "cash", "MarginTrading": "margin", "ShortSelling": "short"}
        held: dict[tuple[str, str], int] = {}
        for row in self.api.list_positions(account, unit=unit):
            key = (row.code, books[row.cond.value] if "cond" in row else "derivative")
            held[key] = held.get(key, 0) + row.quantity * (1 if row.direction == "Buy" else -1)
        return held


def plain(value: Any) -> Any:
    """Return a report as dicts, part by part."""
    return {key: plain(part) for key, part in value.items()} if hasattr(value, "items") else value


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    """Return a maker of stages; all of them are closed in the end."""
    made: list[Stage] = []

    def make(**fields: Any) -> Stage:
        made.append(Stage(**fields))
        return made[-1]

    yield make
    for each in made:
        each.api.sim_close()
        each.venue.stop()
