"""The real library without an account: what it does before a login, seen through our broker.

A client looks for the broker's servers as soon as it is made, so these are no unit tests. It is given a proxy on the loopback address where
nobody listens, and no login gets past the library's own look at the key: nothing leaves this machine.
"""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from execpos.brokers.budget import Budget, BudgetLimits
from execpos.brokers.protocol import BrokerAccount, BrokerError
from execpos.brokers.shioaji import BrokerOptions, Credentials, ShioajiBroker
from shioaji_fake import PERSON, Clock, Memory
from shioaji_library import library, types

pytestmark = pytest.mark.stack

# Port 1 is reserved, and nothing listens there.
NOBODY = "http://127.0.0.1:1"
STOCKS = BrokerAccount("S", "9A95", "1234567")


@pytest.fixture(scope="module")
def client() -> Any:
    return library().Shioaji(simulation=True, proxy=NOBODY)


class NeverLoggedIn:
    """The real client, whose login says that it was done and does nothing."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def login(self, **_: Any) -> list[Any]:
        return [types().Account(types().AccountType.Stock, PERSON, "9A95", "1234567", True, "name")]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def broker(make: Callable[[], Any], key: str = "k" * 12, secret: str = "s" * 12) -> ShioajiBroker:
    clock = Clock()
    budget = Budget(BudgetLimits(), Memory(), wall_us=clock.wall_us, monotonic_us=clock.monotonic_us, sleep=clock.sleep)
    options = BrokerOptions(env="simulation", sdk_version=library().__version__)
    return ShioajiBroker(options, make, Credentials(key, secret), budget, clocks=clock.clocks())


def failed(call: Callable[[], object]) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        call()
    return caught.value


def test_a_callback_before_the_login_is_refused_once_and_then_accepted_in_silence(client: Any) -> None:
    """The trap that the order of steps avoids: registered twice, it looks registered, and nothing was subscribed."""
    fresh = library().Shioaji(simulation=True, proxy=NOBODY)
    with pytest.raises(library().AuthError):
        fresh.set_order_callback(lambda *_: None)

    assert fresh.set_order_callback(lambda *_: None) is None
    assert client.set_event_callback(lambda *_: None) is None


def test_a_login_that_was_none_is_found_at_the_first_callback() -> None:
    ours = broker(lambda: NeverLoggedIn(library().Shioaji(simulation=True, proxy=NOBODY)))
    error = failed(ours.connect)

    assert error.kind == "session"
    assert "Not authenticated" in error.what


@pytest.mark.parametrize(
    "question",
    [
        lambda ours: ours.update_status(STOCKS),
        lambda ours: ours.order_deal_records(STOCKS),
        lambda ours: ours.trades(STOCKS),
        lambda ours: ours.cache_health(STOCKS),
        lambda ours: ours.positions(STOCKS),
        lambda ours: ours.profit_loss(STOCKS, date(2026, 5, 1), date(2026, 5, 2)),
        lambda ours: ours.watch({("S", "2330")}),
    ],
)
def test_a_question_without_a_login_is_a_session_error(client: Any, question: Callable[[Any], object]) -> None:
    """The real types take the arguments that we give, and the real error is read as what it is."""
    ours = broker(lambda: _WithCallbacks(client))
    ours.connect()
    error = failed(lambda: question(ours))
    assert error.kind == "session"
    assert "Not authenticated" in error.what
    assert ours.session == "recovering"


class _WithCallbacks(NeverLoggedIn):
    def set_session_down_callback(self, callback: Callable[[], Any]) -> None:
        assert callable(callback)


def test_reports_cannot_be_registered_without_a_login_and_start_says_so(client: Any) -> None:
    ours = broker(lambda: _WithCallbacks(client))
    ours.connect()
    ours.set_order_callback(lambda *_: None)

    # Where this is the library's first callback, else at the subscription.
    assert failed(ours.start).kind == "session"


@pytest.mark.parametrize(("key", "secret"), [("short", "s" * 12), ("k" * 12, "not base58: 0OIl"), ("k" * 12, "9sJ9sJ9sJ9sJ")])
def test_a_key_that_cannot_be_one_is_refused_by_the_library_itself_and_not_shown(client: Any, key: str, secret: str) -> None:
    ours = broker(lambda: client, key, secret)
    error = failed(ours.connect)

    assert error.kind == "refused"
    assert "validation" in error.what
    assert key not in str(error)
    assert secret not in str(error)


def test_stop_after_all_that_returns(client: Any) -> None:
    ours = broker(lambda: _WithCallbacks(client))
    ours.connect()
    ours.stop()

    assert ours.session == "closed"
