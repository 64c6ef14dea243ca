"""CloudEvents 1.0: what stands around the data of an event, as one JSON object beside the columns of its row."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trilho.db.text import checked as checked_text
from trilho.errors import PayloadTooLarge
from trilho.trace import Trace

MAX_KEY = 4_096
MAX_HEADERS = 16_384
MAX_TYPE = 255
OWN_PREFIX = "ce_"
OWN_HEADERS = frozenset({"traceparent", "content-type"})
"""What the envelope is called as headers of Kafka: no header of the user may stand in its place."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """The envelope without id, type and time, which are columns."""

    source: str
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, source: str, event_id: str, trace: Trace, headers: Mapping[str, str]) -> "Attributes":
        """The envelope of a new event; without an operation around it, it begins one."""
        return cls(source, trace.correlation_id or event_id, trace.causation_id, trace.traceparent, checked(headers))

    def dumped(self) -> str:
        """As stored."""
        pairs = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({name: value for name, value in pairs.items() if value}, separators=(",", ":"))

    @classmethod
    def loaded(cls, text: str) -> "Attributes":
        """From what `dumped` made."""
        known: dict[str, Any] = json.loads(text)
        return cls(**({"source": ""} | known))


def checked(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers; raises TypeError for what is no text, ValueError for the envelope's own, PayloadTooLarge."""
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"header {name!r} must be text, not {type(value).__name__}")
        if name.lower().startswith(OWN_PREFIX) or name.lower() in OWN_HEADERS:
            raise ValueError(f"header {name!r:.80} is the envelope's: ce_*, traceparent and content-type are not yours")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in headers.items())
    if size > MAX_HEADERS:
        raise PayloadTooLarge(f"the headers of an event have {size} bytes, above the limit of {MAX_HEADERS}")
    return dict(headers)


def checked_type(type_: str | None) -> str | None:
    """The type, if one is given; raises ValueError above 255 characters, and for what PostgreSQL refuses."""
    return None if type_ is None else checked_text("type", type_, MAX_TYPE)


def key_bytes(key: Any) -> bytes | None:
    """The key as Kafka wants it; raises TypeError for what is no key, PayloadTooLarge above 4 KiB."""
    if key is None or isinstance(key, bytes):
        raw = key
    elif isinstance(key, (bytearray, memoryview)):
        raw = bytes(key)
    elif isinstance(key, (list, dict, set, tuple, float)):
        raise TypeError(f"a key is text, bytes, an integer or a UUID, not {type(key).__name__}")
    else:
        raw = str(key).encode()
    if raw is not None and len(raw) > MAX_KEY:
        raise PayloadTooLarge(f"the key of an event has {len(raw)} bytes, above the limit of {MAX_KEY}")
    return raw


def key_text(key: bytes | None) -> str | bytes | None:
    """The key as handlers see it: text where it is text."""
    if key is None:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key
