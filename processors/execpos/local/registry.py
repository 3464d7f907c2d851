"""Apicurio Registry as a child process: schemas in an H2 file, the Confluent API on loopback only."""

import contextlib
import http.client
from collections.abc import Mapping
from pathlib import Path

from execpos.local.javaserver import JavaServer
from execpos.local.net import LOOPBACK

_API = "/apis/ccompat/v7"
# It serves a few requests a minute: a small heap, and the quick compiler only, for a quick start.
_JVM = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.net.preferIPv4Stack=true",
)


class Registry(JavaServer):
    """One registry. Schema ids survive a restart and a kill: kept topics would decode wrongly if they did not."""

    name = "registry"
    _second_port = "management"
    _port_taken = "already bound"
    _jvm = _JVM

    @property
    def url(self) -> str:
        """The base of the Confluent API; valid after `start`."""
        return f"http://{LOOPBACK}:{self._port}{_API}"

    @property
    def address(self) -> str:
        return self.url

    def _prepare(self, program: Path, ports: Mapping[str, int]) -> None:
        del program, ports
        (self._folder / "tmp").mkdir(exist_ok=True)

    def _arguments(self, program: Path) -> list[str]:
        return [f"-Djava.io.tmpdir={self._folder / 'tmp'}", "-jar", str(program / "quarkus-run.jar")]

    def _environment(self, ports: Mapping[str, int]) -> dict[str, str]:
        return {
            "APICURIO_STORAGE_KIND": "sql",
            "APICURIO_STORAGE_SQL_KIND": "h2",
            # Without WRITE_DELAY=0 a schema is on disk half a second after its id was given out, too late for a kill.
            "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{self._folder / 'registry'};WRITE_DELAY=0",
            "APICURIO_DATASOURCE_JDBC_INITIAL_SIZE": "2",
            "APICURIO_DATASOURCE_JDBC_MIN_SIZE": "2",
            "APICURIO_STORAGE_SNAPSHOT_LOCATION": str(self._folder / "tmp"),
            "APICURIO_IMPORT_WORK_DIR": str(self._folder / "tmp"),
            "QUARKUS_HTTP_HOST": LOOPBACK,
            "QUARKUS_HTTP_PORT": str(ports["client"]),
            "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
            "QUARKUS_MANAGEMENT_HOST": LOOPBACK,
            "QUARKUS_MANAGEMENT_PORT": str(ports["management"]),
        }

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=2.0)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", f"{_API}/subjects")
            return connection.getresponse().status == http.HTTPStatus.OK
        return False
