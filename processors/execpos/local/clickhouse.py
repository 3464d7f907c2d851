"""ClickHouse for one machine: the chdb engine in a child process that speaks ClickHouse's HTTP interface."""

import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from execpos.local.net import LOOPBACK, choose_ports
from execpos.local.process import Child

# The longest that one look whether it answers may take; a loaded machine is asked again.
_PROBE_S = 2.0


class ClickHouse:
    """The embedded ClickHouse on one data folder; a `Part` of the stack. Not thread-safe.

    Kafka-engine tables and their views do not survive the end of the process, rows do: `execpos clickhouse apply` makes them again.

    Args:
        data: folder of its own; made when missing, and kept.
        port: on loopback; 0 takes the port of the last start, or a free one.
    """

    def __init__(self, data: Path, port: int = 0) -> None:
        self._child = Child("clickhouse", data)
        self._wanted_port = port
        self._port = 0

    @property
    def name(self) -> str:
        return self._child.name

    @property
    def url(self) -> str:
        """Where the HTTP interface is, as `http://127.0.0.1:18123`; valid once started."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def address(self) -> str:
        return self.url

    @property
    def dsn(self) -> str:
        """The same for `clickhouse_connect.get_client(dsn=...)`."""
        return self.url

    @property
    def log_path(self) -> Path:
        return self._child.log_path

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._child.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, deadline_s: float = 60.0) -> None:
        """Start it and block until it answers; does nothing when it runs. May be called again after stop or kill.

        Raises:
            DependencyError: it did not answer in time, or another live process owns the data folder.
        """
        if self.alive():
            return
        self._child.claim()
        try:
            self._port = choose_ports(self._child.folder, {"http": self._wanted_port or self._port})["http"]
            self._child.spawn(
                [
                    sys.executable,
                    "-m",
                    "execpos.local.clickhouse_server",
                    "--data",
                    str(self._child.folder.resolve()),
                    "--port",
                    str(self._port),
                ],
                env={"TZ": "UTC"},
            )
            self._child.wait_ready(self._answers, deadline_s)
        except BaseException:
            self._child.kill()
            raise

    def stop(self) -> None:
        """End it cleanly and block until it is gone. May be called twice."""
        self._child.stop()

    def kill(self) -> None:
        """End it as a crash would and block until it is gone. May be called twice."""
        self._child.kill()

    def alive(self) -> bool:
        """Tell whether its process runs. Never blocks."""
        return self._child.alive()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=_PROBE_S) as reply:  # noqa: S310 (our own loopback address)
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False
