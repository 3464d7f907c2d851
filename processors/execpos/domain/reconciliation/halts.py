"""When trading stops by itself: the limits of `halt:`, and the TradingControl records that follow from them.

Pure. A crossed limit halts the narrowest scope that it speaks of, latched: it ends by an operator who names its control_id, and by nothing
else. What still holds then was accepted as it was: it halts again when it is worse, or after it went away once (ADR 0020). What was
accepted stands in the record, so a restart judges as one that went on.

Limits are the most that is allowed: the value above one crosses it. `audit_breach` is the auditor's, under its own source.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256

import msgspec

from execpos.domain import control, ids, money
from execpos.domain.events import Discrepancy, TradingControl
from execpos.domain.limits import DETAIL_CHARS_MAX, cut
from execpos.domain.reconciliation.discrepancies import OPEN_STATUSES, REPORTED, due
from execpos.domain.vocabulary import ControlState

SOURCE = "reconciler"
"""Under which it speaks."""

RELAPSE: Mapping[str, int] = {
    "recovery_seconds": 200,
    "heartbeat_gap_s": 200,
    "ledger_lag_s": 200,
    "progress_age_s": 200,
    "unexplained_quantity": 100,
    "unexplained_notional_twd": 110,
    "daily_auto_correct_notional_twd_per_account": 100,
    "failed_broker_reads": 200,
    "estimated_share": 100,
    "dead_letters": 100,
    "journal_backlog": 200,
    "journal_error": 100,
    "resolve_within_s": 200,
}
"""Name of each limit -> above how many percent of what an operator accepted it is worse.

What grows by itself while nothing new happens (a silence, a backlog, tries in a row) may double; a worth moves with its price, and may by a
tenth; everything else is worse as soon as it is more.
"""

AUDITORS = frozenset({"audit_breach"})
"""Limits of `halt:` that are not judged here: the auditor halts under its own source, and ends it like any other."""

CONDITIONS = frozenset({"estimated_positions"})
"""Keys of `halt:` that are no limits: they say from when on another one counts."""

# Differences that are worth nothing as a number, or that have an explanation which needs time and no fill.
_COUNTED_KINDS = frozenset({"QUANTITY", "MISSING_ROW"})
_EXPLAINED = frozenset({"BROKER_LAG", "EXPIRED_CONTRACT"})

# Parts of what a record's evidence says: the causes of a halt, and what an operator accepted.
_CAUSE, _ACCEPTED = "cause ", "accepted "

_MILLION = 1_000_000


class Limits(msgspec.Struct, frozen=True):
    """`halt:` of the configuration: spans in µs, amounts in 10⁻⁶ TWD, shares in parts per million.

    A security type without a limit may not differ at all. `estimated_ppm` counts from `estimated_positions` of them on.
    """

    recovery_us: int
    heartbeat_gap_us: int
    ledger_lag_us: int
    progress_age_us: int
    unexplained_quantity: Mapping[str, int]
    unexplained_notional: Mapping[str, int]
    daily_auto_correct_notional: int
    failed_broker_reads: int
    estimated_ppm: int
    estimated_positions: int
    dead_letters: int
    journal_backlog: int


class Facts(msgspec.Struct, frozen=True):
    """What the limits look at, of one account.

    Attributes:
        account: account key.
        now_us: the moment.
        state: what holds without any halt: ACTIVE, REDUCE_ONLY, or RECOVERING.
        why: for people, why it is not ACTIVE.
        by: the process that says so.
        recovering_us: for how long it has been RECOVERING.
        heartbeat_age_us: silence of the bridge.
        ledger_lag_us: age of the oldest report that the ledger has not handled.
        progress_age_us: silence of the ledger.
        differences: discrepancies that are not over.
        auto_corrected: worth of what was corrected without an operator in this trading date, 10⁻⁶ TWD.
        failed_reads: reads in a row that failed.
        positions: NET rows that hold something.
        estimated: those of them that are ESTIMATED.
        dead_letters: those that nobody has resolved.
        journal_backlog: reports in the bridge's journal that Kafka does not have.
        journal_error: what the bridge says of its journal; empty when all is well.
        reduce_only: symbol -> why it may only be reduced.
        marked: symbol -> why it may not be traded until a mark is cleared; `*` is the whole account.
    """

    account: str
    now_us: int
    state: ControlState = "ACTIVE"
    why: str = ""
    by: str = ""
    recovering_us: int = 0
    heartbeat_age_us: int = 0
    ledger_lag_us: int = 0
    progress_age_us: int = 0
    differences: tuple[Discrepancy, ...] = ()
    auto_corrected: int = 0
    failed_reads: int = 0
    positions: int = 0
    estimated: int = 0
    dead_letters: int = 0
    journal_backlog: int = 0
    journal_error: str = ""
    reduce_only: Mapping[str, str] = {}
    marked: Mapping[str, str] = {}


class Crossed(msgspec.Struct, frozen=True):
    """A limit that is crossed.

    Attributes:
        limit: its name in the configuration; `journal_error` has none, any error is one.
        cause: what names this crossing among others of its scope.
        scope: what it halts.
        value: what was found.
        allowed: the most that may be.
        detail: for people.
    """

    limit: str
    cause: str
    scope: str
    value: int
    allowed: int
    detail: str


# --- limits ------------------------------------------------------------------------------------------------------------------------------


def crossed(facts: Facts, limits: Limits) -> tuple[Crossed, ...]:
    """Return every limit that is crossed now, those of the account first. Whether that is new is for `next_controls` to say."""
    return (*_of_account(facts, limits), *_of_symbols(facts, limits))


def _of_account(facts: Facts, limits: Limits) -> Iterable[Crossed]:
    # A few estimates are a large part of a small account, and no sign that its book as a whole is guessed.
    counts = facts.positions and facts.estimated >= limits.estimated_positions
    ppm = facts.estimated * _MILLION // facts.positions if counts else 0
    checks = (
        ("recovery_seconds", facts.recovering_us, limits.recovery_us, f"it has been recovering for {_s(facts.recovering_us)}"),
        ("heartbeat_gap_s", facts.heartbeat_age_us, limits.heartbeat_gap_us, f"the bridge is silent for {_s(facts.heartbeat_age_us)}"),
        ("ledger_lag_s", facts.ledger_lag_us, limits.ledger_lag_us, f"the ledger is {_s(facts.ledger_lag_us)} behind the reports"),
        ("progress_age_s", facts.progress_age_us, limits.progress_age_us, f"the ledger is silent for {_s(facts.progress_age_us)}"),
        (
            "daily_auto_correct_notional_twd_per_account",
            facts.auto_corrected,
            limits.daily_auto_correct_notional,
            f"{money.grouped(facts.auto_corrected)} TWD were corrected without an operator today",
        ),
        ("failed_broker_reads", facts.failed_reads, limits.failed_broker_reads, f"{facts.failed_reads:,} reads in a row failed"),
        ("estimated_share", ppm, limits.estimated_ppm, f"{facts.estimated:,} of {facts.positions:,} positions are ESTIMATED"),
        ("dead_letters", facts.dead_letters, limits.dead_letters, f"{facts.dead_letters:,} dead letters wait for an operator"),
        (
            "journal_backlog",
            facts.journal_backlog,
            limits.journal_backlog,
            f"{facts.journal_backlog:,} reports in the journal are not in Kafka",
        ),
        ("journal_error", int(bool(facts.journal_error)), 0, f"the bridge's journal fails: {facts.journal_error}"),
    )
    for limit, value, allowed, detail in checks:
        if value > allowed:
            yield Crossed(limit, limit, facts.account, value, allowed, f"{detail} ({_named(limit, allowed)})")


def _of_symbols(facts: Facts, limits: Limits) -> Iterable[Crossed]:
    for one in facts.differences:
        if one.status not in OPEN_STATUSES or one.kind in REPORTED:
            continue
        # Most of them cross nothing, and this runs with every beat: words are made for those that do.
        if one.kind in _COUNTED_KINDS and one.cause not in _EXPLAINED:
            size, worth = abs(one.broker_quantity - one.ledger_quantity), abs(one.notional)
            most, worth_most = limits.unexplained_quantity.get(one.security_type, 0), limits.unexplained_notional.get(one.security_type, 0)
            if size > most:
                yield _differs(one, "unexplained_quantity", size, most, f"by {size:,}; {most:,} are allowed")
            if worth > worth_most:
                detail = f"by {money.grouped(worth)} TWD; {money.grouped(worth_most)} are allowed"
                yield _differs(one, "unexplained_notional_twd", worth, worth_most, detail)
        if one.status == "EXPIRED" or due(one, facts.now_us):
            open_us, allowed = max(facts.now_us - one.opened_ts, 1), max(one.expires_ts - one.opened_ts, 0)
            detail = f"discrepancy {one.discrepancy_id} of {_what(one)} is open for {_s(open_us)} (reconciliation.resolve_within_s)"
            yield Crossed("resolve_within_s", f"resolve_within_s:{one.discrepancy_id}", _scope(one), open_us, allowed, detail)


def _differs(one: Discrepancy, limit: str, value: int, allowed: int, detail: str) -> Crossed:
    kind = one.security_type or "a type that nobody knows"
    said = f"{_what(one)} differs from the broker {detail} (halt.{limit}, {kind}); discrepancy {one.discrepancy_id}"
    return Crossed(limit, f"{limit}:{one.book}", _scope(one), value, allowed, said)


def _what(one: Discrepancy) -> str:
    return f"{one.symbol} ({one.book})" if one.symbol else "the account"


def _scope(one: Discrepancy) -> str:
    return control.symbol_scope(one.account, one.symbol) if one.symbol else one.account


def _s(us: int) -> str:
    return f"{us / 1_000_000:.1f} s"


def _named(limit: str, allowed: int) -> str:
    if limit == "journal_error":
        return "any error halts"
    if limit.endswith(("_s", "_seconds")):
        return f"halt.{limit} {_s(allowed)}"
    if "notional" in limit:
        return f"halt.{limit} {money.grouped(allowed)}"
    return f"halt.{limit} {allowed / _MILLION:g}" if limit == "estimated_share" else f"halt.{limit} {allowed:,}"


# --- the records -------------------------------------------------------------------------------------------------------------------------


def next_controls(
    facts: Facts, limits: Limits, before: Mapping[str, TradingControl], operator: Mapping[str, TradingControl]
) -> tuple[TradingControl, ...]:
    """Return every record to write with this beat: the account's first, then each symbol that is not simply ACTIVE, by name.

    A symbol of which nothing is said any more gets one last ACTIVE, and is silent from then on. Each record may follow what stood
    (`control.may_follow`).

    Args:
        facts: of the account.
        limits: the configuration's.
        before: scope -> what this source said last, of a restart what exec.control holds.
        operator: scope -> what the operator said last.
    """
    found: dict[str, list[Crossed]] = {}
    for one in crossed(facts, limits):
        found.setdefault(one.scope, []).append(one)
    made = [_next(facts, facts.account, found.get(facts.account, ()), before, operator, _account_state(facts))]
    symbols = {control.symbol_scope(facts.account, symbol): symbol for symbol in (*facts.marked, *facts.reduce_only) if symbol != "*"}
    known = {scope for scope, record in before.items() if scope.startswith(f"{facts.account}|") and not _silent(record)}
    made += [
        _next(facts, scope, found.get(scope, ()), before, operator, _symbol_state(facts, symbols.get(scope, "")))
        for scope in sorted((found.keys() | symbols.keys() | known) - {facts.account})
    ]
    return tuple(made)


def halted_by(discrepancy: Discrepancy, controls: Mapping[str, TradingControl]) -> str:
    """Return the control_id of the halt that a discrepancy is a cause of, or nothing.

    Args:
        discrepancy: that is not over.
        controls: scope -> what this source says.
    """
    record = controls.get(_scope(discrepancy))
    if record is None:
        return ""
    causes = _causes(record)
    names = [f"resolve_within_s:{discrepancy.discrepancy_id}"]
    if discrepancy.kind in _COUNTED_KINDS:
        names += [f"unexplained_quantity:{discrepancy.book}", f"unexplained_notional_twd:{discrepancy.book}"]
    return record.control_id if any(name in causes for name in names) else ""


def _account_state(facts: Facts) -> tuple[ControlState, str]:
    mark = facts.marked.get(ids.WHOLE_ACCOUNT)
    return (control.RECOVERING, mark) if mark and facts.state != control.RECOVERING else (facts.state, facts.why)


def _symbol_state(facts: Facts, symbol: str) -> tuple[ControlState, str]:
    if mark := facts.marked.get(symbol):
        return control.RECOVERING, mark
    if why := facts.reduce_only.get(symbol):
        return control.REDUCE_ONLY, why
    return control.ACTIVE, ""


def _next(
    facts: Facts,
    scope: str,
    found: Iterable[Crossed],
    before: Mapping[str, TradingControl],
    operator: Mapping[str, TradingControl],
    otherwise: tuple[ControlState, str],
) -> TradingControl:
    """Return the next record of one scope."""
    last = before.get(scope)
    held = _causes(last) if last is not None else {}
    now = {one.cause: one for one in found}
    # What is gone was accepted once, and would be new.
    accepted = {cause: value for cause, value in _accepted(last).items() if cause in now}
    if last is not None and control.released(last, operator.get(scope)):
        accepted |= {cause: now[cause].value for cause in held if cause in now}
        held = {}
    fresh = {cause: one for cause, one in now.items() if cause not in held and _worse(one, accepted.get(cause))}
    kept = {f"{_ACCEPTED}{cause}": str(value) for cause, value in accepted.items() if cause not in fresh}
    if fresh:
        # A new cause is a new halt: who releases the one before has not seen this one.
        causes = {cause: said for cause, said in held.items() if cause in now}
        causes |= {cause: f"{one.value} above {one.allowed}" for cause, one in fresh.items()}
        old = [last.reason] if last is not None and held else []
        reason = "; ".join([*old, *(one.detail for one in fresh.values())])
        evidence = {f"{_CAUSE}{cause}": said for cause, said in causes.items()} | kept
        return _record(facts, scope, control.HALTED, _id("halt", scope, facts.now_us, causes), reason, evidence, latched=True)
    if last is not None and held:
        evidence = {name: said for name, said in last.evidence.items() if name.startswith(_CAUSE)} | kept
        return msgspec.structs.replace(last, evidence=evidence, by=facts.by, ts=facts.now_us)
    state, why = otherwise
    reason = why or ("" if not kept else f"accepted by the operator: {', '.join(sorted(now))}")
    alike = last is not None and not last.latched and last.state == state
    control_id = last.control_id if last is not None and alike else _id(state.lower(), scope, facts.now_us, ())
    return _record(facts, scope, state, control_id, reason, kept, latched=False)


def _record(
    facts: Facts, scope: str, state: ControlState, control_id: str, reason: str, evidence: dict[str, str], *, latched: bool
) -> TradingControl:
    return TradingControl(
        scope=scope,
        source=SOURCE,
        state=state,
        control_id=control_id,
        reason=cut(reason, DETAIL_CHARS_MAX),
        by=facts.by,
        latched=latched,
        releases="",
        evidence=evidence,
        ts=facts.now_us,
    )


def _id(word: str, scope: str, now_us: int, causes: Iterable[str]) -> str:
    """Return an id of a state that began now: another halt by the same causes has another one, so an old release does not end it."""
    digest = sha256("\0".join((scope, *sorted(causes))).encode()).hexdigest()[:8]
    return f"{word}-{now_us:x}-{digest}"


def _worse(one: Crossed, accepted: int | None) -> bool:
    return accepted is None or one.value * 100 > accepted * RELAPSE[one.limit]


def _silent(record: TradingControl) -> bool:
    """Tell whether a record of a symbol was the last one for now."""
    return record.state == control.ACTIVE and not _accepted(record)


def _causes(record: TradingControl) -> dict[str, str]:
    return {name.removeprefix(_CAUSE): said for name, said in record.evidence.items() if name.startswith(_CAUSE)}


def _accepted(record: TradingControl | None) -> dict[str, int]:
    if record is None:
        return {}
    return {name.removeprefix(_ACCEPTED): int(said) for name, said in record.evidence.items() if name.startswith(_ACCEPTED)}
