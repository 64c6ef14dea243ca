"""What the relay into Kafka says to whoever reads its log."""

from dataclasses import dataclass

from trilho.errors import TrilhoError
from trilho.events.kafka.store import Row
from trilho.log import get_logger

log = get_logger("trilho.relay")

EVERY = 10.0
"""Seconds between two lines about a cluster that cannot be used."""
REMEDY = (
    "If it is there: DELETE FROM trilho.outbox o USING trilho.shards s "
    "WHERE s.shard = {0} AND o.shard = {0} AND o.position = ANY(s.batch). "
    "Then, in any case: UPDATE trilho.shards SET batch = NULL WHERE shard = {0}"
)


@dataclass
class Complaints:
    """Not more often than somebody wants to read them."""

    _next_at: float = 0.0

    def away(self, error: Exception, now: float) -> None:
        """Kafka cannot be used; all shards say so at once."""
        if now >= self._next_at:
            self._next_at = now + EVERY
            log.warning("relay.waits_for_kafka", error=str(error), exc_info=not isinstance(error, TrilhoError))

    def refused(self, row: Row, error: Exception) -> None:
        """An event has become a dead letter."""
        log.error("relay.refused", topic=row[0], id=row[4], error=str(error))

    def hangs(self, shard: int) -> None:
        """A call of librdkafka does not return."""
        log.warning("relay.hangs", shard=shard, error="a producer did not come to an end in time: a new one takes over")

    def doubt(self, shard: int, events: int, first: tuple[str, str]) -> None:
        """A person has to look whether a batch is out; `first` is topic and id of its first event."""
        log.error(
            "relay.in_doubt",
            shard=shard,
            error=f"Kafka has lost the offset that says whether {events} events are out, and this shard waits. "
            f"Look in topic {first[0]} for the event {first[1]}. {REMEDY.format(shard)}",
        )
