"""One group's member in this process: a librdkafka consumer and the thread that polls it, whatever handlers do.

Kafka says which partitions are ours, PostgreSQL from where they are read; Kafka's own committed offsets follow, for
other tools. All calls of the client are made in the thread that polls.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.cimpl import Consumer as Client

from trilho.db.pool import LOST
from trilho.errors import KafkaAway, KafkaRefused
from trilho.events.kafka.buffer import Buffer
from trilho.events.kafka.cluster import Cluster, KafkaTopic, made
from trilho.events.kafka.shares import Shares
from trilho.events.kafka.taking import MARK, Taking
from trilho.events.log import report_expired
from trilho.events.store import Lane, Position
from trilho.events.subscription import Start
from trilho.log import get_logger

log = get_logger("trilho.consumer")

POLL = 0.2
SOON = 0.02
CHUNK = 2_000
MANY = 200
GATHER = 0.005
COMMIT_EVERY = 1.0
REVOKE_PATIENCE = 3.0
"""Seconds that what is in hand has to end when partitions go; the group waits for us, the fence does not."""
LONG_PATIENCE = 15.0
"""The same where no fence takes back what a handler did: its next owner does it again."""
TELL_AGAIN = 30.0

_OURS = {
    # Foreign members (kafka-python, the console consumer) know these two; cooperative-sticky would lock them out.
    "partition.assignment.strategy": "roundrobin,range",
    "session.timeout.ms": 6_000,
    "heartbeat.interval.ms": 1_500,
    "topic.metadata.refresh.interval.ms": 2_000,
    "queued.min.messages": 2_000,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 20,
}
_NOT_FOR_KIP_848 = ("partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms")
_FIXED = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
}


def prefix_of(installation: str) -> str:
    """How the client ids of the members of this database begin; who joins with another one is a stranger."""
    return f"trilho-{installation}-"


def configuration(cluster: Cluster, group: str, name: str, protocol: str) -> dict[str, Any]:
    """Configuration of a member; what the user says counts, except where correctness hangs on it."""
    own = {key: value for key, value in _OURS.items() if protocol == "classic" or key not in _NOT_FOR_KIP_848}
    fixed = _FIXED | {"group.id": group, "group.protocol": protocol, "client.id": name}
    return own | cluster.config(fixed)


def is_cooperative(config: Mapping[str, Any]) -> bool:
    """Whether partitions come and go one by one."""
    strategies = str(config.get("partition.assignment.strategy", ""))
    return config["group.protocol"] == "consumer" or "cooperative" in strategies


def places_of(partitions: Sequence[TopicPartition]) -> set[tuple[str, int]]:
    """Topics and partitions."""
    return {(one.topic, one.partition) for one in partitions}


@dataclass
class Member:
    """Reads the topics of one group; what it read waits in `buffers` until it is done."""

    cluster: Cluster
    taking: Taking
    shares: Shares
    starts: dict[str, Start]  # by topic
    unfenced: Collection[str]  # topics whose handlers are not in our transactions
    config: dict[str, Any]
    ring: Callable[[str | None], None]
    buffers: dict[Lane, Buffer] = field(default_factory=dict)
    identities: dict[str, KafkaTopic] = field(default_factory=dict)
    _lanes: dict[tuple[str, int], Lane] = field(default_factory=dict)
    _assigned: set[tuple[str, int]] = field(default_factory=set)  # what Kafka says, taken or not
    _ended: set[Lane] = field(default_factory=set)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _again: threading.Event = field(default_factory=threading.Event)
    _resting: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _told: dict[Any, float] = field(default_factory=dict)
    _commit_at: float = 0.0
    _away: bool = False

    @property
    def group(self) -> str:
        """The group's name."""
        return str(self.config["group.id"])

    def start(self) -> None:
        """Begin; raises ConfigurationError for options that librdkafka does not take."""
        client = self._client()
        self._thread = threading.Thread(
            target=self._run, args=(client,), name=f"trilho-kafka-{self.group}", daemon=True
        )
        self._thread.start()

    def is_another(self, topics: Mapping[str, KafkaTopic]) -> bool:
        """Whether one of our topics was deleted and made again."""
        known = self.identities
        return any(known.get(name, topic).identity != topic.identity for name, topic in topics.items())

    def begin_again(self) -> None:
        """Leave and join again: a topic is another one by now."""
        self._again.set()

    def rest(self, resting: bool) -> None:
        """Be no member for some time; others have our partitions then."""
        if not resting:
            self._resting.clear()
        elif not self._resting.is_set():
            log.warning("member.rests", group=self.group)
            self._resting.set()
            self._again.set()

    def ended(self, lane: Lane) -> None:
        """Our consumer is done with this lane; if Kafka still leaves it to us, it is taken again."""
        self._ended.add(lane)

    def stop(self) -> None:
        """Leave soon."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Wait until it has left."""
        if self._thread is not None:
            self._thread.join(seconds)

    # ---- the thread

    def _client(self) -> Client:
        return made(Client, self.config | {"error_cb": self._on_error})

    def _run(self, client: Client) -> None:
        while True:
            try:
                self._read(client)
            except Exception:
                log.exception("member.failed", group=self.group)
            self._leave(client)
            while not self._stopping.wait(SOON) and self._resting.is_set():
                pass
            if self._stopping.is_set():
                return
            self._again.clear()
            self.identities.clear()
            client = self._client()

    def _read(self, client: Client) -> None:
        client.subscribe(
            sorted(self.starts), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )
        count = 0
        while not self._stopping.is_set() and not self._again.is_set():
            messages = self._next(client, SOON if self._steer(client) else POLL, count)
            count = len(messages)
            self._sort(messages)

    def _next(self, client: Client, patience: float, before: int) -> list[Message]:
        """What is there; where there was much just now, a little waiting makes a large batch of many small ones."""
        if before >= MANY:
            return client.consume(CHUNK, GATHER)
        message = client.poll(patience)
        return [] if message is None else [message, *client.consume(CHUNK, 0)]

    def _leave(self, client: Client) -> None:
        try:
            self._commit(client)
            client.close()
        except (KafkaException, RuntimeError) as error:
            log.warning("member.not_left", group=self.group, error=str(error))
        self._assigned.clear()
        self._lose(list(self.buffers))

    def _sort(self, messages: Sequence[Message]) -> None:
        """Into the buffers of their lanes."""
        topics = set()
        for where, of_one in groupby(messages, lambda message: (message.topic(), message.partition())):
            batch = list(of_one)
            good = [message for message in batch if message.error() is None]
            lane = self._lanes.get(where)
            buffer = self.buffers.get(lane) if lane is not None else None
            if buffer is not None and good:
                buffer.add(good)
                topics.add(where[0])
            for message in batch if len(good) < len(batch) else ():
                if message.error() is not None:
                    self._on_message_error(message, lane, buffer)
        for topic in topics:
            self._back()
            self.ring(topic)

    # ---- steering what is fetched

    def _steer(self, client: Client) -> bool:
        """Pause what is full, resume what is low, seek where that is wanted; whether to look again soon."""
        waits = False
        for lane, buffer in self.buffers.items():
            place = TopicPartition(lane.topic, lane.partition)
            if buffer.seek_to is not None:
                self._seek(client, lane, buffer, buffer.seek_to)
            if not buffer.paused and buffer.is_full:
                client.pause([place])
                buffer.paused = True
            elif buffer.paused and buffer.is_low:
                client.resume([place])
                buffer.paused = False
            waits = waits or buffer.paused or buffer.seek_to is not None
        if time.monotonic() >= self._commit_at:
            self._commit(client)
            self._take_missing(client)
        return waits

    def _seek(self, client: Client, lane: Lane, buffer: Buffer, offset: int) -> None:
        try:
            client.seek(TopicPartition(lane.topic, lane.partition, offset))
        except KafkaException:  # it is not being fetched: after an offset out of range, or before its first fetch
            self._assign_anew(client, lane, buffer, offset)
        buffer.sought(offset)

    def _assign_anew(self, client: Client, lane: Lane, buffer: Buffer, offset: int) -> None:
        """What was fetched is in the buffers by now, so that nothing is skipped."""
        place = TopicPartition(lane.topic, lane.partition, offset)
        if is_cooperative(self.config):
            client.incremental_unassign([one for one in client.assignment() if one == place])
            client.incremental_assign([place])
            places = [place]
        else:
            others = {other: one.end for other, one in self.buffers.items() if one is not buffer}
            places = [place, *(TopicPartition(other.topic, other.partition, end) for other, end in others.items())]
            client.assign(places)
            for one in self.buffers.values():
                one.paused = False
        buffer.paused = False
        client.resume(places)

    def _commit(self, client: Client, lanes: Sequence[Lane] = ()) -> None:
        """Tell Kafka, for other tools, how far PostgreSQL has got; losing this loses nothing."""
        self._commit_at = time.monotonic() + COMMIT_EVERY
        told = []
        for lane in lanes or list(self.buffers):
            buffer = self.buffers[lane]
            if buffer.start > buffer.told:
                buffer.told = buffer.start
                told.append(TopicPartition(lane.topic, lane.partition, buffer.told, MARK))
        if told:
            try:
                client.commit(offsets=told, asynchronous=True)
            except KafkaException as error:
                log.debug("offsets.not_told", group=self.group, error=str(error))

    # ---- what Kafka says

    def _on_assign(self, client: Client, partitions: list[TopicPartition]) -> None:
        self._back()
        self._assigned |= places_of(partitions)
        positions = self._take(client, partitions)
        places = [TopicPartition(lane.topic, lane.partition, position.offset) for lane, position in positions.items()]
        self._begin(positions)
        if is_cooperative(self.config):
            client.incremental_assign(places)
        else:
            client.assign(places)
        client.resume(places)  # whatever was paused under an earlier assignment
        self.shares.give(positions)
        self.ring(None)

    def _begin(self, positions: Mapping[Lane, Position]) -> None:
        for lane, position in positions.items():
            self.buffers[lane] = Buffer(position.offset, position.generation)
            self._lanes[lane.topic, lane.partition] = lane
            self._ended.discard(lane)

    def _take_missing(self, client: Client) -> None:
        """Take what Kafka leaves to us and PostgreSQL does not: somebody came late and took it from us, its topic was
        not to be seen, or something of it was still in hand here, whose commit a new generation would have undone."""
        self._drop([lane for lane in list(self._ended) if lane in self.buffers])
        missing = [TopicPartition(*place) for place in self._assigned - self._lanes.keys()]
        if not missing:
            return
        try:
            positions = self._taken(client, missing)
        except (KafkaAway, KafkaRefused, *LOST) as error:
            self._tell("partitions.not_taken", "take", group=self.group, error=str(error).strip())
            return
        self._begin(positions)
        for lane, position in positions.items():
            self.buffers[lane].begin_at(position.offset)
            client.resume([TopicPartition(lane.topic, lane.partition)])
        self.shares.give(positions)
        self.ring(None)

    def _take(self, client: Client, partitions: list[TopicPartition]) -> dict[Lane, Position]:
        """Take what Kafka gave us, however long PostgreSQL or Kafka take to answer."""
        while not self._stopping.is_set() and not self._again.is_set():
            try:
                return self._taken(client, partitions)
            except (KafkaAway, KafkaRefused, *LOST) as error:
                self._tell("partitions.not_taken", "take", group=self.group, error=str(error).strip())
                self._stopping.wait(0.5)
        return {}

    def _taken(self, client: Client, partitions: list[TopicPartition]) -> dict[Lane, Position]:
        topics = self.cluster.topics({place.topic for place in partitions})
        taken: dict[Lane, Position] = {}
        for name, topic in topics.items():
            if self.identities.setdefault(name, topic).identity != topic.identity:
                self.begin_again()
                continue
            identity = self.cluster.log_of(topic)
            numbers = sorted(place.partition for place in partitions if place.topic == name)
            lanes = [Lane(self.group, identity, name, number) for number in numbers]
            if free := [lane for lane in lanes if not self.shares.holds(lane)]:
                ours = [lane.partition for lane in free]
                taken |= self.taking.take(client, free[0], topic, ours, self.starts[name])
        return taken

    def _on_revoke(self, client: Client, partitions: list[TopicPartition]) -> None:
        """What is in hand ends, or counts no more once the next owner has taken the partition."""
        lanes = self._lanes_of(partitions)
        self._unassign(partitions)
        self.shares.ask_back(lanes)
        self.ring(None)
        if not self.shares.wait_for(lanes, self._patience(lanes)):
            log.warning("handlers.overtaken", group=self.group, partitions=[[x.topic, x.partition] for x in lanes])
        self._commit(client, lanes)
        self._drop(lanes)

    def _patience(self, lanes: Sequence[Lane]) -> float:
        """Less than the time after which Kafka puts us out."""
        longest = float(self.config.get("max.poll.interval.ms", 300_000)) / 2000
        return min(longest, LONG_PATIENCE if any(x.topic in self.unfenced for x in lanes) else REVOKE_PATIENCE)

    def _on_lost(self, _client: Client, partitions: list[TopicPartition]) -> None:
        self._unassign(partitions)
        lanes = self._lanes_of(partitions)
        log.warning("partitions.lost", group=self.group, partitions=[[x.topic, x.partition] for x in lanes])
        self._lose(lanes)

    def _lose(self, lanes: Sequence[Lane]) -> None:
        """What is in hand of these will not count."""
        self.shares.ask_back(lanes)
        self._drop(lanes)
        self.ring(None)

    def _lanes_of(self, partitions: list[TopicPartition]) -> list[Lane]:
        return [self._lanes[p.topic, p.partition] for p in partitions if (p.topic, p.partition) in self._lanes]

    def _unassign(self, partitions: list[TopicPartition]) -> None:
        """All of them, where they do not come and go one by one."""
        self._assigned -= places_of(partitions) if is_cooperative(self.config) else self._assigned.copy()

    def _drop(self, lanes: Sequence[Lane]) -> None:
        for lane in lanes:
            self.buffers.pop(lane, None)
            self._lanes.pop((lane.topic, lane.partition), None)
            self._ended.discard(lane)

    def _on_message_error(self, message: Message, lane: Lane | None, buffer: Buffer | None) -> None:
        error = message.error()
        assert error is not None
        if error.code() == KafkaError._AUTO_OFFSET_RESET and lane is not None and buffer is not None:
            self._on_out_of_range(lane, buffer)
            return
        what = {"group": self.group, "topic": message.topic(), "error": error.str()}
        self._tell("kafka.says", (error.code(), message.topic()), **what)

    def _on_out_of_range(self, lane: Lane, buffer: Buffer) -> None:
        """Below the log's beginning events are gone; past its end the log itself is not what it was."""
        try:
            another = self.is_another(self.cluster.topics([lane.topic]))
            first, last = self.taking.bounds(lane)
        except (KafkaAway, KafkaRefused):
            buffer.skip_to(buffer.end)
            return
        if another:
            self.begin_again()
        elif buffer.end < first:
            report_expired(lane, first - buffer.end)
            buffer.skip_to(first)
        elif buffer.end <= last:
            buffer.skip_to(buffer.end)
        else:
            self._tell(
                "offset.past_the_end",
                lane,
                **lane.values(),
                offset=buffer.end,
                end=last,
                hint="Kafka lost events that this group has read: reset the group to where it shall go on",
            )

    def _on_error(self, error: KafkaError) -> None:
        self.cluster.trouble = error.str()
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._away:
            self._away = True
            log.warning("kafka.away", group=self.group, bootstrap=self.cluster.bootstrap, error=error.str())
        elif error.fatal():
            log.error("member.fatal", group=self.group, error=error.str())
            self._again.set()

    def _back(self) -> None:
        if self._away:
            self._away = False
            log.info("kafka.back", group=self.group)

    def _tell(self, event: str, about: Any, **facts: Any) -> None:
        """A warning that is not repeated for some time."""
        now = time.monotonic()
        if now >= self._told.get((event, about), 0.0):
            self._told[event, about] = now + TELL_AGAIN
            log.warning(event, **facts)
