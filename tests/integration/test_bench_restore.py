"""The restore bench: what it writes is what a ledger leaves behind, so a ledger proves it and goes on from it."""

import os
from pathlib import Path

import pytest

from execpos.bench import restore
from execpos.bench.stack import Bench, schemas
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.topics import apply, plan
from execpos.local.stack import Stack

pytestmark = pytest.mark.stack

FILLS = 1_500


def test_a_small_window_is_written_restored_and_counted(stack: Stack, tmp_path: Path) -> None:
    prefix = f"restore-{os.getpid()}."
    cluster = KafkaCluster(KafkaSettings(stack.kafka.bootstrap_servers), "tests")
    apply(cluster, plan(cluster, prefix))
    bench = Bench(stack.kafka.bootstrap_servers, stack.registry.url, cluster, schemas(stack.registry.url), tmp_path)
    records = restore.fill(bench, 300, FILLS, 1, prefix)
    found = restore.measure(bench.bootstrap_servers, bench.registry_url, prefix)

    assert found["fills"] == records["exec.fills"] == FILLS
    assert records["exec.positions"] == 2 * FILLS
    assert 200 <= found["positions"] <= 400
    assert found["orders"] == found["claims"] > 0
    assert found["seconds"] >= found["phases"]["committed_read"] > 0
    assert found["rss_mb"] > 0
