"""Task and worker events, published by a thread: a broker that hangs must not hold the worker's event loop."""

import threading
from collections import deque
from typing import Any

from celery.app import events
from celery.events.dispatcher import EventDispatcher
from kombu import Producer

from trilho.log import get_logger

log = get_logger("trilho.events")

CAPACITY = 10_000
PAUSE = 1.0


class ThreadedDispatcher(EventDispatcher):  # type: ignore[misc]
    """Celery's dispatcher, with a bounded queue between who sends and the broker; the oldest events go first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._outgoing: deque[tuple[Any, str]] = deque(maxlen=CAPACITY)
        self._filled = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = False
        super().__init__(*args, **kwargs)

    def _publish(self, event: Any, producer: Any, routing_key: str, **_: Any) -> None:
        kept = list(event) if isinstance(event, list) else event  # Celery empties its buffer when this returns
        with self._filled:
            self._outgoing.append((kept, routing_key))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="trilho-events", daemon=True)
                self._thread.start()
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
        self._ended, self._thread = False, None
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
            while not self._outgoing and not self._ended:
                self._filled.wait()
            return self._outgoing.popleft() if self._outgoing else None

    def _connected(self) -> Any:
        connection = self.app.connect_impatiently()
        return Producer(connection.default_channel, exchange=self.exchange, serializer=self.serializer)

    def _hand_over(self, producer: Any, event: Any, routing_key: str) -> None:
        producer.publish(
            event,
            routing_key=routing_key,
            exchange=self.exchange.name,
            declare=[self.exchange],
            serializer=self.serializer,
            headers=self.headers,
            delivery_mode=self.delivery_mode,
        )


class Events(events.Events):  # type: ignore[misc]
    """`app.events` with the threaded dispatcher."""

    dispatcher_cls = "trilho.worker.events:ThreadedDispatcher"
