"""A hundred thousand random sequences of fills for each cost method, exact against the oracle; seeded, so that a failure can be repeated.

The first test folds rows. The second drives a book: fills that change their owner or are voided, before and after others, in any order;
each of its sequences takes one of the methods in turn. Hypothesis looks at whole logs through the pipeline, in `test_pipeline_oracle`.
"""

import random
from collections import defaultdict
from typing import Any, NamedTuple

import msgspec
import pytest

import oracle
from execpos.domain import invariants, positions
from execpos.domain.book import Book, Source
from execpos.domain.events import FillEvent, PositionDelta, Side
from execpos.domain.positions import EMPTY, CostMethod, Entry, Row
from execpos.domain.undo import Undo

SEQUENCES = 100_000
METHODS: tuple[CostMethod, ...] = ("average", "fifo", "day_pair_average")
LONGEST = 12
UNBOUNDED = 10**9


class Trade(NamedTuple):
    """One fill: signed units, price in 10⁻⁶, trading date."""

    quantity: int
    price: int
    day: int


def sequence(rng: random.Random) -> tuple[int, list[Trade]]:
    """Return a multiplier and 1 to 12 fills: small sizes, so that rows flip and close often, and prices that leave a rest in divisions."""
    multiplier = rng.choice((1, 1, 50, 200))
    days = rng.randrange(1, 4)
    return multiplier, [
        Trade(rng.choice((-9, -5, -3, -2, -1, 1, 2, 3, 5, 9)), rng.randrange(1, 10**8), 20_000 + rng.randrange(days))
        for _ in range(rng.randrange(1, LONGEST + 1))
    ]


@pytest.mark.parametrize("method", METHODS)
def test_every_row_equals_the_oracle_s_and_conserves_money_at_every_step(method: CostMethod) -> None:
    for seed in range(SEQUENCES):
        multiplier, trades = sequence(random.Random(seed))
        row, cash, total = EMPTY, 0, 0
        for seq, (quantity, price, day) in enumerate(trades, 1):
            amount = quantity * price * multiplier
            row = positions.apply(row, Entry(seq, "f", quantity, amount, 1, 2, day), method, UNBOUNDED)
            cash -= amount
            total += quantity
            assert (row.realized, row.quantity) == (cash + row.open_cost, total), (seed, seq)
        expected = oracle.row_of([(day, quantity, quantity * price * multiplier) for quantity, price, day in trades], method)
        assert figures(row) == (expected.quantity, expected.open_cost, expected.realized, expected.lots), seed
        assert (row.fees, row.taxes) == (len(trades), 2 * len(trades)), seed
        check_day(row, trades, multiplier, seed)
        if method == "day_pair_average":
            assert row.realized_day == expected.realized_day, seed


def figures(row: Row) -> tuple[int, int, int, list[list[int]]]:
    return row.quantity, row.open_cost, row.realized, [[lot.quantity, lot.cost] for lot in row.lots]


def check_day(row: Row, trades: list[Trade], multiplier: int, seed: int) -> None:
    """The day's sums are those of the newest date's fills."""
    newest = max(trade.day for trade in trades)
    today = [trade for trade in trades if trade.day == newest]
    buys, sells = [trade for trade in today if trade.quantity > 0], [trade for trade in today if trade.quantity < 0]
    assert row.trading_date == newest, seed
    for side, quantity, amount in (
        (buys, row.day_buy_quantity, row.day_buy_amount),
        (sells, -row.day_sell_quantity, -row.day_sell_amount),
    ):
        assert quantity == sum(trade.quantity for trade in side), seed
        assert amount == sum(trade.quantity * trade.price * multiplier for trade in side), seed


SOURCE = Source("raw", 0, 0, 0, 0, "b", 1, 0, 1, 0)
OWNERS = ("alpha", "beta", "UNASSIGNED")


def test_books_with_moves_and_voids_in_any_order_end_in_the_oracle_s_rows_and_in_the_sum_of_their_deltas() -> None:
    for seed in range(SEQUENCES):
        rng = random.Random(-seed)
        multiplier, trades = sequence(rng)
        method = METHODS[seed % len(METHODS)]
        book = Book("replay|S|b|a", {"cash": method}, UNBOUNDED, Undo(), {})
        deltas: list[PositionDelta] = []
        live: dict[int, FillEvent] = {}
        for seq, trade in enumerate(trades, 1):
            live[seq] = fill_of(seq, trade, multiplier, rng.choice(OWNERS))
            deltas.append(book.add(live[seq], SOURCE))
            # Between the fills, and after them, any of those that came moves or is voided.
            while live and rng.random() < 0.4:
                changed = live.pop(rng.choice(list(live)))
                if rng.random() < 0.4:
                    deltas.append(book.void(changed, SOURCE))
                    continue
                moved = msgspec.structs.replace(changed, strategy_id=rng.choice(OWNERS))
                live[moved.fill_seq] = moved
                if moved.strategy_id != changed.strategy_id:
                    deltas += book.move(changed, moved, SOURCE)
        check_rows(book, method, {seq: (live[seq].strategy_id, trades[seq - 1]) for seq in sorted(live)}, multiplier, seed)
        check_deltas(book, deltas, seed)


def check_rows(book: Book, method: CostMethod, standing: dict[int, tuple[str, Trade]], multiplier: int, seed: int) -> None:
    held = 0
    for position in book:
        mine = [trade for owner, trade in standing.values() if position.strategy_id in {owner, oracle.NET}]
        expected = oracle.row_of([(day, quantity, quantity * price * multiplier) for quantity, price, day in mine], method)
        assert figures(position.row) == (expected.quantity, expected.open_cost, expected.realized, expected.lots), seed
        invariants.row_consistent(position.row, method)
        held += position.row.quantity if position.strategy_id != oracle.NET else -position.row.quantity
    assert not held, seed


def check_deltas(book: Book, deltas: list[PositionDelta], seed: int) -> None:
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0] * 5)
    for delta in deltas:
        own = (delta.d_quantity, delta.d_open_cost, delta.d_realized, delta.d_fees, delta.d_taxes)
        net = (delta.net_d_quantity, delta.net_d_open_cost, delta.net_d_realized, delta.net_d_fees, delta.net_d_taxes)
        for strategy, change in ((delta.strategy_id, own), (oracle.NET, net)):
            sums[strategy] = [total + part for total, part in zip(sums[strategy], change, strict=True)]
    for position in book:
        row = position.row
        assert sums[position.strategy_id] == [row.quantity, row.open_cost, row.realized, row.fees, row.taxes], seed


BLANK: dict[Any, Any] = {str: "", int: 0, bytes: b"", bool: False}
WORDS: dict[str, Any] = {"market": "S", "side": "BUY", "symbol": "2330", "book": "cash", "security_type": "STK", "quality": "CONFIRMED"}
FIELDS: dict[str, Any] = {each.name: WORDS.get(each.name, BLANK.get(each.type)) for each in msgspec.structs.fields(FillEvent)}
TEMPLATE = FillEvent(**FIELDS)


def fill_of(seq: int, trade: Trade, multiplier: int, owner: str) -> FillEvent:
    side: Side = "BUY" if trade.quantity > 0 else "SELL"
    return msgspec.structs.replace(
        TEMPLATE,
        fill_id=f"f{seq}",
        fill_seq=seq,
        strategy_id=owner,
        side=side,
        quantity=abs(trade.quantity),
        price=trade.price,
        multiplier=multiplier,
        trading_date=trade.day,
        fee_est=seq,
        tax_est=2 * seq,
    )
