"""The file in which `trilho up` tells other shells about the stack that it runs."""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from trilho.embedded.folder import FolderLock
from trilho.errors import TrilhoError
from trilho.settings import STACK_FILE


class NoStack(TrilhoError):
    """No `trilho up` runs in this data folder."""

    def __init__(self, data: Path) -> None:
        super().__init__(f"no stack runs in {data}: start one with `trilho up`, or name its folder with --data")


@dataclass(frozen=True)
class ProcessInfo:
    """One process of the stack; times are seconds since the epoch."""

    kind: str
    name: str
    pid: int | None
    state: str
    since: float | None

    def uptime(self) -> float | None:
        """Seconds since it was started; None while it is down."""
        return None if self.since is None else max(0.0, time.time() - self.since)


@dataclass(frozen=True)
class Stack:
    """A running stack: what `trilho ps` and `trilho env` show, and what Settings join."""

    pid: int
    app: str
    data: str
    database_url: str
    broker_url: str
    smtp_url: str | None = None
    kafka_bootstrap: str | None = None
    api_url: str | None = None
    processes: tuple[ProcessInfo, ...] = ()

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """What the file says, whether or not the stack still runs; None without a readable file."""
        try:
            return cls._from_json(json.loads((data / STACK_FILE).read_text()))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @classmethod
    def running(cls, data: Path) -> Self:
        """The stack that runs now; raises NoStack."""
        stack = cls.read(data)
        if stack is None or not FolderLock(data).held():
            raise NoStack(data)
        return stack

    @classmethod
    def _from_json(cls, values: dict[str, Any]) -> Self:
        return cls(**values | {"processes": tuple(ProcessInfo(**process) for process in values["processes"])})

    def write(self) -> None:
        """Replace the file in one step; its URLs hold passwords, so only its owner may read it."""
        write_private(Path(self.data) / STACK_FILE, json.dumps(asdict(self), indent=2))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; readers see the old text or the new one, never a part."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)
