"""One account's reconciliation: `begin` makes its state, `step` takes one record and says what is to be written. Pure and deterministic.

`step` never raises for what stands in a record: what is not of this account, comes twice, or answers nothing that was asked, changes
nothing. It is called for each record and, with None, at least every quarter of a second, because time-outs and beats are decided here too.
A state is frozen: after an aborted transaction the old one and the same records do the same again.
"""

from collections.abc import Iterable

from execpos.domain import control, ids
from execpos.domain.control import OPERATOR
from execpos.domain.events import (
    BridgeHeartbeat,
    BrokerSnapshot,
    Command,
    CorrectionOutcome,
    DeadLetter,
    Discrepancy,
    FillEvent,
    PositionSnapshot,
    Progress,
    TradingControl,
)
from execpos.domain.reconciliation import allocation, course, decided, seen, triggers, watch
from execpos.domain.reconciliation.approvals import is_request
from execpos.domain.reconciliation.discrepancies import terminal
from execpos.domain.reconciliation.halts import SOURCE
from execpos.domain.reconciliation.pace import UNPACED, Pace
from execpos.domain.reconciliation.repair import AUTOMATIC, Gap, Spent, spend
from execpos.domain.reconciliation.rounds import answered, marked, round_id
from execpos.domain.reconciliation.sides import Key, book_of
from execpos.domain.reconciliation.state import Letter, Output, Profits, Rules, Sent, State
from execpos.domain.reconciliation.turn import Turn

__all__ = ["Output", "Pace", "Record", "Rules", "State", "begin", "hear", "round_id", "step"]

Record = (
    BridgeHeartbeat | BrokerSnapshot | PositionSnapshot | CorrectionOutcome | FillEvent | Command | Progress | DeadLetter | TradingControl
)
"""What a step takes; snapshots whole, their parts put together."""

# Dead letters that are kept one by one; a halt comes long before.
_LETTERS_MAX = 10_000


def begin(
    account: str,
    rules: Rules,
    now_us: int,
    discrepancies: Iterable[Discrepancy],
    controls: Iterable[TradingControl],
    fills: Iterable[FillEvent] = (),
) -> State:
    """Return the state of an account at the start of this process.

    Args:
        account: account key.
        rules: the settings.
        now_us: the moment.
        discrepancies: the newest record of each of the account's, those that are over too.
        controls: the newest records of the reconciler and the operator for the account and its symbols.
        fills: newest revisions of the account's fills of before, oldest first: of the last `rules.lag_us` at least.
    """
    known = [one for one in discrepancies if one.account == account]
    said = [one for one in controls if control.covers(one.scope, account)]
    own = {one.scope: one for one in said if one.source == SOURCE}
    memory = own[account].evidence if account in own else {}
    adjusted = {
        key: one
        for scope, record in own.items()
        if scope != account
        for key, one in allocation.remembered(record.evidence, control.symbol_of(scope, account)).items()
    }
    state = State(
        account=account,
        began_us=now_us,
        now_us=now_us,
        triggers=("START",),
        unsettled_us=now_us,
        recovering_us=now_us,
        asked_us=now_us,
        full_us=now_us,
        reconciled=watch.RECONCILED in memory or any(map(terminal, known)),
        discrepancies={one.discrepancy_id: one for one in known if not terminal(one)},
        sent=_under_way(known, now_us + rules.outcome_us),
        dispatched=_dispatched(known),
        opened=_opened(known),
        spent=_spent(known),
        letters=tuple(Letter("", ("", ""), now_us) for _ in range(_number(memory.get(watch.LETTERS, "")))),
        adjusted=adjusted,
        controls=own,
        operators={one.scope: one for one in said if one.source == OPERATOR},
        profits=Profits(done=_number(memory.get(watch.PROFIT_DONE, ""))),
        gaps=_gaps(memory.get(watch.GAPS, "")),
    )
    for fill in fills:
        state = seen.learn(state, fill)
    return state


def _number(text: str) -> int:
    return min(int(text), _LETTERS_MAX * 10) if text.isascii() and text.isdigit() else 0


def _gaps(text: str) -> tuple[Gap, ...]:
    """Return as one what an earlier process knew of gaps that no round had covered."""
    times = text.split()
    if len(times) != len(("from", "to")) or not all(one.isascii() and one.isdigit() for one in times):
        return ()
    return (Gap(int(times[0]), int(times[1]), "gaps of before this start"),)


def _under_way(known: list[Discrepancy], until_us: int) -> dict[str, Sent]:
    """Return the corrections whose outcomes had not been read."""
    return {
        name: Sent(
            *(one.discrepancy_id, one.proposed_kind, (one.symbol, one.book), -1, one.trading_date, until_us),
            adjusted=allocation.read(one.evidence.get(allocation.EVIDENCE, "")) if one.proposed_kind == "ADJUST" else None,
        )
        for one in known
        if one.status == "APPROVED"
        for name in one.correction_ids[-1:]
    }


def _dispatched(known: list[Discrepancy]) -> tuple[str, ...]:
    """Return the ids that have gone out; the last one of those under way may be a second part that still has to."""
    return tuple(
        name for one in known if not terminal(one) for name in (one.correction_ids[:-1] if one.status == "APPROVED" else one.correction_ids)
    )


def _opened(known: list[Discrepancy]) -> frozenset[Key]:
    """Return the keys that have an opening, or that the ledger would take none for, as far as their discrepancies tell."""
    return frozenset(
        (one.symbol, one.book)
        for one in known
        if (one.status == "CORRECTED" and one.proposed_kind == "OPENING")
        or any(step.reason.startswith(decided.NOT_OPENING) for step in one.history)
    )


def _spent(known: list[Discrepancy]) -> Spent:
    """Return what the discrepancies say of corrections that nobody had approved."""
    spent = Spent()
    for one in sorted(known, key=_trading_date):
        automatic = one.correction_ids and not one.approvals and one.proposed_kind in AUTOMATIC and not is_request(one)
        if automatic and one.status in {"APPROVED", "CORRECTED"}:
            spent = spend(spent, (one.symbol, one.book), one.notional, one.trading_date)
    return spent


def _trading_date(one: Discrepancy) -> tuple[int, str]:
    return one.trading_date, one.discrepancy_id


def step(state: State, record: Record | None, now_us: int, rules: Rules, pace: Pace = UNPACED) -> Output:
    """Return what follows from a record at this moment, or with None from the moment alone.

    Args:
        state: before.
        record: the next record; None for the clock.
        now_us: µs UTC; a moment before that of the last step counts as that one.
        rules: the settings.
        pace: what may be asked of the login now; every step of its accounts gets the newest one.
    """
    turn = Turn(state, max(now_us, state.now_us), rules, pace)
    watch.resume(turn)
    if isinstance(record, FillEvent):
        if record.account != state.account or not _fill(turn, record):
            return turn.output()
    elif record is not None:
        _take(turn, record)
    decided.give_up(turn)
    watch.observe(turn)
    course.drive(turn)
    watch.observe(turn)
    watch.speak(turn)
    return turn.output()


def hear(state: State, beat: BridgeHeartbeat, now_us: int, rules: Rules) -> State:
    """Return the state after a heartbeat that newer ones of its account follow at once, as in a backlog.

    What it says of gaps and starts is known from then on, as after `step`. Nothing follows from it yet: it says nothing of now.
    """
    turn = Turn(state, max(now_us, state.now_us), rules, UNPACED)
    if beat.account == state.account:
        _heartbeat(turn, beat)
    return turn.state


def _take(turn: Turn, record: Record) -> None:
    account = turn.state.account
    if isinstance(record, Progress):
        _progress(turn, record)
    elif isinstance(record, TradingControl):
        if record.source == OPERATOR and control.covers(record.scope, account):
            turn.put(operators={**turn.state.operators, record.scope: record})
    elif record.account == account:
        _take_own(turn, record)


def _take_own(turn: Turn, record: Record) -> None:
    if isinstance(record, BridgeHeartbeat):
        _heartbeat(turn, record)
    elif isinstance(record, BrokerSnapshot):
        if turn.state.current is not None:
            turn.put(current=answered(turn.state.current, record))
    elif isinstance(record, PositionSnapshot):
        _snapshot(turn, record)
    elif isinstance(record, CorrectionOutcome):
        decided.outcome(turn, record)
    elif isinstance(record, Command):
        decided.command(turn, record)
    elif isinstance(record, DeadLetter):
        _letter(turn, record)


def _heartbeat(turn: Turn, record: BridgeHeartbeat) -> None:
    heard = triggers.heard(turn.state.bridge, record, turn.now_us, turn.rules.silence_us)
    turn.put(bridge=heard.bridge)
    turn.missed(*heard.gaps)
    turn.want(*heard.triggers)


def _progress(turn: Turn, record: Progress) -> None:
    ledger, rebuilt = triggers.progressed(turn.state.ledger, record, turn.state.account, turn.now_us)
    turn.put(ledger=ledger)
    if rebuilt:
        turn.put(unsettled_us=turn.now_us)
        turn.want("EPOCH")


def _snapshot(turn: Turn, record: PositionSnapshot) -> None:
    state, book = turn.state, book_of(record)
    if state.current is not None and record.marker_id:
        turn.put(current=marked(state.current, book))
    older = state.book is not None and (book.ledger_epoch, book.offset) < (state.book.ledger_epoch, state.book.offset)
    if book.offset >= 0 and not older:
        before = triggers.marks(state.book) if state.book else None
        turn.put(book=book, adjusted=allocation.waiting(state.adjusted, book))
        if triggers.newly_marked(before, triggers.marks(book)):
            turn.refresh()
            turn.want("MARKED")
    if record.reason == "SESSION_CLOSE" and record.session_id.endswith("D") and record.trading_date > state.profits.done:
        turn.put(profits=Profits(record.trading_date, turn.now_us, state.profits.done))
        turn.want("SESSION_CLOSE")


def _letter(turn: Turn, record: DeadLetter) -> None:
    source = f"{record.source_topic}-{record.source_partition}@{record.source_offset}"
    letters = turn.state.letters
    if any(one.source == source for one in letters) or len(letters) >= _LETTERS_MAX:
        return
    parts = ids.split(record.position_key) if record.position_key else ()
    key = (parts[4], parts[5]) if len(parts) == len(("env", "market", "broker", "account", "symbol", "book", "strategy")) else ("", "")
    turn.put(letters=(*letters, Letter(source, key, record.ts)))
    turn.refresh()
    turn.want("MARKED")


def _fill(turn: Turn, record: FillEvent) -> bool:
    """Learn a fill; say whether a round follows from it."""
    turn.state = seen.learn(turn.state, record)
    if not record.order_overfilled or record.revision > 1:
        return False
    turn.refresh()
    turn.want("OVERFILL")
    return True
