"""The topics as `contracts/topics.yaml` wants them, and how a cluster differs from that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import yaml

from execpos import resources
from execpos.errors import ContractError, DependencyError
from execpos.kafka.ports import Cluster, TopicDescription

# Topics are looked at and changed one by one; a controller that is slower than this is in trouble.
_TIMEOUT_S = 30.0

# Two copies survive the loss of one broker, and a third lets one be taken down meanwhile.
_WANTED_REPLICAS = 3

_FIELDS = frozenset({"record", "brought_by", "key", "partitions", "written_by", "configs"})


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of the contract; `name` has no prefix, as `exec.raw.v1`. `record` is empty when nothing writes it yet."""

    name: str
    record: str
    key: str
    partitions: int
    account_keyed: bool
    configs: Mapping[str, str]

    def full_name(self, prefix: str) -> str:
        """Return the name in a cluster."""
        return f"{prefix}{self.name}"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Args:
        topic: full name.
        action: create, alter (settings), or conflict: what `apply` refuses to change.
        partitions: how many it has to have.
        replication_factor: how many copies a new one gets, or one that is there has.
        configs: the settings to set, and what they are now ("" when not set).
        reason: of a conflict.
    """

    topic: str
    action: Literal["create", "alter", "conflict"]
    partitions: int
    replication_factor: int
    configs: Mapping[str, tuple[str, str]]
    reason: str = ""


@cache
def contract() -> tuple[Topic, ...]:
    """Return the topics of `contracts/topics.yaml`. Reads one file, once.

    Raises:
        ContractError: the file is not what it has to be; the text names the topic and the key.
    """
    return parse(resources.text("contracts", "topics.yaml"))


def parse(text: str) -> tuple[Topic, ...]:
    """Return the topics that a contract's text describes, see `contract`."""
    found = yaml.safe_load(text)
    if not isinstance(found, dict) or set(found) != {"account_partitions", "topics"}:
        raise ContractError("contracts/topics.yaml: expected the keys account_partitions and topics")
    count = found["account_partitions"]
    if not isinstance(count, int) or count < 1:
        raise ContractError(f"contracts/topics.yaml: account_partitions is {count!r}, expected a whole number above 0")
    return tuple(_topic(name, entry, count) for name, entry in found["topics"].items())


def _topic(name: str, entry: Any, account_partitions: int) -> Topic:
    where = f"contracts/topics.yaml: topic {name}"
    if not isinstance(entry, dict) or not set(entry) <= _FIELDS:
        raise ContractError(f"{where}: unknown keys {sorted(set(entry) - _FIELDS)}", hint=f"allowed are {sorted(_FIELDS)}")
    missing = _FIELDS - {"brought_by"} - set(entry)
    if missing:
        raise ContractError(f"{where}: the keys {sorted(missing)} are missing")
    partitions = entry["partitions"]
    if partitions != "account" and (not isinstance(partitions, int) or partitions < 1):
        raise ContractError(f"{where}: partitions is {partitions!r}, expected `account` or a whole number above 0")
    if (entry["record"] is None) != ("brought_by" in entry):
        raise ContractError(f"{where}: exactly the topics without a record name the component that brings it (brought_by)")
    return Topic(
        name=name,
        record=entry["record"] or "",
        key=entry["key"],
        partitions=account_partitions if partitions == "account" else partitions,
        account_keyed=partitions == "account",
        configs={setting: str(value) for setting, value in entry["configs"].items()},
    )


def plan(cluster: Cluster, prefix: str, replication_factor: int | None = None, topics: Sequence[Topic] | None = None) -> list[Change]:
    """Return what differs between the contract and a cluster, over the topics that have a record. Blocks; changes nothing.

    Args:
        cluster: where to look.
        prefix: before every topic's name.
        replication_factor: copies of a new topic; min(3, brokers) by default. Topics that are there keep theirs.
        topics: instead of the contract's.

    Raises:
        DependencyError: Kafka does not answer, or has fewer brokers than copies are wanted.
    """
    wanted = [topic for topic in (contract() if topics is None else topics) if topic.record]
    brokers = cluster.broker_count(_TIMEOUT_S)
    copies = min(_WANTED_REPLICAS, brokers) if replication_factor is None else replication_factor
    if copies > brokers:
        raise DependencyError(f"{copies} copies are wanted and {brokers} brokers are up", hint="give a smaller --replication-factor")
    there = cluster.describe([topic.full_name(prefix) for topic in wanted], _TIMEOUT_S)
    changes = (_difference(topic, topic.full_name(prefix), there.get(topic.full_name(prefix)), copies) for topic in wanted)
    return [change for change in changes if change is not None]


def _difference(topic: Topic, name: str, there: TopicDescription | None, copies: int) -> Change | None:
    if there is None:
        settings = {**topic.configs, **_durability(copies)}
        return Change(name, "create", topic.partitions, copies, {setting: ("", value) for setting, value in settings.items()})
    if there.partitions != topic.partitions:
        reason = f"it has {there.partitions} partitions, the contract says {topic.partitions}"
        return Change(name, "conflict", topic.partitions, there.replication_factor, {}, reason)
    settings = {**topic.configs, **_durability(there.replication_factor)}
    differing = {
        setting: (there.configs.get(setting, ""), value) for setting, value in settings.items() if there.configs.get(setting) != value
    }
    return Change(name, "alter", topic.partitions, there.replication_factor, differing) if differing else None


def _durability(copies: int) -> dict[str, str]:
    """Return how many copies must have a record before it counts: all but one, at least two of three."""
    return {"min.insync.replicas": str(max(1, copies - 1))}


def apply(cluster: Cluster, changes: Sequence[Change]) -> None:
    """Make the changes, nothing of them if one is a conflict. Blocks until the topics are there. Safe to repeat after a failure.

    Raises:
        ContractError: a topic has another partition count; that is never changed.
        DependencyError: Kafka does not answer.
    """
    conflicts = [change for change in changes if change.action == "conflict"]
    if conflicts:
        raise ContractError(
            "partition counts are fixed for life: " + "; ".join(f"{change.topic}: {change.reason}" for change in conflicts),
            hint="to keep what is there, set account_partitions to its count; to migrate, stop the ledger, apply under a new kafka.prefix "
            "with the new count in contracts/topics.yaml, and replay the raw topic into it",
            topics=[change.topic for change in conflicts],
        )
    for change in changes:
        settings = {setting: value for setting, (_, value) in change.configs.items()}
        if change.action == "create":
            cluster.create(change.topic, change.partitions, change.replication_factor, settings, _TIMEOUT_S)
        else:
            cluster.alter_configs(change.topic, settings, _TIMEOUT_S)
