"""The outlet into the PostgreSQL log: outbox and log change in one transaction."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from trilho.db.pool import Connection, brief_transaction
from trilho.events import store
from trilho.events.arrivals import arrival
from trilho.events.outlet import LEASE, Look
from trilho.faults import Faults
from trilho.log import get_logger

log = get_logger("trilho.relay")

BATCH = 500
TELL_AGAIN = 30.0
REFUSAL = (
    "other processes of this database are on Kafka: set TRILHO_KAFKA_BOOTSTRAP for this one too. The way back to the "
    "PostgreSQL log: stop all of them once the outbox is empty, then DELETE FROM trilho.installation"
)


@dataclass
class Transfer:
    """Moves up to BATCH events of each shard at a time."""

    faults: Faults
    _tell_at: float = 0.0

    def is_open(self, connection: Connection) -> bool:
        """Not when other processes of this database are on Kafka."""
        refuses, now = store.on_kafka(connection), time.monotonic()
        if refuses and now >= self._tell_at:
            self._tell_at = now + TELL_AGAIN
            log.error("relay.refuses", error=REFUSAL)
        return not refuses

    def look(self, connection: Connection, owner: UUID, floors: Mapping[int, int]) -> Look:
        """Move what is there."""
        with brief_transaction(connection, LEASE):
            ours = store.lock_shards(connection, owner, list(floors))
            moved = store.move(connection, {shard: floors[shard] for shard in ours}, BATCH) if ours else []
            if moved:
                store.announce(connection, {arrival(topic) for one in moved for topic in one.topics})
                self.faults.hit("relay.before_commit")
        if moved:
            self.faults.hit("relay.after_commit")
        return Look(moved, len(ours), more=any(one.count >= BATCH for one in moved))

    def leave(self, connection: Connection, owner: UUID) -> None:
        """Nothing is ever under way between two looks."""
