"""Asking for snapshots on the in-memory twin: each account's answer, whole, and what is said when none comes."""

from collections.abc import Callable

import pytest

from execpos.domain.events import CorrectionOutcome, PositionSnapshot
from execpos.errors import CheckFailed
from execpos.kafka import asking
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.ledger.snapshots import SnapshotOptions
from ledger_world import NAMES, SCHEMAS, drain, run
from snapshot_world import ACCOUNT, MORNING_US, World, deal, ledger, request

OTHER = "simulation|S|9A95|7654321"


@pytest.fixture
def world() -> World:
    """Return a world with two accounts and a snapshot that nobody of these tests asked for."""
    made = World()
    for number in range(1, 101):
        deal(made, number, code=f"{2000 + number}")
    deal(made, 1, account_id="7654321")
    request(made, "earlier")
    return made


def asked(world: World, accounts: list[str], ts_us: int = MORNING_US, serve: Callable[[], object] = lambda: None) -> list[PositionSnapshot]:
    made = asking.Asking(MemoryCluster(world.broker), SCHEMAS, "t.")
    requests = [asking.snapshot_request(f"r{number}", account, "", "test", ts_us) for number, account in enumerate(accounts)]
    try:
        made.write(requests)
        serve()
        return list(made.answers(requests, 0))
    finally:
        made.close()


def test_each_account_asked_for_answers_with_its_whole_book(world: World) -> None:
    loop, _ = ledger(world, SnapshotOptions(max_part_bytes=16_384))
    run(loop)
    assert asking.accounts_of(MemoryCluster(world.broker), "t.") == [ACCOUNT, OTHER]

    found = asked(world, [ACCOUNT, OTHER], serve=lambda: drain(loop))

    assert {one.account: (one.request_id, len(one.positions)) for one in found} == {ACCOUNT: ("r0", 200), OTHER: ("r1", 2)}


def test_without_a_ledger_nothing_is_found_in_time(world: World) -> None:
    assert asked(world, [ACCOUNT]) == []


def test_a_rejected_request_is_an_error(world: World) -> None:
    loop, _ = ledger(world)
    run(loop)
    year_us = 365 * 86_400_000_000

    with pytest.raises(CheckFailed, match="rejected the request for simulation"):
        asked(world, [ACCOUNT], MORNING_US - year_us, lambda: drain(loop))
    assert [one.outcome for one in world.read(CorrectionOutcome, NAMES.correction_outcomes)] == ["APPLIED", "REJECTED"]


def test_accounts_are_named_by_key_or_number() -> None:
    from execpos.cli.snapshot import _chosen  # noqa: PLC0415 (the command's own rule)
    from execpos.errors import UsageError  # noqa: PLC0415 (as above)

    known = [ACCOUNT, OTHER, "simulation|F|F002000|7654321"]
    assert _chosen(known, ()) == known
    assert _chosen(known, ("1234567", ACCOUNT)) == [ACCOUNT]
    assert _chosen(known, ("simulation|S|9A95|1",)) == ["simulation|S|9A95|1"]
    for name in ("7654321", "nobody"):
        with pytest.raises(UsageError):
            _chosen(known, (name,))
