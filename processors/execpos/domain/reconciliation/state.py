"""What the reconciler goes by, what it knows of one account, and what it wants done.

All of it is frozen: a step makes a new state, and an aborted transaction goes back by keeping the old one.
"""

from collections.abc import Mapping

import msgspec

from execpos.domain.events import BrokerRequest, Command, Correction, Discrepancy, FillEvent, ReconciliationRound, TradingControl
from execpos.domain.reconciliation.allocation import Adjusted
from execpos.domain.reconciliation.comparison import CompareRules, Comparison
from execpos.domain.reconciliation.halts import Limits
from execpos.domain.reconciliation.repair import AutoLimits, Gap, Spent
from execpos.domain.reconciliation.rounds import Round
from execpos.domain.reconciliation.sides import Book, Key
from execpos.domain.reconciliation.triggers import Bridge, Ledger
from execpos.domain.rules import Rules as BookRules
from execpos.domain.vocabulary import RoundTrigger

# How far back fills tell a broker's list that is late from a fill that we lack; lists are late by seconds, so this is long patience.
LAG_US = 600_000_000


class Rules(msgspec.Struct, frozen=True, eq=False):
    """Every setting that decides something. Made once a thread, because its tables fill memos. Spans in µs.

    Attributes:
        book: instruments, calendar and cost methods.
        compare: what a comparison goes by.
        auto_correct: what may be corrected without an operator.
        halt: limits that stop trading.
        instance: name of this process, in what it writes.
        interval_us: time between two rounds that read the records and the orders too.
        positions_interval_us: time between two comparisons that nothing else asked for.
        orders_interval_us: least time between two comparisons of orders.
        profit_interval_us: time between two tries to read the realized profit after a close.
        settle_us: a difference counts only when a look at least so much later shows the same.
        rounds: looks at a position that moves, at a difference that changes, at answers that cannot be used; then it is a discrepancy.
        witness_rounds: rounds over which a missing row needs a second witness.
        resolve_within_us: a discrepancy that is open for longer halts its scope.
        four_eyes: whether an approval needs two people.
        blackouts: whether windows in which the broker must not be asked hold for this login.
        silence_us: a longer pause between two beats is a gap.
        cover_us: how long the bridge's own catch-up is waited for before another one is asked for.
        answer_us: how long a request is good for: its turn in the budget, and every answer of it.
        outcome_us: how long the outcome of a correction is waited for.
        beat_us: time between two beats of the trading control; readers want one a second.
        lag_us: how far back fills are kept.
    """

    book: BookRules
    compare: CompareRules
    auto_correct: AutoLimits
    halt: Limits
    instance: str = "reconciler-0"
    interval_us: int = 300_000_000
    positions_interval_us: int = 60_000_000
    orders_interval_us: int = 30_000_000
    profit_interval_us: int = 3_600_000_000
    settle_us: int = 10_000_000
    rounds: int = 3
    witness_rounds: int = 3
    resolve_within_us: int = 1_800_000_000
    four_eyes: bool = False
    blackouts: bool = True
    silence_us: int = 5_000_000
    cover_us: int = 10_000_000
    answer_us: int = 45_000_000
    outcome_us: int = 10_000_000
    beat_us: int = 500_000
    lag_us: int = LAG_US


class Suspect(msgspec.Struct, frozen=True):
    """A key that is not equal and not judged yet.

    Attributes:
        what: the difference, as it has to be seen again; empty of a key that only moved.
        since_ts: when the read ended that saw it first, by the bridge's clock.
        seen_us: when that was judged, by ours; of a missing row, when a witness was last looked for.
        looks: rounds in a row in which the key was not equal.
        witness: rounds in which a second witness for a missing row was looked for.
    """

    what: str = ""
    since_ts: int = 0
    seen_us: int = 0
    looks: int = 0
    witness: int = 0


class Sent(msgspec.Struct, frozen=True):
    """A correction whose outcome has not come.

    Attributes:
        discrepancy_id: which difference it is for; empty of one that belongs to none.
        kind: of the correction.
        key: symbol and book.
        notional: what it counts for in the budgets of automatic ones, 10⁻⁶ TWD; -1 of one that an operator wanted.
        trading_date: in whose budget.
        until_us: when it is given up.
        then: what goes out for the same key once it is applied.
        adjusted: what it does to UNASSIGNED, with what follows it; None of what is no ADJUST.
    """

    discrepancy_id: str
    kind: str
    key: Key
    notional: int
    trading_date: int
    until_us: int
    then: tuple[Correction, ...] = ()
    adjusted: Adjusted | None = None


class Letter(msgspec.Struct, frozen=True, gc=False):
    """A dead letter that nobody has resolved: where its record stood, the key that it marked (empty: any of the account), when."""

    source: str
    key: Key
    ts: int


class Profits(msgspec.Struct, frozen=True):
    """What is due of the realized profit: the trading date that closed (0: nothing), when to try, and the last date that is done."""

    due: int = 0
    not_before_us: int = 0
    done: int = 0


class State(msgspec.Struct, frozen=True, eq=False):
    """One account.

    Attributes:
        account: account key.
        began_us: when this process began with it.
        now_us: of the last step.
        bridge, ledger: what was heard of them.
        triggers: why a round is wanted.
        commands: RECONCILE commands that wait for their round, and others that wait for the round that confirms them.
        answered: ids of commands that were seen.
        not_before_us: when the next round may begin.
        tries: rounds in a row that could not be used.
        failed_reads: reads in a row that failed.
        current: the round under way.
        fresh_ts: the records have to be read again after this moment, by the bridge's clock, before the next comparison; 0: as they are.
        gaps: when reports may have been lost.
        compared_ts: when the newest comparison's reads began.
        unproven: keys that were not equal then -> when they last were.
        clean_us: when the newest round began to read that left nothing to look at again.
        unsettled_us: when something last was so that a round had to follow it.
        recovering_us: since when the account is recovering; 0 while it is not.
        resumed_us: when this process last came back from a pause of its own; 0 before the first.
        reconciled: an earlier process has compared the account to the end.
        suspects: keys that are looked at again.
        orders_seen: keys whose orders differed in the last look -> how, and when that was.
        discrepancies: those that are not over, by id.
        proposals_tried: discrepancy -> corrections sent for it without an operator.
        sent: corrections under way, by id.
        dispatched: ids of corrections that went out, the newest ones; none goes out twice, unless it was rejected as stale.
        opened: keys that have an opening, or that the ledger takes none for.
        rejected: discrepancy -> why the ledger rejected one of its corrections, while others of it are under way.
        fills: fills of the last while, by key.
        letters: dead letters.
        spent: what was corrected without an operator.
        adjusted: keys whose strategies do not have what was adjusted, until an operator allocates it.
        controls: what we said last, by scope.
        operators: what the operator said last, by scope.
        spoken_us: when we last spoke.
        book: the newest book.
        comparison: the newest usable comparison.
        asked_us, full_us, orders_us: when positions, records and orders, orders were last compared.
        profits: realized profit after the close.
    """

    account: str
    began_us: int
    now_us: int
    bridge: Bridge | None = None
    ledger: Ledger | None = None
    triggers: tuple[RoundTrigger, ...] = ()
    commands: tuple[Command, ...] = ()
    answered: tuple[str, ...] = ()
    not_before_us: int = 0
    tries: int = 0
    failed_reads: int = 0
    current: Round | None = None
    fresh_ts: int = 0
    gaps: tuple[Gap, ...] = ()
    compared_ts: int = 0
    unproven: Mapping[Key, int] = {}
    clean_us: int = 0
    unsettled_us: int = 0
    recovering_us: int = 0
    resumed_us: int = 0
    reconciled: bool = False
    suspects: Mapping[Key, Suspect] = {}
    orders_seen: Mapping[Key, tuple[str, int]] = {}
    discrepancies: Mapping[str, Discrepancy] = {}
    proposals_tried: Mapping[str, int] = {}
    sent: Mapping[str, Sent] = {}
    dispatched: tuple[str, ...] = ()
    opened: frozenset[Key] = frozenset()
    rejected: Mapping[str, str] = {}
    fills: Mapping[Key, tuple[FillEvent, ...]] = {}
    letters: tuple[Letter, ...] = ()
    spent: Spent = Spent()
    adjusted: Mapping[Key, Adjusted] = {}
    controls: Mapping[str, TradingControl] = {}
    operators: Mapping[str, TradingControl] = {}
    spoken_us: int = 0
    book: Book | None = None
    comparison: Comparison | None = None
    asked_us: int = 0
    full_us: int = 0
    orders_us: int = 0
    profits: Profits = Profits()


class Output(msgspec.Struct, frozen=True, eq=False):
    """What one step wants: the new state, and the records to write with it in one transaction, each tuple in its order."""

    state: State
    requests: tuple[BrokerRequest, ...] = ()
    corrections: tuple[Correction, ...] = ()
    discrepancies: tuple[Discrepancy, ...] = ()
    controls: tuple[TradingControl, ...] = ()
    rounds: tuple[ReconciliationRound, ...] = ()
