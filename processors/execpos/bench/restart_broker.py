"""The simulated broker of the restart bench, in a process of its own, so that it outlives those that are killed.

`python -m execpos.bench.restart_broker ADDRESS ACCOUNTS SYMBOLS FILLS DAYS RATE SEED`: the history is played on `DAYS` days, the last of
them today, as fast as the client takes it; then the broker waits for the word, and trades at `RATE` reports a second in real time. It
prints its address, and ends with its standard input.
"""

import sys
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from execpos.brokers.sim.client import Client
from execpos.brokers.sim.config import TAIPEI, Attribution, SimEvent
from execpos.brokers.sim.limits import GROUP_OF
from execpos.brokers.sim.play import account_of
from execpos.brokers.sim.scenario import Accounts, Delivery, Market, Scenario, Session, Trading
from execpos.brokers.sim.server import Server
from execpos.brokers.sim.venue import Venue

# Part of the reports that are deals, and repeats of either on top.
_DEAL_SHARE, _DUPLICATE = 0.58, 0.01
# Simulated time that today's history may take beyond the mean, so that it never ends after now.
_MARGIN, _MARGIN_S = 1.25, 60.0
_IDLE_S = 0.02
# Reports that may wait for a client while the history is played.
_WAITING_MAX = 1_000
# What was handed to clients and asked by them lately; at 100 reports a second more than an hour.
_KEPT = 500_000


def scenario(*, accounts: int, symbols: int, fills: int, days: int, rate: float, seed: int, now_s: float) -> Scenario:
    """Return the days of the history, the last of which goes on from now; cash stocks, whose owner stands in custom_field."""
    each = fills / days
    today = datetime.fromtimestamp(now_s, UTC).astimezone(TAIPEI)
    began = today - timedelta(seconds=each / _DEAL_SHARE / rate * _MARGIN + _MARGIN_S)
    earlier = [today.date() - timedelta(days=back) for back in range(days - 1, 0, -1)]
    sessions = [Session(f"{day.isoformat()}T09:00", events=max(1, round(each / _DEAL_SHARE))) for day in earlier]
    return Scenario(
        seed=seed,
        rate=rate,
        accounts=Accounts(stock=accounts, futures=0),
        market=Market(stocks=symbols),
        trading=Trading(deal_share=_DEAL_SHARE, margin_share=0.0, working_max=200),
        attribution=Attribution(intent_before=0.0, intent_late=0.0, custom_field=1.0, manual=0.0, misleading=0.0),
        delivery=Delivery(duplicate=_DUPLICATE),
        sessions=(*sessions, Session(began.replace(tzinfo=None).isoformat(timespec="seconds"))),
    )


class Stage(Venue):
    """A venue that is told when to play its history, to trade, and to rest. Any thread may call.

    Beside the calls of a client it answers `sim_days` (play the days before today), `sim_history` (play until `fills` are matched),
    `sim_live`, `sim_rest` (let nothing more happen), `sim_handed` (account and receipt of each callback that a client was given since
    the last `sim_live`), `sim_asked` (when a call of the accounting group came, µs of the monotonic clock) and `sim_idle_us` (for how
    long none has come).
    """

    def __init__(self, played: Scenario) -> None:
        super().__init__(played)
        self._today_us = played.starts(0)[-1]
        self._fills = 0
        self._days = self._live = False
        self._handed: deque[str] = deque(maxlen=_KEPT)
        self._asked: deque[int] = deque(maxlen=_KEPT)

    def step(self, steps: int = 64) -> float:
        """See `Venue`. The history is played for who takes all of it, and as fast: averages depend on the order in which fills are met."""
        if self._live:
            return super().step(steps)
        with self._lock:
            moved = self._begun and self._wanted() and self._heard()
            for _ in range(steps if moved else 0):
                if self._wanted():
                    self._play.run(None, 1)
            self._flush()
            return 0.0 if moved else _IDLE_S

    def call(self, client: Client | None, method: str, arguments: Mapping[str, Any]) -> Any:
        """See `Venue`, and above."""
        if GROUP_OF.get(method) == "accounting":
            self._asked.append(self._clock())
        told = _TOLD.get(method)
        if told is None:
            return super().call(client, method, arguments)
        with self._held():
            return told(self, arguments)

    def event(self, event: SimEvent) -> None:
        """See `Venue`."""
        super().event(event)
        if self._live and event.intent is None and self._link_up:
            account = account_of(event)
            if any(account in client.accounts for client in self._clients):
                # A receipt is of one account.
                self._handed.append(f"{account} {event.payload['event_id']}")

    def _heard(self) -> bool:
        """Say whether a client listens to all accounts and keeps up."""
        everything = len(self._play.accounts)
        return any(len(client.accounts) == everything and len(client.mailbox) < _WAITING_MAX for client in self._clients)

    def _wanted(self) -> bool:
        """Say whether there is history left to play."""
        if self._days and self._play.session_start_us < self._today_us:
            return True
        return self._play.truth.matched < self._fills

    def _tell_days(self, _: Mapping[str, Any]) -> bool:
        self._days = True
        return self._wanted()

    def _tell_history(self, arguments: Mapping[str, Any]) -> bool:
        self._fills = int(arguments["fills"])
        return self._wanted()

    def _tell_live(self, _: Mapping[str, Any]) -> None:
        # Simulated time is the day's from here on.
        now_us = max(self._play.now_us, time.time_ns() // 1000)
        self._play.exchange.now_us = max(self._play.exchange.now_us, now_us)
        self._base_us = (self._clock(), now_us)
        self._handed.clear()
        self._live = True

    def _tell_rest(self, _: Mapping[str, Any]) -> None:
        self._live = False

    def _tell_handed(self, _: Mapping[str, Any]) -> list[str]:
        return list(self._handed)

    def _tell_asked(self, _: Mapping[str, Any]) -> list[int]:
        return list(self._asked)

    def _tell_idle(self, _: Mapping[str, Any]) -> int:
        return self._clock() - (self._asked[-1] if self._asked else 0)


_TOLD = {
    "sim_days": Stage._tell_days,  # noqa: SLF001 (methods of the class above)
    "sim_history": Stage._tell_history,  # noqa: SLF001 (as above)
    "sim_live": Stage._tell_live,  # noqa: SLF001 (as above)
    "sim_rest": Stage._tell_rest,  # noqa: SLF001 (as above)
    "sim_handed": Stage._tell_handed,  # noqa: SLF001 (as above)
    "sim_asked": Stage._tell_asked,  # noqa: SLF001 (as above)
    "sim_idle_us": Stage._tell_idle,  # noqa: SLF001 (as above)
}


def main(address: str, accounts: int, symbols: int, fills: int, days: int, *, rate: float, seed: int) -> None:
    """Serve until standard input ends."""
    venue = Stage(scenario(accounts=accounts, symbols=symbols, fills=fills, days=days, rate=rate, seed=seed, now_s=time.time()))
    server = Server(venue, address)
    venue.start()
    server.start()
    sys.stdout.write(server.address + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()
    venue.stop()


if __name__ == "__main__":
    main(sys.argv[1], *(int(number) for number in sys.argv[2:6]), rate=float(sys.argv[6]), seed=int(sys.argv[7]))
