"""Whether a difference is only the broker's position list being late, or early. Pure."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import attrgetter

import msgspec

from execpos.domain.reconciliation.comparison import Finding


class RecentFill(msgspec.Struct, frozen=True):
    """A fill of one key: signed shares or contracts, and its times in µs."""

    quantity: int
    exchange_ts: int
    ingest_ts: int


_exchange_ts = attrgetter("exchange_ts")


def is_lag(finding: Finding, fills: Sequence[RecentFill], as_of_ts: int | None = None) -> bool:
    """Tell whether the broker's list is as it was before the newest fills, or as it will be after those that came since.

    A lagging list is no proof that nothing is missing: it asks for patience, and never for a correction.

    Args:
        finding: of verdict QUANTITY or MISSING.
        fills: of its key, each fill once, not voided, in the ledger's order. How far back is the caller's choice.
        as_of_ts: ingest time of the last marker (`Comparison.as_of_ts`): fills ingested after it are in none of the books. None: all are.
    """
    if not finding.difference:
        return False
    before = [fill for fill in fills if as_of_ts is None or fill.ingest_ts <= as_of_ts]
    after = [fill for fill in fills if as_of_ts is not None and fill.ingest_ts > as_of_ts]
    # The broker books in the order of the exchange, which need not be the one in which reports came.
    behind = any(-finding.difference in _sums(reversed(order)) for order in (before, sorted(before, key=_exchange_ts)))
    return behind or any(finding.difference in _sums(order) for order in (after, sorted(after, key=_exchange_ts)))


def is_young(fills: Iterable[RecentFill], read_began_ts: int, rest_us: int) -> bool:
    """Tell whether one of these fills of a key happened, or was told, less than `rest_us` before a read, or after it.

    What was held before the first fill is not known, so any list can be that many units and a list without the newest fills: `is_lag` has
    nothing to hold it against. Only time tells the two apart.
    """
    return any(max(fill.exchange_ts, fill.ingest_ts) > read_began_ts - rest_us for fill in fills)


def _sums(fills: Iterable[RecentFill]) -> set[int]:
    """Return the sums of every non-empty prefix."""
    return set(accumulate(fill.quantity for fill in fills))
