"""The port of an event log, as a consumer process sees it: which lanes are ours, and what is in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trilho.events.event import StoredEvent
from trilho.events.store import Lane, Position
from trilho.log import get_logger

log = get_logger("trilho.consumer")


@dataclass(frozen=True, slots=True)
class Change:
    """Lanes that we have to let go as soon as nothing of them is in hand, and those that are ours from now on.

    A lane may be in both: then it was ours before, and begins anew.
    """

    taken: dict[Lane, Position] = field(default_factory=dict)
    leaving: frozenset[Lane] = frozenset()


NOTHING = Change()


class Log(Protocol):
    """One event log for all groups of one consumer process; rings its bell with the topics that have something new."""

    def refresh(self) -> Change:
        """What changed about our share of the partitions; called all the time."""
        ...

    def release(self, lanes: Sequence[Lane]) -> None:
        """Nothing of these lanes is in hand any more: others may have them."""
        ...

    def fetch(self, lane: Lane, now: Position, limit: int) -> list[StoredEvent]:
        """Up to `limit` events from a position on; must not wait for more."""
        ...

    def done(self, lane: Lane, now: Position) -> None:
        """What comes before this position is committed."""
        ...

    def close(self) -> None:
        """Leave all groups."""
        ...


def report_expired(lane: Lane, count: int) -> None:
    """The alarm for events that the log dropped before the group had read them."""
    log.error(
        "events.expired",
        group=lane.group,
        topic=lane.topic,
        partition=lane.partition,
        count=count,
        hint="the topic keeps its events for too short a time for this group",
    )
