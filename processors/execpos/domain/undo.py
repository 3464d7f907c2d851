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
        # Three items a change, flat: mapping, key and what stood there; or an action, None, None. As tuples they would be a third slower,
        # and the collector would walk every one of them.
        self._log: list[Any] = []

    def put(self, mapping: dict[K, V], key: K, value: V) -> None:
        """Set `mapping[key]`, so that a rollback restores what stood there before or removes the key."""
        log = self._log
        log += (mapping, key, mapping.get(key, _MISSING))
        mapping[key] = value

    def drop(self, mapping: dict[K, V], key: K) -> None:
        """Remove `mapping[key]` if it is there; a rollback puts it back, though at the end of the mapping's order."""
        value = mapping.pop(key, _MISSING)
        if value is not _MISSING:
            self._log += (mapping, key, value)

    def later(self, action: Callable[[], object]) -> None:
        """Run `action` on rollback."""
        self._log += (action, None, None)

    def commit(self) -> None:
        """Forget the log: what was done stays."""
        self._log.clear()

    def rollback(self) -> None:
        """Take everything back; calling it again does nothing."""
        log = self._log
        while log:
            before, key, changed = log.pop(), log.pop(), log.pop()
            if not isinstance(changed, dict):
                changed()
            elif before is _MISSING:
                changed.pop(key, None)
            else:
                changed[key] = before
