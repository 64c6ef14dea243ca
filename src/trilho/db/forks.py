"""What must not cross a fork: locks that another thread of the parent may hold, its threads and connections."""

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """One object for each process, made when that first asks for it; all threads of a process get the same."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def here(self) -> T:
        """That of this process."""
        pid = os.getpid()
        return self._made[pid] if pid in self._made else self._made.setdefault(pid, self._make())
