"""Becomes a command whose life is tied to its parent's: `python -I -S _tied.py PARENT PROGRAM ARGUMENTS…`.

A server that outlives the run which started it would go on with a call that the resumed run already asks about.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, argv: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit("the process that asked for this is gone")
    # Python ignores these two, and an ignored signal would stay ignored in the command.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.execvp(argv[0], argv)  # noqa: S606 that is its purpose


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
