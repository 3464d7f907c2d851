"""At which price an expired contract ends, and what is due on it. Only what the contract's code and the tables say for sure."""

import re

from execpos.domain import money
from execpos.domain.correction_rules import Refused
from execpos.domain.reconciliation.repair import Settlement
from execpos.domain.rules import Rules
from execpos.errors import Park

# Root, strike in five digits, month (A to L calls, M to X puts), last digit of the year: TX127900L5 is a call at 27900.
_OPTION = re.compile(r"([A-Z0-9]{3})(\d{5})([A-X])(\d)")

# Of options on the index alone is it known that the five digits are whole points; for others the contract's own final price is asked for.
_INDEX_ROOT = "TX"

# 10⁻⁶ of a point.
_POINT = 1_000_000


def settlement(
    symbol: str, quantity: int, *, price: int | None = None, underlying: int | None = None, source: str, rules: Rules, trading_date: int
) -> Settlement:
    """Return how a contract is settled: fees none, tax by the tables.

    Args:
        symbol: full code of the contract.
        quantity: NET contracts, signed.
        price: its own final price, 10⁻⁶ a point; may be 0 for an option that ends worthless.
        underlying: of an option on the index, the final price of what it is on (10⁻⁶): it ends at its intrinsic value.
        source: who says so.
        rules: tables.
        trading_date: day of settlement, days since the epoch.

    Raises:
        Refused: no table names it, or no price of it follows from what is given.
    """
    try:
        product = rules.instruments.product("F", symbol[:3], symbol, "", trading_date)
    except Park as park:
        raise Refused("unknown_instrument", park.what) from park
    if underlying is not None and product.security_type == "OPT":
        price = intrinsic(symbol, underlying)
    if price is None:
        raise Refused("price_needed", f"{symbol} has no final price")
    if price < 0 or (price == 0 and product.security_type != "OPT"):
        raise Refused("bad_correction", f"{symbol} cannot be settled at {money.text(price)}")
    # An option that ends worthless is not exercised, and owes nothing; neither can its tax be told without what it is on.
    taxed = price if product.security_type != "OPT" else (underlying or 0) if price else 0
    return Settlement(price, source, taxes=rules.fees.settlement_tax(product, quantity, taxed, trading_date))


def intrinsic(symbol: str, underlying: int) -> int:
    """Return what an option on the index is worth when what it is on ends at `underlying`, both 10⁻⁶ of a point.

    Raises:
        Refused: its code does not tell right and strike for sure.
    """
    found = _OPTION.fullmatch(symbol)
    if found is None or not symbol.startswith(_INDEX_ROOT):
        raise Refused("price_needed", f"the code {symbol} does not tell its strike for sure: name its own final price")
    strike = int(found[2]) * _POINT
    return max(0, underlying - strike if found[3] <= "L" else strike - underlying)
