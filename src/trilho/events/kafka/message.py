"""An event as a Kafka message: CloudEvents 1.0 in binary mode, and whatever other programs write."""

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from confluent_kafka import Message
from pydantic_core import from_json

from trilho.events.envelope import Attributes
from trilho.events.event import BINARY, JSON, StoredEvent
from trilho.events.log_admin import Place
from trilho.events.store import Lane

Header = tuple[str, str | bytes | None]

_TEXTS = {"source": "ce_source", "correlation_id": "ce_correlationid", "causation_id": "ce_causationid"}
_TRACEPARENT = ("traceparent", "ce_traceparent")
_ENVELOPE = frozenset(
    {"ce_specversion", "ce_id", "ce_type", "ce_time", "content-type", *_TEXTS.values(), *_TRACEPARENT}
)
_LATE = ("id", "type", "time", "attributes")
_PLAIN_JSON = JSON.encode()
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def headers_of(id_: str, type_: str, time: str, attributes: str, content_type: str) -> list[Header]:
    """The headers of an outbox row; `time` as RFC 3339. Headers of the user come last."""
    told: dict[str, Any] = from_json(attributes)
    headers: list[Header] = [
        ("ce_specversion", "1.0"),
        ("ce_id", id_),
        ("ce_type", type_),
        ("ce_time", time),
        ("content-type", content_type),
    ]
    for name, header in _TEXTS.items():
        if name in told:
            headers.append((header, told[name]))
    if "traceparent" in told:
        headers.append(("traceparent", told["traceparent"]))
    if "headers" in told:
        headers.extend(told["headers"].items())
    return headers


def place_of(message: Message) -> Place:
    """Topic and partition of a message."""
    return message.topic() or "", message.partition() or 0


def stored(message: Message, log: str) -> StoredEvent:
    """The event that a message is, ours or not; never fails over what a message has in it.

    `log` is the log identity of its topic. Without CloudEvents headers the id is made of it, of partition and offset,
    the type is the topic, the time is the message's. A message without a value is JSON's null.
    """
    (topic, partition), offset = place_of(message), message.offset() or 0
    envelope, headers = _split(_texts(message))
    value = message.value()
    attributes = Attributes(
        source=envelope.get("ce_source", ""),
        correlation_id=envelope.get("ce_correlationid"),
        causation_id=envelope.get("ce_causationid"),
        traceparent=envelope.get(_TRACEPARENT[0]),
        headers=headers,
    )
    return StoredEvent(
        topic=topic,
        partition=partition,
        offset=offset,
        id=envelope.get("ce_id") or f"{log}/{partition}/{offset}",
        key=message.key(),
        type=envelope.get("ce_type") or topic,
        time=_time(envelope.get("ce_time"), message.timestamp()[1]),
        attributes=attributes.dumped(),
        data=b"null" if value is None else value,
        content_type=_kind(envelope.get("content-type")),
    )


class Fetched(StoredEvent):
    """As `stored`, but most of the envelope is read when somebody asks for it: a handler mostly wants the data."""

    __slots__ = ("_log", "_message", "_pairs")

    def __init__(self, message: Message, lane: Lane) -> None:
        value = message.value()
        self._message, self._log = message, lane.log
        self._pairs: Sequence[tuple[str, Any]] = message.headers() or ()  # type: ignore[assignment]
        self.topic, self.partition = lane.topic, lane.partition
        self.offset = message.offset() or 0
        self.key = message.key()
        self.data = b"null" if value is None else value
        self.content_type = _kind_of(_first(self._pairs, "content-type"))

    @property
    def correlation_id(self) -> str | None:
        """The operation that the envelope names."""
        told = _first(self._pairs, _TEXTS["correlation_id"])
        return None if told is None else _text(told)

    def __getattr__(self, name: str) -> Any:
        if name not in _LATE:
            raise AttributeError(name)
        if name == "id":
            self.id = _text(_first(self._pairs, "ce_id")) or f"{self._log}/{self.partition}/{self.offset}"
            return self.id
        whole = stored(self._message, self._log)
        for late in _LATE:
            setattr(self, late, getattr(whole, late))
        return getattr(whole, name)


def _first(pairs: Sequence[tuple[str, Any]], wanted: str) -> bytes | str | None:
    value: bytes | str | None = next((value for name, value in pairs if name == wanted), None)
    return value


def _kind_of(content_type: bytes | str | None) -> str:
    return JSON if content_type in {None, _PLAIN_JSON} else _kind(_text(content_type))


def _texts(message: Message) -> list[tuple[str, str]]:
    pairs: Sequence[tuple[str, Any]] = message.headers() or []  # type: ignore[assignment]
    return [(_text(name), _text(value)) for name, value in pairs]


def _split(pairs: list[tuple[str, str]]) -> tuple[dict[str, str], dict[str, str]]:
    """Envelope and headers: the first of a name is the envelope's, so that a header of the user cannot forge it."""
    envelope: dict[str, str] = {}
    headers: dict[str, str] = {}
    for name, value in pairs:
        told = _TRACEPARENT[0] if name in _TRACEPARENT else name
        if name in _ENVELOPE and told not in envelope:
            envelope[told] = value
        else:
            headers[name] = value
    return envelope, headers


def _text(value: bytes | str | None) -> str:
    """Text that PostgreSQL takes, whatever the bytes are."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value or ""
    return text.replace("\0", "\\x00")


def _kind(content_type: str | None) -> str:
    """JSON unless the message says that it is something else."""
    media = (content_type or JSON).partition(";")[0].strip().lower()
    return JSON if media == JSON or media.endswith("+json") else BINARY


def _time(told: str | None, milliseconds: int) -> datetime:
    try:
        time = datetime.fromisoformat(told or "")
        return time.astimezone(timezone.utc) if time.tzinfo else time.replace(tzinfo=timezone.utc)
    except (ValueError, OverflowError):
        return _timestamp(milliseconds)


def _timestamp(milliseconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(max(0, milliseconds) / 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):  # not milliseconds at all
        return _EPOCH
