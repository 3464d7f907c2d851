"""A login at SinoPac, as the bridge sees it: `Broker` on top of the library's client."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal, TypeVar

import msgspec

from execpos.brokers.budget import Budget, Group
from execpos.brokers.protocol import (
    BrokerAccount,
    BrokerError,
    BrokerLot,
    BrokerPosition,
    BrokerProfit,
    BrokerTrade,
    BudgetState,
    CacheHealth,
    ConnectionCallback,
    OrderCallback,
    QuoteCallback,
    SessionState,
)
from execpos.brokers.shioaji import convert
from execpos.brokers.shioaji.api import Api
from execpos.brokers.shioaji.credentials import Credentials
from execpos.brokers.shioaji.quotes import Quotes
from execpos.brokers.shioaji.scrub import Scrubber
from execpos.brokers.shioaji.session import Clocks, Session, name
from execpos.errors import ExecposError

T = TypeVar("T")

SYSTEM_CLOCKS = Clocks(wall_us=lambda: time.time_ns() // 1000, monotonic_us=lambda: time.monotonic_ns() // 1000, sleep=time.sleep)

# In shares: asked for in lots, the broker cuts odd lots off. The library takes the word as well as its enum.
_SHARES = "Share"
# Seen with 1.7.9: PYAPI/<ten characters>/….
_KEY_NAME_CHARS = 10


class BrokerOptions(msgspec.Struct, frozen=True):
    """How a login is used.

    Attributes:
        env: production or simulation; the simulated broker is a simulation too.
        sdk_version: of the library.
        budget_wait_s: longest wait of a read for its turn.
        answer_timeout_ms: longest wait for one answer; the library's own limit is 30 s.
    """

    env: Literal["production", "simulation"]
    sdk_version: str
    budget_wait_s: float = 10.0
    answer_timeout_ms: int = 15_000


class ShioajiBroker:
    """One login. See `brokers.protocol.Broker` for the contracts of the methods.

    Args:
        options: how it is used.
        make_api: makes a client, not logged in; called at `connect`, and again after each lost session.
        credentials: key of the login.
        budget: of this login; shared with nobody else.
        clocks: the time.
        drop_api: ends a client that is not used any more; by default its `logout`.
        is_finished: says whether a simulated scenario is over; a real broker never is.
    """

    def __init__(
        self,
        options: BrokerOptions,
        make_api: Callable[[], Api],
        credentials: Credentials,
        budget: Budget,
        *,
        clocks: Clocks = SYSTEM_CLOCKS,
        drop_api: Callable[[Api], None] | None = None,
        is_finished: Callable[[], bool] | None = None,
    ) -> None:
        self._options = options
        self._budget = budget
        self._clocks = clocks
        self._is_finished = is_finished
        # The library names its connection after the first characters of the key, and the link's events have that name.
        scrub = Scrubber((credentials.api_key, credentials.api_key[:_KEY_NAME_CHARS], credentials.secret_key))
        self._session = Session(make_api, drop_api or _log_out, credentials, budget, clocks, options.budget_wait_s, scrub)
        self._quotes = Quotes(self._session, budget, options.budget_wait_s, clocks.monotonic_us)
        self._session.handlers.register_more = self._quotes.register
        self._session.handlers.resume = self._quotes.resume
        self._rows: dict[BrokerAccount, dict[int, BrokerPosition]] = {}

    @property
    def env(self) -> str:
        return self._options.env

    @property
    def sdk_version(self) -> str:
        return self._options.sdk_version

    @property
    def session(self) -> SessionState:
        return self._session.state

    def private_words(self) -> Collection[str]:
        return self._session.persons

    def accounts(self) -> Sequence[BrokerAccount]:
        return self._session.accounts

    def connect(self) -> None:
        self._session.connect()

    def set_order_callback(self, callback: OrderCallback) -> None:
        self._session.handlers.on_order = callback

    def set_connection_callback(self, callback: ConnectionCallback) -> None:
        self._session.handlers.on_connection = callback

    def set_quote_callback(self, callback: QuoteCallback) -> None:
        self._quotes.callback = callback

    def start(self) -> None:
        self._session.start()

    def finished(self) -> bool:
        try:
            return self._is_finished is not None and self._is_finished()
        except ExecposError:
            raise
        except Exception:  # noqa: BLE001 (it cannot be asked now, and is asked again soon)
            return False

    def stop(self) -> None:
        self._session.stop()

    def maintain(self) -> None:
        self._session.maintain()
        self._quotes.mend()

    def update_status(self, account: BrokerAccount) -> None:
        timeout = self._options.answer_timeout_ms
        self._read("update_status", account, lambda api, native: api.update_status(native, timeout=timeout), "orders")

    def order_deal_records(self, account: BrokerAccount) -> Sequence[tuple[Any, Any]]:
        timeout = self._options.answer_timeout_ms
        # On no published list of limits, so it counts in both that it may belong to.
        what, found = self._read(
            "order_deal_records", account, lambda api, native: api.order_deal_records(native, timeout=timeout), "orders", "accounting"
        )
        return convert.records(what, found)

    def trades(self, account: BrokerAccount) -> Sequence[BrokerTrade]:
        what, found = self._read("list_trades", account, lambda api, _: list(api.list_trades()))
        return convert.trades(what, found, account, datetime.fromtimestamp(self._clocks.wall_us() / 1e6, UTC))

    def cache_health(self, account: BrokerAccount) -> CacheHealth:
        what, found = self._read("trade_cache_health", account, lambda api, native: api.trade_cache_health(native))
        return convert.health(what, found)

    def positions(self, account: BrokerAccount) -> Sequence[BrokerPosition]:
        timeout = self._options.answer_timeout_ms
        what, found = self._read(
            "list_positions", account, lambda api, native: api.list_positions(native, unit=_SHARES, timeout=timeout), "accounting"
        )
        made = convert.positions(what, found, account.market, before=self._options.env == "production")
        self._rows[account] = {row.row_id: row for row in made}
        return made

    def position_lots(self, account: BrokerAccount, row_id: int) -> Sequence[BrokerLot]:
        row = self._rows.get(account, {}).get(row_id)
        if row is None:
            what = f"list_position_detail of {name(account)}: the last answer had no row {row_id}"
            raise BrokerError(what, kind="refused", hint="ask for the positions first")
        timeout = self._options.answer_timeout_ms
        what, found = self._read(
            "list_position_detail",
            account,
            lambda api, native: api.list_position_detail(native, detail_id=row_id, timeout=timeout),
            "accounting",
        )
        return convert.lots(what, found, row, account.market)

    def profit_loss(self, account: BrokerAccount, begin: date, end: date) -> Sequence[BrokerProfit]:
        timeout = self._options.answer_timeout_ms
        what, found = self._read(
            "list_profit_loss",
            account,
            lambda api, native: api.list_profit_loss(
                native, begin_date=begin.isoformat(), end_date=end.isoformat(), unit=_SHARES, timeout=timeout
            ),
            "accounting",
        )
        return convert.profits(what, found, account.market)

    def watch(self, symbols: Collection[tuple[Literal["S", "F"], str]]) -> Collection[tuple[Literal["S", "F"], str]]:
        return self._quotes.watch(symbols)

    def budget(self) -> Mapping[str, BudgetState]:
        return self._budget.states()

    def _read(self, method: str, account: BrokerAccount, question: Callable[[Api, Any], T], *groups: Group) -> tuple[str, T]:
        """Ask; return what the question is called in errors, and the answer."""
        what = f"{method} of {name(account)}"
        native = self._session.native(what, account)
        if not groups:
            return what, self._session.ask(what, lambda api: question(api, native), remote=False)
        # Without a session the turn would be used up for nothing.
        self._session.needed(what)
        with self._budget.call(what, *groups, wait_s=self._options.budget_wait_s, market=account.market):
            return what, self._session.ask(what, lambda api: question(api, native), remote=True)


def _log_out(api: Api) -> None:
    api.logout()
