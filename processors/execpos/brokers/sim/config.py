"""What a simulated day is made of, and what it hands out.

The simulator reads no clock: its time begins at `SimConfig.start_us` and moves on with every report, so a run is a function of its
configuration. Whoever delivers the events maps that time to the clock on the wall.
"""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

import msgspec

from execpos.errors import ConfigError

TAIPEI = timezone(timedelta(hours=8))

# The broker's day of accounts turns at 06:00 and its night begins at 14:45, in minutes of the Taipei day.
_TURNS_MINUTES = (6 * 60, 14 * 60 + 45)

# custom_field takes six letters or digits at most, and a strategy is named in it.
STRATEGY_NAME_LENGTH_MAX = 6

SDK_VERSION = "sim-1.7.9"


class Faults(msgspec.Struct, frozen=True):
    """How often delivery goes wrong: each a probability for one report.

    Attributes:
        duplicate: an order report or a deal comes again with the same event_id.
        new_receipt: a deal comes again with another event_id, after a reset of the account's stream.
        deal_before_order: the New report of an order is held back until its first deal is out.
        late: a deal is held back by 20 to 400 reports.
        reorder: a deal is overtaken by the next 1 to 8 reports.
        conflict: a deal comes again with another quantity (off unless asked for: it can have no right answer).
        drop: a report never comes; its receipt is missing in the account's stream.
    """

    duplicate: float = 0.03
    new_receipt: float = 0.01
    deal_before_order: float = 0.05
    late: float = 0.01
    reorder: float = 0.03
    conflict: float = 0.0
    drop: float = 0.0


class Attribution(msgspec.Struct, frozen=True):
    """How orders say whose they are: relative shares.

    Attributes:
        intent_before: the strategy writes its intent before the order's reports.
        intent_late: the intent comes after the first fills, or never if there are none.
        custom_field: stocks only: the strategy's name in custom_field and no intent. Futures orders of this share write one before.
        manual: nobody says anything; the fills stay unassigned.
        misleading: part of the stock orders with an intent whose custom_field names another strategy; the intent wins.
    """

    intent_before: float = 0.4
    intent_late: float = 0.2
    custom_field: float = 0.25
    manual: float = 0.15
    misleading: float = 0.05


class SimConfig(msgspec.Struct, frozen=True):
    """One simulated day. Every field changes the day; equal configurations give equal days, byte for byte.

    Attributes:
        start_us: first moment, µs since the epoch, UTC. A run must end before 06:00 or 14:45 in Taipei if it is to stay in one session.
        step_us: mean simulated time from one delivered event to the next, µs.
        events: about how many events to deliver; None for no end. What is under way then is still delivered.
        symbols_per_account: how many of the instruments an account trades; None for all.
        deal_share: part of the distinct reports that are deals.
        odd_share: part of the stock orders in odd lots.
        margin_share: part of the stock orders bought on margin, and the same part sold short.
        reject_share: part of the orders refused before they have an id.
        after_hours_odd_share: part of the odd lot orders that are after-hours ones (Odd).
        market_order_share: part of the orders at the market's price and at once or not at all (MKT and IOC). One in eight of those of
            futures
            is a MKT and ROD order, which the exchange refuses with 9938.
        async_failure_share: part of the orders that are accepted, and fail a little later.
        bust_share: part of the fills that the broker takes back, without telling.
        working_max: most orders open at one time.
    """

    seed: int
    start_us: int
    step_us: int = 1000
    events: int | None = None
    stock_accounts: int = 4
    futures_accounts: int = 2
    strategies: int = 5
    stock_symbols: int = 8
    futures_months: int = 1
    option_series: int = 2
    symbols_per_account: int | None = None
    deal_share: float = 0.58
    odd_share: float = 0.2
    margin_share: float = 0.05
    reject_share: float = 0.01
    after_hours_odd_share: float = 0.0
    market_order_share: float = 0.0
    async_failure_share: float = 0.0
    bust_share: float = 0.0
    working_max: int = 60
    faults: Faults = Faults()
    attribution: Attribution = Attribution()

    def check(self) -> None:
        """Refuse a configuration that makes no day.

        Raises:
            ConfigError: naming the field, its value and what is allowed.
        """
        if self.stock_accounts + self.futures_accounts < 1:
            raise ConfigError("the simulator has no account", hint="give stock_accounts or futures_accounts of at least 1")
        for name in ("step_us", "strategies", "stock_symbols", "futures_months", "working_max"):
            if getattr(self, name) < 1:
                raise ConfigError(f"simulator: {name} is {getattr(self, name)}", hint=f"{name} is a whole number of at least 1")
        shares = [(name, getattr(self, name)) for name in self.__struct_fields__ if name.endswith("_share")]
        shares += [(f"faults.{name}", value) for name, value in msgspec.structs.asdict(self.faults).items()]
        shares += [(f"attribution.{name}", value) for name, value in msgspec.structs.asdict(self.attribution).items()]
        for name, value in shares:
            if not 0 <= value <= 1:
                raise ConfigError(f"simulator: {name} is {value}", hint=f"{name} is between 0 and 1")
        # Deals come from orders: with nine deals in ten reports every order needs nine partial fills, and the day would not end.
        if self.deal_share > 0.7:
            raise ConfigError(f"simulator: deal_share is {self.deal_share}", hint="deal_share is at most 0.7")


class SimAccount(msgspec.Struct, frozen=True):
    """An account that does not exist: market S or F, broker and number."""

    market: Literal["S", "F"]
    broker_id: str
    account_id: str

    @property
    def key(self) -> str:
        """The account in one word: market, broker and number."""
        return f"{self.market}|{self.broker_id}|{self.account_id}"


class SimIntent(msgspec.Struct, frozen=True):
    """What a strategy writes down about an order of its own; one of order_id and seqno is empty."""

    account: SimAccount
    strategy_id: str
    order_id: str
    seqno: str
    created_us: int


class SimEvent(msgspec.Struct, frozen=True):
    """One delivery, in delivery order.

    Attributes:
        at_us: simulated time of the delivery, never before the one of the event before it.
        kind: `callback` (state and payload as Shioaji's order callback) or `intent`.
        payload: read-only; a duplicate shares it with its first delivery.
    """

    at_us: int
    kind: Literal["callback", "intent"]
    state: str = ""
    payload: dict[str, Any] = {}
    intent: SimIntent | None = None


def accounts(config: SimConfig) -> tuple[SimAccount, ...]:
    """Return the accounts of a day, stock accounts first."""
    stock = [SimAccount("S", "9A95", f"{1_000_001 + n}") for n in range(config.stock_accounts)]
    futures = [SimAccount("F", "F002000", f"{2_000_001 + n}") for n in range(config.futures_accounts)]
    return (*stock, *futures)


def strategies(config: SimConfig) -> tuple[str, ...]:
    """Return the names of the robot's strategies; each fits into custom_field."""
    first = ("alpha", "basis", "carry", "drift", "event")
    return tuple(first[n] if n < len(first) else f"s{n + 1:05d}" for n in range(config.strategies))


def market_open_us(year: int, month: int, day: int) -> int:
    """Return 09:00 in Taipei on a date, in µs since the epoch."""
    return int(datetime(year, month, day, 9, tzinfo=TAIPEI).timestamp()) * 1_000_000


def start_within_session(now_us: int, span_us: int) -> int:
    """Return the moment nearest to `now_us`, not after it, from which `span_us` passes without a turn of the session.

    Raises:
        ConfigError: no session is that long (the shorter one has 8 hours and 45 minutes).
    """
    if span_us > (_TURNS_MINUTES[1] - _TURNS_MINUTES[0]) * 60_000_000:
        raise ConfigError(f"a run of {span_us / 3.6e9:.1f} simulated hours fits into no session", hint="at most 8.75 hours")
    midnight = datetime.fromtimestamp(now_us // 1_000_000, TAIPEI).replace(hour=0, minute=0, second=0)
    for day in (0, 1):
        for minutes in _TURNS_MINUTES:
            turn_us = int((midnight + timedelta(days=day, minutes=minutes)).astimezone(UTC).timestamp()) * 1_000_000
            if now_us < turn_us:
                return min(now_us, turn_us - span_us)
    return now_us
