"""What Kafka remembers for the relay: the number of the last batch of each shard that is out, as a committed offset."""

import threading
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from trilho.events.kafka.cluster import PATIENCE, Cluster, made
from trilho.events.partition import SHARDS
from trilho.events.topic import Topic


@dataclass(eq=False)
class Marks:
    """Topic and group of one name, which only this database uses. The topic stays empty: offsets need one."""

    cluster: Cluster
    database: str
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        # A consumer that reads nothing. The administrative client can be asked for offsets, too, but with librdkafka
        # 2.16 the process crashes when the group's coordinator is not there at that moment.
        own = {"group.id": self.name, "isolation.level": "read_committed", "enable.auto.commit": False}
        self._consumer: Consumer = made(Consumer, self.cluster.config(own))

    @property
    def group(self) -> Any:
        """The group as a transaction takes it."""
        return self._consumer.consumer_group_metadata()

    @property
    def name(self) -> str:
        """Of the topic, and of the group."""
        return f"trilho.relay-{self.database}"

    def ensure(self) -> None:
        """Make the topic if there is none; with it Kafka deletes the offsets."""
        if not self.cluster.topics([self.name]):
            for error in self.cluster.make([Topic(self.name, SHARDS, None)]).values():
                raise error

    def at(self, shard: int, number: int) -> list[TopicPartition]:
        """The offset that says so."""
        return [TopicPartition(self.name, shard, number)]

    def committed(self, shard: int) -> int | None:
        """The last number that is out; None if Kafka knows none. Waits for a transaction that is being ended."""
        try:
            with self._lock:
                (mark,) = self._consumer.committed([TopicPartition(self.name, shard)], PATIENCE)
        except KafkaException as error:
            raise self.cluster.error(error) from error
        if mark.error is not None:
            raise self.cluster.away(mark.error.str())
        return None if mark.offset == OFFSET_INVALID else int(mark.offset)
