"""The ledger as the benches run it, in a process of its own: it counts, times itself, and prints one object when it has seen enough.

`python -m execpos.bench.ledger_child BOOTSTRAP REGISTRY RECORDS`: run until RECORDS input records are committed. Times begin with the first
batch, after start and restore, and end with the last commit.
"""

import sys
import time
from collections.abc import Sequence
from typing import Any

import orjson

from execpos import settings
from execpos.bench.memory import peak_rss_mb
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.loop import Loop, LoopLimits
from execpos.kafka.ports import Message, Output
from execpos.ledger import service
from execpos.ledger.task import LedgerTask
from execpos.telemetry import log

# Records of one transaction when there is a backlog.
BATCH = 5_000


class CountingTask(LedgerTask):
    """A ledger's task that notes when it began and how far it is."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.began_s = self.ended_s = self.cpu_s = 0.0
        self.applied = 0
        self._open = 0
        self._cpu_began_s = 0.0

    def process(self, batch: Sequence[Message], out: Output) -> None:
        if not self.began_s:
            self.began_s, self._cpu_began_s = time.monotonic(), time.process_time()
        self._open = len(batch)
        super().process(batch, out)

    def committed(self) -> None:
        super().committed()
        self.applied += self._open
        self._open = 0
        self.ended_s = time.monotonic()
        # Of all threads: the client library works on its own ones.
        self.cpu_s = time.process_time() - self._cpu_began_s

    def rolled_back(self) -> None:
        super().rolled_back()
        self._open = 0


class _Enough:
    """The loop's stop: set when the records are through."""

    def __init__(self, task: CountingTask, records: int) -> None:
        self._task, self._records = task, records

    def is_set(self) -> bool:
        return self._task.applied >= self._records


def main(bootstrap_servers: str, registry_url: str, records: int) -> None:
    """Run and print `{events, seconds, events_per_s, cpu_s, rss_mb, counts}`."""
    from execpos.bench.stack import schemas  # noqa: PLC0415 (it imports the servers' side)

    # Standard output is for the report.
    log.configure("WARNING")
    cluster = KafkaCluster(KafkaSettings(bootstrap_servers), "bench-ledger")
    options = service.LedgerOptions(env="simulation", prefix="", instance="bench", limits=LoopLimits(batch=BATCH))
    task = service.ledger_task(options, cluster, settings.load(None).rules(), schemas(registry_url), CountingTask)
    assert isinstance(task, CountingTask)  # noqa: S101 (for the type checker)
    loop = Loop(
        cluster,
        task,
        group_id=options.group_id,
        instance_id=f"{options.group_id}.bench",
        transactional_id_prefix=f"{options.group_id}.bench.",
        limits=options.limits,
    )
    service.freeze()
    loop.run(_Enough(task, records))
    seconds = task.ended_s - task.began_s
    report = {
        "events": task.applied,
        "seconds": round(seconds, 3),
        "events_per_s": round(task.applied / seconds),
        "cpu_s": round(task.cpu_s, 3),
        "rss_mb": peak_rss_mb(),
        "counts": dict(task.counts),
    }
    sys.stdout.buffer.write(orjson.dumps(report) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
