"""Kafka, the schema registry and ClickHouse together, on this machine, without Docker."""

import contextlib
import importlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from execpos.errors import DependencyError, UsageError
from execpos.local import artifacts, pins
from execpos.local.kafka import Kafka
from execpos.local.process import Part
from execpos.local.registry import Registry
from execpos.local.requirements import check_disk, check_memory, java

# A cold start takes 5 to 15 s; at a load of ten for each core it took 60.
START_DEADLINE_S = 240.0


def state_folder() -> Path:
    """Return the data folder for those who name none: `execpos/default` in the user's XDG state folder. Creates nothing."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "execpos" / "default"


class Stack:
    """The servers that the pipeline needs, with their data in one folder. Not thread-safe.

    Start it again on the same folder and topics, schema ids and tables are as they were, after a kill as well, at the same addresses
    unless somebody else listens there by then. No server outlives the process that started it.

    Args:
        data: one subfolder for each server.
        cache: where downloads are kept; by default `EXECPOS_CACHE`, else `execpos` in the user's XDG cache folder.
        clickhouse: whether to start ClickHouse.
        kafka_port: for clients of Kafka; 0 takes the last one used with this data, else a free one. Likewise the others.
        registry_port: see `kafka_port`.
        clickhouse_port: see `kafka_port`.
    """

    def __init__(
        self,
        data: Path,
        cache: Path | None = None,
        *,
        clickhouse: bool = True,
        kafka_port: int = 0,
        registry_port: int = 0,
        clickhouse_port: int = 0,
    ) -> None:
        self.data = data.absolute()
        self.cache = artifacts.cache_folder(cache)
        self.kafka = Kafka(self.data / "kafka", self.cache, kafka_port)
        self.registry = Registry(self.data / "registry", self.cache, registry_port)
        # Any: its module loads only when it is wanted.
        self._clickhouse: Any = _clickhouse_part(self.data / "clickhouse", clickhouse_port) if clickhouse else None

    @property
    def clickhouse(self) -> Any:
        """The ClickHouse part; its `url` is what clients take.

        Raises:
            UsageError: the stack was made without it.
        """
        if self._clickhouse is None:
            raise UsageError("this stack was made without ClickHouse", hint="make it with clickhouse=True")
        return self._clickhouse

    @property
    def parts(self) -> tuple[Part, ...]:
        """The servers of this stack, running or not."""
        return (self.kafka, self.registry) if self._clickhouse is None else (self.kafka, self.registry, self._clickhouse)

    def addresses(self) -> dict[str, str]:
        """Return where each server is reached, by the part's name; valid after `start`."""
        return {part.name: part.address for part in self.parts}

    def download(self) -> None:
        """Check the machine and download what is not in the cache yet, with progress on stderr; `start` does it, too. May be called twice.

        Raises:
            DependencyError: something is missing or cannot be downloaded.
        """
        self._check()
        for name in ("kafka", "registry"):
            artifacts.ensure(pins.bundle(name), self.cache)

    def prepare(self) -> None:
        """Download everything and make start-up images, so that later starts need no network and half the processor time.

        Optional: `start` downloads what it needs by itself. Blocks for a minute or so; a second call does nothing.

        Raises:
            DependencyError: something is missing or cannot be downloaded.
        """
        self._check()
        with ThreadPoolExecutor(max_workers=2) as pool:
            for prepared in [pool.submit(part.prepare) for part in (self.kafka, self.registry)]:
                prepared.result()

    def start(self, deadline_s: float = START_DEADLINE_S) -> Self:
        """Start all servers at once and block until each answers; what runs already is left alone. All are stopped again if one fails.

        Downloads before the first start take as long as the network takes; the deadline begins after them.

        Raises:
            DependencyError: something is missing, a server did not come up, or another process owns the folder.
        """
        self.download()
        pool = ThreadPoolExecutor(max_workers=len(self.parts))
        try:
            for started in [pool.submit(part.start, deadline_s) for part in self.parts]:
                started.result()
        except BaseException:
            pool.shutdown()  # a part can be stopped only when its own start has returned
            self.stop()
            raise
        pool.shutdown()
        return self

    def _check(self) -> None:
        java()
        check_memory()
        check_disk(self.data)

    def stop(self) -> None:
        """Stop all servers cleanly and block until they are gone. May be called twice."""
        with ThreadPoolExecutor(max_workers=len(self.parts)) as pool:
            for stopped in [pool.submit(part.stop) for part in self.parts]:
                stopped.result()

    def kill(self) -> None:
        """End all servers as a crash would. May be called twice."""
        for part in self.parts:
            part.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _clickhouse_part(folder: Path, port: int) -> Part:
    with contextlib.suppress(ModuleNotFoundError):
        module = importlib.import_module("execpos.local.clickhouse")
        part: Part = module.ClickHouse(folder, port=port)
        return part
    raise DependencyError(
        "the ClickHouse part cannot be imported", hint="install the embedded stack's packages: pip install 'execpos[local]'"
    )
