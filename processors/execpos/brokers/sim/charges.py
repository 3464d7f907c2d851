"""What the simulated broker charges: rules of its own, in whole TWD, nearly those of the market.

Stocks: 0.1425 % commission a side, at least 20 TWD an order (1 TWD an odd lot order), fractions cut off, on what the order has come to so
far; 0.3 % tax for the seller, half of it for what was bought and sold on the same day in cash. Futures: 20 TWD a contract and side, options
15; tax of both sides 0.002 % of the contract value, and 0.1 % of the premium.
"""

from collections import defaultdict

from execpos.brokers.sim.orders import ODD_LOTS, Fill

# Parts of a million.
_COMMISSION, _SALES_TAX, _DAY_TRADE_TAX = 1425, 3000, 1500
_FUTURES_TAX, _OPTIONS_TAX = 20, 1000
# TWD an order, and a contract.
_MINIMUM, _ODD_MINIMUM = 20, 1
_PER_CONTRACT = {"FUT": 20, "OPT": 15}
# Hundredths of a TWD in a million of parts.
_PARTS = 1_000_000 * 100


class Charges:
    """Fees of one account. Not thread-safe."""

    def __init__(self) -> None:
        # Hundredths of TWD turned over, and TWD charged, by trading date and order.
        self._orders: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])

    def fee(self, fill: Fill) -> int:
        """Return what this fill adds to its order's commission, TWD."""
        order = fill.order
        if order.instrument.market == "F":
            return _PER_CONTRACT[order.instrument.security_type] * fill.units
        known = self._orders[order.trading_date, order.id]
        known[0] += fill.price * fill.units
        total = max(_ODD_MINIMUM if order.lot in ODD_LOTS else _MINIMUM, known[0] * _COMMISSION // _PARTS)
        added, known[1] = total - known[1], total
        return added


def sales_tax(value: int, *, day_trade: bool) -> int:
    """Return the seller's tax on stocks of a value in hundredths of TWD, in TWD."""
    return value * (_DAY_TRADE_TAX if day_trade else _SALES_TAX) // _PARTS


def contract_tax(value: int, security_type: str) -> int:
    """Return the tax of one side of futures or options of a value in hundredths of TWD, in TWD, rounded half up."""
    rate = _FUTURES_TAX if security_type == "FUT" else _OPTIONS_TAX
    return (value * rate + _PARTS // 2) // _PARTS
