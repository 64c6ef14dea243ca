"""The guardian: a process that does nothing but outlive a worker, to end what the bodies of a killed one had started.

The kernel ends pool processes with their parent, but nobody ends the programs that their bodies run.
"""

import os
import signal
from contextlib import suppress

DISMISSED = "dismissed"


class Guardian:
    """Holds one end of a pipe; when the worker and all its pool processes are gone, the pipe ends, and it acts."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._writer)
            _stand_by(reader)
        os.close(reader)

    def watch_over_me(self) -> bool:
        """Called by a pool process that leads a process group; whether anybody does."""
        try:
            os.write(self._writer, f"{os.getpid()}\n".encode())
        except BrokenPipeError:
            return False
        return True

    def dismiss(self) -> None:
        """Called by a worker that ends in order."""
        with suppress(OSError):
            os.write(self._writer, f"{DISMISSED}\n".encode())
            os.close(self._writer)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _stand_by(reader: int) -> None:
    """Never returns: this is a fork of a process that has other things to do."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        with os.fdopen(reader) as pipe:
            lines = [line.strip() for line in pipe]
        for group in lines if DISMISSED not in lines else ():
            with suppress(ProcessLookupError, PermissionError, ValueError):
                os.killpg(int(group), signal.SIGKILL)
    finally:
        os._exit(0)
