"""The standard workload of the benches: the same day for everybody who measures."""

from typing import NamedTuple

from execpos.brokers.sim.config import Attribution, Faults, SimConfig, SimEvent, market_open_us
from execpos.brokers.sim.day import Simulator

# The workload of the design: 50 accounts with 8 symbols each and 5 strategies are 2,000 position keys.
_STOCK_ACCOUNTS, _FUTURES_ACCOUNTS, _SYMBOLS = 30, 20, 8

# A made-up trading day, a Thursday.
_DATE = (2026, 5, 21)


class Workload(NamedTuple):
    """Events made beforehand, and the day they come from: its book and truth are those of all the events."""

    events: list[SimEvent]
    simulator: Simulator


def standard_workload(*, events: int = 100_000, seed: int = 1, start_us: int | None = None, step_us: int = 100) -> Workload:
    """Make the standard workload: 50 accounts, 2,000 keys, 5 strategies, 40 % order reports, 55 % deals, 5 % duplicates.

    Every order has an owner: nine tenths say so before their first report, by intent or custom_field, the rest after their first fill.

    Args:
        events: about how many deliveries; intents come on top.
        seed: which day.
        start_us: first moment; 09:00 on a day in May 2026 by default.
        step_us: simulated time from one delivery to the next.
    """
    config = SimConfig(
        seed=seed,
        start_us=market_open_us(*_DATE) if start_us is None else start_us,
        step_us=step_us,
        stock_accounts=_STOCK_ACCOUNTS,
        futures_accounts=_FUTURES_ACCOUNTS,
        stock_symbols=_SYMBOLS,
        futures_months=2,
        option_series=2,
        symbols_per_account=_SYMBOLS,
        deal_share=0.579,
        margin_share=0.0,
        working_max=500,
        faults=Faults(duplicate=0.042, new_receipt=0.018),
        attribution=Attribution(intent_before=0.45, intent_late=0.1, custom_field=0.45, manual=0.0),
    )
    simulator = Simulator(config)
    made = []
    for event in simulator.events():
        made.append(event)
        if simulator.truth.callbacks >= events:
            simulator.stop()
    return Workload(made, simulator)
