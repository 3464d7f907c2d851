"""What an operator wants corrected is refused with a reason, or filled in so that the ledger applies it."""

from datetime import date
from typing import Any

import msgspec
import pytest

from corrections import MICROS, STOCK
from execpos.domain.correction_rules import CORRECTION_ID_CHARS_MAX, Refused
from execpos.domain.events import Command, Correction, Discrepancy
from execpos.domain.reconciliation import repair
from execpos.domain.reconciliation.approvals import approved, requested
from execpos.domain.reconciliation.comparison import Key, NetRow
from execpos.domain.reconciliation.discrepancies import correcting, proposed, refused
from execpos.domain.reconciliation.operators import Checked, checked
from execpos.domain.reconciliation.settlement import intrinsic, settlement
from repair_world import (
    BEGAN,
    NOW,
    READ,
    RULES,
    TODAY,
    WITHIN,
    at,
    command,
    difference,
    filled,
    finding,
    held,
    ledger,
    micros,
    net,
    net_row,
    record,
    wanted,
)
from state import Harness

HELD = NetRow(1_000, micros(10_000), micros(10), 1, 7, "CONFIRMED", "STK", "TWD")
ROWS: dict[Key, NetRow] = {
    ("2890", "cash"): HELD,
    ("TXFF6", "derivative"): NetRow(2, micros(8_000_000), micros(20_000), 200, 3, "CONFIRMED", "FUT", "TWD"),
    ("TX127900L5", "derivative"): NetRow(-3, micros(-15_000), micros(100), 50, 4, "CONFIRMED", "OPT", "TWD"),
    ("TXO00480L", "derivative"): NetRow(1, micros(2_000), micros(1), 2_000, 5, "CONFIRMED", "OPT", "TWD"),
}


def named(kind: str, symbol: str = "2890", book: str = "cash", **fields: Any) -> Correction:
    return wanted(kind, symbol=symbol, book=book, **fields)


def check(*corrections: Correction, one: Discrepancy | None = None, rows: dict[Key, NetRow] | None = ROWS, **changes: Any) -> Checked:
    given: Command = command("CORRECT", "ann", *corrections, **changes)
    return checked(given, one, None, READ if one else None, rows, NOW, rules=RULES, trading_date=TODAY)


# --- what is refused -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("correction", "problem"),
    [
        (named("SNAPSHOT"), "not a kind that an operator corrects by"),
        (named("NONSENSE"), "not a kind that an operator corrects by"),
        (named("ADJUST", account="replay|S|9A95|7654321", quantity=1, price=1), "names account"),
        (named("ADJUST", "", quantity=1), "name a symbol and a book"),
        (named("ADJUST", "*", "*", quantity=1), "the mark of a whole account"),
        (named("ADJUST"), "name a quantity"),
        (named("ADJUST", quantity=-1_001), "what it opens needs a price"),
        (named("ADJUST", "0050", quantity=1), "what it opens needs a price"),
        (named("ADJUST", quantity=1, price=-1), "not negative"),
        (named("ADJUST", quantity=10**19, price=1), "beyond 10^18"),
        (named("ADJUST", "2" * 33, quantity=1, price=1), "too long"),
        (named("OPENING", price=1), "name a quantity"),
        (named("OPENING", quantity=1), "name the price"),
        (named("SETTLEMENT", price=1), "only a contract expires"),
        (named("SETTLEMENT", "TXFG6", "derivative", price=1), "nothing is open"),
        (named("SETTLEMENT", "TXFF6", "derivative"), "name its final price"),
        (named("SETTLEMENT", "TX127900L5", "derivative"), "name its final price"),
        (named("SETTLEMENT", "TX127900L5", "derivative", evidence={"underlying": "abc"}), "not a decimal number"),
        (named("SETTLEMENT", "TXO00480L", "derivative", evidence={"underlying": "500"}), "does not tell its strike"),
        (named("COST_BASIS"), "name the amount"),
        (named("COST_BASIS", "0050", amount=1), "nothing is open"),
        (named("CORPORATE_ACTION", numerator=2), "name how many new shares"),
        (named("CORPORATE_ACTION", numerator=2, denominator=2), "changes nothing"),
        (named("CORPORATE_ACTION", "0050", numerator=2, denominator=1), "nothing is open"),
        (named("TRANSFER", strategy_id="alpha", to_strategy_id="beta"), "name a quantity"),
        (named("TRANSFER", quantity=1), "name a strategy"),
        (named("TRANSFER", quantity=1, strategy_id="*", to_strategy_id="beta"), "NET neither gives nor takes"),
        (named("TRANSFER", quantity=1, to_strategy_id="beta"), "needs its cost"),
        (named("FEES", "0050"), "no such row"),
        (named("VOID"), "name the fill"),
        (named("QUALITY"), "name a quality"),
        (named("QUALITY", quality="GOOD"), "quality is 'GOOD'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_reason_and_nothing_goes_out(correction: Correction, problem: str) -> None:
    found = check(correction)

    assert problem in found.problem
    assert found.problem.startswith(f"{correction.kind} of ")
    assert found.corrections == ()


def test_one_that_cannot_be_meant_keeps_the_others_back() -> None:
    assert check(named("COST_BASIS", amount=5), named("ADJUST", "0050")) == Checked(problem="ADJUST of 0050: name a quantity")


def test_a_command_has_few_corrections_one_a_key_and_a_book_to_go_by() -> None:
    many = [named("ADJUST", f"{number}", quantity=1, price=1) for number in range(17)]

    assert "more than 16" in check(*many).problem
    assert "two corrections of one key" in check(named("COST_BASIS", amount=5), named("COST_BASIS", amount=6)).problem
    assert "not read yet" in check(named("COST_BASIS", amount=5), rows=None).problem
    assert "nothing is proposed" in check().problem


# --- what goes out ---------------------------------------------------------------------------------------------------------------------


def test_it_is_filled_in_with_version_names_reason_and_where_it_came_from() -> None:
    (made,) = check(named("COST_BASIS", amount=5, evidence={"page": "3"})).corrections

    assert (made.account, made.expected_net_version, made.ts) == (STOCK, 7, NOW)
    assert (made.requested_by, made.approved_by, made.reason) == ("ann", "ann", "seen on the statement")
    assert made.evidence == {"page": "3", "command": "op-1"}
    assert made.correction_id.startswith("op-1-7-")
    assert (made.read_began_ts, made.marker_before) == (0, "")


def test_a_key_that_the_book_does_not_have_is_at_version_0_and_one_named_by_a_fill_has_none() -> None:
    assert check(named("ADJUST", "0050", quantity=1, price=1)).corrections[0].expected_net_version == 0
    assert check(wanted("VOID", fill_id=f"{STOCK}|2026-05-21D|x|1")).corrections[0].expected_net_version == -1
    assert check(wanted("FEES", fill_id=f"{STOCK}|2026-05-21D|x|1", fees=1)).corrections[0].expected_net_version == -1
    into = named("TRANSFER", quantity=1, price=1, to_strategy_id="beta", to_symbol="TXFF6", to_book="derivative")
    assert check(into).corrections[0].expected_net_version == 3


@pytest.mark.parametrize("command_id", ["op-1", "x" * 200])
def test_the_same_command_makes_the_same_ids_and_another_one_others(command_id: str) -> None:
    ids = {check(named("COST_BASIS", amount=amount), command_id=command_id).corrections[0].correction_id for amount in (5, 5, 6)}

    assert len(ids) == 2
    assert all(len(one) <= CORRECTION_ID_CHARS_MAX for one in ids)
    assert check(named("COST_BASIS", amount=5), command_id=f"{command_id}2").corrections[0].correction_id not in ids


def test_an_approved_proposal_goes_out_as_the_rules_make_it_with_both_names() -> None:
    found = finding(None, 5, 10.0)
    rule = repair.proposal(found, method="average", net=None)
    one = proposed(difference(found), rule)
    for name in ("ann", "bob"):
        one = approved(one, command("APPROVE", name), at(2), four_eyes=True, resolve_within_us=WITHIN).discrepancy

    made = checked(command("APPROVE", "bob"), one, rule, READ, {}, NOW, rules=RULES, trading_date=TODAY)

    (correction,) = made.corrections
    assert (correction.kind, correction.quantity, correction.requested_by, correction.approved_by) == (
        "ADJUST",
        5,
        "reconciler",
        "ann, bob",
    )
    lacking = msgspec.structs.replace(rule, lacks="a price", why="nobody says")
    problem = checked(command("APPROVE"), one, lacking, READ, {}, NOW, rules=RULES, trading_date=TODAY).problem
    assert problem == "name the correction: a price; nobody says"


# --- with a ledger ---------------------------------------------------------------------------------------------------------------------


def apply(harness: Harness, found: Checked) -> tuple[str, str]:
    assert not found.problem
    harness.run([record(one) for one in found.corrections])
    return harness.committed.outcomes[-1].outcome, harness.committed.outcomes[-1].reason


def rows_of(harness: Harness) -> dict[Key, NetRow]:
    row = net_row(net(harness))
    return {("2890", "cash"): row} if row else {}


def test_an_operators_price_books_a_trade_that_a_late_fill_still_absorbs() -> None:
    harness = ledger(filled(1, 10, 10.0))
    found = finding(harness, 4, 10.0)
    one = proposed(difference(found), repair.proposal(found, method="average", net=net_row(net(harness))))
    approve = command("APPROVE", "ann", wanted(price=micros(12)))
    one = approved(one, approve, at(2), four_eyes=False, resolve_within_us=WITHIN).discrepancy

    made = checked(approve, one, None, READ, rows_of(harness), NOW, rules=RULES, trading_date=TODAY)

    assert (made.corrections[0].price, made.corrections[0].read_began_ts) == (micros(12), BEGAN)
    assert apply(harness, made) == ("APPLIED", "")
    assert held(harness) == (4, micros(10), micros(12))
    harness.run([filled(2, -6, 13.0, at_s=2.0)])
    assert held(harness) == (4, micros(10), micros(18))


def test_one_that_came_too_late_is_made_anew_with_the_same_names() -> None:
    harness = ledger(filled(1, 10, 10.0))
    found = finding(harness, 4, 10.0)
    one = proposed(difference(found), repair.proposal(found, method="average", net=net_row(net(harness))))
    approve = command("APPROVE", "ann", wanted("ADJUST", quantity=-6, price=micros(12)))
    one = approved(one, approve, at(2), four_eyes=False, resolve_within_us=WITHIN).discrepancy
    late = checked(approve, one, None, READ, rows_of(harness), NOW, rules=RULES, trading_date=TODAY)
    harness.run([filled(2, 1, 10.0)])
    assert apply(harness, late) == ("REJECTED", "stale_version")

    one = refused(correcting(one, late.corrections, at(3)), at(4), "stale_version")
    again = checked(approve, one, None, READ, rows_of(harness), NOW, rules=RULES, trading_date=TODAY)

    assert again.corrections[0].approved_by == "ann"
    assert apply(harness, again) == ("APPLIED", "")


@pytest.mark.parametrize(
    "correction",
    [
        named("OPENING", quantity=5, price=micros(9)),
        named("ADJUST", quantity=-10),
        named("ADJUST", quantity=5),
        named("COST_BASIS", strategy_id="*", amount=micros(5)),
        named("CORPORATE_ACTION", numerator=3, denominator=2),
        named("TRANSFER", quantity=4, strategy_id="alpha", to_strategy_id="beta"),
        named("TRANSFER", quantity=4, strategy_id="alpha", to_book="margin", to_strategy_id="alpha"),
        named("TRANSFER", quantity=4, to_strategy_id="beta", price=micros(9)),
        named("FEES", strategy_id="alpha", fees=5, quality="CONFIRMED"),
        named("QUALITY", strategy_id="*", quality="ESTIMATED"),
        wanted("VOID", fill_id=f"{STOCK}|2026-05-21D|id%7C1%25|000001"),
    ],
)
def test_what_passes_the_checks_is_applied(correction: Correction) -> None:
    harness = ledger(filled(1, 10, 10.0))
    given = command("CORRECT", "ann", correction)

    assert apply(harness, checked(given, None, None, None, rows_of(harness), NOW, rules=RULES, trading_date=TODAY)) == ("APPLIED", "")


def test_under_four_eyes_a_request_goes_out_once_another_person_agrees() -> None:
    harness = ledger(filled(1, 10, 10.0))
    one = requested(command("CORRECT", "ann", named("CORPORATE_ACTION", numerator=3, denominator=2)), at(), trading_date=TODAY)
    agree = command("APPROVE", "bob")
    decision = approved(one, agree, at(2), four_eyes=True, resolve_within_us=WITHIN)
    assert decision.ready

    made = checked(agree, decision.discrepancy, None, None, rows_of(harness), NOW, rules=RULES, trading_date=TODAY)

    assert (made.corrections[0].requested_by, made.corrections[0].approved_by) == ("ann", "ann, bob")
    assert apply(harness, made) == ("APPLIED", "")
    assert held(harness)[0] == 15


# --- settlement ------------------------------------------------------------------------------------------------------------------------

DAY = date(2026, 6, 17).toordinal() - date(1970, 1, 1).toordinal()


def settled(symbol: str, quantity: int, price: float | None = None, underlying: float | None = None) -> tuple[int, int]:
    found = settlement(
        symbol, quantity, price=None if price is None else micros(price), underlying=None if underlying is None else micros(underlying),
        source="exchange", rules=RULES, trading_date=DAY,
    )  # fmt: skip
    return found.price, found.taxes


def test_a_future_pays_its_tax_on_the_final_price() -> None:
    # 2 x 21 000 x 200 x 0.002 % = 168.
    assert settled("TXFF6", 2, 21_000) == (micros(21_000), micros(168))
    assert settled("TXFF6", -2, 21_000) == (micros(21_000), micros(168))


@pytest.mark.parametrize(
    ("symbol", "underlying", "worth", "taxes"),
    [
        # 3 x 28 000 x 50 x 0.002 % = 84.
        ("TX127900L5", 28_000, 100, 84),
        ("TX127900L5", 27_900, 0, 0),
        ("TX127900X5", 27_800, 100, 83),
        ("TX127900X5", 28_000, 0, 0),
    ],
)
def test_an_option_on_the_index_ends_at_its_intrinsic_value_and_worthless_owes_nothing(
    symbol: str, underlying: float, worth: float, taxes: float
) -> None:
    price, due = settled(symbol, 3, underlying=underlying)

    assert price == micros(worth)
    assert abs(due - micros(taxes)) < MICROS
    assert due % MICROS == 0


@pytest.mark.parametrize(
    ("symbol", "price", "underlying", "reason"),
    [
        ("TXFF6", None, None, "price_needed"),
        ("TXFF6", 0.0, None, "bad_correction"),
        ("TX127900L5", -1.0, None, "bad_correction"),
        ("TXO00480L", None, 500.0, "price_needed"),
        ("???F6", 1.0, None, "unknown_instrument"),
    ],
)
def test_no_price_is_guessed(symbol: str, price: float | None, underlying: float | None, reason: str) -> None:
    with pytest.raises(Refused) as refusal:
        settled(symbol, 1, price, underlying)

    assert refusal.value.reason == reason


def test_calls_and_puts_are_told_by_their_month() -> None:
    assert [intrinsic(f"TXO10000{month}6", micros(10_100)) for month in "ALMX"] == [micros(100), micros(100), 0, 0]
    assert [intrinsic(f"TXO10000{month}6", micros(9_900)) for month in "ALMX"] == [0, 0, micros(100), micros(100)]


def test_a_settlement_of_an_operator_names_who_says_the_price_and_carries_the_tax() -> None:
    price = named("SETTLEMENT", "TXFF6", "derivative", price=micros(21_000), evidence={"price_source": "exchange notice"})
    worth = named("SETTLEMENT", "TX127900L5", "derivative", evidence={"underlying": "28000.5"})
    worthless = named("SETTLEMENT", "TXO00480L", "derivative", evidence={"price_source": "exchange notice"})

    made = check(price, worth, worthless).corrections

    assert [one.price for one in made] == [micros(21_000), micros(100.5), 0]
    assert [one.evidence["price_source"] for one in made] == ["exchange notice", "operator ann", "exchange notice"]
    assert made[0].taxes == micros(168)
    assert made[1].taxes > 0
    assert made[2].taxes == 0
    (named_,) = check(msgspec.structs.replace(price, taxes=micros(170))).corrections
    assert named_.taxes == micros(170)


def test_only_what_stands_for_a_fill_carries_the_read_behind_it() -> None:
    one = difference(finding(None, 5, 10.0))

    (adjust,) = check(named("ADJUST", quantity=5, price=1), one=one).corrections
    (cost,) = check(named("COST_BASIS", amount=5), one=one).corrections
    (other,) = check(named("ADJUST", "0050", quantity=5, price=1), one=one).corrections

    assert (adjust.read_began_ts, adjust.marker_after) == (BEGAN, "r/2/after")
    assert (cost.read_began_ts, other.read_began_ts) == (0, 0)
