"""The commands for fills, intents and positions, on real Kafka with a ledger at work."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from execpos.brokers.sim.workload import standard_workload
from execpos.domain.events import FillEvent, Intent
from execpos.domain.ids import NET
from execpos.local.stack import Stack
from installation import Installation

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def installation(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Return an installation whose ledger has worked off a small day and goes on."""
    made = Installation(stack, tmp_path_factory.mktemp("cli"))
    try:
        made.ledger("one")
        made.publish(standard_workload(events=2_000, seed=41))
        made.wait("the ledger", lambda: made.lag() == 0)
        yield made
    finally:
        made.close()


def ask(installation: Installation, *words: str, code: int = 0) -> dict[str, Any]:
    """Run a command with --json and return its object."""
    done = run(installation, *words, "--json")
    assert done.returncode == code, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def run(installation: Installation, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "execpos", *words]
    return subprocess.run(command, env=installation.environ, capture_output=True, text=True, timeout=240, check=False)


def giver(installation: Installation) -> dict[str, Any]:
    """Return a row of a strategy that holds something."""
    rows: list[dict[str, Any]] = ask(installation, "positions", "get")["positions"]
    return next(row for row in rows if row["quantity"] and row["strategy_id"] not in {NET, "UNASSIGNED"} and row["quality"] == "CONFIRMED")


def test_positions_are_chosen_by_account_symbol_book_and_strategy(installation: Installation) -> None:
    row = giver(installation)
    assert {"day_pnl", "close_session", "close_mark_ts"} <= row.keys()
    options = ("--account", row["account"], "--symbol", row["symbol"], "--book", row["book"], "--strategy", row["strategy_id"])
    assert ask(installation, "positions", "get", *options)["positions"] == [row]
    assert ask(installation, "positions", "get", *options[:4], "--book", "none")["positions"] == []


def test_a_transfer_is_shown_first_then_done_and_leaves_net_alone(installation: Installation) -> None:
    row = giver(installation)
    words = ["positions", "transfer", "--account", row["account"], "--symbol", row["symbol"], "--book", row["book"]]
    words += ["--from", row["strategy_id"], "--to", "somebody", "--quantity", str(row["quantity"]), "--reason", "test"]
    where = ("positions", "get", "--account", row["account"], "--symbol", row["symbol"], "--book", row["book"])
    net = ask(installation, *where, "--strategy", NET)["positions"][0]

    shown = ask(installation, *words)
    assert (shown["written"], shown["held"]) == (False, row["quantity"])
    assert ask(installation, *where, "--strategy", "somebody")["positions"] == []
    done = ask(installation, *words, "--yes")
    assert done["outcome"] == "APPLIED"
    moved = ask(installation, *where, "--strategy", "somebody")["positions"][0]
    assert moved["quantity"] == row["quantity"]
    assert ask(installation, *where, "--strategy", NET)["positions"][0]["quantity"] == net["quantity"]
    again = ask(installation, *words, "--yes", code=6)
    assert (again["outcome"], again["reason"]) == ("REJECTED", "not_held")
    history = ask(installation, "positions", "history", "--account", row["account"], "--symbol", row["symbol"], "--strategy", "somebody",
                  "--from", "2020-01-01", "--to", "2099-01-01")  # fmt: skip
    assert [change["cause"] for change in history["changes"]] == ["TRANSFER"]
    assert history["changes"][0]["quantity"] == row["quantity"]


def test_history_is_the_rows_after_each_delta(installation: Installation) -> None:
    row = giver(installation)
    words = ["positions", "history", "--account", row["account"], "--symbol", row["symbol"], "--book", row["book"]]
    words += ["--strategy", row["strategy_id"], "--to", "2099-01-01"]
    whole = ask(installation, *words, "--from", "2020-01-01")
    assert whole["begin"] == []
    assert [change["version"] for change in whole["changes"]] == list(range(1, row["version"] + 1))
    assert whole["changes"][-1]["quantity"] == row["quantity"]
    middle = whole["changes"][len(whole["changes"]) // 2]
    later = ask(installation, *words, "--from", middle["at"])
    assert later["begin"][0]["version"] >= middle["version"]
    assert [*(change["version"] for change in later["changes"])] == list(range(later["begin"][0]["version"] + 1, row["version"] + 1))


def test_the_last_fills_are_those_of_the_topic(installation: Installation) -> None:
    fills = installation.topics.read(FillEvent, installation.names.fills)
    strategy = fills[0].strategy_id
    done = run(installation, "fills", "tail", "--last", "5000", "--strategy", strategy, "--json")
    assert done.returncode == 0, done.stderr
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    wanted = {(fill.fill_id, fill.revision) for fill in fills if fill.strategy_id == strategy}
    assert {(one["fill_id"], one["revision"]) for one in shown} == wanted
    assert run(installation, "fills", "tail", "--last", "3").stdout.count("\n") == 4


def test_an_intent_is_shown_first_and_then_written(installation: Installation) -> None:
    account = giver(installation)["account"]
    words = ("intents", "add", "--account", account, "--strategy", "late", "--order-id", "abc", "--session", "2026-05-21D", "--tag", "a=b")
    assert ask(installation, *words)["written"] is False
    written = ask(installation, *words, "--yes")
    found = [one for one in installation.topics.read(Intent, installation.names.intents) if one.strategy_id == "late"]
    assert [(one.intent_id, one.tags, one.session_id) for one in found] == [(written["intent_id"], {"a": "b"}, "2026-05-21D")]
