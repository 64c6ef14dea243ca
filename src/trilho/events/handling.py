"""One batch of one lane: handlers, what they write, and the offset are one commit, or nothing."""

import base64
import hashlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trilho import trace
from trilho.db.pool import Connection, Database
from trilho.db.text import escaped
from trilho.db.transaction import Tx, installed
from trilho.db.transient import is_transient
from trilho.errors import ClaimLost
from trilho.events import store
from trilho.events.envelope import Attributes
from trilho.events.event import StoredEvent
from trilho.events.plan import Failure
from trilho.events.store import Lane, Position
from trilho.events.subscription import Subscription
from trilho.trace import Trace


class HandlerFailed(Exception):
    """The handler raised, or the event could not be decoded, at an index of its batch if anybody can tell."""

    def __init__(self, index: int | None, error: BaseException, tx: Tx | None) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.index = index
        self.error = error
        self.transient = is_transient(error, tx is not None and tx.was_harmed())


@contextmanager
def blamed_on(index: int | None, tx: Tx | None) -> Iterator[None]:
    """What is raised in the block is the fault of one event, or of nobody knows which."""
    try:
        yield
    except Exception as error:
        raise HandlerFailed(index, error, tx) from error


@dataclass(frozen=True)
class Handling:
    """Runs the handler of one lane; `run_async` runs a coroutine to its end in this thread."""

    database: Database
    subscription: Subscription
    lane: Lane
    run_async: Callable[[Coroutine[Any, Any, Any]], Any]

    def __call__(self, events: Sequence[StoredEvent], now: Position) -> Failure | None:
        """Handle the events and move the offset past them; raises ClaimLost when the lane is not ours any more."""
        try:
            if self.subscription.transactional:
                self._in_one_commit(events, now)
            else:
                self._one_by_one(events, now)
        except ClaimLost:
            raise
        except HandlerFailed as failed:
            return Failure(failed.index, failed.error, failed.transient)
        except Exception as error:  # the commit failed, for a reason in some event of the batch or in none
            return Failure(None, error, is_transient(error))
        return None

    def _in_one_commit(self, events: Sequence[StoredEvent], now: Position) -> None:
        tx = Tx(self.database, application_name=backend_name(self.lane, now.generation))
        try:
            tx.pending.last = lambda connection: self._swap(connection, now, events[-1].offset + 1)
            flowing = self._append_to_parked(tx.raw, events)
            with installed(tx):
                self._call(flowing, tx)
                tx.flush()
            tx.commit()
            self.database.faults.hit("consume.after_commit")
        finally:
            tx.close()

    def _one_by_one(self, events: Sequence[StoredEvent], now: Position) -> None:
        """Outside of any transaction, for long handlers: at least once; each event that is done counts at once."""
        for event in events:
            with self.database.connection() as connection, connection.transaction():
                parked = not self._append_to_parked(connection, [event])
            if not parked:
                self._call([(event.offset - events[0].offset, event)], None)
            with self.database.connection() as connection:
                self._swap(connection, now, event.offset + 1)
            now = Position(event.offset + 1, now.generation)

    def _append_to_parked(self, connection: Connection, events: Sequence[StoredEvent]) -> list[tuple[int, StoredEvent]]:
        """Let the events of keys that wait queue behind what they wait for; returns the others, with their index."""
        waiting = store.lock_parked(connection, self.lane, sorted({lane_of(event) for event in events}))
        behind = [event for event in events if lane_of(event) in waiting]
        if behind:
            store.park_events(connection, self.lane, [parked_row(event) for event in behind])
        return [(index, event) for index, event in enumerate(events) if lane_of(event) not in waiting]

    def _call(self, events: Sequence[tuple[int, StoredEvent]], tx: Tx | None, attempt: int = 1) -> None:
        if not events:
            return
        if self.subscription.reading.many:
            self._call_with_list(events, tx, attempt)
            return
        for index, event in events:
            with blamed_on(index, tx):
                self._invoke(self.subscription.reading(event, attempt), event, tx)

    def _call_with_list(self, events: Sequence[tuple[int, StoredEvent]], tx: Tx | None, attempt: int) -> None:
        arguments = []
        for index, event in events:
            with blamed_on(index, tx):
                arguments.append(self.subscription.reading(event, attempt))
        with blamed_on(None, tx):
            self._invoke(arguments, events[0][1], tx)

    def _invoke(self, argument: Any, event: StoredEvent, tx: Tx | None) -> None:
        subscription = self.subscription
        with trace.entered(trace_of(event)):
            given = {subscription.tx_name: tx} if subscription.tx_name is not None else {}
            result = subscription.handler(argument, **given)
            if isinstance(result, Coroutine):
                self.run_async(result)

    def retry(self, event: StoredEvent, attempt: int, tx: Tx) -> None:
        """Handle one parked event in a transaction that the caller commits; raises HandlerFailed."""
        with installed(tx):
            self._call([(0, event)], tx, attempt)
            tx.flush()

    def _swap(self, connection: Connection, now: Position, to: int) -> None:
        self.database.faults.hit("consume.before_commit")
        if not store.swap(connection, self.lane, now, to):
            raise ClaimLost(f"{self.lane} was handed to another consumer, or its offset was reset")


def trace_of(event: StoredEvent) -> Trace:
    """What a handler's own jobs and events belong to."""
    attributes = Attributes.loaded(event.attributes)
    return Trace(attributes.correlation_id, event.id, attributes.traceparent)


def lane_of(event: StoredEvent) -> str:
    """The key by which events wait for each other; an event without one waits alone."""
    if event.key is None:
        return f"offset:{event.partition}:{event.offset}"
    return "key:" + escaped(event.key.decode(errors="backslashreplace"))


def parked_row(event: StoredEvent) -> dict[str, Any]:
    """As `park_events` takes it."""
    return {
        "lane": lane_of(event),
        "topic": event.topic,
        "partition": event.partition,
        "offset": event.offset,
        "id": event.id,
        "key": None if event.key is None else base64.b64encode(event.key).decode(),
        "type": event.type,
        "time": event.time,
        "attributes": event.attributes,
        "data": base64.b64encode(event.data).decode(),
        "content_type": event.content_type,
    }


def backend_name(lane: Lane, generation: int) -> str:
    """The `application_name` of a lane's transactions under one generation: whoever takes it over ends what is left."""
    text = f"{lane.group}\n{lane.log}\n{lane.topic}\n{lane.partition}\n{generation}"
    return f"trilho:{hashlib.sha256(text.encode()).hexdigest()[:32]}"
