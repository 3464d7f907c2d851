"""Reads a record of exec.raw again for a REPLAY, and says why not when it cannot be applied."""

from confluent_kafka import KafkaException

from execpos.codecs.avro import Decoder
from execpos.domain import limits
from execpos.domain.correction_rules import Refused
from execpos.domain.events import Correction, RawExecEvent
from execpos.errors import AbortTransaction, DependencyError, Park
from execpos.kafka.ports import Cluster, Message, Reader, Span, TopicPartition

# Within a transaction, which has 10 s.
_READ_S = 3.0


class Reread:
    """Reads one record at a time; keeps one reader from the first to the last. One thread.

    Args:
        cluster: where the topic is.
        topic: exec.raw, by its full name.
        decode: reader of its records.
    """

    def __init__(self, cluster: Cluster, topic: str, decode: Decoder[RawExecEvent]) -> None:
        self._cluster = cluster
        self._topic = topic
        self._decode = decode
        self._reader: Reader | None = None

    def __call__(self, correction: Correction, partition: int, applied: int) -> RawExecEvent | Refused:
        """Return the record that a correction names, or why it cannot be applied. Blocks for a read of one record, some milliseconds.

        Args:
            correction: names topic, partition and offset.
            partition: the account's; no other one's records are taken.
            applied: last offset applied of exec.raw.

        Raises:
            AbortTransaction: Kafka does not answer; the same records come again.
        """
        if correction.source_topic != self._topic:
            return Refused("bad_correction", f"only records of {self._topic} can be replayed; of others a new one is written")
        if correction.source_partition != partition:
            return Refused("bad_correction", f"the account is on partition {partition}, the record on {correction.source_partition}")
        where = f"{self._topic} [{partition}] at offset {correction.source_offset}"
        try:
            message = self._read(TopicPartition(self._topic, partition), correction.source_offset, applied)
        except (DependencyError, KafkaException) as error:
            raise AbortTransaction(f"cannot read {where} again: {error}") from error
        if message is None:
            return Refused("not_found", f"{where} is no longer kept, or was not applied yet")
        return self._read_as(message, correction.account)

    def _read(self, place: TopicPartition, offset: int, applied: int) -> Message | None:
        low, _ = self._cluster.watermarks([place], _READ_S)[place]
        if not low <= offset <= applied:
            return None
        if self._reader is None:
            self._reader = self._cluster.reader()
        return next(iter(self._reader.read([Span(place, offset, offset + 1)], _READ_S)), None)

    def _read_as(self, message: Message, account: str) -> RawExecEvent | Refused:
        try:
            raw = self._decode(message.value() or b"")
        except Park as park:
            return Refused("dead_letter", f"{park.reason}: {park.what}")
        if (message.key() or b"").decode(errors="replace") != account or raw.account != account:
            return Refused("dead_letter", f"wrong_account: its key is {message.key()!r}, its account {raw.account}")
        if not 0 <= raw.ingest_ts <= limits.TS_US_MAX:
            return Refused("dead_letter", f"bad_number: ingest_ts is {raw.ingest_ts}, not in the years 1970 to 2100")
        return raw

    def close(self) -> None:
        """Let go. A second call does nothing."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
