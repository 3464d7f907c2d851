"""The simulated broker: a seeded trading day with Shioaji's callbacks, its own robot, its own account book.

`SimConfig` says what the day is, `Simulator` makes it, `standard_workload` makes the one that everybody measures with. The live broker,
which can be asked and whose link fails, is `venue.Venue`; `api.SimApi` on a link of `link` is a client of it (docs/simulator.md).
"""

from execpos.brokers.sim.book import SimBook
from execpos.brokers.sim.config import (
    Attribution,
    Faults,
    SimAccount,
    SimConfig,
    SimEvent,
    SimIntent,
    market_open_us,
    start_within_session,
)
from execpos.brokers.sim.day import Simulator
from execpos.brokers.sim.truth import SimFault, SimTruth
from execpos.brokers.sim.workload import Workload, standard_workload

__all__ = [
    "Attribution",
    "Faults",
    "SimAccount",
    "SimBook",
    "SimConfig",
    "SimEvent",
    "SimFault",
    "SimIntent",
    "SimTruth",
    "Simulator",
    "Workload",
    "market_open_us",
    "standard_workload",
    "start_within_session",
]
