"""Run a program that dies with its parent: ``python -m monitor.demo.leash PARENT PROGRAM ARGUMENT…``.

A demonstration that is killed with SIGKILL runs no clean-up, and its broker would stay behind. The
kernel's parent-death signal (Linux, prctl(2)) survives exec, so setting it here leashes any program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(argv: list[str]) -> None:
    parent, program = int(argv[0]), argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    # The parent may have gone before the leash was on.
    if os.getppid() == parent:
        os.execv(program[0], program)  # noqa: S606  running a given program is its purpose


if __name__ == "__main__":
    main(sys.argv[1:])
