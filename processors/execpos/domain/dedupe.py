"""Whether a fill or an order report was seen before: by its receipt, and by what it is about. It counts only if neither was.

Only the receipt of the record that was accepted is remembered. A repeat under another receipt, as they come after a reset of the broker's
numbering, writes nothing, so a receipt remembered from it would be forgotten by a restart, and a restored ledger would judge otherwise
than a live one. What comes later under such a receipt is judged by its content, which decides as surely.

The ticket's (ordno, seqno, match time) alone would merge two fills of one match and collide across days, so it is kept as an attribute and
decides nothing (ADR 0004).
"""

from hashlib import blake2b
from typing import Literal

from execpos.domain import ids
from execpos.domain.account import Account
from execpos.domain.normalize import Deal, OrderReport
from execpos.errors import Park

Seen = Literal["new", "duplicate", "voided"]


def digest(side: str, price: int, quantity: int) -> bytes:
    """Return 8 bytes over what a fill says; another digest under the same key is a conflict."""
    return blake2b(f"{side}|{price}|{quantity}".encode(), digest_size=8).digest()


def seen(account: Account, receipt: str, fill_id: str, content: bytes) -> Seen:
    """Tell whether a fill is new, a duplicate, or known only by a void that came before it.

    Raises:
        Park: the key is known with another content, or the receipt with another key (`fill_conflict`, `receipt_conflict`); `fill_id` in
            its fields names the fill that is held.
    """
    held = account.receipts.get(receipt, fill_id) if receipt else fill_id
    if held != fill_id:
        raise Park("receipt_conflict", f"receipt {receipt} came before with fill {held}", disposition="conflict", fill_id=held)
    known = account.fills.get(fill_id)
    if known is None:
        return "new"
    if not known.digest:
        return "voided"
    if known.digest != content:
        what = f"fill {fill_id} came before as {known.side} {known.quantity} at {known.price} x 10^-6"
        raise Park("fill_conflict", what, disposition="conflict", fill_id=fill_id)
    return "duplicate"


def report_seen(account: Account, report: OrderReport) -> bool:
    """Tell whether an order report came before: with this receipt, or with this content under another receipt or none.

    A report that names no order says too little for its content to prove it a repeat; where it has a receipt, that alone decides.
    """
    known = account.reports
    return report.event_id in known or (report.content_key in known and (report.named or not report.receipt))


def check_window(account: Account, deal: Deal, ingest_ts: int) -> int:
    """Return the ordinal of a deal's session if the deal can be proven new.

    Raises:
        Park: older than the window (`outside_window`), or more than one session ahead of when the bridge took it (`from_future`).
    """
    ordinal = ids.session_ordinal(deal.session)
    if ordinal < account.oldest_session():
        what = f"session {deal.session} is more than {account.rules.window_sessions} sessions older than the newest fill"
        raise Park("outside_window", what, disposition="parked")
    taken = ids.session_id(ingest_ts)
    if taken != deal.session and ordinal > ids.session_ordinal(taken) + 1:
        raise Park("from_future", f"session {deal.session} lies ahead of {taken}, when it was taken", disposition="parked")
    return ordinal
