"""Records to Avro bytes and back, by the schemas in `avro/`.

A body holds plain integers where the schema names a logical type: times stay microseconds and dates stay days, because a conversion to
datetime and back costs more than the rest of the record.
"""

import io
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Generic, TypeVar

import fastavro
import msgspec
from fastavro.read import SchemaResolutionError

from execpos import resources
from execpos.codecs import compiled, framing
from execpos.domain import events
from execpos.errors import Park

T = TypeVar("T", bound=msgspec.Struct)


def file_name(record: type[msgspec.Struct]) -> str:
    """Return the schema file of a record class: FillEvent -> fill_event.avsc."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", record.__name__).lower() + ".avsc"


@cache
def schema_text(record: type[msgspec.Struct]) -> str:
    """Return the schema of a record class as it stands in `avro/`, docs included."""
    return resources.text("avro", file_name(record))


def _plain(schema: Any) -> Any:
    """Return `schema` without logical types and docs: the same bytes, no conversions."""
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key not in {"logicalType", "precision", "scale", "doc"}}
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    return schema


@cache
def _parsed(text: str) -> Any:
    return fastavro.parse_schema(_plain(json.loads(text)))


@cache
def _layout(text: str) -> str:
    """Return the canonical form of a schema: two with the same one write the same bytes."""
    return str(fastavro.schema.to_parsing_canonical_form(_parsed(text)))


@cache
def expanded(text: str) -> Any:
    """Return a schema in which every use of a named type is its definition, so that each part stands for itself."""
    known: dict[str, Any] = {}

    def expand(schema: Any) -> Any:
        if isinstance(schema, str):
            return known.get(schema, schema)
        if isinstance(schema, dict):
            if schema["type"] == "array":
                return {"type": "array", "items": expand(schema["items"])}
            if schema["type"] == "record":
                made = {**schema, "fields": [{**field, "type": expand(field["type"])} for field in schema["fields"]]}
                known[schema["name"]] = made
                return made
            if schema["type"] == "enum":
                known[schema["name"]] = schema
        return schema

    return expand(_plain(json.loads(text)))


class Encoder(Generic[T]):
    """Writes records of one class, framed with one schema id. Thread-safe."""

    def __init__(self, record: type[T], schema_id: int) -> None:
        # What a call does, for who writes thousands: the call itself costs a fifth of it.
        self.encode: Callable[[T], bytes] = compiled.encoder(expanded(schema_text(record)), framing.header(schema_id))

    def __call__(self, record: T) -> bytes:
        """Return the framed bytes. Does not block; the same record gives the same bytes.

        Raises:
            OverflowError: a number needs more than 64 bits.
        """
        return self.encode(record)


_HEADER_LENGTH = framing.HEADER_LENGTH

_NOT_A_RECORD = (
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
    msgspec.ValidationError,
    SchemaResolutionError,
)


class Decoder(Generic[T]):
    """Reads framed records of one class, written with any schema whose id is known. Thread-safe.

    Args:
        record: the class to build.
        writers: schema id -> schema text, of every version that was ever registered for the subject.
    """

    def __init__(self, record: type[T], writers: Mapping[int, str]) -> None:
        self._record = record
        ours = schema_text(record)
        self._reader = _parsed(ours)
        # By layout and not by text: a registry leaves out what it takes for redundant, as the namespace of a record inside another.
        same = {schema_id for schema_id, text in writers.items() if _layout(text) == _layout(ours)}
        self._same = frozenset(map(framing.header, same))
        self._others = {schema_id: _parsed(text) for schema_id, text in writers.items() if schema_id not in same}
        self._decode = compiled.decoder(expanded(ours), record, NESTED)

    def __call__(self, value: bytes) -> T:
        """Return the record.

        Raises:
            Park: bad framing, an id that is not known, or bytes that are no such record (reasons `bad_framing`,
                `unknown_schema`, `bad_avro`).
        """
        try:
            if value[:_HEADER_LENGTH] in self._same:
                record, end = self._decode(value, _HEADER_LENGTH)
            else:
                record, end = self._resolve(framing.schema_id(value), value)
        except _NOT_A_RECORD as error:
            raise Park("bad_avro", f"bytes are no {self._record.__name__}: {type(error).__name__}: {error}") from error
        if end != len(value):
            raise Park("bad_avro", f"{len(value) - end} bytes follow the end of a {self._record.__name__}")
        made: T = record
        return made

    def _resolve(self, schema_id: int, value: bytes) -> tuple[T, int]:
        """Read a record that another version of the schema wrote."""
        writer = self._others.get(schema_id)
        if writer is None:
            raise Park("unknown_schema", f"schema id {schema_id} is not registered for {self._record.__name__}")
        stream = io.BytesIO(value)
        stream.seek(framing.HEADER_LENGTH)
        fields = fastavro.schemaless_reader(stream, writer, self._reader)
        return msgspec.convert(fields, self._record), stream.tell()


NESTED: dict[str, type[msgspec.Struct]] = {
    cls.__name__: cls
    for cls in (
        events.Lot,
        events.InputPosition,
        events.PositionBase,
        events.CorrectionEntry,
        events.PositionState,
        events.OpenOrder,
        events.Valuation,
        events.BridgeProgress,
        events.AccountProgress,
        events.BrokerPositionRow,
        events.BrokerLotRow,
        events.BrokerOrderRow,
        events.BrokerProfitRow,
        events.DiscrepancyStep,
        events.Correction,
    )
}
"""Record classes that stand inside others."""

RECORDS: tuple[type[msgspec.Struct], ...] = (
    events.RawExecEvent,
    events.Intent,
    events.OrderEvent,
    events.FillEvent,
    events.PositionDelta,
    events.PositionState,
    events.Correction,
    events.CorrectionOutcome,
    events.PositionSnapshot,
    events.Progress,
    events.DeadLetter,
    events.BridgeHeartbeat,
    events.BrokerRequest,
    events.BrokerSnapshot,
    events.Mark,
    events.TradingControl,
    events.Discrepancy,
    events.Command,
    events.ReconciliationRound,
)
"""Every record class that is a topic's value."""
