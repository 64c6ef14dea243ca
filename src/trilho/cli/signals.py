"""What Ctrl-C and SIGTERM mean for a supervisor."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """The first signal raises KeyboardInterrupt in the main thread, every later one calls `again`."""

    def __init__(self, again: Callable[[], None]) -> None:
        self._again = again
        self._received = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        # SIGHUP that is ignored already was meant so: that is what nohup does. SIGINT is taken over in any case,
        # because a shell script starts what it puts in the background with SIGINT ignored.
        nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        watched = [number for number in WATCHED if not (number is signal.SIGHUP and nohup)]
        self._before = {number: signal.signal(number, self._on_signal) for number in watched}
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def interrupt_no_more(self) -> None:
        """From now on the first signal counts as received: what runs now must not be torn."""
        self._received = True

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._received:
            self._again()
            return
        self._received = True
        raise KeyboardInterrupt
