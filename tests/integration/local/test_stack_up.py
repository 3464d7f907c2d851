"""`execpos up` and `execpos doctor` as a user runs them."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from execpos.local.checks import services
from local_tools import Up, processes_on, until

pytestmark = pytest.mark.stack

RunUp = Callable[..., Up]


@pytest.fixture
def run_up(tmp_path: Path) -> Iterator[RunUp]:
    started: list[Up] = []

    def start(*options: str) -> Up:
        started.append(Up(tmp_path / "data", "--no-clickhouse", *options))
        return started[-1]

    yield start
    for each in started:
        each.close()
    assert until(lambda: not processes_on(tmp_path / "data"))


def test_killed_group_leaves_no_orphan_and_its_data_is_right_at_the_next_start(run_up: RunUp) -> None:
    first = run_up()
    clients = first.clients()
    clients.create_topic()
    clients.produce([b"a", b"b"])
    schema_id = clients.register("kept", "x", "y")

    assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert until(lambda: not processes_on(first.data))

    second = run_up()
    again = second.clients()
    assert again.bootstrap_servers == clients.bootstrap_servers
    assert again.read() == [b"a", b"b"]
    assert again.schema(schema_id) == ["x", "y"]
    assert second.end(signal.SIGTERM)[0] == 0


def test_interrupt_is_success_and_announces_itself(run_up: RunUp) -> None:
    up = run_up()
    shown = up.ready()

    assert set(shown) == {"data", "pid", "seconds", "addresses", "settings"}
    assert shown["settings"]["EXECPOS_KAFKA__BOOTSTRAP_SERVERS"] == shown["addresses"]["kafka"]
    checks = list(services(shown["addresses"]["kafka"], shown["addresses"]["registry"], None))
    assert [check.status for check in checks] == ["ok", "ok"]
    status, stderr = up.end(signal.SIGINT)
    assert status == 0
    assert "stopping" in stderr
    assert [check.status for check in services(None, shown["addresses"]["registry"], None)] == ["fail"]


def test_server_that_dies_ends_the_command_with_its_name_and_log(run_up: RunUp) -> None:
    up = run_up()
    up.ready()
    (broker,) = [pid for pid in processes_on(up.data) if b"kafka.Kafka" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    os.kill(broker, signal.SIGKILL)
    status, stderr = up.result()

    assert status == 4
    assert "kafka ended by itself" in stderr
    assert "Kafka Server started" in stderr


def test_second_command_on_the_same_data_is_refused_with_the_pid_of_the_first(run_up: RunUp) -> None:
    up = run_up()
    pid = up.ready()["pid"]

    status, stderr = run_up().result()

    assert status == 4
    assert f"in use by process {pid}" in stderr
    assert up.process.poll() is None
