"""What must hold at every moment, as named checks: the ledger, the tests and the auditor call the same ones.

A breach means that the state cannot be trusted; it stops the partition and is never only logged.
"""

from execpos.domain.positions import CostMethod, Entry, Row
from execpos.errors import ContractError


class InvariantBroken(ContractError):
    """A named invariant does not hold; `fields` has the numbers."""


def conservation(before: Row, after: Row, entry: Entry) -> None:
    """Δrealized = Δcash flow + Δopen_cost - Δbasis for one entry, exactly. A change of basis or of fees is no cash of the trade."""
    cash = 0 if entry.kind == "COST_BASIS" else -entry.amount
    if after.realized - before.realized != cash + (after.open_cost - before.open_cost) - (after.basis - before.basis):
        raise InvariantBroken(f"conservation does not hold after entry {entry.seq} of {entry.fill_id}", before=before, after=after)


def row_consistent(row: Row, method: CostMethod) -> None:
    """Flat means no open cost and no lots; FIFO lots sum to the row and point one way; the other methods keep no lots."""
    if row.quantity == 0 and (row.open_cost or row.lots):
        raise InvariantBroken("a flat row has open cost or lots", row=row)
    if method != "fifo":
        if row.lots:
            raise InvariantBroken(f"a row under {method} has lots", row=row)
        return
    quantity = cost = 0
    bought = row.quantity > 0
    for lot in row.lots:
        size = lot.quantity
        if (size > 0) != bought or not size:
            raise InvariantBroken("a lot is empty or points the other way", row=row)
        quantity += size
        cost += lot.cost
    if quantity != row.quantity or cost != row.open_cost:
        raise InvariantBroken("the lots do not sum to the row", row=row)


def strategies_sum_to_net(strategies: int, net: int, key: str) -> None:
    """The quantities of a key's strategy rows sum to NET's."""
    if strategies != net:
        raise InvariantBroken(f"strategies of {key} hold {strategies}, NET {net}")


def version_follows(before: int, after: int, key: str) -> None:
    """A row's version rises by exactly one with each delta."""
    if after != before + 1:
        raise InvariantBroken(f"version of {key} goes from {before} to {after}")
