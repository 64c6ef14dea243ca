"""The PostgreSQL log for one consumer process: members find each other by their leases and deal the partitions out."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from psycopg.errors import LockNotAvailable

from trilho.db.pool import Connection, Database
from trilho.db.wakeups import Bell, Listener
from trilho.events import store
from trilho.events.arrivals import arrival
from trilho.events.assignment import Members, dealt
from trilho.events.event import StoredEvent
from trilho.events.log import NOTHING, Change, report_expired
from trilho.events.store import Lane, Position
from trilho.events.subscription import ByTopic
from trilho.events.takeover import take_over
from trilho.log import get_logger

log = get_logger("trilho.consumer")

REFRESH = 1.0
Identities: TypeAlias = Mapping[str, tuple[str, int]]
"""Of topics: the log's identity, and the number of partitions."""


@dataclass
class PostgresLog:
    """Reads `trilho.log`; `me` gives the incarnation, which changes when a lease was lost."""

    database: Database
    subscriptions: ByTopic
    me: Callable[[], UUID]
    bell: Bell
    _owned: dict[Lane, int] = field(default_factory=dict)  # with the generation
    _absent: set[str] = field(default_factory=set)  # topics that came later than we did: all in them is new
    _entered: UUID | None = None
    _refresh_at: float = 0.0
    _stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self._all = frozenset(self.subscriptions)  # some are left out while a log is left behind
        keys = {arrival(topic) for _, topic in self._all}
        self._stack.enter_context(Listener(self.database).watching(keys, self.bell))

    def refresh(self) -> Change:
        """Look who else is there, and share the partitions with them; every second is enough."""
        me, now = self.me(), time.monotonic()
        if now < self._refresh_at and me == self._entered:
            return NOTHING
        self._refresh_at = now + REFRESH
        with self.database.connection() as connection:
            if me != self._entered:
                self._enter(connection, me)
            groups = {group for group, _ in self.subscriptions}
            members = {group: store.members(connection, group) for group in groups}
            if any(me not in group for group in members.values()):
                self._enter(connection, me)  # again: we were taken for dead, or our lease was not written yet
            identities = store.topic_identities(connection, set().union(*map(_read, members.values())))
            self._absent |= {topic for _, topic in self.subscriptions} - identities.keys()
            mine = {lane for group in members for lane in self._dealt(group, members[group], identities, me)}
            ours = self._held(connection, mine, me)
            taken = self._take(connection, mine - ours.keys(), identities, me)
        # Last, for what is above may raise: then the next look finds the same again.
        gone = frozenset(self._owned.keys() - (mine & ours.keys()))
        self._owned = ours | {lane: position.generation for lane, position in taken.items()}
        return Change(taken, gone)

    def _enter(self, connection: Connection, me: UUID) -> None:
        with connection.transaction():
            store.enter_groups(connection, sorted({group for group, _ in self._all}), me)
            store.tell_topics(connection, self._all, me)
        self._entered = me

    def _held(self, connection: Connection, mine: set[Lane], me: UUID) -> dict[Lane, int]:
        """Those of our lanes that nobody took or reset; gives up what is ours without our doing anything with it."""
        known = store.owned_partitions(connection, me)
        for lane in known.keys() - self._owned.keys() - mine:  # that it was given up did not reach the server
            store.give_up_partition(connection, lane, me)
        return {lane: generation for lane, generation in self._owned.items() if known.get(lane) == generation}

    def _dealt(self, group: str, members: Members, identities: Identities, me: UUID) -> set[Lane]:
        topics = {topic: identities[topic][1] for topic in _read(members) if topic in identities}
        share = dealt(members, topics, me)
        return {
            Lane(group, identities[topic][0], topic, partition)
            for topic, partitions in share.items()
            for partition in partitions
            if (group, topic) in self.subscriptions
        }

    def _take(
        self, connection: Connection, wanted: set[Lane], identities: Identities, me: UUID
    ) -> dict[Lane, Position]:
        taken: dict[Lane, Position] = {}
        for group, topic in sorted({(lane.group, lane.topic) for lane in wanted}):
            lanes = {lane.partition: lane for lane in wanted if (lane.group, lane.topic) == (group, topic)}
            any_lane = next(iter(lanes.values()))
            latest = self.subscriptions[group, topic].start == "latest" and topic not in self._absent
            store.begin_group(connection, any_lane, identities[topic][1], latest)
            found = self._take_topic(connection, any_lane, sorted(lanes), me)
            taken |= {lanes[partition]: position for partition, position in found.items()}
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
            if self._owned.pop(lane, None) is not None and self._entered is not None:
                self.database.run(store.give_up_partition, lane, self._entered)

    def fetch(self, lane: Lane, now: Position, limit: int) -> list[StoredEvent]:
        """Up to `limit` events from a position on."""
        events = self.database.run(store.fetch, lane, now.offset, limit)
        if events and events[0].offset > now.offset:
            report_expired(lane, events[0].offset - now.offset)
        return events

    def done(self, lane: Lane, now: Position) -> None:
        """Nobody else has to know."""

    def close(self) -> None:
        """Leave all groups."""
        self._stack.close()
        self.release(list(self._owned))
        if self._entered is not None:
            self.database.run(store.leave_groups, self._entered)


def _read(members: Members) -> set[str]:
    """The topics of a group."""
    return {topic for topics in members.values() for topic in topics or ()}
