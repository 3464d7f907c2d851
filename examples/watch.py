"""Prints each change of a position as soon as it is committed, and how long that took since the broker's report.

python examples/watch.py [SECONDS]
"""

import sys
import threading
import time

from execpos import PositionView
from execpos.domain.events import PositionState
from execpos.domain.ids import NET
from execpos.telemetry import log


def main() -> None:
    """Watch for so many seconds, or until interrupted."""
    log.configure("WARNING")
    changes: list[PositionState] = []
    came = threading.Event()

    def note(state: PositionState) -> None:
        # On the view's thread: take it and return.
        changes.append(state)
        came.set()

    with PositionView.open() as view:
        view.wait_ready()
        print(f"{len(view.positions())} positions of {len(view.accounts())} accounts, {len(view.open_orders())} working orders", flush=True)
        view.on_change(note)
        end_s = time.monotonic() + float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")
        while time.monotonic() < end_s:
            came.wait(0.5)
            came.clear()
            while changes:
                state = changes.pop(0)
                if state.strategy_id != NET:
                    continue
                position = view.net(state.account, state.symbol, state.book)
                unrealized = "no price" if position is None or position.unrealized is None else f"{position.unrealized / 1e6:,.0f}"
                late_ms = (time.time_ns() // 1000 - state.last_ingest_ts) / 1000
                print(
                    f"{state.account} {state.symbol:<10} {state.quantity:>8,} unrealized {unrealized:>12} after {late_ms:.1f} ms",
                    flush=True,
                )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
