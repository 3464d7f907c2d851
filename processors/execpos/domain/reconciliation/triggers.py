"""What makes a round necessary, and what may have been missed: read from heartbeats, the ledger's progress and snapshots. Pure.

A gap is a span in which a report may have been lost. It stays with the account until a later round has found a key equal: a round proves
the position and not the reports, so what it found equal needs no report of before any more.
"""

import msgspec

from execpos.domain.events import BridgeHeartbeat, BridgeProgress, Progress
from execpos.domain.reconciliation.repair import Gap
from execpos.domain.reconciliation.sides import Book, Key
from execpos.domain.vocabulary import RoundTrigger

MARKED_QUALITIES = frozenset({"CONFLICT", "INCOMPLETE", "BLOCKED"})
"""Qualities of a row that a report could not be booked for, or that contradicts itself."""

COVERED_BY_BRIDGE: frozenset[RoundTrigger] = frozenset({"START", "RECONNECT", "HEARTBEAT_GAP", "EVENT_GAP", "CACHE", "EPOCH"})
"""After these the bridge reads the records by itself; a request for it is needed only where that is not done yet."""

FRESH_RECORDS: frozenset[RoundTrigger] = frozenset({"MARKED", "OVERFILL", "COMMAND"})
"""Before these rounds the records are read again, whatever was read before."""

# Gaps that are kept one by one; beyond it the two oldest become one, which covers both and what lies between.
_GAPS_MAX = 32


class Bridge(msgspec.Struct, frozen=True):
    """What the heartbeats of an account say.

    Attributes:
        last: the newest beat.
        claimed: incarnation of the newest start that was seen, which its first beat may not have followed yet.
        beats: beats seen, at most a few.
        heard_us: when the newest was made, or came, whichever is earlier.
        lost_ts: since when the session is not up; 0 while it is.
    """

    last: BridgeHeartbeat
    claimed: int = 0
    beats: int = 0
    heard_us: int = 0
    lost_ts: int = 0


class Heard(msgspec.Struct, frozen=True):
    """What a heartbeat changes: the view, triggers, gaps."""

    bridge: Bridge
    triggers: tuple[RoundTrigger, ...] = ()
    gaps: tuple[Gap, ...] = ()


def heard(before: Bridge | None, beat: BridgeHeartbeat, now_us: int, silence_us: int) -> Heard:
    """Take in a heartbeat; one of an older start of the same bridge, or older than the newest, changes nothing.

    Args:
        before: what was known; None before the first.
        beat: CLAIM, BEAT or CLOSED.
        now_us: when it came.
        silence_us: a longer pause between two beats is a gap.
    """
    made_us = min(beat.ts, now_us)
    if before is None:
        # A start that nobody saw the end of before: how long nobody listened is not known.
        gaps = (Gap(0, beat.ts, "the bridge started"),) if beat.kind == "CLAIM" else ()
        lost_ts = 0 if _up(beat) or gaps else beat.ts
        first = Bridge(beat, beat.incarnation, int(beat.kind == "BEAT"), made_us, lost_ts)
        return Heard(first, ("EPOCH",) if gaps else (), gaps)
    last = before.last
    same = last.bridge_id == beat.bridge_id
    if same and (beat.incarnation, beat.ts) < (last.incarnation, last.ts):
        return Heard(before)
    restarted = not same or beat.incarnation > before.claimed or beat.bridge_epoch != last.bridge_epoch
    found: list[tuple[RoundTrigger, Gap]] = []
    if restarted:
        found.append(("EPOCH", Gap(last.ts, _end(last.ts, beat), "the bridge started again")))
    elif beat.kind == "BEAT" and beat.ts - last.ts > silence_us:
        found.append(("HEARTBEAT_GAP", Gap(last.ts, beat.ts, "the bridge was silent")))
    if beat.kind == "BEAT" and not restarted and same and beat.incarnation == last.incarnation:
        found.extend(_missed(last, beat, before.lost_ts))
    lost_ts = 0 if _up(beat) else before.lost_ts or (beat.ts if beat.kind != "CLAIM" else 0)
    if beat.kind == "BEAT" and _up(beat) and before.lost_ts and not restarted:
        found.append(("RECONNECT", Gap(before.lost_ts, _end(before.lost_ts, beat), "the session was not up")))
    beats = 0 if restarted else before.beats
    view = Bridge(beat, max(beat.incarnation, 0 if restarted else before.claimed), beats + (beat.kind == "BEAT"), made_us, lost_ts)
    return Heard(view, tuple(dict.fromkeys(trigger for trigger, _ in found)), tuple(gap for _, gap in found))


def _end(from_ts: int, beat: BridgeHeartbeat) -> int:
    """Return when a gap ended that began at `from_ts`: before the records were read, if that was since and nothing is open any more."""
    return beat.last_catchup_ts - 1 if not beat.open_gaps and beat.last_catchup_ts > from_ts else beat.ts


def _missed(last: BridgeHeartbeat, beat: BridgeHeartbeat, lost_ts: int) -> list[tuple[RoundTrigger, Gap]]:
    found: list[tuple[RoundTrigger, Gap]] = []
    if beat.gaps > last.gaps:
        found.append(("EVENT_GAP", Gap(last.ts, beat.ts, "a hole in the broker's numbering")))
    elif beat.open_gaps > last.open_gaps and not lost_ts and _up(beat):
        found.append(("RECONNECT", Gap(last.ts, beat.ts, "what the bridge has to read again")))
    if beat.cache_health == "Degraded" and last.cache_health != "Degraded":
        found.append(("CACHE", Gap(last.ts, beat.ts, f"the broker's order cache: {', '.join(beat.cache_reasons) or 'degraded'}")))
    return found


def _up(beat: BridgeHeartbeat) -> bool:
    return beat.kind == "BEAT" and beat.session == "up"


def covered(bridge: Bridge, since_ts: int) -> bool:
    """Tell whether the bridge has read the account's records after `since_ts`, and knows of nothing that it has to read again."""
    return _up(bridge.last) and not bridge.last.open_gaps and bridge.last.last_catchup_ts > since_ts


def kept(gaps: tuple[Gap, ...], new: tuple[Gap, ...]) -> tuple[Gap, ...]:
    """Return the gaps with new ones; of too many the oldest become one."""
    merged = (*gaps, *new)
    while len(merged) > _GAPS_MAX:
        first, second, *rest = merged
        merged = (Gap(min(first.from_ts, second.from_ts), max(first.to_ts, second.to_ts), "several gaps"), *rest)
    return merged


class Ledger(msgspec.Struct, frozen=True):
    """What the progress records say of an account.

    Attributes:
        epoch: incarnation of the ledger's state.
        seen: what it has of the account's bridges.
        closed_session: the newest session that it closed; empty before the first.
        records: progress records seen, at most a few.
        heard_us: when the newest was written, or came, whichever is earlier.
    """

    epoch: int
    seen: tuple[BridgeProgress, ...]
    closed_session: str
    records: int
    heard_us: int


def progressed(before: Ledger | None, progress: Progress, account: str, now_us: int) -> tuple[Ledger, bool]:
    """Take in a progress record; say whether another incarnation of the ledger's state wrote it than the one before."""
    if before is not None and progress.ledger_epoch < before.epoch:
        return before, False
    view = Ledger(
        epoch=progress.ledger_epoch,
        seen=tuple(one for one in progress.bridges if one.account == account),
        closed_session=next((one.closed_session for one in progress.accounts if one.account == account), ""),
        records=1 if before is None or before.epoch != progress.ledger_epoch else before.records + 1,
        heard_us=min(progress.ts, now_us),
    )
    return view, before is not None and before.epoch != progress.ledger_epoch


def lag_us(bridge: Bridge | None, ledger: Ledger | None) -> int:
    """Return how old the oldest report is that the ledger may not have handled, by the bridge's beats; 0 while either is unknown."""
    if bridge is None or ledger is None:
        return 0
    beat = bridge.last
    seen = next((one for one in ledger.seen if one.bridge_id == beat.bridge_id and one.bridge_epoch == beat.bridge_epoch), None)
    if seen is None or seen.bridge_seq >= beat.published_seq:
        # Nothing of this numbering has come: the beats that the ledger lacks are told by its silence, and its rounds by their markers.
        return 0
    return max(0, beat.ts - seen.beat_ts)


def marks(book: Book) -> dict[Key, str]:
    """Return the keys of a book that are marked, with their quality; the mark of the whole account stands under `ids.WHOLE_ACCOUNT`."""
    return {key: row.quality for key, row in book.rows.items() if row.quality in MARKED_QUALITIES}


def newly_marked(before: dict[Key, str] | None, now: dict[Key, str]) -> bool:
    """Tell whether a key is marked that was not, or worse than it was; the first book of all tells nothing new."""
    if before is None:
        return False
    return any(before.get(key) != quality for key, quality in now.items())
