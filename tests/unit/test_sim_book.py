"""The simulated broker's book, against a recomputation from the delivered payloads alone."""

from collections import defaultdict
from decimal import ROUND_HALF_EVEN, Context, Decimal

import pytest

from execpos.brokers.sim import Faults, SimConfig, SimEvent, Simulator, market_open_us
from execpos.brokers.sim.book import _Row

EXACT = Context(prec=80)
MICRO = Decimal("0.000001")


def brute_force(events: list[SimEvent]) -> dict[tuple[str, str, str, str], tuple[Decimal, Decimal, Decimal]]:
    """Return (quantity, open cost, realized) by account, symbol, book and strategy, unit by unit from the payloads."""
    owner: dict[tuple[str, str], str] = {}
    for event in events:
        if event.intent is not None:
            owner[event.intent.account.account_id, event.intent.order_id or event.intent.seqno] = event.intent.strategy_id
    rows: dict[tuple[str, str, str, str], list[list[Decimal]]] = defaultdict(list)
    realized: dict[tuple[str, str, str, str], Decimal] = defaultdict(Decimal)
    seen: set[tuple[str, str, str]] = set()
    for event in events:
        deal = event.payload
        if "trade_id" not in deal or (key := (deal["account_id"], deal["trade_id"], deal["exchange_seq"])) in seen:
            continue
        seen.add(key)
        stock = event.state == "SDEAL"
        quantity = deal["quantity"] * (1000 if stock and deal["order_lot"] == "Common" else 1)
        multiplier = 1 if stock else {"TXF": 200, "MXF": 50, "TMF": 10, "TXO": 50}[deal["code"]]
        book = {"Cash": "cash", "MarginTrading": "margin", "ShortSelling": "short"}[deal["order_cond"]] if stock else "derivative"
        account = deal["account_id"]
        strategy = owner.get((account, deal["trade_id"])) or owner.get((account, deal["seqno"])) or deal.get("custom_field") or "UNASSIGNED"
        name = f"simulation|{'S' if stock else 'F'}|{deal['broker_id']}|{account}"
        value = Decimal(repr(deal["price"])) * multiplier
        signed = Decimal(quantity if deal["action"] == "Buy" else -quantity)
        for who in (strategy, "*"):
            place = (name, deal["code"] if stock else deal["full_code"], book, who)
            realized[place] += fold(rows[place], signed, value, average=book == "cash")
    return {
        place: (sum((lot[0] for lot in lots), Decimal(0)), sum((lot[1] for lot in lots), Decimal(0)), realized[place])
        for place, lots in rows.items()
    }


def fold(lots: list[list[Decimal]], signed: Decimal, value: Decimal, *, average: bool) -> Decimal:
    gained = Decimal(0)
    while signed and lots and (lots[0][0] > 0) != (signed > 0):
        taken = min(abs(signed), abs(lots[0][0]))
        part = EXACT.divide(EXACT.multiply(lots[0][1], taken), abs(lots[0][0])).quantize(MICRO, ROUND_HALF_EVEN, EXACT)
        direction = 1 if lots[0][0] > 0 else -1
        gained += direction * taken * value - part
        lots[0] = [lots[0][0] - direction * taken, lots[0][1] - part]
        signed += direction * taken
        if not lots[0][0]:
            assert lots[0][1] == 0
            lots.pop(0)
    if signed and average and lots:
        lots[0] = [lots[0][0] + signed, lots[0][1] + signed * value]
    elif signed:
        lots.append([signed, signed * value])
    return gained


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_book_equals_a_recomputation_from_the_payloads(seed: int) -> None:
    faults = Faults(duplicate=0.05, new_receipt=0.05, deal_before_order=0.1, late=0.05, reorder=0.1, conflict=0.01)
    config = SimConfig(seed=seed, start_us=market_open_us(2026, 5, 21), events=8000, margin_share=0.15, faults=faults)
    simulator = Simulator(config)
    expected = brute_force(list(simulator.events()))

    rows = simulator.book.rows()
    found = {
        (row["account"], row["symbol"], row["book"], row["strategy_id"]): (
            Decimal(row["quantity"]),
            Decimal(row["open_cost"]) * MICRO,
            Decimal(row["realized"]) * MICRO,
        )
        for row in rows
    }
    assert found == expected
    assert {row["book"] for row in rows} == {"cash", "margin", "short", "derivative"}
    assert any(row["quantity"] < 0 for row in rows)
    assert any(row["strategy_id"] == "UNASSIGNED" for row in rows)


def test_strategies_of_a_key_sum_to_its_net_quantity() -> None:
    simulator = Simulator(SimConfig(seed=5, start_us=market_open_us(2026, 5, 21), events=4000))
    list(simulator.events())
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in simulator.book.rows():
        sums[row["account"], row["symbol"], row["book"]][row["strategy_id"] == "*"] += row["quantity"]

    assert all(strategies == net for strategies, net in sums.values())


def test_average_takes_a_share_of_the_cost_rounded_half_to_even() -> None:
    row = _Row(average=True)
    row.add(1, 1)
    row.add(1, 2)
    row.add(-1, 0)

    # Cost 3 for two: one of them is 1.5, and the even neighbour is 2.
    assert (row.quantity, row.open_cost, row.realized) == (1, 1, -2)


def test_fifo_takes_the_oldest_lot_first_and_a_flip_closes_before_it_opens() -> None:
    row = _Row(average=False)
    row.add(2, 100)
    row.add(3, 200)
    row.add(-4, 300)
    assert (row.quantity, row.open_cost, row.realized) == (1, 200, 600)

    row.add(-3, 300)
    assert (row.quantity, row.open_cost, row.realized) == (-2, -600, 700)


def test_differences_name_row_figure_and_both_values_and_take_a_missing_row_as_zero() -> None:
    simulator = Simulator(SimConfig(seed=5, start_us=market_open_us(2026, 5, 21), events=300))
    list(simulator.events())
    rows = simulator.book.rows()
    flat = dict.fromkeys(("quantity", "open_cost", "realized"), 0)

    assert simulator.book.differences(rows) == []
    assert simulator.book.differences([*rows, rows[0] | {"strategy_id": "nobody"} | flat]) == []
    held = next(row for row in rows if row["quantity"])
    wrong = [row | {"quantity": row["quantity"] + 1} if row is held else row for row in rows]
    [line] = simulator.book.differences(wrong)
    assert held["symbol"] in line
    assert f"quantity is {held['quantity'] + 1}" in line
    assert len(simulator.book.differences([row for row in rows if row is not held])) >= 1
