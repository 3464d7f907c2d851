"""Instruments and their prices: a random walk on the exchange's own price steps.

Prices here are whole hundredths of a dollar or point: every step of every product is a multiple of that.
"""

from datetime import datetime
from random import Random

from execpos.brokers.sim.config import TAIPEI, SimConfig

CENT = 100

# (below this price, step), both in hundredths.
_STOCK_STEPS = ((10_00, 1), (50_00, 5), (100_00, 10), (500_00, 50), (1000_00, 1_00), (None, 5_00))
_OPTION_STEPS = ((10_00, 10), (50_00, 50), (500_00, 1_00), (1000_00, 5_00), (None, 10_00))
_FUTURES_STEPS = ((None, 1_00),)

# Contract values in TWD per point.
MULTIPLIERS = {"TXF": 200, "MXF": 50, "TMF": 10, "TXO": 50}

# Codes everybody knows, at prices somebody made up: one for each price step.
_STOCKS = (
    ("2330", 1085_00), ("2317", 212_50), ("2454", 1340_00), ("2890", 27_00), ("2303", 48_35), ("2881", 91_20),
    ("1301", 43_60), ("2603", 196_00), ("2412", 131_00), ("2002", 21_95), ("3008", 2445_00), ("5880", 25_45),
)  # fmt: skip
_INDEX = 22_850_00


class Instrument:
    """One tradable thing with its price now. Changed only by `walk`."""

    __slots__ = (
        "code",
        "exchange",
        "full_code",
        "low",
        "market",
        "month",
        "multiplier",
        "price",
        "right",
        "security_type",
        "steps",
        "strike",
    )

    def __init__(
        self, market: str, security_type: str, code: str, full_code: str, price: int, *, month: str = "", strike: int = 0, right: str = ""
    ) -> None:
        self.market = market
        self.security_type = security_type
        self.code = code
        self.full_code = full_code
        self.exchange = "TSE" if market == "S" else "TIM"
        self.multiplier = MULTIPLIERS[code] if market == "F" else 1
        self.month = month
        self.strike = strike
        self.right = right
        self.steps = {"STK": _STOCK_STEPS, "FUT": _FUTURES_STEPS, "OPT": _OPTION_STEPS}[security_type]
        self.price = price
        # A walk that met zero would end the trading; it turns back at a third of where it began.
        self.low = max(price // 3, 5 * self.step(price))

    def step(self, price: int) -> int:
        """Return the smallest move up from `price`."""
        for below, step in self.steps:
            if below is None or price < below:
                return step
        raise AssertionError(price)

    def moved(self, price: int, ticks: int) -> int:
        """Return the legal price `ticks` steps above `price`, or below it; never less than one step."""
        for _ in range(ticks):
            price += self.step(price)
        for _ in range(-ticks):
            price = max(price - self.step(price - 1), self.step(1))
        return price

    def walk(self, ticks: int) -> None:
        """Move the price by `ticks` steps."""
        if self.price <= self.low and ticks < 0:
            ticks = -ticks
        self.price = self.moved(self.price, ticks)


def _months(start_us: int, count: int) -> list[tuple[str, int, int]]:
    """Return (yyyymm, month 0-11, last digit of the year) of the `count` months after the start."""
    local = datetime.fromtimestamp(start_us // 1_000_000, TAIPEI)
    found = []
    for ahead in range(1, count + 1):
        year, month = divmod(local.year * 12 + local.month - 1 + ahead, 12)
        found.append((f"{year}{month + 1:02d}", month, year % 10))
    return found


def instruments(config: SimConfig, rng: Random) -> tuple[list[Instrument], list[Instrument]]:
    """Return the stocks, and the futures and options, of a day."""
    stocks = []
    for n in range(config.stock_symbols):
        code, price = _STOCKS[n] if n < len(_STOCKS) else (f"{4000 + n}", rng.randrange(200, 4000) * 50)
        stocks.append(Instrument("S", "STK", code, code, price))
    derivatives = [
        Instrument("F", "FUT", root, f"{root}{'ABCDEFGHIJKL'[number]}{year}", _INDEX + number * 10_00, month=month, right="Future")
        for month, number, year in _months(config.start_us, config.futures_months)
        for root in ("TXF", "MXF", "TMF")
    ]
    month, number, year = _months(config.start_us, 1)[0]
    for n in range(config.option_series):
        strike = 22_800 + 100 * (n // 2)
        letter, right = ("ABCDEFGHIJKL"[number], "OptionCall") if n % 2 == 0 else ("MNOPQRSTUVWX"[number], "OptionPut")
        price = 180_00 + 37_00 * n
        derivatives.append(Instrument("F", "OPT", "TXO", f"TXO{strike:05d}{letter}{year}", price, month=month, strike=strike, right=right))
    return stocks, derivatives
