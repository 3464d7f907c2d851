"""The reconciler's topics, and what it writes in a transaction: encoded, and placed where each topic wants it."""

from collections.abc import Mapping

import msgspec

from execpos.codecs.avro import Encoder
from execpos.domain import control
from execpos.domain.events import BrokerRequest, Correction, Discrepancy, ReconciliationRound, TradingControl
from execpos.domain.reconciliation.state import Output as Decided
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import Output

RECORDS: tuple[type[msgspec.Struct], ...] = (BrokerRequest, Correction, Discrepancy, TradingControl, ReconciliationRound)


class Names(msgspec.Struct, frozen=True):
    """Full names of the topics that the reconciler reads and writes."""

    commands: str
    broker_snapshots: str
    snapshots: str
    correction_outcomes: str
    heartbeats: str
    fills: str
    progress: str
    dead_letters: str
    broker_requests: str
    corrections: str
    discrepancies: str
    control: str
    rounds: str

    @classmethod
    def of(cls, prefix: str) -> "Names":
        """Return the names under a prefix."""
        return cls(*(f"{prefix}exec.{field.replace('_', '-')}.v1" for field in cls.__struct_fields__))


class Writer:
    """Encodes records and adds them to the open transaction. Never blocks.

    Args:
        names: topics.
        schema_ids: the registered id of each class in `RECORDS`.
        discrepancy_partitions: count of the topic that has a key of its own.
    """

    def __init__(self, names: Names, schema_ids: Mapping[type[msgspec.Struct], int], discrepancy_partitions: int) -> None:
        self._names = names
        self._discrepancy_partitions = discrepancy_partitions
        self._request = Encoder(BrokerRequest, schema_ids[BrokerRequest])
        self._correction = Encoder(Correction, schema_ids[Correction])
        self._discrepancy = Encoder(Discrepancy, schema_ids[Discrepancy])
        self._control = Encoder(TradingControl, schema_ids[TradingControl])
        self._round = Encoder(ReconciliationRound, schema_ids[ReconciliationRound])

    def write(self, out: Output, partition: int, decided: Decided) -> None:
        """Write what was decided for one account of `partition`: halts first, because others wait for them."""
        names = self._names
        for said in decided.controls:
            out(names.control, 0, control.key(said.scope, said.source).encode(), self._control(said))
        for request in decided.requests:
            out(names.broker_requests, partition, request.account.encode(), self._request(request))
        for correction in decided.corrections:
            out(names.corrections, partition, correction.account.encode(), self._correction(correction))
        for discrepancy in decided.discrepancies:
            key = discrepancy.discrepancy_id.encode()
            out(names.discrepancies, partition_for(key, self._discrepancy_partitions), key, self._discrepancy(discrepancy))
        for ended in decided.rounds:
            self.round(out, partition, ended)

    def round(self, out: Output, partition: int, ended: ReconciliationRound) -> None:
        """Write one round."""
        out(self._names.rounds, partition, ended.account.encode(), self._round(ended))
