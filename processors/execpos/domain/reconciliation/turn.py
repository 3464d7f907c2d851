"""One step of an account under way: the state as it becomes, and what is to be written with it. Used by one step, then thrown away."""

from typing import Any

import msgspec

from execpos.domain.events import BrokerRequest, Correction, Discrepancy, ReconciliationRound, TradingControl
from execpos.domain.reconciliation import allocation, triggers
from execpos.domain.reconciliation.approvals import is_request
from execpos.domain.reconciliation.discrepancies import OPEN_STATUSES, At, terminal
from execpos.domain.reconciliation.pace import Pace
from execpos.domain.reconciliation.repair import Coverage, Gap
from execpos.domain.reconciliation.rounds import Round
from execpos.domain.reconciliation.sides import Key
from execpos.domain.reconciliation.state import Output, Rules, Sent, State
from execpos.domain.vocabulary import RoundTrigger

# Ids of corrections that are remembered: far more than a day brings, and an id names the version of the row that it was made for.
_DISPATCHED_MAX = 10_000


class Turn:
    """See the module.

    Args:
        state: before the step.
        now_us: the moment of the step, µs UTC.
        rules: what to go by.
        pace: what may be asked for now.
    """

    def __init__(self, state: State, now_us: int, rules: Rules, pace: Pace) -> None:
        self.state = state
        self.now_us = now_us
        self.rules = rules
        self.pace = pace
        self._requests: list[BrokerRequest] = []
        self._corrections: list[Correction] = []
        # Of one discrepancy only the newest record of a step is written.
        self._discrepancies: dict[str, Discrepancy] = {}
        self._controls: list[TradingControl] = []
        self._rounds: list[ReconciliationRound] = []

    @property
    def asked(self) -> tuple[BrokerRequest, ...]:
        """What this step has asked for so far."""
        return tuple(self._requests)

    @property
    def changed(self) -> bool:
        """Whether a discrepancy changed in this step."""
        return bool(self._discrepancies)

    def output(self) -> Output:
        """Return what the step wants."""
        return Output(
            self.state,
            tuple(self._requests),
            tuple(self._corrections),
            tuple(self._discrepancies.values()),
            tuple(self._controls),
            tuple(self._rounds),
        )

    # --- the state -------------------------------------------------------------------------------------------------------------------

    def put(self, **changes: Any) -> None:
        """Change fields of the state."""
        self.state = msgspec.structs.replace(self.state, **changes)

    def round(self, **changes: Any) -> Round:
        """Change fields of the round under way, and return it."""
        current = self.current
        if changes:
            current = msgspec.structs.replace(current, **changes)
            self.put(current=current)
        return current

    @property
    def current(self) -> Round:
        """The round under way; only where there is one."""
        current = self.state.current
        if current is None:
            msg = f"account {self.state.account} has no round under way"
            raise AssertionError(msg)
        return current

    def want(self, *wanted: RoundTrigger) -> None:
        """Ask for a round; a trigger that waits already is not asked for twice."""
        self.put(triggers=tuple(dict.fromkeys((*self.state.triggers, *wanted))))

    def missed(self, *gaps: Gap) -> None:
        """Note that reports may have been lost; a round has to follow, and one that reads now proves nothing."""
        if gaps:
            self.put(gaps=triggers.kept(self.state.gaps, gaps), unsettled_us=self.now_us)
            if self.state.current is not None and self.state.current.stage == "READ":
                self.round(gap=True)

    def refresh(self) -> None:
        """Want the records read again before the next comparison, whatever was read until now."""
        bridge = self.state.bridge
        self.put(fresh_ts=max(self.state.fresh_ts, bridge.last.ts if bridge else self.now_us))

    # --- what is written ---------------------------------------------------------------------------------------------------------------

    def ask(self, request: BrokerRequest) -> None:
        """Ask the bridge."""
        self._requests.append(request)

    def keep(self, *discrepancies: Discrepancy) -> Discrepancy:
        """Write discrepancies, and know those that are not over; return the last one."""
        known = dict(self.state.discrepancies)
        for one in discrepancies:
            self._discrepancies[one.discrepancy_id] = one
            if terminal(one):
                known.pop(one.discrepancy_id, None)
            else:
                known[one.discrepancy_id] = one
        self.put(discrepancies=known)
        current = self.state.current
        if current is not None:
            self.round(differences=tuple(dict.fromkeys((*current.differences, *(one.discrepancy_id for one in discrepancies)))))
        return discrepancies[-1]

    def send(self, corrections: tuple[Correction, ...], discrepancy_id: str, notional: int, trading_date: int) -> None:
        """Send corrections, and wait for their outcomes; `notional` is -1 for those that an operator wanted.

        Of several for one key the next goes out when the one before is applied: a fill between them would make the version right that the
        second one names, and the difference another.
        """
        chains: dict[Key, list[Correction]] = {}
        for one in corrections:
            chains.setdefault((one.symbol, one.book), []).append(one)
        for number, (key, (first, *rest)) in enumerate(chains.items()):
            # What the corrections of one difference are worth counts once.
            worth = min(notional, 0) if number else notional
            until_us = self.now_us + self.rules.outcome_us
            adjusted = self._adjusted(key, (first, *rest), discrepancy_id)
            self.dispatch(first, Sent(discrepancy_id, first.kind, key, worth, trading_date, until_us, tuple(rest), adjusted))

    def _adjusted(self, key: Key, chain: tuple[Correction, ...], discrepancy_id: str) -> allocation.Adjusted | None:
        """Return what a chain does to UNASSIGNED, and have its discrepancy tell a restart."""
        quantity = sum(one.quantity for one in chain if one.kind == "ADJUST")
        if not quantity:
            return None
        before = allocation.unassigned(self.state.book, key)
        adjusted = allocation.Adjusted(before, before + quantity)
        one = self.state.discrepancies.get(discrepancy_id)
        if one is not None and (one.symbol, one.book) == key:
            self.keep(msgspec.structs.replace(one, evidence=one.evidence | {allocation.EVIDENCE: str(adjusted)}))
        return adjusted

    def dispatch(self, correction: Correction, sent: Sent) -> None:
        """Send one correction."""
        dispatched = (*self.state.dispatched, correction.correction_id)[-_DISPATCHED_MAX:]
        self.put(sent={**self.state.sent, correction.correction_id: sent}, dispatched=dispatched)
        self._corrections.append(correction)
        current = self.state.current
        if current is not None:
            self.round(corrections=(*current.corrections, correction.correction_id))

    def bill(self, corrections: tuple[Correction, ...]) -> None:
        """Send corrections of charges; nothing waits for their outcomes."""
        self._corrections.extend(corrections)

    def say(self, *controls: TradingControl) -> None:
        """Write what we say of trading, and remember it."""
        self._controls.extend(controls)
        self.put(controls={**self.state.controls, **{one.scope: one for one in controls}})

    def report(self, ended: ReconciliationRound) -> None:
        """Write a round that has ended."""
        self._rounds.append(ended)

    # --- questions ---------------------------------------------------------------------------------------------------------------------

    def at(self) -> At:
        """Return the moment of a step in the life of a discrepancy."""
        current = self.state.current
        return At(current.round_id if current else "", self.now_us)

    def coverage(self, key: Key) -> Coverage:
        """Return what may have been missed of a key since it was last found equal."""
        proven = self.state.unproven.get(key, self.state.compared_ts)
        return Coverage(tuple(gap for gap in self.state.gaps if gap.to_ts > proven))

    def of_key(self, key: Key, *kinds: str) -> list[Discrepancy]:
        """Return the discrepancies of a key and of these kinds that are not over; requests of operators are none."""
        return [
            one for one in self.state.discrepancies.values() if (one.symbol, one.book) == key and one.kind in kinds and not is_request(one)
        ]

    def open(self) -> list[Discrepancy]:
        """Return the differences that stand open."""
        return [one for one in self.state.discrepancies.values() if one.status in OPEN_STATUSES and not is_request(one)]
