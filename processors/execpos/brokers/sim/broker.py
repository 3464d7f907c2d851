"""The simulator behind the broker's seam: its day, delivered in real time or as fast as it is taken."""

import time
from collections.abc import Callable, Sequence

from execpos.brokers.feed import Feed
from execpos.brokers.protocol import BrokerAccount, OrderCallback
from execpos.brokers.sim.config import SDK_VERSION, SimIntent
from execpos.brokers.sim.day import Simulator


class SimBroker(Feed):
    """Delivers a simulated day. The simulator belongs to its thread from `start` until it has finished or was stopped.

    Args:
        simulator: the day; not iterated before.
        on_intent: takes what the robot's strategies write down; called on the same thread as the callback, in order with it.
        paced: deliver in real time, as `SimConfig.step_us` says, or as fast as the callback returns.
    """

    env = "simulation"
    sdk_version = SDK_VERSION

    def __init__(self, simulator: Simulator, on_intent: Callable[[SimIntent], None], *, paced: bool) -> None:
        super().__init__("simulator")
        self._simulator = simulator
        self._on_intent = on_intent
        self._paced = paced

    def accounts(self) -> Sequence[BrokerAccount]:
        return [BrokerAccount(account.market, account.broker_id, account.account_id) for account in self._simulator.accounts]

    def _deliver(self, callback: OrderCallback) -> None:
        began_s = time.monotonic()
        start_us = self._simulator.config.start_us
        for event in self._simulator.events():
            if self._stopping.is_set():
                # What is under way still comes, unpaced, so that book and truth are those of everything delivered.
                self._simulator.stop()
            elif self._paced:
                early_s = began_s + (event.at_us - start_us) / 1_000_000 - time.monotonic()
                if early_s > 0:
                    self._stopping.wait(early_s)
            if event.intent is not None:
                self._on_intent(event.intent)
            else:
                callback(event.state, event.payload)
