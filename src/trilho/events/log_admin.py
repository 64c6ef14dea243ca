"""The port of an event log as administration sees it: topics, events, ends, and what the log itself knows of groups."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

from trilho.events.event import StoredEvent
from trilho.events.topic import Topic
from trilho.events.views import MemberView, TopicView

Place: TypeAlias = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition has: offsets from `first` up to, and without, `next`."""

    first: int
    next: int


@dataclass(frozen=True, slots=True)
class LogGroup:
    """A group as the log knows it beside PostgreSQL: only Kafka has members that are not ours, and a state."""

    state: str | None = None
    members: tuple[MemberView, ...] = ()
    readers: Mapping[Place, str] = field(default_factory=dict)
    committed: Mapping[Place, int] = field(default_factory=dict)


class LogAdmin(Protocol):
    """One event log; identities of its topics begin with `kind`."""

    @property
    def kind(self) -> str:
        """`postgres` or `kafka`."""
        ...

    def topics(self, name: str | None = None) -> list[TopicView]:
        """All topics, or the one of this name."""
        ...

    def identities(self, topics: Collection[str]) -> dict[str, str]:
        """Log identities of those topics that exist."""
        ...

    def create(self, topic: Topic) -> int:
        """Make or grow a topic; returns how many partitions it had before."""
        ...

    def extents(self, topics: Collection[str]) -> dict[Place, Extent]:
        """What the partitions of those topics have that exist."""
        ...

    def ends(self, places: Collection[Place]) -> dict[Place, int]:
        """The offset behind the last event of each of these partitions that exist."""
        ...

    def offsets_at(self, topic: str, partitions: Collection[int], when: datetime) -> dict[int, int]:
        """The first offset whose event came at this time or later, where there is one."""
        ...

    def tail(self, topic: str, limit: int, partition: int | None) -> list[StoredEvent]:
        """The newest events of a topic that exists, newest first."""
        ...

    def event(self, topic: str, partition: int, offset: int) -> StoredEvent | None:
        """One event; None if it is not there."""
        ...

    def groups(self, names: Collection[str] | None) -> dict[str, LogGroup]:
        """What the log knows of these groups, or of all that it knows."""
        ...

    def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Tell the log where a group reads from now on; raises GroupActive if the log knows members of it."""
        ...
