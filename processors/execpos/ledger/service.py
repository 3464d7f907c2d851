"""Puts the ledger together: task, loop, codecs; and runs it until it is told to stop."""

import copy
import gc

import msgspec

from execpos.codecs.avro import Decoder
from execpos.codecs.registry import Schemas
from execpos.domain.events import Mark
from execpos.domain.rules import Rules
from execpos.kafka.follow import Follower
from execpos.kafka.loop import Loop, LoopLimits, Stop
from execpos.kafka.ports import Cluster, Fault, no_fault
from execpos.ledger.cut import MarkOf, no_mark
from execpos.ledger.marks import Marks
from execpos.ledger.outputs import RECORDS, Names
from execpos.ledger.rebuild import Rebuilds
from execpos.ledger.reread import Reread
from execpos.ledger.restore import Decoders
from execpos.ledger.shadow import Shadow
from execpos.ledger.snapshots import SnapshotOptions
from execpos.ledger.task import PROGRESS_INTERVAL_S, LedgerTask
from execpos.telemetry.log import Logger

_log = Logger("ledger")

# How long to wait for one answer about the topics at the start.
_METADATA_S = 30.0

# Objects that are new between two collections of the youngest: a batch makes some thousands that outlive it.
_GC_YOUNG = 50_000


class LedgerOptions(msgspec.Struct, frozen=True):
    """What one ledger process needs to know.

    Attributes:
        env: production, simulation or replay; part of the group's and the transactions' names.
        prefix: stands before every topic, group and transactional id.
        instance: name of this process, the same after a restart, another one for each process.
        limits: sizes and times of the loop.
        progress_s: longest time between two progress records of a partition.
        snapshots: when it writes whole books.
    """

    env: str
    prefix: str
    instance: str
    limits: LoopLimits = LoopLimits()
    progress_s: float = PROGRESS_INTERVAL_S
    snapshots: SnapshotOptions = SnapshotOptions()

    @property
    def group_id(self) -> str:
        """The consumer group, shared by all instances."""
        return f"{self.prefix}{self.env}.ledger"


def decoders(schemas: Schemas) -> Decoders:
    """Return readers of every record that the ledger reads."""
    return Decoders.of(schemas)


def ledger_task(
    options: LedgerOptions,
    cluster: Cluster,
    rules: Rules,
    schemas: Schemas,
    make: type[LedgerTask] = LedgerTask,
    mark_of: MarkOf = no_mark,
) -> LedgerTask:
    """Return the task for a cluster whose topics exist, of class `make`, which values rows at the marks of `mark_of`.

    Raises:
        ContractError: there is no topic exec.raw.
    """
    names, readers = Names.of(options.prefix), decoders(schemas)

    def shadow(partition: int, account: str) -> Shadow:
        # Rules fill memos, so each thread has its own.
        return Shadow(options.prefix, cluster, copy.deepcopy(rules), schemas, partition, [account], snapshots=options.snapshots)

    return make(
        rules=rules,
        names=names,
        decoders=readers,
        schema_ids={record: schemas.ids[record] for record in RECORDS},
        partitions=cluster.partition_count(names.raw, _METADATA_S),
        instance=options.instance,
        progress_s=options.progress_s,
        snapshots=options.snapshots,
        mark_of=mark_of,
        reread=Reread(cluster, names.raw, readers.raw),
        rebuilds=Rebuilds(shadow),
    )


def freeze() -> None:
    """Take what stands now out of the collector's walks: it lives as long as the process. Call it once, before the loop runs."""
    gc.collect()
    gc.freeze()
    # What the ledger makes has no cycles; with the default of 700 the collector takes a twentieth of a backlog's processor time.
    gc.set_threshold(_GC_YOUNG, 50, 1000)


def run(
    options: LedgerOptions,
    cluster: Cluster,
    rules: Rules,
    schemas: Schemas,
    stop: Stop,
    fault: Fault = no_fault,
    make: type[LedgerTask] = LedgerTask,
) -> LedgerTask:
    """Run the ledger, its task of class `make`, until `stop` is set and return the task, whose `counts` tell what it did. Blocks.

    Raises:
        Fenced: another process runs under this instance name.
        ContractError: topics, schemas or state are not what they have to be.
        DependencyError: Kafka is not reachable.
    """
    names = Names.of(options.prefix)
    marks = Marks(lambda: Follower(cluster, [names.marks]), Decoder(Mark, schemas.writers[Mark]))
    task = ledger_task(options, cluster, rules, schemas, make, mark_of=marks.of)
    loop = Loop(
        cluster,
        task,
        group_id=options.group_id,
        instance_id=f"{options.group_id}.{options.instance}",
        transactional_id_prefix=f"{options.group_id}.{options.instance}.",
        limits=options.limits,
        fault=fault,
    )
    _log.info("component_started", instance=options.instance, group=options.group_id)
    marks.start()
    freeze()
    try:
        loop.run(stop)
    finally:
        marks.close()
        task.close()
        _log.info("component_stopped", instance=options.instance, counts=dict(task.counts))
    return task
