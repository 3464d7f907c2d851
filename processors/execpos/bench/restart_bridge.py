"""`execpos run bridge`, whose journal can be held up from outside: what is captured then stays in memory until it goes on, or is killed.

`python -m execpos.bench.restart_bridge HOLD ARGUMENT…`: nothing is journaled while the file HOLD exists.
"""

import runpy
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from execpos.bridge.journal.journal import Journal
from execpos.bridge.journal.segment import Entry
from execpos.domain.events import RawExecEvent

# Between two looks at the file while it is there.
_LOOK_S = 0.002


_Append = Callable[[Journal, Sequence[RawExecEvent]], list[Entry]]


def _held(append: _Append, hold: Path) -> _Append:
    def waiting(journal: Journal, records: Sequence[RawExecEvent]) -> list[Entry]:
        while hold.exists():
            time.sleep(_LOOK_S)
        return append(journal, records)

    return waiting


def main(hold: Path, arguments: Sequence[str]) -> None:
    """Run the command line of execpos."""
    Journal.append = _held(Journal.append, hold)  # type: ignore[assignment, method-assign] # (the point of it)
    sys.argv = ["execpos", *arguments]
    runpy.run_module("execpos", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
