"""The process of a program, with everything that descends from it."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil

from trilho.cli.program import Program
from trilho.embedded import leash
from trilho.embedded.leftovers import end


class Process:
    """One run of a program at a time, in a session of its own and appending to its log."""

    def __init__(self, program: Program, log: Path) -> None:
        self.kind = program.kind
        self.name = program.name
        self._program = program
        self.log = log
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._popen.pid if self._popen is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the process itself is alive."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None before its end."""
        return None if self._popen is None else self._popen.poll()

    def start(self) -> None:
        """Start it; it ends with this process, which must call this from its main thread."""
        # SIGKILL, because when the supervisor was killed the servers go down at the same moment:
        # an orderly end would wait for them in vain.
        arguments = leash.command(os.getpid(), int(signal.SIGKILL), -1, -1, list(self._program.arguments))
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._program.environment),
                start_new_session=True,
            )

    def ask_to_stop(self) -> None:
        """SIGTERM to the process; what it does about its children is its own business."""
        if self._popen is not None:
            with suppress(ProcessLookupError):
                self._popen.terminate()

    def kill(self) -> None:
        """SIGKILL to the process and to all of its session, also what outlived it."""
        if self._popen is None:
            return
        if self.running:
            self._popen.kill()
        self._popen.wait()
        end(session_members(self._popen.pid))


def session_members(session: int) -> list[psutil.Process]:
    """The living processes of one session."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session:
                found.append(process)
    return found
