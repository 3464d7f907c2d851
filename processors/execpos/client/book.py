"""Positions and marks in memory, and what is computed from both when somebody reads."""

from collections.abc import Iterator

import msgspec

from execpos.client.closes import Close, Closed, Closes
from execpos.client.link import Day
from execpos.domain import ids
from execpos.domain.events import Mark, PositionState
from execpos.domain.ids import NET, WHOLE_ACCOUNT
from execpos.domain.vocabulary import WORDS

_RANK = {word: rank for rank, word in enumerate(WORDS["quality"])}
# A word that this version does not know is as bad as the worst it knows.
_UNKNOWN = len(_RANK) - 1


class Position(msgspec.Struct, frozen=True):
    """One position as it was when it was read. Money in 10⁻⁶ of the currency, quantities in shares or contracts.

    Attributes:
        state: the record; `state.version` tells two readings apart.
        quality: the worst of the row's own and of the marks on its symbol and its account.
        realized_day: gross, of the current trading date; 0 when the row's last fill is of an older one.
        mark: last price, None when there is none.
        unrealized: (mark - average) · quantity · multiplier, exact; None without a mark, 0 when flat.
        day_pnl: gross, (realized + unrealized) now less the same at the last close, exact. None when a mark that it needs is missing, now
            or then, when that close is not known, or when the row is not the one that stood there.
        last_close: the row at the last close, with the time of its mark; None when that close is not known.
    """

    state: PositionState
    quality: str
    realized_day: int
    mark: Mark | None
    unrealized: int | None
    day_pnl: int | None
    last_close: Close | None

    @property
    def quantity(self) -> int:
        """Signed; negative is short."""
        return self.state.quantity

    @property
    def average_price(self) -> int:
        """Per share or point; 0 when flat."""
        return self.state.average_price

    @property
    def realized(self) -> int:
        """Gross, of its whole life."""
        return self.state.realized_pnl


class DayPnl(msgspec.Struct, frozen=True):
    """What an account has gained since the last close, all strategies together.

    Attributes:
        amount: gross, 10⁻⁶ of the currency: the sum of `day_pnl` over NET rows; None when one of them is not known, or the close is not.
        missing: keys of the NET rows whose `day_pnl` is not known.
        session_id: session whose close it counts from; empty when that is not known.
    """

    amount: int | None
    missing: tuple[str, ...]
    session_id: str


class Book:
    """The newest state of each position. One thread writes, any thread reads without waiting; a reading is of one row.

    Args:
        closes: what the rows were at the last close.
    """

    def __init__(self, closes: Closes) -> None:
        self._closes = closes
        self._rows: dict[str, PositionState] = {}
        self._by_account: dict[str, dict[str, PositionState]] = {}
        self._marks: dict[str, Mark] = {}
        self._newest_date: dict[str, int] = {}

    def put(self, state: PositionState) -> bool:
        """Take in a state; return False, and change nothing, when it is not newer than what is here."""
        before = self._rows.get(state.position_key)
        if before is not None and (before.ledger_epoch, before.version) >= (state.ledger_epoch, state.version):
            return False
        self._rows[state.position_key] = state
        self._by_account.setdefault(state.account, {})[state.position_key] = state
        market = state.account.split("|", 2)[1]
        if state.trading_date > self._newest_date.get(market, 0):
            self._newest_date[market] = state.trading_date
        return True

    def forget(self, key: str) -> None:
        """Take in a tombstone: a position that was flat for long."""
        state = self._rows.pop(key, None)
        if state is not None:
            self._by_account[state.account].pop(key, None)

    def put_mark(self, key: str, mark: Mark) -> None:
        """Take in a price; an older one than what is here is left out."""
        before = self._marks.get(key)
        if before is None or before.exchange_ts <= mark.exchange_ts:
            self._marks[key] = mark

    def row(self, key: str) -> PositionState | None:
        """Return one row by its key."""
        return self._rows.get(key)

    def rows(self, account: str | None = None) -> Iterator[PositionState]:
        """Yield the rows of one account or of all, the marks of whole accounts and symbols too. A copy: it may be kept."""
        found = self._rows if account is None else self._by_account.get(account, {})
        yield from found.copy().values()

    def accounts(self) -> tuple[str, ...]:
        """Return every account that has a row."""
        return tuple(self._by_account.copy())

    def mark(self, account: str, symbol: str) -> Mark | None:
        """Return the last price of a symbol of that account's env and market."""
        env_market = account.split("|", 2)[:2]
        return self._marks.get(f"{env_market[0]}|{env_market[1]}|{ids.escape(symbol)}")

    def newest_date(self, market: str) -> int:
        """Return the newest trading date among the rows of a market; 0 for none."""
        return self._newest_date.get(market, 0)

    def quality(self, account: str, symbol: str, own: str) -> str:
        """Return the worst of a row's own quality and the marks on its account and its symbol."""
        worst = own
        for key in (
            ids.position_key(account, WHOLE_ACCOUNT, WHOLE_ACCOUNT, NET),
            ids.position_key(account, symbol, WHOLE_ACCOUNT, NET),
        ):
            mark = self._rows.get(key)
            if mark is not None and _RANK.get(mark.quality, _UNKNOWN) > _RANK.get(worst, _UNKNOWN):
                worst = mark.quality
        return worst

    def position(self, state: PositionState, day: Day) -> Position:
        """Return a row with what is computed from it.

        Args:
            state: the row.
            day: current trading date of its market, and the one before it.
        """
        mark = self.mark(state.account, state.symbol)
        unrealized = _unrealized(state, mark)
        closed = self._closes.of(state.account, day)
        close = None if closed is None else closed.row(state.position_key)
        return Position(
            state=state,
            quality=self.quality(state.account, state.symbol, state.quality),
            realized_day=state.realized_pnl_day if state.trading_date >= day.today else 0,
            mark=mark,
            unrealized=unrealized,
            day_pnl=_day_pnl(state, unrealized, close),
            last_close=close,
        )

    def day_pnl(self, account: str, day: Day) -> DayPnl:
        """Return what an account has gained since the last close; arguments as of `position`."""
        closed = self._closes.of(account, day)
        found = {state.position_key: state for state in self.rows(account) if state.strategy_id == NET and state.book != WHOLE_ACCOUNT}
        results = {key: self._row_pnl(state, closed) for key, state in found.items()}
        # What was held at the close and has no row now was not read yet.
        gone = [] if closed is None else [key for key in closed.held if key not in found]
        missing = tuple(sorted((*gone, *(key for key, result in results.items() if result is None))))
        known = closed is not None and not missing
        return DayPnl(
            amount=sum(result or 0 for result in results.values()) if known else None,
            missing=missing,
            session_id="" if closed is None else closed.session_id,
        )

    def _row_pnl(self, state: PositionState, closed: Closed | None) -> int | None:
        if closed is None:
            return None
        return _day_pnl(state, _unrealized(state, self.mark(state.account, state.symbol)), closed.row(state.position_key))


def _unrealized(state: PositionState, mark: Mark | None) -> int | None:
    if not state.quantity:
        return 0
    if mark is None or not state.multiplier:
        return None
    return mark.price * state.quantity * state.multiplier - state.open_cost


def _day_pnl(state: PositionState, unrealized: int | None, close: Close | None) -> int | None:
    if close is None or unrealized is None or close.unrealized is None:
        return None
    if state.version < close.version:
        # Its newest state was not read yet, or the row was forgotten and has begun anew.
        return None
    return state.realized_pnl + unrealized - close.realized - close.unrealized
