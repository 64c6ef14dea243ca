"""The port through which events leave the outbox: into the PostgreSQL log, or into Kafka."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from trilho.db.pool import Connection
from trilho.events.store import Moved

LEASE = 5.0
"""Seconds for which a relay has its shards; a transaction of it that stands still longer is ended by the server."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the outbox came to."""

    moved: list[Moved]  # rows that are out, and out of the outbox
    ours: int  # shards that are still ours
    more: bool  # look again at once


class Outlet(Protocol):
    """Used by one thread. Keeps the order of `position` for each shard; raises what psycopg raises."""

    def is_open(self, connection: Connection) -> bool:
        """Whether events may go there."""
        ...

    def look(self, connection: Connection, owner: UUID, floors: Mapping[int, int]) -> Look:
        """Move what is there, for each shard above its floor; must not wait for anything but PostgreSQL."""
        ...

    def leave(self, connection: Connection, owner: UUID) -> None:
        """Settle what can be settled now, before the shards go to others."""
        ...
