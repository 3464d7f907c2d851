"""A book folded anew from the inputs is the live one and the oracle's: an hour of faults and corrections, restarts, lost beginnings."""

import msgspec
import pytest

import oracle_corrections
from execpos.domain import ids
from execpos.domain.events import PositionDelta
from execpos.domain.shadow import Chain, Merge, Place, Whole, compare
from execpos.domain.snapshot import digest, open_orders
from execpos.errors import ContractError
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.ports import TopicPartition
from execpos.ledger.shadow import Shadow
from ledger_world import NAMES, PARTITIONS, RULES, SCHEMAS, drain, states
from rebuild_world import Hour
from snapshot_world import CLOSE_US, DAY_US, HOUR_US, MORNING_US, World, beat, deal, ledger
from state import assert_same

INPUTS = (NAMES.raw, NAMES.intents, NAMES.corrections)


@pytest.fixture(scope="module", params=[1, 2, 3])
def hour(request: pytest.FixtureRequest) -> Hour:
    """Return an hour that was played."""
    played = Hour(request.param)
    played.play()
    return played


def test_the_hour_has_all_that_could_come_in_another_order(hour: Hour) -> None:
    causes = {delta.cause for delta in hour.world.read(PositionDelta, NAMES.deltas)}
    assert {"REATTRIBUTED", "VOID", "ADJUST", "OPENING", "TRANSFER", "COST_BASIS", "FEES", "SETTLEMENT", "CORPORATE_ACTION"} <= causes
    assert min(hour.task.counts[name] for name in ("order", "fill", "duplicate", "control")) > 0
    assert len(hour.accounts) == 4


def test_shadow_book_and_live_book_are_one(hour: Hour) -> None:
    found = hour.compared()

    assert len(found) == len(hour.accounts)
    for one in found:
        assert (one.verdict, one.different, one.missing, one.extra) == ("EQUAL", (), (), ())
        assert one.live_digest == one.shadow_digest
        assert one.equal == one.rows > 0


def test_both_are_the_oracle_s_fold_of_the_same_input(hour: Hour) -> None:
    for account in hour.accounts:
        if hour.wild(account.key):
            continue
        expected = hour.of_the_oracle(account.key)
        keys = expected.keys() | {(account.key, row.symbol, row.book, row.strategy_id) for row in account.book if row.version}
        assert len(keys) > 20
        for key in keys:
            row = account.book.rows[key[1:]].row
            theirs = expected.get(key, oracle_corrections.Row())
            ours = (
                row.quantity,
                row.open_cost,
                row.realized,
                row.basis,
                row.fees,
                row.taxes,
                [[lot.quantity, lot.cost] for lot in row.lots],
            )
            assert ours == (
                theirs.quantity,
                theirs.open_cost,
                theirs.realized,
                theirs.basis,
                theirs.fees,
                theirs.taxes,
                theirs.lots,
            ), key


def test_a_shadow_that_is_folded_in_pieces_is_the_same(hour: Hour) -> None:
    for partition in range(PARTITIONS):
        whole = hour.shadow(partition)
        pieces = Shadow("t.", MemoryCluster(hour.world.broker), RULES, SCHEMAS, partition)
        raw, intents, corrections = ends_of_the_base(hour, partition)
        pieces.fold((raw, intents, corrections))
        pieces.fold(hour.ends(partition))
        for account in hour.task.states[partition].pipeline.accounts:
            assert compare(account, whole.whole(account), pieces.whole(account)).verdict == "EQUAL"
        whole.close()
        pieces.close()


def ends_of_the_base(hour: Hour, partition: int) -> tuple[int, int, int]:
    """A moment between two records: what the ledger had taken after two thirds of its batches."""
    taken = [message for message in hour.taken[: len(hour.taken) * 2 // 3] if message.partition() == partition]
    ends = [1 + max((message.offset() for message in taken if message.topic() == topic), default=-1) for topic in INPUTS]
    return ends[0], ends[1], ends[2]


def test_everything_restarted_with_topics_kept_is_as_it_was(hour: Hour) -> None:
    before = states(hour.task)
    digests = {account.key: digest(*hour.live(account)) for account in hour.accounts}
    written = len(hour.world.read(PositionDelta, NAMES.deltas))

    hour.restart()

    assert_same(states(hour.task), before)
    assert {account.key: digest(*hour.live(account)) for account in hour.accounts} == digests
    assert len(hour.world.read(PositionDelta, NAMES.deltas)) == written


# --- checkpoints -------------------------------------------------------------------------------------------------------------------------


def days(count: int) -> World:
    """Return days of two fills each; the third and the fourth are no trading days, and are not closed."""
    world = World()
    for day in range(count):
        world.clock.sleep(max(0.0, (MORNING_US + day * DAY_US) / 1e6 - world.clock()))
        deal(world, 2 * day + 1, MORNING_US + day * DAY_US)
        deal(world, 2 * day + 2, MORNING_US + day * DAY_US + HOUR_US, action="Sell" if day else "Buy")
        beat(world, CLOSE_US + day * DAY_US + HOUR_US)
    return world


@pytest.mark.parametrize("cut", [0, 2, 5])
def test_past_a_lost_beginning_it_starts_at_a_checkpoint(cut: int) -> None:
    world = days(4)
    deal(world, 3, MORNING_US + DAY_US)  # again, from inside the window
    loop, task = ledger(world, batch=1)
    loop.start()
    drain(loop)
    account = next(account for state in task.states.values() for account in state.pipeline.accounts.values())
    partition = next(number for number, state in task.states.items() if state.pipeline.accounts)
    world.broker.log(TopicPartition(NAMES.raw, partition)).truncate(cut)
    ends = task.states[partition].offsets
    for newest in (False, True):
        shadow = Shadow("t.", MemoryCluster(world.broker), RULES, SCHEMAS, partition, since_checkpoint=newest)
        shadow.fold((ends[0] + 1, ends[1] + 1, ends[2] + 1))
        assert bool(shadow.since) == (newest or cut > 0)
        found = shadow.compared(account.key, Whole(world.positions().values(), open_orders(account)))
        assert (found.verdict, found.different) == ("EQUAL", ())
        shadow.close()
    loop.close()


def test_without_a_checkpoint_after_the_lost_beginning_it_says_so() -> None:
    world = World()
    deal(world, 1)
    deal(world, 2)
    loop, task = ledger(world)
    loop.start()
    drain(loop)
    partition = next(number for number, state in task.states.items() if state.pipeline.accounts)
    world.broker.log(TopicPartition(NAMES.raw, partition)).truncate(1)

    with pytest.raises(ContractError, match="past its retention"):
        Shadow("t.", MemoryCluster(world.broker), RULES, SCHEMAS, partition)
    loop.close()


# --- the order ---------------------------------------------------------------------------------------------------------------------------


class At(msgspec.Struct, frozen=True):
    """A record that is only its offset."""

    at: int

    def offset(self) -> int:
        return self.at


def order(chains: list[list[tuple[int, int]]], raws: int, intents: int, corrections: int) -> list[tuple[int, int]]:
    made = []
    for places in chains:
        chain = Chain()
        for place in places:
            chain.add(Place(*place))
        made.append(chain)
    streams = [iter([At(number) for number in range(count)]) for count in (raws, intents, corrections)]
    return [(which, record.at) for which, record in Merge(made).merged(streams, {}, {})]


@pytest.mark.parametrize(
    ("chains", "expected"),
    [
        # Nothing is known: what may be first is first.
        ([[]], [(1, 0), (2, 0), (0, 0), (0, 1)]),
        # An intent after the fill that it moves.
        ([[(0, 0), (1, 0)]], [(2, 0), (0, 0), (1, 0), (0, 1)]),
        # Two chains that hold different records, and one in common.
        ([[(0, 0), (2, 0)], [(2, 0), (0, 1), (1, 0)]], [(0, 0), (2, 0), (0, 1), (1, 0)]),
        # A record given twice in a row stands once.
        ([[(0, 0), (0, 0), (2, 0), (2, 0), (0, 1)]], [(1, 0), (0, 0), (2, 0), (0, 1)]),
    ],
)
def test_records_come_in_the_order_of_every_chain(chains: list[list[tuple[int, int]]], expected: list[tuple[int, int]]) -> None:
    assert order(chains, 2, 1, 1) == expected


def test_a_chain_that_names_what_is_not_there_stops_nothing_and_is_counted() -> None:
    chain = Chain()
    for place in ((2, 7), (0, 0)):
        chain.add(Place(*place))
    merge = Merge([chain])

    assert [record.at for _, record in merge.merged([iter([At(0), At(1)]), iter([]), iter([])], {}, {})] == [0, 1]
    assert merge.unordered == 1


def test_a_difference_names_row_field_and_both_values() -> None:
    world = days(1)
    loop, _ = ledger(world)
    loop.start()
    drain(loop)
    loop.close()
    rows = list(world.positions().values())
    other = [msgspec.structs.replace(rows[0], open_cost=rows[0].open_cost + 1), *rows[2:]]

    found = compare(rows[0].account, Whole(rows, ()), Whole(other, ()))

    assert (found.verdict, found.rows, found.equal) == ("DIFFERENT", len(rows), len(rows) - 2)
    assert [(line.key, line.field, int(line.shadow) - int(line.live)) for line in found.different] == [
        (rows[0].position_key, "open_cost", 1)
    ]
    assert found.extra == (rows[1].position_key,)
    counted = compare(rows[0].account, Whole(rows, ()), Whole([msgspec.structs.replace(row, version=9) for row in rows], ()))
    assert counted.verdict == "VERSIONS"
    assert ids.NET in {row.strategy_id for row in rows}
