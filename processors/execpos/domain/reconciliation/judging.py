"""What follows from a comparison: which keys are equal, which have to be looked at again, which differ, and what is done about it.

A difference counts when two looks show the same one, at least `settle_us` apart and with the broker's records read in between. Then it
becomes a discrepancy, and only then may a correction go out. Whatever never comes to rest ends as a discrepancy too, after a bounded number
of looks.

An average that differs beside an equal quantity needs two looks too, but is reported only: its second look is the next round's, and nothing
waits for it but a command.
"""

from collections.abc import Sequence

import msgspec

from execpos.domain.events import Correction, Discrepancy
from execpos.domain.positions import method_of
from execpos.domain.reconciliation import discrepancies, repair
from execpos.domain.reconciliation.comparison import Comparison, Finding
from execpos.domain.reconciliation.discrepancies import POSITION_KINDS
from execpos.domain.reconciliation.evidence import evidence_of
from execpos.domain.reconciliation.lag import is_lag, is_young
from execpos.domain.reconciliation.repair import Allowed, Coverage, Gap, Proposal
from execpos.domain.reconciliation.seen import proof, recent, traded
from execpos.domain.reconciliation.sides import Key, NetRow
from execpos.domain.reconciliation.state import Suspect
from execpos.domain.reconciliation.turn import Turn
from execpos.domain.reconciliation.witness import Witness
from execpos.domain.vocabulary import DiscrepancyCause, DiscrepancyKind

# Corrections that are sent for one difference without an operator: each time the book has moved on before it came. A key that moves so
# often is not at rest, and one more try is no better.
_TRIES_MAX = 5

# A first start has nothing to hold a list against that is late by a fill, so a key rests for so long before it is corrected. Lists are late
# by seconds; a minute is a look of the usual schedule more.
_REST_US = 60_000_000

# What a suspect differs in whose quantities are equal.
_AVERAGE = "COST"


def judge(turn: Turn, comparison: Comparison) -> None:
    """Take in a usable comparison: discrepancies and corrections follow, and what has to be looked at again is noted in the state."""
    state = turn.state
    unproven: dict[Key, int] = {}
    for finding in comparison.findings:
        if finding.verdict not in {"EQUAL", "COST"}:
            unproven[finding.key] = state.unproven.get(finding.key, state.compared_ts)
    for finding in comparison.findings:
        if finding.verdict == "EQUAL":
            _equal(turn, finding.key)
        elif finding.verdict == "MOVED":
            _moved(turn, finding, comparison)
        elif finding.verdict == _AVERAGE:
            _average(turn, finding, comparison)
        else:
            _differs(turn, finding, comparison)
    # What neither side holds is equal.
    elsewhere = {(one.symbol, one.book) for one in turn.state.discrepancies.values() if one.kind in POSITION_KINDS} | set(
        turn.state.suspects
    )
    for key in sorted(elsewhere - {finding.key for finding in comparison.findings}):
        _equal(turn, key)
    for one in [one for one in turn.state.discrepancies.values() if one.kind == "UNREADABLE"]:
        turn.keep(discrepancies.explained(one, turn.at(), "the broker's answers can be used again"))
    oldest = min(unproven.values(), default=comparison.read_began_ts)
    turn.put(
        compared_ts=comparison.read_began_ts,
        unproven=unproven,
        gaps=tuple(gap for gap in turn.state.gaps if gap.to_ts > oldest),
        comparison=comparison,
        # A dead letter is a wrong position until a round has found its key equal.
        letters=tuple(
            letter for letter in state.letters if letter.ts > comparison.read_began_ts or (unproven and letter.key in {*unproven, ("", "")})
        ),
    )


def again(turn: Turn) -> bool:
    """Tell whether something has to be looked at again soon."""
    return any(follows(turn, suspect) for suspect in turn.state.suspects.values())


def follows(turn: Turn, suspect: Suspect) -> bool:
    """Tell whether a key is looked at again soon, and not only with the next scheduled round."""
    return suspect.what != _AVERAGE and (suspect.looks <= turn.rules.rounds or 0 < suspect.witness < turn.rules.witness_rounds)


def averages(turn: Turn) -> dict[Key, Suspect]:
    """Return the keys of equal quantity whose averages differed in one look only."""
    return {key: one for key, one in turn.state.suspects.items() if one.what == _AVERAGE and one.looks <= turn.rules.rounds}


def unreadable(turn: Turn, why: str) -> None:
    """Note that several rounds in a row could not be used."""
    before = next((one for one in turn.state.discrepancies.values() if one.kind == "UNREADABLE"), None)
    _observe(turn, before, "UNREADABLE", None, "UNREADABLE", {"detail": why}, why)


# --- one key -----------------------------------------------------------------------------------------------------------------------------


def _equal(turn: Turn, key: Key) -> None:
    forget(turn, key)
    for one in turn.of_key(key, *POSITION_KINDS):
        turn.keep(discrepancies.explained(one, turn.at(), "both sides are equal"))


def _moved(turn: Turn, finding: Finding, comparison: Comparison) -> None:
    suspect = turn.state.suspects.get(finding.key, Suspect())
    suspect = Suspect("", comparison.read_ended_ts, turn.now_us, suspect.looks + 1, suspect.witness)
    _suspect(turn, finding.key, suspect)
    known = turn.of_key(finding.key, *POSITION_KINDS)
    if suspect.looks > turn.rules.rounds - 1 and not [one for one in known if one.kind != "MOVING"]:
        # At rest it could be compared; with another discrepancy of the key, that one stands.
        _suspect(turn, finding.key, msgspec.structs.replace(suspect, looks=turn.rules.rounds + 1))
        evidence = evidence_of(finding, comparison)
        _observe(turn, known[0] if known else None, "MOVING", finding, "MOVING", evidence)


def _average(turn: Turn, finding: Finding, comparison: Comparison) -> None:
    for one in turn.of_key(finding.key, *(POSITION_KINDS - {"COST"})):
        turn.keep(discrepancies.explained(one, turn.at(), "the quantities are equal"))
    suspect = turn.state.suspects.get(finding.key, Suspect())
    known = any(discrepancies.same(one, finding) for one in turn.of_key(finding.key, "COST"))
    if known or (suspect.what == _AVERAGE and comparison.read_began_ts - suspect.since_ts >= turn.rules.settle_us):
        _confirmed(turn, "COST", finding, comparison)
    elif suspect.what != _AVERAGE:
        _suspect(turn, finding.key, Suspect(_AVERAGE, comparison.read_ended_ts, turn.now_us))


def _differs(turn: Turn, finding: Finding, comparison: Comparison) -> None:
    kind = discrepancies.kind_of(finding)
    if kind is None:
        return
    key, rules = finding.key, turn.rules
    suspect = turn.state.suspects.get(key, Suspect())
    what = f"{finding.verdict} {finding.difference}"
    known = next((one for one in turn.of_key(key, kind) if discrepancies.same(one, finding)), None)
    settled = suspect.what == what and comparison.read_began_ts - suspect.since_ts >= rules.settle_us
    if known is not None or settled:
        _confirmed(turn, kind, finding, comparison)
        return
    if suspect.what != what:
        # A discrepancy that has changed gets its looks anew; one that has no rest is bounded by them.
        looks = 1 if turn.of_key(key, *(POSITION_KINDS - {"MOVING"})) and not follows(turn, suspect) else suspect.looks + 1
        suspect = Suspect(what, comparison.read_ended_ts, turn.now_us, looks)
        # The records are read before the next look, once.
        turn.put(fresh_ts=max(turn.state.fresh_ts, comparison.read_ended_ts))
    _suspect(turn, key, suspect)
    if suspect.looks > rules.rounds:
        # Another difference in each look: it is at rest nowhere, and is looked at with the scheduled rounds only.
        others = turn.of_key(key, *POSITION_KINDS)
        _observe(turn, others[0] if others else None, "MOVING", finding, "MOVING", evidence_of(finding, comparison))


def _confirmed(turn: Turn, kind: DiscrepancyKind, finding: Finding, comparison: Comparison) -> None:
    """Two looks agree: it is a discrepancy, and maybe one that the rules may correct."""
    key = finding.key
    net = turn.current.books[comparison.marker_after].rows.get(key)
    fills = recent(turn.state, key, turn.now_us - turn.rules.lag_us)
    seen = proof(turn, finding, net, comparison) if finding.verdict == "MISSING" else None
    expired = seen is not None and seen.cause == "EXPIRED_CONTRACT"
    lag = finding.verdict in {"QUANTITY", "MISSING"} and not expired and is_lag(finding, fills, comparison.as_of_ts)
    first = _first_start(turn, key)
    coverage = Coverage((Gap(0, turn.state.began_us, "before the first start"),)) if first else turn.coverage(key)
    proposed = _proposal(turn, finding, net, first=first, expired=expired)
    allowed = _allowed(turn, finding, comparison, coverage, proposed, net, lag=lag, witnessed=seen is not None)
    patient = _patient(turn, proposed, finding.key, comparison, first=first)
    if patient is not proposed and allowed.allowed:
        # Beyond the limits it counts as unexplained meanwhile, and halts.
        lag, allowed = True, Allowed(allowed=False, reason=patient.why)
    proposed = patient
    evidence = evidence_of(finding, comparison, fills=fills, coverage=coverage, books=turn.current.books.values())
    evidence["decision"] = allowed.reason
    if seen is not None:
        evidence["witness"] = f"{seen.by}: {seen.detail}"
    before = next(iter(turn.of_key(key, *POSITION_KINDS)), None)
    one = _observe(turn, before, kind, finding, _cause(finding, lag=lag, seen=seen, proposed=proposed, coverage=coverage), evidence)
    _witnessing(turn, finding, found=seen is not None or lag)
    if one.status == "REJECTED":
        return
    if proposed.kind:
        one = turn.keep(discrepancies.proposed(one, proposed))
    if allowed.allowed:
        _correct(turn, one, proposed, finding, comparison)


def _witnessing(turn: Turn, finding: Finding, *, found: bool) -> None:
    """A missing row without a witness is looked at again, over so many rounds; everything else is judged."""
    suspect = turn.state.suspects.get(finding.key, Suspect())
    most = turn.rules.witness_rounds
    rounds = most if finding.verdict != "MISSING" or found else min(most, suspect.witness + 1)
    judged = msgspec.structs.replace(suspect, seen_us=turn.now_us, looks=turn.rules.rounds + 1, witness=rounds)
    _suspect(turn, finding.key, judged)


def _allowed(
    turn: Turn,
    finding: Finding,
    comparison: Comparison,
    coverage: Coverage,
    proposed: Proposal,
    net: NetRow | None,
    *,
    lag: bool,
    witnessed: bool,
) -> Allowed:
    if lag:
        return Allowed(allowed=False, reason="the broker's list is late by some fills: patience")
    return repair.may_correct(
        finding,
        coverage,
        turn.state.spent,
        turn.rules.auto_correct,
        proposal=proposed,
        trading_date=comparison.trading_date,
        witnessed=witnessed,
        quality=net.quality if net else "CONFIRMED",
    )


def _proposal(turn: Turn, finding: Finding, net: NetRow | None, *, first: bool, expired: bool) -> Proposal:
    return repair.proposal(
        finding,
        method=method_of(turn.rules.book.cost_methods, finding.security_type, finding.book),
        net=net,
        fills=traded(turn.state, finding.key),
        first_start=first and finding.key not in turn.state.opened,
        expired=expired,
    )


def propose(turn: Turn, discrepancy: Discrepancy) -> Proposal | None:
    """Return what would be done now about a discrepancy that the newest comparison saw; None when it did not see it."""
    comparison, book = turn.state.comparison, turn.state.book
    key = (discrepancy.symbol, discrepancy.book)
    finding = next((one for one in comparison.findings if one.key == key), None) if comparison else None
    if discrepancy.kind == "MARKED":
        # Only what equals the broker may lose its mark.
        equal = comparison is not None and not turn.state.unproven.get(key) and (finding is None or finding.verdict == "EQUAL")
        return repair.unmarked(book.rows[key].quality) if equal and book and key in book.rows else None
    if finding is None or discrepancies.kind_of(finding) != discrepancy.kind:
        return None
    net = book.rows.get(key) if book else None
    first = _first_start(turn, key)
    proposed = _proposal(turn, finding, net, first=first, expired=discrepancy.cause == "EXPIRED_CONTRACT")
    return _patient(turn, proposed, key, comparison, first=first) if comparison else proposed


def _patient(turn: Turn, proposed: Proposal, key: Key, comparison: Comparison, *, first: bool) -> Proposal:
    """Return what is proposed, or on a first start, while the list may be late by a fill, that it lacks a later look, for operators too."""
    fills = recent(turn.state, key, turn.now_us - turn.rules.lag_us)
    if not first or proposed.kind not in repair.AUTOMATIC or not is_young(fills, comparison.read_began_ts, _REST_US):
        return proposed
    why = f"a fill is less than {_REST_US // 1_000_000} s old, and on a first start the broker's list may be late by it"
    return msgspec.structs.replace(proposed, lacks="a later look", why=why)


def sent_before(turn: Turn, made: Sequence[Correction]) -> bool:
    """Tell whether one of these corrections has gone out already: the ledger answers an id once, and never again."""
    return any(one.correction_id in turn.state.dispatched for one in made)


def _correct(turn: Turn, one: Discrepancy, proposed: Proposal, finding: Finding, comparison: Comparison) -> None:
    tried = turn.state.proposals_tried.get(one.discrepancy_id, 0)
    under_way = any(sent.key == finding.key for sent in turn.state.sent.values())
    if under_way or tried >= _TRIES_MAX or one.status == "APPROVED":
        return
    made = repair.corrections(one, proposed, comparison, turn.now_us, by=turn.rules.instance)
    if not made or sent_before(turn, made):
        return
    turn.keep(discrepancies.correcting(one, made, turn.at()))
    turn.put(
        proposals_tried={**turn.state.proposals_tried, one.discrepancy_id: tried + 1},
        spent=repair.spend(turn.state.spent, finding.key, finding.notional, comparison.trading_date),
    )
    turn.send(made, one.discrepancy_id, finding.notional, comparison.trading_date)


# --- parts -------------------------------------------------------------------------------------------------------------------------------


def _cause(finding: Finding, *, lag: bool, seen: Witness | None, proposed: Proposal, coverage: Coverage) -> DiscrepancyCause:
    if finding.verdict == "UNKNOWN":
        return "UNIT"
    if lag:
        return "BROKER_LAG"
    if seen is not None and seen.cause == "EXPIRED_CONTRACT":
        return "EXPIRED_CONTRACT"
    if proposed.kind == "OPENING":
        return "OPENING"
    return "COVERAGE_GAP" if coverage.gaps and finding.verdict != "COST" else "NONE"


def _first_start(turn: Turn, key: Key) -> bool:
    """Tell whether nothing is known of a key of before its fills: it was never found equal, and no session is closed."""
    ledger, state = turn.state.ledger, turn.state
    never = not state.reconciled and not state.unproven.get(key, state.compared_ts)
    return never and ledger is not None and not ledger.closed_session


def _observe(
    turn: Turn,
    before: Discrepancy | None,
    kind: DiscrepancyKind,
    finding: Finding | None,
    cause: DiscrepancyCause,
    evidence: dict[str, str],
    detail: str = "",
) -> Discrepancy:
    book = turn.state.book
    return turn.keep(
        *discrepancies.observed(
            before,
            turn.state.account,
            kind,
            finding,
            turn.at(),
            cause=cause,
            evidence=evidence,
            trading_date=book.trading_date if book else 0,
            resolve_within_us=turn.rules.resolve_within_us,
            detail=detail,
        )
    )


def observe(turn: Turn, kind: DiscrepancyKind, finding: Finding, evidence: dict[str, str]) -> Discrepancy:
    """Count a look at a difference beside the positions: orders, profit, a marked key."""
    return _observe(turn, next(iter(turn.of_key(finding.key, kind)), None), kind, finding, "NONE", evidence)


def _suspect(turn: Turn, key: Key, suspect: Suspect) -> None:
    turn.put(suspects={**turn.state.suspects, key: suspect})


def forget(turn: Turn, key: Key) -> None:
    """Look at a key as if nothing had been seen of it."""
    if key in turn.state.suspects:
        turn.put(suspects={one: suspect for one, suspect in turn.state.suspects.items() if one != key})
