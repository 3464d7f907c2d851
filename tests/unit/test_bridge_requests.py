"""Requests to the broker: each read stands between two markers in the stream, each request is answered once, whatever happens."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from bridge_world import ACCOUNT, IDS, KEY, ScriptedBroker, World, made, running, wait_for
from execpos.bridge.capture import Capture, OwnRecord
from execpos.bridge.reads import micros
from execpos.bridge.requests import Answered, Identity, Requests
from execpos.bridge.snapshots import Rows, parts
from execpos.brokers.protocol import BrokerError, BrokerLot, BrokerPosition, BrokerProfit, BrokerTrade
from execpos.codecs.avro import Decoder, Encoder, schema_text
from execpos.domain.events import BrokerPositionRow, BrokerRequest, BrokerSnapshot

TSMC = BrokerPosition(0, "2330", "Cash", "Buy", 2000, 612.5, 1000, 615.0, 5000.0)
SHORT = BrokerPosition(7, "2317", "ShortSelling", "Sell", 1000, 100.123456789, None, 101.0, -876.5)


class MemoryState(dict[str, Any]):
    """What a journal keeps, in memory; the values are copied as a file would."""

    def set(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))


class Written(list[tuple[BrokerSnapshot, Rows]]):
    """Takes answers."""

    def write(self, answer: BrokerSnapshot, rows: Rows, timeout_s: float) -> bool:
        assert timeout_s > 0
        self.append((answer, rows))
        return True


class Office:
    """Requests alone, without threads; the stream is the capture's queue."""

    def __init__(self, broker: ScriptedBroker, state: MemoryState | None = None) -> None:
        self.state = MemoryState() if state is None else state
        self.capture = Capture()
        self.answers = Written()
        self.now_us = 1_000_000
        self.window = ""
        self.requests = Requests(
            broker,
            {KEY: ACCOUNT},
            self.capture,
            self.catch_up,
            self.answers,
            Answered(self.state),
            Identity("b", 5, "test"),
            blackout=lambda account, what: self.window,
            wall_us=lambda: self.now_us,
        )

    def catch_up(self, account: str) -> int:
        assert account == KEY
        self.capture.put_report("CATCHUP_SDEAL", {"trade_id": "t"})
        return 1

    def stream(self) -> list[str]:
        """Return the marker ids, and the kinds of what is no marker, in the order of the stream."""
        taken = self.capture.take(1000, 0.0)
        return [item[3].marker_id if isinstance(item[3], OwnRecord) else item[2] for item in taken if item is not None]


def request(*what: str, request_id: str = "rq", **fields: Any) -> BrokerRequest:
    known = {"reads": 1, "begin_date": 20_000, "end_date": 20_001, "requested_by": "t", "reason": "", "expires_ts": 2_000_000, "ts": 0}
    return BrokerRequest(**{"request_id": request_id, "account": KEY, "what": what, **known, **fields})


def test_every_read_stands_between_its_two_markers() -> None:
    broker = ScriptedBroker()
    office = Office(broker)
    broker.during["positions"] = lambda: office.capture.put_report("SDEAL", {})
    office.requests.answer(request("POSITIONS", "CATCHUP", reads=2))

    assert office.stream() == [
        "rq/POSITIONS/1/before",
        "SDEAL",
        "rq/POSITIONS/1/after",
        "rq/POSITIONS/2/before",
        "SDEAL",
        "rq/POSITIONS/2/after",
        "rq/CATCHUP/1/before",
        "CATCHUP_SDEAL",
        "rq/CATCHUP/1/after",
        "rq/CATCHUP/2/before",
        "CATCHUP_SDEAL",
        "rq/CATCHUP/2/after",
    ]
    assert [(a.what, a.read, a.reads, a.outcome, a.marker_before, a.marker_after, a.records) for a, _ in office.answers][:3] == [
        ("POSITIONS", 1, 2, "OK", "rq/POSITIONS/1/before", "rq/POSITIONS/1/after", 0),
        ("POSITIONS", 2, 2, "OK", "rq/POSITIONS/2/before", "rq/POSITIONS/2/after", 0),
        ("CATCHUP", 1, 2, "OK", "rq/CATCHUP/1/before", "rq/CATCHUP/1/after", 1),
    ]


def test_each_kind_of_answer_has_its_rows_in_the_contract_s_units() -> None:
    broker = ScriptedBroker()
    broker.rows = [TSMC, SHORT]
    broker.lots = [BrokerLot("2026-05-20", 1000, 612_500.0, "0", 872.0), BrokerLot("2026-05-21", 400, 40_000.0, "7", 20.0)]
    broker.orders = [BrokerTrade("o", "1", "Y", "2330", "Buy", "Filled", "Cash", "Common", 612.5, 1000, None, 0, (("1", 612.5, 1000),))]
    broker.profits = [BrokerProfit("2330", "2026-05-20", "Cash", 1000, 2500.0, 872.0, None)]
    office = Office(broker)
    office.requests.answer(request("POSITIONS", "LOTS", "ORDERS", "PROFIT_LOSS"))
    positions, lots, orders, profits = (rows for _, rows in office.answers)

    assert [
        (row.symbol, row.order_cond, row.quantity, row.price, row.has_quantity_before, row.quantity_before) for row in positions.positions
    ] == [
        ("2330", "Cash", 2000, 612_500_000, True, 1000),
        ("2317", "ShortSelling", -1000, 100_123_457, False, 0),
    ]
    assert [(row.symbol, row.quantity, row.cost, row.ordno) for row in lots.lots] == [
        ("2330", 1000, 612_500_000_000, "0"),
        ("2317", -400, 40_000_000_000, "7"),
    ]
    assert [(row.quantity, row.filled, row.cancelled, row.deals) for row in orders.orders] == [(1000, -1, 0, 1)]
    assert [(row.pnl, row.has_charges, row.fee, row.tax) for row in profits.profits] == [(2_500_000_000, False, 0, 0)]
    assert broker.calls == ["positions", "positions", "position_lots", "position_lots", "update_status", "trades", "profit_loss"]


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("suspended", "SUSPENDED"),
        ("budget", "BUDGET"),
        ("session", "SESSION"),
        ("timeout", "TIMEOUT"),
        ("refused", "REFUSED"),
        ("malformed", "MALFORMED"),
        ("unsupported", "UNSUPPORTED"),
        ("failed", "FAILED"),
    ],
)
def test_a_failed_read_says_why_and_nothing_else(kind: str, outcome: str) -> None:
    broker = ScriptedBroker()
    broker.rows = [TSMC]
    broker.fail("positions", kind)
    office = Office(broker)
    office.requests.answer(request("POSITIONS"))
    ((answer, rows),) = office.answers

    assert (answer.outcome, answer.detail, len(rows)) == (outcome, "positions went wrong", 0)
    assert office.stream() == ["rq/POSITIONS/1/before", "rq/POSITIONS/1/after"]


@pytest.mark.parametrize("price", [float("nan"), float("inf"), 1e13])
def test_a_number_that_cannot_be_makes_the_whole_answer_malformed(price: float) -> None:
    broker = ScriptedBroker()
    broker.rows = [TSMC, TSMC._replace(price=price)]
    office = Office(broker)
    office.requests.answer(request("POSITIONS"))
    ((answer, rows),) = office.answers

    assert (answer.outcome, len(rows)) == ("MALFORMED", 0)


def test_a_library_that_breaks_down_is_a_failed_read_without_its_words() -> None:
    broker = ScriptedBroker()
    broker.raising["positions"] = lambda: KeyError("A123456789 has no positions")
    office = Office(broker)
    office.requests.answer(request("POSITIONS"))
    ((answer, _),) = office.answers

    assert (answer.outcome, answer.detail) == ("FAILED", "KeyError in the broker's library")


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"expires_ts": 999_999}, "EXPIRED"),
        ({"reads": 0}, "UNSUPPORTED"),
        ({"reads": 6}, "UNSUPPORTED"),
        ({"what": ("BALANCE",)}, "UNSUPPORTED"),
        ({"what": ()}, "UNSUPPORTED"),
        ({"what": ("PROFIT_LOSS",), "begin_date": 5, "end_date": 4}, "UNSUPPORTED"),
        ({"what": ("PROFIT_LOSS",), "begin_date": -1}, "UNSUPPORTED"),
        ({"what": ("PROFIT_LOSS",), "end_date": 2**31 - 1}, "UNSUPPORTED"),
        ({"request_id": "x" * 300}, "UNSUPPORTED"),
    ],
)
def test_what_cannot_be_answered_is_answered_so_without_a_question(fields: dict[str, Any], outcome: str) -> None:
    broker = ScriptedBroker()
    office = Office(broker)
    office.requests.answer(
        request(**{"what": ("POSITIONS",), **fields}) if "what" not in fields else request(*fields.pop("what"), **fields)
    )
    ((answer, rows),) = office.answers

    assert (answer.outcome, len(rows)) == (outcome, 0)
    assert answer.detail
    assert broker.calls == []


def test_nothing_is_asked_during_a_blackout() -> None:
    office = Office(broker := ScriptedBroker())
    office.window = "broker_maintenance"
    office.requests.answer(request("POSITIONS"))
    ((answer, _),) = office.answers

    assert (answer.outcome, answer.detail) == ("REFUSED", "not asked during broker_maintenance")
    assert broker.calls == []


def test_a_repeat_is_answered_once_also_after_a_restart() -> None:
    broker = ScriptedBroker()
    first = Office(broker)
    assert first.requests.answer(request("POSITIONS", reads=2)) == 2
    assert first.requests.answer(request("POSITIONS", reads=2)) == 0
    second = Office(broker, first.state)

    assert second.requests.answer(request("POSITIONS", reads=2)) == 0
    assert second.answers == []
    assert broker.called("positions") == 2


def test_what_a_dead_bridge_left_is_answered_as_failed_and_not_read_again() -> None:
    class Killed(BaseException):
        pass

    broker = ScriptedBroker()
    first = Office(broker)

    def die() -> None:
        if broker.called("positions") == 2:
            raise Killed

    broker.during["positions"] = die
    with pytest.raises(Killed):
        first.requests.answer(request("POSITIONS", reads=3))
    assert [answer.read for answer, _ in first.answers] == [1]
    second = Office(broker, first.state)
    second.requests.answer(request("POSITIONS", reads=3))

    assert [(answer.read, answer.outcome) for answer, _ in second.answers] == [(2, "FAILED"), (3, "FAILED")]
    assert second.stream() == []
    assert broker.called("positions") == 2


def test_where_reading_goes_on_belongs_to_one_topic() -> None:
    state = MemoryState()
    Answered(state).read("topic-1", 3, 41, 0)

    assert Answered(state).next_offset("topic-1", 3) == 42
    assert Answered(state).next_offset("topic-1", 2) == 0
    assert Answered(state).next_offset("topic-2", 3) == 0


def test_requests_are_forgotten_after_their_topic_has_forgotten_them() -> None:
    state = MemoryState()
    answered = Answered(state)
    answered.note("old", 1, 0)
    answered.note("new", 1, 2 * 86_400_000_000)

    assert set(state["requests"]["requests"]) == {"new"}


def test_a_large_answer_comes_in_parts_that_fit_and_hold_every_row_once() -> None:
    encode = Encoder(BrokerSnapshot, 1)
    decode = Decoder(BrokerSnapshot, {1: schema_text(BrokerSnapshot)})
    office = Office(ScriptedBroker())
    office.requests.answer(request("POSITIONS"))
    answer, _ = office.answers[0]
    rows = Rows(positions=tuple(BrokerPositionRow(f"{n:064d}", "Cash", n, n, False, 0, 0, 0) for n in range(1000)))
    values = parts(answer, rows, encode, 16_384)
    made = [decode(value) for value in values]

    assert len(values) > 1
    assert max(map(len, values)) <= 16_384
    assert [(part.part, part.parts) for part in made] == [(n, len(values)) for n in range(1, len(values) + 1)]
    assert tuple(row for part in made for row in part.positions) == rows.positions
    assert len(parts(answer, Rows(), encode, 16_384)) == 1


@pytest.mark.parametrize(("value", "expected"), [(0.1, 100_000), (1 / 3, 333_333), (2.5e-07, 0), (7.5e-07, 1), (-612.5, -612_500_000)])
def test_amounts_are_rounded_half_even_from_their_shortest_decimal_form(value: float, expected: int) -> None:
    assert micros(value, "x") == expected


def test_an_amount_that_cannot_be_names_itself() -> None:
    with pytest.raises(BrokerError, match="price of 2330 is nan"):
        micros(float("nan"), "price of 2330")


# --- with Kafka --------------------------------------------------------------------------------------------------------------------------


def test_a_request_on_the_topic_is_answered_on_the_topic(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    broker.rows = [TSMC]
    world.request("early", "POSITIONS", reads=2)
    world.request("other", "POSITIONS", account="simulation|S|9A95|2")
    with running(made(world, broker, tmp_path)):
        wait_for("answers", lambda: len(world.snapshots()) == 2)
        world.request("late", "CATCHUP")
        wait_for("the answer", lambda: len(world.snapshots()) == 3)
    with running(made(world, broker, tmp_path)):
        world.request("last", "ORDERS")
        wait_for("the answer", lambda: len(world.snapshots()) == 4)

    answers = world.snapshots()
    assert [(a.request_id, a.what, a.read, a.outcome) for a in answers] == [
        ("early", "POSITIONS", 1, "OK"),
        ("early", "POSITIONS", 2, "OK"),
        ("late", "CATCHUP", 1, "OK"),
        ("last", "ORDERS", 1, "OK"),
    ]
    markers = [r.marker_id for r in world.raw() if r.kind == "MARKER"]
    assert markers == [marker for a in answers for marker in (a.marker_before, a.marker_after)]
    assert {a.account for a in answers} == {KEY}
    assert answers[0].bridge_epoch == world.raw()[0].bridge_epoch
    assert all(a.began_ts <= a.ended_ts <= a.ts for a in answers)


def test_a_record_that_is_no_request_is_passed_over(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    world.broker.append(*_at(world, b"\0\0\0\0\0junk"))
    world.request("good", "POSITIONS")
    with running(made(world, broker, tmp_path)):
        wait_for("the answer", lambda: [a.request_id for a in world.snapshots()] == ["good"])


def test_a_request_that_waited_for_too_long_is_expired(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    world.request("old", "POSITIONS", expires_ts=time.time_ns() // 1000 - 1)
    with running(made(world, broker, tmp_path)):
        wait_for("the answer", lambda: [a.outcome for a in world.snapshots()] == ["EXPIRED"])

    assert broker.called("positions") == 0


def _at(world: World, value: bytes) -> Any:
    from execpos.kafka.partitions import partition_for  # noqa: PLC0415 (used here alone)
    from execpos.kafka.ports import TopicPartition  # noqa: PLC0415 (as above)

    assert world.cluster is not None
    assert IDS
    return TopicPartition("t.exec.broker-requests.v1", partition_for(KEY.encode(), 4)), KEY.encode(), value
