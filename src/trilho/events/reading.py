"""What a handler's annotation asks for: a model, a dict, bytes, an `Event` of these, or a list of any of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, get_args, get_origin

from pydantic import TypeAdapter

from trilho.events.data import decoded
from trilho.events.envelope import Attributes, key_text
from trilho.events.event import BINARY, Event, StoredEvent

Decode: TypeAlias = Callable[[StoredEvent], Any]


class DoesNotFit(ValueError):
    """The data of an event is not what the handler's annotation asks for: no other attempt would help."""


@dataclass(frozen=True)
class Reading:
    """How stored events become the handler's argument."""

    decode: Decode
    whole: bool  # wants the envelope too
    many: bool

    @classmethod
    def of(cls, annotation: Any) -> "Reading":
        """Read an annotation; None is a dict, `Any` is whatever the event has."""
        many = get_origin(annotation) is list
        inner = get_args(annotation)[0] if many else annotation
        whole = inner is Event or get_origin(inner) is Event
        data = (get_args(inner) or (Any,))[0] if whole else inner
        return cls(_decoder(data), whole, many)

    def __call__(self, stored: StoredEvent, attempt: int = 1) -> Any:
        """One event for the handler; raises DoesNotFit."""
        try:
            data = self.decode(stored)
        except ValueError as error:
            raise DoesNotFit(str(error)) from error
        return event_of(stored, data, attempt) if self.whole else data


def _decoder(annotation: Any) -> Decode:
    if annotation is bytes:
        return _raw
    if annotation is Any:
        return _value
    if annotation is None or annotation is dict or get_origin(annotation) is dict:
        return _object
    return partial(_fitted, TypeAdapter(annotation))


def _raw(stored: StoredEvent) -> bytes:
    return stored.data


def _value(stored: StoredEvent) -> Any:
    return decoded(stored.data, stored.content_type)


def _object(stored: StoredEvent) -> dict[str, Any]:
    value = decoded(stored.data, stored.content_type)
    if not isinstance(value, dict):
        raise ValueError(f"the handler takes a JSON object, and the data is of the type {type(value).__name__}")
    return value


def _fitted(adapter: TypeAdapter[Any], stored: StoredEvent) -> Any:
    if stored.content_type == BINARY:
        return adapter.validate_python(stored.data)
    return adapter.validator.validate_json(stored.data)  # what `validate_json` comes to, event by event


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
