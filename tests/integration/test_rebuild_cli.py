"""`execpos rebuild` and `execpos dead-letters` on real Kafka with a ledger at work."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from execpos.bridge.convert import Converter
from execpos.brokers.sim.workload import standard_workload
from execpos.codecs.avro import Decoder, Encoder
from execpos.domain.events import Command, DeadLetter, PositionDelta, RawExecEvent
from execpos.kafka.follow import Follower
from execpos.local.stack import Stack
from installation import Installation
from ledger_world import DEAL

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def installation(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Return an installation whose ledger has worked off a small day and a deal of an unknown condition, and goes on."""
    made = Installation(stack, tmp_path_factory.mktemp("rebuild"))
    try:
        made.ledger("one")
        made.publish(standard_workload(events=2_000, seed=43))
        broken = {**DEAL, "order_lot": "Bundle", "exchange_seq": "777"}
        raw = Converter("simulation", "bridge-0", 9, "sim")((1_779_331_288_000_000_000, 0, "SDEAL", broken))
        producer = made.cluster.idempotent_producer(f"{made.prefix}tests")
        encode = Encoder(RawExecEvent, made.schemas.ids[RawExecEvent])
        producer.produce(made.names.raw, -1, raw.account.encode(), encode(raw), lambda error, _: None)
        assert producer.flush(30.0) == 0
        producer.close()
        made.wait("the ledger", lambda: made.lag() == 0)
        yield made
    finally:
        made.close()


def ask(installation: Installation, *words: str, code: int = 0) -> dict[str, Any]:
    """Run a command with --json and return its object."""
    command = [sys.executable, "-m", "execpos", *words, "--json"]
    done = subprocess.run(command, env=installation.environ, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == code, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_a_dry_run_finds_the_live_books_in_their_history_and_changes_nothing(installation: Installation) -> None:
    deltas = len(installation.topics.read(PositionDelta, installation.names.deltas))

    found = ask(installation, "rebuild", "--dry-run")

    assert (found["verdict"], found["different"], found["missing"], found["extra"]) == ("EQUAL", [], [], [])
    assert found["rows"] == found["equal"] > len(found["accounts"]) > 1
    assert found["records"] > 2_000
    applied = ask(installation, "rebuild", "--apply", "--reason", "test", "--yes", "--account", found["accounts"][0])
    assert (applied["accounts"], applied["verdict"], applied["applied"]) == ([found["accounts"][0]], "EQUAL", [])
    assert len(installation.topics.read(PositionDelta, installation.names.deltas)) == deltas
    follower = Follower(installation.cluster, [f"{installation.prefix}exec.commands.v1"])
    decode = Decoder(Command, installation.schemas.writers[Command])
    assert [decode(message.value() or b"") for message in follower.poll()] == []
    follower.close()


def test_a_dead_letter_is_listed_shown_and_still_one_after_its_replay(installation: Installation) -> None:
    waiting = ask(installation, "dead-letters", "list")["dead_letters"]
    letter = next(one for one in waiting if one["reason"] == "unknown_order_lot")
    place = f"{letter['partition']}/{letter['offset']}"
    shown = ask(installation, "dead-letters", "show", place)
    assert json.loads(shown["record_value"])["order_lot"] == "Bundle"

    answer = ask(installation, "dead-letters", "replay", place, "--reason", "test", "--yes", code=6)

    assert (answer["outcome"], answer["outcome_reason"]) == ("REJECTED", "dead_letter")
    assert answer["outcome_detail"].startswith("unknown_order_lot")
    assert ask(installation, "dead-letters", "list")["dead_letters"][0]["offset"] == waiting[0]["offset"]
    letters = installation.topics.read(DeadLetter, installation.names.dead_letters)
    assert len(letters) == len(waiting)
