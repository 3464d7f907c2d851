"""How long a strategy's process takes from its start until every position is readable."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from execpos.bench.stack import Bench, bench_stack, conditions
from execpos.codecs.avro import Encoder
from execpos.domain import ids
from execpos.domain.events import InputPosition, Lot, PositionBase, PositionState
from execpos.errors import DependencyError
from execpos.kafka.partitions import partition_for

_ACCOUNTS = 50
_PARTITIONS = 12
_STRATEGIES = ("alpha", "basis", "carry", "drift", ids.NET)
_LOTS = 3
_RUNS = 3
_WRITE_S = 300.0
_CHILD_S = 300.0

# How many questions the gate is asked in one process.
_CHECKS = 20_000

# The child prints the seconds from `start` to ready, its rows, and how long the gate takes for an answer.
_CHILD = f"""
import time
from execpos import PositionView, RiskGate
from execpos.client.limits import Limits
view = PositionView.open()
began_s = time.perf_counter()
with view:
    view.wait_ready(240)
    ready_s = time.perf_counter() - began_s
    states = [position.state for position in view.positions()]
    gate = RiskGate(view, Limits(net_quantity=10**9, net_notional=10**18), ())
    took = []
    for number in range({_CHECKS}):
        state = states[number * 97 % len(states)]
        before_ns = time.perf_counter_ns()
        gate.check(state.account, "alpha", state.symbol, state.book, "BUY", 1, 22_950_000_000)
        took.append(time.perf_counter_ns() - before_ns)
    took.sort()
    print(ready_s, len(states), took[{_CHECKS} // 2] / 1000, took[{_CHECKS} * 99 // 100] / 1000, flush=True)
"""


class _Start(NamedTuple):
    """What one process told: seconds from `start` to ready, rows, µs of a check; and how long all of it took."""

    seconds: float
    rows: int
    check_p50_us: float
    check_p99_us: float
    process_seconds: float


def _states(positions: int, version: int) -> Iterator[PositionState]:
    """Yield one state of each position: lots, base and inputs as a futures position of some days has them."""
    lots = tuple(
        Lot(1, 4_590_000_000_000 + number, f"simulation|F|F002000|2000001|2026-11-24N|96165e09|{number}") for number in range(_LOTS)
    )
    blank: dict[str, Any] = dict.fromkeys(PositionBase.__struct_fields__, 0)
    base = PositionBase(**{**blank, "through_seq": 4711, "quantity": 1, "open_cost": lots[0].cost, "lots": lots[:1], "lots_merged": False})
    inputs = tuple(InputPosition(f"exec.{name}.v1", "jP3tG0N2Q5u1xV7yLw9kAA", 100_000 + version) for name in ("raw", "intents"))
    for number in range(positions):
        account = f"simulation|F|F002000|{2_000_000 + number % _ACCOUNTS}"
        symbol, strategy_id = f"X{number // (_ACCOUNTS * len(_STRATEGIES)):04d}", _STRATEGIES[number // _ACCOUNTS % len(_STRATEGIES)]
        yield PositionState(
            position_key=ids.position_key(account, symbol, "derivative", strategy_id),
            account=account,
            symbol=symbol,
            book="derivative",
            strategy_id=strategy_id,
            security_type="FUT",
            currency="TWD",
            multiplier=200,
            quantity=_LOTS,
            open_cost=sum(lot.cost for lot in lots),
            average_price=22_950_000_000,
            realized_pnl=-15_000_000_000,
            realized_pnl_day=0,
            trading_date=20_594,
            fees=2_610_000_000,
            taxes=1_800_000_000,
            basis_adjustment=0,
            day_buy_quantity=3,
            day_buy_amount=13_770_000_000_000,
            day_sell_quantity=0,
            day_sell_amount=0,
            day_open_cost=0,
            cost_method="fifo",
            lots=lots,
            lots_merged=False,
            quality="CONFIRMED",
            fee_quality="ESTIMATED",
            version=version,
            previous_version=version - 1,
            last_fill_id=lots[-1].fill_id,
            last_session_id="2026-11-24N",
            last_fill_seq=5120,
            last_exchange_ts=1_795_517_715_000_000,
            last_ingest_ts=1_795_517_715_395_197,
            inputs=inputs,
            base=(base,),
            ledger_epoch=1,
        )


def _fill(bench: Bench, positions: int, versions: int) -> int:
    """Write `versions` states of each position and return how many bytes that are."""
    encode = Encoder(PositionState, bench.schemas.ids[PositionState])
    producer = bench.cluster.idempotent_producer("bench-view")
    failed: list[object] = []
    size = 0
    for version in range(1, versions + 1):
        for state in _states(positions, version):
            value = encode(state)
            size += len(value)
            place = partition_for(state.account.encode(), _PARTITIONS)
            producer.produce("exec.positions.v1", place, state.position_key.encode(), value, lambda e, _: failed.append(e) if e else None)
            producer.poll(0)
    left = producer.flush(_WRITE_S)
    producer.close()
    if left or failed:
        raise DependencyError(f"{left + len(failed)} records were not written", hint="run it again")
    return size


def _started(bench: Bench) -> _Start:
    """Start a process with a view and let it measure."""
    environ = {
        "EXECPOS_ENV": "simulation",
        "EXECPOS_KAFKA__BOOTSTRAP_SERVERS": bench.bootstrap_servers,
        "EXECPOS_REGISTRY__URL": bench.registry_url,
        "PATH": "/usr/bin:/bin",
    }
    began_s = time.monotonic()
    # S603: this program itself.
    done = subprocess.run([sys.executable, "-c", _CHILD], env=environ, capture_output=True, text=True, timeout=_CHILD_S, check=False)  # noqa: S603
    if done.returncode:
        raise DependencyError(f"the reading process failed: {done.stderr[-2000:]}")
    seconds, rows, p50_us, p99_us = done.stdout.split()
    return _Start(float(seconds), int(rows), float(p50_us), float(p99_us), time.monotonic() - began_s)


def run(positions: int, versions: int) -> dict[str, Any]:
    """Return `{positions, records, bytes, seconds, process_seconds, check_p50_us, check_p99_us, conditions}`, medians of three. Blocks.

    `seconds` begins with `PositionView.start` and ends when all positions are readable; `process_seconds` begins before the interpreter
    and ends with the process, so that imports, the registry and the questions are in it.
    """
    with bench_stack() as bench:
        size = _fill(bench, positions, versions)
        found = [_started(bench) for _ in range(_RUNS)]
    if {one.rows for one in found} != {positions}:
        raise DependencyError(f"a view has {[one.rows for one in found]} rows of {positions}")
    return {
        "positions": positions,
        "records": positions * versions,
        "bytes": size,
        "seconds": round(statistics.median(one.seconds for one in found), 3),
        "process_seconds": round(statistics.median(one.process_seconds for one in found), 3),
        "check_p50_us": round(statistics.median(one.check_p50_us for one in found), 1),
        "check_p99_us": round(statistics.median(one.check_p99_us for one in found), 1),
        "conditions": conditions(
            f"{positions} positions of {_ACCOUNTS} accounts, each written {versions} times, {_LOTS} lots each",
            clock="PositionView.start to ready, another process; median of 3",
        ),
    }
