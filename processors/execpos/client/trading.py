"""What exec.control says, and how old it is by the local clock."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from execpos.domain import control
from execpos.domain.events import TradingControl
from execpos.domain.vocabulary import ControlState

UnheardReason = Literal["", "control_missing", "control_stale"]
"""Why a required source counts as silent; empty when it does not."""


class Trading(msgspec.Struct, frozen=True):
    """What may be done in one scope at one moment.

    Attributes:
        state: the most restrictive of what every source says; ACTIVE says nothing by itself, see `unheard`.
        because: the records that say so; none when ACTIVE.
        unheard: empty, or why no order may be placed although nobody forbids it: a required source has never spoken, or not lately.
        silent: the required sources of which that is true.
    """

    state: ControlState
    because: tuple[TradingControl, ...]
    unheard: UnheardReason
    silent: tuple[str, ...]

    @property
    def active(self) -> bool:
        """Everything is allowed: no source restricts, and each required one has spoken lately."""
        return self.state == control.ACTIVE and not self.unheard


class Controls:
    """The newest record of each scope and source. One thread writes, any thread reads without waiting."""

    def __init__(self) -> None:
        # Scopes and sources are replaced as a whole, so that a reader on another thread never sees half a change.
        self._records: dict[str, dict[str, TradingControl]] = {}
        self._since_s: dict[tuple[str, str], float | None] = {}

    def put(self, record: TradingControl, since_s: float | None) -> None:
        """Take in a record that was written at `since_s` (local clock) or later; None: nobody knows when."""
        # The record first: a reader in between sees a new word with an old age, and never an old word that looks new.
        self._records[record.scope] = {**self._records.get(record.scope, {}), record.source: record}
        self._since_s[record.scope, record.source] = since_s

    def forget(self, key: str) -> None:
        """Take in a tombstone."""
        scope, _, source = key.rpartition("|")
        kept = {name: record for name, record in self._records.get(scope, {}).items() if name != source}
        self._since_s.pop((scope, source), None)
        if kept:
            self._records[scope] = kept
        else:
            self._records.pop(scope, None)

    def of(self, scopes: Sequence[str], required: Sequence[str], age_max_s: float, now_s: float) -> Trading:
        """Return what holds now.

        Args:
            scopes: those that cover the order, see `control.scopes`.
            required: sources of which one record of these scopes has to be fresh.
            age_max_s: from which age on a record is not.
            now_s: local monotonic clock.
        """
        found = control.effective(self._records, scopes)
        unheard: UnheardReason = ""
        silent = []
        for source in required:
            why = self._unheard(scopes, source, age_max_s, now_s)
            if why:
                silent.append(source)
                unheard = "control_missing" if "control_missing" in (why, unheard) else why
        return Trading(found.state, found.because, unheard, tuple(silent))

    def _unheard(self, scopes: Sequence[str], source: str, age_max_s: float, now_s: float) -> UnheardReason:
        spoke = False
        for scope in scopes:
            if (scope, source) in self._since_s:
                spoke = True
                since_s = self._since_s.get((scope, source))
                if since_s is not None and now_s - since_s <= age_max_s:
                    return ""
        return "control_stale" if spoke else "control_missing"
