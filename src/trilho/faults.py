"""Named fault points: where durability is decided, a test can end, stop or fail the process.

`TRILHO_FAULT="finish.before=kill@3"` kills the process the third time it passes `finish.before`. Without the variable a
point costs one dictionary look-up.
"""

import os
import signal
from collections import Counter
from dataclasses import dataclass, field


class FaultTripped(Exception):
    """Raised by a fault point armed with `raise`."""


@dataclass(frozen=True)
class Fault:
    """One armed point: what happens at its n-th pass."""

    point: str
    action: str
    nth: int = 1


def parse(text: str) -> dict[str, Fault]:
    """Armed points from `name=action[@nth],…`; raises ValueError for an unknown action."""
    faults = (_parse_one(part) for part in text.split(",") if part)
    return {fault.point: fault for fault in faults}


def _parse_one(text: str) -> Fault:
    point, _, rest = text.partition("=")
    action, _, nth = rest.partition("@")
    if action not in _ACTIONS:
        raise ValueError(f"unknown fault action {action!r} at {point!r}: choose one of {', '.join(_ACTIONS)}")
    return Fault(point.strip(), action, int(nth or 1))


@dataclass
class Faults:
    """The armed points of one process."""

    armed: dict[str, Fault] = field(default_factory=dict)
    passes: Counter[str] = field(default_factory=Counter)

    def hit(self, point: str) -> None:
        """Pass a point: nothing happens unless a test armed it."""
        fault = self.armed.get(point)
        if fault is None:
            return
        self.passes[point] += 1
        if self.passes[point] == fault.nth:
            _ACTIONS[fault.action](point)


def _kill(point: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(point: str) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _raise(point: str) -> None:
    raise FaultTripped(point)


_ACTIONS = {"kill": _kill, "stop": _stop, "raise": _raise}
