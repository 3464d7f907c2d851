"""How long an installation takes from the start of its killed processes until every account is reconciled with the broker and ACTIVE.

Bridge, ledger and reconciler are killed (SIGKILL) while the market trades and callbacks lie in the bridge's memory alone; then they are
started in place. What those callbacks told has to come from the broker's records before an account is equal.
"""

import time
from collections.abc import Sequence
from datetime import date, timedelta
from operator import itemgetter
from typing import Any, NamedTuple

from execpos.bench.restart_parts import BRIDGE, COMPONENTS, LEDGER, RECONCILER, Broker, Parts, Size, most_within
from execpos.bench.restart_watch import Watch
from execpos.bench.stack import Bench, bench_stack, conditions
from execpos.brokers.sim.facts import rows_of
from execpos.demo import check
from execpos.demo.sources import TopicSource
from execpos.domain.events import FillEvent, RawExecEvent
from execpos.domain.vocabulary import CALLBACK_KINDS, CATCHUP
from execpos.ledger.outputs import Names

# Restarts that are measured, behind the one that warms the broker and the machine's memory.
_RESTARTS = 3

# Callbacks in the bridge's memory at the kill, at least; at the default rate they come within a second.
_HELD_MIN = 5

# What the bridge may ask of the accounting group: 25 calls in 5 s, of which it uses 80 %.
_SPAN_US, _CALLS_MAX = 5_000_000, 20

# So long after the last accounting call that budget is whole again (5 s, and a second that a restart counts more, see `Budget`), and so
# much of the other is left that three reads of each account find room: who is killed again and again is slower, as it should be.
_QUIET_US, _ORDERS_MIN = 6_500_000, 150

_METADATA_S = 30.0
_SETTLE_S = 0.1
_HISTORY = "history"


class Scene:
    """One installation with its history, that can be killed and started. One thread; everything blocks.

    Args:
        bench: the servers.
        size: what is in it.
        prefix: of the topics, which exist.
        components: what is killed and started; without the reconciler nothing is compared, and a restart is over when the rest is ready.
        quiet_us: a kill waits until no accounting call came for so long.
    """

    def __init__(
        self, bench: Bench, size: Size, prefix: str = "", components: Sequence[str] = COMPONENTS, *, quiet_us: int = _QUIET_US
    ) -> None:
        self._bench = bench
        self._size = size
        self._components = components
        self._quiet_us = quiet_us
        self._names = Names.of(prefix)
        self.topics = TopicSource(bench.cluster, self._names, bench.schemas)
        self.broker = Broker(bench.folder, size)
        self.parts = Parts(bench, self.broker.address, prefix)
        partitions = bench.cluster.partition_count(self._names.raw, _METADATA_S)
        self.watch = Watch(bench.cluster, prefix, bench.schemas, size.accounts, partitions)
        self.lost: set[str] = set()
        """Account and receipt of the callbacks that were in the memory of a killed bridge."""

    def fill(self) -> None:
        """Let the history happen: earlier days under a bridge of their own, whose journal is another one's, and today's; then trade."""
        self.parts.start(LEDGER, BRIDGE, bridge_id=_HISTORY)
        self.parts.wait("the earlier days", lambda: not self.broker.ask("sim_days"))
        self._caught_up()
        self.parts.stop()
        self.watch.begin()
        self.parts.start(*self._components)
        self.parts.wait("today's history", lambda: not self.broker.ask("sim_history", fills=self._size.fills))
        self._caught_up()
        self.broker.ask("sim_live")
        self.parts.wait("the first comparison", self._done)

    def restart(self, *, rest: bool = False) -> dict[str, Any]:
        """Kill everything with callbacks in memory, start it, and return what the restart took.

        Args:
            rest: the market rests until all is reconciled, so that no fill is caught up behind a newer one.
        """
        parts, broker = self.parts, self.broker
        parts.wait("the budget to be whole", self._quiet)
        parts.hold()
        # What was under way is in the journal by now; what is given out from here on is not.
        time.sleep(_SETTLE_S)
        handed = set(broker.ask("sim_handed"))
        parts.wait("callbacks in memory", lambda: len(set(broker.ask("sim_handed")) - handed) >= _HELD_MIN)
        if rest:
            broker.ask("sim_rest")
        parts.kill()
        lost = set(broker.ask("sim_handed")) - handed
        self.watch.begin()
        began_us, asked_us = time.time_ns() // 1000, time.monotonic_ns() // 1000
        parts.start(*self._components)
        parts.wait("the restart", self._done)
        calls = [moment for moment in broker.ask("sim_asked") if moment >= asked_us]
        if rest:
            broker.ask("sim_live")
        reached = self.watch.reached()
        ended_us = reached.active_us if RECONCILER in self._components else max(reached.ledger_us, reached.bridge_us)
        restored_us = reached.ledger_us
        self.lost |= lost
        final = {one.account: one for one in self.watch.rounds if one.verdict in {"EQUAL", "DIFFERENT"}}
        return {
            "seconds": _seconds(ended_us - began_us),
            "restore_s": _seconds(restored_us - began_us),
            "bridge_s": _seconds(reached.bridge_us - began_us),
            "reconcile_s": _seconds(ended_us - restored_us),
            "broker_calls": len(calls),
            "calls_in_5_s": most_within(calls, _SPAN_US),
            "rounds": len(self.watch.rounds),
            "keys_compared": sum(one.keys_compared for one in final.values()),
            "unequal_averages": sum(one.keys_compared - one.equal for one in final.values()),
            "lost_in_memory": len(lost),
        }

    def verdict(self) -> dict[str, Any]:
        """Let the market rest, and compare what the broker says happened with what stands on the topics."""
        self.broker.ask("sim_rest")
        truth = self.broker.ask("sim_truth")
        self.parts.wait("the last fills", lambda: len(self._fill_ids()) >= truth["counts"]["matched"])
        self._caught_up()
        found, raw = self.topics.all(), self.topics.read(RawExecEvent, self._names.raw)
        first = [fill for fill in found.fills if fill.revision == 1]
        places = {
            "broker": check.from_simulator(rows_of(truth, _first_met(first))),
            "positions": check.from_positions(found.positions),
            "deltas": check.from_deltas(found.deltas),
        }
        called = {_receipt(one) for one in raw if one.kind in CALLBACK_KINDS}
        asked = {_receipt(one) for one in raw if one.kind.startswith(CATCHUP)}
        lost = self.lost - called
        report = {
            "fills": truth["counts"]["matched"],
            "fills_in_book": len({fill.fill_id for fill in first}),
            "fills_doubled": len(first) - len({fill.fill_id for fill in first}),
            "differences": [difference.plain() for difference in check.differences(places)][:_SHOWN],
            "lost_in_memory": len(lost),
            "lost_for_good": len(lost - asked),
            "calls_in_5_s": most_within(self.broker.ask("sim_asked"), _SPAN_US),
        }
        right = report["fills"] == report["fills_in_book"] and not (
            report["fills_doubled"] or report["differences"] or report["lost_for_good"]
        )
        return {**report, "verdict": "consistent" if right and report["calls_in_5_s"] <= _CALLS_MAX else "inconsistent"}

    def close(self) -> None:
        """End everything that this object started."""
        self.parts.kill()
        self.watch.close()
        self.broker.close()

    def _done(self) -> bool:
        reached = self.watch.reached()
        return bool(reached.ledger_us and reached.bridge_us and (reached.active_us or RECONCILER not in self._components))

    def _quiet(self) -> bool:
        beats = self.watch.heartbeats.values()
        return self.broker.ask("sim_idle_us") > self._quiet_us and all(beat.remaining_orders >= _ORDERS_MIN for beat in beats)

    def _caught_up(self) -> None:
        # Twice: what the bridge has in its journal may come to the topic between the two halves of a look.
        for _ in range(2):
            self.parts.wait("the bridge to publish", self._published)
            self.parts.wait("the ledger to catch up", lambda: self.topics.behind() <= self._beats())

    def _published(self) -> bool:
        beats = self.watch.heartbeats.values()
        return bool(beats) and all(beat.captured + beat.backlog_records <= self._beats() for beat in beats)

    def _beats(self) -> int:
        """Return how many records are always under way: two beats of each account."""
        return 2 * self._size.accounts

    def _fill_ids(self) -> set[str]:
        return {fill.fill_id for fill in self.topics.read(FillEvent, self._names.fills)}


# Differences that a report shows; the count of the rest says nothing more.
_SHOWN = 10


class _Measured(NamedTuple):
    restarts: list[dict[str, Any]]
    verdict: dict[str, Any]


def _receipt(record: RawExecEvent) -> str:
    return f"{record.account.removeprefix('simulation|')} {record.broker_event_id}"


def _seconds(microseconds: int) -> float:
    return round(microseconds / 1_000_000, 3)


def _first_met(fills: Sequence[FillEvent]) -> list[tuple[str, str, str, str]]:
    """Return the identities of fills in the order in which the ledger first met them."""
    epoch = date(1970, 1, 1)
    ordered = sorted(fills, key=lambda fill: (fill.account, fill.fill_seq))
    return [(fill.account, (epoch + timedelta(days=fill.trading_date)).isoformat(), fill.order_id, fill.exchange_seq) for fill in ordered]


def measure(bench: Bench, size: Size, restarts: int) -> _Measured:
    """Make the history, kill and start so often, compare at the end. Blocks for minutes."""
    scene = Scene(bench, size)
    try:
        scene.fill()
        found = [scene.restart() for _ in range(restarts)]
        return _Measured(found, scene.verdict())
    finally:
        scene.close()


def run(size: Size) -> dict[str, Any]:
    """Return `{seconds, restore_s, bridge_s, reconcile_s, broker_calls, calls_in_5_s, rounds, keys_compared, …, conditions}`.

    The clock begins before the first process is started and ends when the last account's record in exec.control is ACTIVE behind a round
    that began after the kill and found every quantity equal. The figures are of the median restart; the first one stands apart as
    `first_seconds`. Takes minutes.
    """
    with bench_stack() as bench:
        found = measure(bench, size, 1 + _RESTARTS)
    first, *rest = found.restarts
    rest.sort(key=itemgetter("seconds"))
    return {
        **rest[_RESTARTS // 2],
        "first_seconds": first["seconds"],
        "restarts_s": [one["seconds"] for one in rest],
        "accounts": size.accounts,
        "symbols": size.symbols,
        "check": found.verdict,
        "conditions": conditions(
            f"{size.accounts} accounts of {size.symbols} symbols, {size.fills:,} fills on {size.days} days, {size.rate:g} reports a second",
            seed=size.seed,
            fsync="interval_ms, 50 ms",
            clock="start of the first process to the last account reconciled and ACTIVE, read from exec.control",
        ),
    }
