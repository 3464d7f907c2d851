"""What operators decide about a discrepancy: approve, reject, name a correction of their own, alone or by two different people.

Pure. A word that comes at a wrong time changes nothing but the history, which says why it was not followed.
"""

import msgspec

from execpos.domain import ids, money
from execpos.domain.events import Command, Correction, Discrepancy
from execpos.domain.limits import ID_CHARS_MAX, cut
from execpos.domain.reconciliation.discrepancies import (
    ASKED_BY,
    CORRECTIONS,
    LACKS,
    REPORTED,
    At,
    explained,
    opened,
    step,
    stepped,
    terminal,
    unnamed,
)
from execpos.domain.reconciliation.evidence import moment
from execpos.domain.reconciliation.repair import AUTOMATIC
from execpos.domain.vocabulary import DiscrepancyStatus

# Names, of which the second one is another person's: compared without case and blanks, so that nobody is two.
_NOT_PEOPLE = frozenset({"", "reconciler", "ledger", "auditor"})


# Evidence of what is no difference but an operator's wish: the command that brought it.
_REQUEST = "request"


class Decision(msgspec.Struct, frozen=True):
    """What comes of an operator's word.

    Attributes:
        discrepancy: as it is now, to be published either way.
        ready: every name that is needed has been given: the correction may go out.
        problem: empty, or why nothing was done, for the operator; the record's history says so too.
    """

    discrepancy: Discrepancy
    ready: bool = False
    problem: str = ""


def approved(discrepancy: Discrepancy, command: Command, at: At, *, four_eyes: bool, resolve_within_us: int) -> Decision:
    """Take an operator's APPROVE, or a CORRECT that names this discrepancy, as a name under what is proposed or under what it brings.

    Under `four_eyes` that takes two different people: who named the correction is one of them. With all names there, a further word is
    another try. One that was rejected is open again, and has `resolve_within_us` from now on.
    """
    now = discrepancy
    problem = _not_now(discrepancy, command, at) or _not_open(discrepancy)
    if not problem and command.corrections:
        now = _named(discrepancy, command)
        if now.proposed_kind == "":
            problem = "no rule proposes anything for it: name the kind of the correction"
    elif not problem:
        lacks = discrepancy.evidence.get(LACKS, "")
        if not discrepancy.proposed_kind or lacks:
            problem = f"name the correction: {lacks or 'no rule proposes one'}"
    known = _person(command.by) in set(map(_person, now.approvals))
    if not problem and known and not complete(now, four_eyes=four_eyes):
        problem = f"{command.by} has approved this already; four_eyes wants another name"
    if problem:
        return Decision(noted(discrepancy, command, at, problem), problem=problem)
    if not known:
        now = msgspec.structs.replace(now, approvals=(*now.approvals, command.by))
    if now.status == "REJECTED" and now.kind not in REPORTED:
        now = msgspec.structs.replace(now, expires_ts=at.ts + resolve_within_us)
    now = step(now, _standing(now), At(at.round_id, at.ts, command.by), f"approved {_proposal(now)}: {command.reason}")
    return Decision(now, ready=complete(now, four_eyes=four_eyes))


def complete(discrepancy: Discrepancy, *, four_eyes: bool) -> bool:
    """Tell whether it has every name that is needed; after `refused` the correction may then be made anew without asking again."""
    return len(discrepancy.approvals) > (1 if four_eyes else 0)


def rejected(discrepancy: Discrepancy, command: Command, at: At) -> Decision:
    """Take an operator's REJECT: the difference stays as it is, halts nothing any more, and is not opened again until it changes."""
    problem = _not_now(discrepancy, command, at) or _not_open(discrepancy)
    if not problem and discrepancy.status == "REJECTED":
        problem = "it is REJECTED already"
    if problem:
        return Decision(noted(discrepancy, command, at, problem), problem=problem)
    if is_request(discrepancy):
        return Decision(explained(discrepancy, At(at.round_id, at.ts, command.by), f"withdrawn: {command.reason}"))
    now = unnamed(msgspec.structs.replace(discrepancy, approvals=(), expires_ts=0))
    return Decision(step(now, "REJECTED", At(at.round_id, at.ts, command.by), command.reason))


def noted(discrepancy: Discrepancy, command: Command, at: At, problem: str) -> Discrepancy:
    """Write down that a command could not be followed, and why; nothing else changes, and this may be done at any time."""
    return stepped(discrepancy, discrepancy.status, At(at.round_id, at.ts, command.by), f"{command.kind} not followed: {problem}")


def requested(command: Command, at: At, *, trading_date: int) -> Discrepancy:
    """Keep an operator's CORRECT that belongs to no discrepancy, until another person approves or rejects it; `checked` comes before.

    It is no difference: `is_request` tells it from one, no round sees it again or ends it, it halts nothing and does not expire.

    Raises:
        ValueError: the command holds no correction.
    """
    if not command.corrections:
        msg = f"command {command.command_id} holds no correction"
        raise ValueError(msg)
    first = command.corrections[0]
    new = opened(
        command.account,
        "COST" if first.kind in {"COST_BASIS", "FEES"} else "QUANTITY",
        None,
        At(command.command_id, at.ts, command.by),
        cause="NONE",
        evidence={_REQUEST: command.command_id},
        trading_date=trading_date,
        resolve_within_us=0,
        detail=f"asked for: {command.reason}",
    )
    new = _named(msgspec.structs.replace(new, symbol=first.symbol, book=first.book), command)
    return msgspec.structs.replace(new, approvals=(command.by,), expires_ts=0)


def waiting(discrepancy: Discrepancy) -> tuple[Correction, ...]:
    """Return the corrections that an operator named for it; none: what is proposed comes from the rules."""
    text = discrepancy.evidence.get(CORRECTIONS)
    return () if text is None else msgspec.json.decode(text, type=tuple[Correction, ...])


def asked_by(discrepancy: Discrepancy) -> str:
    """Return who named the corrections that wait in it, or nothing."""
    return discrepancy.evidence.get(ASKED_BY, "")


def is_request(discrepancy: Discrepancy) -> bool:
    """Tell an operator's request that belongs to no difference: no round has seen one, and none ends it."""
    return _REQUEST in discrepancy.evidence


def _named(discrepancy: Discrepancy, command: Command) -> Discrepancy:
    """Put the command's corrections in the place of what is proposed; approvals of others fall."""
    plain = tuple(_filled(discrepancy, correction, command.kind) for correction in command.corrections)
    text = msgspec.json.encode(plain).decode()
    if discrepancy.evidence.get(CORRECTIONS) == text:
        return discrepancy
    first = plain[0]
    evidence = {name: value for name, value in discrepancy.evidence.items() if name != LACKS}
    return msgspec.structs.replace(
        discrepancy,
        proposed_kind=first.kind,
        proposed_quantity=first.quantity,
        proposed_price=first.price,
        proposed_amount=first.amount,
        approvals=(),
        evidence=evidence | {CORRECTIONS: text, ASKED_BY: command.by},
    )


def _filled(discrepancy: Discrepancy, correction: Correction, kind: str) -> Correction:
    """Return what people agree on. What an APPROVE leaves out is as proposed; what is filled in anew each time is not part of it."""
    plain = msgspec.structs.replace(correction, correction_id="", expected_net_version=-1, requested_by="", approved_by="", ts=0)
    if kind == "APPROVE":
        what = plain.kind or discrepancy.proposed_kind
        plain = msgspec.structs.replace(
            plain,
            kind=what,
            quantity=plain.quantity or (discrepancy.proposed_quantity if what in AUTOMATIC else 0),
            amount=plain.amount or (discrepancy.proposed_amount if what == "COST_BASIS" else 0),
            strategy_id=plain.strategy_id or (ids.NET if what in {"COST_BASIS", "QUALITY"} else ""),
        )
    return msgspec.structs.replace(
        plain, account=plain.account or discrepancy.account, symbol=plain.symbol or discrepancy.symbol, book=plain.book or discrepancy.book
    )


def _proposal(discrepancy: Discrepancy) -> str:
    what = [discrepancy.proposed_kind]
    if discrepancy.proposed_quantity:
        what.append(f"{discrepancy.proposed_quantity:+d}")
    if discrepancy.proposed_price:
        what.append(f"at {money.text(discrepancy.proposed_price)}")
    return " ".join(what)


def _person(name: str) -> str:
    return "".join(name.split()).casefold()


def _not_now(discrepancy: Discrepancy, command: Command, at: At) -> str:
    """Return why a command cannot be followed, whatever it wants."""
    if command.account != discrepancy.account:
        return f"discrepancy {discrepancy.discrepancy_id} is of account {discrepancy.account}, not {cut(command.account, ID_CHARS_MAX)}"
    if 0 < command.expires_ts < at.ts:
        return f"the command ran out at {moment(command.expires_ts)}"
    if _person(command.by) in _NOT_PEOPLE:
        return f"{command.by or 'nobody'} is no operator: say who decides"
    if not command.reason.strip():
        return "a decision needs a reason"
    return ""


def _not_open(discrepancy: Discrepancy) -> str:
    if discrepancy.status == "APPROVED":
        return "its correction is under way: wait for the outcome"
    return f"it is {discrepancy.status} already" if terminal(discrepancy) else ""


def _standing(discrepancy: Discrepancy) -> DiscrepancyStatus:
    """Return the status in which it waits for its correction or for another name: a judged one is open again."""
    return "EXPIRED" if discrepancy.status == "EXPIRED" else "OPEN"
