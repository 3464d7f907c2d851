"""The broker's own fees and taxes, brought to the fills that they are for.

The broker bills what was closed, the charges of its opening side included, and names no fill. So they can be told apart only where
everything that was opened on a day was closed on it: then the bill is for exactly that day's fills of the key. Whatever reaches over a
night keeps its estimates.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from hashlib import sha256

import msgspec

from execpos.domain import ids
from execpos.domain.correction_rules import BLANK
from execpos.domain.events import Correction, FillEvent
from execpos.domain.positions import shares
from execpos.domain.reconciliation.beside import Charges
from execpos.domain.reconciliation.repair import correction_id

_EPOCH = date(1970, 1, 1)

# Of the id of a fill, which is longer than there is room in the id of its correction.
_DIGEST_CHARS = 16


def fees(charges: Charges, fills: Sequence[FillEvent], held: int, now_us: int, *, by: str) -> tuple[Correction, ...]:
    """Return what sets the charges of one key's day to the broker's, CONFIRMED, one correction a fill; what is right already is left.

    None where the bill cannot be told apart: something was held before or after, a correction stands for a fill, or the units do not agree.
    The ledger does not answer one that it has answered before, as when the same bill is read again on the next day.

    Args:
        charges: of one key and day.
        fills: newest revisions of every fill of that key and trading date.
        held: what NET of the key holds after that day.
        now_us: the moment.
        by: the process.
    """
    day = (_EPOCH + timedelta(days=fills[0].trading_date)).isoformat() if fills else ""
    standing = sorted((fill for fill in fills if not fill.voided), key=_seq)
    bought = sum(fill.quantity for fill in standing if fill.side == "BUY")
    sold = sum(fill.quantity for fill in standing if fill.side == "SELL")
    if held or day != charges.day or not bought or not bought == sold == charges.quantity:
        return ()
    if any(ids.is_synthetic(fill.order_id) or fill.trading_date != fills[0].trading_date for fill in standing):
        return ()
    fee = shares(charges.fee, _weights([fill.fee_est for fill in standing], [fill.quantity for fill in standing]))
    tax = shares(charges.tax, _weights([fill.tax_est for fill in standing], [fill.quantity * fill.price for fill in standing]))
    made = []
    for fill, fill_fee, fill_tax in zip(standing, fee, tax, strict=True):
        if (fill.fee_est, fill.tax_est, fill.fee_quality) == (fill_fee, fill_tax, "CONFIRMED"):
            continue
        one = msgspec.structs.replace(
            BLANK,
            account=fill.account,
            kind="FEES",
            symbol=fill.symbol,
            book=fill.book,
            fill_id=fill.fill_id,
            fees=fill_fee,
            taxes=fill_tax,
            quality="CONFIRMED",
            reason=f"the broker's charges of {charges.day}",
            requested_by=by,
            ts=now_us,
        )
        source = f"fees-{sha256(fill.fill_id.encode()).hexdigest()[:_DIGEST_CHARS]}"
        made.append(msgspec.structs.replace(one, correction_id=correction_id(source, one)))
    return tuple(made)


def _seq(fill: FillEvent) -> int:
    return fill.fill_seq


def _weights(estimates: Sequence[int], otherwise: Sequence[int]) -> Sequence[int]:
    """Return by what a bill is shared: as it was estimated, or where nothing was, by size."""
    return estimates if sum(estimates) > 0 and min(estimates) >= 0 else otherwise
