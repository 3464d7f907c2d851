"""How the work on a backlog grows with the number of ledger processes in one group."""

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import orjson
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as LibraryPartition

from execpos.bench import throughput
from execpos.bench.stack import Bench, bench_stack, conditions
from execpos.errors import DependencyError
from execpos.kafka.ports import TopicPartition
from execpos.ledger import service
from execpos.ledger.outputs import Names

_TIMEOUT_S = 900.0
_METADATA_S = 30.0
_STOP_S = 60.0
# Between two looks at the committed offsets: seldom enough to cost nothing, against runs of many seconds.
_LOOK_S = 0.2


class _Ledgers:
    """Ledger processes that wait for the word to begin."""

    def __init__(self, bench: Bench, count: int) -> None:
        command = [sys.executable, "-m", "execpos.bench.scale_child", bench.bootstrap_servers, bench.registry_url]
        self._children = [
            subprocess.Popen([*command, f"bench-{number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 (this program itself)
            for number in range(count)
        ]
        for child in self._children:
            if self._pipe(child.stdout).readline() != b"ready\n":
                self.kill()
                raise DependencyError("a ledger did not start", hint="its error stands above")

    def begin(self) -> None:
        """Let all of them join the group."""
        for child in self._children:
            self._pipe(child.stdin).write(b"go\n")
            self._pipe(child.stdin).flush()

    def alive(self) -> bool:
        return all(child.poll() is None for child in self._children)

    def finish(self) -> list[dict[str, Any]]:
        """Stop them and return what each says of itself."""
        return [orjson.loads(child.communicate(timeout=_STOP_S)[0]) for child in self._children]

    def kill(self) -> None:
        """End what still runs."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait()

    @staticmethod
    def _pipe(pipe: Any) -> Any:
        return pipe


def _wait_done(bench: Bench, ledgers: _Ledgers) -> None:
    """Wait until everything is committed."""
    names = Names.of("")
    options = service.LedgerOptions(env="simulation", prefix="", instance="")
    partitions = bench.cluster.partition_count(names.raw, _METADATA_S)
    tps = [TopicPartition(topic, partition) for topic in (names.raw, names.intents) for partition in range(partitions)]
    ends = bench.cluster.high_watermarks(tps, _METADATA_S)
    # It asks and never joins; uncommitted, because under load there is always a transaction with offsets open.
    asking = {"bootstrap.servers": bench.bootstrap_servers, "group.id": options.group_id, "isolation.level": "read_uncommitted"}
    group = Consumer(asking)
    deadline_s = time.monotonic() + _TIMEOUT_S
    try:
        while any(
            found.offset < ends[TopicPartition(found.topic, found.partition)] for found in group.committed(list(map(_asked, tps)), 30)
        ):
            if not ledgers.alive() or time.monotonic() > deadline_s:
                raise DependencyError("the ledgers did not work the backlog off", hint="their errors stand above")
            time.sleep(_LOOK_S)
    finally:
        group.close()


def _asked(tp: TopicPartition) -> LibraryPartition:
    return LibraryPartition(*tp)


def _measure(events: int, seed: int, processes: int) -> dict[str, Any]:
    with bench_stack() as bench:
        written = throughput.fill(bench, events, seed)
        ledgers = _Ledgers(bench, processes)
        try:
            ledgers.begin()
            _wait_done(bench, ledgers)
            reports = ledgers.finish()
        finally:
            ledgers.kill()
    if sum(report["records"] for report in reports) != written:
        raise DependencyError(
            f"{written} records were there, and the ledgers committed {reports}", hint="this is a defect; please report it"
        )
    worked = [report for report in reports if report["records"]]
    seconds = max(report["ended_s"] for report in worked) - min(report["began_s"] for report in worked)
    cpu_s = sum(report["cpu_s"] for report in worked)
    return {
        "processes": processes,
        "records": written,
        "seconds": round(seconds, 3),
        "records_per_s": round(written / seconds),
        "records_per_cpu_s": round(written / cpu_s),
        "records_of_each": [report["records"] for report in reports],
        "rss_mb_of_each": [report["rss_mb"] for report in reports],
    }


def run(events: int, processes: Sequence[int], seed: int) -> dict[str, Any]:
    """Return `{runs: [{processes, records, seconds, records_per_s, records_per_cpu_s, …}], conditions}`. Blocks for minutes.

    Each run has a fresh stack and the same backlog. All processes join at one moment; the clock begins with the first batch of the first
    and ends with the last commit of the last, the moves of partitions in between included.
    """
    runs = [_measure(events, seed, count) for count in processes]
    clock = "first batch to last commit of all processes, joining included; broker and ledgers share the cores"
    return {"runs": runs, "conditions": conditions(f"standard workload, {events:,} callbacks and their intents", seed=seed, clock=clock)}
