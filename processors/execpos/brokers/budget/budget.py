"""One budget for all calls of a login: rates, suspensions, windows in which the broker must not be asked."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Literal

from execpos.brokers.budget.limits import BudgetLimits, Group, Rate, State
from execpos.brokers.budget.silence import Silence
from execpos.brokers.budget.window import Window
from execpos.brokers.protocol import BrokerError, BudgetState
from execpos.errors import ExecposError

Market = Literal["S", "F"]
Blackout = Callable[[int, Market], str]
"""(µs UTC, market) -> name of the window in which the broker must not be asked, or an empty text: `Calendar.blackout`."""

_LOGINS = "budget.logins"
_USED = "budget.used"

# A login takes no longer; one that was kept when it began is counted as of so much later.
_LOGIN_LONGEST_US = 60_000_000
# How often the use of a group is kept; a restart assumes that it went on for so long. And the part of a limit that is assumed for it.
_USED_EVERY_US = 1_000_000
_ROOM = 4
# Windows of the calendar are in whole minutes, and end within a day.
_MINUTE_US = 60_000_000
_DAY_MINUTES = 1_440


class Budget:
    """What may still be asked. Any thread; `call` blocks for its turn, everything else for the writing of a small file at most.

    What was used outlives a restart: logins one by one, suspensions, and of the other groups a bound of their last use, so that a process
    that is killed and started at once does not use a window twice.

    Args:
        limits: the broker's, and the share that is used.
        state: keeps a few small values; of this budget alone under `budget.…`.
        wall_us: clock, µs since the epoch.
        monotonic_us: clock that never goes back, µs.
        sleep: waits so many seconds.
        blackout: when the broker must not be asked at all (the same window for both markets), or not for a market's positions and profits;
            called by one thread at a time.
    """

    def __init__(
        self,
        limits: BudgetLimits,
        state: State,
        *,
        wall_us: Callable[[], int],
        monotonic_us: Callable[[], int],
        sleep: Callable[[float], None],
        blackout: Blackout | None = None,
    ) -> None:
        self._state = state
        self._wall_us = wall_us
        self._monotonic_us = monotonic_us
        self._sleep = sleep
        self._blackout = blackout
        self._lock = threading.Lock()
        self._silence = Silence(limits, state, wall_us, monotonic_us)
        rates: dict[Group, Rate] = {
            "accounting": limits.accounting,
            "orders": limits.orders,
            "data": limits.data,
            "logins": limits.logins,
        }
        self._windows = {name: Window(limits.used(rate), int(rate.per_s * 1e6)) for name, rate in rates.items()}
        # Group -> when it was kept (µs UTC), and how many calls its window has at most until a second after.
        self._used: dict[str, tuple[int, int]] = {}
        self._logins: list[int] = []
        self._restore()

    def _restore(self) -> None:
        wall_us, monotonic_us = self._wall_us(), self._monotonic_us()
        kept = self._state.get(_LOGINS)
        logins = self._windows["logins"]
        for each in sorted(each for each in (kept if isinstance(kept, list) else []) if type(each) is int):
            if each > wall_us - logins.span_us - _LOGIN_LONGEST_US:
                self._logins.append(each)
                logins.ended_before(monotonic_us - max(0, wall_us - each - _LOGIN_LONGEST_US))
        used = self._state.get(_USED)
        for name, window in self._windows.items():
            use = used.get(name) if isinstance(used, dict) and name != "logins" else None
            if isinstance(use, list) and [type(each) for each in use] == [int, int]:
                last_us, most = use
                self._used[name] = (min(last_us, wall_us), most)
                window.ended_before(monotonic_us - max(0, wall_us - last_us - _USED_EVERY_US), min(most, window.limit))

    @contextmanager
    def call(self, what: str, *groups: Group, wait_s: float, market: Market | None = None) -> Iterator[None]:
        """Wait for the turn of a call, and count it while the block runs. The block makes one call.

        Args:
            what: names the call in errors.
            groups: all groups that it counts in.
            wait_s: longest wait.
            market: of the account that is asked about.

        Raises:
            BrokerError: `suspended` (with `until_us`): nothing may be asked now. `budget` (with `until_us`): its turn would come later than
                the wait allows. `failed`: a login that cannot be kept on disk, so that a restart would not know of it.
        """
        deadline_us = self._monotonic_us() + int(wait_s * 1e6)
        windows = [self._windows[group] for group in groups]
        while True:
            with self._lock:
                now_us = self._monotonic_us()
                self._refuse_silence(what, groups, market)
                wait_us = max(window.wait_us(now_us) for window in windows)
                if not wait_us:
                    if "logins" in groups:
                        self._keep_login(what)
                    for window in windows:
                        window.begin()
                    self._note_use(groups)
                    break
            if now_us + wait_us > deadline_us:
                raise BrokerError(
                    f"{what}: no call of the group {' and '.join(groups)} is left for {wait_us / 1e6:.1f} s",
                    kind="budget",
                    hint="ask less often, or raise polling.budget_share if nothing else uses this login",
                    until_us=self._wall_us() + wait_us,
                )
            self._sleep(wait_us / 1e6)
        try:
            yield
        finally:
            with self._lock:
                now_us = self._monotonic_us()
                for window in windows:
                    window.end(now_us)
                # A slow one ends later than a restart would assume. One that is killed while it runs is one call too many at most.
                self._note_use(groups)

    def suspend(self) -> int:
        """Note that the broker has suspended the login now; return until when (µs UTC) nothing is asked."""
        with self._lock:
            return self._wall_us() + self._silence.begin()

    def suspended(self) -> bool:
        """Say whether a suspension lasts."""
        with self._lock:
            return self._silence.left_us() > 0

    def states(self) -> Mapping[str, BudgetState]:
        """Return what is left of each group now."""
        with self._lock:
            now_us, wall_us = self._monotonic_us(), self._wall_us()
            left_us = self._silence.left_us()
            until_us = max(wall_us + left_us if left_us else 0, self._closed_until(wall_us, None)[1])
            return {name: BudgetState(window.free(now_us), until_us) for name, window in self._windows.items()}

    def _refuse_silence(self, what: str, groups: tuple[Group, ...], market: Market | None) -> None:
        wall_us = self._wall_us()
        left_us = self._silence.left_us()
        if left_us:
            raise BrokerError(
                f"{what}: the broker has suspended this login; nothing is asked for {left_us / 1e6:.0f} s",
                kind="suspended",
                hint="wait; every call now, a login above all, would prolong it",
                until_us=wall_us + left_us,
            )
        name, until_us = self._closed_until(wall_us, market if "accounting" in groups else None)
        if name:
            raise BrokerError(f"{what}: the broker is not asked during {name}", kind="suspended", hint="wait", until_us=until_us)

    def _closed_until(self, wall_us: int, market: Market | None) -> tuple[str, int]:
        name = self._closed(wall_us, market)
        if not name:
            return "", 0
        minute = wall_us // _MINUTE_US
        for step in range(1, _DAY_MINUTES + 1):
            if not self._closed((minute + step) * _MINUTE_US, market):
                return name, (minute + step) * _MINUTE_US
        return name, (minute + _DAY_MINUTES) * _MINUTE_US

    def _closed(self, wall_us: int, market: Market | None) -> str:
        if self._blackout is None:
            return ""
        stocks, futures = self._blackout(wall_us, "S"), self._blackout(wall_us, "F")
        if stocks and stocks == futures:
            return stocks
        return "" if market is None else stocks if market == "S" else futures

    def _keep_login(self, what: str) -> None:
        wall_us = self._wall_us()
        kept = [each for each in self._logins if wall_us - each <= self._windows["logins"].span_us + _LOGIN_LONGEST_US]
        kept.append(wall_us)
        try:
            self._state.set(_LOGINS, kept)
        except (OSError, ExecposError) as error:
            raise BrokerError(
                f"{what}: cannot be counted on disk ({type(error).__name__}), and a restart would not know of it",
                kind="failed",
                hint="free space in the journal's folder",
            ) from error
        self._logins = kept

    def _note_use(self, groups: tuple[Group, ...]) -> None:
        """Keep how many calls a group has in its window, unless what is kept still covers it."""
        wall_us, now_us = self._wall_us(), self._monotonic_us()
        changed = False
        for group in groups:
            window = self._windows[group]
            count = window.limit - window.free(now_us)
            at_us, most = self._used.get(group, (0, 0))
            if group != "logins" and (count > most or not 0 <= wall_us - at_us < _USED_EVERY_US):
                # With room for the calls of the next second.
                self._used[group] = (wall_us, min(window.limit, count + max(1, window.limit // _ROOM)))
                changed = True
        if changed:
            # Counted in memory all the same; only a restart within seconds would not know of it.
            with suppress(OSError, ExecposError):
                self._state.set(_USED, {group: list(use) for group, use in self._used.items()})
