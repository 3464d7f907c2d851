"""A ledger process that kills itself at a step of its loop: `dying_ledger.py INSTANCE STEP PASSES`."""

import os
import signal
import sys
import threading

from execpos import settings
from execpos.cli import connect
from execpos.kafka.loop import LoopLimits
from execpos.ledger import service


def main(instance: str, step: str, passes: int) -> None:
    """Run until the step has been reached `passes` times, then die as kill -9 does."""
    loaded = settings.load(None)
    left = passes

    def fault(reached: str) -> None:
        nonlocal left
        if reached == step:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    options = service.LedgerOptions(env=loaded.env, prefix=loaded.kafka.prefix, instance=instance, limits=LoopLimits(batch=200))
    service.run(options, connect.cluster(loaded, instance), loaded.rules(), connect.schemas(loaded), threading.Event(), fault)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
