"""What the task needs to serve the requests among corrections that take reading: the seams behind which `Reread` and `Rebuilds` stand."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from execpos.domain.book import Source
from execpos.domain.correction_rules import Refused
from execpos.domain.events import Correction, RawExecEvent
from execpos.ledger.state import PartitionState


class Rereading(Protocol):
    """See `reread.Reread`."""

    def __call__(self, correction: Correction, partition: int, applied: int) -> RawExecEvent | Refused: ...

    def close(self) -> None: ...


class Rebuilding(Protocol):
    """See `rebuild.Rebuilds`."""

    @property
    def ready(self) -> bool: ...

    def ask(self, state: PartitionState, correction: Correction, source: Source) -> bool: ...

    def answer(self, states: Mapping[int, PartitionState]) -> PartitionState | None: ...

    def committed(self, states: Iterable[PartitionState]) -> None: ...

    def rolled_back(self) -> None: ...

    def revoked(self, partitions: Iterable[int]) -> None: ...

    def close(self) -> None: ...
