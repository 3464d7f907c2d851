"""How many raw events a second one ledger process works off when there is a backlog, all outputs on."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import orjson

from execpos.bench.stack import Bench, bench_stack, conditions
from execpos.bridge.convert import Converter
from execpos.bridge.intents import intent_record
from execpos.brokers.sim.config import SDK_VERSION
from execpos.brokers.sim.workload import standard_workload
from execpos.codecs import compiled
from execpos.codecs.avro import Encoder
from execpos.domain.events import Intent, RawExecEvent
from execpos.errors import DependencyError
from execpos.ledger.outputs import Names

# How long a ledger may take for the whole backlog before something must be wrong.
_TIMEOUT_S = 900.0
_FLUSH_S = 120.0


WORKLOAD = "50 accounts, 2,000 keys, 5 strategies, 12 partitions, 40 % order reports, 55 % deals, 5 % duplicates; intents on top"


def records(events: int, seed: int) -> Iterator[tuple[str, RawExecEvent | Intent]]:
    """Yield the standard workload as the records that a bridge and strategies make of it, each with its topic."""
    names = Names.of("")
    convert = Converter("simulation", "bench", 1, SDK_VERSION)
    for event in standard_workload(events=events, seed=seed).events:
        if event.intent is None:
            yield names.raw, convert((event.at_us * 1000, 0, event.state, event.payload))
        else:
            yield names.intents, intent_record("simulation", event.intent)


def fill(bench: Bench, events: int, seed: int) -> int:
    """Write the standard workload to exec.raw and exec.intents as a bridge would; return how many records that are. Blocks."""
    encoders = {record: Encoder(record, bench.schemas.ids[record]) for record in (RawExecEvent, Intent)}
    producer = bench.cluster.idempotent_producer("bench-fill")
    failed: list[object] = []
    written = 0
    for topic, record in records(events, seed):
        key, value = record.account.encode(), encoders[type(record)](record)
        while True:
            try:
                producer.produce(topic, -1, key, value, lambda error, _: failed.append(error) if error else None)
                break
            except BufferError:
                producer.poll(0.1)
        written += 1
        producer.poll(0)
    left = producer.flush(_FLUSH_S)
    producer.close()
    if left or failed:
        raise DependencyError(f"{left} of {written} records were not written", hint=str(failed[:1]))
    return written


def run(events: int, seed: int) -> dict[str, Any]:
    """Return `{events, seconds, events_per_s, cpu_s, events_per_cpu_s, rss_mb, counts, conditions}`. Blocks for a minute or more.

    The clock begins with the first batch, after start and restore, and ends with the last commit; events are input records, intents
    included.
    """
    with bench_stack() as bench:
        written = fill(bench, events, seed)
        time.sleep(1)  # the broker finishes what it does behind the last write
        command = [sys.executable, "-m", "execpos.bench.ledger_child", bench.bootstrap_servers, bench.registry_url, str(written)]
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603 (this program itself)
        if done.returncode:
            raise DependencyError(f"the ledger ended with status {done.returncode}", hint=done.stderr.decode(errors="replace")[-2000:])
    report: dict[str, Any] = orjson.loads(done.stdout)
    report["events_per_cpu_s"] = round(report["events"] / report["cpu_s"])
    report["conditions"] = conditions(
        WORKLOAD, seed=seed, clock="first batch to last commit, one ledger process", native_codec=compiled.NATIVE
    )
    return report
