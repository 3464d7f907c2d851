"""What the fills of an order owe, computed from all of them at the end: charges of the oracle, apart from the domain, as `oracle` says."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

from oracle_tables import table, trading_day

UNASSIGNED = "UNASSIGNED"
_MILLION = 1_000_000


@dataclass
class Fill:
    """One fill that was accepted; `owner` is the final one. `quantity` is positive, in shares or contracts."""

    fill_id: str
    account: str
    session: str
    order_id: str
    seqno: str
    symbol: str
    book: str
    side: str
    quantity: int
    price: int
    multiplier: int
    receipt: str
    lot: str = ""
    product: Mapping[str, Any] = field(default_factory=dict)
    ts: int = 0
    fee: int = 0
    tax: int = 0
    owner: str = UNASSIGNED
    voided: bool = False

    @property
    def order(self) -> tuple[str, str, str]:
        """What it belongs to."""
        return self.account, self.session, self.order_id

    @property
    def day(self) -> date:
        """Its trading date."""
        return trading_day(self.ts, self.account.split("|")[1])

    @property
    def amount(self) -> int:
        """What it is worth."""
        return self.quantity * self.price * self.multiplier

    @property
    def signed(self) -> tuple[int, int]:
        """Quantity and amount, negative for a sale."""
        return (self.quantity, self.amount) if self.side == "BUY" else (-self.quantity, -self.amount)


def paired(fills: Iterable[Fill]) -> list[tuple[Fill, int]]:
    """The sales of one stock and day that buys pair with, the first ones first, and how much of each."""
    bought = sum(fill.quantity for fill in fills if fill.side == "BUY")
    sales = [fill for fill in fills if fill.side == "SELL"]
    sums = [sum(fill.quantity for fill in sales[:count]) for count in range(len(sales) + 1)]
    return [(fill, min(bought, sums[at + 1]) - min(bought, sums[at])) for at, fill in enumerate(sales)]


def charge(standing: list[Fill], spared: Mapping[str, int]) -> None:
    """Let each fill bear what the order's estimate with it is above the one without it; `spared` units of a fill are day trades."""
    orders: dict[tuple[str, str, str], list[Fill]] = {}
    for fill in standing:
        orders.setdefault(fill.order, []).append(fill)
    for order in orders.values():
        for count, fill in enumerate(order):
            with_it, without = _estimate(order[: count + 1], spared), _estimate(order[:count], spared)
            fill.fee, fill.tax = with_it[0] - without[0], with_it[1] - without[1]


def _estimate(fills: list[Fill], spared: Mapping[str, int]) -> tuple[int, int]:
    """Commission and tax of these fills of one order together, in 10⁻⁶ TWD."""
    if not fills:
        return 0, 0
    tables, last = table("fees"), fills[-1]
    product, book, side, lot, day = last.product, last.book, last.side, last.lot, last.day
    amount, count = sum(fill.amount for fill in fills), sum(fill.quantity for fill in fills)
    fee, tax = _in_force(tables["fees"][product["fee"]], book, day), _in_force(tables["taxes"][product["tax"]], book, day)
    charged = Fraction(amount * fee.get("rate_per_billion", 0), 10**9) + count * _micros(fee.get("per_contract_twd", 0))
    odd = lot in {name for name, size in table("instruments")["lots"].items() if size == 1}
    least = _micros(fee.get("odd_lot_minimum_twd", 0) if odd else fee.get("minimum_twd", 0))
    owed = Fraction(amount * tax.get("rate_per_billion", 0), 10**9) if side in tax["sides"] else Fraction(0)
    less = sum(spared.get(fill.fill_id, 0) * fill.price * fill.multiplier for fill in fills)
    if less:
        due = _in_force(tables["taxes"][tables["day_trade"]["taxes"][product["tax"]]], book, day)
        rates = [each["rate_per_billion"] if side in each["sides"] else 0 for each in (due, tax)]
        owed += Fraction(less * (rates[0] - rates[1]), 10**9)
    return max(_whole(charged, fee.get("rounding", "floor")), least), _whole(owed, tax.get("rounding", "floor"))


def _micros(twd: float) -> int:
    return int(Decimal(str(twd)) * _MILLION)


def _whole(amount: Fraction, rounding: str) -> int:
    if rounding == "none":
        return floor(amount)
    return floor(amount / _MILLION + (Fraction(1, 2) if rounding == "half_up" else 0)) * _MILLION


def _in_force(entries: list[dict[str, Any]], book: str, day: date) -> dict[str, Any]:
    fitting = [
        entry
        for entry in entries
        if book in entry.get("books", [book]) and entry.get("valid_from", date.min) <= day <= entry.get("valid_to", date.max)
    ]
    return fitting[0]
