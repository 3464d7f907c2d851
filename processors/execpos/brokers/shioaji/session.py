"""One login: its order of steps, its token, what becomes of it when it is lost.

connect:  login without subscriptions → callbacks of the link
start:    all callbacks → subscribe each account
maintain: a new token before the day of the old one is over; a new client and the same steps after a lost session
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

from execpos.brokers.budget import Budget
from execpos.brokers.protocol import (
    BrokerAccount,
    BrokerError,
    ConnectionCallback,
    ConnectionEvent,
    ConnectionKind,
    OrderCallback,
    SessionState,
)
from execpos.brokers.shioaji import convert
from execpos.brokers.shioaji.api import Api
from execpos.brokers.shioaji.credentials import Credentials
from execpos.brokers.shioaji.errors import classify
from execpos.brokers.shioaji.guarded import limited, quietly
from execpos.brokers.shioaji.link import KINDS
from execpos.brokers.shioaji.plan import GOOD_US, Plan
from execpos.brokers.shioaji.scrub import Scrubber
from execpos.errors import ExecposError

T = TypeVar("T")

# The library reconnects by itself within seconds; field reports know it to give up in silence after half a minute.
_RECONNECT_US = 60_000_000
# Answers that did not come, one after the other, until the session counts as lost: the link may be dead though it looks alive.
_DEAD_AFTER = 3

# A login has no limit of its own. Half a minute is the library's own limit of every other call; it discovers its servers first.
_LOGIN_S = 60.0
_LOGOUT_S = 5.0
_SUBSCRIBE_MS = 15_000
# A callback that is under way when the receivers are taken away returns within microseconds.
_LAST_CALLBACK_S = 0.05


class Clocks(msgspec.Struct, frozen=True):
    """µs since the epoch, µs of a clock that never goes back, and how to wait for so many seconds."""

    wall_us: Callable[[], int]
    monotonic_us: Callable[[], int]
    sleep: Callable[[float], None]


class Handlers(msgspec.Struct):
    """Where to deliver. `register_more` registers what comes beside reports and events of the link, `resume` subscribes it again."""

    on_order: OrderCallback | None = None
    on_connection: ConnectionCallback | None = None
    register_more: Callable[[Api], None] | None = None
    resume: Callable[[], None] | None = None


class Session:
    """See the module. `connect`, `start`, `maintain`, `ask` and `stop` on one thread; the rest on any.

    Args:
        make_api: makes a client; called once a login that follows a lost session.
        drop_api: ends a client that is not used any more; may raise, and is left to itself when it takes long.
        credentials: key of the login.
        budget: shared with everything else that asks.
        clocks: the time.
        wait_s: longest wait for the budget's turn.
        scrub: takes personal data out of texts.
    """

    def __init__(
        self,
        make_api: Callable[[], Api],
        drop_api: Callable[[Api], None],
        credentials: Credentials,
        budget: Budget,
        clocks: Clocks,
        wait_s: float,
        scrub: Scrubber,
    ) -> None:
        self.handlers = Handlers()
        self._make_api = make_api
        self._drop_api = drop_api
        self._credentials = credentials
        self._budget = budget
        self._clocks = clocks
        self._wait_s = wait_s
        self._scrub = scrub
        self.persons: frozenset[str] = frozenset()
        """Id numbers and names of whom the accounts of the login belong to; they live in memory alone."""
        self._api: Api | None = None
        self._accounts: tuple[BrokerAccount, ...] = ()
        self._native: Mapping[BrokerAccount, Any] = {}
        self._started = False
        self._closed = False
        # Written by the library's threads too; each is one assignment, and `_client` says whose word still counts.
        self._client = 0
        self._lost = ""
        self._link_down_us = 0
        self._plan = Plan()
        # When the last suspension is over; long ago without one.
        self._silenced_us = -(2**62)
        self._failures = 0

    # -- state

    @property
    def state(self) -> SessionState:
        """State of the login. Does not block."""
        if self._closed:
            return "closed"
        if self._api is None and not self._lost:
            return "new"
        if self._budget.suspended():
            return "suspended"
        if self._lost:
            return "down" if self._plan.patient else "recovering"
        return "recovering" if self._link_down_us else "up"

    @property
    def accounts(self) -> tuple[BrokerAccount, ...]:
        """The accounts of the first login."""
        return self._accounts

    # -- steps

    def connect(self) -> None:
        """Log in. Raises BrokerError; once."""
        if self._api is not None or self._closed:
            raise BrokerError("connect: once a broker", kind="failed", hint="make a new one")
        self._log_in_anew()
        self._accounts = tuple(self._native)

    def start(self) -> None:
        """Register and subscribe, so that reports come. Raises BrokerError, and may then be called again; done once, after `connect`."""
        if not self._accounts or self._started or self._closed:
            raise BrokerError("start: once a broker, after connect", kind="failed", hint="connect first")
        if self._api is None or self._lost:
            # Lost before it began.
            if not self._plan.may_log_in(self._clocks.monotonic_us()):
                raise BrokerError("start: there is no session", kind="session", hint="it is tried again later")
            self._plan.attempted(self._clocks.monotonic_us())
            self._recover()
        else:
            self._subscribe(self._api)
        self._started = True
        self.tell("logged_in", f"{len(self._native)} accounts")

    def maintain(self) -> None:
        """Renew the token, or log in again, if it is time. Never raises BrokerError."""
        if self._closed or not self._started:
            return
        now_us = self._clocks.monotonic_us()
        # Read once: the library's thread may say in between that the link is up.
        down_us = self._link_down_us
        if down_us and now_us - down_us > _RECONNECT_US:
            self.lose("the library did not reconnect within a minute")
        if not self._lost:
            self._plan.held(now_us)
        if not self._plan.may_log_in(now_us) or self._budget.suspended():
            return
        if self._lost:
            self._again("logged_in", self._recover)
        elif self._plan.renewal_due(now_us, self._clocks.wall_us()):
            self._again("renewed", self._renew)

    def stop(self) -> None:
        """End the session; nothing is delivered any more. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._client += 1
        if self._api is not None:
            self._leave(self._api)
            self._api = None
            self._clocks.sleep(_LAST_CALLBACK_S)

    def _again(self, kind: ConnectionKind, steps: Callable[[], None]) -> None:
        now_us = self._clocks.monotonic_us()
        try:
            steps()
        except BrokerError as error:
            until_us = error.fields.get("until_us")
            if error.kind == "suspended" and isinstance(until_us, int) and not self._budget.suspended():
                # A window in which nobody is asked: it was not tried.
                self._plan.postpone(now_us + max(0, until_us - self._clocks.wall_us()))
                return
            self.tell("down" if self._lost else "other", f"login: {error.what}")
        else:
            self.tell(kind, f"{len(self._native)} accounts")
        self._plan.attempted(self._clocks.monotonic_us())

    def _renew(self) -> None:
        api = self._api
        if api is not None:
            self._log_in(api)
            self._subscribe_or_lose(api)

    def _recover(self) -> None:
        old, self._api = self._api, None
        if old is not None:
            self._leave(old)
        self._subscribe_or_lose(self._log_in_anew())

    def _subscribe_or_lose(self, api: Api) -> None:
        try:
            self._subscribe(api)
        except BrokerError as error:
            self._lost = self._lost or error.what
            raise

    def _log_in_anew(self) -> Api:
        api = self._try("making a client", self._make_api)
        try:
            self._log_in(api)
        except BrokerError:
            # It may be logged in all the same, and a person has five connections.
            self._leave(api)
            self._api = None
            raise
        return api

    def _log_in(self, api: Api) -> None:
        keys = self._credentials

        # Subscriptions come after the callbacks are registered. A token of the library's cache may have five hours left, so a fresh one.
        def log_in() -> Sequence[Any]:
            return api.login(api_key=keys.api_key, secret_key=keys.secret_key, subscribe_trade=False, force_refresh=True)

        with self._budget.call("login", "logins", wait_s=self._wait_s):
            try:
                found = self._try("login", lambda: limited(log_in, _LOGIN_S))
            except BrokerError as error:
                if error.kind != "session":
                    raise
                raise BrokerError(error.what, kind="refused", hint="check the key, and what it is allowed to") from None
        native = convert.accounts("accounts of the login", found)
        words = [word for each in found for word in (getattr(each, "person_id", ""), getattr(each, "username", ""))]
        self._scrub.learn(words)
        self.persons = self.persons.union(word for word in words if type(word) is str and word)
        self._api, self._native = api, native
        self._plan.got_token(self._clocks.monotonic_us())
        self._link_down_us = 0
        self._failures = 0
        self._lost = ""
        self._client += 1
        try:
            self._try("registering for the link's events", lambda: self._register_link(api))
        except BrokerError as error:
            self._lost = self._lost or error.what
            raise

    def _register_link(self, api: Api) -> None:
        # What an older client says later does not count.
        client = self._client
        api.set_event_callback(lambda response, code, info, event: self._heard(client, code, f"{response} {info} {event}"))
        api.set_session_down_callback(lambda: self._heard_down(client))

    def _subscribe(self, api: Api) -> None:
        handlers = self.handlers
        if handlers.on_order is not None:
            # As it is, with nothing of ours around it: each microsecond here is one between broker and journal.
            self._try("registering for reports", partial(api.set_order_callback, handlers.on_order))
        if handlers.register_more is not None:
            self._try("registering for quotes", partial(handlers.register_more, api))
        for account in self._accounts:
            what = f"subscribe_trade of {name(account)}"
            native = self.native(what, account)
            with self._budget.call(what, "orders", wait_s=self._wait_s):
                self._try(what, partial(api.subscribe_trade, native, timeout=_SUBSCRIBE_MS), remote=True)
        if handlers.resume is not None:
            handlers.resume()

    def native(self, what: str, account: BrokerAccount) -> Any:
        """Return the library's object of an account; BrokerError when the login has no such account."""
        found = self._native.get(account)
        if found is None:
            raise BrokerError(f"{what}: the login has no such account", kind="refused", hint="restart the bridge")
        return found

    def _leave(self, api: Api) -> None:
        def leave() -> None:
            for clear in (
                api.clear_order_callback,
                api.clear_on_tick_stk_v1_callback,
                api.clear_on_tick_fop_v1_callback,
                api.clear_session_down_callback,
                api.clear_event_callback,
            ):
                quietly(clear)
            quietly(lambda: self._drop_api(api))

        quietly(lambda: limited(leave, _LOGOUT_S))

    # -- questions

    def ask(self, what: str, question: Callable[[Api], T], *, remote: bool) -> T:
        """Ask the client, and note what a failure says of the session. Blocks.

        Args:
            what: names the question in errors.
            question: one call.
            remote: the broker answers it, not the library alone.

        Raises:
            BrokerError: no answer.
        """
        api = self.needed(what)
        return self._try(what, lambda: question(api), remote=remote)

    def needed(self, what: str) -> Api:
        """Return the client; BrokerError when there is no session."""
        if self._api is None or self._lost or self._closed:
            raise BrokerError(f"{what}: there is no session ({self.state})", kind="session", hint="the bridge logs in again by itself")
        return self._api

    def _try(self, what: str, question: Callable[[], T], *, remote: bool = False) -> T:
        try:
            answer = question()
        except ExecposError:
            raise
        except Exception as error:  # noqa: BLE001 (a foreign library may raise anything)
            failed = error
        else:
            if remote:
                self._failures = 0
            return answer
        # Outside of the handler, so that the library's error, and the personal data in its text, do not hang on ours.
        raise self._failure(what, failed, remote=remote)

    def _failure(self, what: str, error: Exception, *, remote: bool) -> BrokerError:
        meaning = classify(error)
        text = f"{what}: {type(error).__name__}: {self._scrub.text(error)}"
        fields: dict[str, object] = {}
        if meaning.kind == "suspended" or (meaning.token and self._taken_away()):
            until_us = fields["until_us"] = self._budget.suspend()
            self._silenced_us = self._clocks.monotonic_us() + until_us - self._clocks.wall_us()
            self.tell("suspended", text)
        if meaning.kind == "session":
            self.lose(text)
        if remote:
            self._failures = self._failures + 1 if meaning.link else 0
        if self._failures >= _DEAD_AFTER:
            self._failures = 0
            self.lose(f"{_DEAD_AFTER} questions without an answer, the last one {text}")
        return BrokerError(text, kind=meaning.kind, hint=meaning.hint, **fields)

    def _taken_away(self) -> bool:
        """Say whether a token that is refused now was taken away, and this has not been answered with silence."""
        now_us = self._clocks.monotonic_us()
        held = self._api is not None and not self._lost and self._plan.too_young_to_end(now_us)
        return held and now_us - GOOD_US >= self._silenced_us

    def lose(self, why: str) -> None:
        """Note that the session is lost; `maintain` makes a new one. Any thread; only the first reason is told."""
        if self._api is not None and not self._lost and not self._closed:
            self._lost = why
            self.tell("session_down", why)

    # -- what the library tells, on its threads

    def _heard(self, client: int, code: Any, detail: str) -> None:
        try:
            if client != self._client or self._closed:
                return
            number = code if type(code) is int else -1
            kind = KINDS.get(number, "other")
            if kind in {"down", "reconnecting"}:
                self._link_down_us = self._link_down_us or self._clocks.monotonic_us()
            elif kind in {"up", "reconnected"}:
                self._link_down_us = 0
            self._deliver(ConnectionEvent(kind, number, self._scrub.text(detail)))
        except Exception as error:  # noqa: BLE001 (this is the library's thread: nothing may end it)
            self.lose(f"an event of the link could not be handled: {type(error).__name__}")

    def _heard_down(self, client: int) -> None:
        if client == self._client:
            self.lose("the library says that the session is down")

    def tell(self, kind: ConnectionKind, detail: str) -> None:
        """Tell the connection callback something of our own."""
        if not self._closed:
            self._deliver(ConnectionEvent(kind, -1, self._scrub.text(detail)))

    def _deliver(self, event: ConnectionEvent) -> None:
        callback = self.handlers.on_connection
        if callback is not None:
            callback(event)


def name(account: BrokerAccount) -> str:
    """Return an account as it stands in texts."""
    return "|".join(account)
