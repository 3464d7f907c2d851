"""Compares live books with what their history says: one pass over each partition, and each account at the record of its snapshot.

A snapshot that was asked for says up to which record of each input it is complete, so both books are cut at the same record.
"""

import time
from collections.abc import Callable, Iterable

import msgspec

from execpos.domain.events import PositionSnapshot
from execpos.domain.shadow import Comparison, Verdict, Whole
from execpos.ledger.base import Ends
from execpos.ledger.shadow import Progress, Shadow, unheard

MakeShadow = Callable[[int, list[str]], Shadow]
"""(partition, accounts) → a shadow of them; may block and raise as `Shadow` does."""


class Findings(msgspec.Struct, frozen=True):
    """What was compared, and what came of it.

    Attributes:
        comparisons: one an account.
        since: account → session of the checkpoint that it was folded from; accounts from the beginning are not in it.
        records: how many records were folded.
        seconds: how long that took, reading included.
    """

    comparisons: tuple[Comparison, ...]
    since: dict[str, str]
    records: int
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        found = {one.verdict for one in self.comparisons}
        if "DIFFERENT" in found:
            return "DIFFERENT"
        return "VERSIONS" if "VERSIONS" in found else "EQUAL"


def inquire(snapshots: Iterable[PositionSnapshot], make: MakeShadow, progress: Progress = unheard) -> Findings:
    """Fold the history of each account and compare it with its snapshot, which is whole and was asked for. Blocks for long.

    Raises:
        ContractError: the history of an account is not kept far enough.
        DependencyError: Kafka is not reachable.
    """
    began_s = time.monotonic()
    by_partition: dict[int, list[PositionSnapshot]] = {}
    for one in snapshots:
        by_partition.setdefault(one.source_partition, []).append(one)
    found: list[Comparison] = []
    since: dict[str, str] = {}
    records = 0
    for partition, wholes in sorted(by_partition.items()):
        shadow = make(partition, [one.account for one in wholes])
        try:
            for one in sorted(wholes, key=_ends):
                shadow.fold(_ends(one), progress)
                found.append(shadow.compared(one.account, Whole(one.positions, one.orders)))
            since |= shadow.since
            records += shadow.records
        finally:
            shadow.close()
    return Findings(tuple(sorted(found, key=lambda one: one.account)), since, records, round(time.monotonic() - began_s, 3))


def _ends(one: PositionSnapshot) -> Ends:
    raw, intents, corrections = (item.offset + 1 for item in one.inputs)
    return raw, intents, corrections
