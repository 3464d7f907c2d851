"""The examples run as they are written, against an installation with a simulated broker."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from execpos.domain.events import TradingControl
from execpos.local.stack import Stack
from installation import LIVENESS_S, Installation

pytestmark = pytest.mark.stack

EXAMPLES = Path(__file__).parents[2] / "examples"

# Slow enough that most positions stand still while they are compared.
DAY = """
seed: 31
rate: 20
accounts: {stock: 2, futures: 1}
sessions: [{start: now, seconds: 1200}]
"""

# A busy machine is no reason to halt here.
PATIENT = {f"EXECPOS_HALT__{name}": "3600" for name in ("RECOVERY_SECONDS", "HEARTBEAT_GAP_S", "LEDGER_LAG_S", "PROGRESS_AGE_S")}


@pytest.fixture(scope="module")
def installation(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Return an installation whose ledger and bridge are at work."""
    made = Installation(stack, tmp_path_factory.mktemp("examples"))
    try:
        made.ledger("one")
        (made.folder / "day.yaml").write_text(DAY)
        made.spawn("-m", "execpos", "run", "bridge", "--broker", "sim", "--scenario", str(made.folder / "day.yaml"))
        made.wait("positions", lambda: made.topics.records(made.names.positions) > 50)
        yield made
    finally:
        made.close()


def run(installation: Installation, name: str, *words: str) -> str:
    """Run an example to its end and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words],
        env=installation.environ,
        cwd=installation.folder,
        capture_output=True,
        text=True,
        timeout=LIVENESS_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def states(installation: Installation) -> dict[str, str]:
    """Return what the reconciler said last of each account."""
    said = installation.topics.read(TradingControl, f"{installation.prefix}exec.control.v1")
    return {one.scope: one.state for one in said if one.scope.count("|") == 3}


def test_watch_prints_positions_and_changes(installation: Installation) -> None:
    lines = run(installation, "watch.py", "4").splitlines()
    assert "positions of" in lines[0]
    assert all("unrealized" in line and " ms" in line for line in lines[1:])
    assert len(lines) > 1


def test_risk_denies_until_a_reconciler_has_compared_and_judges_by_limits_then_or_without_that_demand(installation: Installation) -> None:
    watched = run(installation, "risk.py").splitlines()
    assert watched
    assert all("control_missing" in line for line in watched)
    unwatched = run(installation, "risk.py", "--unwatched").splitlines()
    assert not any("control_missing" in line for line in unwatched)
    assert any(line.endswith(" allowed") for line in unwatched)

    installation.spawn("-m", "execpos", "run", "reconciler", **PATIENT)
    installation.wait("an account to be ACTIVE", lambda: "ACTIVE" in states(installation).values())
    compared = run(installation, "risk.py").splitlines()
    assert not any("control_missing" in line for line in compared)
    assert any(line.endswith(" allowed") for line in compared)


def test_strategy_books_its_fills_and_ends_cleanly(installation: Installation) -> None:
    with (installation.folder / "strategy.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, str(EXAMPLES / "strategy.py"), "alpha", "basis"],
            env=installation.environ,
            cwd=installation.folder,
            stdout=log,
            stderr=log,
        )
    installation.children.append(child)
    printed = installation.folder / "strategy.log"
    installation.wait("fills", lambda: printed.read_text().count("\n") > 20 or child.poll() is not None)
    child.send_signal(signal.SIGTERM)
    assert child.wait(LIVENESS_S) == 0, printed.read_text()
    connection = sqlite3.connect(installation.folder / "fills.db")
    booked, ids = connection.execute("SELECT count(*), count(DISTINCT id) FROM fills").fetchone()
    connection.close()
    assert 0 < booked == ids
