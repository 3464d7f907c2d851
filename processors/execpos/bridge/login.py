"""The steps of a login, each until it is done."""

import threading
from collections.abc import Callable

from execpos.brokers.protocol import BrokerError

# A step that failed is tried again after 1, 2, 4 … seconds, and at the latest after these: each login counts against the day's.
_RETRY_MAX_S = 60.0

# Asked again, it would be refused again.
_FINAL = frozenset({"refused", "unsupported"})


def insist(
    name: str,
    step: Callable[[], None],
    stopping: threading.Event,
    complain: Callable[[str, Exception], None],
    suspended_s: Callable[[BrokerError], float],
) -> bool:
    """Take a step until it is done; False when `stopping` is set before. Blocks.

    Args:
        name: of the step.
        step: may raise anything.
        stopping: ends the waiting.
        complain: told what a try raised.
        suspended_s: how long the broker must not be asked after an error.

    Raises:
        BrokerError: `refused` or `unsupported`.
    """
    failures = 0
    while not stopping.is_set():
        wait_s = 0.0
        try:
            step()
        except BrokerError as error:
            if error.kind in _FINAL:
                raise
            complain(name, error)
            wait_s = suspended_s(error)
        except Exception as error:  # noqa: BLE001 (whatever the broker's library raises, the next try may do better)
            complain(name, error)
        else:
            return True
        stopping.wait(max(wait_s, min(_RETRY_MAX_S, 2.0 ** min(failures, 10))))
        failures += 1
    return False
