"""The outbox: events become rows just before the caller's commit, and the relay is told after it."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trilho import trace
from trilho.db.pending import ListSink
from trilho.events.envelope import key_text
from trilho.events.event import JSON, NewEvent
from trilho.events.store import SQL, rows_json
from trilho.timeline.note import short


@dataclass(frozen=True, eq=False)
class OutboxSink(ListSink):
    """Writes events of a transaction in the order of their publishing."""

    nudge: Callable[[], None]
    statement: str = SQL["publish"]
    at_once: bool = False
    repeatable: bool = False  # a second try after a lost answer could publish twice

    def parameters(self, rows: Sequence[NewEvent]) -> Mapping[str, Any]:
        """All rows as one parameter."""
        return {"rows": rows_json([_row(event) for event in rows])}

    def check(self, rows: Sequence[NewEvent], returned: Sequence[Sequence[Any]]) -> None:
        """Nothing can be wrong with an event that was accepted."""

    def committed(self, rows: Sequence[NewEvent]) -> None:
        """Let the relay look."""
        trace.had_effect()
        self.nudge()


def _row(event: NewEvent) -> dict[str, Any]:
    raw = event.content_type != JSON
    return {
        "shard": event.shard,
        "hash": event.hash,
        "topic": event.topic,
        "id": event.id,
        "key": None if event.key is None else base64.b64encode(event.key).decode(),
        "type": event.type,
        "time": event.time,
        "attributes": event.attributes,
        "data": base64.b64encode(event.data).decode() if raw else event.data.decode(),
        "raw": raw,
        "content_type": event.content_type,
        **_note(event),
    }


def _note(event: NewEvent) -> dict[str, str | None]:
    """For the timeline: an event that nothing brought about begins an operation, and is noted when it is handled."""
    if event.trace.correlation_id is None:
        return {}
    key = key_text(event.key)
    return {
        "operation": short(event.trace.correlation_id),
        "cause": event.trace.causation_id,
        "via": event.trace.via,
        "noted_key": short(key) if isinstance(key, str) else None,
    }
