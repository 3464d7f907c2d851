"""One of several ledgers that work off a backlog together.

`python -m execpos.bench.scale_child BOOTSTRAP REGISTRY INSTANCE`: it says `ready`, joins the group when a line comes, works until its
standard input ends, and prints one object. Times are of the system's monotonic clock, which all processes share.
"""

import sys
import threading

import orjson

from execpos import settings
from execpos.bench.ledger_child import BATCH, CountingTask
from execpos.bench.memory import peak_rss_mb
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.loop import LoopLimits
from execpos.ledger import service
from execpos.telemetry import log


def main(bootstrap_servers: str, registry_url: str, instance: str) -> None:
    """Run and print `{records, began_s, ended_s, cpu_s, rss_mb}`."""
    from execpos.bench.stack import schemas  # noqa: PLC0415 (it imports the servers' side)

    log.configure("WARNING")
    stop = threading.Event()

    def reached(step: str) -> None:
        if step == "producers_ready":
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            sys.stdin.readline()
            threading.Thread(target=wait_for_end, daemon=True).start()

    def wait_for_end() -> None:
        sys.stdin.read()
        stop.set()

    cluster = KafkaCluster(KafkaSettings(bootstrap_servers), f"bench-{instance}")
    options = service.LedgerOptions(env="simulation", prefix="", instance=instance, limits=LoopLimits(batch=BATCH))
    task = service.run(options, cluster, settings.load(None).rules(), schemas(registry_url), stop, reached, CountingTask)
    assert isinstance(task, CountingTask)  # noqa: S101 (for the type checker)
    report = {
        "records": task.applied,
        "began_s": task.began_s,
        "ended_s": task.ended_s,
        "cpu_s": round(task.cpu_s, 3),
        "rss_mb": peak_rss_mb(),
    }
    sys.stdout.buffer.write(orjson.dumps(report) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
