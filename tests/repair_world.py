"""A ledger without Kafka and a broker that says one position: findings, proposals and corrections between them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from corrections import DAY_US, MICROS, STOCK
from execpos import settings
from execpos.domain import ids
from execpos.domain.book import Position
from execpos.domain.correction_rules import BLANK
from execpos.domain.events import Command, Correction, Discrepancy
from execpos.domain.opening import Traded
from execpos.domain.positions import EMPTY, average_price
from execpos.domain.reconciliation import repair
from execpos.domain.reconciliation.comparison import Comparison, Finding, NetRow, Verdict
from execpos.domain.reconciliation.discrepancies import At, observed
from execpos.domain.reconciliation.repair import Proposal
from scenarios import DAY_S, Plan, Record, deal
from state import Harness

RULES = settings.load(None).rules()
ODD = Plan(1, "S", "2890", "2890", "Cash", "IntradayOdd", 0, "alpha", "Buy")
MARGIN = Plan(2, "S", "2890", "2890", "MarginTrading", "IntradayOdd", 0, "alpha", "Buy")

# The broker read from 10 s to 12 s after the session's first moment.
BEGAN, ENDED = DAY_US + 10 * MICROS, DAY_US + 12 * MICROS
NOW = ENDED + MICROS
WITHIN = 1_800 * MICROS
TODAY = 20_594

READ = Comparison(True, "", empty=False, findings=(), read_began_ts=BEGAN, read_ended_ts=ENDED, marker_before="r/1/before",
                  marker_after="r/2/after", ledger_epoch=1, trading_date=TODAY)  # fmt: skip


def at(number: int = 1, by: str = "reconciler") -> At:
    return At(f"r{number}", NOW + number * MICROS, by)


def micros(price: float) -> int:
    return round(price * MICROS)


def filled(seq: int, quantity: int, price: float, at_s: float = 1.0, plan: Plan = ODD, **changes: Any) -> Record:
    """Return a fill of so many signed shares, so many seconds after the session began."""
    return deal(plan, seq, "Buy" if quantity > 0 else "Sell", abs(quantity), price, "", ts=DAY_S + at_s + seq / 1000, **changes)


def ledger(*records: Record) -> Harness:
    return Harness(RULES).run(records)


def net(harness: Harness, symbol: str = "2890", book: str = "cash") -> Position | None:
    return harness.rows().get((STOCK, symbol, book, ids.NET))


def net_row(position: Position | None) -> NetRow | None:
    """Return a row as a snapshot tells it."""
    if position is None:
        return None
    row = position.row
    return NetRow(
        row.quantity,
        row.open_cost,
        average_price(row, position.multiplier),
        position.multiplier,
        position.version,
        position.quality,
        position.security_type,
        position.currency,
    )


def finding(harness: Harness | None, quantity: int, average: float, verdict: Verdict = "QUANTITY", **changes: Any) -> Finding:
    """Return what a comparison finds when the broker holds so much at that average."""
    ours = net_row(net(harness)) if harness else None
    ours = ours or NetRow(0, 0, 0, 1, 0, "CONFIRMED", "STK", "TWD")
    found = Finding(
        symbol="2890",
        book="cash",
        verdict=verdict,
        ledger_quantity=ours.quantity,
        broker_quantity=quantity,
        ledger_average=ours.average,
        broker_average=micros(average),
        last_price=0,
        multiplier=ours.multiplier,
        security_type=ours.security_type,
        notional=abs(quantity - ours.quantity) * (micros(average) or ours.average) * ours.multiplier,
        net_version=ours.version,
        detail="",
    )
    return msgspec.structs.replace(found, **changes)


def difference(found: Finding, number: int = 1, **changes: Any) -> Discrepancy:
    """Return the discrepancy that opens for a finding."""
    (made,) = observed(None, STOCK, "QUANTITY", found, at(number), cause="NONE", evidence={}, trading_date=TODAY, resolve_within_us=WITHIN)
    return msgspec.structs.replace(made, **changes)


def proposed(harness: Harness, found: Finding, **changes: Any) -> Proposal:
    """Return what is proposed, by the cost method of the ledger's row."""
    row = net(harness)
    return repair.proposal(found, **({"method": row.method if row else "average", "net": net_row(row)} | changes))


def book(harness: Harness, found: Finding, **changes: Any) -> list[Correction]:
    """Correct the ledger as proposed, and return the corrections; each of them has to be applied."""
    made = repair.corrections(difference(found), proposed(harness, found, **changes), READ, NOW, by="reconciler")
    before = len(harness.committed.outcomes)
    harness.run([record(one) for one in made])
    assert [(one.outcome, one.reason) for one in harness.committed.outcomes[before:]] == [("APPLIED", "")] * len(made)
    return list(made)


def record(correction: Correction) -> Record:
    return ("correction", msgspec.structs.asdict(correction))


def held(harness: Harness, symbol: str = "2890", shelf: str = "cash") -> tuple[int, int, int]:
    """Return quantity, average (10⁻⁶) and realized profit of NET."""
    position = net(harness, symbol, shelf)
    row = position.row if position else EMPTY
    return row.quantity, average_price(row, position.multiplier) if position and row.quantity else 0, row.realized


def traded(*fills: tuple[int, float]) -> Sequence[Traded]:
    return [Traded(quantity, micros(price), TODAY) for quantity, price in fills]


def command(kind: str, by: str = "ann", /, *corrections: Correction, **changes: Any) -> Command:
    """Return an operator's command; it never runs out."""
    blank = Command("op-1", STOCK, kind, "", "", corrections, "", "seen on the statement", by, {}, 0, NOW)
    return msgspec.structs.replace(blank, **changes)


def wanted(kind: str = "", **fields: Any) -> Correction:
    """Return a correction as an operator names it."""
    return msgspec.structs.replace(BLANK, kind=kind, **fields)
