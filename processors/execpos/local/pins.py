"""The exact files that make the embedded servers: `pins.json`, with the SHA-256 of each. `python -m execpos.local.repin` writes it."""

from functools import cache
from pathlib import Path

import msgspec

PINS_FILE = Path(__file__).with_name("pins.json")


class Pin(msgspec.Struct, frozen=True):
    """One file on Maven Central."""

    group: str
    artifact: str
    version: str
    classifier: str
    packaging: str
    sha256: str
    bytes: int

    @property
    def filename(self) -> str:
        """The file's name there and in the cache."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{suffix}.{self.packaging}"


class Bundle(msgspec.Struct, frozen=True):
    """The files of one server.

    `digest` is a short hash over all of them: it names the bundle's folder in the cache.
    """

    name: str
    version: str
    digest: str
    files: tuple[Pin, ...]


@cache
def bundle(name: str) -> Bundle:
    """Return the pinned files of `kafka` or `registry`. Reads one file of the package, once."""
    return next(b for b in msgspec.json.decode(PINS_FILE.read_bytes(), type=tuple[Bundle, ...]) if b.name == name)
