"""The configuration as the domain's rules: spans in µs, amounts in 10⁻⁶ TWD."""

from typing import TYPE_CHECKING

from execpos.domain.money import MICROS
from execpos.domain.reconciliation.comparison import CompareRules
from execpos.domain.reconciliation.halts import Limits
from execpos.domain.reconciliation.pace import Pace
from execpos.domain.reconciliation.repair import AutoLimits, TypeLimit
from execpos.domain.reconciliation.state import Rules

if TYPE_CHECKING:
    from execpos.settings import Settings

# Beside the turn in the budget and two answers: what Kafka, the journal and the bridge's look for requests take.
_ON_THE_WAY_S = 5.0

# Only a real login has hours in which it must not be asked; a simulated broker answers at any time.
_WITH_BLACKOUTS = frozenset({"production"})


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def rules(settings: "Settings", instance: str) -> Rules:
    """Return the rules for one process. Made once a thread, because its tables fill memos."""
    book = settings.rules()
    reconciliation, polling, bridge = settings.reconciliation, settings.polling, settings.bridge
    return Rules(
        book=book,
        compare=CompareRules(book.instruments, reconciliation.cost_tolerance_ticks),
        auto_correct=_auto_limits(settings),
        halt=_halt_limits(settings),
        instance=instance,
        interval_us=_us(reconciliation.interval_s),
        positions_interval_us=_us(polling.positions_interval_s),
        orders_interval_us=_us(polling.orders_interval_s),
        profit_interval_us=_us(polling.profit_loss_interval_s),
        settle_us=_us(reconciliation.settle_s),
        rounds=reconciliation.rounds,
        witness_rounds=reconciliation.witness_rounds,
        resolve_within_us=_us(reconciliation.resolve_within_s),
        four_eyes=reconciliation.four_eyes,
        blackouts=settings.env in _WITH_BLACKOUTS,
        answer_us=_us(bridge.budget_wait_s + 2 * bridge.answer_timeout_s + _ON_THE_WAY_S),
    )


def pace(settings: "Settings") -> Pace:
    """Return the pace of a login of which nothing was asked yet."""
    polling = settings.polling
    return Pace(limit=int(polling.accounting.calls * polling.budget_share), span_us=_us(polling.accounting.per_s))


def _auto_limits(settings: "Settings") -> AutoLimits:
    found = settings.reconciliation.auto_correct
    return AutoLimits(
        enabled=found.enabled,
        limits={kind: TypeLimit(limit.quantity, limit.notional_twd * MICROS) for kind, limit in found.limits.items()},
        daily_count_per_key=found.daily_count_per_key,
        daily_notional=found.daily_notional_twd_per_account * MICROS,
    )


def _halt_limits(settings: "Settings") -> Limits:
    halt = settings.halt
    return Limits(
        recovery_us=_us(halt.recovery_seconds),
        heartbeat_gap_us=_us(halt.heartbeat_gap_s),
        ledger_lag_us=_us(halt.ledger_lag_s),
        progress_age_us=_us(halt.progress_age_s),
        unexplained_quantity={str(kind): quantity for kind, quantity in halt.unexplained_quantity.items()},
        unexplained_notional={kind: amount * MICROS for kind, amount in halt.unexplained_notional_twd.items()},
        daily_auto_correct_notional=halt.daily_auto_correct_notional_twd_per_account * MICROS,
        failed_broker_reads=halt.failed_broker_reads,
        estimated_ppm=round(halt.estimated_share * MICROS),
        estimated_positions=halt.estimated_positions,
        dead_letters=halt.dead_letters,
        journal_backlog=halt.journal_backlog,
    )
