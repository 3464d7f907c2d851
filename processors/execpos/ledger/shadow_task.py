"""The ledger's task on what was before: it judges as a ledger does, writes nothing, and knows how corrections were answered."""

from collections.abc import Mapping

import msgspec

from execpos.domain import ids
from execpos.domain.book import Source
from execpos.domain.events import Correction, RawExecEvent
from execpos.domain.pipeline import Outcome
from execpos.domain.rules import Rules
from execpos.domain.shadow import CORRECTIONS, INTENTS, RAW
from execpos.kafka.ports import Message
from execpos.ledger.base import Ends
from execpos.ledger.outputs import Names
from execpos.ledger.requests import Rereading
from execpos.ledger.restore import Decoders
from execpos.ledger.snapshots import SnapshotOptions, Snapshots
from execpos.ledger.state import PartitionState
from execpos.ledger.task import LedgerTask


class _Unwritten(Snapshots):
    """Closes sessions as the ledger does, and writes nothing."""

    def marker(self, state: PartitionState, raw: RawExecEvent, source: Source) -> None:
        """Leave a marker unanswered."""

    def request(self, state: PartitionState, correction: Correction, source: Source) -> None:
        """Leave a request unanswered."""

    def _write(self, state: PartitionState, cut: object, snapshot: object) -> None:
        del state, cut, snapshot


class ShadowTask(LedgerTask):
    """See the module. `process` and `committed` in turn; nothing else of a task is called."""

    snapshots_class = _Unwritten

    def __init__(
        self,
        *,
        rules: Rules,
        names: Names,
        decoders: Decoders,
        schema_ids: Mapping[type[msgspec.Struct], int],
        partitions: int,
        snapshots: SnapshotOptions,
        reread: Rereading,
    ) -> None:
        super().__init__(
            rules=rules,
            names=names,
            decoders=decoders,
            schema_ids=schema_ids,
            partitions=partitions,
            instance="shadow",
            snapshots=snapshots,
            reread=reread,
        )
        # Account → next offsets of the checkpoint that it began with; offset of a correction → why it was rejected.
        self.starts: dict[str, Ends] = {}
        self.rejected: dict[int, str] = {}
        # Offsets of exec.raw that waited for a blocked key.
        self.parked: set[int] = set()

    def _skips(self, message: Message, which: int) -> bool:
        """Tell whether a record is inside the base already, or waits as it did then."""
        start = self.starts.get((message.key() or b"").decode(errors="replace")) if self.starts else None
        return (start is not None and message.offset() < start[which]) or (which == RAW and message.offset() in self.parked)

    def _apply_raw(self, state: PartitionState, message: Message, now: int) -> None:
        if not self._skips(message, RAW):
            super()._apply_raw(state, message, now)

    def _apply_intent(self, state: PartitionState, message: Message, now: int) -> None:
        if not self._skips(message, INTENTS):
            super()._apply_intent(state, message, now)

    def _apply_correction(self, state: PartitionState, message: Message, now: int) -> None:
        if self._skips(message, CORRECTIONS):
            return
        reason = self.rejected.get(message.offset())
        if reason is None:
            super()._apply_correction(state, message, now)
            return
        correction = self._correction(message.value() or b"")
        if reason != "outside_window":
            account = state.pipeline.account(correction.account)
            account.put_correction(correction.correction_id, ids.session_ordinal(ids.session_id(correction.ts)))

    def _settle(self, state: PartitionState, message: Message, outcome: Outcome, account: str, source: Source) -> None:
        del state, message, account, source
        self._pending[outcome.disposition] += 1

    def committed(self) -> None:
        for state in self.states.values():
            state.pipeline.commit()
            state.tell = False
        self.counts.update(self._pending)
        self._pending.clear()
