"""A scenario at work: exchange, line, back office and schedule, moved on step by step. It knows no client and no clock."""

from random import Random
from typing import Final, Protocol

from execpos.brokers.sim.book import SimBook
from execpos.brokers.sim.config import SimAccount, SimEvent, SimIntent
from execpos.brokers.sim.delivery import Line
from execpos.brokers.sim.exchange import Exchange, Report
from execpos.brokers.sim.house import House
from execpos.brokers.sim.market import Instrument
from execpos.brokers.sim.orders import Fill, Order
from execpos.brokers.sim.scenario import Scenario
from execpos.brokers.sim.schedule import Entry, Plan
from execpos.brokers.sim.truth import SimFault, SimTruth

# Faults that the play itself carries out; the others are the line's, or those of answers.
_RECEIPTS: Final = "event_id_reset"
_BUST: Final = "bust"
_DISCONNECT: Final = "disconnect"
_SESSION: Final = "session_down"


class Audience(Protocol):
    """Who hears what the play sends out. Called within `Play.run`."""

    def event(self, event: SimEvent) -> None:
        """Take a callback or an intent."""

    def tick(self, instrument: Instrument, at_us: int) -> None:
        """Take a price."""

    def link(self, kind: str, *, begins: bool) -> None:
        """Take a fault of the link: `disconnect` begins and ends, `session_down` begins."""


class Play:
    """One run of a scenario. Not thread-safe; never blocks. Equal scenarios and starts send out the same, whoever listens.

    Args:
        scenario: checked.
        audience: who hears of it.
        now_us: what `now` means in it, µs since the epoch.
    """

    def __init__(self, scenario: Scenario, audience: Audience, now_us: int = 0) -> None:
        self.scenario = scenario
        self._audience = audience
        self._starts = scenario.starts(now_us)
        self.config = scenario.config(self._starts[0])
        self.config.check()
        self.truth = SimTruth()
        self.book = SimBook()
        self.plan = Plan(scenario.schedule, self._starts[0])
        self._line = Line(self.config, self.book, self.truth, self.plan)
        self.exchange = Exchange(self.config, _Floor(self))
        self.house = House(self.exchange.accounts)
        self.house.turn(self._starts[0])
        # Chances of the link, apart from the others so that what is traded is the same under every fault.
        self._random = Random(f"{scenario.seed}:link").random  # noqa: S311 (a game's repeatable numbers)
        self._session = 0
        self._delivered_before = 0
        self._closing = False
        # Accounts whose next fill is taken back, because there was none yet; empty for any.
        self._busts: list[str] = []
        self._now_us = self._starts[0]
        self.intents: list[SimIntent] = []
        self.finished = False
        if scenario.sessions[0].night:
            self.exchange.turn(self._starts[0], "", night=True)

    @property
    def accounts(self) -> tuple[SimAccount, ...]:
        """The accounts, stock accounts first."""
        return self.exchange.accounts

    @property
    def now_us(self) -> int:
        """Simulated time."""
        return self._now_us

    @property
    def session_start_us(self) -> int:
        """When the present session began, simulated time."""
        return self._starts[self._session]

    def run(self, until_us: int | None = None, steps: int = 1) -> bool:
        """Take so many steps, or fewer when `until_us` is reached; say whether there was anything to do.

        Args:
            until_us: simulated time that is not passed by more than one step; None for no bound.
            steps: most steps; each is an order, a change of one, a price with its matches, or one delivery after a session's end.
        """
        for number in range(steps):
            if self.finished or (until_us is not None and not self._due(until_us)):
                return number > 0
            if self._closing:
                self._close()
            else:
                self._step()
        return True

    def pass_time(self, now_us: int) -> None:
        """Let simulated time pass without a report, for faults that begin or end by it."""
        if now_us > self._now_us:
            self._now_us = now_us
            self._moved(now_us)

    def _due(self, until_us: int) -> bool:
        if not self._closing:
            return self.exchange.now_us < until_us
        return not self._line.pending() or self._line.due(until_us)

    def _step(self) -> None:
        session = self.scenario.sessions[self._session]
        self.exchange.step()
        now_us = self.exchange.now_us
        while self._line.due(now_us):
            self._send()
        full = session.events is not None and self._line.delivered - self._delivered_before >= session.events
        over = session.seconds is not None and now_us >= self.session_start_us + int(session.seconds * 1_000_000)
        if full or over:
            self._line.release(self.exchange.working)
            self._closing = True

    def _close(self) -> None:
        """Deliver what is left of a session, then begin the next one."""
        if self._line.pending():
            self._send()
            return
        if self._session + 1 == len(self.scenario.sessions):
            for entry in self.plan.close():
                self._ended(entry)
            self.finished = True
            return
        self._session += 1
        session, start_us = self.scenario.sessions[self._session], self.session_start_us
        again = f"{self.config.seed}:{self._starts[0]}"
        numbers = {"new": f"{self.config.seed}:{start_us}", "continue": "", "again": again}[session.numbers]
        self.exchange.turn(start_us, numbers, night=session.night)
        self.house.turn(start_us)
        self._delivered_before = self._line.delivered
        self._closing = False
        self.pass_time(start_us)

    def _send(self) -> None:
        event = self._line.take()
        self.pass_time(event.at_us)
        if event.intent is not None:
            self.intents.append(event.intent)
        else:
            self._chances()
        self._audience.event(event)

    def _chances(self) -> None:
        chances = self.scenario.connection
        if chances.disconnect and self._random() < chances.disconnect and self.plan.find(_DISCONNECT) is None:
            self._begin(Entry(_DISCONNECT, at_s=0, seconds=chances.disconnect_s))
        if chances.session_down and self._random() < chances.session_down:
            self._begin(Entry(_SESSION, at_s=0))
        if chances.event_id_reset and self._random() < chances.event_id_reset:
            account = self.accounts[int(self._random() * len(self.accounts))]
            self._begin(Entry(_RECEIPTS, at_s=0, account=account.key))

    def _begin(self, entry: Entry) -> None:
        self.plan.begin(entry)
        self._begun(entry)

    # -- the schedule

    def _moved(self, now_us: int, *, report: bool = False) -> None:
        begun, ended = self.plan.move(now_us, report=report)
        for entry in ended:
            self._ended(entry)
        for entry in begun:
            self._begun(entry)

    def _begun(self, entry: Entry) -> None:
        if entry.kind == _RECEIPTS:
            self.plan.take(_RECEIPTS, entry.account)
            for account in self.accounts:
                if entry.account in {"", account.key}:
                    self._line.reset(account)
        elif entry.kind == _BUST:
            self.plan.take(_BUST, entry.account)
            self._busts.append(entry.account)
            self.bust_due()
        elif entry.kind in {_DISCONNECT, _SESSION}:
            if entry.kind == _SESSION:
                self.plan.take(_SESSION, entry.account)
            self.note(entry.kind, detail=f"for {entry.seconds} s" if entry.seconds else "")
            self._audience.link(entry.kind, begins=True)

    def _ended(self, entry: Entry) -> None:
        if entry.kind == _DISCONNECT:
            self.note("reconnect")
            self._audience.link(_DISCONNECT, begins=False)

    def bust_due(self) -> None:
        """Take back the latest fill of each account that a bust is due for; one without a fill waits for its first."""
        for key in tuple(self._busts):
            files = [file for file in self.house.files.values() if key in {"", file.account.key}]
            fills = [fill for file in files for fill in file.fills[-1:] if not fill.busted]
            if fills:
                self._busts.remove(key)
                latest = max(fills, key=lambda fill: fill.at_us)
                latest.busted = True
                self._line.bust(latest)
                self.house.bust(latest)

    # -- what the floor hears

    def heard(self, report: Report) -> None:
        """Take a report of the exchange: move the schedule on first, so that it meets this very report."""
        self._now_us = max(report.at_us, self._now_us)
        self._moved(self._now_us, report=True)
        if report.fill is None:
            self.house.order(report)
            self._line.order(report)
        else:
            self.house.deal(report)
            self._line.deal(report)
            self.bust_due()

    def busted(self, fill: Fill) -> None:
        """Take word of a match that the exchange takes back."""
        self._line.bust(fill)
        self.house.bust(fill)

    def written(self, intent: SimIntent, order: Order, *, late: bool) -> None:
        """Take what a strategy writes down."""
        self._line.intent(intent, order, late=late)

    def priced(self, instrument: Instrument, at_us: int) -> None:
        """Take a price."""
        self._audience.tick(instrument, at_us)

    def lost(self, event: SimEvent, account: str) -> None:
        """Write down a callback that was sent while nobody was there to take it."""
        payload = event.payload
        order_id = payload["order"]["id"] if "order" in payload else payload["trade_id"]
        self.truth.lost += 1
        self.truth.faults.append(
            SimFault("lost", event.at_us, payload["event_id"], order_id, payload.get("exchange_seq", ""), account, detail=event.state)
        )

    def note(self, kind: str, *, account: str = "", detail: str = "") -> None:
        """Write a fault down that is none of a single report."""
        self.truth.faults.append(SimFault(kind, self._now_us, account=account, detail=detail))


def account_of(event: SimEvent) -> str:
    """Return the account of a callback, as `S|9A95|1000001`."""
    payload = event.payload
    holder = payload["order"]["account"] if "order" in payload else payload
    return f"{event.state[0]}|{holder['broker_id']}|{holder['account_id']}"


class _Floor:
    """Where the exchange's words come in."""

    def __init__(self, play: Play) -> None:
        self._play = play

    def order(self, report: Report) -> None:
        self._play.heard(report)

    def deal(self, report: Report) -> None:
        self._play.heard(report)

    def bust(self, fill: Fill) -> None:
        self._play.busted(fill)

    def intent(self, intent: SimIntent, order: Order, *, late: bool) -> None:
        self._play.written(intent, order, late=late)

    def tick(self, instrument: Instrument, at_us: int) -> None:
        self._play.priced(instrument, at_us)
