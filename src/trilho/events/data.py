"""The data of an event: what a publisher gives becomes bytes, and bytes become what a handler's annotation asks for."""

from typing import Any

from pydantic_core import from_json, to_json

from trilho.errors import PayloadTooLarge
from trilho.events.event import BINARY, JSON


def encoded(topic: str, data: Any, limit: int) -> tuple[bytes, str]:
    """Bytes and content type; raises TypeError for what is neither JSON nor bytes, PayloadTooLarge above `limit`."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        raw, kind = bytes(data), BINARY
    else:
        raw, kind = _json(topic, data), JSON
    if len(raw) > limit:
        raise PayloadTooLarge(
            f"the data of an event for {topic!r} has {len(raw)} bytes, above the limit of {limit} "
            "(TRILHO_MAX_PAYLOAD): store it elsewhere and publish a reference"
        )
    return raw, kind


def _json(topic: str, data: Any) -> bytes:
    try:
        return to_json(data, inf_nan_mode="strings")
    except (TypeError, ValueError) as error:
        raise TypeError(f"the data of an event for {topic!r} cannot be stored as JSON: {error}") from error


def decoded(data: bytes, content_type: str) -> Any:
    """The plain value: parsed JSON, or bytes where it is none."""
    return data if content_type == BINARY else from_json(data)
