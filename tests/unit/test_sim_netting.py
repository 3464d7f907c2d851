"""NET as the broker nets: random days on every shelf, lot and product, in the domain and in the two books of the simulated broker."""

import random
from typing import NamedTuple

import msgspec
import pytest

from execpos import settings
from execpos.brokers.sim.book import BookFill, fold_rows
from execpos.brokers.sim.config import SimAccount
from execpos.brokers.sim.market import Instrument
from execpos.brokers.sim.orders import Fill, Order
from execpos.brokers.sim.statement import Statement
from execpos.domain import ids
from execpos.domain.positions import CostMethod, average_price
from scenarios import DAY_S, Plan, Record, account_of, deal
from state import Harness

# The broker's rules as the simulator's book states them: cash at average cost, every other shelf first in, first out.
METHODS: dict[str, CostMethod] = {
    "cash": "average",
    "margin": "fifo",
    "short": "fifo",
    "sbl": "fifo",
    "emerging": "fifo",
    "derivative": "fifo",
}
RULES = msgspec.structs.replace(settings.load(None).rules(), cost_methods=METHODS)
SHELVES = {
    "Cash": "cash",
    "MarginTrading": "margin",
    "ShortSelling": "short",
    "SBLShort": "sbl",
    "SBLShortPriceExempt": "sbl",
    "Emerging": "emerging",
}
LOTS = {"Common": 1000, "Odd": 1, "IntradayOdd": 1}
CONTRACTS = [("TXFF6", "TXF", 200), ("TMFF6", "TMF", 10), ("TXO22000F6", "TXO", 50)]
FIGURES = ("quantity", "open_cost", "realized")
DAY_OF_SECONDS = 86_400


class Match(NamedTuple):
    """One match: who reports it, and what it is to the broker's book."""

    plan: Plan
    side: int
    size: int
    cents: int
    day: int

    @property
    def units(self) -> int:
        return self.size * LOTS.get(self.plan.order_lot, 1)


def matches(rng: random.Random, count: int) -> list[Match]:
    """Return matches of few keys, so that each is reduced, closed and turned often."""
    pool = [Plan(0, "S", "2890", "2890", condition, lot, 0, "", "Buy") for condition in SHELVES for lot in LOTS]
    pool += [Plan(0, "F", symbol, code, "", "", 0, "", "Buy") for symbol, code, _ in CONTRACTS]
    chosen = rng.sample(pool, 5)
    return [
        Match(
            rng.choice(chosen)._replace(number=number),
            rng.choice((1, -1)),
            rng.randrange(1, 6),
            rng.randrange(100, 99_999),
            number * 3 // count,
        )
        for number in range(count)
    ]


def record(match: Match, seq: int) -> Record:
    side = "Buy" if match.side > 0 else "Sell"
    return deal(match.plan, seq, side, match.size, match.cents / 100, "", ts=DAY_S + match.day * DAY_OF_SECONDS + seq / 8)


def book_fill(match: Match, seq: int) -> BookFill:
    plan = match.plan
    multiplier = next((each for symbol, _, each in CONTRACTS if symbol == plan.symbol), 1)
    return BookFill(
        account_of(plan),
        f"2026-05-{21 + match.day}",
        plan.order_id,
        f"{seq:06d}",
        plan.symbol,
        SHELVES.get(plan.order_cond, "derivative"),
        "UNASSIGNED",
        match.side,
        match.units,
        match.cents * 10_000 * multiplier,
    )


@pytest.mark.parametrize("seed", range(60))
def test_every_row_of_every_shelf_is_the_broker_s(seed: int) -> None:
    made = matches(random.Random(seed), 40)

    harness = Harness(RULES).run(record(match, seq) for seq, match in enumerate(made, 1))

    broker = {
        tuple(row[name] for name in ("account", "symbol", "book", "strategy_id")): tuple(row[name] for name in FIGURES)
        for row in fold_rows(book_fill(match, seq) for seq, match in enumerate(made, 1))
    }
    assert {key: tuple(getattr(position.row, name) for name in FIGURES) for key, position in harness.rows().items()} == broker
    assert all(outcome.disposition == "fill" for outcome in harness.outcomes)


# --- the statement -----------------------------------------------------------------------------------------------------------------------

STOCK, FUTURES = SimAccount("S", "9A95", "1234567"), SimAccount("F", "F002000", "7654321")


def stated(made: list[Match]) -> dict[str, Statement]:
    """What the broker's back office says after these matches, by market."""
    statements = {"S": Statement("S"), "F": Statement("F")}
    for seq, match in enumerate(made, 1):
        plan = match.plan
        kind = "STK" if plan.market == "S" else "OPT" if plan.code == "TXO" else "FUT"
        order = Order(
            STOCK if plan.market == "S" else FUTURES,
            Instrument(plan.market, kind, plan.code, plan.symbol, match.cents),
            side=match.side,
            quantity=match.size,
            price=match.cents,
            cond=plan.order_cond,
            lot=plan.order_lot,
        )
        order.id = f"{seq}"
        order.trading_date = f"2026-05-{21 + match.day}"
        statements[plan.market].apply(Fill(order, match.units, match.cents, f"{seq}", 0))
    return statements


@pytest.mark.parametrize("seed", range(60, 100))
def test_what_list_positions_would_say_of_cash_and_contracts_is_net(seed: int) -> None:
    made = [match for match in matches(random.Random(seed), 60) if match.plan.order_cond in {"", "Cash"}]

    harness = Harness(RULES).run(record(match, seq) for seq, match in enumerate(made, 1))

    mine: dict[str, tuple[int, int]] = {}
    for key, position in harness.rows().items():
        if key[3] == ids.NET and position.row.quantity:
            mine[key[1]] = (position.row.quantity, average_price(position.row, position.multiplier))
    theirs: dict[str, tuple[int, float]] = {}
    for statement in stated(made).values():
        for row in statement.positions():
            theirs[row["code"]] = (row["quantity"] * (1 if row["direction"] == "Buy" else -1), row["price"])
    assert {symbol: quantity for symbol, (quantity, _) in mine.items()} == {symbol: quantity for symbol, (quantity, _) in theirs.items()}
    for symbol, (_, average) in mine.items():
        # The broker states two decimals.
        assert average / 1_000_000 == pytest.approx(theirs[symbol][1], abs=0.0051)


def test_margin_and_short_sales_of_one_stock_are_rows_of_their_own_at_the_broker_and_here() -> None:
    shelves = ("Cash", "MarginTrading", "ShortSelling", "Cash")
    plans = [Plan(number, "S", "2890", "2890", condition, "Common", 0, "", "Buy") for number, condition in enumerate(shelves)]
    made = [Match(plan, side, 1, 2700 + side, 0) for plan, side in zip(plans, (1, 1, -1, 1), strict=True)]

    harness = Harness(RULES).run(record(match, seq) for seq, match in enumerate(made, 1))

    rows = stated(made)["S"].positions()
    theirs = {SHELVES[row["cond"]]: row["quantity"] * (1 if row["direction"] == "Buy" else -1) for row in rows}
    assert {key[2]: position.row.quantity for key, position in harness.rows().items() if key[3] == ids.NET} == theirs
    assert theirs == {"cash": 2000, "margin": 1000, "short": -1000}


# --- day trades --------------------------------------------------------------------------------------------------------------------------


def day_of(rng: random.Random) -> list[Match]:
    """A morning position, and a day that buys before it sells: there both say the same of what pairs."""
    plan = Plan(0, "S", "2890", "2890", "Cash", "Common", 0, "", "Buy")
    morning = [Match(plan._replace(number=0), 1, rng.randrange(1, 9), 20_000, 0)]
    buys = [Match(plan._replace(number=1 + n), 1, rng.randrange(1, 5), rng.randrange(50, 100) * 200, 1) for n in range(rng.randrange(1, 4))]
    held = sum(match.size for match in morning + buys)
    sells, number = list[Match](), 10
    while held and rng.random() < 0.8:
        count = rng.randrange(1, held + 1)
        held -= count
        number += 1
        sells.append(Match(plan._replace(number=number), -1, count, rng.randrange(50, 100) * 200, 1))
    return morning + buys + sells


@pytest.mark.parametrize("seed", range(40))
def test_the_tax_after_the_close_is_what_the_broker_charges_for_the_day_s_trades(seed: int) -> None:
    made = day_of(random.Random(seed))
    harness = Harness(RULES).run(record(match, seq) for seq, match in enumerate(made, 1))

    harness.run([("close", account_of(made[0].plan), "2026-05-22D")])

    charged = sum(detail["tax"] for profit in stated(made)["S"].profits for detail in profit["_details"])
    net = harness.rows()[account_of(made[0].plan), "2890", "cash", ids.NET].row
    assert net.taxes == charged * 1_000_000
    assert (net.day_buy_quantity, net.day_sell_quantity) == tuple(
        sum(match.units for match in made if match.day and match.side == side) for side in (1, -1)
    )
