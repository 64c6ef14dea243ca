"""Reading partitions without being a member of any group: what was committed, up to where it ends now."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from trilho.errors import KafkaAway
from trilho.events.kafka.cluster import PATIENCE, Cluster, made
from trilho.events.kafka.message import place_of
from trilho.events.log_admin import Extent, Place

_CONFIG = {
    "group.id": "trilho.relay-look",  # librdkafka wants one; access rules know the prefix, and nothing is committed
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "fetch.wait.max.ms": 10,
}
_FIRST_WINDOW = 8
_GROWTH = 8


@dataclass(frozen=True)
class Looking:
    """Reads from one cluster; raises KafkaAway when it takes longer than PATIENCE."""

    cluster: Cluster

    def messages(self, starts: Mapping[Place, int]) -> Iterator[Message]:
        """The messages of partitions, each from an offset on, until all have come to their ends."""
        if not starts:
            return
        with closing(made(Consumer, self.cluster.config(_CONFIG))) as consumer:
            consumer.assign([TopicPartition(topic, number, offset) for (topic, number), offset in starts.items()])
            open_ones, deadline = set(starts), time.monotonic() + PATIENCE
            while open_ones:
                if time.monotonic() > deadline:
                    raise self._too_slow()
                for message in consumer.consume(500, timeout=0.1):
                    error = message.error()
                    if error is None:
                        yield message
                    elif error.code() == KafkaError._PARTITION_EOF:
                        open_ones.discard(place_of(message))
                    else:
                        raise self.cluster.error(KafkaException(error))

    def one(self, place: Place, offset: int) -> Message | None:
        """The message at an offset; None if none is there, as where a transaction's mark is."""
        with closing(self.messages({place: offset})) as found:  # type: ignore[type-var]
            first = next(found, None)
        return first if first is not None and first.offset() == offset else None

    def last(self, extents: Mapping[Place, Extent], count: int) -> dict[Place, list[Message]]:
        """The last `count` messages of each partition, oldest first, fewer if there are not so many.

        Marks of transactions, and what was rolled back, have offsets too: it looks back ever farther.
        """
        found: dict[Place, list[Message]] = {}
        wanted, window = dict(extents), max(_FIRST_WINDOW, count)
        while wanted:
            starts = {place: max(extent.first, extent.next - window) for place, extent in wanted.items()}
            kept: dict[Place, deque[Message]] = {place: deque(maxlen=count) for place in wanted}
            for message in self.messages({p: s for p, s in starts.items() if s < wanted[p].next}):
                kept[place_of(message)].append(message)
            found |= {place: list(messages) for place, messages in kept.items()}
            wanted = {p: e for p, e in wanted.items() if len(found[p]) < count and starts[p] > e.first}
            window *= _GROWTH
        return found

    def _too_slow(self) -> KafkaAway:
        return KafkaAway(
            f"Kafka at {self.cluster.bootstrap} (TRILHO_KAFKA_BOOTSTRAP) did not give the events within {PATIENCE:g} s"
        )
