"""A ledger that prints how its start went, and ends.

`python -m execpos.bench.restore_child BOOTSTRAP REGISTRY INSTANCE BEGAN PREFIX`; BEGAN: the wall clock, in s, before this process began.
"""

import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import orjson

from execpos import settings
from execpos.bench.memory import peak_rss_mb
from execpos.codecs.registry import Registry
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.ports import RestoreContext
from execpos.ledger import service
from execpos.ledger.task import LedgerTask
from execpos.telemetry import log


class _Counted(LedgerTask):
    """A ledger's task that counts what it has restored."""

    found: dict[str, int]

    def restore(self, partitions: Sequence[int], context: RestoreContext) -> None:
        super().restore(partitions, context)
        accounts: list[Any] = [account for state in self.states.values() for account in state.pipeline.accounts.values()]
        self.found = {
            "positions": sum(len(account.book.rows) for account in accounts),
            "fills": sum(len(account.fills) for account in accounts),
            "orders": sum(len(account.orders) for account in accounts),
            "claims": sum(len(account.claims) for account in accounts),
        }


def main(bootstrap_servers: str, registry_url: str, instance: str, began_s: float, prefix: str) -> None:
    """Start, restore, stop, and print `{positions, fills, orders, seconds, cpu_s, rss_mb, phases}`."""
    log.configure("WARNING")
    stop = threading.Event()
    phases: dict[str, float] = {"imported": round(time.time() - began_s, 3)}
    ready_cpu_s = 0.0

    def reached(step: str) -> None:
        nonlocal ready_cpu_s
        if step in {"producers_ready", "assigned", "committed_read", "restored", "resumed"}:
            phases[step] = round(time.time() - began_s, 3)
        if step == "resumed":
            ready_cpu_s = time.process_time()
            stop.set()

    cluster = KafkaCluster(KafkaSettings(bootstrap_servers), "bench-ledger")
    options = service.LedgerOptions(env="simulation", prefix=prefix, instance=instance)
    task = service.run(options, cluster, settings.load(None).rules(), Registry(registry_url).schemas(""), stop, reached, make=_Counted)
    assert isinstance(task, _Counted)  # noqa: S101 (for the type checker)
    report = {
        **task.found,
        "seconds": phases["resumed"],
        "cpu_s": round(ready_cpu_s, 3),
        "rss_mb": peak_rss_mb(),
        "phases": phases,
    }
    sys.stdout.buffer.write(orjson.dumps(report) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), sys.argv[5])
