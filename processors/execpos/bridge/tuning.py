"""Settings of the interpreter that a bridge process makes once, before it takes reports: they bound how long the broker's thread waits."""

import gc
import sys
from typing import Final

# A thread that computes is asked to let another one in after this long. With Python's default of 5 ms, a report that comes while the drain
# thread works waits that long before its handler even begins. Much less would let threads change places in the middle of every report.
SWITCH_INTERVAL_S: Final = 0.0002

# A collection of the youngest objects looks at so many of them: rarer than by default, because what the bridge makes has no cycles.
_GC_YOUNG: Final = 50_000


def tune() -> None:
    """Tune this process for short waits of the broker's threads. Call it once, when everything is imported; figures are in ADR 0009."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    # What is there now stays: no later collection looks at it.
    gc.freeze()
    gc.set_threshold(_GC_YOUNG, 50, 1000)
