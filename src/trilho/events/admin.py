"""What people ask about streams and do to them: `app.streams`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from psycopg.rows import class_row, dict_row

from trilho.db.pool import Connection, brief_transaction
from trilho.db.sql import beside
from trilho.errors import GroupActive, UnknownGroup, UnknownTopic
from trilho.events import store
from trilho.events.event import Event, StoredEvent
from trilho.events.handling import lane_of, parked_row
from trilho.events.reading import Reading, event_of
from trilho.events.store import Lane, rows_json
from trilho.events.topic import Topic
from trilho.events.views import (
    DeadLetter,
    GroupView,
    LagView,
    MemberView,
    ParkedKeyView,
    PartitionView,
    ResetView,
    TopicView,
)

if TYPE_CHECKING:
    from trilho.app import Trilho

SQL = beside(__file__, "admin.sql")
ResetTo = Literal["earliest", "latest", "offset", "time"]
LOCKS_FOR = 10.0
R = TypeVar("R")

_PLAIN = Reading.of(None)


@dataclass(frozen=True)
class ResetTarget:
    """Where a group is to read from: `offset` and `time` belong to the values of `to` with their names."""

    to: ResetTo
    offset: int | None = None
    time: datetime | None = None
    partition: int | None = None

    def __post_init__(self) -> None:
        if (self.to == "offset") != (self.offset is not None) or (self.to == "time") != (self.time is not None):
            raise ValueError(
                "a reset to an offset needs offset=, one to a time needs time=, and the others take neither"
            )


class Streams:
    """Looks at topics, groups, parked keys and dead letters, and steers them."""

    def __init__(self, app: "Trilho") -> None:
        self._app = app

    # ---- topics and events

    def topics(self) -> list[TopicView]:
        """All topics."""
        return self._views(TopicView, "topics", name=None)

    def topic(self, name: str) -> tuple[TopicView, list[PartitionView]]:
        """One topic with its partitions; raises UnknownTopic."""
        found = self._views(TopicView, "topics", name=name)
        if not found:
            raise UnknownTopic(name)
        return found[0], self._views(PartitionView, "partitions", topic=name)

    def create(self, name: str, partitions: int, days: float | None = None) -> None:
        """Make a topic, or give it more partitions; raises ValueError for a name that Kafka refuses."""
        made = Topic(name, partitions, None if days is None else timedelta(days=days))
        self._app.database.run(store.declare, [made])

    def tail(self, topic: str, limit: int = 10, partition: int | None = None) -> list[Event[Any]]:
        """The newest events of a topic, newest first; raises UnknownTopic."""
        self.topic(topic)
        rows = self._views(StoredEvent, "tail", topic=topic, limit=limit, partition=partition)
        return [shown(row) for row in rows]

    def event(self, topic: str, partition: int, offset: int) -> Event[Any] | None:
        """One event; None if it is not there (any more)."""
        rows = self._views(StoredEvent, "event", topic=topic, partition=partition, offset=offset)
        return shown(rows[0]) if rows else None

    # ---- groups

    def groups(self) -> list[GroupView]:
        """All groups that have read something, with their lag."""
        return self._views(GroupView, "groups")

    def lag(self, group: str) -> list[LagView]:
        """Each partition of a group; raises UnknownGroup."""
        rows = self._views(LagView, "lag", group=group)
        if not rows:
            raise UnknownGroup(group)
        return rows

    def members(self, group: str) -> list[MemberView]:
        """The processes that read for a group now."""
        return self._views(MemberView, "live_members", group=group)

    def reset(self, group: str, topic: str, target: ResetTarget, dry_run: bool = False) -> list[ResetView]:
        """Let a group read from another place; its parked keys of the topic are forgotten.

        Raises UnknownGroup, and GroupActive while members are there: they would go on from where they are.
        """
        if not dry_run and (names := [member.name for member in self.members(group)]):
            raise GroupActive(group, names)
        with self._app.database.connection() as connection, brief_transaction(connection, LOCKS_FOR):
            rows = _reset(connection, group, topic, target, dry_run)
        if not rows:
            raise UnknownGroup(group)
        return rows

    # ---- what failed

    def dead_letters(
        self,
        group: str | None = None,
        topic: str | None = None,
        *,
        settled: bool = False,
        limit: int = 50,
        before: int | None = None,
    ) -> list[DeadLetter]:
        """Dead letters, newest first; `settled` shows those too that were replayed or discarded."""
        return self._dead(group=group, topic=topic, settled=settled, limit=limit, before=before, number=None)

    def dead_letter(self, number: int) -> DeadLetter | None:
        """One dead letter."""
        found = self._dead(group=None, topic=None, settled=True, limit=1, before=None, number=number)
        return found[0] if found else None

    def replay(self, numbers: Sequence[int]) -> int:
        """Let the groups handle these dead letters again, in their order, behind what waits for the same key.

        Returns how many there were: one that was settled before is left alone.
        """
        with self._app.database.connection() as connection, brief_transaction(connection, LOCKS_FOR):
            return _replay(connection, numbers)

    def discard(self, numbers: Sequence[int]) -> int:
        """Settle dead letters without handling them; returns how many there were."""
        return len(self._app.database.run(_settle, numbers, "discarded"))

    def parked(self, group: str | None = None, topic: str | None = None, limit: int = 50) -> list[ParkedKeyView]:
        """Keys that wait, the longest-waiting first."""
        return self._views(ParkedKeyView, "parked_keys", group=group, topic=topic, limit=limit)

    def retry_parked(self, group: str, topic: str, lane: str) -> bool:
        """Try a parked key now; whether it is there."""
        values = {"group": group, "topic": topic, "lane": lane}
        return self._app.database.run(lambda c: c.execute(SQL["retry_parked"], values).rowcount > 0)

    def skip_parked(self, group: str, topic: str, lane: str) -> bool:
        """Make the head of a parked key a dead letter, so that what waits behind it goes on; whether it is there."""
        with self._app.database.connection() as connection, brief_transaction(connection, LOCKS_FOR):
            return _skip(connection, Lane(group, "", topic, -1), lane)

    def _dead(self, **values: Any) -> list[DeadLetter]:
        def look(connection: Connection) -> list[DeadLetter]:
            with connection.cursor(row_factory=dict_row) as cursor:
                return [DeadLetter.of(row) for row in cursor.execute(SQL["dead_letters"], values)]

        return self._app.database.run(look)

    def _views(self, kind: Callable[..., R], query: str, **values: Any) -> list[R]:
        def look(connection: Connection) -> list[R]:
            with connection.cursor(row_factory=class_row(kind)) as cursor:  # type: ignore[arg-type]
                return cursor.execute(SQL[query], values).fetchall()

        return self._app.database.run(look)


def shown(stored: StoredEvent) -> Event[Any]:
    """An event as people see it; data that is no JSON stays bytes."""
    try:
        data = _PLAIN(stored)
    except ValueError:
        data = stored.data
    return event_of(stored, data, 1)


def _reset(connection: Connection, group: str, topic: str, target: ResetTarget, dry_run: bool) -> list[ResetView]:
    where = {"group": group, "topic": topic}
    values = where | {"to": target.to, "offset": target.offset, "time": target.time, "partition": target.partition}
    with connection.cursor(row_factory=class_row(ResetView)) as cursor:
        rows = cursor.execute(SQL["reset_targets"], values).fetchall()
    if rows and not dry_run:
        moves = [{"partition": row.partition, "to": row.to} for row in rows]
        connection.execute(SQL["reset"], where | {"rows": rows_json(moves)})
        connection.execute(SQL["clear_parked"], where | {"partitions": [row.partition for row in rows]})
    return rows


def _settle(connection: Connection, numbers: Sequence[int], how: str) -> list[tuple[str, StoredEvent]]:
    rows = connection.execute(SQL["settle_dead_letters"], {"numbers": list(numbers), "how": how}).fetchall()
    return [(row[1], StoredEvent(*row[2:])) for row in sorted(rows)]


def _replay(connection: Connection, numbers: Sequence[int]) -> int:
    settled = _settle(connection, numbers, "replayed")
    for group, event in settled:
        lane = Lane(group, "", event.topic, event.partition)
        store.park_key(connection, lane, lane_of(event), "replayed", 0.0)
        store.park_events(connection, lane, [parked_row(event)])
    return len(settled)


def _skip(connection: Connection, lane: Lane, key: str) -> bool:
    values = lane.values() | {"lane": key}
    found = connection.execute(SQL["lock_parked_key"], values).fetchone()
    head = store.head_of(connection, lane, key) if found is not None else None
    if found is None or head is None:
        return False
    parked = store.ParkedEvent(key, found[0], head[1], head[0])
    store.bury(connection, lane, parked.event, parked.attempts, found[1] or "skipped")
    store.settle_parked(connection, lane, parked)
    return True
