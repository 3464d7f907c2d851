"""How long a callback takes until its position is readable in another process, committed."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from typing import Any, NamedTuple

from execpos.bench.roundtrip import RoundTrip
from execpos.bench.stack import Bench, bench_stack, conditions
from execpos.demo.observe import percentile
from execpos.errors import DependencyError
from execpos.kafka.follow import Follower
from execpos.ledger.outputs import Names
from execpos.local.net import choose_free_port

# A cold broker compiles for most of a minute, and takes three times as long for a transaction meanwhile.
WARM_UP_S = 45.0
_READY_S = 60.0
_STOP_S = 20.0
# The bridge's own start, and its last acknowledgements.
_MARGIN_S = 30.0

# Of the bare round trip, whatever the bridge's rate is: it shows the machine and must not load it.
_BARE_RATE = 100.0

_SHARES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}


def _environ(bench: Bench) -> dict[str, str]:
    return {
        "EXECPOS_ENV": "simulation",
        "EXECPOS_KAFKA__BOOTSTRAP_SERVERS": bench.bootstrap_servers,
        "EXECPOS_REGISTRY__URL": bench.registry_url,
        "EXECPOS_BRIDGE__JOURNAL__FOLDER": str(bench.folder / "journal"),
        "PATH": "/usr/bin:/bin",
    }


def _spawn(bench: Bench, *command: str) -> "subprocess.Popen[bytes]":
    # S603: this program itself.
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "execpos", *command],
        env=_environ(bench),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class _View:
    """A strategy's process."""

    def __init__(self, bench: Bench) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "execpos.bench.latency_child"], env=_environ(bench), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._in, self._out = self._child.stdin, self._child.stdout
        if self._out is None or self._out.readline() != b"ready\n":
            self.kill()
            raise DependencyError("the reading process did not start", hint="its error stands above")

    def begin(self) -> None:
        """Note from now on."""
        if self._in is not None:
            self._in.write(b"begin\n")
            self._in.flush()

    def finish(self) -> list[int]:
        """End it and return the delays in µs."""
        delays_us: list[int] = json.loads(self._child.communicate(timeout=_STOP_S)[0])
        return delays_us

    def kill(self) -> None:
        """End it if it still runs."""
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()


class _Spent(NamedTuple):
    """Committed transactions of the ledger so far, and the seconds in them."""

    transactions: float
    seconds: float


def _spent(port: int) -> _Spent:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_STOP_S) as page:
        lines = page.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("execpos_transaction_seconds_"))
    return _Spent(float(values["execpos_transaction_seconds_count"]), float(values["execpos_transaction_seconds_sum"]))


def _figures(delays_us: Sequence[int]) -> dict[str, float]:
    ordered = sorted(delays_us)
    return {"n": len(ordered), **{name: round(percentile(ordered, share) / 1000, 3) for name, share in _SHARES.items()}}


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
    """Return `{n, p50_ms, …, max_ms, bare, transactions_per_s, transaction_mean_ms, conditions}`. Blocks for `seconds` and a minute more.

    Bridge, ledger and reader are three processes. The clock begins in the bridge's handler and ends in the change callback of a
    PositionView; the first 45 s are left out. `bare` is a round trip of plain records through the same broker at the same time.
    """
    with bench_stack() as bench:
        port = choose_free_port()
        ledger = _spawn(bench, "run", "ledger", "--metrics-port", str(port))
        try:
            _wait_ready(bench, Names.of("").progress, ledger)
            view = _View(bench)
            bare = RoundTrip(bench.cluster, _BARE_RATE)
            bare.start()
            length = f"{WARM_UP_S + seconds}"
            bridge = _spawn(bench, "run", "bridge", "--sim", "--rate", str(rate), "--seconds", length, "--seed", str(seed))
            try:
                time.sleep(WARM_UP_S)
                view.begin()
                bare.forget()
                before = _spent(port)
                bridge.wait(seconds + _MARGIN_S)
            finally:
                _stop(bridge)
            after = _spent(port)
            bare.stop()
            delays_us = view.finish()
        finally:
            _stop(ledger)
    count, spent_s = after.transactions - before.transactions, after.seconds - before.seconds
    report: dict[str, Any] = {
        **_figures(delays_us),
        "bare": _figures(bare.delays_us),
        "transactions_per_s": round(count / seconds, 1),
        "transaction_mean_ms": round(1000 * spent_s / count, 3),
    }
    clock = "handler in the bridge process to the change callback of a PositionView in another process, exactly once"
    report["conditions"] = conditions(f"simulated day, {rate:g} callbacks/s for {seconds:g} s", seed=seed, clock=clock)
    return report
