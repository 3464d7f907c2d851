"""A RiskGate that is asked the same question all the time, and prints each answer that differs from the one before.

`python gate_process.py ACCOUNT SYMBOL BOOK [BOOTSTRAP_SERVERS]`; the rest of the installation comes from the environment. With GATE_TIMES
in it, each answer stands behind the moment at which it was given, µs UTC.
"""

import os
import sys
import time

import msgspec

from execpos import PositionView, RiskGate
from execpos.client.limits import Limits
from execpos.client.link import Link
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.telemetry import log


def main() -> None:
    log.configure(json=True)
    account, symbol, book, *elsewhere = sys.argv[1:]
    link = Link.open()
    if elsewhere:
        link = msgspec.structs.replace(link, cluster=KafkaCluster(KafkaSettings(elsewhere[0]), "gate"))
    view = PositionView(link)
    gate = RiskGate(view, Limits(net_quantity=10_000_000))
    last = None
    timed = "GATE_TIMES" in os.environ
    view.start()
    while True:
        decision = gate.check(account, "alpha", symbol, book, "BUY", 1, 0)
        answer = "allowed" if decision.allowed else " ".join(decision.reasons)
        if answer != last:
            last = answer
            sys.stdout.write(f"{time.time_ns() // 1000} {answer}\n" if timed else answer + "\n")
            sys.stdout.flush()
        # Short against the 100 ms in which a denial has to come, and long enough to leave the machine to others.
        time.sleep(0.002)


if __name__ == "__main__":
    main()
