"""The simulator's face: an object with the surface of `shioaji.Shioaji` 1.7.9, as far as capturing and reconciling need it.

Method names, argument names and order, shapes of answers, errors and the thread of the callbacks are those of the real client. There is no
method that places, changes or cancels an order. Methods that the real client does not have are named `sim_…`. The file is long because the
surface is: one class, nearly all of it signatures.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

from execpos.brokers.sim import answers
from execpos.brokers.sim.cache import TradeCache
from execpos.brokers.sim.errors import AccountNotProvideError, AuthError, ShioajiTypeError, ShioajiValueError
from execpos.brokers.sim.objects import STATES, Account, Event, Row, Word, row

Push = tuple[str, Any, Any]
"""What the broker sends unasked: ("order", state, payload), ("event", [resp_code, code, info, event], None), ("session_down", None, None),
("tick", market, fields), ("intent", fields, None)."""

_NOT_AUTHENTICATED = "Not authenticated"
# What the library waits for an answer when it is not told.
_TIMEOUT_MS = 30_000

T = TypeVar("T")


class Link(Protocol):
    """The way from a client to the simulated broker: in the same process, or over a socket."""

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        """Ask, and return plain data. Blocks. Raises one of `errors`."""
        ...

    def open(self, receive: Callable[[Push], None]) -> None:
        """Connect; `receive` is called on one thread of the link's own."""
        ...

    def close(self) -> None:
        """Disconnect. A second call does nothing."""
        ...


class SimApi:
    """One client. Any thread may call; callbacks come on one thread of the link's, one at a time, and hold up the next one.

    Every call that asks the broker blocks, and may raise one of `execpos.brokers.sim.errors`: AuthError before the login, TokenError when
    the token is over (24 hours), SystemMaintenance (503) while suspended, ShioajiConnectionError while disconnected, ShioajiTimeoutError.
    With `timeout=0` and `cb` an answer goes to `cb` before the call returns.

    Args:
        link: the way to the broker; owned by this object from now on, closed by `sim_close`.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._opened = False
        self._accounts: list[Account] | None = None
        self._default: dict[str, Account] = {}
        self._cache = TradeCache()
        self._contracts: answers.Contracts | None = None
        self._on_order: Callable[[Any, Any], Any] | None = None
        self._on_event: Callable[[int, int, str, str], Any] | None = None
        self._on_session_down: Callable[[], Any] | None = None
        self._on_tick: dict[str, Callable[[Any], Any]] = {}
        self._on_intent: Callable[[Mapping[str, Any]], Any] | None = None

    # -- session

    def login(
        self,
        api_key: str,
        secret_key: str,
        subscribe_trade: bool = True,  # noqa: FBT001, FBT002 (the real signature)
        receive_window: int = 30000,
        force_refresh: bool = False,  # noqa: FBT001, FBT002 (the real signature)
    ) -> list[Account]:
        """Log in and return the accounts, with personal data. The order cache is empty afterwards.

        Args:
            api_key: anything but an empty text.
            secret_key: anything but an empty text.
            subscribe_trade: let the reports of all accounts come at once.
            receive_window: accepted, and without effect.
            force_refresh: take a new token even if the present one is good for five hours more.

        Raises:
            SystemMaintenance: suspended; this login has prolonged it.
            ServerError: 1 000 logins today (429), or five connections (451).
            ShioajiConnectionError: the link is down.
        """
        del receive_window
        if not self._opened:
            self._link.open(self._receive)
            self._opened = True
        found = self._link.call(
            "login",
            {"api_key": api_key, "secret_key": secret_key, "subscribe_trade": subscribe_trade, "force_refresh": force_refresh},
        )
        with self._lock:
            self._accounts = [
                Account(
                    each["account_type"],
                    each["person_id"],
                    each["broker_id"],
                    each["account_id"],
                    signed=each["signed"],
                    username=each["username"],
                )
                for each in found
            ]
            self._default = {}
            self._contracts = None
            for account in self._accounts:
                self._default.setdefault(account.account_type.value, account)
        self._cache.clear()
        if subscribe_trade:
            for account in self._accounts:
                self._cache.subscribe(_key(account))
        return list(self._accounts)

    def logout(self) -> None:
        """End the session: nothing comes any more, and calls raise AuthError."""
        self._ask("logout")
        with self._lock:
            self._accounts = None
        self._cache.clear()

    def usage(self, timeout: int | None = _TIMEOUT_MS, cb: Callable[[Row], None] | None = None) -> Row:
        """Return connections, bytes, limit_bytes and remaining_bytes."""
        return self._one("UsageOut", "usage", timeout, cb)

    def list_accounts(self) -> list[Account]:
        """Return the accounts of the login. Does not block."""
        return list(self._logged_in())

    def set_default_account(self, account: Account) -> None:
        """Say which account is meant where none is named."""
        self._logged_in()
        self._default[account.account_type.value] = account

    @property
    def stock_account(self) -> Account | None:
        """The stock account that is meant where none is named."""
        return self._default.get("S")

    @property
    def futopt_account(self) -> Account | None:
        """The futures account that is meant where none is named."""
        return self._default.get("F")

    def subscribe_trade(self, account: Account, timeout: int | None = _TIMEOUT_MS) -> bool:
        """Let the account's reports come; True if they were not coming before. What was sent earlier is not sent again."""
        done = bool(self._ask("subscribe_trade", account=_key(account), timeout=timeout))
        self._cache.subscribe(_key(account))
        return done

    def unsubscribe_trade(self, account: Account, timeout: int | None = _TIMEOUT_MS) -> bool:
        """Let no more reports of the account come."""
        done = bool(self._ask("unsubscribe_trade", account=_key(account), timeout=timeout))
        self._cache.unsubscribe(_key(account))
        return done

    # -- callbacks

    def set_order_callback(self, callback: Callable[[Any, Any], Any]) -> None:
        """Register the one receiver of reports: `callback(state, event)`.

        Raises:
            AuthError: not logged in. The callback is kept nevertheless, and a second try says nothing: so does the real client.
            ShioajiTypeError: it cannot be called.
        """
        _callable(callback)
        again = self._on_order is not None
        self._on_order = callback
        if not again:
            self._logged_in()

    def clear_order_callback(self) -> None:
        """Let reports go nowhere."""
        self._on_order = None

    def set_event_callback(self, callback: Callable[[int, int, str, str], Any]) -> None:
        """Register the one receiver of (resp_code, event_code, info, event); works before the login."""
        _callable(callback)
        self._on_event = callback

    def clear_event_callback(self) -> None:
        """Let events of the link go nowhere."""
        self._on_event = None

    def set_session_down_callback(self, callback: Callable[[], Any]) -> None:
        """Register what is called, without arguments, when the session is lost for good."""
        _callable(callback)
        self._logged_in()
        self._on_session_down = callback

    def clear_session_down_callback(self) -> None:
        """Let a lost session go unheard."""
        self._on_session_down = None

    def set_on_tick_stk_v1_callback(self, callback: Callable[[Any], Any], bind: bool = False) -> None:  # noqa: FBT001, FBT002 (the real signature)
        """Register the receiver of stock ticks: one argument, with code, datetime (Taipei), close (text), and volume."""
        self._set_tick("S", callback, bind=bind)

    def clear_on_tick_stk_v1_callback(self) -> None:
        """Let stock ticks go nowhere."""
        self._on_tick.pop("S", None)

    def set_on_tick_fop_v1_callback(self, callback: Callable[[Any], Any], bind: bool = False) -> None:  # noqa: FBT001, FBT002 (the real signature)
        """Register the receiver of ticks of futures and options."""
        self._set_tick("F", callback, bind=bind)

    def clear_on_tick_fop_v1_callback(self) -> None:
        """Let ticks of futures and options go nowhere."""
        self._on_tick.pop("F", None)

    def _set_tick(self, market: str, callback: Callable[[Any], Any], *, bind: bool) -> None:
        _callable(callback)
        self._logged_in()
        if bind:
            raise ShioajiValueError("the simulator binds no context: register a callback of one argument")
        self._on_tick[market] = callback

    # -- quotes and contracts

    def subscribe(self, contract: Any, quote_type: Any = "tick", intraday_odd: bool = False, version: Any = None) -> None:  # noqa: FBT001, FBT002 (the real signature)
        """Let ticks of a contract (anything with security_type and code) come; 200 at most.

        Raises:
            SubscribeError: no such contract, or one too many.
        """
        del intraday_odd, version
        self._ask("subscribe", code=contract.code, quote_type=_word(quote_type))

    def unsubscribe(self, contract: Any, quote_type: Any = "tick", intraday_odd: bool = False, version: Any = None) -> None:  # noqa: FBT001, FBT002 (the real signature)
        """Let no more ticks of a contract come."""
        del intraday_odd, version
        self._ask("unsubscribe", code=contract.code, quote_type=_word(quote_type))

    @property
    def contracts(self) -> answers.Contracts:
        """What can be traded: `contracts.stocks["2330"]`, `.futures`, `.options`; read once a login."""
        self._logged_in()
        if self._contracts is None:
            self._contracts = answers.Contracts(self._link.call("contracts", {}))
        return self._contracts

    Contracts = contracts

    def fetch_contracts(
        self,
        contract_download: bool | None = False,  # noqa: FBT001, FBT002 (the real signature)
        contracts_timeout: int | None = _TIMEOUT_MS,
        contracts_cb: Any = None,
    ) -> answers.Contracts:
        """Read the contracts again."""
        del contract_download, contracts_timeout, contracts_cb
        self._logged_in()
        self._contracts = None
        return self.contracts

    def snapshots(
        self, contracts: Sequence[Any], timeout: int | None = _TIMEOUT_MS, cb: Callable[[list[Row]], None] | None = None
    ) -> list[Row]:
        """Return the last prices of contracts; one of the group of data calls."""
        return self._many("Snapshot", "snapshots", timeout, cb, codes=[contract.code for contract in contracts])

    # -- orders, to be read only

    def update_status(
        self,
        account: Account | None = None,
        *,
        trade: Row | None = None,
        timeout: int | None = _TIMEOUT_MS,
        cb: Callable[[list[Row]], None] | None = None,
    ) -> None:
        """Take the broker's orders of an account (of all accounts without one) into the cache. One of the group of order calls."""
        del trade
        which = [account] if account is not None else self._logged_in()
        for each in which:
            key = _key(each)
            self._cache.load(key, self._ask("update_status", account=key, timeout=timeout))
        if cb is not None:
            cb(self.list_trades())

    def list_trades(self) -> list[Row]:
        """Return the cached orders: contract, order, status with deals. Asks nobody; empty after a login until `update_status`."""
        accounts = {_key(account): account for account in self._logged_in()}
        return [answers.trade(fields, accounts[fields["account"]]) for fields in self._cache.trades()]

    def trade_cache_health(self, account: Account) -> Row:
        """Return `state` (Unknown, Healthy, Degraded) and `reasons` of the cache of an account. Asks nobody."""
        self._logged_in()
        state, reasons = self._cache.health(_key(account))
        found = [
            Row("TradeCacheHealthReason", {"event_type": STATES[kind], "reason": Word("TradeCacheHealthReasonCode", code)})
            for kind, code in reasons
        ]
        return Row("TradeCacheHealth", {"state": Word("TradeCacheHealthState", state), "reasons": found})

    def order_deal_records(
        self,
        account: Account | None = None,
        timeout: int | None = _TIMEOUT_MS,
        cb: Callable[[list[tuple[Word, Event]]], None] | None = None,
    ) -> list[tuple[Word, Event]]:
        """Return today's reports of an account as (state, event) in the callbacks' shapes; `event_id` may be empty."""
        found = self._ask("order_deal_records", account=self._account(account), timeout=timeout)
        return _to(cb, timeout, [(STATES[state], Event(payload)) for state, payload in found])

    # -- portfolio and money

    def list_positions(
        self,
        account: Account | None = None,
        unit: Any = None,
        timeout: int | None = _TIMEOUT_MS,
        cb: Callable[[list[Row]], None] | None = None,
    ) -> list[Row]:
        """Return what is held: a row a code, cond and direction. Without a unit, or with Common, stocks are whole lots, cut off."""
        return self._rows("Position", "list_positions", account, timeout, cb, unit=_unit(unit))

    def list_position_detail(
        self,
        account: Account | None = None,
        detail_id: int = 0,
        timeout: int | None = _TIMEOUT_MS,
        cb: Callable[[list[Row]], None] | None = None,
    ) -> list[Row]:
        """Return the lots of a row of the last `list_positions` answer of this account."""
        return self._rows("PositionDetail", "list_position_detail", account, timeout, cb, detail_id=detail_id)

    def list_profit_loss(
        self,
        account: Account | None = None,
        begin_date: str = "",
        end_date: str = "",
        unit: Any = None,
        timeout: int | None = _TIMEOUT_MS,
        cb: Callable[[list[Row]], None] | None = None,
    ) -> list[Row]:
        """Return realized profits from `begin_date` to `end_date` (YYYY-MM-DD, both included; today without them)."""
        return self._rows(
            "ProfitLoss", "list_profit_loss", account, timeout, cb, begin_date=begin_date, end_date=end_date, unit=_unit(unit)
        )

    def list_profit_loss_detail(
        self,
        account: Account | None = None,
        detail_id: int = 0,
        unit: Any = None,
        timeout: int | None = _TIMEOUT_MS,
        cb: Callable[[list[Row]], None] | None = None,
    ) -> list[Row]:
        """Return what a row of `list_profit_loss` is made of, with fee and tax."""
        return self._rows("ProfitDetail", "list_profit_loss_detail", account, timeout, cb, detail_id=detail_id, unit=_unit(unit))

    def list_profit_loss_summary(
        self,
        account: Account | None = None,
        begin_date: str = "",
        end_date: str = "",
        timeout: int | None = _TIMEOUT_MS,
        cb: Callable[[Row], None] | None = None,
    ) -> Row:
        """Return realized profits by code, and their total."""
        found = self._ask(
            "list_profit_loss_summary", account=self._account(account), begin_date=begin_date, end_date=end_date, timeout=timeout
        )
        return _to(cb, timeout, answers.summary(found))

    def settlements(
        self, account: Account | None = None, timeout: int | None = _TIMEOUT_MS, cb: Callable[[list[Row]], None] | None = None
    ) -> list[Row]:
        """Return date, amount and T (0 to 2) of the money that moves."""
        found = self._ask("settlements", account=self._account(account), timeout=timeout)
        return _to(cb, timeout, [answers.settlement(each) for each in found])

    def account_balance(
        self, account: Account | None = None, timeout: int | None = _TIMEOUT_MS, cb: Callable[[Row], None] | None = None
    ) -> Row:
        """Return acc_balance, date and errmsg."""
        return self._one("AccountBalance", "account_balance", timeout, cb, account=self._account(account))

    def margin(self, account: Account | None = None, timeout: int | None = _TIMEOUT_MS, cb: Callable[[Row], None] | None = None) -> Row:
        """Return the 25 figures of a futures account."""
        return self._one("Margin", "margin", timeout, cb, account=self._account(account, "F"))

    def trading_limits(
        self, account: Account | None = None, timeout: int | None = _TIMEOUT_MS, cb: Callable[[Row], None] | None = None
    ) -> Row:
        """Return the limits of a stock account."""
        return self._one("TradingLimits", "trading_limits", timeout, cb, account=self._account(account))

    # -- what only a simulator has

    def sim_finished(self) -> bool:
        """Say whether the scenario is over and its last report is on its way. A short question; may raise ShioajiConnectionError."""
        return bool(self._link.call("sim_finished", {}))

    def sim_truth(self) -> dict[str, Any]:
        """Return what really happened: see `venue.Venue.truth`. Works without a login and under every fault."""
        found: dict[str, Any] = self._link.call("sim_truth", {})
        return found

    def sim_intents(self, since: int = 0) -> list[dict[str, Any]]:
        """Return what the robot's strategies wrote down, from the `since`-th on, in order; nothing is lost to who comes late."""
        found: list[dict[str, Any]] = self._link.call("sim_intents", {"since": since})
        return found

    def sim_set_intent_callback(self, callback: Callable[[Mapping[str, Any]], Any]) -> None:
        """Register a receiver of intents, on the callbacks' thread and in order with them; works before the login."""
        self._on_intent = callback

    def sim_start(self) -> None:
        """Let the scenario begin now; without it, it begins when all accounts have been subscribed for the first time."""
        self._link.call("sim_start", {})

    def sim_close(self) -> None:
        """Leave without a word, as a killed process does. The object is of no use afterwards."""
        self._link.close()

    # -- inside

    def _receive(self, push: Push) -> None:
        kind, one, other = push
        # Each receiver is taken once: another thread may clear it in between.
        if kind == "order":
            self._cache.take(one, other)
            if (on_order := self._on_order) is not None:
                on_order(STATES[one], Event(other))
        elif kind == "tick":
            if (on_tick := self._on_tick.get(one)) is not None:
                on_tick(answers.tick(other))
        elif kind == "intent":
            if (on_intent := self._on_intent) is not None:
                on_intent(one)
        elif kind == "event":
            if (on_event := self._on_event) is not None:
                on_event(*one)
        elif (on_session_down := self._on_session_down) is not None:
            on_session_down()

    def _logged_in(self) -> list[Account]:
        if self._accounts is None:
            raise AuthError(_NOT_AUTHENTICATED)
        return self._accounts

    def _ask(self, method: str, **arguments: Any) -> Any:
        self._logged_in()
        return self._link.call(method, arguments)

    def _account(self, account: Account | None, market: Literal["S", "F"] = "S") -> str:
        self._logged_in()
        chosen = account if account is not None else self._default.get(market)
        if chosen is None:
            raise AccountNotProvideError("Please provide valid account.")
        return _key(chosen)

    def _one(self, kind: str, method: str, timeout: int | None, cb: Callable[[Row], None] | None, **arguments: Any) -> Row:
        return _to(cb, timeout, row(kind, self._ask(method, timeout=timeout, **arguments)))

    def _many(self, kind: str, method: str, timeout: int | None, cb: Callable[[list[Row]], None] | None, **arguments: Any) -> list[Row]:
        return _to(cb, timeout, [row(kind, each) for each in self._ask(method, timeout=timeout, **arguments)])

    def _rows(
        self, kind: str, method: str, account: Account | None, timeout: int | None, cb: Callable[[list[Row]], None] | None, **arguments: Any
    ) -> list[Row]:
        key = self._account(account)
        return self._many(("Stock" if key[0] == "S" else "Future") + kind, method, timeout, cb, account=key, **arguments)


def _to(cb: Callable[[T], None] | None, timeout: int | None, answer: T) -> T:
    if cb is not None and timeout == 0:
        cb(answer)
    return answer


def _key(account: Any) -> str:
    return f"{_word(account.account_type)}|{account.broker_id}|{account.account_id}"


def _word(value: Any) -> str:
    return str(getattr(value, "value", value))


def _unit(unit: Any) -> str:
    word = "Common" if unit is None else _word(unit)
    if word not in {"Common", "Share"}:
        raise ShioajiValueError(f"invalid unit: {word}")
    return word


def _callable(callback: object) -> None:
    if not callable(callback):
        raise ShioajiTypeError("callback is not callable")
