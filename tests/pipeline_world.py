"""Simulated broker, bridge and ledger in one process: the real adapter and the real journal, with Kafka's in-memory twin between them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec

from bridge_world import IDS, PATIENCE_S, TOPICS, Running, World, options, wait_for
from execpos import settings
from execpos.bridge.intents import IntentPump
from execpos.bridge.journal.journal import Journal
from execpos.bridge.made import intent_writer
from execpos.bridge.service import Bridge
from execpos.brokers.budget import Budget, BudgetLimits
from execpos.brokers.shioaji import BrokerOptions, Credentials, ShioajiBroker
from execpos.brokers.sim.api import SimApi
from execpos.brokers.sim.facts import rows_of
from execpos.brokers.sim.link import LocalLink
from execpos.brokers.sim.scenario import Scenario, parse
from execpos.brokers.sim.venue import Venue
from execpos.codecs.avro import schema_text
from execpos.codecs.registry import Schemas
from execpos.demo import check
from execpos.domain.events import BrokerSnapshot, DeadLetter, FillEvent, OrderEvent, PositionDelta, PositionState
from execpos.kafka.loop import Loop
from execpos.ledger import service
from execpos.ledger.outputs import Names
from execpos.ledger.task import LedgerTask

NAMES = Names.of("t.")
SCHEMAS = Schemas(ids=IDS, writers={record: {number: schema_text(record)} for record, number in IDS.items()})
RULES = settings.load(None).rules()

_ALL_TOPICS = [*TOPICS, *(topic.removeprefix("t.") for topic in msgspec.structs.astuple(NAMES) if topic.removeprefix("t.") not in TOPICS)]
_EPOCH = date(1970, 1, 1)

# A Thursday morning in Taipei. Unpaced and without the broker's own limits, so that a day takes a second.
_DAY: dict[str, Any] = {
    "seed": 5,
    "rate": 100,
    "pace": 0,
    "limits": False,
    "accounts": {"stock": 2, "futures": 1},
    "sessions": [{"start": "2026-05-21T09:00", "events": 1500}],
}


def scenario(**changes: Any) -> Scenario:
    """Return a quiet day of 1 500 deliveries (15 simulated seconds), with `changes`."""
    return parse(_DAY | changes, lambda path: f"test, {path}")


def _leave(api: Any) -> None:
    api.sim_close()


class FullWorld(World):
    """All topics on the twin, with a ledger that reads them."""

    def __init__(self) -> None:
        super().__init__(_ALL_TOPICS)

    def settle(self) -> LedgerTask:
        """Run a ledger until nothing is left to do."""
        chosen = service.LedgerOptions(env="simulation", prefix="t.", instance="one")
        task = service.ledger_task(chosen, self.cluster, RULES, SCHEMAS)
        loop = Loop(self.cluster, task, group_id=chosen.group_id, instance_id="one", transactional_id_prefix="t.one.", limits=chosen.limits)
        loop.start()
        idle = 0
        deadline_s = time.monotonic() + PATIENCE_S
        while idle < 5 or not loop.partitions:
            assert time.monotonic() < deadline_s, "the ledger does not come to rest"
            idle = 0 if loop.step() else idle + 1
        loop.close()
        return task

    def fills(self) -> list[FillEvent]:
        """Return the newest revision of each fill, in the order in which the ledger first met them."""
        newest = {fill.fill_id: fill for fill in self.read("exec.fills.v1", FillEvent)}
        return sorted(newest.values(), key=lambda fill: (fill.account, fill.fill_seq))

    def orders(self) -> list[OrderEvent]:
        """Return the newest event of each order."""
        return list({event.order_key: event for event in self.read("exec.orders.v1", OrderEvent)}.values())

    def positions(self) -> list[PositionState]:
        """Return the newest state of each row."""
        return list({state.position_key: state for state in self.read("exec.positions.v1", PositionState)}.values())

    def dead_letters(self) -> list[DeadLetter]:
        """Return what did not become state."""
        return self.read("exec.dead-letters.v1", DeadLetter)


class Pipeline(FullWorld):
    """One run. `session` runs a bridge for the length of a block; `settle` brings the ledger up to date.

    Args:
        played: what the broker plays.
        folder: of the bridge's journal.
    """

    def __init__(self, played: Scenario, folder: Path) -> None:
        super().__init__()
        self.venue = Venue(played)
        self.folder = folder
        self._asked = 0

    @contextmanager
    def session(self) -> Iterator[Running]:
        """Run a bridge on the journal, until the end of the block."""
        watcher = SimApi(LocalLink(self.venue))
        wire = self.connect()
        journal = Journal.open(self.folder, env="simulation", bridge_id="b")
        chosen = options()
        broker = ShioajiBroker(
            BrokerOptions("simulation", "sim"),
            lambda: SimApi(LocalLink(self.venue)),
            Credentials("any", "any"),
            Budget(
                BudgetLimits(),
                journal.state,
                wall_us=lambda: time.time_ns() // 1000,
                monotonic_us=lambda: time.monotonic_ns() // 1000,
                sleep=time.sleep,
            ),
            drop_api=_leave,
        )
        pump = IntentPump(watcher.sim_intents, intent_writer(chosen, wire))
        running = Running(Bridge(chosen, broker, journal, self.connect, broker=broker, intents=pump))
        try:
            yield running
        finally:
            error = running.stop()
            watcher.sim_close()
        assert error is None, error

    def play(self) -> None:
        """Play the whole scenario to one bridge, then let it catch up; the ledger follows."""
        self.venue.start()
        try:
            with self.session():
                wait_for("the end of the scenario", lambda: self.venue.finished or self.venue.error)
                assert self.venue.error is None
                self.catch_up()
        finally:
            self.venue.stop()
        self.settle()

    def ask(self, *what: str, account: str | None = None, **fields: Any) -> list[BrokerSnapshot]:
        """Let the bridge read, of one account or all, and return its answers."""
        keys = [f"simulation|{name}" for name in self.venue.truth()["accounts"]] if account is None else [account]
        self._asked += 1
        wanted = {f"ask-{self._asked}-{number}": key for number, key in enumerate(keys)}
        for request_id, key in wanted.items():
            self.request(request_id, *what, account=key, **fields)
        reads = fields.get("reads", 1)

        def answers() -> list[BrokerSnapshot]:
            return [answer for answer in self.snapshots() if answer.request_id in wanted]

        def last_parts() -> int:
            return sum(answer.part == answer.parts for answer in answers())

        wait_for(f"answers to {what}", lambda: last_parts() == len(wanted) * len(what) * reads)
        return answers()

    def catch_up(self) -> None:
        """Let the bridge read the records of every account, until the broker answers."""
        deadline_s = time.monotonic() + PATIENCE_S
        while {answer.outcome for answer in self.ask("CATCHUP")} != {"OK"}:
            assert time.monotonic() < deadline_s, "the broker does not answer"
            time.sleep(0.05)

    # --- the verdict -----------------------------------------------------------------------------------------------------------------

    def differences(self) -> list[check.Difference]:
        """Compare the compacted topic and the sum of deltas with the broker's own book, folded in the ledger's order of fills."""
        order = [
            (fill.account, (_EPOCH + timedelta(days=fill.trading_date)).isoformat(), fill.order_id, fill.exchange_seq)
            for fill in self.fills()
        ]
        return check.differences(
            {
                "broker": check.from_simulator(rows_of(self.venue.truth(), order)),
                "positions": check.from_positions(self.positions()),
                "deltas": check.from_deltas(self.read("exec.deltas.v1", PositionDelta)),
            }
        )

    def verify(self) -> None:
        """Each fill of the broker's once, and every row as its book has it."""
        truth = self.venue.truth()
        revisions = [(fill.fill_id, fill.revision) for fill in self.read("exec.fills.v1", FillEvent)]
        assert len(set(revisions)) == len(revisions)
        assert len(self.fills()) == truth["counts"]["matched"]
        assert self.differences() == []

    def faults(self, *kinds: str) -> Sequence[dict[str, Any]]:
        """Return the faults that the broker says it has made, of these kinds."""
        return [fault for fault in self.venue.truth()["faults"] if fault["kind"] in kinds]
