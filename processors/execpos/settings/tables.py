"""What stands in `config/instruments.yaml`, `fees.yaml`, `calendar.yaml` and `accounts.yaml`, and how it becomes the domain's tables."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Literal, TypeVar

import msgspec
from pydantic import Field

from execpos.domain import calendar as domain_calendar
from execpos.domain import fees as domain_fees
from execpos.domain import instruments as domain_instruments
from execpos.domain.events import Market, Side
from execpos.settings.model import Name, Section, SecurityType
from execpos.settings.problem import Problem, listed

_EPOCH = date(1970, 1, 1)
_MICROS = 1_000_000
_SATURDAY = 5

TimeOfDay = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Rate = Annotated[int, Field(ge=0, le=domain_fees.RATE_UNIT)]
Amount = Annotated[Decimal, Field(ge=0, le=100_000, decimal_places=6)]


def _days(day: date | None) -> int | None:
    return None if day is None else (day - _EPOCH).days


def _seconds(time: str) -> int:
    return int(time[:2]) * 3600 + int(time[3:]) * 60


class ProductEntry(Section):
    """One kind of instrument."""

    market: Market
    """S stocks, F futures and options."""
    security_type: SecurityType
    multiplier: Annotated[int, Field(ge=1, le=10_000_000)]
    """TWD per point and contract; 1 for stocks."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "TWD"
    fee: Name
    """Name under `fees` in fees.yaml."""
    tax: Name
    """Name under `taxes` in fees.yaml."""
    ticks: Name | None = None
    """Name under `ticks`; without it, averages of cost are compared by the smallest step of any product, 0.01."""


class TickEntry(Section):
    """A price step."""

    below: Annotated[Decimal, Field(gt=0, le=1_000_000, decimal_places=6)] | None = None
    """Prices under this one; the last step has none."""
    tick: Annotated[Decimal, Field(gt=0, le=100_000, decimal_places=6)]
    """The step."""


class StockRuleEntry(Section):
    """Stock codes that `pattern` matches as a whole."""

    pattern: Annotated[str, Field(min_length=1, max_length=200)]
    """Regular expression."""
    product: Name


class OverrideEntry(Section):
    """One contract that differs from its root."""

    full_code: Annotated[str, Field(min_length=1)]
    product: Name
    multiplier: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Instead of the product's."""
    valid_from: date | None = None
    valid_to: date | None = None


class InstrumentsFile(Section):
    """config/instruments.yaml."""

    products: dict[Name, ProductEntry]
    stocks: tuple[StockRuleEntry, ...]
    """Tried from the top."""
    roots: dict[Annotated[str, Field(pattern=r"^[A-Z0-9]{3}$")], Name]
    """First three letters of a contract -> product."""
    overrides: tuple[OverrideEntry, ...] = ()
    books: dict[str, Name]
    """Order condition of stocks -> the broker's shelf."""
    lots: dict[str, Annotated[int, Field(ge=1, le=1_000_000)]]
    """Order lot of stocks -> shares in one unit."""
    ticks: Annotated[dict[Name, Annotated[tuple[TickEntry, ...], Field(min_length=1)]], Field(default_factory=dict)]
    """Price steps, from the lowest price up."""

    def problems(self) -> Iterator[Problem]:
        """Yield what contradicts itself."""
        for position, rule in enumerate(self.stocks):
            try:
                re.compile(rule.pattern, re.ASCII)
            except re.error as error:
                yield Problem(("stocks", position, "pattern"), f"{rule.pattern!r} is no regular expression: {error}")
            yield from self._uses(("stocks", position, "product"), rule.product, "S")
        for root, name in self.roots.items():
            yield from self._uses(("roots", root), name, "F")
        for position, override in enumerate(self.overrides):
            yield from self._uses(("overrides", position, "product"), override.product, "F")
            if override.valid_from and override.valid_to and override.valid_to < override.valid_from:
                yield Problem(("overrides", position, "valid_to"), f"{override.valid_to} is before valid_from {override.valid_from}")
        for name, product in self.products.items():
            if product.market == "S" and product.multiplier != 1:
                yield Problem(("products", name, "multiplier"), "must be 1 for stocks; what a lot holds stands under `lots`")
        for condition, book in self.books.items():
            if book == domain_instruments.DERIVATIVE:
                yield Problem(("books", condition), f"{book!r} is the book of futures and options")
        yield from self._steps()

    def _steps(self) -> Iterator[Problem]:
        for name, product in self.products.items():
            if product.ticks is not None and product.ticks not in self.ticks:
                yield Problem(("products", name, "ticks"), f"unknown steps {product.ticks!r}; known: {listed(self.ticks)}")
        for name, steps in self.ticks.items():
            ends = [step.below for step in steps if step.below is not None]
            if steps[-1].below is not None or len(ends) < len(steps) - 1 or ends != sorted(set(ends)):
                yield Problem(("ticks", name), "`below` has to rise from step to step, and only the last step has none")

    def _uses(self, path: tuple[str | int, ...], name: str, market: Market) -> Iterator[Problem]:
        product = self.products.get(name)
        if product is None:
            yield Problem(path, f"unknown product {name!r}; known: {listed(self.products)}")
        elif product.market != market:
            yield Problem(path, f"product {name!r} is of market {product.market}, and here only {market} may stand")

    def build(self) -> domain_instruments.Instruments:
        """Return the domain's tables."""
        steps = {
            name: tuple((None if step.below is None else int(step.below * _MICROS), int(step.tick * _MICROS)) for step in entries)
            for name, entries in self.ticks.items()
        }
        products = {
            name: domain_instruments.Product(name, e.market, e.security_type, e.multiplier, e.currency, e.fee, e.tax)
            for name, e in self.products.items()
        }
        overrides: dict[str, tuple[domain_instruments.ContractOverride, ...]] = {}
        for entry in self.overrides:
            product = products[entry.product]
            if entry.multiplier is not None:
                product = msgspec.structs.replace(product, multiplier=entry.multiplier)
            made = domain_instruments.ContractOverride(entry.full_code, product, _days(entry.valid_from), _days(entry.valid_to))
            overrides[entry.full_code] = (*overrides.get(entry.full_code, ()), made)
        return domain_instruments.Instruments(
            stock_rules=tuple(domain_instruments.StockRule(re.compile(r.pattern, re.ASCII), products[r.product]) for r in self.stocks),
            roots={root: products[name] for root, name in self.roots.items()},
            overrides=overrides,
            books=dict(self.books),
            lots=dict(self.lots),
            ticks={name: steps[entry.ticks] for name, entry in self.products.items() if entry.ticks},
        )


class Dated(Section):
    """In force between two trading dates, both included; an end that is missing is open."""

    books: tuple[Name, ...] = ()
    """Only these books; every book when empty."""
    valid_from: date | None = None
    valid_to: date | None = None


DatedT = TypeVar("DatedT", bound=Dated)


class FeeEntry(Dated):
    """A commission."""

    rate_per_billion: Rate = 0
    """Parts per 10^9 of the turnover."""
    per_contract_twd: Amount = Decimal(0)
    """TWD for each contract."""
    minimum_twd: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Least of one order."""
    odd_lot_minimum_twd: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Least of one odd-lot order."""
    rounding: domain_fees.Rounding = "floor"
    """How the order's sum becomes whole TWD."""


class TaxEntry(Dated):
    """A transaction tax."""

    rate_per_billion: Rate
    """Parts per 10^9 of the turnover."""
    sides: Annotated[tuple[Side, ...], Field(min_length=1)]
    """Who pays it."""
    rounding: domain_fees.Rounding = "floor"
    """How the order's sum becomes whole TWD."""


class DayTradeEntry(Section):
    """Sales that pay another tax when a buy of the same day pairs with them."""

    taxes: Annotated[dict[Name, Name], Field(default_factory=dict)]
    """Tax that such a sale pays at first -> the one that is due."""
    books: tuple[Name, ...] = ()
    """Books in which a day trade counts."""
    lots: tuple[Name, ...] = ()
    """Order lots that count."""


class FeesFile(Section):
    """config/fees.yaml."""

    fees: dict[Name, Annotated[tuple[FeeEntry, ...], Field(min_length=1)]]
    taxes: dict[Name, Annotated[tuple[TaxEntry, ...], Field(min_length=1)]]
    day_trade: DayTradeEntry = DayTradeEntry(taxes={})
    """Sales of stocks that were bought on the same day."""
    settlement: Annotated[dict[Name, Name], Field(default_factory=dict)]
    """Tax of a contract -> the one that is due when it is settled."""

    def problems(self) -> Iterator[Problem]:
        """Yield gaps and overlaps in time, and names of taxes that do not exist."""
        for name, fees in self.fees.items():
            yield from _gaps(("fees", name), fees)
        for name, taxes in self.taxes.items():
            yield from _gaps(("taxes", name), taxes)
        for path, table in ((("day_trade", "taxes"), self.day_trade.taxes), (("settlement",), self.settlement)):
            for name, due in table.items():
                for each in sorted({name, due} - self.taxes.keys()):
                    yield Problem((*path, name), f"unknown tax {each!r}; known: {listed(self.taxes)}")

    def build(self, odd_lots: frozenset[str]) -> domain_fees.FeeSchedule:
        """Return the domain's tables; `odd_lots` are the order lots whose unit is one share."""
        return domain_fees.FeeSchedule(
            fees={name: tuple(map(_fee, _certain_books_first(entries))) for name, entries in self.fees.items()},
            taxes={name: tuple(map(_tax, _certain_books_first(entries))) for name, entries in self.taxes.items()},
            odd_lots=odd_lots,
            day_trade=domain_fees.DayTrade(dict(self.day_trade.taxes), frozenset(self.day_trade.books), frozenset(self.day_trade.lots)),
            settlement=dict(self.settlement),
        )


def _gaps(path: tuple[str, ...], entries: tuple[Dated, ...]) -> Iterator[Problem]:
    groups: dict[tuple[str, ...], list[tuple[int, Dated]]] = {}
    for position, entry in enumerate(entries):
        groups.setdefault(entry.books, []).append((position, entry))
    if () not in groups:
        yield Problem(path, "needs an entry for every book (one without `books`)")
    for group in groups.values():
        for (_, before), (position, entry) in pairwise(group):
            if before.valid_to is None or entry.valid_from != before.valid_to + timedelta(days=1):
                yield Problem((*path, position), "its valid_from must be the day after the valid_to of the entry before it")
        if group[0][1].valid_from is not None:
            yield Problem((*path, group[0][0], "valid_from"), "the first entry must have none: every day needs a rate")
        if group[-1][1].valid_to is not None:
            yield Problem((*path, group[-1][0], "valid_to"), "the last entry must have none: every day needs a rate")


def _certain_books_first(entries: tuple[DatedT, ...]) -> list[DatedT]:
    return sorted(entries, key=lambda entry: not entry.books)


def _fee(entry: FeeEntry) -> domain_fees.FeeRate:
    return domain_fees.FeeRate(
        rate=entry.rate_per_billion,
        per_contract=int(entry.per_contract_twd * _MICROS),
        minimum=entry.minimum_twd * _MICROS,
        odd_lot_minimum=entry.odd_lot_minimum_twd * _MICROS,
        rounding=entry.rounding,
        books=entry.books,
        valid_from=_days(entry.valid_from),
        valid_to=_days(entry.valid_to),
    )


def _tax(entry: TaxEntry) -> domain_fees.TaxRate:
    return domain_fees.TaxRate(
        rate=entry.rate_per_billion,
        sides=entry.sides,
        rounding=entry.rounding,
        books=entry.books,
        valid_from=_days(entry.valid_from),
        valid_to=_days(entry.valid_to),
    )


class WindowEntry(Section):
    """A span of the day, Taipei time; past midnight when the end is not after the start."""

    name: Name
    market: domain_calendar.Scope
    """S, F, or * for both."""
    start: TimeOfDay
    """HH:MM, included."""
    end: TimeOfDay
    """HH:MM, not included."""
    trading_days_only: bool = True
    """It exists only on days on which the market trades."""


class CalendarFile(Section):
    """config/calendar.yaml."""

    source: Annotated[str, Field(min_length=1)]
    """Where the days come from."""
    known_from: date
    known_until: date
    """Outside these two days only weekends are known."""
    closed: dict[domain_calendar.Scope, tuple[date, ...]]
    """Days from Monday to Friday without trading."""
    extra: Annotated[dict[domain_calendar.Scope, tuple[date, ...]], Field(default_factory=dict)]
    """Saturdays or Sundays with trading."""
    sessions: tuple[WindowEntry, ...]
    blackouts: tuple[WindowEntry, ...]

    def problems(self) -> Iterator[Problem]:
        """Yield days that cannot be meant."""
        if self.known_until < self.known_from:
            yield Problem(("known_until",), f"{self.known_until} is before known_from {self.known_from}")
        for kind, table, weekend in (("closed", self.closed, False), ("extra", self.extra, True)):
            for market, days in table.items():
                for position, day in enumerate(days):
                    path = (kind, market, position)
                    if (day.weekday() >= _SATURDAY) is not weekend:
                        yield Problem(path, f"{day} is a {day:%A}; here stand only {'weekends' if weekend else 'Mondays to Fridays'}")
                    if not self.known_from <= day <= self.known_until:
                        yield Problem(path, f"{day} is outside known_from..known_until")
                    if day in days[:position]:
                        yield Problem(path, f"{day} stands twice")

    def build(self) -> domain_calendar.Calendar:
        """Return the domain's calendar."""
        return domain_calendar.Calendar(
            closed=_by_market(self.closed),
            extra=_by_market(self.extra),
            known_from=(self.known_from - _EPOCH).days,
            known_until=(self.known_until - _EPOCH).days,
            sessions=tuple(map(_window, self.sessions)),
            blackouts=tuple(map(_window, self.blackouts)),
        )


def _by_market(table: dict[domain_calendar.Scope, tuple[date, ...]]) -> dict[Market, frozenset[int]]:
    markets: tuple[Market, ...] = ("S", "F")
    return {market: frozenset((day - _EPOCH).days for day in (*table.get("*", ()), *table.get(market, ()))) for market in markets}


def _window(entry: WindowEntry) -> domain_calendar.Window:
    return domain_calendar.Window(entry.name, entry.market, _seconds(entry.start), _seconds(entry.end), entry.trading_days_only)


class AccountEntry(Section):
    """One account of the broker; no credentials."""

    market: Literal["S", "F"]
    broker_id: Annotated[str, Field(min_length=1)]
    account_id: Annotated[str, Field(min_length=1)]
    name: str = ""
    """What people call it."""


class AccountsFile(Section):
    """config/accounts.yaml; it may be missing."""

    accounts: tuple[AccountEntry, ...] = ()

    def problems(self) -> Iterator[Problem]:
        """Yield accounts that stand twice."""
        seen = set()
        for position, entry in enumerate(self.accounts):
            identity = (entry.market, entry.broker_id, entry.account_id)
            if identity in seen:
                yield Problem(("accounts", position), f"{'|'.join(identity)} stands twice")
            seen.add(identity)
