"""Moments and accounts as people write them, and mistakes on the command line that need no server to be found."""

import click
import pytest
from click.testing import CliRunner

from execpos.cli.main import cli
from execpos.cli.moments import moment, one_account, same_account, shown
from execpos.errors import UsageError
from execpos.kafka.memory.broker import MemoryBroker
from execpos.kafka.memory.cluster import MemoryCluster
from execpos.kafka.ports import TopicPartition

HERE = click.Context(click.Command("x")), click.Option(["--from"])


@pytest.mark.parametrize("text", ["2026-05-21T02:41:26", "2026-05-21T02:41:26+00:00", "2026-05-21T10:41:26+08:00", "2026-05-21T02:41:26Z"])
def test_a_moment_is_utc_unless_it_says_otherwise(text: str) -> None:
    assert moment(*HERE, text) == 1_779_331_286_000_000
    assert shown(1_779_331_286_000_000) == "2026-05-21T02:41:26.000000+00:00"


def test_what_is_no_moment_is_refused_and_none_stays_none() -> None:
    assert moment(*HERE, None) is None
    assert shown(0) == ""
    with pytest.raises(click.BadParameter, match="no moment"):
        moment(*HERE, "yesterday")


def test_an_account_is_found_by_its_number_when_only_one_has_it() -> None:
    broker = MemoryBroker()
    broker.create("exec.positions.v1", 1)
    for account in ("simulation|S|9A95|1", "simulation|S|9A95|2", "simulation|F|F002|2"):
        broker.append(TopicPartition("exec.positions.v1", 0), f"{account}|2330|cash|*".encode(), b"x")
    cluster = MemoryCluster(broker)

    assert one_account(cluster, "", "1") == "simulation|S|9A95|1"
    assert one_account(cluster, "", "simulation|S|9A95|77") == "simulation|S|9A95|77"
    with pytest.raises(UsageError, match="is not one but"):
        one_account(cluster, "", "2")
    with pytest.raises(UsageError, match="has no positions"):
        one_account(cluster, "", "3")
    assert same_account("simulation|S|9A95|1", "1")
    assert same_account("simulation|S|9A95|1", None)
    assert not same_account("simulation|S|9A95|1", "9A95")


@pytest.mark.parametrize(
    "words",
    [
        ("intents", "add", "--account", "a", "--strategy", "s"),
        ("intents", "add", "--account", "a", "--strategy", "s", "--order-id", "1", "--seqno", "2"),
        ("intents", "add", "--account", "a", "--strategy", "s", "--order-id", "1", "--tag", "none"),
        ("positions", "history", "--account", "a", "--from", "2026-05-21", "--to", "2026-05-20"),
        *(
            (
                "positions",
                "transfer",
                "--account",
                "a",
                "--symbol",
                "s",
                "--book",
                "cash",
                "--from",
                giver,
                "--to",
                "b",
                "--quantity",
                many,
                "--reason",
                "r",
            )
            for giver, many in (("b", "1"), ("*", "1"), ("a", "0"))
        ),
    ],
)
def test_a_command_that_contradicts_itself_is_refused_before_anything_is_reached(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, words)
    assert isinstance(done.exception, UsageError)


@pytest.mark.parametrize(
    "words", [("fills", "tail"), ("intents", "add"), ("positions", "history"), ("positions", "transfer"), ("bench", "view")]
)
def test_every_command_documents_its_json(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, [*words, "--help"])
    assert done.exit_code == 0
    assert "With --json" in " ".join(done.output.split())
