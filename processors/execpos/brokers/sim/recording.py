"""A scenario written down instead of served: what one client would have been called back with, as fast as it can be made."""

from collections.abc import Callable
from typing import Any

from execpos.brokers.sim.config import SimEvent
from execpos.brokers.sim.market import Instrument
from execpos.brokers.sim.play import Play, account_of
from execpos.brokers.sim.scenario import Scenario


class Recording:
    """One client of a scenario who is always there. While the link is down he hears nothing; a lost session he has at once anew.

    Args:
        scenario: checked; its last session has an end.
        callback: takes kind, payload, µs of simulated time, and the names of the faults that this callback shows.
        now_us: what `now` means in the scenario.
    """

    def __init__(self, scenario: Scenario, callback: Callable[[str, dict[str, Any], int, list[str]], None], now_us: int) -> None:
        self._callback = callback
        self._link_up = True
        self._seen = 0
        self.play = Play(scenario, self, now_us)

    def run(self) -> None:
        """Play the scenario to its end. Once.

        Raises:
            ConfigError: the day has used all its order numbers.
        """
        while self.play.run(steps=1000):
            pass

    def event(self, event: SimEvent) -> None:
        if event.intent is not None:
            return
        if not self._link_up:
            self.play.lost(event, account_of(event))
            return
        faults = self.play.truth.faults
        receipt = event.payload["event_id"]
        named = [fault.kind for fault in faults[self._seen :] if fault.event_id == receipt]
        self._seen = len(faults)
        self._callback(event.state, event.payload, event.at_us, named)

    def tick(self, instrument: Instrument, at_us: int) -> None:
        """Prices are not recorded."""

    def link(self, kind: str, *, begins: bool) -> None:
        if kind == "disconnect":
            self._link_up = not begins
