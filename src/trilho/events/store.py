"""The verbs of the event side; each runs one statement of `events.sql`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from trilho.db.pool import Connection
from trilho.db.sql import beside
from trilho.events.assignment import Members
from trilho.events.event import StoredEvent
from trilho.events.noting import NOTHING, Handled
from trilho.events.topic import PARTITIONS, RETENTION, Topic

SQL = beside(__file__, "events.sql")


@dataclass(frozen=True, slots=True)
class Lane:
    """One partition of one topic as one group reads it; `log` names the log and the topic's identity."""

    group: str
    log: str
    topic: str
    partition: int

    def values(self) -> dict[str, Any]:
        """As parameters."""
        return {"group": self.group, "log": self.log, "topic": self.topic, "partition": self.partition}


@dataclass(frozen=True, slots=True)
class Position:
    """Where a lane stands, and the generation under which its owner may move it."""

    offset: int
    generation: int


def rows_json(rows: Sequence[Any]) -> str:
    """A list as the one JSON parameter that a list verb takes."""
    return to_json(rows).decode()


def announce(connection: Connection, keys: Collection[str]) -> None:
    """Ring for who waits for one of these keys."""
    connection.execute(SQL["announce"], {"keys": list(keys)})


def declare(connection: Connection, topics: Sequence[Topic]) -> None:
    """Make declared topics exist as declared; partitions only grow."""
    rows = [
        {
            "name": topic.name,
            "partitions": topic.partitions,
            "retention": topic.retention_seconds,
        }
        for topic in topics
    ]
    connection.execute(SQL["declare"], {"rows": rows_json(rows)})


# ---- relay


def lease_shards(connection: Connection, owner: UUID, seconds: float) -> list[int]:
    """Keep our lanes of the relay, and take free ones."""
    rows = connection.execute(SQL["lease_shards"], {"owner": owner, "seconds": seconds})
    return sorted(row[0] for row in rows)


def give_up_shards(connection: Connection, owner: UUID) -> None:
    """Let others have our lanes at once."""
    connection.execute(SQL["give_up_shards"], {"owner": owner})


def lock_shards(connection: Connection, owner: UUID, shards: Sequence[int]) -> list[int]:
    """Those of the lanes that are still ours, locked until the end of the transaction."""
    rows = connection.execute(SQL["lock_shards"], {"owner": owner, "shards": list(shards)})
    return [row[0] for row in rows]


def on_kafka(connection: Connection) -> bool:
    """Whether a process of this database has been on Kafka."""
    row = connection.execute(SQL["on_kafka"]).fetchone()
    return row is not None and bool(row[0])


@dataclass(frozen=True, slots=True)
class Moved:
    """What one move took from one shard."""

    shard: int
    last: int
    count: int
    topics: list[str]


def move(connection: Connection, floors: Mapping[int, int], limit: int) -> list[Moved]:
    """Move up to `limit` events of each shard, above its floor, into the PostgreSQL log."""
    values = {
        "shards": list(floors),
        "floors": list(floors.values()),
        "limit": limit,
        "partitions": PARTITIONS,
        "retention": RETENTION.total_seconds(),
    }
    return [Moved(*row) for row in connection.execute(SQL["move"], values)]


def expire_log(connection: Connection, limit: int) -> bool:
    """Delete up to `limit` events of one partition that are older than their topic keeps; whether there were any."""
    return connection.execute(SQL["expire_log"], {"limit": limit}).rowcount > 0


# ---- groups


def topic_identities(connection: Connection, topics: Collection[str]) -> dict[str, tuple[str, int]]:
    """Log identity and number of partitions of those topics that exist."""
    rows = connection.execute(SQL["topic_identities"], {"topics": list(topics)})
    return {row[0]: (row[1], row[2]) for row in rows}


def enter_groups(connection: Connection, groups: Collection[str], incarnation: UUID) -> None:
    """Become a member."""
    connection.execute(SQL["enter_group"], {"groups": list(groups), "incarnation": incarnation})


def tell_topics(connection: Connection, subscriptions: Collection[tuple[str, str]], incarnation: UUID) -> None:
    """Tell the other members of these groups which topics this one reads."""
    values = {"groups": [group for group, _ in subscriptions], "topics": [topic for _, topic in subscriptions]}
    connection.execute(SQL["tell_topics"], values | {"incarnation": incarnation})


def forget_members(connection: Connection) -> None:
    """Delete members that are not alive."""
    connection.execute(SQL["forget_members"])


def leave_groups(connection: Connection, incarnation: UUID) -> None:
    """Be no member any more."""
    connection.execute(SQL["leave_groups"], {"incarnation": incarnation})


def members(connection: Connection, group: str) -> Members:
    """The live members."""
    return dict(connection.execute(SQL["members"], {"group": group}).fetchall())


def begin_group(connection: Connection, lane: Lane, partitions: int, latest: bool) -> None:
    """Give every partition of the lane's topic an offset where the group has none."""
    connection.execute(SQL["begin_group"], lane.values() | {"partitions": partitions, "latest": latest})


def free_partitions(connection: Connection, lane: Lane, partitions: Sequence[int], owner: UUID) -> dict[int, int]:
    """The generations of those partitions that nobody alive owns."""
    values = lane.values() | {"partitions": list(partitions), "owner": owner}
    return {row[0]: row[1] for row in connection.execute(SQL["free_partitions"], values)}


def wait_at_most(connection: Connection, seconds: float) -> None:
    """Let statements of this transaction wait so long for a lock; they raise LockNotAvailable then."""
    connection.execute(SQL["wait_at_most"], {"milliseconds": str(round(seconds * 1000))})


def take_partitions(connection: Connection, lane: Lane, partitions: Sequence[int], owner: UUID) -> dict[int, Position]:
    """Become the owner of those partitions that nobody alive owns."""
    values = lane.values() | {"partitions": list(partitions), "owner": owner}
    return {row[0]: Position(row[1], row[2]) for row in connection.execute(SQL["take_partitions"], values)}


def owned_partitions(connection: Connection, owner: UUID) -> dict[Lane, int]:
    """The partitions of the PostgreSQL log that are this owner's, with their generations."""
    rows = connection.execute(SQL["owned_partitions"], {"owner": owner})
    return {Lane(*row[:4]): row[4] for row in rows}


def give_up_partition(connection: Connection, lane: Lane, owner: UUID) -> None:
    """Own the lane's partition no longer."""
    connection.execute(SQL["give_up_partition"], lane.values() | {"owner": owner})


def generations(connection: Connection, lane: Lane) -> dict[int, int]:
    """The generation of each partition of the lane's topic that the group has begun."""
    return {row[0]: row[1] for row in connection.execute(SQL["generations"], lane.values())}


def read_logs(connection: Connection, lane: Lane) -> set[str]:
    """Kinds of logs in which the group has read the lane's topic."""
    return {row[0] for row in connection.execute(SQL["read_logs"], lane.values())}


def begin_partitions(connection: Connection, lane: Lane, offsets: Mapping[int, int]) -> None:
    """Give partitions an offset where the group has none."""
    rows = [{"partition": partition, "offset": offset} for partition, offset in offsets.items()]
    connection.execute(SQL["begin_partitions"], lane.values() | {"rows": rows_json(rows)})


def seize_partitions(connection: Connection, lane: Lane, partitions: Sequence[int], owner: UUID) -> dict[int, Position]:
    """Become the owner of partitions, whoever owns them."""
    values = lane.values() | {"partitions": list(partitions), "owner": owner}
    return {row[0]: Position(row[1], row[2]) for row in connection.execute(SQL["seize_partitions"], values)}


def rename_owner(connection: Connection, old: UUID, new: UUID | None) -> None:
    """Go on under a new lease, or own nothing any more."""
    connection.execute(SQL["rename_owner"], {"old": old, "new": new})


def undrained(connection: Connection, groups: Mapping[tuple[str, str], bool]) -> set[tuple[str, str]]:
    """Groups and topics with something left in the PostgreSQL log; the values say who starts at the latest."""
    rows = [{"group": group, "topic": topic, "latest": latest} for (group, topic), latest in groups.items()]
    return {(row[0], row[1]) for row in connection.execute(SQL["undrained"], {"rows": rows_json(rows)})}


def skip_expired(connection: Connection, groups: Collection[tuple[str, str]]) -> dict[Lane, int]:
    """Go on behind what expired unread in the PostgreSQL log, where nothing else is left; the values are its counts."""
    rows = [{"group": group, "topic": topic} for group, topic in groups]
    return {Lane(*row[:4]): row[4] for row in connection.execute(SQL["skip_expired"], {"rows": rows_json(rows)})}


def position(connection: Connection, lane: Lane) -> Position | None:
    """Where the lane stands."""
    row = connection.execute(SQL["position"], lane.values()).fetchone()
    return None if row is None else Position(row[0], row[1])


def stored_row(_cursor: Any) -> Callable[[Sequence[Any]], StoredEvent]:
    """A row factory for columns in the order of StoredEvent's fields."""
    return lambda values: StoredEvent(*values)


def fetch(connection: Connection, lane: Lane, offset: int, limit: int) -> list[StoredEvent]:
    """Up to `limit` events from an offset on."""
    with connection.cursor(row_factory=stored_row) as cursor:
        return cursor.execute(SQL["fetch"], lane.values() | {"offset": offset, "limit": limit}).fetchall()


def swap(connection: Connection, lane: Lane, now: Position, to: int, done: Handled = NOTHING) -> bool:
    """Move the offset, if the lane is still ours and where we think it is, and note what was handled."""
    values = lane.values() | {"from": now.offset, "to": to, "generation": now.generation} | done.values()
    return connection.execute(SQL["swap"], values).fetchone() is not None


def wait_turn(connection: Connection, group: str) -> None:
    """Wait until no other batch of the group that asked for it runs; until the end of the transaction."""
    connection.execute(SQL["wait_turn"], {"group": group})


def hold(connection: Connection, lane: Lane, generation: int) -> bool:
    """Keep the lane ours until the end of the transaction; whether it is."""
    return connection.execute(SQL["hold"], lane.values() | {"generation": generation}).fetchone() is not None


# ---- parking


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """The head of a parked key."""

    lane: str
    attempts: int
    sequence: int
    event: StoredEvent


def some_parked(connection: Connection, lane: Lane) -> bool:
    """Whether any key of the group's topic waits."""
    return connection.execute(SQL["some_parked"], lane.values()).fetchone() is not None


def lock_parked(connection: Connection, lane: Lane, keys: Sequence[str]) -> set[str]:
    """Those of the keys that wait, locked until the end of the transaction."""
    rows = connection.execute(SQL["lock_parked"], lane.values() | {"lanes": list(keys)})
    return {row[0] for row in rows}


def park_key(connection: Connection, lane: Lane, key: str, error: str, delay: float | None) -> None:
    """Let a key wait; without a delay, for a person."""
    values = lane.values() | {"lane": key, "attempts": 1, "error": error, "delay": delay}
    connection.execute(SQL["park_key"], values)


def park_events(connection: Connection, lane: Lane, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append events to their keys."""
    connection.execute(SQL["park_events"], lane.values() | {"rows": rows_json(rows)})


def due_parked(connection: Connection, lane: Lane, only: str | None = None) -> ParkedEvent | None:
    """The head of the key that is due the longest, its marker locked."""
    row = connection.execute(SQL["due_parked"], lane.values() | {"only": only}).fetchone()
    if row is None:
        return None
    key, attempts = row
    head = head_of(connection, lane, key)
    if head is None:
        connection.execute(SQL["advance_parked"], lane.values() | {"lane": key, "sequence": 0})
        return None
    return ParkedEvent(key, attempts, head[1], head[0])


def head_of(connection: Connection, lane: Lane, key: str) -> tuple[StoredEvent, int] | None:
    """The first event of a key that waits, and its place."""
    row = connection.execute(SQL["first_parked"], lane.values() | {"lane": key}).fetchone()
    return None if row is None else (StoredEvent(*row[:-1]), row[-1])


def settle_parked(connection: Connection, lane: Lane, parked: ParkedEvent) -> None:
    """The head of a key is done with: the next one is due, or the key flows again."""
    values = lane.values() | {"lane": parked.lane, "sequence": parked.sequence}
    connection.execute(SQL["drop_parked"], values)
    connection.execute(SQL["advance_parked"], values)


def postpone_parked(connection: Connection, lane: Lane, key: str, error: str, delay: float | None) -> None:
    """The head of a key failed again."""
    connection.execute(SQL["postpone_parked"], lane.values() | {"lane": key, "error": error, "delay": delay})


def count_parked(connection: Connection, lane: Lane, limit: int) -> int:
    """How many keys of this partition wait, counted up to `limit`."""
    row = connection.execute(SQL["count_parked"], lane.values() | {"limit": limit}).fetchone()
    return 0 if row is None else int(row[0])


def bury(connection: Connection, lane: Lane, event: StoredEvent, attempts: int, error: str) -> None:
    """Make an event a dead letter of the lane's group."""
    stored = {name: getattr(event, name) for name in StoredEvent.__slots__}
    connection.execute(SQL["bury"], stored | {"group": lane.group, "attempts": attempts, "error": error})


def end_backends(connection: Connection, names: Sequence[str]) -> None:
    """End what is left of transactions under these names: their locks would hold the new owner up."""
    connection.execute(SQL["end_backends"], {"names": list(names)})
