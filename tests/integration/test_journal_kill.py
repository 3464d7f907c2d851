"""A bridge's journal and kill -9: nothing that `append` returned for is lost, and what was not whole is not taken for a record."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from execpos.bridge.journal.files import NOWHERE
from execpos.bridge.journal.inspection import inspect
from execpos.bridge.journal.journal import Journal

WRITER = Path(__file__).parent.parent / "journal_writer.py"

# Each is a start, some milliseconds of writing, and a kill.
KILLS = 15


@pytest.mark.parametrize("fsync", ["interval_ms", "always", "never"])
def test_a_writer_that_is_killed_at_any_instant_loses_nothing_that_was_appended(tmp_path: Path, fsync: str) -> None:
    dice = random.Random(fsync)
    told: dict[int, int] = {}
    for _ in range(KILLS):
        writer = subprocess.Popen([sys.executable, str(WRITER), str(tmp_path), fsync], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(dice.random() * 0.05)
        writer.kill()
        lines = [first, *writer.communicate()[0].splitlines(keepends=True)]
        for line in lines:
            if line.endswith(b"\n"):
                epoch, seq = map(int, line.split())
                told[epoch] = max(told.get(epoch, 0), seq)

        report = inspect(tmp_path)
        assert report.lost == ()
        kept: dict[int, int] = {}
        for one in report.segments:
            assert one.records == one.last_seq - one.first_seq + 1
            kept[one.epoch] = max(kept.get(one.epoch, 0), one.last_seq)
        assert all(kept.get(epoch, 0) >= seq for epoch, seq in told.items())

    journal = Journal.open(tmp_path, env="simulation", bridge_id="b")
    reader, found = journal.reader(NOWHERE), dict.fromkeys(told, 0)
    while chunk := reader.read(1000, 10_000_000):
        for entry in chunk:
            assert entry.seq == found.get(entry.epoch, 0) + 1
            found[entry.epoch] = entry.seq
    journal.close()
    assert all(found[epoch] >= seq for epoch, seq in told.items())
    assert sum(found.values()) > KILLS
