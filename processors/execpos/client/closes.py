"""What the rows of each account were at the last close, from exec.checkpoints.

A trading date ends with its day session, for stocks and for futures: a night session belongs to the date after it, so its own close is in
the middle of a date and is left out here.
"""

from collections.abc import Mapping, Sequence

import msgspec

from execpos.client.cuts import Cutter
from execpos.client.link import Day
from execpos.codecs.avro import Decoder
from execpos.domain.events import PositionSnapshot
from execpos.domain.ids import NET
from execpos.domain.snapshot import Parts
from execpos.errors import Park
from execpos.telemetry.log import Logger

_log = Logger("client")

# Of each account: the close that the present date is compared with, and the present date's own, which is there before the date ends.
_CLOSES_MAX = 2


class Close(msgspec.Struct, frozen=True, gc=False):
    """One row at a close. Money in 10⁻⁶ of the currency, quantity in shares or contracts, signed.

    Attributes:
        session_id: the session that was closed.
        quantity: held then; 0 when there was no such row.
        realized: gross, of its whole life up to then.
        unrealized: at `mark_price`; 0 when flat, None when the ledger had no mark.
        mark_price: the last price that the ledger knew then; None when flat or without.
        mark_ts: the exchange's time of it, µs UTC, shown as it is: it may be long before the close, or after it when the ledger was late.
        version: of the row.
    """

    session_id: str
    quantity: int = 0
    realized: int = 0
    unrealized: int | None = 0
    mark_price: int | None = None
    mark_ts: int | None = None
    version: int = 0


class Closed(msgspec.Struct, frozen=True):
    """An account at one close: position_key → row, and the keys of the NET rows that held something."""

    session_id: str
    rows: Mapping[str, Close]
    held: tuple[str, ...]

    def row(self, key: str) -> Close:
        """Return a row as it was; one that was not there was flat."""
        found = self.rows.get(key)
        return Close(self.session_id) if found is None else found


class _Kept(msgspec.Struct):
    """One close: its encoded parts until somebody asks, what was read then; None when that could not be read."""

    trading_date: int
    content: Closed | tuple[bytes, ...] | None


class Closes:
    """The newest closes of each account. One thread writes, any thread reads without waiting.

    The first reading after a close decodes it, once: 2 µs a row, 12 without the codec in C. What is kept then is about 300 bytes a row.

    Args:
        cut: finds out what a part is without decoding it.
        decode: reader of parts.
    """

    def __init__(self, cut: Cutter, decode: Decoder[PositionSnapshot]) -> None:
        self._cut = cut
        self._decode = decode
        self._arriving: dict[str, tuple[str, tuple[bytes, ...]]] = {}
        self._kept: dict[str, tuple[_Kept, ...]] = {}

    def take(self, value: bytes) -> None:
        """Take in one part, in the order of the topic; what stays incomplete is dropped. Errors as `Cutter.part`."""
        part = self._cut.part(value)
        if not part.session_id.endswith("D"):
            return
        known, before = self._arriving.pop(part.account, ("", ()))
        if known != part.snapshot_id or part.part == 1:
            before = ()
        if part.part != len(before) + 1:
            return
        parts = (*before, value)
        if part.part < part.parts:
            self._arriving[part.account] = (part.snapshot_id, parts)
            return
        others = [one for one in self._kept.get(part.account, ()) if one.trading_date != part.trading_date]
        kept = sorted((*others, _Kept(part.trading_date, parts)), key=lambda one: one.trading_date)
        self._kept[part.account] = tuple(kept[-_CLOSES_MAX:])

    def of(self, account: str, day: Day) -> Closed | None:
        """Return the close of the trading date before the current one; None when it is not here.

        Where no calendar tells that date (`day.previous` is 0) it is the newest close before the current date.
        """
        for kept in reversed(self._kept.get(account, ())):
            if day.previous <= kept.trading_date < day.today:
                content = kept.content
                if isinstance(content, tuple):
                    # Two threads may do it at the same time, with the same result.
                    content = kept.content = self._read(account, content)
                return content
        return None

    def _read(self, account: str, values: Sequence[bytes]) -> Closed | None:
        parts, whole = Parts(), None
        try:
            for value in values:
                whole = parts.take(self._decode(value))
        except (Park, IndexError, ValueError) as error:
            _log.error("record_unreadable", topic="exec.checkpoints.v1", account=account, reason=str(error))
            return None
        return None if whole is None else _closed(whole)


def _closed(snapshot: PositionSnapshot) -> Closed:
    valuations = {one.position_key: one for one in snapshot.valuations}
    rows, session_id = {}, snapshot.session_id
    for state in snapshot.positions:
        key, quantity, realized, version = state.position_key, state.quantity, state.realized_pnl, state.version
        valuation = valuations.get(key)
        if not quantity:
            rows[key] = Close(session_id, 0, realized, version=version)
        elif valuation is None:
            rows[key] = Close(session_id, quantity, realized, None, version=version)
        else:
            rows[key] = Close(session_id, quantity, realized, valuation.unrealized, valuation.mark_price, valuation.mark_ts, version)
    held = tuple(state.position_key for state in snapshot.positions if state.quantity and state.strategy_id == NET)
    return Closed(session_id, rows, held)
