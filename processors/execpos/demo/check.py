"""Compares what four places say of each position: the simulator's own book, the compacted topic, the sum of deltas, and ClickHouse.

Pure: the readers are in `sources`. Consistent means equal, key by key, in every figure that a place knows.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from execpos.domain import ids, money
from execpos.domain.events import PositionDelta, PositionState, RawExecEvent

Key = tuple[str, str, str, str]


class Figures(NamedTuple):
    """What a place says of one row; amounts in 10⁻⁶. None for what it does not know."""

    quantity: int
    open_cost: int
    realized: int
    fees: int | None = None
    taxes: int | None = None


NOTHING = Figures(0, 0, 0)


class Difference(NamedTuple):
    """One key on which two places disagree."""

    key: Key
    figures: dict[str, Figures]

    def plain(self) -> dict[str, Any]:
        """Return it for JSON: amounts as exact decimal text."""
        account, symbol, book, strategy_id = self.key
        places = {place: _plain(figures) for place, figures in self.figures.items()}
        return {"account": account, "symbol": symbol, "book": book, "strategy_id": strategy_id, **places}


def _plain(figures: Figures) -> dict[str, Any]:
    amounts = {name: money.text(value) for name, value in figures._asdict().items() if name != "quantity" and value is not None}
    return {"quantity": figures.quantity, **amounts}


def from_simulator(rows: Iterable[Mapping[str, Any]]) -> dict[Key, Figures]:
    """Return the simulator's rows by key."""
    return {
        (row["account"], row["symbol"], row["book"], row["strategy_id"]): Figures(row["quantity"], row["open_cost"], row["realized"])
        for row in rows
    }


def first_met(raws: Iterable[RawExecEvent], fills: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the identities of a simulator's fills in the order in which exec.raw has them, by callback or by record, repeats too.

    Averages and lots depend on that order, and a record of the day may come before the late callback of the same deal. What the simulator
    knows nothing of is left out here; it shows as a difference.

    Args:
        raws: exec.raw, in order within an account.
        fills: as the simulator's truth has them, of a single session.
    """
    known = {tuple(fill[name] for name in ("account", "trade_id", "exchange_seq")): fill["trading_date"] for fill in fills}
    for raw in raws:
        if not raw.kind.endswith("DEAL"):
            continue
        payload = json.loads(raw.payload)
        date = known.get((raw.account, payload.get("trade_id"), payload.get("exchange_seq")))
        if date is not None:
            yield raw.account, date, payload["trade_id"], payload["exchange_seq"]


def from_positions(states: Iterable[PositionState]) -> dict[Key, Figures]:
    """Return the newest published rows by key."""
    return {
        (state.account, state.symbol, state.book, state.strategy_id): Figures(
            state.quantity, state.open_cost, state.realized_pnl, state.fees, state.taxes
        )
        for state in states
    }


def from_deltas(deltas: Iterable[PositionDelta]) -> dict[Key, Figures]:
    """Return the sums of the journal by key, strategy rows and NET."""
    sums: dict[Key, list[int]] = {}
    for delta in deltas:
        row = sums.setdefault((delta.account, delta.symbol, delta.book, delta.strategy_id), [0] * 5)
        net = sums.setdefault((delta.account, delta.symbol, delta.book, ids.NET), [0] * 5)
        for at, (own, total) in enumerate(
            (
                (delta.d_quantity, delta.net_d_quantity),
                (delta.d_open_cost, delta.net_d_open_cost),
                (delta.d_realized, delta.net_d_realized),
                (delta.d_fees, delta.net_d_fees),
                (delta.d_taxes, delta.net_d_taxes),
            )
        ):
            row[at] += own
            net[at] += total
    return {key: Figures(*values) for key, values in sums.items()}


def differences(places: Mapping[str, Mapping[Key, Figures]]) -> list[Difference]:
    """Return the keys on which the places disagree, sorted. A key that a place does not have is nothing held and nothing earned there."""
    found = []
    for key in sorted(set().union(*places.values())):
        figures = {place: rows.get(key, NOTHING) for place, rows in places.items()}
        if not _agree(list(figures.values())):
            found.append(Difference(key, figures))
    return found


def _agree(figures: list[Figures]) -> bool:
    return all(len({value for value in column if value is not None}) <= 1 for column in zip(*figures, strict=True))
