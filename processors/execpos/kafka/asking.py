"""Asks the ledger, as for snapshots, and waits: requests go in like corrections, answers come out with the request's id."""

import time
from collections.abc import Iterator, Sequence

import msgspec

from execpos.codecs.avro import Decoder, Encoder
from execpos.codecs.registry import Schemas
from execpos.domain.correction_rules import BLANK
from execpos.domain.events import Correction, CorrectionOutcome, PositionSnapshot
from execpos.domain.snapshot import Parts
from execpos.errors import CheckFailed
from execpos.kafka.follow import Follower
from execpos.kafka.ports import Cluster, Message
from execpos.kafka.writing import write_all

# An answer takes a transaction; looking more often would only load the broker.
_POLL_S = 0.05


def snapshot_request(correction_id: str, account: str, reason: str, requested_by: str, ts_us: int) -> Correction:
    """Return the request for one account's book."""
    return msgspec.structs.replace(
        BLANK, correction_id=correction_id, account=account, kind="SNAPSHOT", reason=reason, requested_by=requested_by, ts=ts_us
    )


class Asking:
    """Writes requests and takes the answers that come after it was made. One thread; every call blocks.

    Args:
        cluster: where the topics are.
        schemas: what the registry says of our records.
        prefix: of the topics.

    Calls raise DependencyError when Kafka is not reachable.
    """

    def __init__(self, cluster: Cluster, schemas: Schemas, prefix: str = "") -> None:
        self._cluster = cluster
        self._corrections = f"{prefix}exec.corrections.v1"
        self._snapshots = f"{prefix}exec.snapshots.v1"
        self._encode = Encoder(Correction, schemas.ids[Correction])
        self._snapshot = Decoder(PositionSnapshot, schemas.writers[PositionSnapshot])
        self._outcome = Decoder(CorrectionOutcome, schemas.writers[CorrectionOutcome])
        self._parts = Parts()
        self._outcomes = f"{prefix}exec.correction-outcomes.v1"
        self._follower = Follower(cluster, [self._snapshots, self._outcomes])
        self._follower.skip()

    def close(self) -> None:
        """Let go. A second call does nothing."""
        self._follower.close()

    def write(self, requests: Sequence[Correction]) -> None:
        """Write the requests and wait until Kafka has them.

        Raises:
            DependencyError: it does not have all of them in time; some may be answered all the same.
        """
        records = [(request.account.encode(), self._encode(request)) for request in requests]
        write_all(self._cluster, "asking", self._corrections, records, "requests")

    def answers(self, requests: Sequence[Correction], timeout_s: float) -> Iterator[PositionSnapshot]:
        """Yield the snapshot of each request as it comes, put together, until all are there or the time is over.

        Raises:
            CheckFailed: the ledger rejected a request.
        """
        open_ids = {request.correction_id for request in requests}
        deadline_s = time.monotonic() + timeout_s
        while open_ids:
            for message in self._follower.poll():
                whole = self._taken(message, open_ids)
                if whole is not None:
                    open_ids.discard(whole.request_id)
                    yield whole
            if time.monotonic() >= deadline_s:
                return
            time.sleep(_POLL_S)

    def outcomes(self, requests: Sequence[Correction], timeout_s: float) -> list[CorrectionOutcome]:
        """Return what the ledger says of each request, applied or rejected, once it has said so of all or the time is over; 0 waits not."""
        wanted = {request.correction_id for request in requests}
        found: dict[str, CorrectionOutcome] = {}
        deadline_s = time.monotonic() + timeout_s
        while len(found) < len(wanted) and time.monotonic() < deadline_s:
            for message in self._follower.poll():
                if message.topic() == self._outcomes:
                    outcome = self._outcome(message.value() or b"")
                    if outcome.correction_id in wanted:
                        found[outcome.correction_id] = outcome
            if len(found) < len(wanted):
                time.sleep(_POLL_S)
        return list(found.values())

    def _taken(self, message: Message, open_ids: set[str]) -> PositionSnapshot | None:
        if message.topic() == self._snapshots:
            whole = self._parts.take(self._snapshot(message.value() or b""))
            return whole if whole is not None and whole.request_id in open_ids else None
        outcome = self._outcome(message.value() or b"")
        if outcome.correction_id in open_ids and outcome.outcome == "REJECTED":
            raise CheckFailed(f"the ledger rejected the request for {outcome.account}: {outcome.reason}, {outcome.detail}")
        return None


def accounts_of(cluster: Cluster, prefix: str = "") -> list[str]:
    """Return the keys of the accounts that have positions. Blocks for reading the compacted topic.

    Raises:
        DependencyError: Kafka is not reachable.
    """
    follower = Follower(cluster, [f"{prefix}exec.positions.v1"])
    try:
        return sorted({"|".join((message.key() or b"").decode().split("|")[:4]) for message in follower.poll()})
    finally:
        follower.close()
