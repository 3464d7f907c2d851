"""Whether an account's position can be trusted now: what speaks against it, the facts for the limits, and the word about trading each beat.

Pure. An account recovers from the last moment at which something spoke against it until a round that began to read after it came to an end.
Ages count once the account was trusted: until then nothing may be ordered anyway, and `recovery_seconds` is the limit of that.
"""

import msgspec

from execpos.domain import control, ids
from execpos.domain.events import Market, TradingControl
from execpos.domain.reconciliation import allocation, discrepancies, halts, triggers
from execpos.domain.reconciliation.approvals import is_request
from execpos.domain.reconciliation.halts import Facts
from execpos.domain.reconciliation.state import Rules, State
from execpos.domain.reconciliation.turn import Turn
from execpos.domain.vocabulary import ControlState

# Names in the evidence of the account's record: what a restart has to know and no other record tells.
RECONCILED, PROFIT_DONE, LETTERS, GAPS = "memory reconciled", "memory profit_done", "memory dead_letters", "memory gaps"

# Beats that a fresh view takes: the first may be one that a dead process left.
_BEATS_MIN = 2

# The clock comes four times a second; a longer pause between two steps is one of this process.
_PAUSE_US = 2_000_000

# How many percent of a limit's silence already speak against the book: a halt comes at the limit, and recovery before it. Beats and
# progress come each second, so what is usual is up to 2 s.
_EARLY_PERCENT = 75


def market(account: str) -> Market:
    """Return the market of an account key."""
    return "S" if ids.split(account)[1] == "S" else "F"


def recovering(state: State) -> bool:
    """Tell whether a round has to come to an end before the account is trusted."""
    return state.clean_us <= state.unsettled_us


def causes(state: State, now_us: int, rules: Rules) -> tuple[str, ...]:
    """Return what speaks against the book now, the most telling first; without it a round can be trusted."""
    found = [_bridge(state, now_us, rules), _ledger(state, now_us, rules)]
    if state.bridge is not None and state.bridge.last.open_gaps:
        found.append(f"{state.bridge.last.open_gaps} gaps are not covered yet")
    return tuple(filter(None, found))


def _bridge(state: State, now_us: int, rules: Rules) -> str:
    bridge = state.bridge
    if bridge is None:
        return "no heartbeat of a bridge yet"
    if bridge.last.kind == "CLOSED":
        return "the bridge is closed"
    silent_us = now_us - bridge.heard_us
    if silent_us > min(rules.silence_us, _early(rules.halt.heartbeat_gap_us)):
        return f"the bridge is silent for {silent_us / 1e6:.1f} s"
    if bridge.last.kind != "BEAT" or (bridge.beats < _BEATS_MIN and bridge.last.ts < state.began_us):
        return "the bridge has just started"
    if bridge.last.session != "up":
        return f"the broker's session is {bridge.last.session}"
    return ""


def _ledger(state: State, now_us: int, rules: Rules) -> str:
    ledger = state.ledger
    if ledger is None:
        return "no progress of the ledger yet"
    silent_us = now_us - ledger.heard_us
    if silent_us > _early(rules.halt.progress_age_us):
        return f"the ledger is silent for {silent_us / 1e6:.1f} s"
    if ledger.records < _BEATS_MIN and ledger.heard_us < state.began_us:
        return "the ledger has just started"
    lag_us = triggers.lag_us(state.bridge, ledger)
    if lag_us > _early(rules.halt.ledger_lag_us):
        return f"the ledger is {lag_us / 1e6:.1f} s behind the bridge"
    return ""


def _early(limit_us: int) -> int:
    return limit_us * _EARLY_PERCENT // 100


def closed(turn: Turn) -> str:
    """Return why the broker must not be asked now: a window, a suspension; empty when it may be."""
    state, rules = turn.state, turn.rules
    window = rules.book.calendar.blackout(turn.now_us, market(state.account)) if rules.blackouts else ""
    if window:
        return f"the broker is not asked during {window}"
    bridge = state.bridge
    if bridge is not None and bridge.last.suspended_until_ts > turn.now_us:
        return f"the broker's login is suspended for {(bridge.last.suspended_until_ts - turn.now_us) / 1e6:.0f} s"
    return ""


def not_now(turn: Turn) -> str:
    """Return why no round can be made now; a gap that is not covered is no reason, because a round covers it."""
    return closed(turn) or _bridge(turn.state, turn.now_us, turn.rules) or _ledger(turn.state, turn.now_us, turn.rules)


def resume(turn: Turn) -> None:
    """After a pause of our own nobody else was silent: what they said is still to come, and readers have denied by our silence."""
    state = turn.state
    pause_us = turn.now_us - state.now_us
    if pause_us < _PAUSE_US:
        return
    turn.put(resumed_us=turn.now_us)
    if state.bridge is not None:
        turn.put(bridge=msgspec.structs.replace(state.bridge, heard_us=min(turn.now_us, state.bridge.heard_us + pause_us)))
    if state.ledger is not None:
        turn.put(ledger=msgspec.structs.replace(state.ledger, heard_us=min(turn.now_us, state.ledger.heard_us + pause_us)))


def observe(turn: Turn) -> None:
    """Note what speaks against the book at this moment, and how long the account has been recovering."""
    state, now_us = turn.state, turn.now_us
    if causes(state, now_us, turn.rules):
        turn.put(unsettled_us=now_us)
    if not recovering(turn.state):
        turn.put(recovering_us=0, now_us=now_us)
        return
    since_us = state.recovering_us or now_us
    # A bridge that was closed in order, and a broker that must not be asked, are no failing recovery: the clock stands.
    orderly = state.bridge is not None and state.bridge.last.kind == "CLOSED"
    if orderly or closed(turn):
        since_us += max(0, now_us - state.now_us)
    turn.put(recovering_us=min(since_us, now_us), now_us=now_us)


def standing(turn: Turn) -> tuple[ControlState, str]:
    """Return the account's state without its halts' details, and why."""
    state = turn.state
    last = state.controls.get(state.account)
    if last is not None and last.latched and not control.released(last, state.operators.get(state.account)):
        return control.HALTED, last.reason
    if recovering(state):
        found = causes(state, turn.now_us, turn.rules)
        return control.RECOVERING, found[0] if found else closed(turn) or "a round is to come"
    return control.ACTIVE, ""


def facts(turn: Turn) -> Facts:
    """Return what the limits look at."""
    state, now_us = turn.state, turn.now_us
    again = recovering(state)
    found = causes(state, now_us, turn.rules)
    trusted = state.clean_us > 0
    bridge, ledger, book = state.bridge, state.ledger, state.book
    heard = trusted and bridge is not None and bridge.last.kind != "CLOSED"
    today = state.comparison.trading_date if state.comparison else 0
    # What others said during a pause of our own is read after it, the oldest first: it tells of no silence longer than we listen again.
    attended_us = now_us - max(state.began_us, state.resumed_us)
    return Facts(
        account=state.account,
        now_us=now_us,
        state=control.RECOVERING if again else control.ACTIVE,
        why=(found[0] if found else closed(turn) or "a round is to come") if again else "",
        by=turn.rules.instance,
        recovering_us=now_us - state.recovering_us if again and state.recovering_us else 0,
        heartbeat_age_us=min(max(0, now_us - bridge.heard_us), attended_us) if bridge and heard else 0,
        ledger_lag_us=min(triggers.lag_us(bridge, ledger), attended_us) if trusted else 0,
        progress_age_us=min(max(0, now_us - ledger.heard_us), attended_us) if ledger and trusted else 0,
        differences=tuple(state.discrepancies.values()),
        auto_corrected=state.spent.notional if state.spent.trading_date == today else 0,
        failed_reads=state.failed_reads,
        positions=book.held if book else 0,
        estimated=book.estimated if book else 0,
        dead_letters=len(state.letters),
        journal_backlog=bridge.last.backlog_records if bridge else 0,
        journal_error=bridge.last.journal_error if bridge else "",
        reduce_only=allocation.symbols(state.adjusted),
        marked=_marked(state),
    )


def _marked(state: State) -> dict[str, str]:
    if state.book is None:
        return {}
    marks = triggers.marks(state.book)
    return {key[0]: f"{key[0]} ({key[1]}) is {quality}" for key, quality in sorted(marks.items()) if quality != "CONFLICT"}


def speak(turn: Turn) -> None:
    """Say what holds: each beat, and at once when it is another state than was said last."""
    state = turn.state
    last = state.controls.get(state.account)
    due = turn.now_us - state.spoken_us >= turn.rules.beat_us
    if not due and last is not None and last.state == standing(turn)[0] and not _halting(turn):
        return
    said = halts.next_controls(facts(turn), turn.rules.halt, state.controls, state.operators)
    turn.say(*(_remembering(state, one) for one in said))
    turn.put(spoken_us=turn.now_us)
    _expire(turn)


def _halting(turn: Turn) -> bool:
    """Tell whether a discrepancy that changed in this step crosses a limit: its halt does not wait for the next beat."""
    return turn.changed and bool(halts.crossed(facts(turn), turn.rules.halt))


def _remembering(state: State, record: TradingControl) -> TradingControl:
    """Return a record with what a restart has to know."""
    if record.scope != state.account:
        adjusted = allocation.written(state.adjusted, control.symbol_of(record.scope, state.account)) if state.adjusted else {}
        return msgspec.structs.replace(record, evidence=record.evidence | adjusted) if adjusted else record
    memory = {LETTERS: str(len(state.letters))} if state.letters else {}
    if state.reconciled or state.clean_us:
        memory[RECONCILED] = "yes"
    if state.profits.done:
        memory[PROFIT_DONE] = str(state.profits.done)
    if state.gaps:
        memory[GAPS] = f"{min(gap.from_ts for gap in state.gaps)} {max(gap.to_ts for gap in state.gaps)}"
    return msgspec.structs.replace(record, evidence=record.evidence | memory)


def _expire(turn: Turn) -> None:
    """Note which halt a discrepancy has caused, and that its time is over."""
    for one in tuple(turn.state.discrepancies.values()):
        if is_request(one):
            continue
        halt = halts.halted_by(one, turn.state.controls)
        if discrepancies.due(one, turn.now_us):
            turn.keep(discrepancies.expired(one, turn.at(), halt))
        elif halt and one.control_id != halt:
            turn.keep(discrepancies.halting(one, halt))
