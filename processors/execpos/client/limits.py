"""How much a strategy and an account may hold, and how much one order may ask for."""

from collections.abc import Callable, Mapping

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """The largest that is allowed, either way; None: no limit. Quantities in shares or contracts, amounts in 10⁻⁶ of the currency.

    A position is counted as it would be after every working order of that side and this one were filled.

    Attributes:
        order_quantity: of one order.
        order_notional: quantity · price · multiplier of one order.
        strategy_quantity: position of the strategy in one symbol and book.
        strategy_notional: the same valued at the order's price or the mark, whichever is higher.
        net_quantity: position of all strategies together.
        net_notional: likewise valued.
    """

    order_quantity: int | None = None
    order_notional: int | None = None
    strategy_quantity: int | None = None
    strategy_notional: int | None = None
    net_quantity: int | None = None
    net_notional: int | None = None

    @property
    def valued(self) -> bool:
        """A limit needs a price."""
        return self.order_notional is not None or self.strategy_notional is not None or self.net_notional is not None


LimitsOf = Callable[[str, str, str], Limits]
"""Returns the limits of an account, strategy and symbol. Called for every order: quick, and never raises."""


def table(default: Limits, *, strategies: Mapping[str, Limits] | None = None, symbols: Mapping[str, Limits] | None = None) -> LimitsOf:
    """Return limits by symbol, else by strategy, else the default; the first that is found holds as a whole.

    Args:
        default: of everything else.
        strategies: strategy id -> its limits.
        symbols: symbol -> its limits, for every strategy.
    """
    by_strategy, by_symbol = dict(strategies or {}), dict(symbols or {})

    def of(account: str, strategy_id: str, symbol: str) -> Limits:
        del account
        return by_symbol.get(symbol) or by_strategy.get(strategy_id) or default

    return of
