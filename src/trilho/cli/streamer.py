"""The thread that shows what is added to the logs and keeps them bounded.

Processes write to files and not to a pipe of the supervisor: a terminal that stands still must not stop the workers.
"""

import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from trilho.cli import logs
from trilho.cli.terminal import Terminal

PAUSE = 0.1
OWN_NAME = "trilho"


class Streamer:
    """Shows every log of a stack on the terminal, each line behind the name of its process."""

    def __init__(self, data: Path, terminal: Terminal) -> None:
        self._data = data
        self._terminal = terminal
        self._followers: dict[str, logs.Follower] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-streamer", daemon=True)

    def __enter__(self) -> Self:
        """Begin to show the logs from their starts."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Show what is left, then end."""
        self._stop.set()
        self._thread.join()

    def say(self, text: str) -> None:
        """A line of the supervisor itself, kept in its own log."""
        with logs.path_of(self._data, OWN_NAME).open("a") as log:
            log.write(f"{text}\n")

    def _run(self) -> None:
        while not self._stop.wait(PAUSE):
            self._show()
        self._show()

    def _show(self) -> None:
        # What the supervisor says comes last: it is about what the processes have written.
        for name in sorted(logs.names(self._data), key=lambda name: name == OWN_NAME):
            follower = self._followers.setdefault(name, logs.Follower(logs.path_of(self._data, name), from_start=True))
            with suppress(OSError):
                self._terminal.show(name, follower.lines())
                logs.bound(follower.path)
