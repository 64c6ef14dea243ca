"""What changes hands between the threads that poll Kafka and the one that gives lanes work."""

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from trilho.events.log import Change
from trilho.events.store import Lane, Position


@dataclass
class Shares:
    """Lanes on their way in and out; `held` ones are out there, and may have something in hand."""

    _taken: dict[Lane, Position] = field(default_factory=dict)
    _leaving: set[Lane] = field(default_factory=set)
    _held: set[Lane] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    def give(self, lanes: Mapping[Lane, Position]) -> None:
        """These are ours."""
        with self._changed:
            self._taken |= lanes

    def ask_back(self, lanes: Collection[Lane]) -> None:
        """These are ours no longer."""
        with self._changed:
            for lane in lanes:
                if self._taken.pop(lane, None) is None:
                    self._leaving.add(lane)

    def wait_for(self, lanes: Collection[Lane], patience: float) -> bool:
        """Wait until nothing of these lanes is in hand; whether that came true in time (seconds)."""
        deadline = time.monotonic() + patience
        with self._changed:
            while not self._closed and not self._held.isdisjoint(lanes):
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def holds(self, lane: Lane) -> bool:
        """Whether something of this lane may be in hand."""
        with self._changed:
            return lane in self._held

    def changes(self) -> Change:
        """What came and went since the last call; what came is held from now on."""
        with self._changed:
            change = Change(self._taken, frozenset(self._leaving))
            self._held |= self._taken.keys()
            self._taken, self._leaving = {}, set()
            return change

    def release(self, lanes: Collection[Lane]) -> None:
        """Nothing of these lanes is in hand any more."""
        with self._changed:
            self._held.difference_update(lanes)
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody has anything in hand any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
