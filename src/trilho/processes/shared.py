"""Memory that a worker shares with its pool processes: until when the lease is good, and what each slot does."""

import ctypes
import mmap
import time

IDLE = 0
CLAIMED = 1
BODY = 2  # BODY + n: the body of the n-th job of the slice runs

_HEAD = 16


def boot_time() -> float:
    """Seconds since boot, including those in which the machine slept."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SharedState:
    """Must exist before the pool forks. Every field is written by one side only."""

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, _HEAD + slots)
        self._deadline = ctypes.c_double.from_buffer(self._memory)
        self._epoch = ctypes.c_double.from_buffer(self._memory, 8)
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

    def mark(self, slot: int, value: int) -> None:
        """Say what a slot does."""
        self._memory[_HEAD + slot] = min(value, 255)

    def read(self, slot: int) -> int:
        """What a slot does, or did when its process died."""
        return self._memory[_HEAD + slot]
