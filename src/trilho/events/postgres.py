"""The PostgreSQL log for one consumer process: members find each other by their leases and deal the partitions out."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from uuid import UUID

from trilho.db.pool import Connection, Database
from trilho.db.wakeups import Bell, Listener
from trilho.events import store
from trilho.events.assignment import dealt
from trilho.events.event import StoredEvent
from trilho.events.handling import backend_name
from trilho.events.log import Change
from trilho.events.relay import arrival
from trilho.events.store import Lane, Position
from trilho.events.subscription import ByTopic
from trilho.log import get_logger

log = get_logger("trilho.consumer")


@dataclass
class PostgresLog:
    """Reads `trilho.log`; `me` gives the incarnation, which changes when a lease was lost."""

    database: Database
    subscriptions: ByTopic
    me: Callable[[], UUID]
    _owned: dict[Lane, UUID] = field(default_factory=dict)
    _entered: UUID | None = None
    _bell: Bell = field(default_factory=Bell)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        keys = {arrival(topic) for _, topic in self.subscriptions}
        self._stack.enter_context(Listener(self.database).watching(keys, self._bell))

    def refresh(self) -> Change:
        """Look who else is there, and share the partitions with them."""
        me = self.me()
        lost = frozenset(lane for lane, owner in self._owned.items() if owner != me)
        for lane in lost:
            del self._owned[lane]
        taken: dict[Lane, Position] = {}
        leaving: set[Lane] = set(lost)
        with self.database.connection() as connection:
            self._enter(connection, me)
            identities = store.topic_identities(connection, {topic for _, topic in self.subscriptions})
            for group in {group for group, _ in self.subscriptions}:
                mine = self._deal(connection, group, identities, me)
                leaving |= {lane for lane in self._owned if lane.group == group and lane not in mine}
                taken |= self._take(connection, group, mine, me)
        return Change(taken, frozenset(leaving))

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
            for partition, position in store.take_partitions(connection, any_lane, sorted(lanes), me).items():
                lane = lanes[partition]
                store.end_backends(connection, [backend_name(lane, position.generation - 1)])
                taken[lane], self._owned[lane] = position, me
        return taken

    def release(self, lanes: Sequence[Lane]) -> None:
        """Let others have these lanes."""
        for lane in lanes:
            owner = self._owned.pop(lane, None)
            if owner is not None:
                self.database.run(store.give_up_partitions, lane, [lane.partition], owner)

    def fetch(self, lane: Lane, now: Position, limit: int) -> list[StoredEvent]:
        """Up to `limit` events from a position on."""
        return self.database.run(store.fetch, lane, now.offset, limit)

    def position(self, lane: Lane) -> Position | None:
        """Where PostgreSQL has the lane; None if it is not ours any more."""
        return self.database.run(store.position, lane, self.me())

    def wait(self, seconds: float) -> set[str]:
        """Wait until topics may have something new."""
        self._bell.wait(seconds)
        prefix = arrival("")
        return {key.removeprefix(prefix) for key in self._bell.take()}

    def close(self) -> None:
        """Leave all groups."""
        self._stack.close()
        self.release(list(self._owned))
        if self._entered is not None:
            self.database.run(store.leave_groups, self._entered)
