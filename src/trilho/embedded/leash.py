"""A script that ties a program to its parent and then becomes that program; it imports the standard library only.

`python -I -S leash.py PARENT SIGNAL UID GID program arguments…` (UID -1 keeps the user, SIGNAL 0 ties nothing).
A script instead of `preexec_fn`, because code between fork and exec of a process with threads can deadlock.
"""

import ctypes
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def main(parent: int, signal_number: int, uid: int, gid: int, program: list[str]) -> None:
    """Drop to the user, ask the kernel for the signal, then execute the program under the same pid."""
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # The kernel forgets this setting when credentials change: it must come after setuid.
    if signal_number and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(program[0], program)  # noqa: S606


def command(parent: int, signal_number: int, uid: int, gid: int, program: list[str]) -> list[str]:
    """The argument list that runs `program` on the leash."""
    head = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    return [*head, *map(str, (parent, signal_number, uid, gid)), *program]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
