"""What a handler's annotation asks for: a model, a dict, bytes, an `Event` of these, or a list of any of them."""

from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter

from trilho.events.data import decoded
from trilho.events.envelope import Attributes, key_text
from trilho.events.event import BINARY, Event, StoredEvent


@dataclass(frozen=True)
class Reading:
    """How stored events become the handler's argument."""

    adapter: TypeAdapter[Any] | None
    whole: bool  # wants the envelope too
    many: bool

    @classmethod
    def of(cls, annotation: Any) -> "Reading":
        """Read an annotation; None is a plain dict."""
        many = get_origin(annotation) is list
        inner = (get_args(annotation) or (None,))[0] if many else annotation
        whole = inner is Event or get_origin(inner) is Event
        data = (get_args(inner) or (None,))[0] if whole else inner
        plain = data in {None, Any, dict, bytes} or get_origin(data) is dict
        return cls(None if plain else TypeAdapter(data), whole, many)

    def __call__(self, stored: StoredEvent, attempt: int = 1) -> Any:
        """One event for the handler; raises ValueError or pydantic's ValidationError for data that does not fit."""
        data = self._data(stored)
        return event_of(stored, data, attempt) if self.whole else data

    def _data(self, stored: StoredEvent) -> Any:
        if self.adapter is None:
            return decoded(stored.data, stored.content_type)
        if stored.content_type == BINARY:
            return self.adapter.validate_python(stored.data)
        return self.adapter.validator.validate_json(stored.data)  # what `validate_json` comes to, event by event


def event_of(stored: StoredEvent, data: Any, attempt: int) -> Event[Any]:
    """The envelope around decoded data."""
    attributes = Attributes.loaded(stored.attributes)
    return Event(
        topic=stored.topic,
        partition=stored.partition,
        offset=stored.offset,
        id=stored.id,
        type=stored.type,
        source=attributes.source,
        time=stored.time,
        key=key_text(stored.key),
        data=data,
        headers=attributes.headers,
        correlation_id=attributes.correlation_id,
        causation_id=attributes.causation_id,
        traceparent=attributes.traceparent,
        attempt=attempt,
    )
