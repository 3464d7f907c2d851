"""Puts the reconciler together: task, loop, watch of exec.control; and runs it until it is told to stop.

Several instances share the accounts by partition, as ledgers do; one whose partitions are all taken is a hot spare. What one knows, the
next one restores from the topics, and it compares every account anew.
"""

import time
from collections.abc import Callable

import msgspec
from confluent_kafka import KafkaException

from execpos.codecs.registry import Schemas
from execpos.domain.reconciliation import reconcile
from execpos.domain.reconciliation.pace import Pace
from execpos.domain.reconciliation.state import Rules
from execpos.errors import DependencyError
from execpos.kafka.errors import KafkaFailure
from execpos.kafka.loop import Loop, LoopLimits, Stop
from execpos.kafka.ports import Cluster, Fault, no_fault
from execpos.reconciler.controls import Since, Watch
from execpos.reconciler.held import Decoders
from execpos.reconciler.outputs import RECORDS, Names, Writer
from execpos.reconciler.restore import Restorer
from execpos.reconciler.task import Mind, ReconcilerTask
from execpos.telemetry.log import Logger

_log = Logger("reconciler")

# How long to wait for one answer about the topics at the start.
_METADATA_S = 30.0


class ReconcilerOptions(msgspec.Struct, frozen=True):
    """What one reconciler process needs to know.

    Attributes:
        env: production, simulation or replay; part of the group's and the transactions' names.
        prefix: stands before every topic, group and transactional id.
        instance: name of this process, the same after a restart, another one for each process.
        limits: sizes and times of the loop.
    """

    env: str
    prefix: str
    instance: str
    limits: LoopLimits = LoopLimits()

    @property
    def group_id(self) -> str:
        """The consumer group, shared by all instances."""
        return f"{self.prefix}{self.env}.reconciler"

    @property
    def member(self) -> str:
        """The static name in the group; the transactional ids begin with it."""
        return f"{self.group_id}.{self.instance}"


def _clock_us() -> int:
    return time.time_ns() // 1000


def reconciler_task(
    options: ReconcilerOptions,
    cluster: Cluster,
    rules: Rules,
    pace: Pace,
    schemas: Schemas,
    since: Since,
    clock_us: Callable[[], int] = _clock_us,
    mind: Mind = reconcile,
) -> ReconcilerTask:
    """Return the task for a cluster whose topics exist; `since` is the watch's.

    Raises:
        ContractError: a topic is missing.
    """
    names = Names.of(options.prefix)
    decoders = Decoders.of(schemas)
    partitions = cluster.partition_count(names.commands, _METADATA_S)
    discrepancy_partitions = cluster.partition_count(names.discrepancies, _METADATA_S)
    return ReconcilerTask(
        rules=rules,
        pace=pace,
        names=names,
        decoders=decoders,
        writer=Writer(names, {record: schemas.ids[record] for record in RECORDS}, discrepancy_partitions),
        restorer=Restorer(
            cluster,
            names,
            decoders,
            partitions=partitions,
            discrepancy_partitions=discrepancy_partitions,
            lag_us=rules.lag_us,
            clock_us=clock_us,
        ),
        partitions=partitions,
        instance=options.instance,
        since=since,
        clock_us=clock_us,
        mind=mind,
    )


def run(
    options: ReconcilerOptions, cluster: Cluster, rules: Rules, pace: Pace, schemas: Schemas, stop: Stop, fault: Fault = no_fault
) -> ReconcilerTask:
    """Run the reconciler until `stop` is set and return the task, whose tally tells what it did. Blocks.

    Raises:
        Fenced: another process runs under this instance name.
        ContractError: topics or schemas are not what they have to be.
        DependencyError: Kafka is not reachable.
    """
    names = Names.of(options.prefix)
    decoders = Decoders.of(schemas)
    watch = Watch(cluster, names.control, decoders.controls)
    task = reconciler_task(options, cluster, rules, pace, schemas, watch.since)
    loop = Loop(
        cluster,
        task,
        group_id=options.group_id,
        instance_id=options.member,
        transactional_id_prefix=f"{options.member}.",
        limits=options.limits,
        fault=fault,
    )
    _log.info("component_started", instance=options.instance, group=options.group_id)
    try:
        watch.begin()
    except KafkaException as error:
        loop.close()
        raise DependencyError(f"Kafka: {KafkaFailure(error, 'metadata').what}", hint="check that the broker is up and reachable") from error
    watch.start()
    try:
        loop.run(stop)
    finally:
        watch.close()
        _log.info("component_stopped", instance=options.instance, counts=dict(task.tally.counts))
    return task
