"""The threads in which lanes are worked; each keeps an event loop for `async def` handlers."""

import queue
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol


class RunsCoroutines(Protocol):
    """Event loops, one for each thread."""

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end in this thread."""
        ...

    def close(self) -> None:
        """Close the loop of this thread, if it has one."""
        ...


@dataclass
class Threads:
    """Runs what it is given, in order, on a fixed number of threads."""

    count: int
    coroutines: RunsCoroutines
    _work: "queue.SimpleQueue[Callable[[], None] | None]" = field(default_factory=queue.SimpleQueue)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin."""
        for number in range(self.count):
            thread = threading.Thread(target=self._run, name=f"trilho-lane-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(self, work: Callable[[], None]) -> None:
        """Run this soon; it must not raise."""
        self._work.put(work)

    def finish(self, timeout: float) -> bool:
        """Let the threads end after what was submitted; whether they did in time."""
        for _ in self._threads:
            self._work.put(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                work()
        finally:
            self.coroutines.close()
