"""An event: as it is published, and as a handler gets it."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from pydantic_core import from_json

from trilho.trace import NONE, Trace

T = TypeVar("T")

JSON = "application/json"
BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event on its way into the outbox. `hash` is Kafka's hash of the key: partition = hash modulo their number."""

    id: str
    topic: str
    key: bytes | None
    hash: int
    shard: int
    type: str
    time: datetime
    attributes: str  # JSON: the rest of the envelope and the headers
    data: bytes
    content_type: str = JSON
    trace: Trace = NONE  # for the timeline


@dataclass(slots=True)
class StoredEvent:
    """An event as a log gives it back, undecoded; nobody changes it. Making a frozen one costs four times as much."""

    topic: str
    partition: int
    offset: int
    id: str
    key: bytes | None
    type: str
    time: datetime
    attributes: str
    data: bytes
    content_type: str = JSON

    @property
    def correlation_id(self) -> str | None:
        """The operation that the envelope names."""
        told: str | None = from_json(self.attributes).get("correlation_id")
        return told


@dataclass(frozen=True, slots=True)
class Event(Generic[T]):
    """What a handler annotated `Event[T]` gets; the envelope is CloudEvents 1.0."""

    topic: str
    partition: int
    offset: int
    id: str
    type: str
    source: str
    time: datetime
    key: str | bytes | None
    data: T
    headers: Mapping[str, str] = field(default_factory=dict)
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Published:
    """Handle of a published event; may be awaited, harmlessly, so that one name serves sync and async code."""

    id: str
    topic: str

    def __await__(self) -> Generator[None, None, "Published"]:
        """The handle itself."""
        return self
        yield
