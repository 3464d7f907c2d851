"""All topics are lost, and only the broker and the bridge's journal are left: fresh topics, the journal again, openings for the rest."""

from pathlib import Path

import pytest

from execpos.bridge.convert import Converter
from execpos.bridge.journal.inspection import replay
from execpos.bridge.journal.journal import Journal
from execpos.bridge.publisher import Target
from execpos.bridge.republish import Republisher
from execpos.brokers.sim.config import Attribution, SimConfig
from execpos.brokers.sim.day import Simulator
from execpos.codecs.avro import Encoder
from execpos.domain import ids
from execpos.domain.events import Correction, CorrectionOutcome, FillEvent, PositionState, RawExecEvent
from execpos.kafka.memory.cluster import MemoryCluster
from ledger_world import IDS, NAMES, drain
from rebuild_world import MICROS, START_US
from snapshot_world import World, ledger
from state import correction_of

# Owners stand in the reports or nowhere: intents are in no journal.
OWNERS = Attribution(intent_before=0, intent_late=0, custom_field=0.7, manual=0.3, misleading=0)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Simulator]:
    """Return the journal of a bridge's day, and the day."""
    folder = tmp_path_factory.mktemp("journal")
    simulator = Simulator(SimConfig(seed=9, start_us=START_US, step_us=10_000, events=900, stock_accounts=2, attribution=OWNERS))
    journal = Journal.open(folder, env="simulation", bridge_id="b")
    convert = Converter("simulation", "b", journal.epoch, "sim", first_seq=journal.next_seq)
    for event in simulator.events():
        if event.intent is None:
            journal.append([convert((event.at_us * 1000, 0, event.state, event.payload))])
    journal.close()
    return folder, simulator


def republish(world: World, folder: Path, first: int = 1) -> int:
    publish = Republisher(Target(MemoryCluster(world.broker).idempotent_producer("again"), NAMES.raw, IDS[RawExecEvent]), 30.0)
    replay(folder, first, 1 << 62, publish)
    return publish.finish()


def folded(world: World) -> dict[str, PositionState]:
    loop, _ = ledger(world)
    loop.start()
    drain(loop)
    loop.close()
    return world.positions()


def held(rows: dict[str, PositionState]) -> dict[str, tuple[int, int, int]]:
    return {key: (row.quantity, row.open_cost, row.realized_pnl) for key, row in rows.items()}


def test_a_journal_that_is_whole_makes_the_same_book_however_often_it_is_published(day: tuple[Path, Simulator]) -> None:
    folder, simulator = day
    world = World()
    count = republish(world, folder)
    assert count > 500
    before = folded(world)
    assert len(before) > 20
    lost = World()

    for _ in range(2):
        assert republish(lost, folder) == count

    assert held(folded(lost)) == held(before)
    assert len(lost.read(FillEvent, NAMES.fills)) == simulator.truth.fills
    theirs = {
        ids.position_key(str(row["account"]), str(row["symbol"]), str(row["book"]), ids.NET): (
            row["quantity"],
            row["open_cost"],
            row["realized"],
        )
        for row in simulator.book.rows()
        if row["strategy_id"] == ids.NET
    }
    assert {key: figures for key, figures in held(before).items() if key.endswith("|*")} == theirs


def test_what_is_older_than_the_journal_comes_as_openings_from_the_broker(day: tuple[Path, Simulator]) -> None:
    folder, simulator = day
    broker = {
        (str(row["account"]), str(row["symbol"]), str(row["book"])): row
        for row in simulator.book.rows()
        if row["strategy_id"] == ids.NET and row["quantity"]
    }
    lost = World()
    republish(lost, folder, first=300)
    rows = folded(lost)

    for number, ((account, symbol, book), row) in enumerate(sorted(broker.items())):
        ours = rows.get(ids.position_key(account, symbol, book, ids.NET))
        missing = row["quantity"] - (ours.quantity if ours else 0)
        if missing:
            fields = {"symbol": symbol, "book": book, "quantity": missing, "price": 100 * MICROS, "ts": START_US + 3_600 * MICROS}
            named = {"correction_id": f"o{number}", "account": account, "kind": "OPENING", **fields}
            named |= {"read_began_ts": START_US - MICROS, "read_ended_ts": START_US - MICROS}
            lost.put(NAMES.corrections, account.encode(), Encoder(Correction, IDS[Correction])(correction_of(named)))
    after = folded(lost)

    outcomes = lost.read(CorrectionOutcome, NAMES.correction_outcomes)
    assert len(outcomes) > 3
    assert {outcome.outcome for outcome in outcomes} == {"APPLIED"}
    for key, row in broker.items():
        assert after[ids.position_key(*key, ids.NET)].quantity == row["quantity"]
