"""The one thread that asks the broker: log in, keep the session, read on request, catch up, let quotes come.

Whatever the broker's library raises ends no thread here: it is counted, told in the log and the heartbeats, and tried again later; what
may have been missed meanwhile stays an open gap of the account until a read has covered it.
"""

import json
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

import msgspec

from execpos.bridge.capture import Capture, OwnRecord
from execpos.bridge.catchup import Coverage, Trigger, read_records, unaccounted
from execpos.bridge.heartbeats import AccountHealth, Login
from execpos.bridge.login import insist
from execpos.bridge.marks import Symbol
from execpos.bridge.observed import Observed
from execpos.bridge.requests import Answered, Ask, Blackout, Identity, Requests, Writer
from execpos.brokers.protocol import Broker, BrokerAccount, BrokerError, CacheHealth, ConnectionEvent, QuoteCallback
from execpos.domain.ids import account_key
from execpos.domain.limits import MESSAGE_CHARS_MAX, cut
from execpos.domain.private import PrivateWords
from execpos.errors import ExecposError, Quit
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

T = TypeVar("T")

# How soon the desk notices what nobody wakes it for.
_TICK_S = 0.1

# How often the session is looked after, and the library's cache asked for its health; both cost no call.
_MAINTAIN_S = 1.0

# How often the baselines of the numbering go to the disk; what a killed bridge wrote since then is read from the journal.
_KEEP_S = 5.0

# Subscriptions follow the positions no sooner than this, and after an error later.
_WATCH_S = 5.0
_WATCH_RETRY_S = 30.0

# Subscriptions in one step, some milliseconds each, and the pause before the next ones.
_WATCHED_AT_ONCE = 20
_WATCH_NEXT_S = 0.25

# One line in so long about one call that goes on failing.
_LOG_EVERY_S = 30.0

# Connection codes after which reports may be missing: reconnected, and routed elsewhere.
_MISSED_CODES = frozenset({13, 17})

_log = Logger("bridge")


class DeskOptions(msgspec.Struct, frozen=True):
    """How often.

    Attributes:
        orders_interval_s: time between two reads of an account's records that nothing else asked for.
        tick_s: how soon the desk notices what nobody wakes it for.
        maintain_s: time between two looks after the session.
    """

    orders_interval_s: float = 30.0
    tick_s: float = _TICK_S
    maintain_s: float = _MAINTAIN_S


class Desk:
    """See the module. `start` and `finish` once; what is said to be for any thread is, all else belongs to the desk's own.

    Args:
        broker: the login, not connected yet.
        capture: where reports, markers and catch-ups go.
        options: how often.
        blackout: see `Blackout`.
        on_quote: receiver of quotes.
        symbols: what is held now.
        on_accounts: called once with the keys of the login's accounts, before any report can come.
        wall_us, monotonic_s: the clocks.
    """

    def __init__(
        self,
        broker: Broker,
        capture: Capture,
        options: DeskOptions,
        *,
        blackout: Blackout,
        on_quote: QuoteCallback,
        symbols: Callable[[], frozenset[Symbol]],
        on_accounts: Callable[[list[str]], None],
        private: PrivateWords,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._capture = capture
        self._options = options
        self._blackout = blackout
        self._on_quote = on_quote
        self._symbols = symbols
        self._on_accounts = on_accounts
        self._private = private
        self._wall_us = wall_us
        self._monotonic_s = monotonic_s
        self._waiting: SimpleQueue[Ask | ConnectionEvent | str] = SimpleQueue()
        self._stopping = threading.Event()
        self._settling, self._settled = threading.Event(), threading.Event()
        # Reads of records that were answered.
        self._reads = 0
        self._last_read = False
        self._thread = threading.Thread(target=self._run, name="desk", daemon=True)
        self._observed: Observed | None = None
        self._requests: tuple[Requests, Answered, str] | None = None
        self._accounts: dict[str, BrokerAccount] = {}
        self._coverage: dict[str, Coverage] = {}
        self._cache: dict[str, CacheHealth] = {}
        self._gaps: dict[str, int] = {}
        self._caught_up: dict[str, int] = {}
        self._health: dict[str, AccountHealth] = {}
        self._watched: frozenset[Symbol] = frozenset()
        self._due_s = {"maintain": 0.0, "keep": 0.0, "watch": 0.0}
        self._logged_s: dict[str, float] = {}
        self.live = threading.Event()
        """Set when reports can come."""
        self.error: ExecposError | None = None
        """What ended the desk before its time."""

    # --- any thread ---------------------------------------------------------------------------------------------------------------

    def start(self, observed: Observed) -> None:
        """Begin; once."""
        self._observed = observed
        self._thread.start()

    def finish(self, timeout_s: float) -> bool:
        """Stop asking and stop the broker; say whether that was done in time. If not, a call hangs, and reports may still come."""
        self._stopping.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def serve(self, writer: Writer, answered: Answered, identity: Identity, topic_id: str) -> None:
        """Say where answers go; from now on requests are answered. Call it when the accounts are known."""
        requests = Requests(
            self._broker,
            self._accounts,
            self._capture,
            self._catch_up,
            writer,
            answered,
            identity,
            blackout=lambda account, what: self._blackout(self._wall_us(), account, what),
            wall_us=self._wall_us,
        )
        self._requests = (requests, answered, topic_id)

    def ask(self, ask: Ask) -> None:
        """Put a request behind the others. Does not block."""
        self._waiting.put(ask)

    def reset(self, account: str) -> None:
        """Note that the broker began a new numbering. Does not block."""
        self._waiting.put(account)

    def settle(self, timeout_s: float) -> bool:
        """Read every account's records once more, and wait until nothing is open; say whether that was reached. Blocks.

        Args:
            timeout_s: how long no account may come to an end.
        """
        self._settling.set()
        reads = -1
        while reads != self._reads:
            reads = self._reads
            if self._settled.wait(timeout_s):
                return True
        return False

    def login(self) -> Login:
        """Return how the login is. Does not block; never raises."""
        try:
            return Login(self._broker.session, self._broker.budget())
        except Exception as error:  # noqa: BLE001 (a heartbeat has to go out, and says that nothing is known)
            self._complain("session", error)
            return Login("down")

    def health(self, account: str) -> AccountHealth:
        """Return how an account's stream is, as of the desk's last step; before the login, one open gap. Does not block."""
        return self._health.get(account, AccountHealth(open_gaps=1))

    # --- the desk's thread --------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if self._log_in():
                self.live.set()
                if (observed := self._observed) is not None:
                    # Now, because reports come already; it may take seconds. What is not learned is put once more, and that is all.
                    self._guarded("remember", lambda: observed.remember(self._wall_us()))
                self._early()
                while not self._stopping.is_set():
                    self._step()
        except ExecposError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 (the thread's last words; the bridge raises them)
            self.error = Quit(f"the desk stopped: {type(error).__name__}: {error}", hint="this is a defect; please report it")
        finally:
            self._guarded("stop", self._broker.stop)
            self._guarded("keep", self._keep)

    def _early(self) -> None:
        """Take what came with the login: the first reads, which are still to come, cover it as well."""
        for _ in range(self._waiting.qsize()):
            self._take(self._waiting.get())

    def _log_in(self) -> bool:
        steps = (("connect", self._broker.connect), ("register", self._register), ("start", self._broker.start))
        return all(insist(name, step, self._stopping, self._complain, self._suspended_s) for name, step in steps)

    def _register(self) -> None:
        self._private.learn(self._broker.private_words())
        accounts = {account_key(self._broker.env, *account): account for account in self._broker.accounts()}
        if not self._accounts:
            now_s = self._monotonic_s()
            self._accounts.update(accounts)
            self._coverage.update((key, Coverage(self._options.orders_interval_s, now_s)) for key in accounts)
            for key in accounts:
                self._want(key, "start")
            self._publish_health()
            self._on_accounts(list(accounts))
        self._broker.set_order_callback(self._capture.handler)
        self._broker.set_connection_callback(self._connection)
        self._broker.set_quote_callback(self._on_quote)

    def _connection(self, event: ConnectionEvent) -> None:
        """Receive what happens to the link; on the broker's thread."""
        if event.kind == "logged_in":
            self._private.learn(self._broker.private_words())
        said = {"kind": event.kind, "code": event.code, "detail": cut(event.detail, MESSAGE_CHARS_MAX)}
        payload = json.dumps(said, ensure_ascii=True).encode()
        for account in self._accounts:
            self._capture.put("CONNECTION", OwnRecord(account, payload))
        self._waiting.put(event)

    def _step(self) -> None:
        """Take what waits, for a tick at most; then do what is due, one read at a time."""
        try:
            item = self._waiting.get(timeout=self._options.tick_s)
        except Empty:
            pass
        else:
            self._take(item)
        now_s = self._monotonic_s()
        self._holes()
        if self._is_due("maintain", self._options.maintain_s):
            self._guarded("maintain", self._broker.maintain)
            self._look()
        if self._is_due("keep", _KEEP_S):
            self._guarded("keep", self._keep)
        if self._symbols() != self._watched and now_s >= self._due_s["watch"]:
            self._watch()
        self._catch_ups()
        self._publish_health()
        if self._settling.is_set():
            self._settle()

    def _settle(self) -> None:
        if not self._last_read:
            self._last_read = True
            for key in self._coverage:
                self._want(key, "schedule")
        elif not any(coverage.wanted for coverage in self._coverage.values()):
            self._settled.set()

    def _take(self, item: Ask | ConnectionEvent | str) -> None:
        if isinstance(item, Ask):
            self._answer(item)
        elif isinstance(item, str):
            self._want(item, "reset")
        else:
            _log.warning("connection_changed", kind=item.kind, code=item.code, detail=cut(item.detail, MESSAGE_CHARS_MAX))
            metrics.counter("execpos_bridge_connection_events_total").labels(kind=item.kind).inc()
            trigger: Trigger | None = None
            if item.kind == "reconnected" or item.code in _MISSED_CODES:
                trigger = "reconnected"
            elif item.kind in {"session_down", "down", "reconnecting", "logged_in", "renewed"}:
                trigger = "session"
            for account in self._accounts if trigger else ():
                self._want(account, trigger or "session")

    def _answer(self, ask: Ask) -> None:
        if self._requests is None:
            return
        requests, answered, topic_id = self._requests
        requests.answer(ask.request)
        answered.read(topic_id, ask.partition, ask.offset, self._wall_us())

    def _holes(self) -> None:
        if self._observed is None:
            return
        for hole in self._observed.holes():
            self._gaps[hole.account] = self._gaps.get(hole.account, 0) + 1
            metrics.counter("execpos_bridge_gaps_total").inc()
            _log.warning("gap_found", account=hole.account, stream=hole.sequence, first=str(hole.first), last=str(hole.last))
            self._capture.put("GAP", OwnRecord(hole.account, hole.payload()))
            self._want(hole.account, "gap")

    def _look(self) -> None:
        for key, account in self._accounts.items():
            found = self._guarded("cache_health", lambda account=account: self._broker.cache_health(account))  # type: ignore[misc] # (bound now)
            health = found or CacheHealth("Unknown", ())
            if health.state == "Degraded" and self._cache.get(key, health).state != "Degraded":
                self._want(key, "cache")
            self._cache[key] = health

    def _watch(self) -> None:
        """Subscribe what is held: no more at once than the budget has calls for now, because everything else waits meanwhile."""
        held = self._symbols()
        data = self.login().budget.get("data")
        fresh = sorted(held - self._watched)
        wanted = held.difference(fresh[min(_WATCHED_AT_ONCE, len(fresh) if data is None else data.remaining) :])
        if wanted == self._watched:
            self._due_s["watch"] = self._monotonic_s() + _WATCH_NEXT_S
            return
        missing = self._guarded("watch", lambda: self._broker.watch(wanted))
        if missing is None:
            self._due_s["watch"] = self._monotonic_s() + _WATCH_RETRY_S
            return
        self._watched = wanted
        self._due_s["watch"] = self._monotonic_s() + (_WATCH_S if wanted == held else _WATCH_NEXT_S)
        if missing:
            _log.warning("quotes_unavailable", symbols=sorted(symbol for _, symbol in missing))

    def _catch_ups(self) -> None:
        for key, coverage in self._coverage.items():
            if self._stopping.is_set() or not coverage.due(self._monotonic_s()):
                continue
            if self.login().session != "up" or self._blackout(self._wall_us(), self._accounts[key], "CATCHUP"):
                coverage.postpone(self._monotonic_s() + self._options.maintain_s)
                continue
            self._guarded("catch_up", lambda key=key: self._catch_up(key))  # type: ignore[misc] # (bound now)
            if not self._waiting.empty():
                # What is asked for goes before the next account, and may be the very read that it would be.
                return

    def _catch_up(self, key: str) -> int:
        """Read an account's records into the stream; return how many were put there.

        Raises:
            BrokerError: no answer; the account's gaps stay open.
        """
        assert self._observed is not None  # noqa: S101 (given at the start)
        coverage = self._coverage[key]
        if not coverage.wanted:
            coverage.want("request")
        triggers = coverage.begin()
        with_list = coverage.evidence_due(self._monotonic_s())
        for trigger in triggers:
            metrics.counter("execpos_bridge_catch_ups_total").labels(trigger=trigger).inc()
        try:
            answer = read_records(
                self._broker,
                self._accounts[key],
                self._observed.contents,
                self._capture.put_report,
                private=self._private,
                orders=lambda account: self._guarded("trades", lambda: self._broker.trades(account)) if with_list else None,
            )
        except BaseException as error:
            wait_s = self._suspended_s(error) if isinstance(error, BrokerError) else 0.0
            coverage.failed(self._monotonic_s(), self._monotonic_s() + wait_s)
            self._publish_health()
            raise
        coverage.done(self._monotonic_s())
        self._caught_up[key] = self._wall_us()
        self._publish_health()
        self._reads += 1
        if missing := unaccounted(answer):
            _log.warning("deals_unaccounted", account=key, orders=missing)
        if set(triggers) != {"schedule"} or answer.put:
            _log.info("records_read", account=key, triggers=triggers, records=answer.records, put=answer.put)
        return answer.put

    # --- helpers ------------------------------------------------------------------------------------------------------------------

    def _want(self, account: str, trigger: Trigger) -> None:
        coverage = self._coverage.get(account)
        if coverage is not None:
            coverage.want(trigger)

    def _keep(self) -> None:
        if self._observed is not None:
            self._observed.keep()

    def _is_due(self, what: str, interval_s: float) -> bool:
        now_s = self._monotonic_s()
        if now_s < self._due_s[what]:
            return False
        self._due_s[what] = now_s + interval_s
        return True

    def _suspended_s(self, error: BrokerError) -> float:
        until_us = error.fields.get("until_us")
        return max(0.0, (until_us - self._wall_us()) / 1_000_000) if isinstance(until_us, int) else 0.0

    def _guarded(self, name: str, call: Callable[[], T]) -> T | None:
        """Return the answer of a call, or None when it raised, which is told."""
        try:
            return call()
        except Exception as error:  # noqa: BLE001 (see the module)
            self._complain(name, error)
            return None

    def _complain(self, name: str, error: Exception) -> None:
        kind = error.kind if isinstance(error, BrokerError) else "raised"
        metrics.counter("execpos_bridge_broker_failures_total").labels(call=name, kind=kind).inc()
        now_s = self._monotonic_s()
        if now_s - self._logged_s.get(name, -_LOG_EVERY_S) < _LOG_EVERY_S:
            return
        self._logged_s[name] = now_s
        # The text of a foreign error may hold what must not leave; ours do not.
        said = error.what if isinstance(error, ExecposError) else type(error).__name__
        _log.warning("broker_call_failed", call=name, kind=kind, error=said)

    def _publish_health(self) -> None:
        for key, coverage in self._coverage.items():
            self._health[key] = AccountHealth(
                self._cache.get(key, CacheHealth("Unknown", ())), self._gaps.get(key, 0), coverage.open, self._caught_up.get(key, 0), 0
            )
