"""What the simulated exchange keeps of an order and of a fill."""

from typing import Any

from execpos.brokers.sim.config import SimAccount
from execpos.brokers.sim.market import Instrument

BOOKS = {"Cash": "cash", "Netting": "cash", "MarginTrading": "margin", "ShortSelling": "short"}
SHARES_PER_LOT = 1000
ODD_LOTS = frozenset({"IntradayOdd", "Odd"})


class Order:
    """An order as the exchange sees it. Quantities are in the unit of the report: lots, shares of an odd lot, or contracts."""

    __slots__ = (
        "account",
        "cancelled",
        "cond",
        "custom_field",
        "deals",
        "failure",
        "filled",
        "held",
        "id",
        "instrument",
        "intent",
        "late_intent",
        "lot",
        "ordno",
        "place",
        "placed_us",
        "price",
        "price_type",
        "quantity",
        "reported",
        "seqno",
        "side",
        "strategy",
        "time_in_force",
        "trading_date",
        "web_id",
    )

    def __init__(self, account: SimAccount, instrument: Instrument, *, side: int, quantity: int, price: int, cond: str, lot: str) -> None:
        self.account = account
        self.instrument = instrument
        self.side = side
        self.quantity = quantity
        self.price = price
        self.cond = cond
        self.lot = lot
        self.seqno = self.id = self.ordno = self.custom_field = ""
        self.web_id = "137" if account.market == "S" else "Z"
        self.strategy = ""
        self.price_type, self.time_in_force = "LMT", "ROD"
        self.placed_us = 0
        self.trading_date = ""
        # Why it failed; empty for one that did not.
        self.failure = ""
        self.filled = self.cancelled = self.deals = 0
        # Place in the list of working orders, so that it leaves at once.
        self.place = -1
        # A New report that waits for the first deal to go ahead.
        self.held: Any = None
        self.reported = False
        self.late_intent = False
        # The strategy that an intent delivered so far names.
        self.intent = ""

    @property
    def open(self) -> int:
        """What can still be filled."""
        return self.quantity - self.filled - self.cancelled

    @property
    def unit(self) -> int:
        """Shares or contracts in one of the order's quantity."""
        return SHARES_PER_LOT if self.instrument.market == "S" and self.lot not in ODD_LOTS else 1

    @property
    def book(self) -> str:
        """The broker's shelf that its fills go to."""
        return BOOKS[self.cond] if self.instrument.market == "S" else "derivative"


class Fill:
    """One match. `units` are shares or contracts, `price` hundredths, `busted` one that the broker took back."""

    __slots__ = ("at_us", "busted", "exchange_seq", "order", "price", "receipts", "units")

    def __init__(self, order: Order, units: int, price: int, exchange_seq: str, at_us: int) -> None:
        self.order = order
        self.units = units
        self.price = price
        self.exchange_seq = exchange_seq
        self.at_us = at_us
        self.busted = False
        # Receipts under which it was delivered; none means nobody has seen it yet.
        self.receipts: set[str] = set()
