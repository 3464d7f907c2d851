"""A mistake in the configuration, and how several of them become one error."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from execpos.errors import ConfigError

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """What is wrong with one value.

    Attributes:
        path: keys and list positions that lead to the value.
        message: what is wrong, and what is allowed.
    """

    path: Path
    message: str

    def text(self, place: str) -> str:
        """Return one line: where, which key, what."""
        key = ".".join(str(part) for part in self.path)
        return f"{place}: {key}: {self.message}" if key else f"{place}: {self.message}"


def refuse(lines: Sequence[str]) -> ConfigError:
    """Return the error that names all mistakes at once."""
    count = "a mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return ConfigError(
        f"{count} in the configuration\n" + "\n".join(f"  {line}" for line in lines),
        hint="config/*.schema.json describes every key; `execpos config show` prints what is in force",
        problems=list(lines),
    )


def listed(names: Iterable[object]) -> str:
    """Return names for a sentence, in order."""
    return ", ".join(sorted(map(str, names)))
