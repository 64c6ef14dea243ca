"""The port of an event log, as a consumer process sees it: which lanes are ours, and what is in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trilho.events.event import StoredEvent
from trilho.events.store import Lane, Position


@dataclass(frozen=True, slots=True)
class Change:
    """Lanes that are ours from now on, and those that we have to let go as soon as nothing of them is in hand."""

    taken: dict[Lane, Position]
    leaving: frozenset[Lane]


class Log(Protocol):
    """One event log for all groups of one consumer process."""

    def refresh(self) -> Change:
        """Look who else is there, and share the partitions with them."""
        ...

    def release(self, lanes: Sequence[Lane]) -> None:
        """Let others have these lanes."""
        ...

    def fetch(self, lane: Lane, now: Position, limit: int) -> list[StoredEvent]:
        """Up to `limit` events from a position on; must not wait for more."""
        ...

    def position(self, lane: Lane) -> Position | None:
        """Where PostgreSQL has the lane; None if it is not ours any more."""
        ...

    def wait(self, seconds: float) -> set[str]:
        """Wait until topics may have something new; returns them, or nothing when nobody can tell."""
        ...

    def close(self) -> None:
        """Leave all groups."""
        ...
