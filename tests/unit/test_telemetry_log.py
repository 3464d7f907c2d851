"""A log that cannot be written is no reason to stop."""

import io
import sys
from collections.abc import Iterator

import pytest
import structlog

from execpos.telemetry import log


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        del text
        raise BrokenPipeError(32, "Broken pipe")


class Closed(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.close()


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("stream", [Broken, Closed])
def test_an_event_that_cannot_be_written_is_dropped_and_raises_nothing(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    log.configure(json=True)
    logger = log.Logger("bridge")

    for write in (logger.info, logger.warning, logger.error):
        write("component_started", env="test")


def test_an_event_is_one_json_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log.configure(json=True)

    log.Logger("bridge").info("component_started", env="test")

    assert stream.getvalue().count("\n") == 1
    assert '"event": "component_started"' in stream.getvalue()
