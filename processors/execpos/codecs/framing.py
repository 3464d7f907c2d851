"""Confluent framing: a zero byte, the schema id in four bytes big-endian, then the Avro body."""

import struct

from execpos.errors import Park

MAGIC = 0
HEADER_LENGTH = 5
_HEADER = struct.Struct(">bI")


def header(schema_id: int) -> bytes:
    """Return the five bytes that stand before a body written with schema `schema_id`."""
    return _HEADER.pack(MAGIC, schema_id)


def schema_id(value: bytes) -> int:
    """Return the schema id of a framed value.

    Raises:
        Park: the value is too short or does not begin with the magic byte (reason `bad_framing`).
    """
    if len(value) < HEADER_LENGTH or value[0] != MAGIC:
        raise Park(
            "bad_framing", f"value of {len(value)} bytes begins with {value[:HEADER_LENGTH].hex() or 'nothing'}, not 00 and a schema id"
        )
    return int.from_bytes(value[1:HEADER_LENGTH], "big")
