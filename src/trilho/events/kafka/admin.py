"""Administration of Kafka: topics and events, and consumer groups as Kafka knows them."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConsumerGroupDescription,
    MemberDescription,
    OffsetSpec,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions

from trilho.db.pool import Database
from trilho.errors import GroupActive, KafkaAway, KafkaRefused
from trilho.events.event import StoredEvent
from trilho.events.kafka.cluster import PATIENCE, RETENTION, Cluster, KafkaTopic, kept_for
from trilho.events.kafka.configuration import prefix_of
from trilho.events.kafka.looking import Looking
from trilho.events.kafka.message import stored
from trilho.events.kafka.store import known_installation
from trilho.events.log_admin import Extent, LogGroup, Place
from trilho.events.topic import Topic
from trilho.events.views import MemberView, TopicView

UNSETTLED = 2.0
"""Seconds in which a new partition, or one whose leader has gone, gets a leader that everybody knows."""
PAUSE = 0.05
OWN = "trilho.relay"
"""Topics and groups that begin so are the relay's."""
BUSY = frozenset(
    {
        KafkaError.NON_EMPTY_GROUP,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.GROUP_SUBSCRIBED_TO_TOPIC,
    }
)
"""What Kafka says to offsets from outside while a group has members."""


@dataclass(frozen=True)
class KafkaAdmin:
    """Ends are last stable offsets: what an open transaction wrote is not there yet."""

    cluster: Cluster
    database: Database
    kind: str = "kafka"

    @classmethod
    def of(cls, database: Database) -> "KafkaAdmin":
        """Of the cluster that the settings name."""
        return cls(Cluster.of(database.settings), database)

    # ---- topics

    def topics(self, name: str | None = None) -> list[TopicView]:
        """All topics but Kafka's and the relay's own, or the one of this name."""
        names = [n for n in self.cluster.names() if not n.startswith(OWN)] if name is None else [name]
        found = self.cluster.topics(names)
        extents, kept = self._extents(found.values()), self._retention(sorted(found))
        return [self._view(topic, extents, kept[topic.name]) for topic in found.values()]

    def _view(self, topic: KafkaTopic, extents: Mapping[Place, Extent], retention: float | None) -> TopicView:
        own = [extents[topic.name, number] for number in range(topic.partitions)]
        return TopicView(
            name=topic.name,
            partitions=topic.partitions,
            retention_seconds=retention,
            created_at=None,
            events=sum(extent.next - extent.first for extent in own),
            ever=sum(extent.next for extent in own),
        )

    def _retention(self, names: Collection[str]) -> dict[str, float | None]:
        if not names:
            return {}
        asked = self.cluster.admin.describe_configs(
            [ConfigResource(ResourceType.TOPIC, name) for name in names], request_timeout=PATIENCE
        )
        told = {resource.name: int(self.cluster.ask(future)[RETENTION].value) for resource, future in asked.items()}
        return {name: None if milliseconds < 0 else milliseconds / 1000 for name, milliseconds in told.items()}

    def identities(self, topics: Collection[str]) -> dict[str, str]:
        """Log identities of those topics that exist."""
        return {name: self.cluster.log_of(topic) for name, topic in self.cluster.topics(topics).items()}

    def create(self, topic: Topic) -> int:
        """Make a topic, or give it more partitions and its retention; returns how many partitions it had before."""
        known = self.cluster.topics([topic.name]).get(topic.name)
        if known is None:
            for refused in self.cluster.make([topic]).values():
                raise refused
            return 0
        if topic.partitions > known.partitions:
            grown = NewPartitions(topic.name, topic.partitions)
            self._answered(self.cluster.admin.create_partitions([grown], request_timeout=PATIENCE))
            self._wait_for(topic)
        if self._retention([topic.name])[topic.name] != topic.retention_seconds:
            self._keep(topic)
        return known.partitions

    def _wait_for(self, topic: Topic) -> None:
        """Brokers learn of new partitions one after the other; who asks next is to be told of them."""
        deadline = time.monotonic() + UNSETTLED
        while time.monotonic() < deadline:
            known = self.cluster.topics([topic.name]).get(topic.name)
            if known is not None and known.partitions >= topic.partitions:
                return
            time.sleep(PAUSE)

    def _keep(self, topic: Topic) -> None:
        kept = kept_for(topic.retention_seconds)
        entry = ConfigEntry(RETENTION, kept, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=[entry])
        self._answered(self.cluster.admin.incremental_alter_configs([resource], request_timeout=PATIENCE))

    def _answered(self, asked: Mapping[Any, Any]) -> None:
        for future in asked.values():
            self.cluster.ask(future)

    # ---- places

    def extents(self, topics: Collection[str]) -> dict[Place, Extent]:
        """What the partitions of those topics have that exist."""
        return self._extents(self.cluster.topics(topics).values())

    def _extents(self, topics: Collection[KafkaTopic]) -> dict[Place, Extent]:
        places = [(topic.name, number) for topic in topics for number in range(topic.partitions)]
        deadline = time.monotonic() + UNSETTLED
        while True:
            try:
                first = self.cluster.offsets(places, OffsetSpec.earliest())
                after = self.cluster.offsets(places, OffsetSpec.latest())
                begins, ends = first(), after()
                return {place: Extent(begins[place], ends[place]) for place in places}
            except (KafkaAway, KafkaRefused):
                if time.monotonic() > deadline:
                    raise
            time.sleep(PAUSE)

    def ends(self, places: Collection[Place]) -> dict[Place, int]:
        """The offset behind the last event of each partition: what follows are marks of transactions."""
        extents = self.extents({topic for topic, _ in places})
        wanted = {place: extents[place] for place in places if place in extents}
        last = Looking(self.cluster).last(wanted, 1)
        return {place: _behind(last[place], extent.first) for place, extent in wanted.items()}

    def offsets_at(self, topic: str, partitions: Collection[int], when: datetime) -> dict[int, int]:
        """The first offset whose message has this time or a later one, where there is one."""
        milliseconds = max(0, int(when.timestamp() * 1000))
        places = [(topic, number) for number in partitions]
        found = self.cluster.offsets(places, OffsetSpec.for_timestamp(milliseconds))()
        return {number: offset for (_, number), offset in found.items() if offset >= 0}

    # ---- events

    def tail(self, topic: str, limit: int, partition: int | None) -> list[StoredEvent]:
        """The newest events of a topic that exists, newest first."""
        known = self.cluster.topics([topic])[topic]
        extents = {place: extent for place, extent in self._extents([known]).items() if partition in {None, place[1]}}
        log, found = self.cluster.log_of(known), Looking(self.cluster).last(extents, limit)
        events = [stored(message, log) for messages in found.values() for message in messages]
        events.sort(key=lambda event: (event.time, event.offset), reverse=True)
        return events[:limit]

    def event(self, topic: str, partition: int, offset: int) -> StoredEvent | None:
        """One event; None if it is not there."""
        known = self.cluster.topics([topic]).get(topic)
        extent = self._extents([known]).get((topic, partition)) if known is not None else None
        if known is None or extent is None or not extent.first <= offset < extent.next:
            return None
        message = Looking(self.cluster).one((topic, partition), offset)
        return None if message is None else stored(message, self.cluster.log_of(known))

    # ---- groups

    def groups(self, names: Collection[str] | None) -> dict[str, LogGroup]:
        """What Kafka knows of these groups, or of all that it has."""
        wanted = sorted(self._names() if names is None else names)
        if not wanted:
            return {}
        admin = self.cluster.admin
        told = admin.describe_consumer_groups(wanted, request_timeout=PATIENCE)
        described = {name: known for name in wanted if (known := self._known(told[name])) is not None}
        # Only of groups whose coordinator has just answered: without it librdkafka 2.16 crashes the process over this.
        committed: dict[str, Any] = {}
        for name in described:
            committed |= admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(name)], request_timeout=PATIENCE
            )
        name_here = self.database.run(known_installation)
        ours = None if name_here is None else prefix_of(name_here)
        return {
            name: known_of(known, _committed(self._known(committed[name])), ours) for name, known in described.items()
        }

    def _names(self) -> list[str]:
        listed = self.cluster.ask(self.cluster.admin.list_consumer_groups(request_timeout=PATIENCE))
        for error in listed.errors or ():  # a broker did not answer, and nobody knows which groups it has
            raise self.cluster.error(KafkaException(error))
        return [group.group_id for group in listed.valid or () if not group.group_id.startswith(OWN)]

    def _known(self, future: Any) -> Any:
        try:
            return self.cluster.ask(future)
        except KafkaRefused as error:
            if error.code != KafkaError.GROUP_ID_NOT_FOUND:
                raise
            return None

    def commit(self, group: str, topic: str, offsets: Mapping[int, int]) -> None:
        """Set the offsets that other programs read; raises GroupActive if Kafka knows members of the group."""
        places = [TopicPartition(topic, number, offset) for number, offset in offsets.items()]
        asked = self.cluster.admin.alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, places)], request_timeout=PATIENCE
        )
        try:
            for place in self.cluster.ask(asked[group]).topic_partitions:
                if place.error is not None:
                    raise self.cluster.error(KafkaException(place.error))
        except KafkaRefused as error:
            if error.code not in BUSY:
                raise
            raise GroupActive(group, self._everybody(group)) from error

    def _everybody(self, group: str) -> list[str]:
        told = self._known(self.cluster.admin.describe_consumer_groups([group], request_timeout=PATIENCE)[group])
        return [f"{member.client_id} at {_host(member)}" for member in told.members] if told is not None else []


def known_of(description: ConsumerGroupDescription, committed: Mapping[Place, int], ours: str | None) -> LogGroup:
    """A group from Kafka's description of it; our own members are left out, PostgreSQL knows better who lives.

    `ours` is how their client ids begin; None if there cannot be any.
    """
    foreign = [member for member in description.members if ours is None or not member.client_id.startswith(ours)]
    return LogGroup(
        state=str(description.state.name),
        members=tuple(MemberView(name=m.client_id, hostname=_host(m), foreign=True) for m in foreign),
        readers={(p.topic, p.partition): m.client_id for m in foreign for p in m.assignment.topic_partitions},
        committed=committed,
    )


def _host(member: MemberDescription) -> str:
    return str(member.host).lstrip("/")


def _committed(told: ConsumerGroupTopicPartitions | None) -> dict[Place, int]:
    partitions = (told.topic_partitions or []) if told is not None else []
    return {(p.topic, p.partition): p.offset for p in partitions if p.error is None and p.offset >= 0}


def _behind(messages: list[Message], first: int) -> int:
    last = messages[-1].offset() if messages else None
    return first if last is None else last + 1
