"""`app.bus`: publishing, and what applications declare about topics and handlers."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

import uuid_utils
from pydantic import BaseModel

from trilho import trace
from trilho.db.pending import write_now
from trilho.db.pool import Connection
from trilho.db.transaction import ambient
from trilho.errors import ConfigurationError, TransactionError
from trilho.events import data as payload
from trilho.events import store
from trilho.events.envelope import Attributes, checked_type, key_bytes
from trilho.events.event import NewEvent, Published
from trilho.events.nudge import Nudge
from trilho.events.options import OnFailure, Start, named
from trilho.events.outbox import OutboxSink
from trilho.events.partition import hash_of, shard_of
from trilho.events.retry import Retry
from trilho.events.subscription import Subscription, Subscriptions
from trilho.events.topic import PARTITIONS, RETENTION, Topic, check_name

if TYPE_CHECKING:
    from trilho.app import Trilho

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass
class Bus:
    """Publishes events with the caller's transaction, and knows who handles which."""

    app: "Trilho"
    topics: dict[str, Topic] = field(default_factory=dict)
    subscriptions: Subscriptions = field(default_factory=Subscriptions)

    def __post_init__(self) -> None:
        self.outbox = OutboxSink(Nudge(self.app.database))

    # ---- declaring

    def topic(
        self,
        name: str,
        *,
        partitions: int = PARTITIONS,
        retention: timedelta | None = RETENTION,
        schema: Any = None,
    ) -> Topic:
        """Declare a topic; made, or grown, by `migrate` and at the start of a consumer.

        Raises ConfigurationError for what no topic can be, and for another declaration of the same one.
        """
        try:
            declared = Topic(name, partitions, retention, schema)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        known = self.topics.setdefault(name, declared)
        if known != declared:
            raise ConfigurationError(f"topic {name!r} is declared twice, and differently")
        return known

    def declare(self, connection: Connection) -> None:
        """Make the declared topics exist."""
        if self.topics:
            store.declare(connection, list(self.topics.values()))

    def subscribe(
        self,
        *topics: str,
        group: str | None = None,
        retry: Retry | None = None,
        on_failure: OnFailure = "dead_letter",
        batch: int = 100,
        start: Start = "earliest",
        transactional: bool = True,
        timeline: bool | None = None,
    ) -> Callable[[Handler], Handler]:
        """Handle the events of topics; without `group` the handler's qualified name is the group.

        `timeline` keeps who handled which event when: unless it is said, for handlers that take one event at a time.
        Raises ConfigurationError that names the handler, for options and signatures that cannot be.
        """
        for topic in topics:
            if callable(topic):
                raise ConfigurationError(f'{named(topic)} names no topic: write @app.bus.subscribe("topic") above it')

        def register(handler: Handler) -> Handler:
            if not callable(handler):
                raise ConfigurationError(f"{named(handler)} must be a function")
            self.subscriptions.add(
                Subscription.of(
                    handler,
                    topics=_checked(handler, topics),
                    group=_own_group(handler) if group is None else group,
                    retry=Retry() if retry is None else retry,
                    on_failure=on_failure,
                    batch=batch,
                    start=start,
                    transactional=transactional,
                    timeline=timeline,
                )
            )
            return handler

        return register

    # ---- publishing

    def publish(
        self,
        topic: str,
        data: Any,
        key: Any = None,
        type: str | None = None,  # noqa: A002 - CloudEvents' name
        headers: Mapping[str, str] | None = None,
    ) -> Published:
        """Publish with the ambient transaction, or durably at once.

        Raises ValueError for a topic name that Kafka refuses, a type above 255 characters and a header with a name of
        the envelope's; EventSchemaError, TypeError, PayloadTooLarge.
        """
        event = self.new_event(topic, data, key, type, headers or {})
        self._write([event])
        return Published(event.id, event.topic)

    async def apublish(
        self,
        topic: str,
        data: Any,
        key: Any = None,
        type: str | None = None,  # noqa: A002 - CloudEvents' name
        headers: Mapping[str, str] | None = None,
    ) -> Published:
        """As `publish`, without blocking the event loop."""
        event = self.new_event(topic, data, key, type, headers or {})
        await self.app.without_blocking(self._write, [event])
        return Published(event.id, event.topic)

    def publish_many(self, topic: str, items: Iterable[tuple[Any, Any]]) -> list[Published]:
        """Publish pairs of key and data in one statement, in order."""
        events = [self.new_event(topic, data, key, None, {}) for key, data in items]
        self._write(events)
        return [Published(event.id, event.topic) for event in events]

    def new_event(
        self,
        topic: str,
        data: Any,
        key: Any,
        type: str | None,  # noqa: A002 - CloudEvents' name
        headers: Mapping[str, str],
    ) -> NewEvent:
        """The event as it is stored; nothing is written."""
        check_name(topic)
        declared = self.topics.get(topic)
        data = declared.checked(data) if declared is not None else data
        raw, content_type = payload.encoded(topic, data, self.app.settings.max_payload)
        event_id = str(uuid_utils.uuid7())
        stored_key = key_bytes(key)
        hash_ = hash_of(stored_key)
        around = trace.current()
        return NewEvent(
            id=event_id,
            topic=topic,
            key=stored_key,
            hash=hash_,
            shard=shard_of(topic, hash_),
            type=checked_type(type) or (data.__class__.__name__ if isinstance(data, BaseModel) else topic),
            time=datetime.now(timezone.utc),
            attributes=Attributes.of(f"/{self.app.main}", event_id, around, headers).dumped(),
            data=raw,
            content_type=content_type,
            trace=around,
        )

    def _write(self, events: list[NewEvent]) -> None:
        tx = ambient(self.app.database)
        if tx is not None:
            for event in events:
                tx.add(self.outbox, event)
        elif self.app.settings.require_transaction:
            raise TransactionError("publish() outside a transaction, and require_transaction is set")
        elif events:
            write_now(self.app.database, [(self.outbox, event) for event in events])


def _own_group(handler: Callable[..., Any]) -> str | None:
    name = getattr(handler, "__qualname__", None)  # a partial has none, and needs a group
    return None if name is None else f"{handler.__module__}.{name}"


def _checked(handler: Callable[..., Any], topics: Iterable[str]) -> tuple[str, ...]:
    try:
        return tuple(check_name(topic) for topic in topics)
    except ValueError as error:
        raise ConfigurationError(f"{named(handler)}: {error}") from error
