"""Start a program that cannot outlive its parent: `python launch.py PARENT_PID PROGRAM ARGUMENT…`.

A file of its own, run in a fresh interpreter that the program then replaces, because code between fork and exec is unsafe in a
process with threads.
"""

import ctypes
import os
import signal
import sys

# From Linux' sys/prctl.h; the kernel keeps the setting over exec.
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask the kernel for SIGKILL at the parent's death, then become the program."""
    parent, argv = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel knew that we care
        os._exit(1)
    os.execv(argv[0], argv)  # noqa: S606 (the caller resolved the program; there is no shell to avoid)


if __name__ == "__main__":
    main()
