"""The tally of a slice: attempts that have come to their end, until that is written and told."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trilho.jobs.attempt import RunningAttempt

if TYPE_CHECKING:
    from trilho.jobs.runner import Ran

SLICE = 0.02
"""Seconds after which a slice begins no further job, and what has ended does not wait for what still runs."""

SliceReport = dict[str, "Ran"]
Ended = Sequence[tuple[RunningAttempt, "Ran"]]


class Tally:
    """Bodies end in one thread; while a long one runs there, another thread may write those before it."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._writing = threading.Lock()
        self._ended: list[tuple[RunningAttempt, Ran]] = []

    def is_old(self) -> bool:
        """Whether the slice has lasted for so long that it should come to its end."""
        return time.monotonic() - self._begun >= SLICE

    def add(self, attempt: RunningAttempt, ran: "Ran") -> None:
        """An attempt has come to its end."""
        self._ended.append((attempt, ran))

    def waits(self) -> bool:
        """Whether something has ended and is not written."""
        return bool(self._ended)

    def settle(self, write: Callable[[Ended], SliceReport]) -> SliceReport:
        """Write what has ended so far; when that raises, all of it is still to be written."""
        with self._writing:
            ended = self._ended[:]
            report = write(ended) if ended else {}
            del self._ended[: len(ended)]
            return report
