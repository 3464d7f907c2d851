"""A broker with the surface of Shioaji 1.7 that says what a test tells it to, on a clock that the test moves.

`Desk` is the broker's side and outlives clients; `FakeApi` is one client. Each call is noted with its beginning and end. Every method that
would move an order fails the test.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, NoReturn

from execpos.brokers.budget import Budget, BudgetLimits
from execpos.brokers.shioaji import BrokerOptions, Credentials, ShioajiBroker
from execpos.brokers.shioaji.session import Clocks

PERSON = "A123456789"
USER = "王大明"
SECRET = "9fLo8secretKey7777"

# Tuesday 2026-05-19, 10:00 in Taipei.
MORNING_US = int(datetime(2026, 5, 19, 2, tzinfo=UTC).timestamp() * 1e6)

ORDER_METHODS = (
    "place_order",
    "update_order",
    "cancel_order",
    "place_comboorder",
    "cancel_comboorder",
    "reserve_stock",
    "reserve_earmarking",
)


class Word:
    """A member of an enum that claims to be text, and is none."""

    def __init__(self, value: str) -> None:
        self.value = value

    @property
    def __class__(self) -> type:
        return str

    @__class__.setter
    def __class__(self, _: type) -> None:
        raise TypeError


class Clock:
    """Wall and monotonic, moved by sleeping."""

    def __init__(self, wall_us: int = MORNING_US) -> None:
        self.now_us = 1_000_000_000
        self.ahead_us = wall_us - self.now_us

    def wall_us(self) -> int:
        return self.now_us + self.ahead_us

    def monotonic_us(self) -> int:
        return self.now_us

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now_us += max(1, round(seconds * 1e6))

    def clocks(self) -> Clocks:
        return Clocks(wall_us=self.wall_us, monotonic_us=self.monotonic_us, sleep=self.sleep)


class Memory:
    """A state in memory, which refuses to keep anything when told to."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.full = False

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.values[key] = value


class Call(SimpleNamespace):
    """One call that reached the broker: method, start_us, end_us (monotonic)."""

    method: str
    start_us: int
    end_us: int
    arguments: Mapping[str, Any]


def account(kind: str, broker_id: str, account_id: str) -> Any:
    return SimpleNamespace(
        account_type=Word(kind), broker_id=broker_id, account_id=account_id, person_id=PERSON, username=USER, signed=True
    )


class Desk:
    """The broker's side.

    Attributes:
        answers: method -> what to return, an exception to raise, or a function of the arguments.
        latency: method -> seconds that it takes; called for each.
        calls: what was asked.
        clients: every client made, the last one last.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.accounts = [account("S", "9A95", "1234567"), account("F", "F002", "7654321"), account("H", "9A95", "0000001")]
        self.answers: dict[str, Any] = {
            "login": lambda **_: self.accounts,
            "subscribe_trade": True,
            "logout": None,
            "update_status": None,
            "subscribe": None,
            "unsubscribe": None,
            "list_trades": [],
            "order_deal_records": [],
            "list_positions": [],
            "list_position_detail": [],
            "list_profit_loss": [],
            "trade_cache_health": SimpleNamespace(state=Word("Healthy"), reasons=[]),
        }
        self.contracts: Any = SimpleNamespace(status=Word("Fetched"), stocks={}, futures={}, options={})
        self.latency: Callable[[str], float] = lambda _: 0.01
        self.calls: list[Call] = []
        self.clients: list[FakeApi] = []

    def make_api(self) -> "FakeApi":
        self.clients.append(FakeApi(self))
        return self.clients[-1]

    @property
    def client(self) -> "FakeApi":
        return self.clients[-1]

    def ask(self, method: str, **arguments: Any) -> Any:
        start_us = self.clock.now_us
        self.clock.sleep(self.latency(method))
        self.calls.append(Call(method=method, start_us=start_us, end_us=self.clock.now_us, arguments=arguments))
        answer = self.answers[method]
        if callable(answer):
            answer = answer(**arguments)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def asked(self, method: str) -> list[Call]:
        return [call for call in self.calls if call.method == method]


class FakeApi:
    """One client. `steps` is what happened to it, in order."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.steps: list[str] = []
        self.on_order: Callable[[Any, Any], Any] | None = None
        self.on_event: Callable[[int, int, str, str], Any] | None = None
        self.on_session_down: Callable[[], Any] | None = None
        self.on_tick: dict[str, Callable[[Any], Any]] = {}

    def login(
        self, api_key: str, secret_key: str, *, subscribe_trade: bool = True, receive_window: int = 30000, force_refresh: bool = False
    ) -> Sequence[Any]:
        assert api_key
        assert secret_key
        assert receive_window == 30000
        self.steps.append(f"login subscribe_trade={subscribe_trade} force_refresh={force_refresh}")
        found: Sequence[Any] = self.desk.ask("login")
        return found

    def logout(self) -> None:
        self.steps.append("logout")
        self.desk.ask("logout")

    def subscribe_trade(self, account: Any, timeout: int | None = 30000) -> bool:
        self.steps.append(f"subscribe_trade {account.account_id}")
        return bool(self.desk.ask("subscribe_trade", account=account, timeout=timeout))

    def set_order_callback(self, callback: Callable[[Any, Any], Any]) -> None:
        self.steps.append("set_order_callback")
        self.on_order = callback

    def clear_order_callback(self) -> None:
        self.on_order = None

    def set_event_callback(self, callback: Callable[[int, int, str, str], Any]) -> None:
        self.steps.append("set_event_callback")
        self.on_event = callback

    def clear_event_callback(self) -> None:
        self.on_event = None

    def set_session_down_callback(self, callback: Callable[[], Any]) -> None:
        self.steps.append("set_session_down_callback")
        self.on_session_down = callback

    def clear_session_down_callback(self) -> None:
        self.on_session_down = None

    def set_on_tick_stk_v1_callback(self, callback: Callable[[Any], Any], *, bind: bool = False) -> None:
        assert not bind
        self.on_tick["S"] = callback

    def clear_on_tick_stk_v1_callback(self) -> None:
        self.on_tick.pop("S", None)

    def set_on_tick_fop_v1_callback(self, callback: Callable[[Any], Any], *, bind: bool = False) -> None:
        assert not bind
        self.on_tick["F"] = callback

    def clear_on_tick_fop_v1_callback(self) -> None:
        self.on_tick.pop("F", None)

    @property
    def contracts(self) -> Any:
        return self.desk.contracts

    def fetch_contracts(
        self, *, contract_download: bool | None = False, contracts_timeout: int | None = 30000, contracts_cb: Any = None
    ) -> Any:
        assert contracts_cb is None
        self.steps.append(f"fetch_contracts {contract_download} {contracts_timeout}")
        return self.desk.contracts

    def subscribe(self, contract: Any, quote_type: Any = "tick") -> None:
        self.desk.ask("subscribe", code=contract.code, quote_type=quote_type)

    def unsubscribe(self, contract: Any, quote_type: Any = "tick") -> None:
        self.desk.ask("unsubscribe", code=contract.code, quote_type=quote_type)

    def update_status(self, account: Any = None, *, trade: Any = None, timeout: int | None = 30000) -> None:
        assert trade is None
        self.desk.ask("update_status", account=account, timeout=timeout)

    def list_trades(self) -> Sequence[Any]:
        found: Sequence[Any] = self.desk.ask("list_trades")
        return found

    def trade_cache_health(self, account: Any) -> Any:
        return self.desk.ask("trade_cache_health", account=account)

    def order_deal_records(self, account: Any = None, timeout: int | None = 30000) -> Sequence[Any]:
        found: Sequence[Any] = self.desk.ask("order_deal_records", account=account, timeout=timeout)
        return found

    def list_positions(self, account: Any = None, unit: Any = None, timeout: int | None = 30000) -> Sequence[Any]:
        found: Sequence[Any] = self.desk.ask("list_positions", account=account, unit=unit, timeout=timeout)
        return found

    def list_position_detail(self, account: Any = None, detail_id: int = 0, timeout: int | None = 30000) -> Sequence[Any]:
        found: Sequence[Any] = self.desk.ask("list_position_detail", account=account, detail_id=detail_id, timeout=timeout)
        return found

    def list_profit_loss(
        self, account: Any = None, begin_date: str = "", end_date: str = "", unit: Any = None, timeout: int | None = 30000
    ) -> Sequence[Any]:
        found: Sequence[Any] = self.desk.ask(
            "list_profit_loss", account=account, begin_date=begin_date, end_date=end_date, unit=unit, timeout=timeout
        )
        return found

    def _order(self, *_: Any, **__: Any) -> NoReturn:
        self.desk.calls.append(Call(method="ORDER", start_us=0, end_us=0, arguments={}))
        raise AssertionError("an order was about to be moved")

    place_order = update_order = cancel_order = place_comboorder = cancel_comboorder = reserve_stock = reserve_earmarking = _order


class Rig:
    """A broker of ours over a desk, and what it told."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        state: Memory | None = None,
        env: Any = "production",
        limits: BudgetLimits | None = None,
        **more: Any,
    ) -> None:
        self.clock = clock or Clock()
        self.desk = Desk(self.clock)
        self.state = state or Memory()
        self.reports: list[tuple[Any, Any]] = []
        self.told: list[Any] = []
        self.quotes: list[Any] = []
        self.blackout = more.pop("blackout", None)
        self.limits = limits or BudgetLimits()
        self.more = more
        self.env = env
        self.broker = self.make()

    def make(self) -> ShioajiBroker:
        """Make a broker; a second one is what a restart makes."""
        budget = Budget(
            self.limits,
            self.state,
            wall_us=self.clock.wall_us,
            monotonic_us=self.clock.monotonic_us,
            sleep=self.clock.sleep,
            blackout=self.blackout,
        )
        return ShioajiBroker(
            BrokerOptions(env=self.env, sdk_version="1.7.9"),
            self.desk.make_api,
            Credentials("AKEY42longer", SECRET),
            budget,
            clocks=self.clock.clocks(),
            **self.more,
        )

    def report(self, state: Any, event: Any) -> None:
        self.reports.append((state, event))

    def up(self) -> ShioajiBroker:
        """Connect and start."""
        self.broker.connect()
        self.broker.set_order_callback(self.report)
        self.broker.set_connection_callback(self.told.append)
        self.broker.set_quote_callback(self.quotes.append)
        self.broker.start()
        return self.broker

    def kinds(self) -> list[str]:
        return [event.kind for event in self.told]

    def run(self, seconds: float, step_s: float = 1.0) -> None:
        """Let time pass, with a call of `maintain` each second."""
        end_us = self.clock.now_us + int(seconds * 1e6)
        while self.clock.now_us < end_us:
            self.clock.sleep(step_s)
            self.broker.maintain()
