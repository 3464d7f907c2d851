"""A scenario: what the simulated broker plays, and what goes wrong when. Read from a YAML file; see docs/simulator.md for each key."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from execpos.brokers.sim.config import TAIPEI, Attribution, Faults, SimConfig, start_within_session
from execpos.brokers.sim.errors import ERRORS
from execpos.brokers.sim.schedule import Entry
from execpos.errors import ConfigError

Place = Callable[[tuple[str | int, ...]], str]
"""Names the file and line of a value by its path."""

_HINT = "docs/simulator.md describes every key of a scenario"
# A night's first and last minute and a day's: a session that leaves them would change its session_id half-way.
_NIGHT_BEGINS, _DAY_BEGINS = 14 * 60 + 45, 6 * 60
# A session without an end that begins now is given an hour before the turn of the day.
_OPEN_END_US = 3_600_000_000


class Accounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many accounts of each market."""

    stock: int = 4
    futures: int = 2


class Market(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is traded: numbers of stocks, futures months (each TXF, MXF, TMF), option series; and how many of them an account trades."""

    stocks: int = 8
    futures_months: int = 1
    option_series: int = 2
    symbols_per_account: int | None = None


class Trading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the robot and the exchange do; see `SimConfig` for each."""

    strategies: int = 5
    deal_share: float = 0.58
    odd_share: float = 0.2
    margin_share: float = 0.05
    reject_share: float = 0.01
    after_hours_odd_share: float = 0.0
    market_order_share: float = 0.0
    async_failure_share: float = 0.0
    bust_share: float = 0.0
    working_max: int = 60


class Delivery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Probability of each fault of the delivery, for one report; see `Faults`. None unless asked for."""

    duplicate: float = 0.0
    new_receipt: float = 0.0
    deal_before_order: float = 0.0
    late: float = 0.0
    reorder: float = 0.0
    conflict: float = 0.0
    drop: float = 0.0


class Connection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Probability of each fault of the link, for one report; `disconnect_s` is how long the link stays down, in simulated seconds."""

    disconnect: float = 0.0
    session_down: float = 0.0
    event_id_reset: float = 0.0
    disconnect_s: float = 30.0


class Answers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Probability of each fault of an answer, for one answer; `slow_s` is how long a slow one takes, in real seconds.

    `records_without_receipt` is the part of the records that `order_deal_records` gives without their event_id.
    """

    positions_empty: float = 0.0
    positions_failed: float = 0.0
    positions_half: float = 0.0
    positions_lots: float = 0.0
    positions_stale: float = 0.0
    positions_two_rows: float = 0.0
    positions_expired: float = 0.0
    records_incomplete: float = 0.0
    trades_other_ids: float = 0.0
    trades_yesterday: float = 0.0
    call_raises: float = 0.0
    call_slow: float = 0.0
    slow_s: float = 1.0
    records_without_receipt: float = 0.0


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One session of trading.

    Attributes:
        start: first moment, Taipei, as 2026-05-21T09:00; `now` for a run of one session that begins when the venue does.
        events: end after about so many deliveries.
        seconds: or after so many simulated seconds; with neither, it never ends.
        night: only futures and options trade.
        numbers: `new` order numbers; go on with those of the session before (`continue`); or the same ones as the first session
            had (`again`), as the real broker's return on another day.
    """

    start: str = "now"
    events: int | None = None
    seconds: float | None = None
    night: bool = False
    numbers: Literal["new", "continue", "again"] = "new"


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a run is a function of, besides the clock and what the clients ask.

    Attributes:
        seed: which day.
        rate: deliveries in a simulated second, on average.
        pace: simulated seconds in a real one; 0 is as fast as the clients take it.
        limits: suspend who asks too often.
        schedule: faults at given moments.
    """

    seed: int = 1
    rate: float = 100.0
    pace: float = 1.0
    limits: bool = True
    accounts: Accounts = Accounts()
    market: Market = Market()
    trading: Trading = Trading()
    attribution: Attribution = Attribution()
    delivery: Delivery = Delivery()
    connection: Connection = Connection()
    answers: Answers = Answers()
    sessions: tuple[Session, ...] = (Session(),)
    schedule: tuple[Entry, ...] = ()

    def starts(self, now_us: int) -> list[int]:
        """Return the first moment of each session, µs; `now` becomes the latest moment from which the session fits before its end."""
        return [self._start(session, now_us) for session in self.sessions]

    def _start(self, session: Session, now_us: int) -> int:
        if session.start != "now":
            return int(datetime.fromisoformat(session.start).replace(tzinfo=TAIPEI).timestamp()) * 1_000_000
        if session.seconds is not None:
            return start_within_session(now_us, int(session.seconds * 1_000_000))
        return start_within_session(now_us, _OPEN_END_US if session.events is None else int(session.events / self.rate * 1_000_000))

    def config(self, start_us: int) -> SimConfig:
        """Return the configuration of the exchange and the line."""
        return SimConfig(
            seed=self.seed,
            start_us=start_us,
            step_us=max(1, round(1_000_000 / self.rate)),
            stock_accounts=self.accounts.stock,
            futures_accounts=self.accounts.futures,
            stock_symbols=self.market.stocks,
            futures_months=self.market.futures_months,
            option_series=self.market.option_series,
            symbols_per_account=self.market.symbols_per_account,
            faults=Faults(**msgspec.structs.asdict(self.delivery)),
            attribution=self.attribution,
            **msgspec.structs.asdict(self.trading),
        )


def parse(data: Mapping[str, Any], place: Place) -> Scenario:
    """Return the scenario that a file's data say.

    Raises:
        ConfigError: naming file, line, key, and what is allowed.
    """
    try:
        scenario = msgspec.convert(dict(data), Scenario)
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `")
        path = _path(where.rstrip("`"))
        if unknown := re.search(r"unknown field `(.*)`", said):
            path, said = (*path, unknown[1]), "is no key of a scenario"
        raise _refused(place, path, said) from error
    _check(scenario, place)
    return scenario


def _path(text: str) -> tuple[str | int, ...]:
    return tuple(int(part[1:-1]) if part[0] == "[" else part for part in re.findall(r"\[\d+\]|[a-z_]+", text))


def _refused(place: Place, path: tuple[str | int, ...], said: str) -> ConfigError:
    key = ".".join(str(part) for part in path)
    return ConfigError(f"{place(path)}: {key}: {said}" if key else f"{place(path)}: {said}", hint=_HINT)


def _check(scenario: Scenario, place: Place) -> None:
    for name, least in (("rate", 0.001), ("pace", 0.0)):
        if not least <= getattr(scenario, name) <= 1_000_000:
            raise _refused(place, (name,), f"is {getattr(scenario, name)}, and may be {least} to 1000000")
    for part in ("delivery", "connection", "answers"):
        for name, value in msgspec.structs.asdict(getattr(scenario, part)).items():
            if value < 0 or (value > 1 and not name.endswith("_s")):
                raise _refused(place, (part, name), f"is {value}, and may be {'0 or more' if name.endswith('_s') else '0 to 1'}")
    _check_sessions(scenario, place)
    for number, entry in enumerate(scenario.schedule):
        if problem := _wrong(entry):
            raise _refused(place, ("schedule", number), problem)
    try:
        scenario.config(scenario.starts(0)[0]).check()
    except ConfigError as error:
        raise ConfigError(f"{place(())}: {error.what}", hint=error.hint) from error


def _check_sessions(scenario: Scenario, place: Place) -> None:
    if not scenario.sessions:
        raise _refused(place, ("sessions",), "is empty; a scenario has at least one session")
    before_us = 0
    for number, session in enumerate(scenario.sessions):
        path = ("sessions", number)
        last = number == len(scenario.sessions) - 1
        if session.start == "now" and len(scenario.sessions) > 1:
            raise _refused(place, path, "only a scenario of one session starts `now`")
        try:
            start_us = scenario.starts(0)[number]
        except ValueError as error:
            raise _refused(place, (*path, "start"), f"is {session.start!r}; write 2026-05-21T09:00, or now") from error
        if start_us < before_us:
            raise _refused(place, (*path, "start"), "is before the end of the session before it")
        if session.events is None and session.seconds is None and not last:
            raise _refused(place, path, "has neither events nor seconds, so that the next one would never come")
        if problem := _wrong_session(session, start_us, scenario.accounts):
            raise _refused(place, path, problem)
        length_s = session.seconds if session.seconds is not None else (session.events or 0) / scenario.rate
        before_us = start_us + int(length_s * 1_000_000)


def _wrong_session(session: Session, start_us: int, accounts: Accounts) -> str:
    """Return what is wrong with a session by itself; empty if nothing is."""
    if (session.events is not None and session.events < 1) or (session.seconds is not None and session.seconds <= 0):
        return "has an end that is not after its start"
    minute = (start_us // 60_000_000 + 8 * 60) % 1440
    if session.start != "now" and session.night != (minute >= _NIGHT_BEGINS or minute < _DAY_BEGINS):
        return "night is wrong: a night begins at 14:45 or later and before 06:00, any other session is a day"
    if session.night and not accounts.futures:
        return "a night needs a futures account"
    return ""


def _wrong(entry: Entry) -> str:
    """Return what is wrong with a scheduled fault; empty if nothing is."""
    if (entry.at_s is None) == (entry.at_report is None):
        return "needs one of at_s and at_report"
    if entry.kind == "disconnect" and not entry.seconds:
        return "a disconnect needs seconds"
    if entry.kind == "call_slow" and entry.lag_s <= 0:
        return "call_slow needs lag_s"
    if entry.kind in {"book_ahead", "book_behind"} and (entry.lag_s > 0) == (entry.fills > 0):
        return f"{entry.kind} needs one of lag_s and fills"
    if entry.error not in ERRORS:
        return f"error is {entry.error!r}, and may be one of {', '.join(sorted(ERRORS))}"
    numbers = {name: getattr(entry, name) for name in ("at_s", "at_report", "count", "seconds", "lag_s", "fills", "reports")}
    return next((f"{name} is {value}; nothing here is negative" for name, value in numbers.items() if value is not None and value < 0), "")
