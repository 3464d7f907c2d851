"""What a snapshot costs the ledger: one account's book, cut and encoded as the ledger does it, without Kafka."""

import time
from typing import Any

from execpos import settings
from execpos.bridge.convert import Converter
from execpos.codecs.avro import RECORDS
from execpos.domain.book import INPUTS, Source
from execpos.domain.events import PositionSnapshot
from execpos.ledger.cut import Cut, Cutter, MarkOf, no_mark
from execpos.ledger.outputs import Names, Writer
from execpos.ledger.service import freeze
from execpos.ledger.snapshots import SnapshotOptions
from execpos.ledger.state import PartitionState, Topic

# Thursday 2026-05-21, 10:41:28 in Taipei; nothing depends on which.
_NOW_US = 1_779_331_288_000_000
_ACCOUNT = "simulation|S|9A95|1234567"

# Of a hundred orders one still works, as at the end of a day.
_CANCELLED_OF = 100

# Stock codes from here on have four digits, for as many as are wanted.
_FIRST_CODE = 1_000


def _deal(number: int) -> dict[str, Any]:
    return {
        "event_id": "", "trade_id": "filled", "seqno": "1", "ordno": "Y1", "exchange_seq": str(number),
        "broker_id": "9A95", "account_id": "1234567", "action": "Buy", "code": str(_FIRST_CODE + number), "order_cond": "Cash",
        "order_lot": "Common", "price": 27.5, "quantity": 1, "custom_field": f"s{number % 5}", "ts": _NOW_US / 1e6,
    }  # fmt: skip


def _report(number: int, op_type: str) -> dict[str, Any]:
    return {
        "operation": {"op_type": op_type, "op_code": "00", "op_msg": ""},
        "order": {
            "id": f"o{number}", "seqno": f"9{number}", "ordno": "X1", "action": "Buy", "price": 27.0, "quantity": 2, "order_cond": "Cash",
            "order_lot": "Common", "order_type": "ROD", "price_type": "LMT", "custom_field": "",
            "account": {"account_type": "S", "broker_id": "9A95", "account_id": "1234567"},
        },
        "status": {"id": f"o{number}", "exchange_ts": _NOW_US / 1e6, "modified_price": 0, "cancel_quantity": 2, "order_quantity": 2},
        "contract": {"security_type": "STK", "exchange": "TSE", "code": "2330"},
    }  # fmt: skip


def _nowhere(topic: str, partition: int, key: bytes, value: bytes) -> None:
    del topic, partition, key, value


def _book(keys: int, orders: int) -> PartitionState:
    """Return a partition with one account: `keys` symbols of one strategy each and NET, and `orders` orders."""
    ids = {record: number for number, record in enumerate(RECORDS, 1)}
    writer = Writer(Names.of(""), ids)
    writer.open(_nowhere)
    topics = tuple(Topic(name, "topic-id-of-22-characters") for name in INPUTS)
    state = PartitionState(0, settings.load(None).rules(), writer, topics, 1)
    convert = Converter("simulation", "bridge-0", 1, "bench")
    reports = [("SDEAL", _deal(number)) for number in range(keys)]
    for number in range(orders):
        reports.append(("SORDER", _report(number, "New")))
        if number % _CANCELLED_OF:
            reports.append(("SORDER", _report(number, "Cancel")))
    for offset, (kind, payload) in enumerate(reports):
        raw = convert((_NOW_US * 1000, 0, kind, payload))
        state.pipeline.apply_raw(raw, Source(topics[0].name, 0, offset, 0, raw.ingest_ts, "bridge-0", 1, offset, 1, _NOW_US))
    state.pipeline.commit()
    return state


def _timed(cutter: Cutter, state: PartitionState) -> tuple[float, Cut, list[bytes]]:
    """Return the milliseconds of processor time that one snapshot takes, and what it is."""
    account = state.pipeline.accounts[_ACCOUNT]
    began_s = time.process_time()
    cut = cutter.cut(state, account)
    snapshot = PositionSnapshot(
        f"{_ACCOUNT}|MARKER|bench", _ACCOUNT, "MARKER", "bench", "", "", 0, _NOW_US, 1, 1, len(cut.rows), cut.digest, (), (), (), (), 1,
        INPUTS[0], 0, 0, _NOW_US,
    )  # fmt: skip
    parts = list(cutter.parts(snapshot, cut))
    return (time.process_time() - began_s) * 1000, cut, parts


def _mark(env: str, market: str, symbol: str) -> tuple[int, int] | None:
    del env, market, symbol
    return 28_000_000, _NOW_US


def run(positions: int, orders: int) -> dict[str, Any]:
    """Measure the first snapshot of a book (nothing is encoded yet) and the next ones (nothing has changed since), in processor time."""
    state = _book(positions // 2, orders)
    freeze()
    options = SnapshotOptions()
    report: dict[str, Any] = {}
    marks: tuple[tuple[str, MarkOf], ...] = (("", no_mark), ("_with_marks", _mark))
    for name, mark_of in marks:
        cutter = Cutter(1, options.max_part_bytes, mark_of)
        first_ms, cut, parts = _timed(cutter, state)
        next_ms = min(_timed(cutter, state)[0] for _ in range(5))
        report |= {f"first_ms{name}": round(first_ms, 2), f"next_ms{name}": round(next_ms, 2)}
        report |= {
            "positions": len(cut.rows),
            "open_orders": len(cut.orders),
            f"parts{name}": len(parts),
            f"bytes{name}": sum(map(len, parts)),
        }
    report["orders"] = orders
    report["conditions"] = {
        "clock": "processor time of one snapshot, best of five for the next ones",
        "max_part_bytes": options.max_part_bytes,
    }
    return report
