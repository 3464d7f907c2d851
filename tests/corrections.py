"""Corrections for tests: by hand, at random among the records of a log, and what must hold for any such log."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import note
from hypothesis import strategies as st

import properties
from execpos.domain import ids, invariants
from execpos.domain.positions import EMPTY, refold
from properties import ANY_METHODS, rules
from scenarios import DAY_S, HALF_DAY_S, Plan, Record, account_of, claims, closes, fills, id_of, plans, readable
from state import Harness, Outputs, assert_same

DAY_US = DAY_S * 1_000_000
HALF_DAY_US = HALF_DAY_S * 1_000_000
MICROS = 1_000_000

STOCK, FUTURES = "replay|S|9A95|1234567", "replay|F|F002000|7654321"
_KEYS = [(STOCK, "2890", "cash"), (STOCK, "2890", "margin"), (STOCK, "0050", "short"), (FUTURES, "TMFF6", "derivative")]
_KEYS += [(FUTURES, "TX127900L5", "derivative")]
_BOOKS = {"Cash": "cash", "MarginTrading": "margin", "ShortSelling": "short", "": "derivative"}
_STRATEGIES = ["", "UNASSIGNED", "alpha", "beta", "gamma|%"]
_PRICES = st.integers(1, 9 * MICROS)
_SIGNED = st.integers(-12, 12).filter(bool)


def correction(correction_id: str, kind: str, symbol: str = "2890", book: str = "cash", **fields: Any) -> Record:
    """Return a correction of the stock account, made in the first session."""
    return (
        "correction",
        {"correction_id": correction_id, "account": STOCK, "kind": kind, "symbol": symbol, "book": book, "ts": DAY_US} | fields,
    )


_CHOICES: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    "OPENING": {"quantity": _SIGNED, "price": _PRICES},
    "ADJUST": {"quantity": _SIGNED, "price": st.one_of(st.just(0), _PRICES)},
    "SETTLEMENT": {"price": st.integers(0, 9 * MICROS), "fees": st.integers(0, 99), "taxes": st.integers(0, 99)},
    "COST_BASIS": {"strategy_id": st.sampled_from([*_STRATEGIES, "*"]), "amount": st.integers(-(10**7), 10**7)},
    "CORPORATE_ACTION": {
        "numerator": st.integers(1, 5),
        "denominator": st.integers(1, 5),
        "amount": st.sampled_from([0, 0, 7]),
        "to_symbol": st.sampled_from(["", "", "2891"]),
    },
    "TRANSFER": {
        "strategy_id": st.sampled_from(["UNASSIGNED", "UNASSIGNED", *_STRATEGIES]),
        "to_strategy_id": st.sampled_from(["beta", "beta", *_STRATEGIES]),
        "to_book": st.sampled_from(["", "", "margin", "derivative"]),
        "to_symbol": st.sampled_from(["", "", "2891"]),
        "quantity": st.sampled_from([-2, -1, 0, 1, 1, 2, 5]),
        "price": st.sampled_from([0, 5 * MICROS]),
    },
    "QUALITY": {
        "strategy_id": st.sampled_from([*_STRATEGIES, "*"]),
        "quality": st.sampled_from(["CONFIRMED", "ESTIMATED", "INCOMPLETE", "BLOCKED"]),
    },
    "SNAPSHOT": {},
}


@st.composite
def some(draw: st.DrawFn, known: Sequence[Plan], made: Sequence[Record], sessions: int, at_most: int) -> list[Record]:
    """Corrections of every kind around `made`, the fills of a log, mostly on their keys; many of them are refused."""
    keys = [*_KEYS, *((account_of(plan), plan.symbol, _BOOKS[plan.order_cond]) for plan in known for _ in range(4))]
    found: list[Record] = []
    for number in range(draw(st.integers(1, at_most))):
        kind = draw(st.sampled_from([*_CHOICES, "FEES", "VOID", "ADJUST", "TRANSFER", "OPENING"]))
        account, symbol, book = draw(st.sampled_from(keys))
        fields: dict[str, Any] = {"correction_id": f"c{number}", "account": account, "kind": kind, "symbol": symbol, "book": book}
        fields["ts"] = DAY_US + draw(st.integers(0, sessions)) * HALF_DAY_US + draw(st.integers(-2, 2)) * MICROS
        if kind in {"FEES", "VOID"}:
            by_hand = [f"{account}|2026-05-21D|~c{other}|1" for other in range(number)]
            fields["fill_id"] = draw(st.sampled_from([*map(id_of, made), *by_hand]))
            fields["account"] = fields["fill_id"].rsplit("|", 3)[0]
            fields |= {
                "fees": draw(st.integers(0, 999)),
                "taxes": draw(st.integers(0, 99)),
                "quality": draw(st.sampled_from(["", "CONFIRMED"])),
            }
            if kind == "FEES" and draw(st.booleans()):
                fields |= {"fill_id": "", "strategy_id": draw(st.sampled_from(_STRATEGIES))}
        else:
            fields |= {name: draw(values) for name, values in _CHOICES[kind].items()}
        if kind in {"OPENING", "ADJUST"} and draw(st.booleans()):
            fields |= {"read_began_ts": fields["ts"] - MICROS, "read_ended_ts": fields["ts"]}
        found.append(("correction", fields))
    repeats = draw(st.lists(st.sampled_from(found), max_size=1))
    return found + repeats


@st.composite
def corrected_logs(draw: st.DrawFn, *, sessions: int = 1, fills_max: int = 12) -> list[Record]:
    """A log with corrections among its fills, intents, voids and closes, in any order."""
    known = draw(plans(sessions))
    made = draw(fills(known, fills_max))
    others = draw(claims(known, 4)) + draw(some(known, made, sessions, 8))
    others += [("void", id_of(record)) for record in draw(st.lists(st.sampled_from(made), max_size=2))]
    others += draw(closes(known, sessions))
    return draw(st.permutations(made + others))


@st.composite
def placed_logs(draw: st.DrawFn) -> list[Record]:
    """A log with openings and priced adjustments of before its first fill, so that none of them stands for one."""
    known = draw(plans(1))
    made = draw(fills(known, 10))
    keys = [(account_of(plan), plan.symbol, _BOOKS[plan.order_cond]) for plan in known]
    booked = []
    for number in range(draw(st.integers(1, 4))):
        account, symbol, book = draw(st.sampled_from(keys))
        fields = {"account": account, "quantity": draw(_SIGNED), "price": draw(_PRICES), "ts": DAY_US - 10 * MICROS}
        booked.append(correction(f"c{number}", draw(st.sampled_from(["OPENING", "ADJUST"])), symbol, book, **fields))
    others = draw(claims(known, 4)) + [("void", id_of(record)) for record in draw(st.lists(st.sampled_from(made), max_size=2))]
    return draw(st.permutations(made + booked + others))


@st.composite
def shared_logs(draw: st.DrawFn) -> list[Record]:
    """A log with amounts that all strategies of a key share, after everything else."""
    known = draw(plans(0))
    others = draw(fills(known, 8)) + draw(claims(known, 4))
    keys = list(dict.fromkeys((account_of(plan), plan.symbol, _BOOKS[plan.order_cond]) for plan in known))
    shared = [
        correction(f"c{number}", "COST_BASIS", symbol, book, account=account, strategy_id="*", amount=draw(st.integers(-(10**7), 10**7)))
        for number, (account, symbol, book) in enumerate(keys)
    ]
    return draw(st.permutations(others)) + shared


# --- what must hold -----------------------------------------------------------------------------------------------------------------------

ANY: dict[str, Any] = {"log": corrected_logs(), "methods": ANY_METHODS}
SHARED: dict[str, Any] = {"log": shared_logs(), "methods": ANY_METHODS}
ORDER: dict[str, Any] = {"log": placed_logs(), "methods": ANY_METHODS, "seed": st.integers(0, 2**32)}
CRASH: dict[str, Any] = {"log": corrected_logs(sessions=8), "methods": ANY_METHODS, "data": st.data()}
ROLLBACK: dict[str, Any] = {"log": corrected_logs(sessions=8), "data": st.data()}


def run(log: list[Record], methods: str, per_commit: int = 1, window: int = 10) -> Harness:
    """Return a pipeline that has taken a log."""
    note(readable(log))
    return Harness(rules(methods, window_sessions=window)).run(log, per_commit=per_commit)


def rows_are_sums_of_deltas(log: list[Record], methods: str) -> None:
    properties.check_journal(run(log, methods, per_commit=3))


def entries_conserve_and_fold_to_the_row(log: list[Record], methods: str) -> None:
    harness = run(log, methods)
    for position in (position for account in harness.pipeline.accounts.values() for position in account.book):
        row = position.base
        for entry in position.entries:
            after = refold(row, [entry], position.method, 256)
            invariants.conservation(row, after, entry)
            row = after
        assert row == position.row


def each_is_answered_once(log: list[Record], methods: str) -> None:
    """And a rejected one has no delta, and leaves NET's version."""
    harness = run(log, methods)
    answered = [outcome.correction_id for outcome in harness.committed.outcomes if outcome.reason != "outside_window"]
    assert len(set(answered)) == len(answered)
    asked = {record[1]["correction_id"] for record in log if record[0] == "correction"}
    assert asked == {outcome.correction_id for outcome in harness.committed.outcomes}
    touched = {delta.source_offset for delta in harness.committed.deltas if delta.source_topic == "exec.corrections.v1"}
    for outcome in harness.committed.outcomes:
        if outcome.outcome == "REJECTED":
            assert outcome.reason
            assert outcome.source_offset not in touched
            assert outcome.net_version_after == outcome.net_version_found


def places_are_taken_once_in_each_row(log: list[Record], methods: str) -> None:
    harness = run(log, methods, window=99)
    taken: dict[tuple[str, str, str, str], list[int]] = defaultdict(list)
    for outcome in harness.committed.outcomes:
        for item in outcome.entries:
            assert item.seq in outcome.seqs
            taken[outcome.account, item.symbol, item.book, item.strategy_id].append(item.seq)
    newest = {fill.fill_id: fill for fill in harness.committed.fills}
    for fill in newest.values():
        for strategy_id in (fill.strategy_id, ids.NET):
            taken[fill.account, fill.symbol, fill.book, strategy_id].append(fill.fill_seq)
    assert all(len(set(seqs)) == len(seqs) for seqs in taken.values())


def ends_the_same_in_any_order(log: list[Record], methods: str, seed: int) -> None:
    """With the same order of fills and corrections; intents keep theirs among themselves, and they and the voids go anywhere."""
    rng = random.Random(seed)
    slots = [(rng.random(), record) for record in log if record[0] == "void"]
    for kinds in ({"callback", "correction"}, {"intent"}):
        these = [record for record in log if record[0] in kinds]
        slots += zip(sorted(rng.random() for _ in these), these, strict=True)
    ends = []
    for records in (log, [record for _, record in sorted(slots, key=lambda slot: slot[0])]):
        rows = run(list(records), methods).rows()
        ends.append({key: position.row for key, position in rows.items() if position.row != EMPTY})
    assert_same(*ends)


def restores_exactly(log: list[Record], methods: str, data: st.DataObject) -> None:
    crash, per_commit = data.draw(st.integers(0, len(log))), data.draw(st.integers(1, 4))
    live = run(log[:crash], methods, per_commit, window=3)
    again = live.restored()
    assert_same(again.dump(), live.dump())
    made = {name: len(getattr(live.committed, name)) for name in Outputs.__struct_fields__}
    for harness in (live, again):
        harness.run(log[crash:], per_commit=per_commit)
    assert_same(again.dump(), live.dump())
    for name, count in made.items():
        assert getattr(again.committed, name) == getattr(live.committed, name)[count:], name
