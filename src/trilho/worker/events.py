"""Task and worker events, published by a thread: a broker that hangs must not hold the worker's event loop."""

import threading
import time
from collections import deque
from contextlib import suppress
from types import NoneType
from typing import Any

from celery.app import events
from celery.events.dispatcher import EventDispatcher
from celery.events.event import group_from
from celery.utils.time import utcoffset
from kombu import Producer
from pydantic_core import to_json

from trilho.log import get_logger

log = get_logger("trilho.events")

CAPACITY = 10_000
TOGETHER = 200
"""Events of one message."""
GATHER = 0.01
"""Pause after a message: a stream of events shares messages."""
PAUSE = 1.0
PLAIN = frozenset({str, int, float, bool, NoneType})


class ThreadedDispatcher(EventDispatcher):  # type: ignore[misc]
    """Celery's dispatcher, with a bounded queue between who sends and the broker; the oldest events go first.

    Of groups that Celery would buffer, what waits goes out together.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._outgoing: deque[tuple[Any, str]] = deque(maxlen=CAPACITY)
        self._filled = threading.Condition()
        self._thread: threading.Thread | None = None
        self._asleep = self._ended = False
        super().__init__(*args, **kwargs)

    def send(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """Send an event soon."""
        group = group_from(type)
        if group not in self.buffer_group:
            super().send(type, **fields)
        elif self.enabled and (not self.groups or group in self.groups):
            about = {"hostname": self.hostname, "utcoffset": utcoffset(), "pid": self.pid}
            event = {"timestamp": time.time(), **about, "clock": self.clock.forward(), **fields, "type": type}
            self._put(event, f"{group}.multi")

    def _publish(self, event: Any, producer: Any, routing_key: str, **_: Any) -> None:
        self._put(event, routing_key)

    def _put(self, event: Any, routing_key: str) -> None:
        with self._filled:
            self._outgoing.append((event, routing_key))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trilho-events", daemon=True)
                self._thread.start()
            if self._asleep:
                self._filled.notify()

    def close(self) -> None:
        """Give what waits a moment to go out."""
        super().close()
        with self._filled:
            self._ended = True
            self._filled.notify()
        if self._thread is not None:
            self._thread.join(timeout=0.5)

    def enable(self) -> None:
        """Begin, also after a `disable`."""
        self._asleep = self._ended = False
        self._thread = None
        super().enable()

    def _run(self) -> None:
        producer: Any = None
        while (item := self._next()) is not None:
            try:
                producer = producer or self._connected()
                self._hand_over(producer, *item)
            except Exception as error:  # whatever the transport raises: events are for eyes
                log.debug("event.not_sent", error=repr(error))
                producer = None
                threading.Event().wait(PAUSE)

    def _next(self) -> tuple[Any, str] | None:
        with self._filled:
            if not self._ended:
                self._filled.wait(GATHER)
            while not self._outgoing and not self._ended:
                self._asleep = True
                self._filled.wait()
            self._asleep = False
            return taken(self._outgoing) if self._outgoing else None

    def _connected(self) -> Any:
        connection = self.app.connect_impatiently()
        return Producer(connection.default_channel, exchange=self.exchange, serializer=self.serializer)

    def _hand_over(self, producer: Any, event: Any, routing_key: str) -> None:
        body, options = encoded(event, self.serializer)
        producer.publish(
            body,
            routing_key=routing_key,
            exchange=self.exchange.name,
            declare=[self.exchange],
            headers=self.headers,
            delivery_mode=self.delivery_mode,
            **options,
        )


def taken(outgoing: deque[tuple[Any, str]]) -> tuple[Any, str]:
    """The first event, or, as a list, all of its group up to the next one of another kind."""
    event, routing_key = outgoing.popleft()
    if not routing_key.endswith(".multi"):
        return event, routing_key
    together = [event]
    while len(together) < TOGETHER and outgoing and outgoing[0][1] == routing_key:
        together.append(outgoing.popleft()[0])
    return together, routing_key


def encoded(event: Any, serializer: str) -> tuple[Any, dict[str, Any]]:
    """What kombu is to publish, and how: events of plain values are encoded here, for a fifth of the price."""
    several = event if isinstance(event, list) else [event]
    if serializer == "json" and all(type(value) in PLAIN for each in several for value in each.values()):
        with suppress(ValueError):  # half of a surrogate pair
            return to_json(event), {"content_type": "application/json", "content_encoding": "utf-8"}
    return event, {"serializer": serializer}


class Events(events.Events):  # type: ignore[misc]
    """`app.events` with the threaded dispatcher."""

    dispatcher_cls = "trilho.worker.events:ThreadedDispatcher"
