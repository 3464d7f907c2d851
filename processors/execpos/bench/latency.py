"""How long a callback takes until its position is readable in another process, committed."""

import subprocess
import sys
import time
from typing import Any

from execpos.bench.stack import Bench, bench_stack, conditions
from execpos.codecs.avro import Decoder
from execpos.demo.observe import Observer, percentile
from execpos.domain import ids
from execpos.domain.events import PositionState
from execpos.errors import DependencyError
from execpos.kafka.follow import Follower
from execpos.ledger.outputs import Names

# A cold broker compiles for most of a minute, and takes three times as long for a transaction meanwhile.
WARM_UP_S = 45.0
_READY_S = 60.0
_STOP_S = 20.0
# The bridge's own start, and its last acknowledgements.
_MARGIN_S = 30.0


class _NetObserver(Observer):
    """Notes NET rows only, so that a fill counts once and not once more for its strategy's row."""

    def noted(self, state: PositionState) -> bool:
        return state.strategy_id == ids.NET


def _spawn(bench: Bench, *command: str) -> "subprocess.Popen[bytes]":
    environ = {
        "EXECPOS_ENV": "simulation",
        "EXECPOS_KAFKA__BOOTSTRAP_SERVERS": bench.bootstrap_servers,
        "EXECPOS_REGISTRY__URL": bench.registry_url,
        "EXECPOS_BRIDGE__JOURNAL__FOLDER": str(bench.folder / "journal"),
        "PATH": "/usr/bin:/bin",
    }
    # S603: this program itself.
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "execpos", *command],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _stop(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _wait_ready(bench: Bench, topic: str, ledger: "subprocess.Popen[bytes]") -> None:
    follower = Follower(bench.cluster, [topic])
    deadline_s = time.monotonic() + _READY_S
    try:
        while not any(True for _ in follower.poll()):
            if ledger.poll() is not None or time.monotonic() > deadline_s:
                raise DependencyError("the ledger did not start", hint="run `execpos run ledger` by hand to see why")
            time.sleep(0.1)
    finally:
        follower.close()


def run(rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """Return `{n, p50_ms, p90_ms, p99_ms, p999_ms, max_ms, conditions}`. Blocks for `seconds` and about a minute more.

    Bridge, ledger and reader are three processes. The clock begins in the bridge's handler and ends when the reader has decoded the
    committed NET position; the first 45 s are left out.
    """
    names = Names.of("")
    with bench_stack() as bench:
        ledger = _spawn(bench, "run", "ledger")
        try:
            _wait_ready(bench, names.progress, ledger)
            observer = _NetObserver(bench.cluster, names.positions, Decoder(PositionState, bench.schemas.writers[PositionState]))
            observer.start()
            length = f"{WARM_UP_S + seconds}"
            bridge = _spawn(bench, "run", "bridge", "--sim", "--rate", str(rate), "--seconds", length, "--seed", str(seed))
            try:
                time.sleep(WARM_UP_S)
                observer.forget()
                bridge.wait(seconds + _MARGIN_S)
            finally:
                _stop(bridge)
            observer.stop()
        finally:
            _stop(ledger)
    values = sorted(observer.latencies_ms)
    shares = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
    report: dict[str, Any] = {"n": len(values), **{name: round(percentile(values, share), 3) for name, share in shares.items()}}
    clock = "handler in the bridge process to decoded NET position in the reading process, exactly once"
    report["conditions"] = conditions(f"simulated day, {rate:g} callbacks/s for {seconds:g} s", seed=seed, clock=clock)
    return report
