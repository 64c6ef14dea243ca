"""The steps of a lane: one at a time, and whoever calls for one is answered by a step that began after the call."""

import threading
from dataclasses import dataclass, field


@dataclass
class Steps:
    """Whether a step runs, or waits for a thread, and whether somebody called since it began."""

    running: bool = False
    _called: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self) -> bool:
        """Ask for a step; whether the caller has to start it."""
        with self._lock:
            starts = not self.running
            self._called, self.running = not starts, True
            return starts

    def begin(self) -> None:
        """A step begins, and sees what was called for until now."""
        with self._lock:
            self._called = False

    def end(self, able: bool) -> bool:
        """The step is over; whether another one follows it at once, for somebody called and the lane is able to."""
        with self._lock:
            self.running = able and self._called
            self._called = False
            return self.running
