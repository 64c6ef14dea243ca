"""What people ask about streams and do to them: `app.streams`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from trilho.db.pool import Connection, brief_transaction
from trilho.db.sql import beside
from trilho.errors import KafkaAway, KafkaRefused, UnknownTopic
from trilho.events import store
from trilho.events.event import Event, StoredEvent
from trilho.events.groups import Groups
from trilho.events.handling import lane_of, parked_row
from trilho.events.kafka.store import GROUP as RELAY
from trilho.events.log_admin import LogAdmin
from trilho.events.partition import hash_of, shard_of
from trilho.events.pipes import admins_of
from trilho.events.reading import Reading, event_of
from trilho.events.reset import ResetTarget
from trilho.events.rows import rows_as
from trilho.events.store import Lane
from trilho.events.topic import MAX_DAYS, PARTITIONS, Topic, kept
from trilho.events.views import (
    DeadLetter,
    GroupView,
    LagView,
    MemberView,
    OutboxView,
    ParkedKeyView,
    PartitionView,
    ResetView,
    TopicView,
    WaitingView,
)

if TYPE_CHECKING:
    from trilho.app import Trilho

SQL = beside(__file__, "admin.sql")
LOCKS_FOR = 10.0
R = TypeVar("R")

_PLAIN = Reading.of(Any)


class Streams:
    """Looks at topics, groups, parked keys and dead letters, and steers them."""

    def __init__(self, app: "Trilho") -> None:
        self._app = app

    @cached_property
    def _groups(self) -> Groups:
        return Groups(self._app.database, *admins_of(self._app.database))

    @property
    def _log(self) -> LogAdmin:
        return self._groups.log

    # ---- topics and events

    def topics(self) -> list[TopicView]:
        """All topics."""
        return self._log.topics()

    def topic(self, name: str) -> tuple[TopicView, list[PartitionView]]:
        """One topic with its partitions; raises UnknownTopic."""
        extents = self._log.extents([name])
        partitions = [PartitionView(place[1], one.first, one.next) for place, one in sorted(extents.items())]
        return self._topic(name), partitions

    def create(self, name: str, partitions: int | None = None, days: float | None = None) -> int:
        """Make a topic, or give it more partitions; returns how many it had before, 0 if it is new.

        Without `partitions` a new topic has 6, without `days` it keeps its events for ever; another one is left as it
        is. Keys move to other partitions when their number grows: events of a key from before and after are not in
        order among themselves. Raises ValueError for a name that Kafka refuses, and for fewer partitions than it has.
        """
        made = Topic(name, PARTITIONS if partitions is None else partitions, kept(days))
        return self._log.create(changed(made, self._log.topics(name), partitions, days))

    def tail(self, topic: str, limit: int = 10, partition: int | None = None) -> list[Event[Any]]:
        """The newest events of a topic, newest first; raises UnknownTopic."""
        if not self._log.identities([topic]):
            raise UnknownTopic(topic)
        return [shown(row) for row in self._log.tail(topic, limit, partition)]

    def event(self, topic: str, partition: int, offset: int) -> Event[Any] | None:
        """One event; None if it is not there (any more)."""
        found = self._log.event(topic, partition, offset)
        return shown(found) if found is not None else None

    def outbox(self) -> OutboxView:
        """What the relay has not moved yet, and who relays."""
        waiting = self._views(WaitingView, "outbox")
        relays = self._app.database.run(lambda c: [row[0] for row in c.execute(SQL["relays"])])
        return OutboxView(waiting, relays, self._trouble([one.topic for one in waiting]))

    def _topic(self, name: str) -> TopicView:
        found = self._log.topics(name)
        if not found:
            raise UnknownTopic(name)
        return found[0]

    def _trouble(self, topics: Sequence[str]) -> str | None:
        try:
            self._log.identities(topics)
        except (KafkaAway, KafkaRefused) as error:
            return str(error)
        return None

    # ---- groups

    def groups(self) -> list[GroupView]:
        """All groups that have read something, with their lag; on Kafka those of other programs too."""
        return self._groups.all()

    def lag(self, group: str) -> list[LagView]:
        """Each partition of a group, and what it has left of the PostgreSQL log on the way to Kafka.

        Raises UnknownGroup.
        """
        return self._groups.lag(group)

    def members(self, group: str) -> list[MemberView]:
        """Who reads for a group now."""
        return self._groups.members(group)

    def reset(self, group: str, topic: str, target: ResetTarget, dry_run: bool = False) -> list[ResetView]:
        """Let a group read from another place; its parked keys of the topic are forgotten.

        Raises UnknownGroup, and GroupActive while members are there: they would go on from where they are.
        """
        return self._groups.reset(group, topic, target, dry_run)

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

        One that Kafka refused is published again. Returns how many there were; what was settled before is left alone.
        """
        with self._app.database.connection() as connection, brief_transaction(connection, LOCKS_FOR):
            count = _replay(connection, numbers)
        self._app.bus.outbox.nudge()
        return count

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
        rows: list[dict[str, Any]] = self._views(dict, "dead_letters", **values)
        return [DeadLetter.of(row) for row in rows]

    def _views(self, kind: Callable[..., R], query: str, **values: Any) -> list[R]:
        return rows_as(self._app.database, kind, SQL[query], **values)


def changed(made: Topic, known: Sequence[TopicView], partitions: int | None, days: float | None) -> Topic:
    """The topic as it is to be, where it exists already and only some of it was said; raises ValueError."""
    if not known:
        return made
    [has] = known
    if partitions is not None and partitions < has.partitions:
        raise ValueError(f"topic {made.name!r} has {has.partitions} partitions, and they only grow: not {partitions}")
    retention, seconds = made.retention, has.retention_seconds
    if days is None and seconds is not None and seconds <= MAX_DAYS * 86_400:
        retention = timedelta(seconds=seconds)
    return replace(made, partitions=partitions or has.partitions, retention=retention)


def shown(stored: StoredEvent) -> Event[Any]:
    """An event as people see it; data that is no JSON stays bytes."""
    try:
        data = _PLAIN(stored)
    except ValueError:
        data = stored.data
    return event_of(stored, data, 1)


def _settle(connection: Connection, numbers: Sequence[int], how: str) -> list[tuple[int, str, StoredEvent]]:
    rows = connection.execute(SQL["settle_dead_letters"], {"numbers": list(numbers), "how": how}).fetchall()
    return [(row[0], row[1], StoredEvent(*row[2:])) for row in sorted(rows, key=lambda row: row[0])]


def _replay(connection: Connection, numbers: Sequence[int]) -> int:
    settled = _settle(connection, numbers, "replayed")
    waiting = [(Lane(group, "", event.topic, event.partition), event) for _, group, event in settled if group != RELAY]
    # All keys first, in one order: two replays of the same keys must not wait for each other.
    for lane, event in sorted(waiting, key=lambda one: (one[0].group, one[0].topic, lane_of(one[1]))):
        store.park_key(connection, lane, lane_of(event), "replayed", 0.0)
    for lane, event in waiting:
        store.park_events(connection, lane, [parked_row(event)])
    for number, group, event in settled:
        if group == RELAY:
            hash_ = hash_of(event.key)
            values = {"number": number, "hash": hash_, "shard": shard_of(event.topic, hash_)}
            connection.execute(SQL["publish_again"], values)
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
