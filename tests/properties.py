"""What must hold for a pipeline over any log, as plain functions: the property tests call them, and so does the test of these tests."""

import random
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from hypothesis import note
from hypothesis import strategies as st

import oracle
from execpos import settings
from execpos.domain import ids, invariants
from execpos.domain.events import PositionDelta
from execpos.domain.positions import EMPTY
from execpos.domain.rules import Rules
from scenarios import Record, logs, readable, traded_days
from state import Harness, assert_same

METHODS: dict[str, dict[str, Any]] = {
    "average": dict.fromkeys(oracle.METHODS, "average"),
    "fifo": dict.fromkeys(oracle.METHODS, "fifo"),
    "day_pair_average": dict.fromkeys(oracle.METHODS, "day_pair_average"),
    "mixed": oracle.METHODS,
    "by type": {**oracle.METHODS, "STK.cash": "day_pair_average", "ETF": "average", "OPT.derivative": "average"},
}


@cache
def rules(methods: str = "mixed", **changes: Any) -> Rules:
    return msgspec.structs.replace(settings.load(None).rules(), cost_methods=METHODS[methods], **changes)


def compare(harness: Harness, expected: oracle.Book) -> None:
    """Every row equals the oracle's, field by field; a row that only one of both has is empty."""
    rows = harness.rows()
    for key in rows.keys() | expected.rows.keys():
        ours = rows.get(key)
        row = ours.row if ours else EMPTY
        theirs = expected.rows.get(key, oracle.Row())
        assert (row.quantity, row.open_cost, row.realized) == (theirs.quantity, theirs.open_cost, theirs.realized), key
        assert [[lot.quantity, lot.cost] for lot in row.lots] == theirs.lots, key
        assert (row.fees, row.taxes) == (theirs.fees, theirs.taxes), key
        if ours and ours.method == "day_pair_average":
            assert row.realized_day == theirs.realized_day, key


_CLASSES = {"order": "orders", "fill": "fills", "duplicate": "duplicates", "conflict": "conflicts", "parked": "parked"}


def check(harness: Harness, log: Sequence[Record], expected: oracle.Book) -> None:
    note(readable(log))
    classes = [_CLASSES.get(outcome.disposition, "dead_letters") for outcome in harness.outcomes]
    assert_same(dict(enumerate(classes)), dict(enumerate(expected.outcomes)))
    compare(harness, expected)
    check_fills(harness, expected)
    check_journal(harness)


def check_fills(harness: Harness, expected: oracle.Book) -> None:
    """The newest revision of each fill says who owns it and whether it counts; revisions have no gap."""
    latest: dict[str, Any] = {}
    for event in harness.committed.fills:
        before = latest.get(event.fill_id)
        assert event.revision == (before.revision + 1 if before else 1)
        assert before is None or before.fill_seq == event.fill_seq
        latest[event.fill_id] = event
    arrived = {key: event for key, event in latest.items() if event.digest}
    theirs = {key: (fill.owner, fill.voided) for key, fill in expected.fills.items()}
    assert {key: (event.strategy_id, event.voided) for key, event in arrived.items()} == theirs
    charged = {key: (fill.fee, fill.tax) for key, fill in expected.fills.items() if not fill.voided}
    assert {key: (event.fee_est, event.tax_est) for key, event in arrived.items() if not event.voided} == charged


def check_journal(harness: Harness) -> None:
    """Each row is the sum of its deltas, field by field; versions have no gap; the strategies of a key sum to NET; nothing is created."""
    sums: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0] * 6)
    versions: dict[tuple[str, str, str, str], int] = defaultdict(int)
    for delta in harness.committed.deltas:
        for key, change, before, after in _halves(delta):
            assert versions[key] == before, key
            assert after == before + 1 or (after == before and not any(change)), key
            versions[key] = after
            sums[key] = [total + part for total, part in zip(sums[key], change, strict=True)]
    held: dict[tuple[str, str, str], int] = defaultdict(int)
    for key, position in harness.rows().items():
        row = position.row
        assert sums[key] == [row.quantity, row.open_cost, row.realized, row.fees, row.taxes, row.basis], key
        assert versions[key] == position.version
        invariants.row_consistent(row, position.method)
        held[key[:3]] += row.quantity if key[3] != ids.NET else -row.quantity
    assert not any(held.values())


def _halves(delta: PositionDelta) -> list[tuple[tuple[str, str, str, str], tuple[int, ...], int, int]]:
    key = (delta.account, delta.symbol, delta.book)
    own = (delta.d_quantity, delta.d_open_cost, delta.d_realized, delta.d_fees, delta.d_taxes, delta.d_basis)
    net = (delta.net_d_quantity, delta.net_d_open_cost, delta.net_d_realized, delta.net_d_fees, delta.net_d_taxes, delta.net_d_basis)
    return [
        ((*key, delta.strategy_id), own, delta.version_before, delta.version_after),
        ((*key, ids.NET), net, delta.net_version_before, delta.net_version_after),
    ]


ANY_METHODS = st.sampled_from(list(METHODS))
ROWS: dict[str, Any] = {"log": logs(), "methods": ANY_METHODS, "per_commit": st.integers(1, 7)}
DAYS: dict[str, Any] = {"log": traded_days(), "methods": ANY_METHODS, "per_commit": st.integers(1, 3)}
DAYS_CRASH: dict[str, Any] = {"log": traded_days(), "data": st.data()}
WINDOW: dict[str, Any] = {"log": logs(sessions=20, fills_max=20), "window": st.integers(1, 6), "methods": ANY_METHODS}
ORDER: dict[str, Any] = {"log": logs(disturbed=False), "methods": ANY_METHODS, "seed": st.integers(0, 2**32)}
CRASH: dict[str, Any] = {"log": logs(sessions=8), "data": st.data()}


def equals_the_oracle(log: list[Record], methods: str, per_commit: int) -> None:
    harness = Harness(rules(methods)).run(log, per_commit=per_commit)

    check(harness, log, oracle.fold(log, methods=METHODS[methods]))


def equals_the_oracle_in_a_sliding_window(log: list[Record], window: int, methods: str) -> None:
    harness = Harness(rules(methods, window_sessions=window)).run(log)

    check(harness, log, oracle.fold(log, window=window, methods=METHODS[methods]))


def ends_the_same_in_any_order(log: list[Record], methods: str, seed: int) -> None:
    note(readable(log))
    one = Harness(rules(methods)).run(log)
    rng = random.Random(seed)
    # The later of two intents of one order holds, so intents keep their order among themselves; they, the voids and the closes go anywhere,
    # and so does every repeat of a fill after it.
    slots = [(rng.random(), record) for record in [*log, *log] if record[0] in {"void", "close"}]
    for kind in ("callback", "intent"):
        these = [record for record in log if record[0] == kind]
        placed = list(zip(sorted(rng.random() for _ in these), these, strict=True))
        slots += placed
        if kind == "callback":
            slots += [(rng.uniform(at, 1), record) for at, record in placed if rng.random() < 0.5]
    other = Harness(rules(methods)).run(record for _, record in sorted(slots, key=lambda slot: slot[0]))

    assert_same(_ends(one), _ends(other))


def _ends(harness: Harness) -> dict[Any, Any]:
    """The rows that hold anything."""
    return {key: position.row for key, position in harness.rows().items() if position.row != EMPTY}


def rolls_back_exactly(log: list[Record], data: st.DataObject) -> None:
    note(readable(log))
    harness, twin = Harness(rules(window_sessions=3)), Harness(rules(window_sessions=3))
    at = 0
    while at < len(log):
        size, lost = data.draw(st.integers(1, 5)), data.draw(st.integers(0, 5))
        before, offsets = harness.dump(), list(harness.offsets)
        for record in log[at : at + lost]:
            harness.feed(record)
        harness.rollback()
        assert_same(harness.dump(), before)
        harness.offsets = offsets
        for record in log[at : at + size]:
            harness.feed(record)
            twin.feed(record)
        harness.commit()
        twin.commit()
        at += size

    assert_same(harness.dump(), twin.dump())
    assert harness.committed == twin.committed


def restores_exactly(log: list[Record], data: st.DataObject) -> None:
    note(readable(log))
    live = Harness(rules(window_sessions=3))
    crash = data.draw(st.integers(0, len(log)))
    per_commit = data.draw(st.integers(1, 4))
    live.run(log[:crash], per_commit=per_commit)

    again = live.restored()
    assert_same(again.dump(), live.dump())

    made = len(live.committed.fills), len(live.committed.deltas), len(live.committed.orders), len(live.committed.positions)
    live.run(log[crash:], per_commit=per_commit)
    again.run(log[crash:], per_commit=per_commit)
    assert again.committed.fills == live.committed.fills[made[0] :]
    assert again.committed.deltas == live.committed.deltas[made[1] :]
    assert again.committed.orders == live.committed.orders[made[2] :]
    assert again.committed.positions == live.committed.positions[made[3] :]
    assert_same(again.dump(), live.dump())
