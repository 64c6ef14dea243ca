"""Taking partitions over: Kafka says who reads them, PostgreSQL says from where, and fences off whoever had them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec
from confluent_kafka.cimpl import Consumer as Client

from trilho.db.pool import Connection, Database
from trilho.errors import KafkaAway
from trilho.events import store
from trilho.events.kafka.cluster import PATIENCE, Cluster, KafkaTopic
from trilho.events.options import Start
from trilho.events.store import Lane, Position
from trilho.events.takeover import take_over
from trilho.log import get_logger

log = get_logger("trilho.consumer")

MARK = "trilho"
"""The metadata of offsets that consumers of ours commit to Kafka."""


@dataclass(frozen=True)
class Taking:
    """How the members of one process take partitions; `me` gives the incarnation of the process."""

    database: Database
    cluster: Cluster
    me: Callable[[], UUID]

    def take(
        self, client: Client, lane: Lane, topic: KafkaTopic, ours: Sequence[int], start: Start
    ) -> dict[Lane, Position]:
        """Own partitions of a lane's topic from now on; raises KafkaAway, KafkaRefused, and what psycopg raises."""
        with self.database.connection() as connection:
            begun = store.generations(connection, lane)
            if not set(ours) <= begun.keys():
                self._begin(connection, client, lane, topic, start)
                begun = store.generations(connection, lane)
            if not set(ours) <= begun.keys():
                raise KafkaAway(f"Kafka gave us partitions of {topic.name!r} that it does not show yet")
            had = {n: begun[n] for n in ours}
            taken = take_over(connection, lane, had, lambda: store.seize_partitions(connection, lane, ours, self.me()))
        return {Lane(lane.group, lane.log, lane.topic, n): position for n, position in taken.items()}

    def bounds(self, lane: Lane) -> tuple[int, int]:
        """The first offset that a partition has, and the one after its last; raises KafkaAway, KafkaRefused."""
        return self._bounds(lane.topic, [lane.partition])[lane.partition]

    def _bounds(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        places = [(topic, n) for n in partitions]
        first = self.cluster.offsets(places, OffsetSpec.earliest())
        after = self.cluster.offsets(places, OffsetSpec.latest())
        begins, ends = first(), after()
        return {place[1]: (begins[place], ends[place]) for place in places}

    # ---- where a group begins

    def _begin(self, connection: Connection, client: Client, lane: Lane, topic: KafkaTopic, start: Start) -> None:
        """Give each partition an offset; the group's first look at the topic decides for all of them at once."""
        read = store.read_logs(connection, lane)
        known = store.generations(connection, lane)
        missing = [n for n in range(topic.partitions) if n not in known]
        bounds = self._bounds(topic.name, missing)
        # What Kafka knows counts for a group that comes from a plain consumer; of ours, PostgreSQL knows better,
        # even if that is nothing: a backup from before the group began has none of its effects.
        told = {} if "kafka" in read else self._committed(client, topic, missing)
        # A group that read the topic's PostgreSQL log has seen nothing that is here.
        late = start == "latest" and not read
        offsets = {n: first_offset(*bounds[n], committed=told.get(n), latest=late) for n in missing}
        log.info("group.begins", group=lane.group, topic=topic.name, offsets=offsets)
        store.begin_partitions(connection, lane, offsets)

    def _committed(self, client: Client, topic: KafkaTopic, partitions: Sequence[int]) -> dict[int, int]:
        try:
            found = client.committed([TopicPartition(topic.name, n) for n in partitions], timeout=PATIENCE)
        except KafkaException as error:
            raise self.cluster.error(error) from error
        return {
            one.partition: one.offset for one in found if one.error is None and one.offset >= 0 and one.metadata != MARK
        }


def first_offset(begin: int, end: int, *, committed: int | None, latest: bool) -> int:
    """Where a group begins to read a partition that has events from `begin` to before `end`."""
    if committed is not None and begin <= committed <= end:
        return committed
    return end if latest else begin
