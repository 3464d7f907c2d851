"""The tables of the warehouse: which topic fills each, and with which record."""

from typing import NamedTuple

import msgspec

from execpos.domain import events


class Table(NamedTuple):
    """One table and the topic behind it; the file is `schemas/<name>.sql`."""

    name: str
    topic: str
    record: type[msgspec.Struct]
    latest_by_key: bool = False
    """Only the newest record of a key is kept, as the compacted topic does."""
    key: tuple[str, ...] = ("position_key",)
    """The columns that are the key, where only the newest is kept."""


TABLES = (
    Table("orders", "orders", events.OrderEvent),
    Table("fills", "fills", events.FillEvent),
    Table("deltas", "deltas", events.PositionDelta),
    Table("positions", "positions", events.PositionState, latest_by_key=True),
    Table("dead_letters", "dead-letters", events.DeadLetter),
    Table("corrections", "corrections", events.Correction),
    Table("correction_outcomes", "correction-outcomes", events.CorrectionOutcome),
    Table("rounds", "rounds", events.ReconciliationRound),
    Table("discrepancies", "discrepancies", events.Discrepancy, latest_by_key=True, key=("discrepancy_id",)),
    Table("control", "control", events.TradingControl, latest_by_key=True, key=("scope", "source")),
)
ERRORS_FILE = "ingest_errors.sql"
VIEWS_FILE = "views.sql"


def table(name: str) -> Table:
    """Return the table of that name; KeyError when there is none."""
    return {each.name: each for each in TABLES}[name]
