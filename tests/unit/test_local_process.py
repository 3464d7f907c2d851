"""Child processes and the folders that they own."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from execpos.errors import DependencyError
from execpos.local.folder import FolderLock, end_leftover, record_child, started
from execpos.local.process import Child, ChildFailed

# For liveness only: a machine under load may take long to schedule a process.
DEADLINE_S = 60.0
SLEEP = "import time; time.sleep(600)"


def _until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _gone(pid: int) -> bool:
    return started(pid) is None


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    made = Child("part", tmp_path / "part")
    made.claim()
    yield made
    made.kill()


def test_child_runs_until_it_is_stopped_and_its_folder_is_free_again(child: Child) -> None:
    child.spawn([sys.executable, "-c", SLEEP])
    pid = child.pid
    assert pid is not None
    assert child.alive()

    child.stop()
    child.stop()

    assert not child.alive()
    assert _gone(pid)
    other = FolderLock(child.folder)
    other.acquire()
    other.release()


def test_child_that_ignores_sigterm_is_killed_after_the_grace(child: Child) -> None:
    script = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); {SLEEP}"
    child.spawn([sys.executable, "-c", script])
    child.wait_ready(lambda: "ready" in child.tail(), DEADLINE_S)
    pid = child.pid
    assert pid is not None

    child.stop(grace_s=0.1)

    assert _gone(pid)


def test_child_that_ends_while_starting_is_an_error_with_its_last_words(child: Child) -> None:
    child.spawn([sys.executable, "-c", "print('cannot bind'); raise SystemExit(3)"])

    with pytest.raises(ChildFailed, match="part ended with status 3 while starting") as caught:
        child.wait_ready(lambda: False, DEADLINE_S)

    assert "cannot bind" in caught.value.hint
    assert caught.value.fields["log"] == "cannot bind"
    assert caught.value.exit_code == 4


def test_child_that_never_answers_is_killed_and_named(child: Child) -> None:
    child.spawn([sys.executable, "-c", SLEEP])
    pid = child.pid
    assert pid is not None

    with pytest.raises(ChildFailed, match="part did not answer within 0 s"):
        child.wait_ready(lambda: False, 0.0)

    assert _gone(pid)


def test_failing_preparation_is_an_error_with_its_status(child: Child) -> None:
    with pytest.raises(ChildFailed, match="ended with status 7"):
        child.run([sys.executable, "-c", "raise SystemExit(7)"], DEADLINE_S)


def test_log_of_the_start_before_is_kept(child: Child) -> None:
    child.run([sys.executable, "-c", "print('first')"], DEADLINE_S)
    child.run([sys.executable, "-c", "print('second')"], DEADLINE_S)

    assert child.log_path.read_text(encoding="utf-8") == "second\n"
    assert child.log_path.with_suffix(".log.1").read_text(encoding="utf-8") == "first\n"


def test_child_outlives_the_thread_that_asked_for_it(child: Child) -> None:
    thread = threading.Thread(target=lambda: child.spawn([sys.executable, "-c", f"print('up', flush=True); {SLEEP}"]))
    thread.start()
    thread.join()

    child.wait_ready(lambda: "up" in child.tail(), DEADLINE_S)
    assert child.alive()


def test_child_dies_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    owner = f"""
import pathlib, sys, time
from execpos.local.process import Child
child = Child("part", pathlib.Path({str(tmp_path)!r}))
child.claim()
child.spawn([sys.executable, "-c", "print('up', flush=True); {SLEEP}"])
child.wait_ready(lambda: "up" in child.tail(), {DEADLINE_S})
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()

    assert _until(lambda: _gone(pid))


def test_folder_in_use_is_refused_with_the_holders_pid(tmp_path: Path) -> None:
    holder, other = FolderLock(tmp_path), FolderLock(tmp_path)
    holder.acquire()

    with pytest.raises(DependencyError, match=f"in use by process {os.getpid()}") as caught:
        other.acquire()

    assert caught.value.fields["pid"] == os.getpid()
    assert "--data" in caught.value.hint
    holder.release()
    other.acquire()
    other.release()


def test_process_left_behind_in_the_folder_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execpos.local.folder._LEFTOVER_GRACE_S", 0.5)
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as left:
        record_child(tmp_path, left.pid)

        end_leftover(tmp_path)

        assert left.wait(DEADLINE_S) == -signal.SIGKILL


def test_process_that_only_has_the_recorded_number_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as stranger:
        (tmp_path / "process.json").write_bytes(orjson.dumps({"pid": stranger.pid, "started": "1"}))

        end_leftover(tmp_path)

        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b'{"pid": 1}'])
def test_broken_process_record_stops_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "process.json").write_bytes(content)

    end_leftover(tmp_path)

    assert (tmp_path / "process.json").read_bytes() == content
