"""Scenario files: the shipped ones are in order, and a wrong one is refused with file, line and key."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from execpos import resources
from execpos.brokers.sim.scenario import Scenario
from execpos.cli.sim import load_scenario, sim
from execpos.domain.fold import Fold
from execpos.errors import ConfigError, UsageError
from execpos.settings import load

SHIPPED = sorted(path.stem for path in (resources.folder("config") / "scenarios").glob("*.yaml"))


def test_the_scenarios_are_shipped() -> None:
    assert SHIPPED == ["live-day", "lying-broker", "outage", "quiet-day", "reused-ids", "rough-day"]


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_scenario_can_be_played(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(sim, ["record", str(tmp_path / "day.jsonl"), "--scenario", name, "--events", "400", "--json"])

    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout)["counts"]
    assert counts["fills"] > 100


def test_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 5\n")

    assert load_scenario(str(tmp_path / "mine.yaml")) == Scenario(seed=5)
    with pytest.raises(UsageError, match="no scenario"):
        load_scenario("nonsense")


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        ("seed: 1\nsped: 2\n", 2, "sped: is no key"),
        ("seed: one\n", 1, "seed: Expected `int`"),
        ("rate: 0\n", 1, "rate: is 0"),
        ("delivery:\n  duplicate: 1.5\n", 2, "delivery.duplicate: is 1.5"),
        ("delivery:\n  dublicate: 0.5\n", 2, "delivery.dublicate: is no key"),
        ("schedule:\n  - {kind: drop, at_s: 1, cuont: 1}\n", 2, "schedule.0.cuont: is no key"),
        ("trading:\n  deal_share: 0.9\n", 1, "deal_share is 0.9"),
        ("sessions: []\n", 1, "at least one session"),
        ("sessions:\n  - start: today\n", 2, "write 2026-05-21T09:00, or now"),
        ("sessions:\n  - start: 2026-05-21T09:00\n  - start: 2026-05-22T09:00\n", 2, "neither events nor seconds"),
        ("sessions:\n  - {start: 2026-05-22T09:00, events: 9}\n  - {start: 2026-05-21T09:00, events: 9}\n", 3, "before the end"),
        ("sessions:\n  - start: 2026-05-21T09:00\n    night: true\n", 2, "night is wrong"),
        ("sessions:\n  - {start: now, events: 5}\n  - {start: 2026-05-21T09:00}\n", 2, "only a scenario of one session"),
        ("schedule:\n  - {kind: drop}\n", 2, "one of at_s and at_report"),
        ("schedule:\n  - {kind: drop, at_s: 1}\n  - {kind: dropp, at_s: 1}\n", 3, "Invalid enum value 'dropp'"),
        ("schedule:\n  - {kind: disconnect, at_s: 1}\n", 2, "needs seconds"),
        ("schedule:\n  - {kind: call_slow, at_s: 1}\n", 2, "call_slow needs lag_s"),
        ("schedule:\n  - {kind: book_ahead, at_s: 1}\n", 2, "one of lag_s and fills"),
        ("schedule:\n  - {kind: call_raises, at_s: 1, error: Oops}\n", 2, "error is 'Oops'"),
        ("schedule:\n  - {kind: drop, at_s: 1, count: -1}\n", 2, "nothing here is negative"),
        ("a: 1\na: 2\n", 2, "stands on line 1 already"),
    ],
)
def test_a_wrong_scenario_is_refused_by_file_line_and_key(text: str, line: int, named: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_scenario(str(path))

    assert caught.value.exit_code == 3
    assert f"wrong.yaml:{line}:" in str(caught.value)
    assert named in str(caught.value)


def test_a_recorded_day_folds_to_the_truth(tmp_path: Path) -> None:
    names = {name: tmp_path / name for name in ("day.jsonl", "intents.jsonl", "truth.json")}
    result = CliRunner().invoke(
        sim,
        [
            *("record", str(names["day.jsonl"]), "--scenario", "reused-ids", "--events", "2000", "--seed", "5", "--json"),
            *("--intents", str(names["intents.jsonl"]), "--truth", str(names["truth.json"])),
        ],
    )
    assert result.exit_code == 0, result.output
    printed, truth = json.loads(result.stdout), json.loads(names["truth.json"].read_text())
    folded = Fold(load(None).rules())
    with names["intents.jsonl"].open("rb") as intents:
        folded.claim(intents)
    with names["day.jsonl"].open("rb") as day:
        outcomes = list(folded.add(day))
    counts = folded.result()["counts"]

    assert printed["callbacks"] == len(outcomes) == truth["counts"]["callbacks"] == counts["raw"]
    assert printed["seed"] == 5
    assert counts["fills"] == truth["counts"]["matched"]
    held: dict[tuple[str, str, str], int] = {}
    for fill in truth["fills"]:
        key = (fill["account"].replace("simulation", "replay"), fill["symbol"], fill["book"])
        held[key] = held.get(key, 0) + fill["side"] * fill["units"]
    assert {(row["account"], row["symbol"], row["book"]): row["quantity"] for row in folded.result()["net"]} == held


def test_a_scenario_without_an_end_cannot_be_recorded_without_a_number(tmp_path: Path) -> None:
    result = CliRunner().invoke(sim, ["record", str(tmp_path / "day.jsonl"), "--scenario", "live-day"])

    assert result.exit_code == 2
    assert "--events" in result.output
    assert not (tmp_path / "day.jsonl").exists()
