"""Counts and logs what was decided, once it is committed."""

from collections import Counter
from collections.abc import Iterable
from typing import get_args

import msgspec

from execpos.domain.events import Discrepancy
from execpos.domain.reconciliation.discrepancies import OPEN_STATUSES
from execpos.domain.reconciliation.state import Output
from execpos.domain.vocabulary import ControlState, DiscrepancyKind
from execpos.reconciler.held import Held
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

_log = Logger("reconciler")


class Tally:
    """Holds what the open transaction decided; `committed` counts it, `drop` forgets it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._decided: list[Output] = []
        self._unreadable: Counter[str] = Counter()

    def add(self, decided: Output) -> None:
        """Take in one decision."""
        if decided.requests or decided.corrections or decided.discrepancies or decided.rounds:
            self._decided.append(decided)

    def unreadable(self, topic: str) -> None:
        """Take in one record that was passed over."""
        self._unreadable[topic] += 1

    def drop(self) -> None:
        """Forget what was not committed."""
        self._decided.clear()
        self._unreadable.clear()

    def committed(self, words: Iterable[tuple[str, str, str]]) -> None:
        """Count and log what is final now.

        Args:
            words: (account, what trading was there, what it is now) of the accounts on which it changed.
        """
        for decided in self._decided:
            self._count(decided)
        for topic, count in self._unreadable.items():
            metrics.counter("execpos_reconciler_unreadable_total").labels(topic=topic).inc(count)
        for account, before, after in words:
            _log.warning("trading_state_changed", account=account, before=before, state=after)
        self.drop()

    def _count(self, decided: Output) -> None:
        for ended in decided.rounds:
            self.counts[ended.verdict] += 1
            metrics.counter("execpos_reconciler_rounds_total").labels(verdict=ended.verdict).inc()
            metrics.counter("execpos_reconciler_broker_calls_total").inc(ended.broker_calls)
            _log.info(
                "round_ended",
                account=ended.account,
                round_id=ended.round_id,
                verdict=ended.verdict,
                triggers=list(ended.triggers),
                keys=ended.keys_compared,
                discrepancies=list(ended.discrepancies),
                detail=ended.detail,
                seconds=round((ended.ended_ts - ended.began_ts) / 1e6, 3),
            )
        for correction in decided.corrections:
            metrics.counter("execpos_reconciler_corrections_total").labels(kind=correction.kind).inc()
            _log.warning("correction_published", account=correction.account, correction_id=correction.correction_id, kind=correction.kind)
        for discrepancy in decided.discrepancies:
            _say(discrepancy)


def _say(discrepancy: Discrepancy) -> None:
    step = discrepancy.history[-1] if discrepancy.history else None
    if step is not None and step.ts != discrepancy.ts:
        return  # one more round has seen it, and nothing changed
    _log.warning(
        "discrepancy_changed",
        account=discrepancy.account,
        discrepancy_id=discrepancy.discrepancy_id,
        kind=discrepancy.kind,
        symbol=discrepancy.symbol,
        status=discrepancy.status,
        reason=step.reason if step is not None else "",
    )


def measure(accounts: Iterable[Held], now_us: int) -> None:
    """Set the gauges to what stands now."""
    states, kinds, oldest_us = Counter[str](), Counter[str](), now_us
    for held in accounts:
        states[held.word or "unknown"] += 1
        kinds.update(held.differences.values())
        oldest_us = min(oldest_us, held.equal_us)
    by_state = metrics.gauge("execpos_reconciler_accounts")
    for state in (*get_args(ControlState), "unknown"):
        by_state.labels(state=state).set(states[state])
    by_kind = metrics.gauge("execpos_reconciler_open_discrepancies")
    for kind in get_args(DiscrepancyKind):
        by_kind.labels(kind=kind).set(kinds[kind])
    metrics.gauge("execpos_reconciler_unequal_seconds").set((now_us - oldest_us) / 1e6)


def differences(known: Iterable[Discrepancy]) -> dict[str, str]:
    """Return discrepancy id -> kind of those that are open."""
    return {one.discrepancy_id: one.kind for one in known if one.status in OPEN_STATUSES}


def noted(held: Held, account: str, decided: Output, now_us: int) -> Held:
    """Return what is kept of an account after a decision."""
    word, equal_us, differences = held.word, held.equal_us, held.differences
    for said in decided.controls:
        if said.scope == account:
            word = said.state
    if any(ended.verdict == "EQUAL" for ended in decided.rounds):
        equal_us = now_us
    if decided.discrepancies:
        differences = dict(differences)
        for one in decided.discrepancies:
            differences.pop(one.discrepancy_id, None)
            if one.status in OPEN_STATUSES:
                differences[one.discrepancy_id] = one.kind
    return msgspec.structs.replace(held, state=decided.state, word=word, equal_us=equal_us, differences=differences)
