"""A process that writes a journal until it is killed: `python tests/journal_writer.py FOLDER FSYNC`.

After each `append` that returned, the last number goes to standard output in one write, so that who kills it knows what must be there.
"""

import os
import sys
from pathlib import Path

from execpos.bridge.convert import Converter
from execpos.bridge.journal.journal import Journal
from execpos.bridge.journal.writer import JournalPolicy


def main(folder: Path, fsync: str) -> None:
    # Small files, so that kills also fall between two of them; batches of odd sizes, some larger than a page.
    policy = JournalPolicy(fsync=fsync, fsync_interval_ms=5, segment_bytes=200_000)  # type: ignore[arg-type]  # given by the test
    journal = Journal.open(folder, env="simulation", bridge_id="b", policy=policy)
    convert = Converter("simulation", "b", journal.epoch, "1.7.9", first_seq=journal.next_seq)
    os.write(1, b"%d %d\n" % (journal.epoch, journal.last.seq if journal.last.epoch == journal.epoch else 0))
    number = 0
    while True:
        number += 1
        batch = [convert((1, 2, "SDEAL", {"code": "x " * (number % 7 * 1500), "quantity": one})) for one in range(number % 13 + 1)]
        journal.append(batch)
        os.write(1, b"%d %d\n" % (journal.epoch, batch[-1].bridge_seq))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
