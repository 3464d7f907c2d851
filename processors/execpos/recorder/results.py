"""What a verification found."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from execpos.errors import CheckFailed

Kind = Literal["missing", "extra", "altered", "unread", "lag"]
# Named one by one up to here; a table that lost a million rows is told by its count.
NAMED_MAX = 20


class Difference(msgspec.Struct, frozen=True):
    """One thing that is not as it should be.

    kind: missing (a record without its row), extra (a row without its record), altered (a row differs in a column), unread (ClickHouse
    could not read a good record: replay the errors), lag (ClickHouse has not read that far in time).
    """

    kind: Kind
    table: str
    partition: int
    offset: int
    detail: str


class TableResult(msgspec.Struct, frozen=True):
    """What was compared of one table.

    records: of the topic, as compared. unreadable: bytes that are no record, kept in ingest_errors. duplicates: rows that were read twice
    and wait for a merge, which is no difference. sums: exact sums over the records; money in 10^-6.
    """

    table: str
    topic: str
    records: int
    unreadable: int
    duplicates: int
    sums: dict[str, int]
    differences: tuple[Difference, ...]


def ensure_equal(results: Sequence[TableResult]) -> None:
    """Raise CheckFailed, naming the first differences, when there is any."""
    found = [each for result in results for each in result.differences]
    if found:
        named = [
            f"  {each.kind}: {each.table} partition {each.partition} offset {each.offset}: {each.detail}" for each in found[:NAMED_MAX]
        ]
        more = [f"  and {len(found) - NAMED_MAX} more"] if len(found) > NAMED_MAX else []
        raise CheckFailed(
            "\n".join([f"warehouse and topics differ in {len(found)} places:", *named, *more]),
            hint="unread: `execpos clickhouse errors replay`. lag: `execpos clickhouse status`. Otherwise drop the table and apply again.",
            count=len(found),
        )
