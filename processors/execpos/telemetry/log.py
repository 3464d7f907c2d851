"""Structured logs: one JSON line an event on stderr, or a readable line on a terminal."""

import contextlib
import logging
import sys
from typing import Any

import structlog

from execpos.telemetry.names import Component, LogEvent


class Logger:
    """Writes log events of one component. Thread-safe; never raises; may block on a slow stderr, so never on the callback path."""

    def __init__(self, component: Component) -> None:
        # Bound at the first use, so that `configure` may come later than the import that makes the logger.
        self._log: Any = structlog.get_logger(component=component)

    def debug(self, event: LogEvent, **fields: object) -> None:
        """Write what only a developer wants to see."""
        self._write(self._log.debug, event, fields)

    def info(self, event: LogEvent, **fields: object) -> None:
        """Write what an operator may want to know."""
        self._write(self._log.info, event, fields)

    def warning(self, event: LogEvent, **fields: object) -> None:
        """Write what an operator should look at when there is time."""
        self._write(self._log.warning, event, fields)

    def error(self, event: LogEvent, **fields: object) -> None:
        """Write what an operator has to act on."""
        self._write(self._log.error, event, fields)

    @staticmethod
    def _write(write: Any, event: LogEvent, fields: dict[str, object]) -> None:
        # A terminal that was closed, or a pipe whose reader has ended, must not end the work that was to be told of.
        with contextlib.suppress(OSError, ValueError):
            write(event, **fields)


def configure(level: str = "INFO", *, json: bool | None = None) -> None:
    """Set up logging for this process; later calls replace earlier ones.

    Args:
        level: DEBUG, INFO, WARNING or ERROR.
        json: JSON lines, or readable text; by default JSON unless stderr is a terminal.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False) if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
