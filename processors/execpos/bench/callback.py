"""How long the broker's thread is held up by a report, with drain, journal and publishing at work, and whether every report arrives.

The bridge's half runs in a process of its own (`python -m execpos.bench.callback`), Kafka and the registry in theirs. A Python thread makes
the callbacks, open loop: report i is due at start + i / rate, whatever became of the one before, and every delay counts from there. Between
two reports it sleeps, as the library's thread waits for its socket, and does not hold the interpreter.
"""

import contextlib
import ctypes
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import google_crc32c
import orjson
import psutil  # type: ignore[import-untyped]  # it ships no type information

from execpos.bench.memory import peak_rss_mb
from execpos.bench.stack import Bench, bench_stack, conditions
from execpos.bridge.capture import Capture
from execpos.bridge.convert import payload_bytes
from execpos.bridge.journal.journal import Journal
from execpos.bridge.journal.writer import JournalPolicy
from execpos.bridge.outbox import Outbox
from execpos.bridge.publisher import Target
from execpos.bridge.tuning import SWITCH_INTERVAL_S, tune
from execpos.brokers.sim.config import SDK_VERSION
from execpos.brokers.sim.workload import standard_workload
from execpos.codecs.avro import Decoder
from execpos.domain.events import RawExecEvent
from execpos.domain.redact import redact
from execpos.errors import DependencyError
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.ports import Span, TopicPartition
from execpos.ledger.outputs import Names
from execpos.telemetry import log

Handler = Callable[[Any, Any], None]

# Different reports; they come again and again, with the same bytes.
_REPORTS: Final = 20_000

# A cold broker's compiler takes a core of two for most of a minute, as `bench latency` found too.
WARM_UP_S: Final = 45.0
_WARM_UP_RATE: Final = 10_000.0

# The empty handler is measured on less: it only shows how quiet the machine is.
_BASELINE: Final = 100_000

_BRIDGE: Final = "bench"

# With Kafka at the same priority on the same two cores, the thread that holds the interpreter's lock is put aside for Kafka's, for
# milliseconds: a delay that no bridge has whose Kafka is elsewhere.
_SERVERS_NICE: Final = 10

_ACKNOWLEDGE_S: Final = 300.0
_READ_S: Final = 60.0
_PATIENCE_S: Final = 3600.0

# Linux lets a sleeping thread oversleep by 50 µs to save wake-ups, which a thread that waits for a socket does not; see prctl(2).
_PR_SET_TIMERSLACK: Final = 29


class Timed:
    """Callbacks to a handler at a given rate, timed: nothing is allocated while it runs but what the handler allocates.

    Args:
        handler: what is called.
        reports: state and payload of each, used again and again.
        events: how many calls.
        rate: calls a second; 0 for as fast as it goes.
    """

    def __init__(self, handler: Handler, reports: Sequence[tuple[Any, Any]], events: int, rate: float) -> None:
        self._handler = handler
        self._reports = reports
        self._period_ns = int(1e9 / rate) if rate else 0
        self.call_ns = array("q", bytes(8 * events))
        self.delay_ns = array("q", bytes(8 * events))
        self.seconds = 0.0

    def run(self) -> None:
        """Make the calls on a thread of its own; blocks until all are made."""
        thread = threading.Thread(target=self._run, name="broker")
        thread.start()
        thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        handler, clock, sleep, period_ns = self._handler, time.perf_counter_ns, time.sleep, self._period_ns
        call_ns, delay_ns = self.call_ns, self.delay_ns
        reports = itertools.cycle(self._reports)
        start_ns = due_ns = clock()
        for number in range(len(call_ns)):
            state, event = next(reports)
            if period_ns:
                while (left_ns := due_ns - clock()) > 0:
                    sleep(left_ns / 1e9)
            before_ns = clock()
            handler(state, event)
            after_ns = clock()
            call_ns[number] = after_ns - before_ns
            delay_ns[number] = after_ns - due_ns
            due_ns += period_ns
        self.seconds = (clock() - start_ns) / 1e9

    def figures(self) -> dict[str, float]:
        """Return the call's and the delay's percentiles, in µs."""
        call, delay = sorted(self.call_ns), sorted(self.delay_ns)
        shares = {"p50_us": 0.5, "p99_us": 0.99, "p999_us": 0.999, "max_us": 1.0}
        made = {name: _at(call, share) for name, share in shares.items()}
        if self._period_ns:
            made |= {f"capture_delay_{name}": _at(delay, share) for name, share in shares.items()}
        return made


def _at(ordered_ns: Sequence[int], share: float) -> float:
    return round(ordered_ns[min(len(ordered_ns) - 1, int(len(ordered_ns) * share))] / 1000, 2)


def _reports(seed: int) -> list[tuple[Any, Any]]:
    events = (event for event in standard_workload(events=2 * _REPORTS, seed=seed).events if event.intent is None)
    return [(event.state, event.payload) for event in itertools.islice(events, _REPORTS)]


class _Bridge:
    """Capture and outbox on a journal of their own."""

    def __init__(self, arguments: dict[str, Any], bridge_id: str) -> None:
        self.capture = Capture()
        policy = JournalPolicy(fsync=arguments["fsync"])
        journal = Journal.open(Path(arguments["journal"]) / bridge_id, env="simulation", bridge_id=bridge_id, policy=policy)
        cluster = KafkaCluster(KafkaSettings(arguments["kafka"]), f"{bridge_id}-callback")
        target = Target(cluster.idempotent_producer(f"{bridge_id}-callback"), Names.of("").raw, arguments["schema_id"])
        self.outbox = Outbox(self.capture, journal, lambda: target, sdk_version=SDK_VERSION)
        self.outbox.start()


def _child(arguments: dict[str, Any]) -> dict[str, Any]:
    """Run the bridge's half and return its figures."""
    log.configure("ERROR")
    reports = _reports(arguments["seed"])
    events, rate, fsync = arguments["events"], arguments["rate"], arguments["fsync"]
    tune()
    sys.setswitchinterval(arguments["switch_s"])
    warm_up = _Bridge(arguments, "warm-up")
    Timed(warm_up.capture.handler, reports, int(WARM_UP_S * _WARM_UP_RATE), _WARM_UP_RATE).run()
    warm_up.outbox.finish(_ACKNOWLEDGE_S)
    baseline = Timed(lambda state, event: None, reports, min(events, _BASELINE), rate)  # noqa: ARG005 (an empty handler)
    baseline.run()
    bridge = _Bridge(arguments, _BRIDGE)
    timed = Timed(bridge.capture.handler, reports, events, rate)
    cpu_s = time.process_time()
    began_s = time.monotonic()
    timed.run()
    waiting = bridge.outbox.status()
    done = bridge.outbox.finish(_ACKNOWLEDGE_S)
    seconds = time.monotonic() - began_s
    return {
        "n": events,
        **timed.figures(),
        "seconds": round(timed.seconds, 3),
        "sustained_per_s": round(events / seconds),
        "cpu_us_per_callback": round((time.process_time() - cpu_s) / events * 1e6, 2),
        "waiting_at_the_end": waiting.captured,
        "backlog_at_the_end": waiting.backlog_records,
        "unacknowledged": done.backlog_records,
        "fsync": fsync,
        "rss_mb_peak": peak_rss_mb(),
        "baseline": baseline.figures(),
    }


def _give_way(nice: int) -> None:
    """Let Kafka and the registry, children of this process, use what the bridge leaves of the processor, as servers elsewhere would."""
    for child in psutil.Process().children(recursive=True):
        # The process may have ended, and the kernel may not group by session; then the threads' own priority counts.
        with contextlib.suppress(OSError):
            if os.getsid(child.pid) != os.getsid(0):
                Path(f"/proc/{child.pid}/autogroup").write_text(str(nice), encoding="ascii")
        for task in Path(f"/proc/{child.pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, int(task.name), os.nice(0) + nice)


def _lost(bench: Bench, events: int, seed: int) -> int:
    """Return how many callbacks are not in exec.raw with the payload that they were made with, at the number that they came with."""
    expected = [google_crc32c.value(payload_bytes(redact(payload)[0])) for _, payload in _reports(seed)]
    decode = Decoder(RawExecEvent, bench.schemas.writers[RawExecEvent])
    topic = Names.of("").raw
    tps = [TopicPartition(topic, partition) for partition in range(bench.cluster.partition_count(topic, _READ_S))]
    ends = bench.cluster.high_watermarks(tps, _READ_S)
    found = array("B", bytes(events))
    epochs = set()
    reader = bench.cluster.reader()
    for message in reader.read([Span(tp, 0, end) for tp, end in ends.items()], _READ_S):
        record = decode(message.value() or b"")
        if record.bridge_id != _BRIDGE:
            continue
        epochs.add(record.bridge_epoch)
        at = record.bridge_seq - 1
        if 0 <= at < events and google_crc32c.value(record.payload) == expected[at % len(expected)]:
            found[at] = 1
    reader.close()
    if len(epochs) != 1:
        raise DependencyError(f"exec.raw holds {len(epochs)} epochs", hint="something else wrote to the bench's Kafka")
    return events - sum(found)


def run(events: int, rate: float, seed: int, fsync: str, switch_s: float = SWITCH_INTERVAL_S) -> dict[str, Any]:
    """Return `{n, lost, p50_us, …, capture_delay_p99_us, fsync, rss_mb_peak, baseline, conditions}`. Blocks for events / rate + 2 minutes.

    The call's clock begins before and ends after the handler, on the broker's thread; the delay's begins when the report is due.
    """
    # The journal is not on the folder of Kafka's data, but on the same disk.
    with bench_stack() as bench, tempfile.TemporaryDirectory(prefix="execpos-bench-journal-") as journal:
        _give_way(_SERVERS_NICE)
        arguments = {
            "kafka": bench.bootstrap_servers,
            "schema_id": bench.schemas.ids[RawExecEvent],
            "journal": journal,
            "events": events,
            "rate": rate,
            "seed": seed,
            "fsync": fsync,
            "switch_s": switch_s,
        }
        command = [sys.executable, "-m", "execpos.bench.callback", json.dumps(arguments)]
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, check=False)  # noqa: S603 (this program itself)
        if done.returncode:
            raise DependencyError(f"the bridge ended with status {done.returncode}", hint=done.stderr.decode(errors="replace")[-2000:])
        figures: dict[str, Any] = orjson.loads(done.stdout)
        report = {"n": figures["n"], "lost": _lost(bench, events, seed), **figures}
    pace = f"{rate:g} callbacks/s, open loop" if rate else "callbacks as fast as they go"
    workload = f"{pace}, {_REPORTS} different reports of the standard workload, from one Python thread that sleeps in between"
    clock = f"call: around the handler; delay: from the due time to the end of the handler; {WARM_UP_S:g} s of the same before are left out"
    report["conditions"] = conditions(workload, seed=seed, clock=clock, switch_interval_s=switch_s, servers_nice=_SERVERS_NICE)
    return report


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(_child(json.loads(sys.argv[1]))) + b"\n")
