"""RiskGate: may this order be placed now? Whatever is not known for sure is a no."""

import threading
import time
from collections.abc import Sequence
from typing import Literal

import msgspec

from execpos.client.limits import Limits, LimitsOf
from execpos.client.view import PositionView
from execpos.client.working import Working
from execpos.domain import control
from execpos.domain.events import Market, PositionState, Side
from execpos.domain.ids import NET
from execpos.errors import Park
from execpos.kafka.deadline import Clock

DenyReason = Literal[
    "bad_order",
    "stale",
    "control_missing",
    "control_stale",
    "halted",
    "recovering",
    "reduce_only",
    "quality",
    "order_quantity",
    "order_notional",
    "strategy_quantity",
    "strategy_notional",
    "net_quantity",
    "net_notional",
    "price_unknown",
    "multiplier_unknown",
]
"""Every reason why an order is denied; docs/clients.md has their meanings."""

# Qualities with which a key takes no order: what it holds is not known (contracts/execution.md). ESTIMATED is known well enough.
_UNTRUSTED = frozenset({"CONFLICT", "INCOMPLETE", "BLOCKED"})


class Denial(msgspec.Struct, frozen=True):
    """Why an order was denied: a word for programs, and a sentence for people."""

    reason: DenyReason
    detail: str


class Decision(msgspec.Struct, frozen=True):
    """The answer for one order at one moment.

    Attributes:
        allowed: it may be placed now.
        denials: why not, all that was found; empty when allowed.
        hold_id: for `RiskGate.release`; 0 when nothing is held.
    """

    allowed: bool
    denials: tuple[Denial, ...] = ()
    hold_id: int = 0

    @property
    def reasons(self) -> tuple[DenyReason, ...]:
        """The words alone."""
        return tuple(denial.reason for denial in self.denials)


_ALLOWED = Decision(allowed=True)


class _Hold(msgspec.Struct, frozen=True):
    """An order that was allowed and is not reported yet."""

    account: str
    symbol: str
    book: str
    strategy_id: str
    signed: int
    until_s: float


class _Row(msgspec.Struct, frozen=True):
    """What a position may become: now, and with every working order of one side filled."""

    quantity: int
    after: int


class RiskGate:
    """Answers whether an order may be placed. Any thread; no I/O, some microseconds.

    It denies while the view is starting, stale or has failed; while a source that has to speak has not lately; while trading control says
    so; for a key whose quality is CONFLICT, INCOMPLETE or BLOCKED; and beyond a limit. It places nothing and knows only what was reported:
    between an order and its first report, `hold_s` counts it here.

    Args:
        view: a started view of every account that is asked about.
        limits: limits of an account, strategy and symbol; one `Limits` for all of them, or a function as `limits.table` makes.
        required_sources: sources of exec.control that have to have spoken lately; those of the configuration by default. An empty one means
            that nobody watches the position while orders are placed.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        view: PositionView,
        limits: Limits | LimitsOf,
        required_sources: Sequence[str] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._view = view
        self._limits: LimitsOf = (lambda account, strategy_id, symbol: limits) if isinstance(limits, Limits) else limits  # noqa: ARG005 (the same for all)
        self._required = tuple(view.link.ages.required_sources if required_sources is None else required_sources)
        self._clock = clock
        self._lock = threading.Lock()
        self._holds: dict[int, _Hold] = {}
        self._last_hold = 0
        self._multipliers: dict[tuple[str, str], int | None] = {}

    def check(
        self, account: str, strategy_id: str, symbol: str, book: str, side: Side, quantity: int, price: int, *, hold_s: float = 0.0
    ) -> Decision:
        """Return whether an order may be placed now. Does not block.

        Args:
            account: account key.
            strategy_id: whose order it will be.
            symbol: stock code, or full contract code.
            book: shelf on which its fills will lie.
            side: BUY or SELL.
            quantity: shares or contracts, positive.
            price: limit in 10⁻⁶; 0 for a market order, which is valued at the mark.
            hold_s: when allowed, count it as working for so long, so that the next order sees it before the broker has reported it. End it
                by `release` once it is among the working orders, or was not placed after all; until then it may count twice, never less.
        """
        if quantity <= 0 or side not in ("BUY", "SELL") or not strategy_id or strategy_id == NET:
            return Decision(allowed=False, denials=(Denial("bad_order", f"{side} {quantity} of {symbol} for strategy {strategy_id!r}"),))
        sign = 1 if side == "BUY" else -1
        with self._lock:
            if self._holds:
                self._expire()
            own = self._row(account, symbol, book, strategy_id, sign, quantity)
            net = self._row(account, symbol, book, NET, sign, quantity)
            denials = self._untrusted(account, symbol, book)
            denials += self._forbidden(account, symbol, strategy_id, sign, own, net)
            denials += self._exceeded(account, strategy_id, symbol, book, sign, quantity, price, own, net)
            if denials:
                return Decision(allowed=False, denials=tuple(denials))
            if hold_s <= 0:
                return _ALLOWED
            self._last_hold += 1
            self._holds[self._last_hold] = _Hold(account, symbol, book, strategy_id, sign * quantity, self._clock() + hold_s)
            return Decision(allowed=True, hold_id=self._last_hold)

    def release(self, decision: Decision) -> None:
        """Stop counting a held order. A second call does nothing."""
        with self._lock:
            self._holds.pop(decision.hold_id, None)

    # --- what is not known -------------------------------------------------------------------------------------------------------------

    def _untrusted(self, account: str, symbol: str, book: str) -> list[Denial]:
        found = []
        freshness = self._view.freshness(account)
        if not freshness.fresh:
            age = "unknown" if freshness.age_s is None else f"{freshness.age_s:.1f} s"
            found.append(Denial("stale", f"{account}: {freshness.reason}, age {age}"))
        quality = self._view.quality(account, symbol, book)
        if quality in _UNTRUSTED:
            found.append(Denial("quality", f"{symbol} {book} is {quality}"))
        return found

    def _forbidden(self, account: str, symbol: str, strategy_id: str, sign: int, own: _Row, net: _Row) -> list[Denial]:
        trading = self._view.trading(account, symbol, strategy_id, self._required)
        found = []
        if trading.unheard:
            found.append(Denial(trading.unheard, f"exec.control: {', '.join(trading.silent)}"))
        if trading.state == control.ACTIVE:
            return found
        why = "; ".join(f"{record.source} on {record.scope}: {record.reason}" for record in trading.because)
        if trading.state == control.HALTED:
            found.append(Denial("halted", why))
        elif trading.state == control.RECOVERING:
            found.append(Denial("recovering", why))
        elif not (_shrinks(own, sign) and _shrinks(net, sign)):
            found.append(Denial("reduce_only", f"{why}; own {own.quantity} -> {own.after}, net {net.quantity} -> {net.after}"))
        return found

    # --- limits ------------------------------------------------------------------------------------------------------------------------

    def _exceeded(
        self, account: str, strategy_id: str, symbol: str, book: str, sign: int, quantity: int, price: int, own: _Row, net: _Row
    ) -> list[Denial]:
        limits = self._limits(account, strategy_id, symbol)
        found: list[Denial] = []
        _over(found, "order_quantity", quantity, limits.order_quantity)
        _over(found, "strategy_quantity", own.after * sign, limits.strategy_quantity)
        _over(found, "net_quantity", net.after * sign, limits.net_quantity)
        if not limits.valued:
            return found
        mark = self._view.mark(account, symbol)
        value = max(price, 0 if mark is None else mark.price)
        if value <= 0:
            found.append(Denial("price_unknown", f"{symbol}: no limit price and no mark"))
            return found
        multiplier = self._multiplier(account, symbol, book)
        if multiplier is None:
            found.append(Denial("multiplier_unknown", f"{symbol}: no table names it"))
            return found
        each = value * multiplier
        _over(found, "order_notional", quantity * each, limits.order_notional)
        _over(found, "strategy_notional", own.after * sign * each, limits.strategy_notional)
        _over(found, "net_notional", net.after * sign * each, limits.net_notional)
        return found

    def _row(self, account: str, symbol: str, book: str, strategy_id: str, sign: int, quantity: int) -> _Row:
        state: PositionState | None = self._view.state(account, symbol, book, strategy_id)
        working: Working = self._view.working(account, symbol, book, strategy_id)
        held = 0 if state is None else state.quantity
        ahead = working.buy if sign > 0 else working.sell
        for hold in self._holds.values():
            if (
                hold.signed * sign > 0
                and (hold.account, hold.symbol, hold.book) == (account, symbol, book)
                and strategy_id in (NET, hold.strategy_id)
            ):
                ahead += abs(hold.signed)
        return _Row(held, held + sign * (ahead + quantity))

    def _expire(self) -> None:
        now_s = self._clock()
        for hold_id in [hold_id for hold_id, hold in self._holds.items() if hold.until_s <= now_s]:
            del self._holds[hold_id]

    def _multiplier(self, account: str, symbol: str, book: str) -> int | None:
        """Return TWD per point and contract: as the position says, else as the tables do; None when neither knows it."""
        state = self._view.state(account, symbol, book)
        if state is not None and state.multiplier:
            return state.multiplier
        market: Market = "F" if account.split("|", 2)[1] == "F" else "S"
        if (market, symbol) not in self._multipliers:
            self._multipliers[market, symbol] = self._looked_up(market, symbol)
        return self._multipliers[market, symbol]

    def _looked_up(self, market: Market, symbol: str) -> int | None:
        instruments = self._view.link.instruments
        if instruments is None:
            return None
        try:
            # The first three letters of a contract are its root.
            return instruments.product(market, symbol if market == "S" else symbol[:3], "" if market == "S" else symbol, "").multiplier
        except Park:
            return None


def _shrinks(row: _Row, sign: int) -> bool:
    """Say whether the position gets smaller and stays on its side, even if every working order of this side is filled."""
    return row.quantity * sign < 0 and row.after * sign <= 0


def _over(found: list[Denial], reason: DenyReason, value: int, limit: int | None) -> None:
    if limit is not None and value > limit:
        found.append(Denial(reason, f"{value} is above {limit}"))
