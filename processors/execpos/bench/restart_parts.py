"""The processes of a restart bench: bridge, ledger and reconciler, killed and started together, and the broker that outlives them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from execpos.bench.stack import Bench
from execpos.brokers.sim.link import open_link
from execpos.errors import DependencyError

BRIDGE, LEDGER, RECONCILER = "bridge", "ledger", "reconciler"
COMPONENTS = (BRIDGE, LEDGER, RECONCILER)

# For a machine that is busy with something else.
_PATIENCE_S = 600.0
_LOOK_S = 0.05
_STOP_S = 60.0
_LOG_TAIL = 3_000


class Size(NamedTuple):
    """How large an installation is, and how much happens in it."""

    accounts: int = 10
    symbols: int = 200
    fills: int = 100_000
    days: int = 5
    rate: float = 10.0
    seed: int = 1


class Broker:
    """The simulated broker in a process of its own, and a line to it. Calls block."""

    def __init__(self, folder: Path, size: Size) -> None:
        address = f"unix:{folder / 'broker'}"
        numbers = (size.accounts, size.symbols, size.fills, size.days, size.rate, size.seed)
        command = [sys.executable, "-m", "execpos.bench.restart_broker", address, *map(str, numbers)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 (this program itself)
        # It connects with the first call.
        self._link = open_link(address)
        self.address = _pipe(self._process.stdout).readline().decode().strip()
        if not self.address:
            self.close()
            raise DependencyError("the simulated broker did not start", hint="its error stands above")

    def ask(self, method: str, **arguments: Any) -> Any:
        """Return the answer to one of the calls of `restart_broker.Stage`, or `sim_truth`."""
        return self._link.call(method, arguments)

    def close(self) -> None:
        """End it."""
        self._link.close()
        _pipe(self._process.stdin).close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _pipe(self._process.stdout).close()


class Parts:
    """Runs the components. One thread.

    Args:
        bench: where Kafka and the registry are, and a folder for journals and logs.
        address: of the simulated broker.
        prefix: of the topics.
    """

    def __init__(self, bench: Bench, address: str, prefix: str = "") -> None:
        self._folder = bench.folder
        self._address = address
        self._hold = bench.folder / "hold"
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._logs: dict[str, IO[bytes]] = {}
        kept = {key: value for key, value in os.environ.items() if not key.startswith("EXECPOS_")}
        self._environ = kept | {
            "EXECPOS_ENV": "simulation",
            "EXECPOS_KAFKA__PREFIX": prefix,
            "EXECPOS_KAFKA__BOOTSTRAP_SERVERS": bench.bootstrap_servers,
            "EXECPOS_REGISTRY__URL": bench.registry_url,
            "EXECPOS_BRIDGE__JOURNAL__FOLDER": str(bench.folder / "journal"),
        }

    def start(self, *names: str, bridge_id: str = "bridge-0") -> None:
        """Start components; they get ready by themselves."""
        for name in names:
            arguments = ["run", name]
            if name == BRIDGE:
                arguments += ["--broker", "sim", "--connect", self._address]
            module = ["execpos.bench.restart_bridge", str(self._hold)] if name == BRIDGE else ["execpos"]
            log = self._logs[name] = self.log_of(name).open("ab")
            self._running[name] = subprocess.Popen(  # noqa: S603 (this program itself)
                [sys.executable, "-m", *module, *arguments],
                env=self._environ | {"EXECPOS_BRIDGE__ID": bridge_id},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def hold(self) -> None:
        """Let the bridge journal nothing more: what comes stays in its memory."""
        self._hold.touch()

    def kill(self) -> None:
        """Kill all that run, at one moment; what the bridge held is gone with it."""
        for process in self._running.values():
            process.send_signal(signal.SIGKILL)
        self._end()
        self._hold.unlink(missing_ok=True)

    def stop(self) -> None:
        """Ask all that run to end, and wait; one that does not is killed."""
        for process in self._running.values():
            process.terminate()
        until_s = time.monotonic() + _STOP_S
        for process in self._running.values():
            try:
                process.wait(max(0.0, until_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        self._end()

    def wait(self, what: str, done: Callable[[], bool], patience_s: float = _PATIENCE_S) -> None:
        """Wait until `done`.

        Raises:
            DependencyError: a component ended, or it lasts too long.
        """
        until_s = time.monotonic() + patience_s
        while not done():
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            if ended or time.monotonic() > until_s:
                logs = "\n".join(
                    f"{name}:\n{self.log_of(name).read_text(errors='replace')[-_LOG_TAIL:]}" for name in ended or self._running
                )
                raise DependencyError(
                    f"waited in vain for {what}; ended: {', '.join(ended) or 'none'}", hint=f"the end of the logs:\n{logs}"
                )
            time.sleep(_LOOK_S)

    def log_of(self, name: str) -> Path:
        """Return where a component logs."""
        return self._folder / f"{name}.log"

    def _end(self) -> None:
        for process in self._running.values():
            process.wait()
        for log in self._logs.values():
            log.close()
        self._running.clear()
        self._logs.clear()


def _pipe(pipe: Any) -> Any:
    return pipe


def most_within(moments_us: Sequence[int], span_us: int) -> int:
    """Return how many moments lie within one span, at most."""
    first = most = 0
    for last, moment in enumerate(moments_us):
        while moments_us[first] <= moment - span_us:
            first += 1
        most = max(most, last - first + 1)
    return most
