"""One group's member in this process: a librdkafka consumer and the thread that polls it, whatever handlers do.

Kafka says which partitions are ours, PostgreSQL from where they are read; Kafka's own committed offsets follow, for
other tools. All calls of the client are made in the thread that polls.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.cimpl import Consumer as Client

from trilho.db.pool import LOST
from trilho.errors import KafkaAway, KafkaRefused
from trilho.events.kafka.buffer import Buffer
from trilho.events.kafka.cluster import Cluster, KafkaTopic, made
from trilho.events.kafka.configuration import is_cooperative
from trilho.events.kafka.fetching import Fetching
from trilho.events.kafka.message import place_of
from trilho.events.kafka.shares import Shares
from trilho.events.kafka.taking import Taking
from trilho.events.log import report_expired
from trilho.events.log_admin import Place
from trilho.events.options import Start
from trilho.events.store import Lane, Position
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


def places_of(partitions: Sequence[TopicPartition]) -> set[Place]:
    """Topics and partitions."""
    return {(one.topic, one.partition) for one in partitions}


@dataclass
class Member:
    """Reads the topics of one group; what it read waits in `fetching` until it is done."""

    cluster: Cluster
    taking: Taking
    shares: Shares
    starts: dict[str, Start]  # by topic
    unfenced: Collection[str]  # topics whose handlers are not in our transactions
    config: dict[str, Any]
    ring: Callable[[str | None], None]
    identities: dict[str, KafkaTopic] = field(default_factory=dict)
    _assigned: set[Place] = field(default_factory=set)  # what Kafka says, taken or not
    _ended: set[Lane] = field(default_factory=set)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _again: threading.Event = field(default_factory=threading.Event)
    _resting: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _told: dict[Any, float] = field(default_factory=dict)
    _commit_at: float = 0.0
    _away: bool = False

    def __post_init__(self) -> None:
        self.fetching = Fetching(is_cooperative(self.config))

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
            self.fetching.tell(client, self.fetching.lanes.values())
            client.close()
        except (KafkaException, RuntimeError) as error:
            log.warning("member.not_left", group=self.group, error=str(error))
        self._assigned.clear()
        self._lose(list(self.fetching.lanes.values()))

    def _sort(self, messages: Sequence[Message]) -> None:
        topics, errors = self.fetching.sort(messages)
        for message in errors:
            self._on_message_error(message)
        if topics:
            self._back()
        for topic in topics:
            self.ring(topic)

    def _steer(self, client: Client) -> bool:
        """Whether to look again soon."""
        waits = self.fetching.steer(client)
        if time.monotonic() >= self._commit_at:
            self._commit_at = time.monotonic() + COMMIT_EVERY
            self.fetching.tell(client, self.fetching.lanes.values())
            self._take_missing(client)
        return waits

    # ---- what Kafka says

    def _on_assign(self, client: Client, partitions: list[TopicPartition]) -> None:
        self._back()
        self._assigned |= places_of(partitions)
        positions = self._take(client, partitions)
        self.fetching.assign(client, positions)
        self._give(positions)

    def _give(self, positions: Mapping[Lane, Position]) -> None:
        self._ended.difference_update(positions)
        self.shares.give(positions)
        self.ring(None)

    def _take_missing(self, client: Client) -> None:
        """Take what Kafka leaves to us and PostgreSQL does not: somebody came late and took it from us, its topic was
        not to be seen, or something of it was still in hand here, whose commit a new generation would have undone."""
        self._drop(self._ended.intersection(self.fetching.lanes.values()))
        missing = [TopicPartition(*place) for place in self._assigned - self.fetching.lanes.keys()]
        if not missing:
            return
        try:
            positions = self._taken(client, missing)
        except (KafkaAway, KafkaRefused, *LOST) as error:
            self._tell("partitions.not_taken", "take", group=self.group, error=str(error).strip())
            return
        self.fetching.go_on(client, positions)
        self._give(positions)

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
        self.fetching.tell(client, lanes)
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
        lanes = self.fetching.lanes
        return [lanes[place] for place in places_of(partitions) & lanes.keys()]

    def _unassign(self, partitions: list[TopicPartition]) -> None:
        """All of them, where they do not come and go one by one."""
        self._assigned -= places_of(partitions) if self.fetching.cooperative else self._assigned.copy()

    def _drop(self, lanes: Collection[Lane]) -> None:
        self.fetching.drop(lanes)
        self._ended.difference_update(lanes)

    def _on_message_error(self, message: Message) -> None:
        error, ours = message.error(), self.fetching.at(place_of(message))
        assert error is not None
        if error.code() == KafkaError._AUTO_OFFSET_RESET and ours is not None:
            self._on_out_of_range(*ours)
            return
        what = {"group": self.group, "topic": message.topic(), "error": error.str()}
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:  # as on a first start: its first event makes it
            log.debug("topic.not_there_yet", **what)
        else:
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
