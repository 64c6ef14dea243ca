"""The verbs of the relay into Kafka; each runs one statement of `relay.sql`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from uuid import UUID

from trilho.db.pool import Connection
from trilho.db.sql import beside
from trilho.events.store import Moved, rows_json
from trilho.events.topic import RETENTION, Topic

SQL = beside(__file__, "relay.sql")

GROUP = "trilho.relay"
"""The group of dead letters that Kafka refused."""
MAX_BYTES = 8_000_000
"""Data of one batch, about; a single event may be larger."""

_SHARD, _PLACE = itemgetter(0), itemgetter(0, 1)

Row = tuple[str, int, bytes | None, bytes, str, str, str, str, str]
"""Topic, hash, key, data, id, type, time, attributes, content type."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What `shards` says about a lane: the fence of its owner, the last number given, the batch that is under way."""

    token: int
    number: int
    waiting: int  # events in the batch
    cluster: str | None

    @property
    def known(self) -> tuple[int, int, bool]:
        """What an owner that did the last change knows, too."""
        return self.token, self.number, self.waiting > 0


def installation(connection: Connection) -> str:
    """The name of this database in Kafka."""
    row = connection.execute(SQL["installation"]).fetchone()
    if row is None:
        raise LookupError("INSERT … RETURNING returned nothing")
    return str(row[0].hex)


def known_installation(connection: Connection) -> str | None:
    """The same, if there is one yet: no process of this database is on Kafka without it."""
    row = connection.execute(SQL["known_installation"]).fetchone()
    return None if row is None else str(row[0].hex)


def lock_lanes(connection: Connection, owner: UUID, shards: Collection[int]) -> dict[int, Recorded]:
    """Those of the shards that are still ours, locked until the end of the transaction."""
    rows = connection.execute(SQL["lock_lanes"], {"owner": owner, "shards": list(shards)})
    return {row[0]: Recorded(row[1], row[2], row[3] or 0, row[4]) for row in rows}


def choose(
    connection: Connection, floors: Mapping[int, int], limits: Mapping[int, int], cluster: str
) -> dict[int, list[Row]]:
    """The next batch of each shard that has something, numbered and recorded."""
    values = {
        "shards": list(floors),
        "floors": list(floors.values()),
        "limits": [limits[shard] for shard in floors],
        "bytes": MAX_BYTES,
    }
    with connection.cursor(binary=True) as cursor:
        rows = sorted(cursor.execute(SQL["heads"], values), key=_PLACE)
    heads = {shard: list(batch) for shard, batch in groupby(rows, key=_SHARD)}
    batches = [{"shard": shard, "positions": [row[1] for row in batch]} for shard, batch in heads.items()]
    if batches:
        connection.execute(SQL["choose"], {"batches": rows_json(batches), "cluster": cluster})
    return {shard: [row[2:] for row in batch] for shard, batch in heads.items()}


def finish(connection: Connection, shards: Collection[int]) -> list[Moved]:
    """Delete the batches of these shards from the outbox: they are out."""
    return [Moved(*row) for row in connection.execute(SQL["finish"], {"shards": list(shards)})]


def dissolve(connection: Connection, numbers: Mapping[int, int]) -> None:
    """Forget the batches of these shards, which are not out; the values are the numbers that Kafka knows."""
    connection.execute(SQL["dissolve"], {"shards": list(numbers), "numbers": list(numbers.values())})


def bury(connection: Connection, shard: int, error: str) -> None:
    """Make the batch of a shard, one event, a dead letter."""
    connection.execute(SQL["bury"], {"shard": shard, "group": GROUP, "error": error})


def declared(connection: Connection, names: Collection[str]) -> list[Topic]:
    """The topics of these names, as somebody declared them or as they are by default."""
    rows = connection.execute(SQL["declared"], {"names": list(names)})
    known = {row[0]: Topic(row[0], row[1], None if row[2] is None else timedelta(seconds=row[2])) for row in rows}
    return [known.get(name) or Topic(name) for name in names]


def adopt(connection: Connection, partitions: Mapping[str, int]) -> None:
    """Write down how many partitions topics have in Kafka."""
    values = {
        "names": list(partitions),
        "partitions": list(partitions.values()),
        "retention": RETENTION.total_seconds(),
    }
    connection.execute(SQL["adopt"], values)


def first_in_doubt(connection: Connection, shard: int) -> tuple[str, str]:
    """Topic and id of the first event of a batch."""
    row = connection.execute(SQL["first_in_doubt"], {"shard": shard}).fetchone()
    return (row[0], row[1]) if row is not None else ("?", "?")
