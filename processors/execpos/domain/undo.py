"""Takes back what a transaction did to the state in memory, when the transaction aborts."""

from collections.abc import Callable
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_MISSING: Any = object()


class Undo:
    """A log of changes since the last commit, undone from the newest to the oldest.

    Not thread-safe. Every change of state between two commits must go through it; a change made past it survives a rollback, which
    would make the state differ from the topics.
    """

    __slots__ = ("_log",)

    def __init__(self) -> None:
        self._log: list[Callable[[], object] | tuple[dict[Any, Any], Any, Any]] = []

    def put(self, mapping: dict[K, V], key: K, value: V) -> None:
        """Set `mapping[key]`, so that a rollback restores what stood there before or removes the key."""
        self._log.append((mapping, key, mapping.get(key, _MISSING)))
        mapping[key] = value

    def drop(self, mapping: dict[K, V], key: K) -> None:
        """Remove `mapping[key]` if it is there; a rollback puts it back, though at the end of the mapping's order."""
        value = mapping.pop(key, _MISSING)
        if value is not _MISSING:
            self._log.append((mapping, key, value))

    def later(self, action: Callable[[], object]) -> None:
        """Run `action` on rollback."""
        self._log.append(action)

    def commit(self) -> None:
        """Forget the log: what was done stays."""
        self._log.clear()

    def rollback(self) -> None:
        """Take everything back; calling it again does nothing."""
        for entry in reversed(self._log):
            if isinstance(entry, tuple):
                mapping, key, before = entry
                if before is _MISSING:
                    mapping.pop(key, None)
                else:
                    mapping[key] = before
            else:
                entry()
        self._log.clear()
