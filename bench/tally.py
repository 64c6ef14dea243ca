"""What a consumer process says about itself: how fast it handled so many events. Nothing but the standard library."""

import itertools
import json
import os
import threading
import time

WARM_UP = 0.05
"""Share of the events that is handled before the clock starts."""


class Tally:
    """Counts calls of a handler, in any thread; prints one JSON line when there were as many as wanted."""

    def __init__(self, wanted: int) -> None:
        self._first = max(1, int(wanted * WARM_UP))
        self._last = wanted
        self._numbers = itertools.count(1)
        self._begun = self._busy = 0.0

    def __call__(self) -> None:
        """One event was handled."""
        number = next(self._numbers)
        if number == self._first:
            self._begun, self._busy = time.perf_counter(), time.process_time()
        elif number == self._last:
            seconds, busy = time.perf_counter() - self._begun, time.process_time() - self._busy
            events = self._last - self._first
            say({"rate": events / seconds, "cpu": 1e6 * busy / events})


class Arrivals:
    """Remembers when which event of its own arrived; says so for the first one, and all when there are enough."""

    def __init__(self, own: str, wanted: int) -> None:
        self._own = own
        self._wanted = wanted
        self._lock = threading.Lock()
        self._at: dict[str, float] = {}

    def __call__(self, name: str) -> None:
        """An event is being handled; the clock is the same in all processes of a machine."""
        now = time.monotonic()
        with self._lock:
            if name in self._at or not name.startswith(self._own):
                return
            self._at[name] = now
            if len(self._at) in {1, self._wanted}:
                say(self._at)


def say(answer: object) -> None:
    """One line, in one write: other threads may print, too."""
    os.write(1, (json.dumps(answer) + "\n").encode())
