"""Quotes to exec.marks: of what is held, the newest price, so and so often."""

from pathlib import Path
from typing import Any

import pytest

from bridge_world import KEY, ScriptedBroker, World, made, running, wait_for
from execpos.bridge.held import Held
from execpos.bridge.latest import Latest
from execpos.bridge.marks import Quotes, Symbol
from execpos.brokers.protocol import Quote
from execpos.domain.events import Mark, PositionState
from execpos.kafka.memory.producer import MemoryIdempotentProducer

HELD: frozenset[Symbol] = frozenset({("S", "2330")})


def position(symbol: str, quantity: int, strategy_id: str = "*", account: str = KEY) -> PositionState:
    blank: dict[Any, Any] = {str: "", int: 0, bool: False}
    fields = {name: blank.get(kind, ()) for name, kind in PositionState.__annotations__.items()}
    fields |= {"account": account, "symbol": symbol, "strategy_id": strategy_id, "quantity": quantity, "book": "cash"}
    return PositionState(**fields)


def test_of_several_quotes_between_two_marks_the_last_one_counts() -> None:
    quotes = Quotes("simulation", "b", lambda: 77)
    for n in range(5):
        quotes.take(Quote("S", "2330", 600.0 + n, 1000 + n))

    assert quotes.drain(HELD) == [Mark("simulation", "S", "2330", 604_000_000, 1004, 77, "b")]
    assert quotes.drain(HELD) == []


def test_only_what_is_held_becomes_a_mark() -> None:
    quotes = Quotes("simulation", "b")
    quotes.take(Quote("S", "2317", 100.0, 1))
    quotes.take(Quote("F", "2330", 100.0, 1))

    assert quotes.drain(HELD) == []


def test_an_older_quote_replaces_no_newer_mark() -> None:
    quotes = Quotes("simulation", "b")
    quotes.take(Quote("S", "2330", 600.0, 2000))
    quotes.drain(HELD)
    quotes.take(Quote("S", "2330", 599.0, 1999))

    assert quotes.drain(HELD) == []


@pytest.mark.parametrize("price", [float("nan"), float("inf"), 1e300, 0.12345678])
def test_what_is_no_price_is_no_mark(price: float) -> None:
    quotes = Quotes("simulation", "b")
    quotes.take(Quote("S", "2330", price, 1))

    assert quotes.drain(HELD) == []
    assert quotes.refused == 1


def test_held_are_the_symbols_whose_net_row_of_our_accounts_is_open() -> None:
    held = Held(lambda: [KEY])
    for key, state in (
        (b"1", position("2330", 1000)),
        (b"2", position("2317", 1000, "alpha")),
        (b"3", position("2454", 1000, account="simulation|S|9A95|2")),
        (b"4", position("*", 1)),
        (b"5", position("1101", 0)),
        (b"6", position("2603", -1000)),
    ):
        held.see(key, state)
    assert held.symbols == {("S", "2330"), ("S", "2603")}

    held.see(b"1", position("2330", 0))
    held.see(b"6", None)

    assert held.symbols == frozenset()


def test_one_record_of_a_key_is_on_its_way_and_the_rest_is_dropped() -> None:
    world = World()
    sent: list[int] = []
    latest = Latest(MemoryIdempotentProducer(world.broker), "t.exec.marks.v1", lambda: sent.append(1))
    assert latest.offer(b"k", b"1")
    assert not latest.offer(b"k", b"2")
    assert latest.offer(b"other", b"1")
    latest.poll()

    assert latest.offer(b"k", b"3")
    assert latest.flush(1.0)
    assert len(sent) == 3


def test_marks_follow_the_positions(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    world.write("exec.positions.v1", KEY, position("2330", 1000))
    with running(made(world, broker, tmp_path)):
        wait_for("the subscription", lambda: broker.watching == {("S", "2330")})
        for n in range(3):
            broker.trade("2330", 600.0 + n, 1_779_331_286_000_000 + n)
            broker.trade("2317", 100.0, 1_779_331_286_000_000 + n)
        wait_for("the mark", lambda: any(m.price == 602_000_000 for m in world.read("exec.marks.v1", Mark)))

    marks = world.read("exec.marks.v1", Mark)
    assert {(m.env, m.market, m.symbol, m.bridge_id) for m in marks} == {("simulation", "S", "2330", "b")}
    assert marks[-1].exchange_ts == 1_779_331_286_000_002
