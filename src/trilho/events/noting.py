"""What the timeline keeps of events and of their handlers' work."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from trilho.db import arrays
from trilho.events.envelope import Attributes
from trilho.events.event import StoredEvent
from trilho.timeline.note import Note, short
from trilho.trace import Trace

DONE = "done"
RETRY = "retry"  # failed, and is tried again
QUEUED = "queued"  # waits behind an event of its key
PARKED = "parked"  # failed, and a person decides
DEAD_LETTER = "dead_letter"


@dataclass(frozen=True, slots=True)
class Handled:
    """What a batch leaves in the timeline, as columns: a note for each event must cost next to nothing."""

    operations: Sequence[str] = ()
    ids: Sequence[str] = ()
    keys: Sequence[str | None] = ()
    offsets: Sequence[int] = ()
    begun: Sequence[float] = ()  # seconds ago
    took: Sequence[float] = ()

    def values(self) -> dict[str, Any]:
        """As parameters."""
        named = {name: arrays.texts(getattr(self, name)) for name in ("operations", "ids", "keys")}
        return named | {name: arrays.numbers(getattr(self, name)) for name in ("offsets", "begun", "took")}


NOTHING = Handled()


def trace_of(event: StoredEvent, group: str) -> Trace:
    """What a handler's own jobs and events belong to."""
    attributes = Attributes.loaded(event.attributes)
    return Trace(operation_of(event), event.id, attributes.traceparent, group)


def operation_of(event: StoredEvent) -> str:
    """The operation of an event; one that says nothing of any begins one."""
    return short(event.correlation_id or event.id)


def handled(events: Sequence[StoredEvent], begun: Sequence[float]) -> Handled:
    """Events that were handled just now, each from its beginning (monotonic seconds) to that of the next."""
    now = monotonic()
    operations = [operation_of(event) for event in events]
    return Handled(
        operations,
        [short(event.id) for event in events],
        [_key_of(event, operation) for event, operation in zip(events, operations, strict=True)],
        [event.offset for event in events],
        [now - begin for begin in begun],
        [end - begin for begin, end in zip(begun, [*begun[1:], now], strict=True)],
    )


def noted(
    event: StoredEvent, group: str, outcome: str, *, attempt: int = 1, error: str | None = None, took: float = 0.0
) -> Note:
    """The note of one attempt of a group's handler, which ends now."""
    operation = operation_of(event)
    return Note(
        operation=operation,
        kind="handling",
        id=event.id,
        name=event.topic,
        ago=took,
        took=took,
        outcome=outcome,
        via=group,
        key=_key_of(event, operation),
        attempt=attempt,
        error=error,
        partition=event.partition,
        offset=event.offset,
    )


def _key_of(event: StoredEvent, operation: str) -> str | None:
    """The key of an event that begins an operation: by it people find one that another program began."""
    if event.key is None or operation != event.id:
        return None
    return short(event.key.decode(errors="backslashreplace"))
