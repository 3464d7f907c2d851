"""What every bench stands on: a fresh embedded Kafka and registry with the topics of the contract, and what they ran on."""

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from execpos import __version__
from execpos.codecs.registry import Registry, Schemas
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.topics import apply, plan
from execpos.local.stack import Stack


class Bench(NamedTuple):
    """A fresh installation; `folder` is for what else a measurement needs on disk."""

    bootstrap_servers: str
    registry_url: str
    cluster: KafkaCluster
    schemas: Schemas
    folder: Path


def schemas(registry_url: str) -> Schemas:
    """Register our schemas, if they are not yet, and return what the registry says of them."""
    registry = Registry(registry_url)
    try:
        registry.register("")
        return registry.schemas("")
    finally:
        registry.close()


@contextmanager
def bench_stack() -> Iterator[Bench]:
    """Yield a fresh stack without ClickHouse; its data is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="execpos-bench-") as folder, Stack(Path(folder), clickhouse=False) as stack:
        cluster = KafkaCluster(KafkaSettings(stack.kafka.bootstrap_servers), "bench")
        apply(cluster, plan(cluster, ""))
        yield Bench(stack.kafka.bootstrap_servers, stack.registry.url, cluster, schemas(stack.registry.url), Path(folder))


def conditions(workload: str, **more: Any) -> dict[str, Any]:
    """Return what was measured on, for the record: program, machine, workload, durability."""
    return {
        "execpos": __version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "workload": workload,
        "kafka": "1 broker 4.4.0, replication 1, acks all, no fsync per request",
        "codec": "registry Avro",
        **more,
    }
