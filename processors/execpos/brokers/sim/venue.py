"""The live broker: a scenario moved on by the clock, its clients, the link to them, and everything that is lost on it."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from execpos.brokers.sim.client import Client
from execpos.brokers.sim.config import SimEvent, SimIntent
from execpos.brokers.sim.counter import Counter
from execpos.brokers.sim.errors import ServerError, ShioajiConnectionError, ShioajiTimeoutError, ValidationError
from execpos.brokers.sim.facts import truth_of
from execpos.brokers.sim.limits import Limits
from execpos.brokers.sim.mailbox import Mailbox
from execpos.brokers.sim.market import Instrument
from execpos.brokers.sim.play import Play, account_of
from execpos.brokers.sim.scenario import Scenario

# Steps taken under one hold of the lock: some milliseconds, which is what a call waits at most.
_STEPS = 64
# How long nothing is looked at when nothing is due, and the shortest sleep that a clock is good for, seconds.
_IDLE_S, _NAP_S = 0.05, 0.001
# Long enough for another thread to take the lock.
_YIELD_S = 0.0001
# Unpaced, the venue waits while a client has so many pushes to take, but not longer than this; then it is a slow client.
_WAITING_MAX, _PATIENCE_US = 10_000, 10_000_000
# What the library waits for an answer.
_TIMEOUT_S = 30.0
# A thread that does not end within this is stuck in a callback of somebody else.
_JOIN_S = 10.0


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class Venue:
    """The simulated broker of one scenario. Any thread may call.

    It moves on by a thread of its own between `start` and `stop`, or by whoever calls `step`. Trading begins when all accounts have been
    subscribed for the first time, or with `begin`.

    Args:
        scenario: what is played.
        clock: µs of real time, for pace, limits and tokens.
        sleep: waits so many seconds, for slow answers.
        now_us: what `now` means in the scenario, µs since the epoch; the time of day without it.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        clock: Callable[[], int] = _monotonic_us,
        sleep: Callable[[float], None] = time.sleep,
        now_us: int | None = None,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._pace = scenario.pace
        self._lock = threading.RLock()
        self._play = Play(scenario, self, time.time_ns() // 1000 if now_us is None else now_us)
        self._limits = Limits(enforced=scenario.limits)
        self._counter = Counter(self._play, self, self._limits)
        self._clients: list[Client] = []
        self._count = 0
        self._ever: set[str] = set()
        # One entry for each thread that has or wants the lock; a list, because its append and pop are atomic.
        self._callers: list[None] = []
        self._link_up = True
        self._begun = False
        self._base_us = (0, 0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulated-broker", daemon=True)
        self.error: Exception | None = None

    # -- life

    def start(self) -> None:
        """Move on by a thread of the venue's own. Once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and let all clients go. A second call does nothing."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        with self._lock:
            for client in tuple(self._clients):
                self.detach(client)

    def begin(self) -> None:
        """Let the scenario begin now, if it has not."""
        with self._held():
            if not self._begun:
                self._begun = True
                self._base_us = (self._clock(), self._play.now_us)

    @property
    def finished(self) -> bool:
        """Whether the scenario is over and its last report on its way."""
        return self._play.finished

    def truth(self) -> dict[str, Any]:
        """Return what really happened so far; see `facts.truth_of`."""
        with self._held():
            return truth_of(self._play)

    def step(self, steps: int = _STEPS) -> float:
        """Move on as far as the clock says, at most so many steps; return after how many seconds there may be more to do.

        Raises:
            ConfigError: the day has used all its order numbers.
        """
        with self._lock:
            if not self._begun:
                return _IDLE_S
            wait_s = self._paced(steps) if self._pace else self._unpaced(steps)
            self._flush()
            return wait_s

    def _unpaced(self, steps: int) -> float:
        if self._play.finished:
            return _IDLE_S
        if not self._room():
            return _NAP_S
        self._play.run(None, steps)
        return 0.0

    def _paced(self, steps: int) -> float:
        play = self._play
        clock_us, simulated_us = self._base_us
        session_us = play.session_start_us
        until_us = simulated_us + int((self._clock() - clock_us) * self._pace)
        more = play.run(until_us, steps)
        if play.session_start_us != session_us:
            # The time between two sessions takes no time.
            self._base_us = (self._clock(), play.session_start_us)
            return 0.0
        if more:
            return 0.0
        play.pass_time(until_us)
        if play.finished:
            return _IDLE_S
        return min(_IDLE_S, max(_NAP_S, (play.exchange.now_us - until_us) / self._pace / 1_000_000))

    def _room(self) -> bool:
        """Say whether all clients keep up; let go one that has not for long."""
        room = True
        for client in tuple(self._clients):
            if len(client.mailbox) <= _WAITING_MAX:
                client.slow_since_us = 0
                continue
            now_us = self._clock()
            client.slow_since_us = client.slow_since_us or now_us
            if now_us - client.slow_since_us > _PATIENCE_US:
                self._slow(client)
            else:
                room = False
        return room

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                wait_s = self.step()
                # A lock is not fair: without a pause a caller would never have it.
                self._stop.wait(wait_s if wait_s or not self._callers else _YIELD_S)
        except Exception as error:  # noqa: BLE001 (the thread's last words: `sim_finished` and the server hand them on)
            self.error = error

    # -- clients

    def attach(self, mailbox: Mailbox) -> Client:
        """Take a client; what is sent to it goes into the mailbox."""
        with self._held():
            self._count += 1
            client = Client(self._count, mailbox)
            self._clients.append(client)
            return client

    def detach(self, client: Client) -> None:
        """Let a client go and close its mailbox. A second call does nothing."""
        with self._held():
            if client in self._clients:
                self._clients.remove(client)
                client.leave()
                client.mailbox.close()

    def clients(self) -> list[Client]:
        return self._clients

    def subscribed(self, client: Client) -> None:
        self._ever |= client.accounts
        if len(self._ever) == len(self._play.accounts):
            self.begin()

    def call(self, client: Client | None, method: str, arguments: Mapping[str, Any]) -> Any:
        """Answer a call with plain data. Blocks, for long if a fault makes the answer slow.

        Args:
            client: who asks; nobody in particular for the methods `sim_…`.
            method: as `SimApi` names it.
            arguments: by name.

        Raises:
            ShioajiError: whatever the library says to such a call.
        """
        if method.startswith("sim_") or client is None:
            return self._own(method, arguments)
        with self._held():
            self._passed()
            if client.mailbox.closed:
                raise ShioajiConnectionError("the broker has hung up")
            if not self._link_up:
                raise ShioajiConnectionError("the link is down")
            slow = self._counter.admit(client, method, arguments, self._clock())
        if slow is not None:
            given_s = (arguments.get("timeout") or 0) / 1000 or _TIMEOUT_S
            self._sleep(min(slow.lag_s, given_s))
            if slow.lag_s >= given_s:
                raise ShioajiTimeoutError(f"{method}: no answer within {given_s:g} s")
        with self._held():
            try:
                return self._counter.answer(client, method, arguments, self._clock())
            except KeyError as error:
                raise ValidationError(f"422: {method} lacks {error}") from error
            finally:
                # What was sent before the answer comes before it.
                self._flush()

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Hold the lock, and let the venue's thread know that somebody wants it."""
        self._callers.append(None)
        try:
            with self._lock:
                yield
        finally:
            self._callers.pop()

    def _passed(self) -> None:
        """Let time pass up to this call, for faults that begin or end by it."""
        if self._pace and self._begun and not self._play.finished:
            clock_us, simulated_us = self._base_us
            self._play.pass_time(simulated_us + int((self._clock() - clock_us) * self._pace))

    def _own(self, method: str, arguments: Mapping[str, Any]) -> Any:
        if method == "sim_finished":
            if self.error is not None:
                raise ServerError(f"the simulated broker stopped: {self.error}") from self.error
            return self.finished
        if method == "sim_truth":
            return self.truth()
        if method == "sim_intents":
            with self._held():
                return [_fields(n, intent) for n, intent in enumerate(self._play.intents) if n >= int(arguments["since"])]
        if method == "sim_start":
            self.begin()
            return None
        raise ValidationError(f"422: no such method: {method[:40]}")

    # -- what the play sends out

    def event(self, event: SimEvent) -> None:
        if event.intent is not None:
            fields = _fields(len(self._play.intents) - 1, event.intent)
            for client in self._clients:
                client.push(("intent", fields, None))
            return
        key = account_of(event)
        taken = False
        if self._link_up:
            for client in self._clients:
                if key in client.accounts:
                    client.push(("order", event.state, event.payload))
                    taken = True
        if not taken:
            self._play.lost(event, key)

    def tick(self, instrument: Instrument, at_us: int) -> None:
        if self._link_up:
            for client in self._clients:
                if instrument.full_code in client.quotes:
                    client.push(("tick", instrument.market, self._counter.reading.tick(instrument, at_us)))

    def link(self, kind: str, *, begins: bool) -> None:
        if kind == "disconnect":
            self._link_up = not begins
        code, event = (12, "Session reconnecting") if begins else (13, "Session reconnected")
        for client in self._clients:
            if not client.logged_in:
                continue
            if kind == "disconnect":
                # The library says so, not the broker: it needs no link.
                client.push(("event", [0, code, "simulated broker", event], None))
            else:
                client.leave()
                client.session_down = True
                client.token_until_us = 0
                client.push(("session_down", None, None))

    def _flush(self) -> None:
        for client in tuple(self._clients):
            if not client.flush():
                self._slow(client)

    def _slow(self, client: Client) -> None:
        self._play.note("slow_client", detail=f"connection {client.number} was let go with {len(client.mailbox)} pushes to take")
        self.detach(client)


def _fields(number: int, intent: SimIntent) -> dict[str, Any]:
    """Return an intent as plain data; `number` counts them from 0."""
    return {
        "number": number,
        "market": intent.account.market,
        "broker_id": intent.account.broker_id,
        "account_id": intent.account.account_id,
        "strategy_id": intent.strategy_id,
        "order_id": intent.order_id,
        "seqno": intent.seqno,
        "created_us": intent.created_us,
    }
