"""One process of the stack as the supervisor sees it: its state, and what is due for it."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from trilho.cli.backoff import Backoff
from trilho.cli.stack import ProcessInfo


class State(StrEnum):
    """States of a member."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"  # crashed, waits for its next start
    STOPPING = "stopping"


class Runner(Protocol):
    """What can be supervised: a program, or an embedded server."""

    name: str
    kind: str

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""

    @property
    def running(self) -> bool:
        """Whether the process is alive."""

    @property
    def exit_code(self) -> int | None:
        """How it ended: its exit code, or minus the signal; None if that is not known."""

    def start(self) -> None:
        """Start it; raises TrilhoError if that cannot be done."""

    def ask_to_stop(self) -> None:
        """Have it end in an orderly way."""

    def kill(self) -> None:
        """End it at once, with everything that belongs to it; harmless when it has ended."""


@dataclass
class Member:
    """A runner and its state; `ready` says whether it does its work by now, `greeting` what to tell the user then.

    An `optional` one may find that there is nothing for it to do.
    """

    runner: Runner
    ready: Callable[[], bool]
    greeting: str = ""
    state: State = State.STARTING
    since: float = field(default_factory=time.time)
    backoff: Backoff = field(default_factory=Backoff)
    restart_at: float = 0.0
    stop_before: float = 0.0
    ever_ready: bool = False
    optional: bool = False

    @property
    def name(self) -> str:
        """The name of its process."""
        return self.runner.name

    def start(self) -> None:
        """Start the process; raises what the runner raises."""
        self.state = State.STARTING
        self.since = time.time()
        self.runner.start()

    def became_ready(self) -> bool:
        """True once, when a starting process begins to do its work."""
        if self.state is not State.STARTING or not self.runner.running or not self.ready():
            return False
        self.state = State.RUNNING
        self.ever_ready = True
        return True

    def crashed(self) -> None:
        """Note that it ended by itself: end what is left of it and fix the time of its next start."""
        self.runner.kill()
        self.backoff = self.backoff.after_crash(time.time() - self.since)
        self.restart_at = time.monotonic() + self.backoff.delay
        self.state = State.RESTARTING

    @property
    def needless(self) -> bool:
        """Whether it has ended because there is nothing for it to do; once it was ready, a good end is a loss too."""
        return self.optional and not self.ever_ready and self.runner.exit_code == 0

    def stop(self, grace: float) -> None:
        """Ask it to end within `grace` seconds."""
        self.state = State.STOPPING
        self.stop_before = time.monotonic() + grace
        self.runner.ask_to_stop()

    def info(self) -> ProcessInfo:
        """What `trilho ps` shows of it."""
        since = self.since if self.runner.running else None
        return ProcessInfo(self.runner.kind, self.name, self.runner.pid, str(self.state), since)


def ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
