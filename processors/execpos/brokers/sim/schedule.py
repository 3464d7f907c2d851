"""Faults at a given moment: a list of entries, and the plan that says which of them apply now."""

from collections.abc import Sequence
from typing import Literal

import msgspec

FaultKind = Literal[
    # of one report
    "duplicate", "drop", "drop_deal", "late", "reorder", "deal_before_order", "new_receipt", "conflict",
    # of the broker's side
    "event_id_reset", "bust", "book_ahead", "book_behind",
    # of the link
    "disconnect", "session_down",
    # of answers
    "positions_empty", "positions_failed", "positions_half", "positions_lots", "positions_stale", "positions_two_rows",
    "positions_expired", "records_incomplete", "trades_other_ids", "trades_yesterday", "call_raises", "call_slow",
]  # fmt: skip
"""Kinds of scheduled faults.

duplicate: the report comes twice with one event_id · drop: never · drop_deal: the same, of deals alone · late: after `lag_s` (20 to 400
reports without it) · reorder: behind the next `reports` reports · deal_before_order: a New report behind its first deal · new_receipt: a
deal again, under a new event_id after a reset of the stream · conflict: a deal again with another quantity.
event_id_reset: the account's receipts begin anew · bust: the account's latest fill leaves the broker's book, untold · book_ahead: deals are
delivered `lag_s`, or `fills` further deals of the account, after the broker has booked them · book_behind: positions lack what was matched
in the last `lag_s`, or the last `fills` deals.
disconnect: the link is down for `seconds`; nothing sent meanwhile is sent again · session_down: the session is lost until a new login.
positions_empty: an answer without rows · positions_failed: an error · positions_half: every second row is missing · positions_lots: lots
where shares were asked for · positions_stale: without the latest fill · positions_two_rows: one row comes as two · positions_expired:
one contract's rows are gone · records_incomplete: neither the day's records nor the order list have the deals that no callback has told
of, while positions do · trades_other_ids: the order list has other deal numbers and times than the callbacks · trades_yesterday:
yesterday's filled orders come as PendingSubmit without ordno · call_raises: `method` (any without one) raises `error` · call_slow:
`method` answers after `lag_s`, or runs into its timeout.
"""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One scheduled fault. Times are simulated time.

    Attributes:
        kind: which fault.
        at_s: begins so many seconds after the start.
        at_report: begins with the n-th report (from 1); one of at_s and at_report.
        count: how many reports, or answers, it meets. Without it: all while `seconds` last, else one.
        seconds: how long it lasts.
        account: only this account, as `S|9A95|1000001`; all without it.
        lag_s: delay, see the kinds.
        fills: delay in deals, see the kinds.
        reports: delay in reports, see the kinds.
        method: which call, see the kinds.
        error: name of the library's error for call_raises and positions_failed.
    """

    kind: FaultKind
    at_s: float | None = None
    at_report: int | None = None
    count: int | None = None
    seconds: float | None = None
    account: str = ""
    lag_s: float = 0.0
    fills: int = 0
    reports: int = 0
    method: str = ""
    error: str = "ServerError"


class _Active:
    def __init__(self, entry: Entry, now_us: int) -> None:
        self.entry = entry
        self.until_us = now_us + int(entry.seconds * 1_000_000) if entry.seconds is not None else None
        lasting = entry.seconds is not None and entry.count is None
        self.left = None if lasting else (1 if entry.count is None else entry.count)


class Plan:
    """The schedule of one run. Not thread-safe; the answers follow from `move` alone, so equal runs have equal faults."""

    def __init__(self, entries: Sequence[Entry], start_us: int) -> None:
        self._start_us = start_us
        self._waiting = list(entries)
        self._active: list[_Active] = []
        self._reports = 0
        self._now_us = start_us

    def move(self, now_us: int, *, report: bool = False) -> tuple[list[Entry], list[Entry]]:
        """Move on to a moment, and past a report if there is one; return what has begun and what has ended."""
        self._now_us = now_us
        self._reports += report
        if not self._waiting and not self._active:
            return [], []
        begun: list[Entry] = []
        ended: list[Entry] = []
        for active in tuple(self._active):
            if active.until_us is not None and now_us >= active.until_us:
                self._active.remove(active)
                ended.append(active.entry)
        for entry in tuple(self._waiting):
            by_time = entry.at_s is not None and now_us >= self._start_us + int(entry.at_s * 1_000_000)
            if by_time or (entry.at_report is not None and self._reports >= entry.at_report):
                self._waiting.remove(entry)
                self._active.append(_Active(entry, now_us))
                begun.append(entry)
        return begun, ended

    def begin(self, entry: Entry) -> None:
        """Begin a fault now that no entry announced."""
        self._active.append(_Active(entry, self._now_us))

    def close(self) -> list[Entry]:
        """End everything that lasts, because no more time passes; return it."""
        ended = [active.entry for active in self._active if active.until_us is not None]
        self._active = [active for active in self._active if active.until_us is None]
        return ended

    def find(self, kind: FaultKind, account: str = "", method: str = "") -> Entry | None:
        """Return the fault of a kind that applies now, without using it up."""
        found = self._find(kind, account, method)
        return found.entry if found else None

    def take(self, kind: FaultKind, account: str = "", method: str = "") -> Entry | None:
        """Return the fault of a kind that applies now, and use it once."""
        found = self._find(kind, account, method)
        if found is None:
            return None
        if found.left is not None:
            found.left -= 1
            if found.left <= 0 and found.until_us is None:
                self._active.remove(found)
        return found.entry

    def _find(self, kind: FaultKind, account: str, method: str) -> _Active | None:
        if not self._active:
            return None
        for active in self._active:
            entry = active.entry
            if (
                entry.kind == kind
                and (active.left is None or active.left > 0)
                and (not entry.account or entry.account == account)
                and (not entry.method or entry.method == method)
            ):
                return active
        return None
