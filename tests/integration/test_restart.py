"""Bridge, ledger and reconciler killed at one moment, with callbacks in the bridge's memory alone, and started again in place."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from execpos.bench.restart import Scene
from execpos.bench.restart_parts import Size
from execpos.bench.stack import Bench
from execpos.codecs.registry import Registry
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.topics import apply, plan
from execpos.local.stack import Stack

pytestmark = pytest.mark.stack

SIZE = Size(accounts=2, symbols=5, fills=300, days=2, rate=20.0)
CALLS_MAX = 20


@pytest.fixture
def scene(stack: Stack, tmp_path: Path) -> Iterator[Scene]:
    prefix = f"restart-{os.getpid()}."
    cluster = KafkaCluster(KafkaSettings(stack.kafka.bootstrap_servers), "tests")
    apply(cluster, plan(cluster, prefix))
    registry = Registry(stack.registry.url)
    registry.register(prefix)
    bench = Bench(stack.kafka.bootstrap_servers, stack.registry.url, cluster, registry.schemas(prefix), tmp_path)
    registry.close()
    found = Scene(bench, SIZE, prefix, quiet_us=0)
    try:
        yield found
    finally:
        found.close()


def test_killed_together_every_account_is_active_again_behind_an_equal_round_and_no_fill_is_lost_or_doubled(scene: Scene) -> None:
    scene.fill()

    # Averages depend on the order of fills, and equal rounds are what is asked for here.
    found = scene.restart(rest=True)

    accounts = set(scene.watch.heartbeats)
    equal = {one.account: one for one in scene.watch.rounds if one.verdict == "EQUAL"}
    assert len(accounts) == SIZE.accounts
    assert set(equal) == accounts
    assert {scene.watch.controls[account].state for account in accounts} == {"ACTIVE"}
    assert found["lost_in_memory"] >= 5
    assert 0 < found["keys_compared"] <= SIZE.accounts * SIZE.symbols
    # Two reads of each account are the least that a round makes.
    assert 2 * SIZE.accounts <= found["broker_calls"]
    assert found["calls_in_5_s"] <= CALLS_MAX

    after = scene.verdict()
    # What lay in memory is in no callback of exec.raw, and everything of it came by asking.
    assert after["lost_in_memory"] >= 5
    assert after["lost_for_good"] == 0
    assert after["fills"] == after["fills_in_book"] > SIZE.fills
    assert after["fills_doubled"] == 0
    assert after["differences"] == []
    assert after["calls_in_5_s"] <= CALLS_MAX
    assert after["verdict"] == "consistent"
