"""Processes that answer with one JSON line."""

import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import psutil

from bench.remote import ROOT, plain_environment

PATIENCE = 120.0


class Child:
    """A Python module that runs in a process of its own while the block lasts."""

    def __init__(
        self, arguments: Sequence[object], environment: Mapping[str, str] | None = None, python: Path | None = None
    ) -> None:
        self._command = [str(python or sys.executable), "-m", *map(str, arguments)]
        self._environment = plain_environment() | dict(environment or {})
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._killed = False

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Self:
        """Start it."""
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ask it to end, by force if that takes too long; raises RuntimeError if it has ended by itself, badly."""
        assert self._process is not None
        assert self._log is not None
        failed = self._process.poll() if not self._killed else None
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        said = self._said()
        self._log.close()
        self._reader.join(5)
        if failed:
            raise RuntimeError(f"{' '.join(self._command[1:])} ended by itself:\n{said}")

    def kill(self) -> None:
        """SIGKILL it and everything that it has started."""
        assert self._process is not None
        own = psutil.Process(self._process.pid)
        for one in (own, *own.children(recursive=True)):
            one.kill()
        self._process.wait()
        self._killed = True

    def answer(self, patience: float = PATIENCE) -> Any:
        """Its next answer; raises RuntimeError with what it said when it ends or takes too long."""
        assert self._process is not None
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            try:
                line = self._lines.get(timeout=0.2)
            except queue.Empty:
                continue
            if not line:
                break
            if line.startswith("{"):
                return json.loads(line)
        raise RuntimeError(f"{' '.join(self._command[1:])} gave no answer:\n{self._said()}")

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put("")

    def _said(self) -> str:
        assert self._log is not None
        self._log.seek(0)
        return self._log.read()[-3000:]


def ask(arguments: Sequence[object], environment: Mapping[str, str] | None = None, python: Path | None = None) -> Any:
    """The answer of a process that ends by itself."""
    with Child(arguments, environment, python) as child:
        return child.answer()
