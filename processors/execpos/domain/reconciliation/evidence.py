"""What a finding rests on, as texts: people read them in a discrepancy and in the correction that came of it."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from execpos.domain import money
from execpos.domain.limits import DETAIL_CHARS_MAX, cut
from execpos.domain.reconciliation.comparison import Book, Comparison, Finding
from execpos.domain.reconciliation.lag import RecentFill
from execpos.domain.reconciliation.repair import Coverage

# Fills and gaps that evidence names; the others are counted.
_NAMED_MAX = 10

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def evidence_of(
    finding: Finding | None,
    comparison: Comparison,
    *,
    fills: Sequence[RecentFill] = (),
    coverage: Coverage | None = None,
    books: Iterable[Book] = (),
) -> dict[str, str]:
    """Return times of the reads, markers and offsets, both rows, gaps, and the fills looked at.

    Args:
        finding: what differs; None for what is about the whole account.
        comparison: that found it.
        fills: of its key that were looked at for lag, newest last.
        coverage: of its key; None: nobody looked.
        books: the ledger's books at the markers.
    """
    found = {
        "read_began": moment(comparison.read_began_ts),
        "read_ended": moment(comparison.read_ended_ts),
        "markers": f"{comparison.marker_before} .. {comparison.marker_after}",
        "ledger_epoch": str(comparison.ledger_epoch),
    }
    offsets = [book.offset for book in books]
    if offsets:
        found["marker_offsets"] = " ".join(map(str, offsets))
    if finding:
        found["broker_row"] = f"{finding.broker_quantity} at {money.text(finding.broker_average)}, last {money.text(finding.last_price)}"
        found["our_row"] = f"{finding.ledger_quantity} at {money.text(finding.ledger_average)}, version {finding.net_version}"
        found["difference"] = str(finding.difference)
        if finding.detail:
            found["detail"] = cut(finding.detail, DETAIL_CHARS_MAX)
    if coverage is not None:
        newest = coverage.gaps[-_NAMED_MAX:]
        found["gaps"] = "; ".join(f"{moment(gap.from_ts)} .. {moment(gap.to_ts)} {gap.why}" for gap in newest) or "none"
    if fills:
        last = ", ".join(f"{fill.quantity:+d} {moment(fill.exchange_ts)}" for fill in fills[-_NAMED_MAX:])
        found["fills"] = f"{len(fills)}, newest last: {last}"
    return found


def moment(ts_us: int) -> str:
    """Return a moment as people read it, UTC to the millisecond; `-` for 0."""
    if not ts_us:
        return "-"
    return (_EPOCH + timedelta(microseconds=ts_us)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
