"""The body that a thread runs, and how it is interrupted: only while it runs, never while its end is written."""

import ctypes
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

WAKE = signal.SIGURG
"""Ignored by default; with a handler, it gets the main thread out of a system call."""


class Drive(Protocol):
    """What drives a coroutine in the thread of a body."""

    def is_stepping(self) -> bool:
        """Whether the coroutine's own code runs at this moment; asked in its thread."""
        ...

    def interrupt(self, error: type[BaseException]) -> None:
        """Raise `error` in the coroutine at its next await; from any thread."""
        ...


class Body:
    """One thread's; entered by the outermost function of a task, however many it calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = False
        self.begun: float | None = None
        self._thread = 0
        self._asked: type[BaseException] | None = None
        self._drive: Drive | None = None

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The block that may be interrupted."""
        if self._running:
            yield
            return
        try:
            self._enter()
            yield
        finally:
            self.leave()

    def _enter(self) -> None:
        with self._lock:
            self._running, self._thread, self._asked = True, threading.get_ident(), None
            self.begun = time.monotonic()

    def leave(self) -> None:
        """From here on nothing is raised any more; what was asked for and has not been raised is forgotten."""
        with self._lock:
            self._running, self.begun = False, None
            if self._asked is not None:
                _raise_in(self._thread, None)

    @contextmanager
    def driven_by(self, drive: Drive) -> Iterator[None]:
        """A block in which a coroutine is the body: it is interrupted at its awaits."""
        outer = self._drive
        with self._lock:
            self._drive = drive
            if self._asked is not None and outer is None:
                _raise_in(self._thread, None)
                drive.interrupt(self._asked)
        try:
            yield
        finally:
            with self._lock:
                self._drive = outer

    def was_asked(self, error: type[BaseException]) -> bool:
        """Whether `interrupt` was called with this while the last body ran."""
        return self._asked is error

    def interrupt(self, error: type[BaseException]) -> bool:
        """Raise `error` in the body, from another thread and at most once; whether a body runs."""
        with self._lock:
            if not self._running:
                return False
            if self._asked is error:
                return True
            self._asked = error
            if self._drive is not None:
                self._drive.interrupt(error)
            else:
                _raise_in(self._thread, error)
            if self._thread == threading.main_thread().ident:
                signal.pthread_kill(self._thread, WAKE)
        return True

    def interrupt_here(self, error: type[BaseException]) -> None:
        """As `interrupt`, from a signal handler in the thread of the body."""
        if not self._running:
            return
        if self._drive is None or self._drive.is_stepping():
            raise error
        self._drive.interrupt(error)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise in another thread at its next bytecode; None takes back what has not been raised yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )
