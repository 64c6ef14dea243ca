"""Hearing that the server was asked to stop, before it waits for the requests that are still served."""

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Leaving:
    """Calls back in the event loop at SIGTERM and SIGINT, between `begin` and `end`, in front of the server's handlers.

    ASGI tells an application of the end only after the last response, and a stream has no end of its own. A signal that
    nobody handles is left alone, and so are threads that are not the main one.
    """

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        self._former: dict[signal.Signals, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """Listen; called in the event loop that is to call back."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._loop = asyncio.get_running_loop()
        for number in SIGNALS:
            former = signal.getsignal(number)
            if callable(former):
                self._former[number] = former
                signal.signal(number, self._handle)

    def end(self) -> None:
        """Put the former handlers back, unless somebody else did."""
        for number, former in self._former.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, former)
        self._former = {}

    def _handle(self, number: int, frame: Any) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._callback)
        former = self._former.get(signal.Signals(number))
        if former is not None:
            former(number, frame)
