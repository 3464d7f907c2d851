"""What the bridge may know of a broker: one seam for the simulator, for a file of callbacks, and for a real one.

There is no call here that places, changes or cancels an order, and none may be added: what is not on the seam cannot be reached by mistake.

Order of use: `connect`, `accounts`, the three `set_…_callback`, `start`; then reads and `maintain` from one thread; `stop`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from typing import Any, Literal, NamedTuple, Protocol

from execpos.errors import Retry

OrderCallback = Callable[[Any, Any], None]
"""Takes (state, event): the kind of a report (SORDER, SDEAL, FORDER, FDEAL, as text or as the broker library's own enum) and its payload
(a mapping, or the library's wrapper of one). Called on a thread of the broker's; it has to return at once and never raises."""


class BrokerAccount(NamedTuple):
    """One account of the login: market S (stocks) or F (futures and options)."""

    market: Literal["S", "F"]
    broker_id: str
    account_id: str


ConnectionKind = Literal["up", "down", "reconnecting", "reconnected", "session_down", "logged_in", "renewed", "suspended", "other"]


class ConnectionEvent(NamedTuple):
    """Something happened to the link: what, the broker's own code (-1 without one), and its text without personal data."""

    kind: ConnectionKind
    code: int
    detail: str


ConnectionCallback = Callable[[ConnectionEvent], None]
"""Called on any thread; returns at once and never raises."""


class Quote(NamedTuple):
    """A trade price of one symbol: full code, price as the broker wrote it, µs since the epoch in UTC."""

    market: Literal["S", "F"]
    symbol: str
    price: float
    exchange_ts: int


QuoteCallback = Callable[[Quote], None]
"""Called on any thread, often; returns at once and never raises."""


class BrokerPosition(NamedTuple):
    """One row of the broker's position list.

    Attributes:
        row_id: the broker's index of the row in this answer alone; names nothing later.
        symbol: stock code, or full contract code.
        order_cond: Cash, MarginTrading, ShortSelling…; empty for futures and options.
        direction: Buy is long, Sell is short.
        quantity: shares or contracts, never lots; not negative.
        price: average cost per share or point, as the broker wrote it.
        quantity_before: what was held at the start of the day; None when the broker does not say.
        last_price, pnl: the broker's own, for people.
    """

    row_id: int
    symbol: str
    order_cond: str
    direction: Literal["Buy", "Sell"]
    quantity: int
    price: float
    quantity_before: int | None
    last_price: float
    pnl: float


class BrokerLot(NamedTuple):
    """One lot behind a position: when opened (ISO date), shares or contracts, its order number, fee.

    `cost` is as the broker wrote it: of stocks the total cost, of futures and options the price of a point.
    """

    opened: str
    quantity: int
    cost: float
    ordno: str
    fee: float


class BrokerTrade(NamedTuple):
    """One order as the broker's order list has it. Quantities in shares or contracts, or None where the unit is not known.

    `deals` are (seq, price, quantity): evidence of fills, and not proven to carry the callbacks' exchange_seq.
    """

    order_id: str
    seqno: str
    ordno: str
    symbol: str
    action: str
    status: str
    order_cond: str
    order_lot: str
    price: float
    quantity: int | None
    filled: int | None
    cancelled: int | None
    deals: Sequence[tuple[str, float, int | None]]


class BrokerProfit(NamedTuple):
    """One row of realized profit: symbol, ISO date, shares or contracts, profit, fee and tax in TWD; None where the broker does not say."""

    symbol: str
    date: str
    order_cond: str
    quantity: int
    pnl: float
    fee: float | None
    tax: float | None


class CacheHealth(NamedTuple):
    """Health of the broker library's own order cache; Degraded asks for a catch-up, Unknown says nothing."""

    state: Literal["Unknown", "Healthy", "Degraded"]
    reasons: Sequence[str]


class BudgetState(NamedTuple):
    """What is left of a group of calls: calls possible now, and the moment (µs, UTC) until which nothing may be asked; 0 for none."""

    remaining: int
    suspended_until: int


SessionState = Literal["new", "up", "recovering", "suspended", "down", "closed"]


class BrokerError(Retry):
    """The broker did not answer a question, so nothing is known: not that a position is flat, not that an order is gone.

    Args:
        what: what was asked, of which account, and what came instead; without personal data.
        kind: why; `suspended` carries `until_us` in the fields.
    """

    def __init__(
        self,
        what: str,
        *,
        kind: Literal["suspended", "budget", "session", "timeout", "refused", "malformed", "unsupported", "failed"],
        hint: str = "",
        **fields: object,
    ) -> None:
        super().__init__(what, hint=hint, **fields)
        self.kind = kind


class ReportSource(Protocol):
    """Where reports come from: a login, a file, or a day of the simulator without its broker."""

    @property
    def env(self) -> str:
        """`production`, `simulation` or `replay`: part of every key, because ids of one come again in another."""
        ...

    @property
    def sdk_version(self) -> str:
        """Version of the broker's library, or of what stands in for it."""
        ...

    def accounts(self) -> Sequence[BrokerAccount]:
        """Return the accounts whose reports will come. Does not block; of a login, call it after `connect`."""
        ...

    def set_order_callback(self, callback: OrderCallback) -> None:
        """Register the one receiver of reports. Call it before `start` and, with a login, after `connect`; a later call replaces it."""
        ...

    def start(self) -> None:
        """Subscribe every account and let reports come, on a thread of the broker's. Once a broker, and again after an error; may block.

        Raises:
            BrokerError: an account could not be subscribed.
        """
        ...

    def finished(self) -> bool:
        """Say whether the last report has been delivered; a live broker never finishes. Does not block.

        Raises:
            ExecposError: what ended the delivery; each further call raises it again.
        """
        ...

    def stop(self) -> None:
        """Deliver no more and wait until the callback has returned for the last time. A second call does nothing."""
        ...


class Broker(ReportSource, Protocol):
    """One login at a broker, which can also be asked."""

    @property
    def session(self) -> SessionState:
        """State of the login. Any thread; does not block."""
        ...

    def connect(self) -> None:
        """Log in. Blocks; once a broker, and again after an error. No report is delivered before `start`.

        Raises:
            BrokerError: `suspended` (a login now would prolong it), `budget` (no login of the day is left), `refused`, `timeout`, `failed`.
        """
        ...

    def private_words(self) -> Collection[str]:
        """Return what names the persons of the login: id numbers and names. Does not block; call it after `connect`, and after a new login.

        They are for taking them out of everything that leaves memory, and for nothing else.
        """
        ...

    def set_connection_callback(self, callback: ConnectionCallback) -> None:
        """Register the one receiver of what happens to the link. Call it before `start`."""
        ...

    def set_quote_callback(self, callback: QuoteCallback) -> None:
        """Register the one receiver of quotes. Call it before `start`."""
        ...

    def maintain(self) -> None:
        """Do what a session needs by now: renew the token before its day is over, log in again after a lost session.

        Call it about once a second; nearly always returns at once, else blocks for a login. Never raises `BrokerError`: what failed is
        told to the connection callback, and tried again when it may be.
        """
        ...

    # Reads. One thread; each blocks for one or more calls, and waits for the shared budget before each, at most `budget_wait_s` of the
    # broker's settings. Each raises BrokerError when the broker did not answer, or its answer does not hold together; an answer that lacks
    # rows cannot be told from a short one.

    def update_status(self, account: BrokerAccount) -> None:
        """Refresh the library's order cache of an account."""
        ...

    def order_deal_records(self, account: BrokerAccount) -> Sequence[tuple[Any, Any]]:
        """Return today's reports, all clients' included, as (state, payload) in the callbacks' shapes; receipts may be empty."""
        ...

    def trades(self, account: BrokerAccount) -> Sequence[BrokerTrade]:
        """Return the orders of the library's cache; call `update_status` before. Local, costs no call."""
        ...

    def cache_health(self, account: BrokerAccount) -> CacheHealth:
        """Return the health of the order cache. Local, costs no call, does not block."""
        ...

    def positions(self, account: BrokerAccount) -> Sequence[BrokerPosition]:
        """Return what the broker says is held, in shares or contracts."""
        ...

    def position_lots(self, account: BrokerAccount, row_id: int) -> Sequence[BrokerLot]:
        """Return the lots behind one row of the last `positions` answer of this account."""
        ...

    def profit_loss(self, account: BrokerAccount, begin: date, end: date) -> Sequence[BrokerProfit]:
        """Return realized profit by row, both days included."""
        ...

    def watch(self, symbols: Collection[tuple[Literal["S", "F"], str]]) -> Collection[tuple[Literal["S", "F"], str]]:
        """Let quotes come for exactly these (market, full code); return those that could not be had. Blocks for what changed."""
        ...

    def budget(self) -> Mapping[str, BudgetState]:
        """Return what is left of each group of calls: accounting, orders, data, logins. Any thread; does not block."""
        ...
