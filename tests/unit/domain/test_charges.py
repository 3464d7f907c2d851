"""Charges that follow what is known: after voids in any order, and after the close, when the day trades are known."""

from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from execpos import settings
from execpos.domain import ids
from execpos.domain.book import Source
from execpos.domain.charges import charges
from execpos.domain.events import FillEvent, Side
from execpos.domain.pairing import PairedDay
from scenarios import Plan, Record, account_of, deal, examples, fill_id, intent
from state import Harness, assert_same

RULES = settings.load(None).rules()
TWD = 1_000_000
BUY = Plan(1, "S", "2330", "2330", "Cash", "Common", 0, "", "Buy")
SELL = Plan(2, "S", "2330", "2330", "Cash", "Common", 0, "", "Sell")
ACCOUNT = account_of(BUY)
DAY, LATER = "2026-05-21D", "2026-05-22D"


def harness(*log: Record) -> Harness:
    return Harness(RULES).run(log)


def close(world: Harness, session: str = DAY) -> None:
    world.pipeline.close_session(world.pipeline.account(ACCOUNT), session, SOURCE)
    world.commit()


SOURCE = Source("exec.raw.v1", 0, 900, 0, 0, "b", 1, 900, 1, 0)


def taxes(world: Harness) -> dict[int, int]:
    """Tax of each fill that stands, by its number, TWD."""
    fills = world.pipeline.accounts[ACCOUNT].fills.values()
    return {int(fill.exchange_seq): fill.tax_est // TWD for fill in fills if not fill.voided}


def fees(world: Harness) -> dict[int, int]:
    fills = world.pipeline.accounts[ACCOUNT].fills.values()
    return {int(fill.exchange_seq): fill.fee_est // TWD for fill in fills if not fill.voided}


def check_rows(world: Harness) -> None:
    """The rows bear what their fills do, and the orders too."""
    account = world.pipeline.accounts[ACCOUNT]
    standing = [fill for fill in account.fills.values() if not fill.voided]
    for position in account.book:
        mine = [fill for fill in standing if position.strategy_id in {fill.strategy_id, ids.NET}]
        assert (position.row.fees, position.row.taxes) == (sum(f.fee_est for f in mine), sum(f.tax_est for f in mine))
        assert position.row.fees == sum(
            delta.d_fees if position.strategy_id != ids.NET else delta.net_d_fees
            for delta in world.committed.deltas
            if position.strategy_id in {delta.strategy_id, ids.NET}
        )
    for order in account.orders.values():
        mine = [fill for fill in standing if fill.order_key == order.order_key]
        assert (order.fee, order.tax) == (sum(f.fee_est for f in mine), sum(f.tax_est for f in mine))


# --- voids -------------------------------------------------------------------------------------------------------------------------------


def three() -> list[Record]:
    # 20 TWD at least an order: the first fill bears it, the second what is above.
    return [deal(SELL, seq, "Sell", 1, price, f"r{seq}") for seq, price in ((1, 10.0), (2, 20.0), (3, 30.0))]


def test_a_void_gives_the_order_s_minimum_to_the_fill_that_is_now_the_first() -> None:
    world = harness(*three())
    assert fees(world) == {1: 20, 2: 42 - 20, 3: 85 - 42}

    world.run([("void", fill_id(SELL, 1))])

    assert fees(world) == {2: 28, 3: 71 - 28}
    check_rows(world)
    revised = [fill for fill in world.committed.fills if fill.cause == "FEES"]
    # The third bears 43 as before.
    assert [(fill.exchange_seq, fill.revision, fill.fee_quality) for fill in revised] == [("000002", 2, "ESTIMATED")]
    assert (world.committed.deltas[-1].cause, world.committed.deltas[-1].d_fees) == ("FEES", 6 * TWD)


def test_any_order_of_voids_among_the_same_fills_ends_in_the_same_charges() -> None:
    ends = set()
    for order in permutations([("void", fill_id(SELL, 1)), ("void", fill_id(SELL, 3)), three()[1], intent(SELL, "alpha")]):
        log = [three()[0], *order, three()[2]]
        world = harness(*log)
        check_rows(world)
        ends.add((tuple(fees(world).items()), tuple(taxes(world).items())))
    assert ends == {(((2, 28),), ((2, 60),))}


# --- day trades --------------------------------------------------------------------------------------------------------------------------


def test_the_day_s_smaller_side_is_paired_with_the_first_sales() -> None:
    world = harness(deal(SELL, 1, "Sell", 2, 100.0, "r1"), deal(BUY, 2, "Buy", 3, 90.0, "r2"), deal(SELL, 3, "Sell", 4, 110.0, "r3"))
    fills = list(world.pipeline.accounts[ACCOUNT].fills.values())

    day = PairedDay(fills)
    assert {fill.fill_id: day.paired(fill.fill_id) for fill in fills} == {
        fill_id(SELL, 1): 2_000,
        fill_id(BUY, 2): 0,
        fill_id(SELL, 3): 1_000,
    }
    assert PairedDay(fills[:1]).paired(fill_id(SELL, 1)) == 0
    assert PairedDay([]).paired("") == 0


@examples(200)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), min_size=1, max_size=20), st.data())
def test_a_day_that_is_kept_up_equals_one_that_is_made_anew_and_tells_what_changed(
    sides: list[tuple[bool, int]], data: st.DataObject
) -> None:
    made = harness(deal(BUY, 1, "Buy", 1, 90.0, "r1")).committed.fills[0]
    day, standing = PairedDay([]), list[FillEvent]()
    for seq, (buy, quantity) in enumerate(sides, 1):
        before = {fill.fill_id: day.paired(fill.fill_id) for fill in standing}
        voids = data.draw(st.booleans())
        if voids and standing:
            gone = standing.pop(data.draw(st.integers(0, len(standing) - 1)))
            touched = day.remove(gone)
        else:
            side: Side = "BUY" if buy else "SELL"
            fill = msgspec.structs.replace(made, fill_id=f"f{seq}", fill_seq=seq, side=side, quantity=quantity)
            standing.append(fill)
            touched = day.add(fill)
        anew = PairedDay(standing)
        now = {fill.fill_id: day.paired(fill.fill_id) for fill in standing}
        assert now == {fill.fill_id: anew.paired(fill.fill_id) for fill in standing}
        changed = {fill_id for fill_id, units in now.items() if units != before.get(fill_id, 0)}
        assert changed <= {fill.fill_id for fill in touched} <= {fill.fill_id for fill in day.sales()}
        assert sum(now.values()) == min(sum(fill.quantity for fill in standing if fill.side == one) for one in ("BUY", "SELL"))


def test_a_sale_pays_the_full_tax_until_the_close_and_half_of_it_for_what_was_paired() -> None:
    world = harness(
        deal(BUY, 1, "Buy", 3, 90.0, "r1"),
        deal(SELL, 2, "Sell", 2, 100.0, "r2"),
        deal(SELL, 3, "Sell", 4, 110.0, "r3"),
        intent(SELL, "alpha"),
    )
    assert taxes(world) == {1: 0, 2: 600, 3: 1320}

    close(world)

    # 0.15 % of 200 000 and of 110 000, 0.3 % of 330 000, all of one order.
    assert taxes(world) == {1: 0, 2: 300, 3: 1455 - 300}
    check_rows(world)
    assert world.pipeline.accounts[ACCOUNT].closed == ids.session_ordinal(DAY)
    last = world.committed.deltas[-1]
    assert (last.cause, last.strategy_id, last.d_taxes, last.d_quantity) == ("FEES", "alpha", -165 * TWD, 0)


def test_a_session_is_closed_once_and_a_later_one_closes_those_before_it() -> None:
    world = harness(deal(BUY, 1, "Buy", 1, 100.0, "r1"), deal(SELL, 2, "Sell", 1, 100.0, "r2"))
    close(world, LATER)
    made = len(world.committed.fills)

    close(world, LATER)
    close(world, DAY)

    assert (taxes(world), len(world.committed.fills)) == ({1: 0, 2: 150}, made)


@pytest.mark.parametrize(
    "plan",
    [
        BUY._replace(order_lot="IntradayOdd"),
        BUY._replace(order_cond="MarginTrading"),
        BUY._replace(order_cond="ShortSelling"),
        BUY._replace(symbol="0050", code="0050"),
        BUY._replace(symbol="030001", code="030001"),
    ],
)
def test_odd_lots_other_books_funds_and_warrants_pay_in_full(plan: Plan) -> None:
    world = harness(deal(plan, 1, "Buy", 1, 1000.0, "r1"), deal(plan._replace(number=2), 2, "Sell", 1, 1000.0, "r2"))
    before = taxes(world)

    close(world)

    assert taxes(world) == before
    assert before[2] > 0


def test_from_2028_on_a_day_trade_pays_as_every_sale() -> None:
    product = RULES.instruments.product("S", "2330", "", "")
    last = 21_183  # 2027-12-31
    assert RULES.fees.day_trade_tax(product, "cash", "SELL", 10**12, 10**12, last) == 1_500 * TWD
    assert RULES.fees.day_trade_tax(product, "cash", "SELL", 10**12, 10**12, last + 1) == 3_000 * TWD
    assert RULES.fees.day_trade_tax(product, "cash", "BUY", 10**12, 10**12, last) == 0


LATE: list[Record] = [
    deal(BUY, 3, "Buy", 1, 90.0, "r3"),
    ("void", fill_id(SELL, 2)),
    ("void", fill_id(BUY, 1)),
    intent(SELL, "alpha"),
]


@pytest.mark.parametrize("at", range(len(LATE) + 1))
@pytest.mark.parametrize("order", list(permutations(range(len(LATE))))[::5])
def test_what_comes_for_a_closed_day_ends_as_if_it_had_come_before(at: int, order: tuple[int, ...]) -> None:
    day = [
        deal(BUY, 1, "Buy", 2, 90.0, "r1"),
        deal(SELL, 2, "Sell", 1, 100.0, "r2"),
        deal(SELL, 4, "Sell", 2, 110.0, "r4"),
        deal(SELL, 5, "Sell", 1, 70.0, "r5"),
    ]
    early = harness(*day, *LATE)
    close(early)

    late = [LATE[index] for index in order]
    world = harness(*day, *late[:at])
    close(world)
    world.run(late[at:])

    assert taxes(world) == taxes(early)
    check_rows(world)


def test_an_aborted_close_leaves_no_trace_and_the_next_one_does_the_same() -> None:
    world = harness(deal(BUY, 1, "Buy", 1, 100.0, "r1"), deal(SELL, 2, "Sell", 1, 100.0, "r2"))
    before = world.dump()

    world.pipeline.close_session(world.pipeline.account(ACCOUNT), DAY, SOURCE)
    assert world.dump() != before
    world.rollback()

    assert_same(world.dump(), before)
    close(world)
    assert taxes(world) == {1: 0, 2: 150}


def test_what_the_broker_stated_stays() -> None:
    world = harness(deal(BUY, 1, "Buy", 1, 100.0, "r1"), deal(SELL, 2, "Sell", 1, 100.0, "r2"))
    account = world.pipeline.account(ACCOUNT)
    world.pipeline._recharge(account, account.fills[fill_id(SELL, 2)], 7 * TWD, 8 * TWD, SOURCE, "CONFIRMED")

    close(world)

    assert taxes(world) == {1: 0, 2: 8}


# --- pure --------------------------------------------------------------------------------------------------------------------------------


def test_charges_of_an_order_sum_to_its_estimate_whatever_its_fills() -> None:
    world = harness(*three())
    fills = list(world.pipeline.accounts[ACCOUNT].fills.values())
    product = RULES.instruments.product("S", "2330", "", "")

    shares = charges(RULES.fees, product, fills)

    total = RULES.fees.estimate(product, "cash", "Common", "SELL", 60_000 * TWD, 3_000, fills[0].trading_date)
    assert (sum(fee for fee, _ in shares), sum(tax for _, tax in shares)) == total
    assert charges(RULES.fees, product, []) == []


def test_settling_an_option_costs_the_tax_of_a_future_on_the_settlement_price() -> None:
    option = RULES.instruments.product("F", "TXO", "TXO18000L6", "")
    future = RULES.instruments.product("F", "TXF", "TXFL6", "")
    stock = RULES.instruments.product("S", "2330", "", "")

    # 18 000 points of 50 TWD, 2 contracts: 1.8 million at 0.002 %.
    assert RULES.fees.settlement_tax(option, 2, 18_000 * TWD, 20_594) == 36 * TWD
    assert RULES.fees.settlement_tax(option, -2, 18_000 * TWD, 20_594) == 36 * TWD
    assert RULES.fees.settlement_tax(future, 1, 18_000 * TWD, 20_594) == 72 * TWD
    assert RULES.fees.settlement_tax(stock, 1, TWD, 20_594) == 0
    assert RULES.fees.settlement_tax(option, 0, TWD, 20_594) == 0
