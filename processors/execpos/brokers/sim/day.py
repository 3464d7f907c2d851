"""A simulated trading day as one stream of deliveries: the exchange, and a line that delivers with its faults."""

from collections.abc import Iterator

from execpos.brokers.sim.book import SimBook
from execpos.brokers.sim.config import SimConfig, SimEvent
from execpos.brokers.sim.delivery import Line
from execpos.brokers.sim.exchange import Exchange
from execpos.brokers.sim.truth import SimTruth


class Simulator:
    """One day. Iterate `events` once; `book` and `truth` follow what has been yielded. Not thread-safe; never blocks."""

    def __init__(self, config: SimConfig) -> None:
        """Make the day.

        Raises:
            ConfigError: the configuration makes no day.
        """
        config.check()
        self.config = config
        self.book = SimBook()
        self.truth = SimTruth()
        self._line = Line(config, self.book, self.truth)
        self._exchange = Exchange(config, self._line)
        self.accounts = self._exchange.accounts
        self._stopped = False

    def stop(self) -> None:
        """End the day early: what is under way is still delivered."""
        self._stopped = True

    def events(self) -> Iterator[SimEvent]:
        """Yield what is delivered, in order of delivery and of `at_us`. Once a simulator; what was yielded counts as delivered.

        Raises:
            ConfigError: the day has used all its order numbers.
        """
        line, exchange, end = self._line, self._exchange, self.config.events
        while not self._stopped and (end is None or line.delivered < end):
            exchange.step()
            while line.due(exchange.now_us):
                yield line.take()
        line.release(exchange.working)
        while line.pending():
            yield line.take()
