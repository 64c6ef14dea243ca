"""Log files of the processes: reading their ends, following them, keeping them bounded."""

import shutil
from collections import deque
from pathlib import Path

LARGEST = 10_000_000
"""Bytes after which a log moves to NAME.log.1, replacing the one before."""


def folder(data: Path) -> Path:
    """Where the logs of a stack are."""
    return data / "logs"


def path_of(data: Path, name: str) -> Path:
    """The log of one process."""
    return folder(data) / f"{name}.log"


def names(data: Path) -> list[str]:
    """All processes that have a log."""
    return sorted(path.stem for path in folder(data).glob("*.log"))


def tail(path: Path, lines: int) -> list[str]:
    """The last lines of a log."""
    try:
        with path.open(errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
    except FileNotFoundError:
        return []


def set_aside(data: Path) -> None:
    """Keep the logs of the run before as NAME.log.1, so that NAME.log tells of one run."""
    for name in names(data):
        path_of(data, name).rename(_older(path_of(data, name)))


def bound(path: Path, largest: int = LARGEST) -> None:
    """Copy a log that is too large away and empty it: its writer has it open in append mode and goes on."""
    if path.exists() and path.stat().st_size > largest:
        shutil.copyfile(path, _older(path))
        with path.open("r+b") as file:
            file.truncate(0)


class Follower:
    """Reads what is added to one log, in whole lines; a log that shrank is read from its start."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self.path = path
        self._position = 0 if from_start else self._size()
        self._rest = b""

    def lines(self) -> list[str]:
        """The complete lines since the last call."""
        size = self._size()
        if size < self._position:
            self._position, self._rest = 0, b""
        if size == self._position:
            return []
        with self.path.open("rb") as file:
            file.seek(self._position)
            data = file.read()
        self._position += len(data)
        *complete, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in complete]

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


def _older(path: Path) -> Path:
    return path.with_suffix(".log.1")
