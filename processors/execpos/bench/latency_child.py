"""A strategy's process for the latency bench: a PositionView that notes how old each NET position is when it arrives.

`python -m execpos.bench.latency_child`, with the installation in the environment: it says `ready`, begins to note when a line comes, and
prints its figures when its standard input ends.
"""

import sys
import time
from array import array

import orjson

from execpos.client.link import Link
from execpos.client.view import PositionView
from execpos.domain.events import PositionState
from execpos.domain.ids import NET
from execpos.ledger.service import freeze
from execpos.telemetry import log

_READY_S = 60.0


def main() -> None:
    """Watch, and print the list of delays in µs, from the bridge's handler to here."""
    log.configure("WARNING")
    delays_us = array("q")

    def changed(state: PositionState) -> None:
        # NET only, so that a fill counts once and not once more for its strategy's row.
        if state.strategy_id == NET:
            delays_us.append(time.time_ns() // 1000 - state.last_ingest_ts)

    with PositionView(Link.open(None, "bench-view")) as view:
        view.wait_ready(_READY_S)
        view.on_change(changed)
        freeze()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        first = len(delays_us)
        sys.stdin.read()
        found = delays_us[first:]
    sys.stdout.buffer.write(orjson.dumps(found.tolist()) + b"\n")


if __name__ == "__main__":
    main()
