"""The contract of the topics, and what `plan` and `apply` make of a cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from execpos import resources
from execpos.cli.topics import topics as command
from execpos.errors import ContractError, DependencyError
from execpos.kafka import topics
from execpos.kafka.client import cluster as client_cluster
from execpos.kafka.client.config import BATCH_BYTES
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.cluster import MemoryCluster

WITH_RECORD = {
    "exec.raw.v1": "RawExecEvent",
    "exec.intents.v1": "Intent",
    "exec.orders.v1": "OrderEvent",
    "exec.fills.v1": "FillEvent",
    "exec.deltas.v1": "PositionDelta",
    "exec.positions.v1": "PositionState",
    "exec.progress.v1": "Progress",
    "exec.dead-letters.v1": "DeadLetter",
}


def test_every_record_with_a_schema_has_its_topic() -> None:
    named = {topic.name: topic.record for topic in topics.contract() if topic.record}
    schemas = {
        yaml.safe_load(path.read_text(encoding="utf-8"))["name"]: path for path in sorted(Path(resources.folder("avro")).glob("*.avsc"))
    }

    assert WITH_RECORD.items() <= named.items()
    assert set(named.values()) <= set(schemas)


def test_account_keyed_topics_share_one_partition_count() -> None:
    assert {topic.partitions for topic in topics.contract() if topic.account_keyed} == {12}
    assert all(topic.account_keyed for topic in topics.contract() if topic.name in WITH_RECORD)


def test_a_full_batch_fits_into_every_topic() -> None:
    limits = [int(topic.configs["max.message.bytes"]) for topic in topics.contract() if "max.message.bytes" in topic.configs]

    assert limits
    assert min(limits) > BATCH_BYTES


def test_topics_with_many_records_of_one_key_are_never_compacted() -> None:
    for topic in topics.contract():
        if topic.key == "account" and topic.name != "exec.heartbeats.v1":
            assert topic.configs["cleanup.policy"] == "delete", topic.name


def _edit(change: Callable[[Any], object]) -> str:
    found = yaml.safe_load(resources.text("contracts", "topics.yaml"))
    change(found)
    return yaml.safe_dump(found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["topics"]["exec.raw.v1"].update(retention="30d"), "topic exec.raw.v1: unknown keys ['retention']"),
        (lambda c: c["topics"]["exec.raw.v1"].pop("configs"), "topic exec.raw.v1: the keys ['configs'] are missing"),
        (lambda c: c["topics"]["exec.raw.v1"].update(partitions="many"), "topic exec.raw.v1: partitions is 'many'"),
        (lambda c: c["topics"]["exec.raw.v1"].update(record=None), "topic exec.raw.v1: exactly the topics without a record"),
        (lambda c: c.update(account_partitions=0), "account_partitions is 0"),
        (lambda c: c.pop("topics"), "expected the keys account_partitions and topics"),
    ],
)
def test_a_contract_with_a_mistake_is_refused_by_name(change: Callable[[Any], object], says: str) -> None:
    with pytest.raises(ContractError) as caught:
        topics.parse(_edit(change))

    assert says in caught.value.what


def test_apply_creates_what_has_a_record_and_then_there_is_nothing_to_do() -> None:
    cluster = MemoryCluster(MemoryBroker())
    changes = topics.plan(cluster, "p.")
    topics.apply(cluster, changes)

    assert {change.topic for change in changes} == {f"p.{topic.name}" for topic in topics.contract() if topic.record}
    assert {change.action for change in changes} == {"create"}
    assert topics.plan(cluster, "p.") == []
    described = cluster.describe(["p.exec.positions.v1"], 1.0)["p.exec.positions.v1"]
    assert (described.partitions, described.configs["cleanup.policy"]) == (12, "compact")


def test_apply_sets_a_setting_that_differs_and_leaves_others() -> None:
    cluster = MemoryCluster(MemoryBroker())
    topics.apply(cluster, topics.plan(cluster, ""))
    cluster.alter_configs("exec.raw.v1", {"retention.ms": "1000", "flush.ms": "7"}, 1.0)
    changes = topics.plan(cluster, "")
    topics.apply(cluster, changes)

    assert [(change.topic, change.action, dict(change.configs)) for change in changes] == [
        ("exec.raw.v1", "alter", {"retention.ms": ("1000", "2592000000")})
    ]
    assert cluster.describe(["exec.raw.v1"], 1.0)["exec.raw.v1"].configs["flush.ms"] == "7"
    assert topics.plan(cluster, "") == []


def test_another_partition_count_is_refused_and_nothing_is_changed() -> None:
    broker = MemoryBroker()
    broker.create("exec.fills.v1", 6)
    cluster = MemoryCluster(broker)
    changes = topics.plan(cluster, "")
    with pytest.raises(ContractError, match=r"exec\.fills\.v1: it has 6 partitions, the contract says 12") as caught:
        topics.apply(cluster, changes)

    assert "migrate" in caught.value.hint
    assert list(broker.topics) == ["exec.fills.v1"]


def test_more_copies_than_brokers_are_refused() -> None:
    with pytest.raises(DependencyError, match="3 copies are wanted and 1 brokers are up"):
        topics.plan(MemoryCluster(MemoryBroker()), "", 3)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs `execpos topics` against one twin."""
    cluster = MemoryCluster(MemoryBroker())
    monkeypatch.setattr(client_cluster, "KafkaCluster", lambda *_: cluster)

    def call(*arguments: str, answer: str = "") -> Result:
        return CliRunner().invoke(command, arguments, input=answer)

    return call


def test_plan_exits_6_when_something_would_change_and_0_when_not(run: Callable[..., Result]) -> None:
    assert run("plan").exit_code == 6
    assert run("apply", "--dry-run").exit_code == 6
    assert run("plan").exit_code == 6
    assert run("apply", "--yes").exit_code == 0
    assert run("plan").exit_code == 0
    assert run("apply", "--dry-run").exit_code == 0


def test_the_json_of_a_plan_names_every_change(run: Callable[..., Result]) -> None:
    found = yaml.safe_load(run("plan", "--json", "--prefix", "x.").stdout)

    assert found["prefix"] == "x."
    raw = next(change for change in found["changes"] if change["topic"] == "x.exec.raw.v1")
    assert raw["action"] == "create"
    assert raw["configs"]["retention.ms"] == {"from": None, "to": "2592000000"}
    assert sorted(raw) == ["action", "configs", "partitions", "reason", "replication_factor", "topic"]


def test_apply_asks_and_a_no_changes_nothing(run: Callable[..., Result]) -> None:
    assert run("apply", answer="n\n").exit_code == 1
    assert run("plan").exit_code == 6
    assert run("apply", answer="y\n").exit_code == 0
    assert run("plan").exit_code == 0
