"""What Kafka and the registry share: a Java program on pinned files, with ports of its own and a data folder."""

import contextlib
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from execpos.errors import DependencyError
from execpos.local import artifacts, pins
from execpos.local.net import choose_ports
from execpos.local.process import STOP_GRACE_S, Child, ChildFailed
from execpos.local.requirements import java, java_version

# A port may be taken between choosing and listening; three times in a row would be a machine with other troubles.
_PORT_TRIES = 3
# Ten seconds are usual; a machine that is busy may need minutes.
_TRAIN_DEADLINE_S = 180.0


class JavaServer(ABC):
    """A server with its data in `folder`. Not thread-safe; see `Part` for the methods' contract.

    Args:
        folder: where its data, settings and log live.
        cache: where the downloaded files live; see `artifacts.cache_folder`.
        port: for clients; 0 takes the last one used with this data, else a free one.
        train_to: write a start-up image (loaded and linked classes) there when it stops, instead of using one.
    """

    name: ClassVar[str]
    # The port for its own use, beside the one for clients.
    _second_port: ClassVar[str]
    # What the log says when somebody else took a port.
    _port_taken: ClassVar[str]
    _jvm: ClassVar[tuple[str, ...]]

    def __init__(self, folder: Path, cache: Path | None = None, port: int = 0, *, train_to: Path | None = None) -> None:
        self._folder = folder.absolute()
        self._cache = artifacts.cache_folder(cache)
        self._wanted_port = port
        self._port = 0
        self._train_to = train_to
        self._child = Child(self.name, self._folder)
        self.log_path = self._child.log_path

    @property
    @abstractmethod
    def address(self) -> str:
        """Where clients connect; valid after `start`."""

    @abstractmethod
    def _prepare(self, program: Path, ports: Mapping[str, int]) -> None:
        """Make the folder ready for a start on these ports."""

    @abstractmethod
    def _arguments(self, program: Path) -> list[str]:
        """Return what follows Java's own options on the command line."""

    @abstractmethod
    def _environment(self, ports: Mapping[str, int]) -> dict[str, str]:
        """Return what is added to the environment."""

    @abstractmethod
    def _ready(self) -> bool:
        """Tell whether it answers as a client would want; quick, and never raises."""

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, deadline_s: float = 60.0) -> None:
        if self.alive():
            return
        program = artifacts.ensure(pins.bundle(self.name), self._cache)
        options = [java(), *self._jvm, *self._image_options(program)]
        self._child.claim()
        try:
            self._start_on_free_port(program, options, time.monotonic() + deadline_s)
        except BaseException:
            self._child.kill()
            raise

    def _start_on_free_port(self, program: Path, options: list[str], end: float) -> None:
        for attempt in range(1, _PORT_TRIES + 1):
            ports = choose_ports(self._folder, {"client": self._wanted_port, self._second_port: 0})
            self._port = ports["client"]
            self._child.claim()
            self._prepare(program, ports)
            self._child.spawn([*options, *self._arguments(program)], self._environment(ports))
            try:
                self._child.wait_ready(self._ready, end - time.monotonic())
            except ChildFailed as error:
                if self._port_taken not in str(error.fields["log"]) or attempt == _PORT_TRIES:
                    raise
            else:
                return

    def stop(self) -> None:
        self._child.stop(_TRAIN_DEADLINE_S if self._train_to else STOP_GRACE_S)

    def kill(self) -> None:
        self._child.kill()

    def alive(self) -> bool:
        return self._child.alive()

    def prepare(self) -> None:
        """Download what a start needs and make the start-up image, which halves the processor time of every later start.

        Blocks for half a minute or more, so it pays after five starts or so; a start never does it by itself. A second call does nothing.

        Raises:
            DependencyError: something cannot be downloaded. An image that cannot be made is no error.
        """
        program = artifacts.ensure(pins.bundle(self.name), self._cache)
        with artifacts.locked(self._cache / f".{self.name}.image.lock", f"is preparing {self.name}"):
            if not _image(program).exists():
                self._train(_image(program))

    def _image_options(self, program: Path) -> list[str]:
        if self._train_to is not None:
            return [f"-XX:AOTCacheOutput={self._train_to}"]
        image = _image(program)
        return [f"-XX:AOTCache={image}", "-Xlog:aot=off", "-Xlog:cds=off"] if image.exists() and image.stat().st_size else []

    def _train(self, image: Path) -> None:
        """Write the image; an empty file when that fails, since a start without one is only slower."""
        scratch = Path(tempfile.mkdtemp(prefix="train-", dir=self._cache))
        made = scratch / "image"
        try:
            with contextlib.suppress(DependencyError), type(self)(scratch / "data", self._cache, train_to=made) as server:
                del server  # starting and stopping is all the training
            made.touch()
            made.replace(image)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _image(program: Path) -> Path:
    """Return where the start-up image stands; one made by another version of Java is of no use."""
    return program / f"start-{java_version()}.aot"
