"""A broker, its callbacks, the bridge's markers, the real ledger and the reconciler in one thread, each step of which a test may choose.

Pure and deterministic. The broker's truth is kept apart from everything that execpos knows: its position list may be ahead of the callbacks
or behind them, callbacks may be lost, and its answers may be lies. `hook` is called before each single action, with its number.
"""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import msgspec

from execpos import settings
from execpos.domain import ids, snapshot
from execpos.domain.book import Source, state_of
from execpos.domain.events import (
    AccountProgress,
    BridgeHeartbeat,
    BridgeProgress,
    BrokerOrderRow,
    BrokerPositionRow,
    BrokerProfitRow,
    BrokerRequest,
    BrokerSnapshot,
    Correction,
    CorrectionOutcome,
    Discrepancy,
    PositionSnapshot,
    Progress,
    RawExecEvent,
    ReconciliationRound,
    TradingControl,
)
from execpos.domain.reconciliation.comparison import BrokerRead, Comparison, book_of, compare, read_of
from execpos.domain.reconciliation.sides import Book
from execpos.domain.reconciliation.state import Rules
from execpos.reconciler.rules import rules as rules_of
from state import TOPICS, Harness

MICROS = 1_000_000
SECOND_US = 1_000_000
ENV = "simulation"
STOCK = ids.account_key(ENV, "S", "9A95", "1234567")
FUTURES = ids.account_key(ENV, "F", "F002000", "7654321")
# Thursday 2026-05-21, 10:41:28 in Taipei: the day session of both markets.
MORNING_US = 1_779_331_288_000_000
SESSION = "2026-05-21D"
# What passes between two actions.
STEP_US = 7_000

_SETTINGS = settings.load(None, {})
RULES = rules_of(_SETTINGS, "one")


class Trade(NamedTuple):
    """A fill that has happened: signed shares or contracts, price per unit, time of the exchange."""

    number: int
    symbol: str
    cond: str
    quantity: int
    price: float
    exchange_us: int


def held(trades: Iterable[Trade]) -> dict[tuple[str, str], tuple[int, Fraction]]:
    """Return quantity and average cost by symbol and cond, at average cost: the broker's own arithmetic, for cash stocks."""
    found: dict[tuple[str, str], tuple[int, Fraction]] = {}
    for trade in trades:
        quantity, average = found.get((trade.symbol, trade.cond), (0, Fraction(0)))
        after = quantity + trade.quantity
        if quantity * trade.quantity >= 0:
            average = (average * abs(quantity) + Fraction(trade.price) * abs(trade.quantity)) / abs(after)
        elif quantity * after < 0:
            average = Fraction(trade.price)
        found[trade.symbol, trade.cond] = (after, average)
    return found


def row(
    symbol: str, quantity: int, price: float = 100.0, *, cond: str = "Cash", last: float = 100.0, pnl: float = 0.0
) -> BrokerPositionRow:
    """Return a row of the broker's list."""
    return BrokerPositionRow(symbol, cond, quantity, round(price * MICROS), False, 0, round(last * MICROS), round(pnl * MICROS))


def _nothing(number: int) -> None:
    del number


class World:
    """One account.

    Args:
        account: STOCK or FUTURES.
        hook: called with the number of the action that comes next: one of the bridge, or of the ledger on a correction.
        mind: `execpos.domain.reconciliation.reconcile` for whole runs; None to compare alone.
    """

    def __init__(self, account: str = STOCK, hook: Callable[[int], None] = _nothing, mind: Any = None, rules: Rules = RULES) -> None:
        self.account = account
        self.hook = hook
        self.now_us = MORNING_US
        self.rules = rules
        # The broker: everything that happened, what its list has, what its records have.
        self.trades: list[Trade] = []
        self.listed: list[Trade] = []
        self.recorded: list[Trade] = []
        self.lie: Callable[[list[BrokerPositionRow]], list[BrokerPositionRow]] = list
        self.outcome = "OK"
        self.orders: list[BrokerOrderRow] | None = None
        self.profits: list[BrokerProfitRow] = []
        # The bridge and the ledger.
        self.harness = Harness(rules.book, env=ENV)
        self.seq = 0
        self.gaps = 0
        self.incarnation = 1
        self.caught_up_us = 0
        self._called: set[int] = set()
        self._seen = {"fills": 0, "outcomes": 0}
        self.actions = 0
        self._requests: list[BrokerRequest] = []
        self._waiting: list[Correction] = []
        # What was written.
        self.asked: list[BrokerRequest] = []
        self.answers: list[BrokerSnapshot] = []
        self.corrections: list[Correction] = []
        self.outcomes: list[CorrectionOutcome] = []
        self.discrepancies: dict[str, Discrepancy] = {}
        self.controls: dict[str, TradingControl] = {}
        self.rounds: list[ReconciliationRound] = []
        self.mind = mind
        self.state: Any = None

    # --- the broker --------------------------------------------------------------------------------------------------------------------

    def trade(self, quantity: int, price: float = 100.0, symbol: str = "2330", cond: str = "Cash") -> Trade:
        """Let a fill happen now; neither list, records nor callbacks have it yet."""
        cond = cond if self.account == STOCK else ""
        made = Trade(len(self.trades) + 1, symbol, cond, quantity, price, self.now_us)
        self.trades.append(made)
        return made

    def enlist(self, trade: Trade) -> None:
        """Let the position list have it from now on."""
        self.listed.append(trade)

    def record(self, trade: Trade) -> None:
        """Let the records have it from now on, so that a catch-up brings it."""
        if trade not in self.recorded:
            self.recorded.append(trade)

    def call(self, trade: Trade) -> None:
        """Let its callback come now."""
        self.record(trade)
        self._called.add(trade.number)
        self._deal(trade, "")

    def done(self, quantity: int, price: float = 100.0, symbol: str = "2330", cond: str = "Cash") -> Trade:
        """Let a fill happen that everybody knows at once."""
        made = self.trade(quantity, price, symbol, cond)
        self.enlist(made)
        self.call(made)
        return made

    def lost(self, quantity: int, price: float = 100.0, symbol: str = "2330", *, recorded: bool = False) -> Trade:
        """Let a fill happen whose callback never comes; a catch-up brings it only if it is recorded."""
        made = self.trade(quantity, price, symbol)
        self.enlist(made)
        if recorded:
            self.record(made)
        return made

    def truth(self, symbol: str = "2330") -> int:
        """Return what is held in truth."""
        return sum(trade.quantity for trade in self.trades if trade.symbol == symbol)

    def _rows(self) -> list[BrokerPositionRow]:
        return [
            row(symbol, quantity, float(average), cond=cond, last=float(average))
            for (symbol, cond), (quantity, average) in sorted(held(self.listed).items())
            if quantity
        ]

    def _order_rows(self) -> list[BrokerOrderRow]:
        if self.orders is not None:
            return self.orders
        return [self.order_row(trade) for trade in self.recorded]

    def order_row(self, trade: Trade, **changes: Any) -> BrokerOrderRow:
        """Return the row of the order of a fill: each has its own, filled as a whole."""
        action, units = "Buy" if trade.quantity > 0 else "Sell", abs(trade.quantity)
        made = BrokerOrderRow(
            order_id=f"o{trade.number}", seqno=f"{trade.number}", ordno=f"X{trade.number}", symbol=trade.symbol, action=action,
            status="Filled", order_cond=trade.cond, order_lot="IntradayOdd", price=round(trade.price * MICROS), quantity=units,
            filled=units, cancelled=0, deals=1,
        )  # fmt: skip
        return msgspec.structs.replace(made, **changes)

    # --- the bridge --------------------------------------------------------------------------------------------------------------------

    def _deal(self, trade: Trade, catch_up: str) -> None:
        market, broker_id, number = ids.split(self.account)[1:]
        payload = {
            "event_id": "", "trade_id": f"o{trade.number}", "seqno": f"{trade.number}", "ordno": f"X{trade.number}",
            "exchange_seq": f"{trade.number}", "broker_id": broker_id, "account_id": number,
            "action": "Buy" if trade.quantity > 0 else "Sell", "price": trade.price,
            "quantity": abs(trade.quantity), "custom_field": "", "ts": trade.exchange_us / 1e6,
        }  # fmt: skip
        if market == "S":
            payload |= {"code": trade.symbol, "order_cond": trade.cond, "order_lot": "IntradayOdd"}
        else:
            payload |= {"code": trade.symbol[:3], "full_code": trade.symbol, "combo": False, "market_type": "Day", "security_type": "FUT"}
            payload |= {"delivery_month": "202606", "strike_price": 0.0, "option_right": "Future"}
        self._stream(f"{catch_up}{'SDEAL' if market == 'S' else 'FDEAL'}", msgspec.json.encode(payload), "")

    def _stream(self, kind: str, payload: bytes, marker_id: str) -> None:
        """Put a record into the stream; the ledger handles it at once."""
        self.seq += 1
        event = RawExecEvent(
            env=ENV, account=self.account, kind=kind, payload=payload, broker_event_id="", bridge_id="b", bridge_epoch=1,
            bridge_seq=self.seq, ingest_ts=self.now_us, ingest_monotonic_ns=0, marker_id=marker_id, sdk_version="",
        )  # fmt: skip
        outcome = self.harness.pipeline.apply_raw(event, self._source(0))
        assert outcome.disposition in {"fill", "duplicate", "control"}, outcome
        self.harness.commit()
        if marker_id:
            self._tell(self._snapshot(marker_id))
        self._tell_new()

    def _source(self, which: int) -> Source:
        offset = self.harness.offsets[which]
        self.harness.offsets[which] += 1
        return Source(TOPICS[which][0], 0, offset, which, self.now_us, "b", 1, self.seq, 1, self.now_us)

    def _act(self) -> None:
        """Count an action, and let the test do what it likes before it."""
        self.now_us += STEP_US
        number, self.actions = self.actions, self.actions + 1
        self.hook(number)

    def answer(self, request: BrokerRequest) -> None:
        """Do what the bridge does with a request, action by action: marker, read, marker, answer."""
        for what in request.what:
            for read in range(1, request.reads + 1):
                before, after = (f"{request.request_id}/{what}/{read}/{side}" for side in ("before", "after"))
                self._act()
                self._stream("MARKER", b"{}", before)
                began_us = self.now_us
                self._act()
                found, records = self._read(what)
                span = (began_us, self.now_us)
                self._act()
                self._stream("MARKER", b"{}", after)
                self._act()
                self._tell(self._answered(request, what, read, (before, after), span, found, records))

    def _read(self, what: str) -> tuple[dict[str, tuple[Any, ...]], int]:
        if self.outcome != "OK" and what != "CATCHUP":
            return {}, 0
        if what == "POSITIONS":
            return {"positions": tuple(self.lie(self._rows()))}, 0
        if what == "ORDERS":
            return {"orders": tuple(self._order_rows())}, 0
        if what == "PROFIT_LOSS":
            return {"profits": tuple(self.profits)}, 0
        for trade in list(self.recorded):
            self._deal(trade, "CATCHUP_")
        self.caught_up_us = self.now_us
        return {}, len(self.recorded)

    def _answered(
        self, request: BrokerRequest, what: str, read: int, markers: tuple[str, str], span: tuple[int, int], found: Any, records: int
    ) -> BrokerSnapshot:
        outcome = self.outcome if what != "CATCHUP" else "OK"
        made = BrokerSnapshot(
            request_id=request.request_id, account=self.account, what=what, read=read, reads=request.reads, part=1, parts=1,
            outcome=outcome, detail="", marker_before=markers[0], marker_after=markers[1], began_ts=span[0], ended_ts=span[1],
            records=records, positions=(), lots=(), orders=(), profits=(), bridge_id="b", bridge_epoch=1, sdk_version="", ts=self.now_us,
        )  # fmt: skip
        self.answers.append(msgspec.structs.replace(made, **found))
        return self.answers[-1]

    def heartbeat(self) -> BridgeHeartbeat:
        """Return what the bridge says of itself now."""
        return BridgeHeartbeat(
            account=self.account, bridge_id="b", bridge_epoch=1, incarnation=self.incarnation, claim_id="c", kind="BEAT", session="up",
            callbacks=len(self._called), last_callback_ts=self.now_us, captured=self.seq, journaled_seq=self.seq, published_seq=self.seq,
            backlog_records=0, backlog_bytes=0, journal_error="", publish_error="", cache_health="Healthy", cache_reasons=(),
            gaps=self.gaps, open_gaps=0, last_catchup_ts=self.caught_up_us, remaining_accounting=20, remaining_orders=200,
            remaining_logins=900, suspended_until_ts=0, sdk_version="", ts=self.now_us,
        )  # fmt: skip

    # --- the ledger --------------------------------------------------------------------------------------------------------------------

    def _snapshot(self, marker_id: str) -> PositionSnapshot:
        account = self.harness.pipeline.account(self.account)
        rows = tuple(state_of(position, TOPICS, 1) for position in account.book if position.version)
        orders = tuple(snapshot.open_orders(account))
        return PositionSnapshot(
            snapshot_id=marker_id, account=self.account, reason="MARKER", marker_id=marker_id, request_id="", session_id="",
            trading_date=self.trading_date, as_of_ts=self.now_us, part=1, parts=1, rows=len(rows), digest=snapshot.digest(rows, orders),
            positions=rows, orders=orders, valuations=(), inputs=(), ledger_epoch=1, source_topic=TOPICS[0][0], source_partition=0,
            source_offset=self.harness.offsets[0] - 1, ts=self.now_us,
        )  # fmt: skip

    @property
    def trading_date(self) -> int:
        """The trading date now."""
        return self.rules.book.calendar.trading_date(self.now_us, "S" if self.account == STOCK else "F")

    def progress(self) -> Progress:
        """Return how far the ledger is."""
        bridges = (BridgeProgress(self.account, "b", 1, self.seq, self.now_us),)
        return Progress(0, (), bridges, (AccountProgress(self.account, "", ()),), 1, "one", self.now_us)

    def net(self, symbol: str = "2330", book: str = "cash") -> int:
        """Return what the ledger holds."""
        account = self.harness.pipeline.account(self.account)
        rows: list[int] = [one.row.quantity for one in account.book if (one.symbol, one.book, one.strategy_id) == (symbol, book, ids.NET)]
        return rows[0] if rows else 0

    def _correct(self) -> None:
        while self._waiting:
            self._act()
            correction = self._waiting.pop(0)
            self.harness.pipeline.apply_correction(correction, self._source(2))
            self.harness.commit()
            self._tell_new()

    # --- the reconciler ----------------------------------------------------------------------------------------------------------------

    def start(self, *, discrepancies: Sequence[Discrepancy] = (), controls: Sequence[TradingControl] = ()) -> None:
        """Start the reconciler."""
        fills = [fill for fill in self.harness.committed.fills if fill.account == self.account]
        self.state = self.mind.begin(self.account, self.rules, self.now_us, discrepancies, controls, fills)

    def _tell_new(self) -> None:
        """Tell what the ledger has committed since."""
        for name in self._seen:
            made = getattr(self.harness.committed, name)
            new, self._seen[name] = made[self._seen[name] :], len(made)
            for record in new:
                self._tell(record)
                if name == "outcomes":
                    self.outcomes.append(record)

    def _tell(self, record: Any) -> None:
        """Give a record to the reconciler, and write down what it wants."""
        if self.state is None:
            return
        output = self.mind.step(self.state, record, self.now_us, self.rules)
        self.state = output.state
        self.asked.extend(output.requests)
        self._requests.extend(output.requests)
        self.corrections.extend(output.corrections)
        self._waiting.extend(output.corrections)
        self.discrepancies.update({one.discrepancy_id: one for one in output.discrepancies})
        self.controls.update({one.scope: one for one in output.controls})
        self.rounds.extend(output.rounds)

    def run(self, seconds: float, *, beat_s: float = 1.0) -> None:
        """Let time pass: heartbeats, progress, the reconciler's clock, and the work that comes of it."""
        end_us = self.now_us + round(seconds * SECOND_US)
        while self.now_us < end_us:
            due_us = self.now_us + round(beat_s * SECOND_US)
            self._tell(self.heartbeat())
            self._tell(self.progress())
            self._tell(None)
            self._work()
            self.now_us = max(self.now_us, due_us)
            self._tell(None)
            self._work()

    def _work(self) -> None:
        while self._requests or self._waiting:
            self._correct()
            if self._requests:
                self.answer(self._requests.pop(0))

    # --- comparing alone -----------------------------------------------------------------------------------------------------------------

    def look(self, number: int = 1, *, gap: bool = False) -> Comparison:
        """Read positions twice between markers, and compare, without a reconciler."""
        books: dict[str, Book] = {}
        tell, self._tell = self._tell, lambda record: _keep(books, record)  # type: ignore[method-assign]  # put back below
        request = BrokerRequest(
            f"look-{number}", self.account, ("POSITIONS",), 2, 0, 0, "test", "", self.now_us + 60 * SECOND_US, self.now_us
        )
        try:
            self.answer(request)
        finally:
            self._tell = tell  # type: ignore[method-assign]  # as it was
        reads: list[BrokerRead] = [read_of(answer) for answer in self.answers if answer.request_id == request.request_id]
        return compare(self.account, reads, books, self.rules.compare, gap=gap)


def _keep(books: dict[str, Book], record: Any) -> None:
    if isinstance(record, PositionSnapshot):
        book = book_of(record)
        books[book.marker_id] = book
