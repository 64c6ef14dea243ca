"""Memory that a worker shares with its pool processes: until when the lease is good, and what each slot does."""

import ctypes
import fcntl
import mmap
import os
import tempfile
import time
import weakref

IDLE = 0
CLAIMED = 1
BODY = 2  # BODY + n: the body of the n-th job of the slice runs

_HEAD = 16
_DOING, _TAKEN, _CLOSED, _SLOT = 0, 1, 2, 3


def boot_time() -> float:
    """Seconds since boot, including those in which the machine slept."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _nameless_file() -> int:
    descriptor, path = tempfile.mkstemp(prefix="trilho-")
    os.unlink(path)
    return descriptor


class SharedState:
    """Must exist before the pool forks. Every field is written by one side only, but for what `take` and `close` do.

    These two exclude each other by a lock on a byte of a file, which the kernel takes back from a process that dies. It
    does not hold between threads: of each process, only one may touch the gate of a slot.
    """

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, _HEAD + slots * _SLOT)
        self._deadline = ctypes.c_double.from_buffer(self._memory)
        self._epoch = ctypes.c_double.from_buffer(self._memory, 8)
        self._gates = _nameless_file()
        weakref.finalize(self, os.close, self._gates)
        self.slots = slots

    @property
    def deadline(self) -> float:
        """Boot time until which this process may run bodies; 0 while it has no lease."""
        return self._deadline.value

    @deadline.setter
    def deadline(self, value: float) -> None:
        self._deadline.value = value

    @property
    def epoch(self) -> float:
        """Counts the leases that this process has lost."""
        return self._epoch.value

    def end_lease(self) -> None:
        """The lease is over: what was ordered under it must not begin any more."""
        self._deadline.value = 0.0
        self._epoch.value += 1

    def may_run(self) -> bool:
        """Whether the lease is good now."""
        return boot_time() < self._deadline.value

    # ---- slots

    def open(self, slot: int) -> None:
        """A new slice is given to a slot: nothing of it has been taken."""
        at = _HEAD + slot * _SLOT
        self._memory[at : at + _SLOT] = bytes((IDLE, 0, 0))

    def mark(self, slot: int, value: int) -> None:
        """Say what a slot does."""
        self._memory[_HEAD + slot * _SLOT + _DOING] = min(value, 255)

    def read(self, slot: int) -> int:
        """What a slot does, or did when its process died."""
        return self._memory[_HEAD + slot * _SLOT + _DOING]

    def running(self, slot: int) -> int | None:
        """Which job of the slice has its body running, or had when its process died; None between bodies."""
        doing = self.read(slot) - BODY
        return doing if doing >= 0 else None

    def taken(self, slot: int) -> int:
        """How many jobs of the slice have been begun or passed over."""
        return self._memory[_HEAD + slot * _SLOT + _TAKEN]

    def take(self, slot: int, index: int) -> bool:
        """Begin the `index`-th job of the slice, unless the slice has been closed."""
        at = _HEAD + slot * _SLOT
        fcntl.lockf(self._gates, fcntl.LOCK_EX, 1, slot)
        try:
            if self._memory[at + _CLOSED]:
                return False
            self._memory[at + _TAKEN] = index + 1
            self._memory[at + _DOING] = BODY + index
            return True
        finally:
            fcntl.lockf(self._gates, fcntl.LOCK_UN, 1, slot)

    def close(self, slot: int) -> int | None:
        """Let nothing more of the slice begin; how much of it has been taken, None if it is closed already.

        Raises BlockingIOError rather than wait for a process that stands still in the middle of `take`.
        """
        at = _HEAD + slot * _SLOT
        fcntl.lockf(self._gates, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
        try:
            if self._memory[at + _CLOSED]:
                return None
            self._memory[at + _CLOSED] = 1
            return self._memory[at + _TAKEN]
        finally:
            fcntl.lockf(self._gates, fcntl.LOCK_UN, 1, slot)
