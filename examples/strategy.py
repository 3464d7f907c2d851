"""A strategy that keeps its own book of its fills, exactly once, and says when it must not act.

    python examples/strategy.py momentum-1

Stop it, kill it, start it again: fills.db never misses a fill and never has one twice.
"""

import signal
import sys
import threading
from pathlib import Path

from execpos import PositionView, StrategyRunner
from execpos.client.cursor import SqliteStore
from execpos.client.freshness import Freshness
from execpos.client.link import Link
from execpos.client.strategy import Delivery, Strategy
from execpos.client.trading import Trading
from execpos.domain.events import FillEvent, PositionState
from execpos.domain.money import text
from execpos.telemetry import log


class Book(Strategy):
    """One row a fill: what it is now. The newest revision replaces the ones before."""

    def __init__(self, strategy_id: str, store: SqliteStore) -> None:
        super().__init__(strategy_id)
        self.store = store

    def on_fill(self, fill: FillEvent, delivery: Delivery) -> None:
        """Book it with the store's own connection: the row and the place in the stream are committed together."""
        database = self.store.connection
        database.execute("CREATE TABLE IF NOT EXISTS fills (id TEXT PRIMARY KEY, symbol TEXT, signed INTEGER, price TEXT)")
        database.execute("DELETE FROM fills WHERE id = ?", (fill.fill_id,))
        if not delivery.withdrawn and not fill.voided:
            signed = fill.quantity if fill.side == "BUY" else -fill.quantity
            database.execute("INSERT INTO fills VALUES (?, ?, ?, ?)", (fill.fill_id, fill.symbol, signed, text(fill.price)))
        print(
            f"{'taken back' if delivery.withdrawn else fill.side:<10} {fill.quantity:>8,} {fill.symbol:<10} at {text(fill.price)}",
            flush=True,
        )

    def on_position(self, position: PositionState) -> None:
        """Show where the ledger stands."""
        print(f"{'position':<10} {position.quantity:>8,} {position.symbol:<10} {position.quality}", flush=True)

    def on_stale(self, account: str, freshness: Freshness) -> None:
        """Stop quoting while the numbers are old."""
        print(f"{account} is {'fresh' if freshness.fresh else freshness.reason}", flush=True)

    def on_halt(self, account: str, trading: Trading) -> None:
        """Stop ordering while somebody forbids it, or nobody has said that it is allowed."""
        print(f"{account} is {trading.state} {trading.unheard}", flush=True)


def main() -> None:
    """Run until interrupted."""
    log.configure("WARNING")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    link, store = Link.open(), SqliteStore(Path("fills.db"))
    with PositionView(link) as view:
        StrategyRunner(link, [Book(name, store) for name in sys.argv[1:] or ["alpha"]], store, view, first="begin").run(stop)


if __name__ == "__main__":
    main()
