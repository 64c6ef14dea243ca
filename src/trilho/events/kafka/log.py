"""Apache Kafka as the event log of one consumer process: a member of each group, and a look at what changes there."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from trilho.db.pool import LOST, Database
from trilho.db.wakeups import Bell
from trilho.errors import KafkaAway, KafkaRefused
from trilho.events import store
from trilho.events.arrivals import arrival
from trilho.events.event import StoredEvent
from trilho.events.kafka.buffer import Buffer
from trilho.events.kafka.cluster import Cluster
from trilho.events.kafka.configuration import configuration, prefix_of
from trilho.events.kafka.member import Member
from trilho.events.kafka.message import Fetched
from trilho.events.kafka.shares import Shares
from trilho.events.kafka.store import installation
from trilho.events.kafka.taking import Taking
from trilho.events.log import Change
from trilho.events.store import Lane, Position
from trilho.events.subscription import ByTopic
from trilho.log import get_logger

log = get_logger("trilho.consumer")

LOOK = 2.0
LOOK_FOR_STRANGERS = 5
"""In looks."""
LEAVING = 10.0


@dataclass
class KafkaLog:
    """Reads topics of a cluster; `me` gives the incarnation of this process, which changes when a lease was lost."""

    database: Database
    subscriptions: ByTopic
    me: Callable[[], UUID]
    bell: Bell
    _members: dict[str, Member] = field(default_factory=dict)
    _shares: Shares = field(default_factory=Shares)
    _entered: UUID | None = None
    _prefix: str = ""
    _closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.cluster = Cluster.of(self.database.settings)
        self._groups = sorted({group for group, _ in self.subscriptions})
        self._watch = threading.Thread(target=self._look, name="trilho-kafka-watch", daemon=True)

    def _begin(self, me: UUID) -> None:
        self._prefix = prefix_of(self.database.run(installation))
        for group in self._groups:
            self._members[group] = self._member(group, f"{self._prefix}{me}")
        for member in self._members.values():
            member.start()
        self._watch.start()

    def _member(self, group: str, name: str) -> Member:
        own = {topic: one for (g, topic), one in self.subscriptions.items() if g == group}
        return Member(
            cluster=self.cluster,
            taking=Taking(self.database, self.cluster, self.me),
            shares=self._shares,
            starts={topic: one.start for topic, one in own.items()},
            unfenced={topic for topic, one in own.items() if not one.transactional},
            config=configuration(self.cluster, group, name, self.database.settings.kafka_group_protocol),
            ring=lambda topic: self.bell.ring(None if topic is None else arrival(topic)),
        )

    # ---- the port

    def refresh(self) -> Change:
        """What Kafka gave us and took from us."""
        me = self.me()
        if me != self._entered:
            self.database.run(store.enter_groups, self._groups, me)
            if self._entered is None:
                self._begin(me)
            else:
                self.database.run(store.rename_owner, self._entered, me)
            self._entered = me
        return self._shares.changes()

    def release(self, lanes: Sequence[Lane]) -> None:
        """Let Kafka go on with what it wants."""
        for lane in lanes:  # before: who waits for the release takes it again
            self._members[lane.group].ended(lane)
        self._shares.release(lanes)

    def fetch(self, lane: Lane, now: Position, limit: int) -> list[StoredEvent]:
        """Up to `limit` events from a position on, out of memory."""
        buffer = self._buffer(lane, now)
        if buffer is None:
            return []
        messages = buffer.read(now.offset, limit)
        if messages is None:
            log.info("lane.seeks", topic=lane.topic, partition=lane.partition, offset=now.offset)
            buffer.begin_at(now.offset)
            return []
        return [Fetched(message, lane) for message in messages]

    def done(self, lane: Lane, now: Position) -> None:
        """Make room, and tell Kafka some time."""
        buffer = self._buffer(lane, now)
        if buffer is not None:
            buffer.done(now.offset)

    def _buffer(self, lane: Lane, now: Position) -> Buffer | None:
        return self._members[lane.group].fetching.buffer_of(lane, now.generation)

    def close(self) -> None:
        """Leave all groups."""
        self._closing.set()
        self._shares.close()
        for member in self._members.values():
            member.stop()
        for member in self._members.values():
            member.join(LEAVING)
        if self._entered is not None:
            self.database.run(store.rename_owner, self._entered, None)
            self.database.run(store.leave_groups, self._entered)

    # ---- what changes in the cluster

    def _look(self) -> None:
        looks = 0
        known: dict[str, set[str]] = {}
        while not self._closing.wait(LOOK if looks else 0.0):
            looks += 1
            self._look_at_lease()
            try:
                self._stay()
                self._look_at_topics()
                if looks % LOOK_FOR_STRANGERS == 0:
                    known = self._look_for_strangers(known)
            except (KafkaAway, KafkaRefused, *LOST) as error:
                log.debug("kafka.not_seen", error=str(error))
            except Exception:  # this thread must not end: a topic made anew would not be noticed
                log.exception("kafka.watch_failed")

    def _look_at_lease(self) -> None:
        """Who lost his lease and has got no new one is cut off from PostgreSQL: others may reach it."""
        cut_off = self._entered not in {None, self.me()}
        for member in self._members.values():
            member.rest(cut_off)

    def _stay(self) -> None:
        """Who was taken for dead, or entered before his lease was written, is forgotten as a member."""
        if self._entered is not None:
            self.database.run(store.enter_groups, self._groups, self._entered)

    def _look_at_topics(self) -> None:
        topics = self.cluster.topics({topic for _, topic in self.subscriptions})
        for member in self._members.values():
            for absent in member.starts.keys() - topics.keys():
                member.starts[absent] = "earliest"  # all that comes is newer than we are
            if member.is_another(topics):
                log.warning("topic.made_anew", group=member.group, topics=sorted(member.identities))
                member.begin_again()

    def _look_for_strangers(self, known: dict[str, set[str]]) -> dict[str, set[str]]:
        """Somebody else's consumer in one of our groups takes events away from us."""
        found = strangers(self.cluster, self._groups, self._prefix)
        for group, clients in found.items():
            if new := clients - known.get(group, set()):
                log.warning(
                    "group.shared_with_strangers",
                    group=group,
                    clients=sorted(new),
                    hint="events of partitions that they hold are handled by us when they leave, for PostgreSQL's "
                    "offset counts: give the other program a group of its own",
                )
        return found


def strangers(cluster: Cluster, groups: Sequence[str], ours: str) -> dict[str, set[str]]:
    """Client ids, with their hosts, of members of our groups that are no consumers of this database."""
    found: dict[str, set[str]] = {}
    for group, future in cluster.admin.describe_consumer_groups(list(groups), request_timeout=LOOK).items():
        members = cluster.ask(future).members or ()
        found[group] = {f"{one.client_id} at {one.host}" for one in members if not one.client_id.startswith(ours)}
    return found
