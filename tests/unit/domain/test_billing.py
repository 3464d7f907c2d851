"""The broker's bill of a day reaches the fills that it is for, once, and is not shared where it may be for others too."""

from typing import Any

import msgspec
import pytest

from corrections import STOCK
from execpos.domain.events import Correction, FillEvent
from execpos.domain.reconciliation.beside import Charges
from execpos.domain.reconciliation.billing import fees
from repair_world import NOW, filled, ledger, micros, net, record
from state import Harness

DAY = "2026-05-21"
BILL = Charges("2890", "cash", DAY, 300, micros(100), micros(60))


def day(*extra: Any) -> Harness:
    return ledger(filled(1, 100, 10.0), filled(2, 200, 11.0), filled(3, -300, 12.0, at_s=2.0), *extra)


def fills(harness: Harness) -> list[FillEvent]:
    return list({fill.fill_id: fill for fill in harness.committed.fills}.values())


def billed(harness: Harness, bill: Charges = BILL, **changes: Any) -> tuple[Correction, ...]:
    row = net(harness)
    given: dict[str, Any] = {"fills": fills(harness), "held": row.row.quantity if row else 0} | changes
    return fees(bill, given["fills"], given["held"], NOW, by="reconciler-0")


def test_fees_and_taxes_become_the_brokers_to_the_last_coin_and_are_confirmed() -> None:
    harness = day()

    harness.run([record(one) for one in billed(harness)])

    row = net(harness)
    assert row is not None
    assert {one.outcome for one in harness.committed.outcomes} == {"APPLIED"}
    assert (row.row.fees, row.row.taxes, row.fee_quality) == (micros(100), micros(60), "CONFIRMED")
    # Only what was sold pays tax.
    assert [fill.tax_est for fill in sorted(fills(harness), key=lambda fill: fill.fill_seq)] == [0, 0, micros(60)]
    assert billed(harness) == ()


def test_the_same_bill_read_again_makes_the_same_ids_and_another_one_others() -> None:
    harness = day()

    assert [one.correction_id for one in billed(harness)] == [one.correction_id for one in billed(harness)]
    other = billed(harness, msgspec.structs.replace(BILL, fee=micros(101)))
    assert not {one.correction_id for one in other} & {one.correction_id for one in billed(harness)}


def test_where_nothing_was_estimated_the_bill_is_shared_by_size() -> None:
    plain = [msgspec.structs.replace(fill, fee_est=0, tax_est=0) for fill in fills(day())]

    made = fees(BILL, plain, 0, NOW, by="reconciler-0")

    assert [one.fees for one in made] == [16_666_667, 33_333_333, 50_000_000]
    assert sum(one.taxes for one in made) == micros(60)


@pytest.mark.parametrize(
    ("changes", "bill"),
    [
        ({"held": 1}, BILL),
        ({"fills": []}, BILL),
        ({}, msgspec.structs.replace(BILL, day="2026-05-22")),
        ({}, msgspec.structs.replace(BILL, quantity=200)),
    ],
)
def test_a_bill_that_may_be_for_other_fills_too_is_left(changes: dict[str, Any], bill: Charges) -> None:
    assert billed(day(), bill, **changes) == ()


def test_nor_is_one_shared_where_something_was_held_before_or_a_correction_stands_for_a_fill() -> None:
    before = ledger(filled(1, -300, 12.0))
    synthetic = [msgspec.structs.replace(fill, order_id="~c1") if fill.side == "SELL" else fill for fill in fills(day())]

    assert billed(before, held=0) == ()
    assert fees(BILL, synthetic, 0, NOW, by="reconciler-0") == ()


def test_a_voided_fill_bears_nothing() -> None:
    extra = filled(4, 50, 10.0)
    harness = day(extra, ("void", f"{STOCK}|2026-05-21D|id%7C1%25|000004"))

    made = billed(harness)

    assert len(made) == 3
    assert sum(one.fees for one in made) == micros(100)
