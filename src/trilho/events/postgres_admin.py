"""Administration of the PostgreSQL log."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from trilho.db.pool import Database
from trilho.db.sql import beside
from trilho.events import store
from trilho.events.event import StoredEvent
from trilho.events.log_admin import Extent, LogGroup, Place
from trilho.events.rows import rows_as
from trilho.events.topic import Topic
from trilho.events.views import TopicView

SQL = beside(__file__, "postgres_admin.sql")
R = TypeVar("R")


@dataclass(frozen=True)
class PostgresAdmin:
    """Answers from `trilho.log`. Groups are rows of PostgreSQL only, so the log knows nothing of them by itself."""

    database: Database
    kind: str = "postgres"

    def topics(self, name: str | None = None) -> list[TopicView]:
        """All topics, or the one of this name."""
        return self._views(TopicView, "topics", name=name)

    def identities(self, topics: Collection[str]) -> dict[str, str]:
        """Log identities of those topics that exist."""
        found = self.database.run(store.topic_identities, topics)
        return {topic: log for topic, (log, _) in found.items()}

    def create(self, topic: Topic) -> int:
        """Make or grow a topic; returns how many partitions it had before."""
        found = self.topics(topic.name)
        self.database.run(store.declare, [topic])
        return found[0].partitions if found else 0

    def extents(self, topics: Collection[str]) -> dict[Place, Extent]:
        """What the partitions have; one that was never written to is empty."""
        rows = self._rows("extents", topics=list(topics))
        return {(topic, partition): Extent(first, next_) for topic, partition, first, next_ in rows}

    def ends(self, places: Collection[Place]) -> dict[Place, int]:
        """The offset behind the last event of each partition: here offsets have no gaps."""
        extents = self.extents({topic for topic, _ in places})
        return {place: extents[place].next for place in places if place in extents}

    def offsets_at(self, topic: str, partitions: Collection[int], when: datetime) -> dict[int, int]:
        """The first offset whose event came at this time or later, where there is one."""
        return dict(self._rows("offsets_at", topic=topic, partitions=list(partitions), time=when))

    def tail(self, topic: str, limit: int, partition: int | None) -> list[StoredEvent]:
        """The newest events of a topic, newest first."""
        return self._views(StoredEvent, "tail", topic=topic, limit=limit, partition=partition)

    def event(self, topic: str, partition: int, offset: int) -> StoredEvent | None:
        """One event."""
        found = self._views(StoredEvent, "event", topic=topic, partition=partition, offset=offset)
        return found[0] if found else None

    def groups(self, names: Collection[str] | None) -> dict[str, LogGroup]:
        """Nothing."""
        return {}

    def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Nothing has to be told."""

    def _rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        return self.database.run(lambda connection: connection.execute(SQL[query], values).fetchall())

    def _views(self, kind: Callable[..., R], query: str, **values: Any) -> list[R]:
        return rows_as(self.database, kind, SQL[query], **values)
