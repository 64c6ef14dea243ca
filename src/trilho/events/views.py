"""What administration shows."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from trilho.events.envelope import Attributes, key_text
from trilho.events.event import BINARY


@dataclass(frozen=True, slots=True)
class TopicView:
    """A topic: `events` are in the log, `ever` were appended since it was made.

    On Kafka both count offsets, of which each transaction takes one for its mark, and nobody knows `created_at`.
    """

    name: str
    partitions: int
    retention_seconds: float | None
    created_at: datetime | None
    events: int
    ever: int


@dataclass(frozen=True, slots=True)
class PartitionView:
    """One partition of a topic."""

    partition: int
    first_offset: int
    next_offset: int


@dataclass(frozen=True, slots=True)
class GroupView:
    """A consumer group; one that is `foreign` is known to Kafka only. `state` is Kafka's word."""

    name: str
    topics: list[str]
    members: int
    lag: int
    parked_keys: int
    dead_letters: int
    state: str
    foreign: bool


@dataclass(frozen=True, slots=True)
class LagView:
    """How far a group is behind in one partition of a `log`: `postgres` or `kafka`."""

    topic: str
    partition: int
    offset: int
    end: int
    lag: int
    member: str | None
    moved_at: datetime | None
    log: str


@dataclass(frozen=True, slots=True)
class MemberView:
    """A process that reads for a group; of a foreign one only client id and host are known."""

    name: str
    hostname: str
    pid: int | None = None
    joined_at: datetime | None = None
    seen_at: datetime | None = None
    last_progress: datetime | None = None
    foreign: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetView:
    """Where a reset puts one partition, and where it was."""

    topic: str
    partition: int
    before: int
    to: int


@dataclass(frozen=True, slots=True)
class WaitingView:
    """Events of one topic that the relay has not moved yet."""

    topic: str
    events: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class OutboxView:
    """What waits in the outbox, which processes relay it, and why the log takes nothing, if it does not."""

    waiting: list[WaitingView]
    relays: list[str]
    trouble: str | None


@dataclass(frozen=True, slots=True)
class ParkedKeyView:
    """A key that waits; `next_try` None waits for a person."""

    group: str
    topic: str
    lane: str
    partition: int
    attempts: int
    error: str | None
    next_try: datetime | None
    parked_at: datetime
    events: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a group gave up."""

    number: int
    group: str
    topic: str
    partition: int
    offset: int
    id: str
    key: str | bytes | None
    type: str
    time: datetime
    data: str
    correlation_id: str | None
    attempts: int
    error: str
    died_at: datetime
    settled_at: datetime | None
    settled_as: str | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        """From a row; data that is no text is shown as hexadecimal digits."""
        raw, kind = bytes(row.pop("data")), row.pop("content_type")
        attributes = Attributes.loaded(row.pop("attributes"))
        key = row.pop("key")
        text = raw.hex() if kind == BINARY else raw.decode(errors="backslashreplace")
        row |= {"key": key_text(None if key is None else bytes(key)), "data": text}
        return cls(**row, correlation_id=attributes.correlation_id)
