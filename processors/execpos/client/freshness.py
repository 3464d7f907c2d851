"""How old the numbers of an account are, without comparing the clocks of two machines.

Each heartbeat of a bridge says up to which number it has published. When the ledger's progress passes that number, everything that was
published before the heartbeat is in the numbers. How long ago that was is told by the local clock alone: a heartbeat that was read now was
written after the moment at which this reader had last seen the end of that topic. So an age here is an upper bound.
"""

from collections import deque
from collections.abc import Sequence
from typing import Literal

import msgspec

from execpos.client.link import Ages
from execpos.domain.events import BridgeHeartbeat, Progress

# Unanswered heartbeats of one account: an hour of them. Older ones only make the age larger, which is long stale by then.
_WAITING_MAX = 3_600

StaleReason = Literal[
    "",
    "starting",
    "stopped",
    "reader_failed",
    "reader_behind",
    "record_unreadable",
    "bridge_unknown",
    "bridge_closed",
    "bridge_silent",
    "ledger_silent",
    "ledger_behind",
]
"""Why an account is stale; empty when it is not."""


class Freshness(msgspec.Struct, frozen=True):
    """How good the numbers of one account are at one moment.

    Attributes:
        fresh: they may be acted upon.
        reason: why not; empty when fresh.
        age_s: every report that the bridge had published so long ago is in the numbers; None while that is not known.
        heartbeat: what the bridge said last; None before the first.
    """

    fresh: bool
    reason: StaleReason
    age_s: float | None
    heartbeat: BridgeHeartbeat | None


class _Beat(msgspec.Struct, frozen=True):
    epoch: int
    seq: int
    since_s: float | None
    read_s: float


class _Account:
    """What is known of one account."""

    __slots__ = ("answered_s", "beat_s", "heartbeat", "reached", "waiting")

    def __init__(self) -> None:
        self.heartbeat: BridgeHeartbeat | None = None
        # Lower bound of when the newest heartbeat, and the newest answered one, was written.
        self.beat_s: float | None = None
        self.answered_s: float | None = None
        self.waiting: deque[_Beat] = deque(maxlen=_WAITING_MAX)
        # Bridge -> how far the ledger is.
        self.reached: dict[str, tuple[int, int]] = {}


class Ageing:
    """Takes in heartbeats and progress. One thread writes; any thread reads without waiting.

    Args:
        ages: limits.
    """

    def __init__(self, ages: Ages) -> None:
        self._ages = ages
        self._accounts: dict[str, _Account] = {}
        # Partition -> lower bound of when its newest progress was written.
        self._progress_s: dict[int, float | None] = {}
        self._inputs: dict[tuple[str, int], int] = {}
        self._broken: dict[str, str] = {}

    def accounts(self) -> tuple[str, ...]:
        """Return every account of which a bridge or the ledger has spoken."""
        return tuple(self._accounts.copy())

    def put_heartbeat(self, beat: BridgeHeartbeat, since_s: float | None, now_s: float) -> None:
        """Take in a heartbeat that was written at `since_s` (local clock) or later; None: nobody knows when."""
        if not beat.account:
            return
        account = self._accounts.setdefault(beat.account, _Account())
        known = account.heartbeat
        if known is not None and known.bridge_id != beat.bridge_id:
            # Another bridge has the account: what the last one counted cannot be answered any more.
            account.waiting.clear()
        elif known is not None and beat.incarnation < known.incarnation:
            # A process that was replaced says nothing any more.
            return
        account.heartbeat, account.beat_s = beat, since_s
        account.waiting.append(_Beat(beat.bridge_epoch, beat.published_seq, since_s, now_s))
        self._answer(account)

    def put_progress(self, progress: Progress, since_s: float | None) -> None:
        """Take in a progress record, likewise."""
        self._progress_s[progress.partition] = since_s
        for one in progress.inputs:
            self._inputs[one.topic, progress.partition] = one.offset
        for bridge in progress.bridges:
            account = self._accounts.setdefault(bridge.account, _Account())
            account.reached[bridge.bridge_id] = (bridge.bridge_epoch, bridge.bridge_seq)
            self._answer(account)

    def put_broken(self, account: str, what: str) -> None:
        """Remember that a record of the account could not be read: its numbers may be wrong from now on."""
        self._broken.setdefault(account, what)

    def applied(self, topic: str, partition: int) -> int:
        """Return the last offset of an input that the ledger has applied, by its progress; -1 for none."""
        return self._inputs.get((topic, partition), -1)

    def of(self, account: str, partition: int, now_s: float) -> Freshness:
        """Return how good an account's numbers are now.

        Args:
            account: account key.
            partition: its partition.
            now_s: local monotonic clock.
        """
        found = self._accounts.get(account)
        heartbeat = found.heartbeat if found is not None else None
        age_s = now_s - found.answered_s if found is not None and found.answered_s is not None else None
        reason = self._reason(account, found, partition, now_s)
        return Freshness(not reason, reason, age_s, heartbeat)

    def _reason(self, account: str, found: _Account | None, partition: int, now_s: float) -> StaleReason:
        if account in self._broken:
            return "record_unreadable"
        if found is None or found.heartbeat is None:
            return "bridge_unknown"
        if found.heartbeat.kind == "CLOSED":
            return "bridge_closed"
        if _older(found.beat_s, self._ages.heartbeat_gap_s, now_s):
            return "bridge_silent"
        if _older(self._progress_s.get(partition), self._ages.progress_age_s, now_s):
            return "ledger_silent"
        waiting = _first(found.waiting)
        behind = found.answered_s is None or (waiting is not None and _older(waiting.read_s, self._ages.progress_age_s, now_s))
        return "ledger_behind" if behind else ""

    @staticmethod
    def _answer(account: _Account) -> None:
        """Move the heartbeats that the ledger has passed to the answered ones."""
        beat = account.heartbeat
        reached = account.reached.get(beat.bridge_id) if beat is not None else None
        if reached is None:
            return
        while account.waiting and (account.waiting[0].epoch, account.waiting[0].seq) <= reached:
            passed = account.waiting.popleft()
            if passed.since_s is not None:
                account.answered_s = passed.since_s


def _older(since_s: float | None, age_s: float, now_s: float) -> bool:
    return since_s is None or now_s - since_s > age_s


def _first(waiting: Sequence[_Beat]) -> _Beat | None:
    try:
        return waiting[0]
    except IndexError:
        return None
