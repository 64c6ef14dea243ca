"""What a member fetches: a buffer for each of its lanes, and the client is steered so that none of them overflows."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from confluent_kafka import KafkaException, Message, TopicPartition
from confluent_kafka.cimpl import Consumer as Client

from trilho.events.kafka.buffer import Buffer
from trilho.events.kafka.message import place_of
from trilho.events.kafka.taking import MARK
from trilho.events.log_admin import Place
from trilho.events.store import Lane, Position
from trilho.log import get_logger

log = get_logger("trilho.consumer")


@dataclass
class Fetching:
    """Used in the thread that polls, but for `buffer_of`. `cooperative`: partitions come and go one by one."""

    cooperative: bool
    _buffers: dict[Lane, Buffer] = field(default_factory=dict)
    _lanes: dict[Place, Lane] = field(default_factory=dict)

    # ---- lanes

    @property
    def lanes(self) -> dict[Place, Lane]:
        """By topic and partition."""
        return dict(self._lanes)

    def at(self, place: Place) -> tuple[Lane, Buffer] | None:
        """The lane of a partition; None if it is not ours."""
        lane = self._lanes.get(place)
        return None if lane is None else (lane, self._buffers[lane])

    def buffer_of(self, lane: Lane, generation: int) -> Buffer | None:
        """What is at hand of a lane that was taken under this generation."""
        buffer = self._buffers.get(lane)
        return buffer if buffer is not None and buffer.generation == generation else None

    def assign(self, client: Client, positions: Mapping[Lane, Position]) -> None:
        """Fetch lanes that Kafka gives us."""
        self._begin(positions)
        places = [TopicPartition(lane.topic, lane.partition, position.offset) for lane, position in positions.items()]
        if self.cooperative:
            client.incremental_assign(places)
        else:
            client.assign(places)
        client.resume(places)  # whatever was paused under an earlier assignment

    def go_on(self, client: Client, positions: Mapping[Lane, Position]) -> None:
        """Fetch lanes that Kafka has left to us all the time."""
        self._begin(positions)
        for lane, position in positions.items():
            self._buffers[lane].begin_at(position.offset)
        client.resume([TopicPartition(lane.topic, lane.partition) for lane in positions])

    def _begin(self, positions: Mapping[Lane, Position]) -> None:
        for lane, position in positions.items():
            self._buffers[lane] = Buffer(position.offset, position.generation)
            self._lanes[lane.topic, lane.partition] = lane

    def drop(self, lanes: Iterable[Lane]) -> None:
        """Forget what is at hand of lanes that are ours no longer."""
        for lane in lanes:
            self._buffers.pop(lane, None)
            self._lanes.pop((lane.topic, lane.partition), None)

    # ---- messages

    def sort(self, messages: Sequence[Message]) -> tuple[set[str], list[Message]]:
        """Put messages into the buffers of their lanes; returns the topics of these, and messages that are errors."""
        topics: set[str] = set()
        errors: list[Message] = []
        for place, of_one in groupby(messages, place_of):
            batch = list(of_one)
            good = [message for message in batch if message.error() is None]
            if len(good) < len(batch):
                errors += [message for message in batch if message.error() is not None]
            lane = self._lanes.get(place)
            if lane is not None and good:
                self._buffers[lane].add(good)
                topics.add(lane.topic)
        return topics, errors

    # ---- the client

    def steer(self, client: Client) -> bool:
        """Pause what is full, resume what is low, seek where that is wanted; whether to look again soon."""
        waits = False
        for lane, buffer in self._buffers.items():
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
        if self.cooperative:
            client.incremental_unassign([one for one in client.assignment() if one == place])
            client.incremental_assign([place])
            places = [place]
        else:
            others = {other: one.end for other, one in self._buffers.items() if one is not buffer}
            places = [place, *(TopicPartition(other.topic, other.partition, end) for other, end in others.items())]
            client.assign(places)
            for one in self._buffers.values():
                one.paused = False
        buffer.paused = False
        client.resume(places)

    def tell(self, client: Client, lanes: Collection[Lane]) -> None:
        """Tell Kafka, for other tools, how far PostgreSQL has got; losing this loses nothing."""
        told = []
        for lane in lanes:
            buffer = self._buffers[lane]
            if buffer.start > buffer.told:
                buffer.told = buffer.start
                told.append(TopicPartition(lane.topic, lane.partition, buffer.told, MARK))
        if told:
            try:
                client.commit(offsets=told, asynchronous=True)
            except KafkaException as error:
                log.debug("offsets.not_told", error=str(error))
