"""When a contract of the futures exchange is traded for the last time, by its code. Pure.

`TXFF6` is the future of June (A to L) of a year that ends in 6, `TXO22800R6` the put of June (M to X; calls A to L). Products of another
rule than the third Wednesday have no known day here, and then an expiry is no witness.
"""

import re
from datetime import date, timedelta

from execpos.domain.calendar import Calendar

_CODE = re.compile(r"([A-Z][A-Z0-9][A-Z0-9])(\d{5})?([A-X])(\d)", re.ASCII)

_WEDNESDAY, _FRIDAY = 2, 4

# Root of a weekly option -> weekday and which one of the month.
_WEEKLY = {
    **{f"TX{week}": (_WEDNESDAY, week) for week in (1, 2, 4, 5)},
    **{root: (_FRIDAY, week) for week, root in enumerate(("TXU", "TXV", "TXX", "TXY", "TXZ"), 1)},
}

# Which Wednesday of its month ends a contract of a month.
_MONTHLY = (_WEDNESDAY, 3)

# Contracts on foreign indexes, currencies, gold and oil, which end by rules of their own.
_OTHER = frozenset(["BRF", "F1F", "GDF", "RHF", "RTF", "SPF", "SXF", "TGF", "TGO", "TJF", "UDF", "UNF", "XAF", "XBF", "XEF", "XJF"])

_EPOCH = date(1970, 1, 1)
_MONTHS = 12
# One digit names a year within ten; contracts are listed for at most two ahead, so most of the ten lie behind.
_YEARS_AHEAD = 3


def expiry_day(symbol: str, near_day: int, calendar: Calendar) -> int | None:
    """Return the last trading day of a contract, as days since the epoch; None when the code or the holidays of that time are not known.

    Args:
        symbol: full contract code.
        near_day: a day on which it was held, which decides the decade.
        calendar: a day without trading gives the next one with trading.
    """
    found = _CODE.fullmatch(symbol)
    if found is None or found[1] in _OTHER or (found[1] not in _WEEKLY and found[1][-1] not in "FO"):
        return None
    weekday, which = _WEEKLY.get(found[1], _MONTHLY)
    month = (ord(found[3]) - ord("A")) % _MONTHS + 1
    latest = (_EPOCH + timedelta(days=near_day)).year + _YEARS_AHEAD
    first = date(latest - (latest - int(found[4])) % 10, month, 1)
    last = first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (which - 1))
    day = (last - _EPOCH).days
    if last.month != month or not calendar.covers(day):
        return None
    return day if calendar.is_trading_day(day, "F") else calendar.next_trading_day(day, "F")
