"""The summing task as a process of its own: `python -m kafka_sum_process ADDRESS PREFIX INSTANCE`, until SIGTERM."""

import signal
import sys
import threading

from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.loop import Loop, LoopLimits
from execpos.telemetry import log
from kafka_sum_task import SumTask


def main() -> None:
    """Run until SIGTERM."""
    address, prefix, instance = sys.argv[1:]
    log.configure(json=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    cluster = KafkaCluster(KafkaSettings(address, session_timeout_s=6.0, transaction_timeout_s=3.0), instance)
    task = SumTask((f"{prefix}raw", f"{prefix}intents"), f"{prefix}sums", f"{prefix}lines", tick_every_s=1.0)
    loop = Loop(
        cluster,
        task,
        group_id=f"{prefix}group",
        instance_id=instance,
        transactional_id_prefix=f"{prefix}{instance}.",
        # Small batches: many transactions for a kill to strike.
        limits=LoopLimits(batch=50),
    )
    loop.run(stop)


if __name__ == "__main__":
    main()
