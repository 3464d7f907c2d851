"""Trade prices of the symbols that are held: which contracts are subscribed, and what a tick becomes."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Literal

from execpos.brokers.budget import Budget
from execpos.brokers.protocol import BrokerError, Quote, QuoteCallback
from execpos.brokers.shioaji import convert
from execpos.brokers.shioaji.api import Api
from execpos.brokers.shioaji.fields import word
from execpos.brokers.shioaji.session import Session

Symbol = tuple[Literal["S", "F"], str]

# The broker's limit of one connection.
SUBSCRIPTIONS_MAX = 200
# A symbol that could not be had is tried again; contracts appear twice a day.
_AGAIN_US = 60_000_000
_CONTRACTS_MS = 30_000

_FUTURES_AND_OPTIONS = ("futures", "options")


class Quotes:
    """Keeps the subscriptions of one login. One thread; ticks come on the library's.

    Args:
        session: the login.
        budget: a subscription counts as a data call.
        wait_s: longest wait for the budget's turn.
        monotonic_us: clock that never goes back.
    """

    def __init__(self, session: Session, budget: Budget, wait_s: float, monotonic_us: Callable[[], int]) -> None:
        self.callback: QuoteCallback | None = None
        self.refused = 0
        """Ticks that could not be read."""
        self._session = session
        self._budget = budget
        self._wait_s = wait_s
        self._monotonic_us = monotonic_us
        self._wanted: set[Symbol] = set()
        self._had: dict[Symbol, Any] = {}
        self._tried_us = 0
        self._fetched: Api | None = None

    def register(self, api: Api) -> None:
        """Register for ticks, if somebody wants quotes."""
        if self.callback is not None:
            api.set_on_tick_stk_v1_callback(self._receiver("S"))
            api.set_on_tick_fop_v1_callback(self._receiver("F"))

    def _receiver(self, market: Literal["S", "F"]) -> Callable[[Any], None]:
        def receive(tick: Any) -> None:
            try:
                quote: Quote | None = convert.quote(tick, market)
                if quote is not None and self.callback is not None and self._session.state != "closed":
                    self.callback(quote)
            except Exception:  # noqa: BLE001 (this is the library's thread: nothing may end it)
                self.refused += 1

        return receive

    def resume(self) -> None:
        """Subscribe everything again, with a new client or a new token. What fails is tried again by `mend`."""
        self._had.clear()
        self._tried_us = self._monotonic_us()
        for symbol in sorted(self._wanted):
            try:
                self._subscribe(symbol)
            except BrokerError:
                # Prices of now are not worth a session.
                return

    def mend(self) -> None:
        """Try again what could not be had, once a minute. Never raises BrokerError."""
        if len(self._had) < len(self._wanted) and self._session.state == "up" and self._monotonic_us() - self._tried_us >= _AGAIN_US:
            try:
                self.watch(frozenset(self._wanted))
            except BrokerError:
                return

    def watch(self, symbols: Collection[Symbol]) -> Collection[Symbol]:
        """Subscribe what is new, unsubscribe what is not wanted any more; return what could not be had.

        Raises:
            BrokerError: the broker cannot be asked now; what is missing is tried again by `mend`.
        """
        self._wanted = set(symbols)
        self._tried_us = self._monotonic_us()
        for symbol in sorted(self._had.keys() - self._wanted):
            contract = self._had.pop(symbol)
            self._one(f"unsubscribe of {symbol[1]}", partial(_unsubscribe, contract=contract))
        for symbol in sorted(self._wanted - self._had.keys()):
            self._subscribe(symbol)
        return self._wanted - self._had.keys()

    def _subscribe(self, symbol: Symbol) -> None:
        if len(self._had) >= SUBSCRIPTIONS_MAX:
            return
        contract = self._contract(symbol)
        if contract is not None and self._one(f"subscribe of {symbol[1]}", lambda api: api.subscribe(contract, "tick")):
            self._had[symbol] = contract

    def _one(self, what: str, question: Callable[[Api], None]) -> bool:
        with self._budget.call(what, "data", wait_s=self._wait_s):
            try:
                self._session.ask(what, question, remote=True)
            except BrokerError as error:
                if error.kind in {"refused", "malformed"}:
                    return False
                raise
        return True

    def _contract(self, symbol: Symbol) -> Any:
        """Return the library's contract of a symbol; None when it has none of exactly this code."""
        found = self._session.ask(f"contract of {symbol[1]}", partial(_find, symbol=symbol), remote=False)
        if found is not None:
            return found
        return self._session.ask(f"contract of {symbol[1]}", partial(self._fetch, symbol=symbol), remote=False)

    def _fetch(self, api: Api, symbol: Symbol) -> Any:
        # Once a client, and only when it does not have them: it is a large file.
        if self._fetched is api or word(getattr(api.contracts, "status", "Fetched")) == "Fetched":
            return None
        self._fetched = api
        api.fetch_contracts(contract_download=True, contracts_timeout=_CONTRACTS_MS)
        return _find(api, symbol)


def _find(api: Api, symbol: Symbol) -> Any:
    market, code = symbol
    contracts = api.contracts
    for kind in ("stocks",) if market == "S" else _FUTURES_AND_OPTIONS:
        try:
            found = getattr(contracts, kind)[code]
        except Exception:  # noqa: BLE001, S112 (what the library raises for a code that it does not have is written nowhere)
            continue
        # The library answers a product's root with a group of contracts.
        if getattr(found, "code", None) == code:
            return found
    return None


def _unsubscribe(api: Api, contract: Any) -> None:
    api.unsubscribe(contract, "tick")
