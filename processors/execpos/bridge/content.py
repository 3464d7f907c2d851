"""Knows which reports are in the journal by what they say, so that a catch-up does not put them there again."""

import json
from collections.abc import Iterable
from hashlib import blake2b

from execpos.domain.events import RawExecEvent
from execpos.domain.ids import session_id
from execpos.domain.vocabulary import CALLBACK_KINDS, CATCHUP

# Sixteen bytes each and their place in the set: about 200 MB. Beyond it all are forgotten, which only costs repeats.
_CONTENTS_MAX = 2_000_000

_DIGEST_BYTES = 16


def digest(kind: str, payload: bytes, receipt: str) -> bytes:
    """Return a digest over kind and redacted payload, without the receipt: a record that was asked for may come without one.

    Args:
        kind: with or without `CATCHUP_`.
        payload: as `convert.payload_bytes` writes it: compact, fields in the broker's order.
        receipt: the event_id that the payload holds, or empty.
    """
    field = b'"event_id":' + json.dumps(receipt, ensure_ascii=False).encode("utf-8", "backslashreplace")
    # Where it stands twice, nothing tells which one is the receipt, and the payload counts as it is.
    if payload.count(field) == 1:
        payload = payload.replace(field + b",", b"", 1) if field + b"," in payload else payload.replace(b"," + field, b"", 1)
    return blake2b(kind.removeprefix(CATCHUP).encode() + b"\0" + payload, digest_size=_DIGEST_BYTES).digest()


class Contents:
    """Digests of what is in the journal, of one session of the market. `add` on the drain thread; `remember` and `holds` on any.

    What is missing here costs a repeat, which the ledger knows as one; what is here must be in the journal.
    """

    def __init__(self) -> None:
        self._session = ""
        self._seen: set[bytes] = set()

    def add(self, records: Iterable[RawExecEvent]) -> None:
        """Take in records that are in the journal now."""
        for record in records:
            if record.kind.removeprefix(CATCHUP) not in CALLBACK_KINDS:
                continue
            session = session_id(record.ingest_ts)
            if session != self._session or len(self._seen) >= _CONTENTS_MAX:
                self._session = session
                # A new one, because another thread may be asking the old one.
                self._seen = set()
            self._seen.add(digest(record.kind, record.payload, record.broker_event_id))

    def remember(self, records: Iterable[RawExecEvent], session: str) -> None:
        """Take in what an earlier run has put into the journal, as far as it is of a session."""
        known = {
            digest(record.kind, record.payload, record.broker_event_id)
            for record in records
            if record.kind.removeprefix(CATCHUP) in CALLBACK_KINDS and session_id(record.ingest_ts) == session
        }
        self._session = self._session or session
        if self._session == session and len(self._seen) + len(known) <= _CONTENTS_MAX:
            # In one step, because the drain thread may be adding.
            self._seen.update(known)

    def holds(self, content: bytes) -> bool:
        """Say whether a record of this content is in the journal; False proves nothing."""
        return content in self._seen
