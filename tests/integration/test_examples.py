"""The examples run as they are written, against an installation with simulated data."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from execpos.local.stack import Stack
from installation import LIVENESS_S, Installation

pytestmark = pytest.mark.stack

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def installation(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Return an installation whose ledger and bridge are at work."""
    made = Installation(stack, tmp_path_factory.mktemp("examples"))
    try:
        made.ledger("one")
        made.spawn("-m", "execpos", "run", "bridge", "--sim", "--rate", "100", "--seconds", "600", "--seed", "31")
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


def test_watch_prints_positions_and_changes(installation: Installation) -> None:
    lines = run(installation, "watch.py", "4").splitlines()
    assert "positions of" in lines[0]
    assert all("unrealized" in line and " ms" in line for line in lines[1:])
    assert len(lines) > 1


def test_risk_denies_without_a_reconciler_and_judges_by_limits_without_that_demand(installation: Installation) -> None:
    watched = run(installation, "risk.py").splitlines()
    assert watched
    assert all("control_missing" in line for line in watched)
    unwatched = run(installation, "risk.py", "--unwatched").splitlines()
    assert not any("control_missing" in line for line in unwatched)
    assert any(line.endswith(" allowed") for line in unwatched)


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
