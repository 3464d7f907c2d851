"""Tells strategies of positions, halts and staleness, from a view, on the runner's thread."""

import time
from collections.abc import Iterable

from execpos.client.strategy import Strategy
from execpos.client.view import PositionView
from execpos.domain.events import PositionState

# How often halts and staleness are looked at: both are found by age, which moves without any record.
_LOOK_S = 0.1


class Notices:
    """Hands on what has changed since the last call; one thread, apart from the view's.

    Args:
        view: a started view.
        strategies: who is told.
    """

    def __init__(self, view: PositionView, strategies: Iterable[Strategy]) -> None:
        self._view = view
        self._strategies = {strategy.strategy_id: strategy for strategy in strategies}
        # Filled on the view's thread: one assignment, which needs no lock.
        self._positions: dict[str, PositionState] = {}
        self._end = view.on_change(self._note)
        self._looked_s = 0.0
        self._stale: dict[str, tuple[bool, str]] = {}
        self._allowed: dict[tuple[str, str], tuple[str, str]] = {}

    def tell(self) -> None:
        """Call the handlers for what has changed; returns soon when nothing has."""
        while self._positions:
            key = next(iter(self._positions))
            state = self._positions.pop(key)
            self._strategies[state.strategy_id].on_position(state)
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        for account in self._view.accounts():
            self._tell_of(account)

    def close(self) -> None:
        """Take in no more. A second call does nothing."""
        self._end()

    def _note(self, state: PositionState) -> None:
        if state.strategy_id in self._strategies:
            self._positions[state.position_key] = state

    def _tell_of(self, account: str) -> None:
        freshness = self._view.freshness(account)
        fresh = (freshness.fresh, freshness.reason)
        if self._stale.get(account) != fresh:
            self._stale[account] = fresh
            for strategy in self._strategies.values():
                strategy.on_stale(account, freshness)
        for strategy_id, strategy in self._strategies.items():
            trading = self._view.trading(account, strategy_id=strategy_id)
            allowed = (trading.state, trading.unheard)
            if self._allowed.get((account, strategy_id)) != allowed:
                self._allowed[account, strategy_id] = allowed
                strategy.on_halt(account, trading)
