"""The committed records of a topic, partition by partition, decoded with the schemas that wrote them."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from execpos.codecs import avro, framing
from execpos.errors import DependencyError, Park
from execpos.recorder.client import get_registry
from execpos.recorder.groups import unreachable
from execpos.recorder.options import Options
from execpos.recorder.tables import Table

# As many as ClickHouse compares in one query; memory is a few hundred bytes a record.
CHUNK_RECORDS = 20_000
_POLL_S = 1.0
# A partition that says nothing for so long holds an open transaction or has lost its broker.
_SILENT_S = 60.0


class Entry(NamedTuple):
    """One committed record: where it is, its key, its value decoded, or the reason why it cannot be."""

    offset: int
    key: bytes
    record: msgspec.Struct | None
    tombstone: bool


class Reader:
    """Reads whole partitions as a read_committed consumer that belongs to no group. Not thread-safe; close it."""

    def __init__(self, options: Options, table: Table) -> None:
        self._options = options
        self._table = table
        self._topic = options.topic(table.topic)
        self._decoders: dict[int, avro.Decoder[Any] | None] = {}
        self._consumer = Consumer(
            {
                "bootstrap.servers": options.bootstrap_servers,
                "group.id": f"{options.prefix}{options.env}.verify",  # demanded by the library; nothing is committed
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,  # the end of a partition is told by an empty fetch, which would wait half a second
                "log_level": 0,
                "error_cb": lambda _: None,
            }
        )

    def close(self) -> None:
        """Give the connection up."""
        self._consumer.close()

    def chunks(self, partition: int, low: int, end: int) -> Iterator[list[Entry]]:
        """Yield the records with offsets in [low, end) in their order, in lists of at most `CHUNK_RECORDS`. Blocks.

        Raises:
            DependencyError: Kafka or the registry does not answer, or a transaction stays open.
        """
        self._consumer.assign([TopicPartition(self._topic, partition, low)])
        chunk: list[Entry] = []
        heard = time.monotonic()
        done = low >= end
        while not done:
            first = self._consumer.poll(_POLL_S)
            messages = [] if first is None else [first, *self._consumer.consume(CHUNK_RECORDS, 0)]
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENT_S:
                raise unreachable(self._options, TimeoutError(f"{self._topic} partition {partition} said nothing for {_SILENT_S:.0f} s"))
            for message in messages:
                offset = message.offset()
                if self._ends(message) or offset is None or offset >= end:
                    done = True
                    break
                chunk.append(self._entry(message, offset))
                if len(chunk) == CHUNK_RECORDS:
                    yield chunk
                    chunk = []
        self._consumer.unassign()
        if chunk:
            yield chunk

    def _ends(self, message: Any) -> bool:
        error = message.error()
        if error is None:
            return False
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (the library's own name for a public code)
            return True
        raise unreachable(self._options, KafkaException(error))

    def _entry(self, message: Any, offset: int) -> Entry:
        value = message.value()
        key = message.key() or b""
        if not value:
            return Entry(offset, key, None, tombstone=True)
        try:
            schema_id = framing.schema_id(value)
            decoder = self._decoder(schema_id)
            return Entry(offset, key, decoder(value) if decoder else None, tombstone=False)
        except Park:
            return Entry(offset, key, None, tombstone=False)

    def _decoder(self, schema_id: int) -> avro.Decoder[Any] | None:
        if schema_id not in self._decoders:
            try:
                text = str(orjson.loads(get_registry(self._options.registry_url, f"schemas/ids/{schema_id}"))["schema"])
            except KeyError:
                self._decoders[schema_id] = None
            except ValueError as error:
                raise DependencyError(f"the registry's answer for schema {schema_id} is no JSON", hint="check --registry-url") from error
            else:
                self._decoders[schema_id] = avro.Decoder(self._table.record, {schema_id: text})
        return self._decoders[schema_id]
