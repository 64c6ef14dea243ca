"""A real `celery worker` process and what can happen to it; whatever it started is ended with it."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from tests.lab import processes
from tests.lab.poll import eventually
from tests.lab.ready import READY
from tests.lab.servers import ROOT
from trilho.embedded import leash

READY_TIMEOUT = 40.0


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker is started; `environment` comes on top of ours, without any TRILHO_ variable of ours."""

    name: str
    app: str
    environment: Mapping[str, str]
    concurrency: int = 2
    queues: str = "celery"
    arguments: Sequence[str] = field(default=())

    def command(self) -> list[str]:
        """The command line."""
        head = [sys.executable, "-m", "celery", "-A", self.app, "worker", "-n", f"{self.name}@%h"]
        size = ["-c", str(self.concurrency), "-Q", self.queues]
        # Celery waits a second for neighbours otherwise, at each of some hundred starts.
        return [*head, *size, "-l", "INFO", "--without-mingle", *self.arguments]


class Worker:
    """One worker process with its pool; a context manager that leaves nothing behind.

    The worker also ends with the thread that started it, for a test process that is killed.
    """

    def __init__(self, options: WorkerOptions, folder: Path) -> None:
        self.options = options
        self._mark = f"worker-{uuid.uuid4()}"
        self._ready = folder / f"{self._mark}.ready"
        self.log = folder / f"{options.name}-{self._mark[-6:]}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self if self._process else self.start()

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, *, wait: bool = True) -> Self:
        """Start it, and wait until it consumes unless told otherwise."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                leash.command(os.getpid(), signal.SIGKILL, -1, -1, self.options.command()),
                cwd=ROOT,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.wait_ready() if wait else self

    def wait_ready(self) -> Self:
        """Wait until it consumes; AssertionError with its log if it ends or takes too long."""
        eventually(lambda: self._ready.exists() or not self.alive, timeout=READY_TIMEOUT)
        assert self._ready.exists(), f"worker {self.options.name} ended before it was ready:\n{self.tail()}"
        return self

    @property
    def alive(self) -> bool:
        """Whether its main process runs, stopped ones included."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its main process."""
        assert self._process is not None
        return self._process.pid

    def pool(self) -> list[psutil.Process]:
        """Its pool processes; the worker's guardian is in a session of its own."""
        with suppress(psutil.NoSuchProcess):
            return [child for child in psutil.Process(self.pid).children() if self._is_of_the_pool(child.pid)]
        return []

    def _is_of_the_pool(self, pid: int) -> bool:
        with suppress(ProcessLookupError):
            return os.getsid(pid) == self.pid and processes.is_alive(pid)
        return False

    def kill(self) -> None:
        """SIGKILL the main process, as the OOM killer or a lost machine does."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def kill_child(self, pid: int | None = None) -> int:
        """SIGKILL one pool process; its pid."""
        pid = pid or self.pool()[0].pid
        os.kill(pid, signal.SIGKILL)
        return pid

    def freeze(self) -> None:
        """SIGSTOP the whole worker, pool included, as a paused machine does."""
        processes.signal_all(self._mark, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT the whole worker."""
        processes.signal_all(self._mark, signal.SIGCONT)

    def freeze_parent(self) -> None:
        """SIGSTOP the main process only: its pool runs on without it."""
        os.kill(self.pid, signal.SIGSTOP)

    def terminate(self) -> None:
        """SIGTERM the main process, as an orchestrator does."""
        os.kill(self.pid, signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Any signal to the main process, if it still runs."""
        if self.alive:
            os.kill(self.pid, number)

    def wait(self, timeout: float = 30.0) -> int:
        """The exit code of the main process; AssertionError after `timeout` seconds."""
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"worker {self.options.name} runs after {timeout:g} s:\n{self.tail()}") from None

    def end(self) -> None:
        """SIGKILL everything that this worker started, directly or not."""
        processes.end(self._mark)
        if self._process is not None:
            self._process.wait()

    def descendants(self) -> list[psutil.Process]:
        """Every live process that this worker started, itself included."""
        return processes.marked(self._mark)

    def tail(self, lines: int = 60) -> str:
        """The end of its log."""
        with suppress(FileNotFoundError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TRILHO_")}
        own = {processes.MARK: self._mark, READY: str(self._ready)}
        return ours | dict(self.options.environment) | own
