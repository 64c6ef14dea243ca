"""One worker of one stack: the same command line for both."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from bench.apps import Place
from bench.remote import ROOT, plain_environment

PROCESSES = 2
READY_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0


class Worker:
    """`celery worker -c 2 -l WARNING`, ready when the block begins, gone when it ends."""

    def __init__(self, place: Place, name: str = "", processes: int = PROCESSES) -> None:
        self._place = place
        self._name = f"{place.stack}{name}"
        self._processes = processes
        self._folder = tempfile.TemporaryDirectory(prefix="trilho-bench-")
        self._log = Path(self._folder.name) / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its main process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        """Start it and wait until it consumes."""
        ready = Path(self._folder.name) / "ready"
        command = [sys.executable, "-m", "celery", "-A", "bench.apps", "worker", "-n", f"{self._name}@%h"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "-c", str(self._processes), "-l", "WARNING"],
                cwd=ROOT,
                env=plain_environment() | self._place.environment() | {"BENCH_READY": str(ready)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + READY_TIMEOUT
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(f"the {self._place.stack} worker did not start:\n{self.log()}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it in order; by force if that takes too long."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """The end of what it said."""
        return self._log.read_text(errors="replace")[-3000:]
