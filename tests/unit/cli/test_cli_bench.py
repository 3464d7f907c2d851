"""What `execpos bench` takes."""

import pytest
from click.testing import CliRunner

from execpos.bench import scale
from execpos.cli.main import cli


@pytest.mark.parametrize(("words", "counts"), [("1,2,4", (1, 2, 4)), ("3", (3,))])
def test_process_counts_are_numbers_joined_by_commas(words: str, counts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(events: int, processes: tuple[int, ...], seed: int) -> dict[str, object]:
        asked.append((events, processes, seed))
        return {"runs": [], "conditions": {}}

    monkeypatch.setattr(scale, "run", run)
    done = CliRunner().invoke(cli, ["bench", "scale", "--processes", words, "--events", "1000", "--json"])

    assert done.exit_code == 0, done.output
    assert asked == [(1_000, counts, 1)]


@pytest.mark.parametrize("words", ["0", "1,,2", "13", "-1", "two", ""])
def test_other_process_counts_are_refused(words: str) -> None:
    done = CliRunner().invoke(cli, ["bench", "scale", "--processes", words])

    assert done.exit_code == 2
    assert "at most 12" in done.output
