"""What the bridge learns from its own records once they are in the journal: holes, contents, and when each account was last heard of."""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from execpos.bridge.content import Contents
from execpos.bridge.gaps import GapWatch, Hole
from execpos.bridge.journal.files import Position
from execpos.bridge.journal.journal import Journal
from execpos.bridge.journal.segment import SCHEMA
from execpos.codecs import framing
from execpos.codecs.avro import Decoder
from execpos.domain.events import RawExecEvent
from execpos.domain.ids import session_id
from execpos.domain.vocabulary import CALLBACK_KINDS, CATCHUP

_STATE_KEY = "receipts"

# Any id does: it only ties a body to its schema for the decoder.
_WRITER_ID = 1

# Baselines are noted every few seconds; at ten thousand reports a second this is what a killed bridge has written since.
_REPLAYED_MAX = 200_000
# A night of the market, 14:45 to 06:00, is the longer of its two sessions.
_SESSION_US = 15 * 3_600_000_000 + 900_000_000
_BATCH_RECORDS = 5_000
_BATCH_BYTES = 16 * 1024 * 1024


class LastHeard:
    """When the last callback of each account was taken; µs, UTC. `see` on the drain thread, `get` on any."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def see(self, records: Iterable[RawExecEvent]) -> None:
        """Take in records."""
        for record in records:
            if record.kind in CALLBACK_KINDS:
                self._last[record.account] = record.ingest_ts

    def get(self, account: str) -> int:
        """Return the moment, 0 before the first."""
        return self._last.get(account, 0)


class Observed:
    """Sees every record of a login that can be asked, and keeps the baselines of its numbering over restarts. Thread-safe.

    Args:
        journal: open; what a killed bridge wrote after its last note is read again. Blocks for that.
        monotonic_s: the clock.
        on_reset: called with the account when the broker begins a new numbering; on the drain thread, returns at once.
    """

    def __init__(self, journal: Journal, monotonic_s: Callable[[], float], on_reset: Callable[[str], None]) -> None:
        self._journal = journal
        self._monotonic_s = monotonic_s
        self._on_reset = on_reset
        self._lock = threading.Lock()
        kept = journal.state.get(_STATE_KEY, {})
        self._watch = GapWatch(kept.get("baselines", {}))
        self._at = self._noted = Position(*kept["at"]) if "at" in kept else journal.last
        self.contents = Contents()
        self._read_on()

    def journaled(self, records: Sequence[RawExecEvent]) -> None:
        """Take in records that are in the journal now, in order. The drain thread."""
        self.contents.add(records)
        now_s = self._monotonic_s()
        reset: set[str] = set()
        with self._lock:
            for record in records:
                self._see(record, now_s, reset)
        for account in reset:
            self._on_reset(account)

    def remember(self, now_us: int) -> None:
        """Learn from the journal what of this session it has, so that the first reads put only the rest. Blocks: about 15 µs a record.

        Args:
            now_us: time of day, µs, UTC.
        """
        reader = self._journal.reader(self._journal.before(now_us - _SESSION_US))
        decode = Decoder(RawExecEvent, {_WRITER_ID: SCHEMA})
        header, session = framing.header(_WRITER_ID), session_id(now_us)
        while entries := reader.read(_BATCH_RECORDS, _BATCH_BYTES):
            self.contents.remember((decode(header + entry.body) for entry in entries), session)

    def holes(self) -> list[Hole]:
        """Return what has been missing for too long, each once."""
        with self._lock:
            return self._watch.due(self._monotonic_s())

    def keep(self) -> None:
        """Note the baselines for the next start. Blocks for a small file.

        Raises:
            OSError: the disk did not take it.
        """
        with self._lock:
            at, baselines = self._at, self._watch.baselines()
        if at != self._noted:
            kept: dict[str, Any] = {"at": list(at), "baselines": baselines}
            self._journal.state.set(_STATE_KEY, kept)
            self._noted = at

    def _see(self, record: RawExecEvent, now_s: float, reset: set[str]) -> None:
        self._at = Position(record.bridge_epoch, record.bridge_seq)
        if not record.broker_event_id:
            return
        if record.kind in CALLBACK_KINDS:
            if self._watch.see(record.account, record.broker_event_id, now_s):
                reset.add(record.account)
        elif record.kind.startswith(CATCHUP):
            self._watch.fill(record.account, record.broker_event_id, now_s)

    def _read_on(self) -> None:
        if self._at >= self._journal.last:
            return
        reader = self._journal.reader(self._at)
        decode = Decoder(RawExecEvent, {_WRITER_ID: SCHEMA})
        header = framing.header(_WRITER_ID)
        read = 0
        while read < _REPLAYED_MAX and (entries := reader.read(_BATCH_RECORDS, _BATCH_BYTES)):
            read += len(entries)
            # Resets among them need no trigger of their own: a start reads the records anyway.
            for entry in entries:
                self._see(decode(header + entry.body), self._monotonic_s(), set())
