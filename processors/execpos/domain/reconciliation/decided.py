"""What operators decide and what the ledger answers, taken into the state of an account. Pure; nothing here raises for a strange record."""

import msgspec

from execpos.domain.events import Command, Correction, CorrectionOutcome, Discrepancy
from execpos.domain.reconciliation import allocation, approvals, course, discrepancies, judging, operators, repair, watch
from execpos.domain.reconciliation.discrepancies import At
from execpos.domain.reconciliation.repair import Spent
from execpos.domain.reconciliation.state import Sent
from execpos.domain.reconciliation.turn import Turn

# Ids of commands that are remembered: more than an operator gives in the days that the topic keeps.
_COMMANDS_MAX = 1_000

# Commands that wait for a round at once; beyond it an operator is told to wait.
_WAITING_MAX = 64

NOT_OPENING = "not_opening"
"""Why the ledger rejects an OPENING of a key that has a past."""

# The one reason after which the same correction may be right at another moment.
_STALE = "stale_version"

# An operator's command that names no end waits so long for its round.
_COMMAND_US = 60_000_000


def command(turn: Turn, given: Command) -> None:
    """Follow a command of an operator, once; one that has run out, and audit records, are not followed."""
    state = turn.state
    if given.kind in {"HALT", "RESUME", "REBUILD"} or given.command_id in state.answered:
        return
    turn.put(answered=(*state.answered, given.command_id)[-_COMMANDS_MAX:])
    if 0 < given.expires_ts < turn.now_us:
        course.refuse(turn, given.command_id, "the command ran out before it came")
    elif given.kind == "RECONCILE":
        _reconcile(turn, given)
    elif given.kind in {"APPROVE", "REJECT", "CORRECT"}:
        _decide(turn, given)
    else:
        course.refuse(turn, given.command_id, f"{given.kind} is no command that the reconciler knows")


def _reconcile(turn: Turn, given: Command) -> None:
    if len(turn.state.commands) >= _WAITING_MAX:
        course.refuse(turn, given.command_id, f"{_WAITING_MAX} commands wait already")
        return
    _await(turn, given)
    turn.refresh()
    turn.want("COMMAND")


def _await(turn: Turn, given: Command) -> None:
    until = given.expires_ts or turn.now_us + _COMMAND_US
    turn.put(commands=(*turn.state.commands, msgspec.structs.replace(given, expires_ts=until, corrections=())))


def _decide(turn: Turn, given: Command) -> None:
    one = turn.state.discrepancies.get(given.discrepancy_id)
    at = At(given.command_id, turn.now_us, given.by)
    if given.discrepancy_id and one is None:
        course.refuse(turn, given.command_id, f"discrepancy {given.discrepancy_id} is not open in this account")
    elif given.kind == "REJECT":
        if one is None:
            course.refuse(turn, given.command_id, "a REJECT names a discrepancy")
        else:
            turn.keep(approvals.rejected(one, given, at).discrepancy)
    elif one is None:
        _uncalled(turn, given, at)
    else:
        rules = turn.rules
        decision = approvals.approved(one, given, at, four_eyes=rules.four_eyes, resolve_within_us=rules.resolve_within_us)
        turn.keep(decision.discrepancy)
        if decision.ready:
            _carry_out(turn, given, decision.discrepancy)


def _uncalled(turn: Turn, given: Command, at: At) -> None:
    """A CORRECT that belongs to no discrepancy; under four_eyes it waits for a second name."""
    if given.kind != "CORRECT" or not given.corrections:
        course.refuse(turn, given.command_id, f"{given.kind} names " + ("no correction" if given.kind == "CORRECT" else "no discrepancy"))
        return
    made = _checked(turn, given, None)
    if made.problem:
        course.refuse(turn, given.command_id, made.problem)
    elif turn.rules.four_eyes:
        turn.keep(approvals.requested(given, at, trading_date=_trading_date(turn)))
    else:
        _send(turn, given, made.corrections, None)


def _carry_out(turn: Turn, given: Command, one: Discrepancy) -> None:
    made = _checked(turn, given, one)
    problem = made.problem
    if not problem and judging.sent_before(turn, made.corrections):
        problem = "the ledger has had this very correction already: wait for the next round, or name the correction"
    if problem:
        turn.keep(approvals.noted(one, given, At(given.command_id, turn.now_us, given.by), problem))
    else:
        _send(turn, given, made.corrections, one)


def _checked(turn: Turn, given: Command, one: Discrepancy | None) -> operators.Checked:
    state = turn.state
    return operators.checked(
        given,
        one,
        judging.propose(turn, one) if one else None,
        state.comparison,
        state.book.rows if state.book else None,
        turn.now_us,
        rules=turn.rules.book,
        trading_date=_trading_date(turn),
    )


def _send(turn: Turn, given: Command, made: tuple[Correction, ...], one: Discrepancy | None) -> None:
    if not made:
        course.refuse(turn, given.command_id, "nothing follows from it")
        return
    if one is not None:
        turn.keep(discrepancies.correcting(one, made, At(given.command_id, turn.now_us, given.by)))
    turn.send(made, one.discrepancy_id if one else "", -1, _trading_date(turn))
    _await(turn, given)


def _trading_date(turn: Turn) -> int:
    return turn.rules.book.calendar.trading_date(turn.now_us, watch.market(turn.state.account))


# --- what the ledger answers -------------------------------------------------------------------------------------------------------------


def outcome(turn: Turn, answer: CorrectionOutcome) -> None:
    """Take in the outcome of a correction; one that is not waited for changes nothing."""
    sent = turn.state.sent.get(answer.correction_id)
    if sent is None:
        return
    if sent.kind == "OPENING" and (answer.outcome == "APPLIED" or answer.reason == NOT_OPENING):
        # One that has a past gets no other opening: what still differs is an adjustment.
        turn.put(opened=turn.state.opened | {sent.key})
    if answer.reason == _STALE:
        turn.put(dispatched=tuple(name for name in turn.state.dispatched if name != answer.correction_id))
    if answer.outcome == "APPLIED":
        _booked(turn, answer, sent)
    if answer.outcome != "APPLIED":
        _over(turn, answer.correction_id, sent, f"{answer.reason}: {answer.detail}")
    elif not sent.then:
        _over(turn, answer.correction_id, sent, "")
    elif sent.then[0].expected_net_version in {-1, answer.net_version_after}:
        turn.put(sent={name: one for name, one in turn.state.sent.items() if name != answer.correction_id})
        until_us = turn.now_us + turn.rules.outcome_us
        # The first of them has counted for all.
        after = msgspec.structs.replace(sent, then=sent.then[1:], notional=min(sent.notional, 0), until_us=until_us)
        turn.dispatch(sent.then[0], after)
    else:
        _over(turn, answer.correction_id, sent, f"the book went on to version {answer.net_version_after} after its first part")


def _booked(turn: Turn, answer: CorrectionOutcome, sent: Sent) -> None:
    if sent.adjusted is not None:
        new = msgspec.structs.replace(sent.adjusted, since=(answer.ledger_epoch, answer.net_version_after))
        turn.put(adjusted=allocation.more(turn.state.adjusted, sent.key, new))


def give_up(turn: Turn) -> None:
    """Give up the outcomes that did not come in time; the next round says what became of them."""
    for correction_id, sent in tuple(turn.state.sent.items()):
        if turn.now_us >= sent.until_us:
            _over(turn, correction_id, sent, "no outcome came in time")


def _over(turn: Turn, correction_id: str, sent: Sent, problem: str) -> None:
    left = {name: one for name, one in turn.state.sent.items() if name != correction_id}
    turn.put(sent=left)
    name = sent.discrepancy_id or correction_id
    if problem:
        turn.put(rejected={**turn.state.rejected, name: problem})
    if sent.discrepancy_id and any(one.discrepancy_id == sent.discrepancy_id for one in left.values()):
        return
    problem = turn.state.rejected.get(name, "")
    turn.put(rejected={one: why for one, why in turn.state.rejected.items() if one != name})
    judging.forget(turn, sent.key)
    turn.want("CONFIRM")
    if problem and sent.notional > 0:
        turn.put(spent=_refunded(turn.state.spent, sent))
    one = turn.state.discrepancies.get(sent.discrepancy_id)
    if one is None or one.status not in {"APPROVED", "EXPIRED"}:
        return
    if not problem:
        turn.keep(discrepancies.corrected(one, turn.at(), "applied by the ledger"))
    elif one.status == "APPROVED":
        turn.keep(discrepancies.refused(one, turn.at(), problem))


def _refunded(spent: Spent, sent: Sent) -> Spent:
    if spent.trading_date != sent.trading_date:
        return spent
    count = spent.counts.get(sent.key, 0) - 1
    counts = {key: number for key, number in spent.counts.items() if key != sent.key} | ({sent.key: count} if count > 0 else {})
    return repair.Spent(spent.trading_date, counts, max(0, spent.notional - sent.notional))
