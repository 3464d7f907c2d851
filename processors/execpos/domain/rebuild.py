"""Rows at an earlier moment: a checkpoint and the deltas after it, summed field by field.

Pure. What tells which deltas are in the checkpoint already is the version of each row, which rises by one with each delta; so deltas may
be given from any earlier place on, and one that is missing is noticed.
"""

from collections.abc import Iterable, Mapping

import msgspec

from execpos.domain import ids, invariants
from execpos.domain.events import PositionDelta, PositionState


class Sums(msgspec.Struct, frozen=True):
    """What the deltas of a row sum to, and its version. Quantities signed in shares or contracts, amounts in 10⁻⁶."""

    quantity: int = 0
    open_cost: int = 0
    realized: int = 0
    fees: int = 0
    taxes: int = 0
    basis: int = 0
    version: int = 0
    quality: str = "CONFIRMED"


EMPTY = Sums()

Rows = dict[str, Sums]
"""position_key → sums, NET (strategy_id *) included."""


def sums_of(state: PositionState) -> Sums:
    """Return the sums that a published row stands for."""
    return Sums(
        quantity=state.quantity,
        open_cost=state.open_cost,
        realized=state.realized_pnl,
        fees=state.fees,
        taxes=state.taxes,
        basis=state.basis_adjustment,
        version=state.version,
        quality=state.quality,
    )


def add(rows: Rows, delta: PositionDelta) -> list[str]:
    """Add one delta to `rows`; return the keys of the rows that it changed: none when they have it already.

    Raises:
        InvariantBroken: a delta before it is missing, or its own figures contradict the sums.
    """
    net_key = ids.position_key(delta.account, delta.symbol, delta.book, ids.NET)
    changed = []
    if _next(rows, delta.position_key, delta.version_before, delta.version_after):
        rows[delta.position_key] = _strategy(rows.get(delta.position_key, EMPTY), delta)
        changed.append(delta.position_key)
    if _next(rows, net_key, delta.net_version_before, delta.net_version_after):
        rows[net_key] = _net(rows.get(net_key, EMPTY), delta)
        changed.append(net_key)
    return changed


def _next(rows: Mapping[str, Sums], key: str, before: int, after: int) -> bool:
    """Say whether a delta from one version to another changes the row of `key`."""
    known = rows.get(key, EMPTY).version
    if after == before or after <= known:
        return False
    if before != known:
        raise invariants.InvariantBroken(f"a delta of {key} goes from version {before} to {after}, and the row is at {known}")
    return True


def _strategy(row: Sums, delta: PositionDelta) -> Sums:
    made = Sums(
        row.quantity + delta.d_quantity,
        row.open_cost + delta.d_open_cost,
        row.realized + delta.d_realized,
        row.fees + delta.d_fees,
        row.taxes + delta.d_taxes,
        row.basis + delta.d_basis,
        delta.version_after,
        delta.quality_after,
    )
    return _checked(made, delta.quantity_after, delta.open_cost_after, delta.position_key)


def _net(row: Sums, delta: PositionDelta) -> Sums:
    made = Sums(
        row.quantity + delta.net_d_quantity,
        row.open_cost + delta.net_d_open_cost,
        row.realized + delta.net_d_realized,
        row.fees + delta.net_d_fees,
        row.taxes + delta.net_d_taxes,
        row.basis + delta.net_d_basis,
        delta.net_version_after,
        delta.net_quality_after,
    )
    return _checked(made, delta.net_quantity_after, delta.net_open_cost_after, f"NET of {delta.position_key}")


def _checked(made: Sums, quantity: int, open_cost: int, key: str) -> Sums:
    if (made.quantity, made.open_cost) != (quantity, open_cost):
        raise invariants.InvariantBroken(
            f"{key} sums to {made.quantity} for {made.open_cost}, its delta says {quantity} for {open_cost}", version=made.version
        )
    return made


def rows_from(checkpoint: Iterable[PositionState], deltas: Iterable[PositionDelta]) -> Rows:
    """Return the rows that a checkpoint (nothing, to begin at the beginning) and the deltas after it make.

    Raises:
        InvariantBroken: see `add`.
    """
    rows = {state.position_key: sums_of(state) for state in checkpoint}
    for delta in deltas:
        add(rows, delta)
    return rows


def differences(rows: Mapping[str, Sums], states: Iterable[PositionState]) -> list[str]:
    """Return what differs between rebuilt rows and published ones, a line a row; nothing when they are equal."""
    live = {state.position_key: sums_of(state) for state in states}
    return [
        f"{key}: rebuilt {rows.get(key)}, published {live.get(key)}"
        for key in dict.fromkeys((*rows, *live))
        if rows.get(key, EMPTY) != live.get(key, EMPTY)
    ]
