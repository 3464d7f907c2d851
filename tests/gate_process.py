"""A RiskGate that is asked the same question all the time, and prints each answer that differs from the one before.

`python gate_process.py ACCOUNT SYMBOL BOOK [BOOTSTRAP_SERVERS]`; the rest of the installation comes from the environment.
"""

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
    view.start()
    while True:
        decision = gate.check(account, "alpha", symbol, book, "BUY", 1, 0)
        answer = "allowed" if decision.allowed else " ".join(decision.reasons)
        if answer != last:
            last = answer
            sys.stdout.write(answer + "\n")
            sys.stdout.flush()
        time.sleep(0.02)


if __name__ == "__main__":
    main()
