"""What all tests share: unit tests cannot reach a service, and a skip in CI is a failure."""

import os
import socket
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from execpos.local.stack import Stack

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
settings.register_profile("thorough", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=5_000)
settings.load_profile(os.environ.get("EXECPOS_HYPOTHESIS", "default"))


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that is not marked `stack` and opens a connection fails, even if the code swallows the error."""
    if request.node.get_closest_marker("stack"):
        return

    def refuse(self: socket.socket, address: Any) -> None:
        pytest.fail(f"a test without the marker `stack` connects to {address!r}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI everything that the tests need is there, so a skip hides something."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Real Kafka, registry and ClickHouse engine, one set for all tests; a test keeps to a prefix of its own."""
    with Stack(tmp_path_factory.mktemp("stack")) as started:
        yield started
