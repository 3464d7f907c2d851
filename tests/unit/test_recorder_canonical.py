"""The digest of a record: it changes with every field, and with nothing else."""

from typing import Any

import msgspec
import pytest

from execpos.recorder.canonical import Digest, encoder, sql, summed
from execpos.recorder.tables import TABLES, Table
from execpos.recorder.templates import record_columns
from recorder_feed import record


@pytest.mark.parametrize("each", TABLES, ids=lambda each: each.name)
def test_any_changed_field_changes_the_digest(each: Table) -> None:
    digest = Digest(record_columns(each.name))
    one, other = record(each.record, 1), record(each.record, 2)

    assert digest(one) == digest(record(each.record, 1))
    for field in msgspec.structs.fields(each.record):
        if getattr(one, field.name) != getattr(other, field.name):
            changed: Any = msgspec.structs.replace(one, **{field.name: getattr(other, field.name)})
            assert digest(changed) != digest(one), field.name


def test_text_moved_from_one_column_to_the_next_changes_the_digest() -> None:
    fills = Digest(record_columns("fills"))
    kind = next(each.record for each in TABLES if each.name == "fills")

    assert fills(record(kind, 1, fill_id="ab", broker_event_id="c")) != fills(record(kind, 1, fill_id="a", broker_event_id="bc"))


def test_money_and_quantities_are_summed() -> None:
    names = {column.name for column in summed(record_columns("deltas"))}

    assert {"d_quantity", "d_open_cost", "d_realized", "d_fees", "d_taxes", "d_basis", "net_d_quantity", "net_d_realized"} <= names
    assert "version_after" not in names


def test_an_array_of_tuples_nests() -> None:
    kind = "Array(Tuple(a Int64, b Array(Tuple(c Bool))))"
    inner = msgspec.defstruct("Inner", [("c", bool)])
    outer = msgspec.defstruct("Outer", [("a", int), ("b", tuple[inner, ...])])  # type: ignore[valid-type]

    assert encoder(kind)([outer(a=-1, b=(inner(c=True), inner(c=False))), outer(a=2, b=())]) == b"[-1\x1e[1\x1d0]\x1d2\x1e[]]"
    assert "x1 ->" in sql(kind, "v")


def test_plain_arrays_and_maps_are_told_apart_from_their_neighbours() -> None:
    assert encoder("Array(Int64)")((1, -2)) == b"[1\x1d-2]"
    assert encoder("Array(String)")(()) == b"[]"
    assert (
        encoder("Map(String, String)")({"b": "2", "a": "1"})
        == encoder("Map(String, String)")({"a": "1", "b": "2"})
        == b"[a\x1e1\x1db\x1e2]"
    )
