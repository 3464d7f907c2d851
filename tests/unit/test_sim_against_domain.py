"""A simulated day through bridge conversion and the domain's pipeline ends in the simulator's own book: two books, written apart."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from execpos import settings
from execpos.bridge.convert import Converter
from execpos.bridge.intents import intent_record
from execpos.brokers.sim import Faults, SimConfig, Simulator, market_open_us
from execpos.domain.book import Source
from execpos.domain.events import CorrectionOutcome, FillEvent, OrderEvent, PositionDelta
from execpos.domain.pipeline import Pipeline
from execpos.domain.positions import CostMethod

# The broker's rules as the simulator's book states them; a configuration may say otherwise, and then the two books differ.
BROKER_METHODS: dict[str, CostMethod] = {"cash": "average", "margin": "fifo", "short": "fifo", "derivative": "fifo"}


class Nothing:
    """Takes what the pipeline writes; the rows are what counts here."""

    def order(self, event: OrderEvent) -> None:
        """Take an order event."""

    def fill(self, event: FillEvent) -> None:
        """Take a fill."""

    def delta(self, event: PositionDelta) -> None:
        """Take a delta."""

    def outcome(self, outcome: CorrectionOutcome) -> None:
        """Take an outcome."""


def fold(simulator: Simulator) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Return what became of the records, and the domain's rows as the simulator's book writes them."""
    pipeline = Pipeline(msgspec.structs.replace(settings.load(None).rules(), cost_methods=BROKER_METHODS), Nothing())
    convert = Converter("simulation", "b", 1, "test")
    became: Counter[str] = Counter()
    for offset, event in enumerate(simulator.events(), 1):
        at_us = event.at_us
        source = Source("raw", 0, offset, int(event.intent is not None), at_us, "b", 1, offset, at_us, 1)
        if event.intent is not None:
            outcome = pipeline.apply_intent(intent_record("simulation", event.intent), source)
        else:
            outcome = pipeline.apply_raw(convert((at_us * 1000, 0, event.state, event.payload)), source)
        pipeline.commit()
        became[outcome.disposition] += 1
    rows = [
        {
            "account": account.key,
            "symbol": position.symbol,
            "book": position.book,
            "strategy_id": position.strategy_id,
            "quantity": position.row.quantity,
            "open_cost": position.row.open_cost,
            "realized": position.row.realized,
        }
        for account in pipeline.accounts.values()
        for position in account.book
    ]
    return became, rows


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("conflict", [0.0, 0.01])
def test_the_domain_ends_in_the_simulator_s_book(seed: int, conflict: float) -> None:
    faults = Faults(duplicate=0.05, new_receipt=0.05, deal_before_order=0.1, late=0.05, reorder=0.1, conflict=conflict)
    simulator = Simulator(
        SimConfig(seed=seed, start_us=market_open_us(2026, 5, 21), events=3000, step_us=10_000, margin_share=0.1, faults=faults)
    )
    became, rows = fold(simulator)
    truth = simulator.truth

    assert simulator.book.differences(rows) == []
    expected = Counter(
        order=truth.order_reports, fill=truth.fills, duplicate=truth.duplicates, conflict=truth.conflicts, control=truth.intents
    )
    # Plus drops what is zero.
    assert became == +expected
