"""How long a ledger takes from the start of its process until it is ready, with a window full of fills.

The topics are made by the ledger's own task, record by record as on a slow day, so that each fill leaves a new record of its strategy's
position and of NET's; they stand there as a ledger that was stopped has left them, nothing compacted. Then one ledger process starts.
"""

import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as LibraryPartition

from execpos import settings
from execpos.bench.stack import Bench, bench_stack, conditions
from execpos.bridge.convert import Converter
from execpos.bridge.intents import intent_record
from execpos.brokers.sim.config import SDK_VERSION, Attribution, Faults, SimConfig, SimEvent, market_open_us
from execpos.brokers.sim.day import Simulator
from execpos.codecs.avro import Encoder
from execpos.domain.events import Intent, RawExecEvent
from execpos.errors import DependencyError
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import IdempotentProducer, Message, TopicPartition
from execpos.ledger import service
from execpos.ledger.outputs import Names
from execpos.ledger.task import LedgerTask

# 50 accounts; each symbol of one is held by five strategies and by NET.
_ACCOUNTS = 50
_STRATEGIES = 5
_ROWS_OF_SYMBOL = _STRATEGIES + 1

# Two thirds of the reports are deals, near the most that the simulator can make.
_DEAL_SHARE = 0.66
_DATE = (2026, 5, 21)
# A day and a half of one session's time would leave it; at 10 ms a report 700 000 reports are two hours.
_STEP_US = 10_000

# Records of one transaction: few enough that it is over long before its time-out.
_TRANSACTION = 5_000

# Starts that are measured, behind the one that warms the broker: the machines are shared, and the median is not theirs.
_STARTS = 3

_METADATA_S = 30.0
_COMMIT_S = 60.0
_TIMEOUT_S = 600.0
_INSTANCE = "bench"


class _Record(NamedTuple):
    """One input record, as its topic will give it out."""

    name: str
    number: int
    at: int
    record_key: bytes
    content: bytes
    at_ms: int

    def topic(self) -> str:
        return self.name

    def partition(self) -> int:
        return self.number

    def offset(self) -> int:
        return self.at

    def key(self) -> bytes:
        return self.record_key

    def value(self) -> bytes:
        return self.content

    def timestamp(self) -> tuple[int, int]:
        return 1, self.at_ms


class _Nothing:
    """What a task restores from before anything was written; see `ports.RestoreContext`."""

    def __init__(self, topic_ids: Mapping[str, str]) -> None:
        self._topic_ids = topic_ids

    def committed(self, topic: str, partition: int) -> int:
        del topic, partition
        return 0

    def high_watermark(self, topic: str, partition: int) -> int:
        del topic, partition
        return 0

    def read(self, topic: str, partition: int) -> Iterator[Message]:
        del topic, partition
        return iter(())

    def read_all(self, topic: str, partitions: Sequence[int]) -> Iterator[Message]:
        del topic, partitions
        return iter(())

    def read_below(self, topic: str, partition: int, end_offset: int) -> Iterator[Message]:
        del topic, partition, end_offset
        return iter(())

    def read_all_below(self, topic: str, end_offsets: Mapping[int, int]) -> Iterator[Message]:
        del topic, end_offsets
        return iter(())

    def topic_id(self, topic: str) -> str:
        return self._topic_ids[topic]

    def progress(self, what: str, done: int, total: int) -> None:
        del what, done, total


class _Writer:
    """Gives records to a task, and writes them and what the task makes of them."""

    def __init__(self, bench: Bench, task: LedgerTask, names: Names, partitions: int) -> None:
        self._task = task
        self._names = names
        self._partitions = partitions
        self._convert = Converter("simulation", "bench", 1, SDK_VERSION)
        self._raw, self._intent = Encoder(RawExecEvent, bench.schemas.ids[RawExecEvent]), Encoder(Intent, bench.schemas.ids[Intent])
        self._inputs: IdempotentProducer = bench.cluster.idempotent_producer("bench-inputs")
        self._outputs = bench.cluster.transactional_producer("bench-outputs")
        self._outputs.init(_COMMIT_S)
        self._failed: list[object] = []
        self._open = 0
        self.offsets: dict[TopicPartition, int] = {}
        self.written: dict[str, int] = {}

    def write(self, event: SimEvent) -> None:
        """Take one event through. Blocks while a queue is full."""
        if event.intent is None:
            raw = self._convert((event.at_us * 1000, 0, event.state, event.payload))
            topic, key, value = self._names.raw, raw.account.encode(), self._raw(raw)
        else:
            intent = intent_record("simulation", event.intent)
            topic, key, value = self._names.intents, intent.account.encode(), self._intent(intent)
        tp = TopicPartition(topic, partition_for(key, self._partitions))
        offset = self.offsets.get(tp, 0)
        self.offsets[tp] = offset + 1
        while True:
            try:
                self._inputs.produce(*tp, key, value, self._note)
                break
            except BufferError:
                self._inputs.poll(0.1)
        self._inputs.poll(0)
        if not self._open:
            self._outputs.begin()
        self._open += 1
        self._task.process([_Record(*tp, offset, key, value, event.at_us // 1000)], self._out)
        self._task.committed()
        if self._open >= _TRANSACTION:
            self._commit()

    def finish(self) -> None:
        """Write where the ledger stands, and wait until all is written.

        Raises:
            DependencyError: something was not.
        """
        if not self._open:
            self._outputs.begin()
        if self._task.due(time.monotonic()):
            self._task.tick(self._out)
            self._task.committed()
        self._commit()
        left = self._inputs.flush(_COMMIT_S)
        self._inputs.close()
        self._outputs.close()
        if left or self._failed:
            raise DependencyError(f"{left} input records were not written", hint=str(self._failed[:1]))

    def _commit(self) -> None:
        self._outputs.commit(_COMMIT_S)
        self._open = 0

    def _note(self, error: object, message: Message) -> None:
        del message
        if error is not None:
            self._failed.append(error)

    def _out(self, topic: str, partition: int, key: bytes, value: bytes) -> None:
        self.written[topic] = self.written.get(topic, 0) + 1
        self._outputs.produce(topic, partition, key, value)


def fill(bench: Bench, positions: int, fills: int, seed: int, prefix: str = "") -> dict[str, int]:
    """Write a window of `fills` over about `positions` rows as a ledger would; return records by topic. Blocks for minutes."""
    names = Names.of(prefix)
    symbols = math.ceil(positions / _ACCOUNTS / _ROWS_OF_SYMBOL)
    config = SimConfig(
        seed=seed,
        start_us=market_open_us(*_DATE),
        step_us=_STEP_US,
        stock_accounts=_ACCOUNTS,
        futures_accounts=0,
        strategies=_STRATEGIES,
        stock_symbols=symbols,
        deal_share=_DEAL_SHARE,
        margin_share=0.0,
        reject_share=0.0,
        working_max=2_000,
        faults=Faults(duplicate=0.0, new_receipt=0.0),
        attribution=Attribution(intent_before=1.0, intent_late=0.0, custom_field=0.0, manual=0.0, misleading=0.0),
    )
    options = service.LedgerOptions(env="simulation", prefix=prefix, instance=_INSTANCE)
    task = service.ledger_task(options, bench.cluster, settings.load(None).rules(), bench.schemas)
    partitions = bench.cluster.partition_count(names.raw, _METADATA_S)
    task.restore(range(partitions), _Nothing(bench.cluster.topic_ids(task.input_topics, _METADATA_S)))
    writer = _Writer(bench, task, names, partitions)
    simulator = Simulator(config)
    for event in simulator.events():
        writer.write(event)
        if task.counts["fill"] >= fills:
            break
    writer.finish()
    _commit_offsets(bench, options.group_id, task, writer.offsets, partitions)
    return {topic.removeprefix(prefix).removesuffix(".v1"): count for topic, count in sorted(writer.written.items())}


def _commit_offsets(bench: Bench, group_id: str, task: LedgerTask, offsets: Mapping[TopicPartition, int], partitions: int) -> None:
    """Commit for the ledger's group, which has no member now."""
    group = Consumer({"bootstrap.servers": bench.bootstrap_servers, "group.id": group_id, "enable.auto.commit": False})
    tps = [TopicPartition(topic, partition) for topic in task.input_topics for partition in range(partitions)]
    group.commit(offsets=[LibraryPartition(*tp, offsets.get(tp, 0)) for tp in tps], asynchronous=False)
    group.close()


def measure(bootstrap_servers: str, registry_url: str, prefix: str = "") -> dict[str, Any]:
    """Start a ledger on topics that `fill` has written and return its figures. Blocks until it is ready and stopped.

    Raises:
        DependencyError: it ended with an error.
    """
    command = [sys.executable, "-m", "execpos.bench.restore_child", bootstrap_servers, registry_url, _INSTANCE, repr(time.time()), prefix]
    done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603 (this program itself)
    if done.returncode:
        raise DependencyError(f"the ledger ended with status {done.returncode}", hint=done.stderr.decode(errors="replace")[-2000:])
    report: dict[str, Any] = orjson.loads(done.stdout)
    return report


def run(positions: int, fills: int, seed: int) -> dict[str, Any]:
    """Return `{positions, fills, seconds, rss_mb, …, first_seconds, starts_s, records, phases, conditions}`. Blocks for minutes.

    The clock begins before the process is started and ends when the ledger takes its first record. `seconds` and what belongs to it are
    of the median start; the first one, which warms the broker and the machine's memory, stands apart as `first_seconds`.
    """
    with bench_stack() as bench:
        records = fill(bench, positions, fills, seed)
        first, *starts = (measure(bench.bootstrap_servers, bench.registry_url) for _ in range(1 + _STARTS))
    starts.sort(key=itemgetter("seconds"))
    report = {
        **starts[_STARTS // 2],
        "first_seconds": first["seconds"],
        "starts_s": [start["seconds"] for start in starts],
        "records": records,
    }
    workload = (
        f"{_ACCOUNTS} accounts, {_STRATEGIES} strategies, 12 partitions, one session; one position record a row and fill, nothing compacted"
    )
    clock = "start of the process to ready; the broker has run before and has the topics in memory"
    report["conditions"] = conditions(workload, seed=seed, clock=clock)
    return report
