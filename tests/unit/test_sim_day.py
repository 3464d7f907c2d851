"""The simulated day: repeatable, shaped like the broker's reports, and counted as it was delivered."""

import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

from callback_samples import LINES
from execpos.brokers.sim import Faults, SimConfig, SimEvent, Simulator, market_open_us, standard_workload, start_within_session
from execpos.brokers.sim.config import TAIPEI, Attribution
from execpos.brokers.sim.ids import order_id, xxh32
from execpos.errors import ConfigError

START_US = market_open_us(2026, 5, 21)
QUIET = Faults(duplicate=0, new_receipt=0, deal_before_order=0, late=0, reorder=0)
ALL_FAULTS = Faults(duplicate=0.05, new_receipt=0.03, deal_before_order=0.1, late=0.03, reorder=0.05, conflict=0.01)


def day(**fields: Any) -> tuple[Simulator, list[SimEvent]]:
    simulator = Simulator(SimConfig(**({"seed": 7, "start_us": START_US, "events": 3000} | fields)))
    return simulator, list(simulator.events())


def deals(events: list[SimEvent]) -> list[dict[str, Any]]:
    return [event.payload for event in events if event.state in {"SDEAL", "FDEAL"}]


def reports(events: list[SimEvent]) -> list[dict[str, Any]]:
    return [event.payload for event in events if event.state in {"SORDER", "FORDER"}]


def fill_key(payload: dict[str, Any]) -> tuple[str, str, str]:
    return payload["account_id"], payload["trade_id"], payload["exchange_seq"]


def test_one_seed_gives_one_day() -> None:
    (one, first), (other, second) = day(faults=ALL_FAULTS), day(faults=ALL_FAULTS)

    assert first == second
    assert json.dumps([event.payload for event in first]) == json.dumps([event.payload for event in second])
    assert one.book.rows() == other.book.rows()
    assert one.truth == other.truth


def test_another_seed_gives_another_day() -> None:
    assert day()[1] != day(seed=8)[1]


def test_another_start_gives_the_same_trading_under_other_numbers() -> None:
    here, there = deals(day()[1]), deals(day(start_us=START_US + 3_600_000_000)[1])

    trading = ("code", "action", "price", "quantity")
    assert [[deal[name] for name in trading] for deal in here] == [[deal[name] for name in trading] for deal in there]
    assert not {deal["event_id"] for deal in here} & {deal["event_id"] for deal in there}


def test_an_order_id_is_the_hash_of_the_order_number_as_at_the_broker() -> None:
    # Pairs of the broker's documents, and the published check values of the hash.
    assert order_id("351522") == "348d1c6a"
    assert order_id("354926") == "0bbe4f6d"
    assert xxh32(b"") == 0x02CC5D05
    with pytest.raises(ValueError, match="fewer than 16"):
        xxh32(b"x" * 16)


def test_the_truth_counts_what_was_delivered() -> None:
    simulator, events = day(faults=ALL_FAULTS)
    truth = simulator.truth
    seen_fills: dict[tuple[str, str, str], dict[str, Any]] = {}
    seen_reports: set[str] = set()
    receipts: set[str] = set()
    found: Counter[str] = Counter()
    for event in events:
        found["intents"] += event.kind == "intent"
        if event.state in {"SORDER", "FORDER"}:
            found["duplicate_orders" if event.payload["event_id"] in seen_reports else "order_reports"] += 1
            seen_reports.add(event.payload["event_id"])
        elif event.state:
            known = seen_fills.setdefault(fill_key(event.payload), event.payload)
            if known is event.payload and event.payload["event_id"] not in receipts:
                found["fills"] += 1
            elif known["quantity"] != event.payload["quantity"]:
                found["conflicts"] += 1
            else:
                found["duplicate_deals" if event.payload["event_id"] in receipts else "new_receipts"] += 1
            receipts.add(event.payload["event_id"])

    counts = truth.counts()
    for name in ("order_reports", "fills", "duplicate_orders", "duplicate_deals", "new_receipts", "conflicts", "intents"):
        assert counts[name] == found[name] > 0, name
    parts = truth.order_reports + truth.fills + truth.duplicates + truth.conflicts
    assert truth.callbacks == parts == len([event for event in events if event.kind == "callback"])


def test_every_fault_is_written_down_with_the_report_it_concerns() -> None:
    simulator, events = day(faults=ALL_FAULTS)
    kinds = Counter(fault.kind for fault in simulator.truth.faults)
    receipts = {event.payload["event_id"] for event in events if event.kind == "callback"}

    faults = {"conflict", "deal_before_order", "duplicate", "late", "new_receipt", "reordered", "stream_reset"}
    assert set(kinds) == faults | {"early_reject", "failed_operation"}
    assert {fault.event_id for fault in simulator.truth.faults} <= receipts
    truth = simulator.truth
    assert kinds["duplicate"] == truth.duplicate_orders + truth.duplicate_deals
    assert kinds["deal_before_order"] == truth.deals_before_order
    assert kinds["early_reject"] == truth.early_rejects == len([payload for payload in reports(events) if not payload["order"]["id"]])


def test_without_faults_every_deal_follows_its_order_in_sequence() -> None:
    simulator, events = day(faults=QUIET)
    known: set[str] = set()
    sequences: dict[str, int] = {}
    for event in events:
        if event.kind != "callback":
            continue
        stream, sequence = event.payload["event_id"].rsplit(":", 1)
        assert int(sequence) == sequences.get(stream, 0) + 1
        sequences[stream] = int(sequence)
        if "order" in event.payload:
            known.add(event.payload["order"]["id"])
        else:
            assert event.payload["trade_id"] in known
    assert simulator.truth.duplicates == 0


def test_time_never_goes_back_and_stays_near_the_pace() -> None:
    _, events = day(step_us=1000)
    times = [event.at_us for event in events]

    assert times == sorted(times)
    assert times[0] >= START_US
    assert 0.8 < (times[-1] - times[0]) / len(times) / 1000 < 1.2


def test_no_order_fills_beyond_its_quantity_and_cancels_only_what_is_open() -> None:
    _, events = day(faults=QUIET, events=6000)
    quantity: dict[str, int] = {}
    gone: Counter[str] = Counter()
    cancelled_after_fill = 0
    for event in events:
        if event.kind != "callback":
            continue
        if "order" not in event.payload:
            gone[event.payload["trade_id"]] += event.payload["quantity"]
        elif event.payload["operation"]["op_code"] == "00":
            order, removed = event.payload["order"]["id"], event.payload["status"]["cancel_quantity"]
            quantity[order] = event.payload["order"]["quantity"]
            cancelled_after_fill += removed > 0 and gone[order] > 0
            gone[order] += removed
            assert event.payload["status"]["order_quantity"] == quantity[order] - gone[order]
        for order, total in gone.items():
            assert total <= quantity.get(order, total)
    assert cancelled_after_fill > 0


def shape(payload: dict[str, Any]) -> set[str]:
    return {f"{key}.{inner}" for key, value in payload.items() if isinstance(value, dict) for inner in value} | set(payload)


def test_payloads_have_the_shapes_of_the_broker_s_samples() -> None:
    optional = {"order.time_in_force", "contract.symbol", "contract.name"}
    samples: dict[str, set[str]] = {}
    for line in LINES:
        samples.setdefault(line["kind"], set()).update(shape(line["payload"]))
    made: dict[str, set[str]] = {}
    for event in day()[1]:
        if event.kind == "callback":
            made.setdefault(event.state, set()).update(shape(event.payload))

    assert made.keys() == {"SORDER", "SDEAL", "FORDER", "FDEAL"}
    for state, fields in made.items():
        assert fields - optional == samples[state] - optional


def test_stocks_carry_microseconds_and_futures_whole_seconds() -> None:
    _, events = day()
    stock = [event.payload["ts"] for event in events if event.state == "SDEAL"]
    futures = [event.payload["ts"] for event in events if event.state == "FDEAL"]

    assert any(ts % 1 for ts in stock)
    assert futures
    assert not any(ts % 1 for ts in futures)


def test_prices_lie_on_the_exchange_s_steps() -> None:
    steps = ((10, 0.01), (50, 0.05), (100, 0.1), (500, 0.5), (1000, 1), (10**9, 5))
    for payload in deals(day(faults=QUIET)[1]):
        if "order_cond" in payload:
            step = next(step for below, step in steps if payload["price"] < below)
            assert round(payload["price"] * 100) % round(step * 100) == 0, payload["price"]


def test_all_sorts_of_attribution_occur_and_a_custom_field_fits() -> None:
    _, events = day()
    by_order = {intent.order_id for event in events if (intent := event.intent)} - {""}
    by_seqno = {intent.seqno for event in events if (intent := event.intent)} - {""}
    marked = {payload["order"]["custom_field"] for payload in reports(events) if "custom_field" in payload["order"]}
    manual = [payload for payload in reports(events) if payload["status"]["web_id"] == "P"]

    assert by_order
    assert by_seqno
    assert len(marked) > 1
    assert all(len(text) <= 6 and (not text or text.isalnum()) for text in marked)
    assert manual
    assert not {payload["order"]["seqno"] for payload in manual} & by_seqno


def test_a_late_intent_comes_after_a_fill_of_its_order() -> None:
    _, events = day(attribution=Attribution(intent_before=0, intent_late=1, custom_field=0, manual=0))
    filled: set[str] = set()
    intents = 0
    for event in events:
        if event.intent is not None:
            intents += 1
            assert {event.intent.order_id, event.intent.seqno} & filled
        elif "trade_id" in event.payload:
            filled |= {event.payload["trade_id"], event.payload["seqno"]}
    assert intents


def test_the_standard_workload_has_the_shares_that_the_benches_state() -> None:
    workload = standard_workload(events=30_000)
    truth = workload.simulator.truth

    assert truth.callbacks >= 30_000
    assert truth.order_reports / truth.callbacks == pytest.approx(0.40, abs=0.01)
    assert truth.fills / truth.callbacks == pytest.approx(0.55, abs=0.01)
    assert truth.duplicates / truth.callbacks == pytest.approx(0.05, abs=0.01)
    rows = workload.simulator.book.rows()
    assert len({row["account"] for row in rows}) == 50
    assert len([row for row in rows if row["strategy_id"] != "*"]) == pytest.approx(2000, abs=20)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"stock_accounts": 0, "futures_accounts": 0}, "no account"),
        ({"step_us": 0}, "step_us is 0"),
        ({"deal_share": 0.9}, "deal_share is 0.9"),
        ({"faults": Faults(late=2.0)}, "faults.late is 2.0"),
        ({"attribution": Attribution(manual=-1.0)}, "attribution.manual is -1.0"),
    ],
)
def test_a_configuration_that_makes_no_day_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        day(**fields)

    assert named in caught.value.what
    assert caught.value.hint


def test_a_day_that_ran_out_of_order_numbers_says_so() -> None:
    simulator = Simulator(SimConfig(seed=1, start_us=START_US, events=2000))
    simulator._exchange._numbers.last = 999_990

    with pytest.raises(ConfigError, match="all its six-digit order numbers"):
        list(simulator.events())


@pytest.mark.parametrize(("hour", "minute"), [(3, 0), (5, 50), (9, 0), (14, 40), (14, 45), (23, 59)])
def test_a_run_is_put_into_one_session(hour: int, minute: int) -> None:
    span = timedelta(minutes=30)
    now = datetime(2026, 5, 21, hour, minute, 7, tzinfo=TAIPEI)
    start = datetime.fromtimestamp(
        start_within_session(int(now.timestamp()) * 1_000_000, int(span.total_seconds()) * 1_000_000) / 1e6, TAIPEI
    )

    assert now - span < start <= now
    for turn in (
        datetime(2026, 5, 21, 6, tzinfo=TAIPEI),
        datetime(2026, 5, 21, 14, 45, tzinfo=TAIPEI),
        datetime(2026, 5, 22, 6, tzinfo=TAIPEI),
    ):
        assert not start < turn < start + span
