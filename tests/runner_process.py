"""A StrategyRunner with two strategies that book their fills into SQLite, until it is told to stop or killed.

`python runner_process.py DATABASE STRATEGY…`; the installation comes from the environment.
"""

import signal
import sys
import threading
from pathlib import Path

from execpos import StrategyRunner
from execpos.client.cursor import SqliteStore
from execpos.client.link import Link
from execpos.client.strategy import Delivery, Strategy
from execpos.domain.events import FillEvent


class Booking(Strategy):
    """Writes down each delivery; nothing keeps it from writing one twice but the runner's promise."""

    def __init__(self, strategy_id: str, store: SqliteStore) -> None:
        super().__init__(strategy_id)
        self._store = store

    def on_fill(self, fill: FillEvent, delivery: Delivery) -> None:
        self._store.connection.execute(
            "INSERT INTO fills VALUES (?, ?, ?, ?, ?, ?)",
            (self.strategy_id, fill.fill_id, fill.revision, delivery.partition, delivery.offset, delivery.withdrawn),
        )


def main() -> None:
    store = SqliteStore(Path(sys.argv[1]))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    StrategyRunner(Link.open(), [Booking(name, store) for name in sys.argv[2:]], store, first="begin").run(stop)


if __name__ == "__main__":
    main()
