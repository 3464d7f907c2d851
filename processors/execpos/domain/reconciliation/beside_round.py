"""What a round compares beside positions: open orders, the realized profit of a day that closed and its charges, marked keys. Pure.

Nothing here corrects a position. Charges that the broker names are booked, because they are its own figures.
"""

from datetime import date, timedelta

from execpos.domain import ids
from execpos.domain.reconciliation import billing, discrepancies, judging, triggers
from execpos.domain.reconciliation.beside import beside_quantity, charges_found, compare_orders, compare_profit
from execpos.domain.reconciliation.comparison import Comparison
from execpos.domain.reconciliation.evidence import evidence_of
from execpos.domain.reconciliation.rounds import last, newest
from execpos.domain.reconciliation.sides import Key
from execpos.domain.reconciliation.state import Profits
from execpos.domain.reconciliation.turn import Turn
from execpos.domain.vocabulary import DiscrepancyKind

_EPOCH = date(1970, 1, 1)


def look(turn: Turn, comparison: Comparison) -> None:
    """Compare what the round has read beside positions."""
    _orders(turn, comparison)
    _profit(turn, comparison)
    _marks(turn, comparison)


def _orders(turn: Turn, comparison: Comparison) -> None:
    answer = last(turn.current, "ORDERS")
    if answer is None:
        return
    books = turn.current.books
    at = [books[marker] for marker in (answer.marker_before, answer.marker_after) if marker in books]
    if not at:
        return
    session = ids.session_id(answer.ended_ts)
    found = {one.key: one for one in compare_orders(turn.state.account, answer.orders, at, turn.rules.compare, session)}
    seen: dict[Key, tuple[str, int]] = {}
    for key, finding in found.items():
        before = turn.state.orders_seen.get(key)
        seen[key] = before if before is not None and before[0] == finding.detail else (finding.detail, answer.ended_ts)
        # An order on its way differs for a moment.
        if before is not None and before[0] == finding.detail and answer.began_ts - before[1] >= turn.rules.settle_us:
            judging.observe(turn, "ORDER", finding, evidence_of(finding, comparison))
    turn.put(orders_seen=seen)
    _over(turn, "ORDER", set(found), "the orders agree")


def _profit(turn: Turn, comparison: Comparison) -> None:
    day, book = turn.current.profit_day, turn.state.book
    if not day or book is None:
        return
    if newest(turn.current, "PROFIT_LOSS") is None or (answer := last(turn.current, "PROFIT_LOSS")) is None:
        later_us = turn.now_us + turn.rules.profit_interval_us
        turn.put(profits=Profits(turn.state.profits.due, later_us, turn.state.profits.done))
        return
    found = compare_profit(turn.state.account, answer.profits, book, turn.rules.compare, day)
    for finding in found:
        judging.observe(turn, "PROFIT", finding, evidence_of(finding, comparison) | {"day": str(_EPOCH + timedelta(days=day))})
    _over(turn, "PROFIT", {one.key for one in found}, "the profit of the newest day agrees")
    for charges in charges_found(turn.state.account, answer.profits, turn.rules.compare):
        key = (charges.symbol, charges.book)
        fills = tuple(fill for fill in turn.state.fills.get(key, ()) if str(_EPOCH + timedelta(days=fill.trading_date)) == charges.day)
        held = book.rows[key].quantity if key in book.rows else 0
        # The ledger answers what it has booked already with nothing, so no outcome is waited for.
        turn.bill(billing.fees(charges, fills, held, turn.now_us, by="reconciler"))
    turn.put(profits=Profits(done=day))


def _marks(turn: Turn, comparison: Comparison) -> None:
    book = turn.state.book
    if book is None:
        return
    marks = triggers.marks(book)
    for key, quality in marks.items():
        if not turn.of_key(key, "MARKED"):
            finding = beside_quantity(key, book, "EQUAL", f"the row is {quality}")
            judging.observe(turn, "MARKED", finding, evidence_of(finding, comparison))
        for one in turn.of_key(key, "MARKED"):
            proposal = judging.propose(turn, one)
            if proposal is not None and one.proposed_kind != proposal.kind:
                turn.keep(discrepancies.proposed(one, proposal))
    _over(turn, "MARKED", set(marks), "the mark is gone")


def _over(turn: Turn, kind: DiscrepancyKind, still: set[Key], why: str) -> None:
    for one in tuple(turn.state.discrepancies.values()):
        if one.kind == kind and (one.symbol, one.book) not in still:
            turn.keep(discrepancies.explained(one, turn.at(), why))
