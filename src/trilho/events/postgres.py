"""The PostgreSQL log for one consumer process: members find each other by their leases and deal the partitions out."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import UUID

from psycopg.errors import LockNotAvailable

from trilho.db.pool import Connection, Database
from trilho.db.wakeups import Bell, Listener
from trilho.events import store
from trilho.events.assignment import dealt
from trilho.events.event import StoredEvent
from trilho.events.log import NOTHING, Change, report_expired
from trilho.events.store import Lane, Position
from trilho.events.subscription import ByTopic
from trilho.events.takeover import take_over
from trilho.events.transfer import arrival
from trilho.log import get_logger

log = get_logger("trilho.consumer")

REFRESH = 1.0


def arrived(bell: Bell, seconds: float) -> set[str]:
    """The topics that the bell rings for."""
    bell.wait(seconds)
    prefix = arrival("")
    return {key.removeprefix(prefix) for key in bell.take()}


@dataclass
class PostgresLog:
    """Reads `trilho.log`; `me` gives the incarnation, which changes when a lease was lost."""

    database: Database
    subscriptions: ByTopic
    me: Callable[[], UUID]
    bell: Bell = field(default_factory=Bell)
    _owned: dict[Lane, UUID] = field(default_factory=dict)
    _entered: UUID | None = None
    _refresh_at: float = 0.0
    _stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        keys = {arrival(topic) for _, topic in self.subscriptions}
        self._stack.enter_context(Listener(self.database).watching(keys, self.bell))

    def refresh(self) -> Change:
        """Look who else is there, and share the partitions with them; every second is enough."""
        me, now = self.me(), time.monotonic()
        if now < self._refresh_at and me == self._entered:
            return NOTHING
        self._refresh_at = now + REFRESH
        lost = {lane for lane, owner in self._owned.items() if owner != me}
        for lane in lost:
            del self._owned[lane]
        with self.database.connection() as connection:
            self._enter(connection, me)
            identities = store.topic_identities(connection, {topic for _, topic in self.subscriptions})
            mine = {group: self._deal(connection, group, identities, me) for group, _ in self.subscriptions}
            leaving = {lane for lane in self._owned if lane not in mine.get(lane.group, ())}
            taken = {
                lane: position
                for group, lanes in mine.items()
                for lane, position in self._take(connection, group, lanes, me).items()
            }
        return Change(taken, frozenset(lost | leaving))

    def _enter(self, connection: Connection, me: UUID) -> None:
        if self._entered != me:
            store.enter_groups(connection, sorted({group for group, _ in self.subscriptions}), me)
            self._entered = me

    def _deal(self, connection: Connection, group: str, identities: dict[str, tuple[str, int]], me: UUID) -> set[Lane]:
        topics = [
            (topic, identities[topic][1]) for g, topic in self.subscriptions if g == group and topic in identities
        ]
        share = dealt(store.members(connection, group), topics, me)
        return {
            Lane(group, identities[topic][0], topic, partition)
            for topic, partitions in share.items()
            for partition in partitions
        }

    def _take(self, connection: Connection, group: str, mine: set[Lane], me: UUID) -> dict[Lane, Position]:
        taken: dict[Lane, Position] = {}
        wanted = [lane for lane in mine if lane not in self._owned]
        for topic in sorted({lane.topic for lane in wanted}):
            lanes = {lane.partition: lane for lane in wanted if lane.topic == topic}
            any_lane = next(iter(lanes.values()))
            latest = self.subscriptions[group, topic].start == "latest"
            store.begin_group(connection, any_lane, max(lanes) + 1, latest)
            for partition, position in self._take_topic(connection, any_lane, sorted(lanes), me).items():
                lane = lanes[partition]
                taken[lane], self._owned[lane] = position, me
        return taken

    def _take_topic(self, connection: Connection, lane: Lane, wanted: Sequence[int], me: UUID) -> dict[int, Position]:
        free = store.free_partitions(connection, lane, wanted, me)
        if not free:
            return {}
        try:
            return take_over(connection, lane, free, lambda: store.take_partitions(connection, lane, list(free), me))
        except LockNotAvailable:
            return {}

    def release(self, lanes: Sequence[Lane]) -> None:
        """Let others have these lanes."""
        for lane in lanes:
            owner = self._owned.pop(lane, None)
            if owner is not None:
                self.database.run(store.give_up_partitions, lane, [lane.partition], owner)

    def fetch(self, lane: Lane, now: Position, limit: int) -> list[StoredEvent]:
        """Up to `limit` events from a position on."""
        events = self.database.run(store.fetch, lane, now.offset, limit)
        if events and events[0].offset > now.offset:
            report_expired(lane, events[0].offset - now.offset)
        return events

    def done(self, lane: Lane, now: Position) -> None:
        """Nobody else has to know."""

    def position(self, lane: Lane) -> Position | None:
        """Where PostgreSQL has the lane."""
        return self.database.run(store.position, lane)

    def wait(self, seconds: float) -> set[str]:
        """Wait until topics may have something new."""
        return arrived(self.bell, seconds)

    def wake(self) -> None:
        """End a wait."""
        self.bell.ring(None)

    def close(self) -> None:
        """Leave all groups."""
        self._stack.close()
        self.release(list(self._owned))
        if self._entered is not None:
            self.database.run(store.leave_groups, self._entered)
