"""The life of a discrepancy: how it opens, who may end it, and what stays written of every step.

Pure: each function returns the record as it is next, to be published; the record alone is the state, so a restart goes on where it was.
A step that the table does not have is a bug and raises. What operators say about one is in `approvals`.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import get_args

import msgspec

from execpos.domain import money
from execpos.domain.events import Correction, Discrepancy, DiscrepancyStep
from execpos.domain.limits import DETAIL_CHARS_MAX, ID_CHARS_MAX, cut
from execpos.domain.reconciliation import allocation
from execpos.domain.reconciliation.comparison import Finding
from execpos.domain.reconciliation.repair import Proposal
from execpos.domain.vocabulary import DiscrepancyCause, DiscrepancyKind, DiscrepancyStatus

OPEN_STATUSES = frozenset({"OPEN", "APPROVED", "EXPIRED"})
"""A difference that stands: it counts as unexplained, and a reconciliation that ends with one has not succeeded."""

TERMINAL = frozenset({"EXPLAINED", "CORRECTED"})
"""Nothing follows. REJECTED is neither: an operator took the difference as it is, and it stays so until it changes."""

REPORTED = frozenset({"COST", "PROFIT"})
"""Kinds that are told and halt nothing: the quantities agree, and money that differs is a matter for people."""

POSITION_KINDS = frozenset({"QUANTITY", "COST", "MISSING_ROW", "UNKNOWN_ROW", "MOVING"})
"""Kinds of which a key has one at a time: the same record becomes another kind."""

# Kinds whose difference is a number of units or of money.
_MEASURED = frozenset({"QUANTITY", "COST", "MISSING_ROW", "UNKNOWN_ROW", "ORDER", "PROFIT"})

FOLLOWS: Mapping[str, frozenset[str]] = {
    "OPEN": frozenset({"OPEN", "APPROVED", "REJECTED", "EXPIRED", "EXPLAINED"}),
    "APPROVED": frozenset({"APPROVED", "OPEN", "CORRECTED", "EXPIRED", "EXPLAINED"}),
    "EXPIRED": frozenset({"EXPIRED", "APPROVED", "REJECTED", "CORRECTED", "EXPLAINED"}),
    "REJECTED": frozenset({"REJECTED", "OPEN", "EXPLAINED"}),
    "EXPLAINED": frozenset(),
    "CORRECTED": frozenset(),
}
"""Status -> those that may follow it."""

HISTORY_MAX = 32
"""Steps that a record keeps: the first one and the newest, and between them one that says how many were merged."""

# An operator's own corrections stand whole in the evidence, so that they survive a restart until a second name comes; so does what a
# proposal lacks, and what an ADJUST under way does to UNASSIGNED. A round that sees the difference again leaves these.
CORRECTIONS, ASKED_BY, LACKS = "corrections", "corrections_by", "lacks"
_STAY = (CORRECTIONS, ASKED_BY, LACKS, allocation.EVIDENCE)

# Stands in the step of corrections that go out, between their kinds and their ids.
_UNDER_WAY = " under way: "

_STATUSES: dict[str, DiscrepancyStatus] = {word: word for word in get_args(DiscrepancyStatus)}

_KINDS: dict[str, DiscrepancyKind] = {
    "QUANTITY": "QUANTITY",
    "COST": "COST",
    "MISSING": "MISSING_ROW",
    "UNKNOWN": "UNKNOWN_ROW",
    "ORDER": "ORDER",
    "PROFIT": "PROFIT",
}


class At(msgspec.Struct, frozen=True):
    """When a step is taken: its round, the moment in µs UTC, and who takes it."""

    round_id: str
    ts: int
    by: str = "reconciler"


def identity(account: str, kind: str, symbol: str, book: str, round_id: str) -> str:
    """Return the id of what a round found first: 16 hexadecimal digits, the same ones for the same event."""
    return sha256(f"{account}\0{kind}\0{symbol}\0{book}\0{round_id}".encode()).hexdigest()[:16]


def kind_of(finding: Finding) -> DiscrepancyKind | None:
    """Return which kind of discrepancy a finding is; None: it is none, or says nothing yet."""
    return _KINDS.get(finding.verdict)


def terminal(discrepancy: Discrepancy) -> bool:
    """Tell whether nothing follows."""
    return discrepancy.status in TERMINAL


def same(discrepancy: Discrepancy, finding: Finding) -> bool:
    """Tell whether a finding is the difference that was judged: as large in quantity, and in money no larger."""
    return _same(discrepancy, kind_of(finding) or "MOVING", finding)


def _same(discrepancy: Discrepancy, kind: str, finding: Finding | None) -> bool:
    if kind != discrepancy.kind:
        return False
    if finding is None or kind not in _MEASURED:
        return True
    if kind in REPORTED:
        return finding.notional <= discrepancy.notional
    return finding.difference == discrepancy.broker_quantity - discrepancy.ledger_quantity


# --- how it opens, and is seen again ---------------------------------------------------------------------------------------------------


def opened(
    account: str,
    kind: DiscrepancyKind,
    finding: Finding | None,
    at: At,
    *,
    cause: DiscrepancyCause,
    evidence: Mapping[str, str],
    trading_date: int,
    resolve_within_us: int,
    detail: str = "",
) -> Discrepancy:
    """Return a new one. Without a finding it is about the whole account, and `detail` says what."""
    symbol, book = finding.key if finding else ("", "")
    new = Discrepancy(
        discrepancy_id=identity(account, kind, symbol, book, at.round_id),
        account=account,
        kind=kind,
        symbol=symbol,
        book=book,
        security_type="",
        status="OPEN",
        ledger_quantity=0,
        broker_quantity=0,
        ledger_average=0,
        broker_average=0,
        notional=0,
        net_version=0,
        cause=cause,
        proposed_kind="",
        proposed_quantity=0,
        proposed_price=0,
        proposed_amount=0,
        correction_ids=(),
        approvals=(),
        control_id="",
        rounds=1,
        first_round=at.round_id,
        last_round=at.round_id,
        trading_date=trading_date,
        evidence=dict(evidence),
        history=(),
        opened_ts=at.ts,
        updated_ts=at.ts,
        expires_ts=0 if kind in REPORTED else at.ts + resolve_within_us,
        ts=at.ts,
    )
    if finding:
        new = _measured(new, finding)
    return step(new, "OPEN", at, detail or (finding.detail if finding else "") or _said(new))


def seen_again(
    discrepancy: Discrepancy,
    kind: DiscrepancyKind,
    finding: Finding | None,
    at: At,
    *,
    cause: DiscrepancyCause,
    evidence: Mapping[str, str],
    resolve_within_us: int,
) -> Discrepancy:
    """Count a round that saw it too. History gets a step only when the difference, its kind or its cause is another one."""
    before, alike = discrepancy, _same(discrepancy, kind, finding)
    stays = {name: before.evidence[name] for name in _STAY if name in before.evidence}
    now = msgspec.structs.replace(
        before,
        kind=kind,
        cause=cause,
        rounds=before.rounds + 1,
        last_round=at.round_id,
        evidence=dict(evidence) | stays,
        updated_ts=at.ts,
        ts=at.ts,
    )
    now = _measured(now, finding) if finding else now
    if kind != before.kind and before.status != "REJECTED":
        # Money that differs never expires; a quantity that differs does, from now on.
        end = before.expires_ts or at.ts + resolve_within_us
        now = msgspec.structs.replace(now, expires_ts=0 if kind in REPORTED else end)
    if alike and cause == before.cause:
        return now
    if not alike:
        # What was approved was another difference.
        now = unnamed(msgspec.structs.replace(now, approvals=()))
    return step(now, _STATUSES[before.status], at, _said(now))


def observed(
    before: Discrepancy | None,
    account: str,
    kind: DiscrepancyKind,
    finding: Finding | None,
    at: At,
    *,
    cause: DiscrepancyCause,
    evidence: Mapping[str, str],
    trading_date: int,
    resolve_within_us: int,
    detail: str = "",
) -> tuple[Discrepancy, ...]:
    """Return what to publish of a difference that a round saw; the last one is what stands.

    One that an operator rejected stays rejected and counts its rounds; when the difference changes it ends, and a new one opens.

    Args:
        before: the newest of that account and key, and of that kind (of `POSITION_KINDS` any), in any status; None without one.
        account: account key.
        kind: of the difference.
        finding: None where it is about the whole account.
        at: the round that saw it.
        cause: why it may be.
        evidence: see `evidence_of`.
        trading_date: days since the epoch.
        resolve_within_us: how long it may stay open.
        detail: for people; that of the finding when empty.
    """
    ended: tuple[Discrepancy, ...] = ()
    if before is not None and before.status == "REJECTED" and not _same(before, kind, finding):
        ended = (explained(before, at, "the difference is another one now"),)
    elif before is not None and not terminal(before):
        return (seen_again(before, kind, finding, at, cause=cause, evidence=evidence, resolve_within_us=resolve_within_us),)
    new = opened(
        account,
        kind,
        finding,
        at,
        cause=cause,
        evidence=evidence,
        trading_date=trading_date,
        resolve_within_us=resolve_within_us,
        detail=detail,
    )
    return (*ended, new)


# --- how it ends -----------------------------------------------------------------------------------------------------------------------


def explained(discrepancy: Discrepancy, at: At, reason: str) -> Discrepancy:
    """End it without a correction: a round found both sides equal, or what it was about is gone."""
    return step(msgspec.structs.replace(discrepancy, expires_ts=0), "EXPLAINED", at, reason)


def proposed(discrepancy: Discrepancy, proposal: Proposal) -> Discrepancy:
    """Note what could be done. Approvals are of a kind, a quantity and an amount; at another price of the same rule they stand.

    What an operator named stays in its place until the difference changes.
    """
    if CORRECTIONS in discrepancy.evidence:
        return discrepancy
    evidence = {name: value for name, value in discrepancy.evidence.items() if name != LACKS}
    if proposal.lacks:
        evidence[LACKS] = f"{proposal.lacks}: {proposal.why}"
    now = msgspec.structs.replace(
        discrepancy,
        proposed_kind=proposal.kind,
        proposed_quantity=proposal.quantity,
        proposed_price=proposal.price,
        proposed_amount=proposal.amount,
        evidence=evidence,
    )
    return now if _asks(now) == _asks(discrepancy) else msgspec.structs.replace(now, approvals=())


def correcting(discrepancy: Discrepancy, made: Sequence[Correction], at: At) -> Discrepancy:
    """Note the corrections that go out, whether an operator approved them or the rules do it alone; their outcomes decide."""
    new = tuple(correction.correction_id for correction in made if correction.correction_id not in discrepancy.correction_ids)
    now = msgspec.structs.replace(discrepancy, correction_ids=(*discrepancy.correction_ids, *new)[-HISTORY_MAX:])
    kinds = ", ".join(dict.fromkeys(correction.kind for correction in made))
    return step(now, "APPROVED", at, f"{kinds}{_UNDER_WAY}{', '.join(correction.correction_id for correction in made)}")


def attempts(discrepancy: Discrepancy) -> tuple[tuple[str, ...], ...]:
    """Return the ids of the corrections that went out together, as far as its history still tells."""
    said = (step.reason.partition(_UNDER_WAY)[2] for step in discrepancy.history if step.status == "APPROVED")
    return tuple(tuple(ids.split(", ")) for ids in said if ids)


def refused(discrepancy: Discrepancy, at: At, reason: str) -> Discrepancy:
    """Open it again: the ledger rejected the correction, or no outcome came in time. Approvals stand for the same proposal made anew."""
    # Past its time it expires again with the next look.
    return step(discrepancy, "OPEN", at, reason)


def corrected(discrepancy: Discrepancy, at: At, reason: str) -> Discrepancy:
    """End it: the ledger has applied the correction. That the book is equal now is for the next round to say."""
    return step(msgspec.structs.replace(discrepancy, expires_ts=0), "CORRECTED", at, reason)


def due(discrepancy: Discrepancy, now_us: int) -> bool:
    """Tell whether its time is over."""
    return "EXPIRED" in FOLLOWS[discrepancy.status] - {discrepancy.status} and 0 < discrepancy.expires_ts <= now_us


def expired(discrepancy: Discrepancy, at: At, control_id: str) -> Discrepancy:
    """Note that its time is over and its scope is halted by `control_id`; an operator is needed still."""
    now = msgspec.structs.replace(discrepancy, control_id=control_id)
    return step(now, "EXPIRED", at, f"open for longer than it may be; halted by {control_id}")


def halting(discrepancy: Discrepancy, control_id: str) -> Discrepancy:
    """Note which HALT it caused."""
    return msgspec.structs.replace(discrepancy, control_id=control_id)


def unnamed(discrepancy: Discrepancy) -> Discrepancy:
    """Forget what an operator named for it."""
    kept = {name: value for name, value in discrepancy.evidence.items() if name not in {CORRECTIONS, ASKED_BY}}
    return discrepancy if len(kept) == len(discrepancy.evidence) else msgspec.structs.replace(discrepancy, evidence=kept)


# --- parts -----------------------------------------------------------------------------------------------------------------------------


def _measured(discrepancy: Discrepancy, finding: Finding) -> Discrepancy:
    return msgspec.structs.replace(
        discrepancy,
        ledger_quantity=finding.ledger_quantity,
        broker_quantity=finding.broker_quantity,
        ledger_average=finding.ledger_average,
        broker_average=finding.broker_average,
        notional=finding.notional,
        net_version=finding.net_version,
        security_type=finding.security_type or discrepancy.security_type,
    )


def _said(discrepancy: Discrepancy) -> str:
    if discrepancy.ledger_quantity != discrepancy.broker_quantity:
        return f"the broker has {discrepancy.broker_quantity}, the book {discrepancy.ledger_quantity}; {discrepancy.cause}"
    if discrepancy.kind not in REPORTED:
        return f"{discrepancy.kind}; {discrepancy.cause}"
    averages = f"{money.text(discrepancy.broker_average)}, the book {money.text(discrepancy.ledger_average)}"
    return f"{discrepancy.kind}: the broker has {averages}; {discrepancy.cause}"


def _asks(discrepancy: Discrepancy) -> tuple[str, int, int]:
    return discrepancy.proposed_kind, discrepancy.proposed_quantity, discrepancy.proposed_amount


def step(discrepancy: Discrepancy, status: DiscrepancyStatus, at: At, reason: str) -> Discrepancy:
    """Take a step of the table.

    Raises:
        ValueError: the table has no such step.
    """
    if discrepancy.history and status not in FOLLOWS[discrepancy.status]:
        msg = f"discrepancy {discrepancy.discrepancy_id} cannot become {status}: it is {discrepancy.status}"
        raise ValueError(msg)
    return stepped(discrepancy, status, at, reason)


def stepped(discrepancy: Discrepancy, status: str, at: At, reason: str) -> Discrepancy:
    """Write a step down, whatever the table says."""
    new = DiscrepancyStep(at.ts, status, at.round_id, cut(at.by, ID_CHARS_MAX), cut(reason, DETAIL_CHARS_MAX))
    history = _bounded((*discrepancy.history, new))
    return msgspec.structs.replace(discrepancy, status=status, history=history, updated_ts=at.ts, ts=at.ts)


def _bounded(history: tuple[DiscrepancyStep, ...]) -> tuple[DiscrepancyStep, ...]:
    """Keep the first step and the newest ones; one between them says how many are gone. Grows by one step a call."""
    if len(history) <= HISTORY_MAX:
        return history
    first, second, third, *newest = history
    # A mark stands for itself no more: it takes one step in. Without one yet, two make room for the first.
    count = _merged(second) + 1 if _merged(second) else 2
    note = DiscrepancyStep(third.ts, third.status, third.round_id, "", f"{count} {_MERGED}")
    return (first, note, *newest)


_MERGED = "older steps merged"


def _merged(old: DiscrepancyStep) -> int:
    """Return how many steps this one stands for: 0 when it is a step itself."""
    return int(old.reason.split()[0]) if not old.by and old.reason.endswith(_MERGED) else 0
