"""One batch of one lane: handlers, what they write, and the offset are one commit, or nothing."""

import base64
import hashlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeAlias

from trilho import trace
from trilho.db.pool import Connection, Database
from trilho.db.text import escaped
from trilho.db.transaction import Tx, installed
from trilho.db.transient import is_contention, is_transient
from trilho.errors import ClaimLost
from trilho.events import store
from trilho.events.event import StoredEvent
from trilho.events.noting import DONE, NOTHING, QUEUED, Handled, handled, noted, trace_of
from trilho.events.plan import Failure
from trilho.events.store import Lane, Position
from trilho.events.subscription import Subscription
from trilho.timeline import note
from trilho.timeline.note import Note
from trilho.trace import Trace


class HandlerFailed(Exception):
    """The handler raised, or the event could not be decoded, at an index of its batch if anybody can tell."""

    def __init__(self, index: int | None, error: BaseException, tx: Tx | None) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.index = index
        self.error = error
        self.transient = is_transient(error, tx is not None and tx.was_harmed())


LONGEST_LANE = 1_000
"""Bytes of a key by which it waits; a longer one waits by its hash, for an index of PostgreSQL takes no 3 kB."""

Numbered: TypeAlias = Sequence[tuple[int, StoredEvent]]
"""Events with their index in the batch."""


@dataclass(slots=True)
class Turn:
    """The event whose handler runs; the index is None where nobody can tell which one it is."""

    index: int | None
    event: StoredEvent
    group: str
    begun: list[float] = field(default_factory=list)

    def trace(self) -> Trace:
        """What the handler's own jobs and events belong to; asked seldom, so it is read when it is asked for."""
        return trace_of(self.event, self.group)


@dataclass(frozen=True)
class Handling:
    """Runs the handler of one lane; `run_async` runs a coroutine to its end in this thread."""

    database: Database
    subscription: Subscription
    lane: Lane
    run_async: Callable[[Coroutine[Any, Any, Any]], Any]

    def __call__(self, events: Sequence[StoredEvent], now: Position, alone: bool = False) -> Failure | None:
        """Handle the events and move the offset past them; raises ClaimLost when the lane is not ours any more.

        `alone` keeps other batches of the group, those that are to be alone too, from running at the same time.
        """
        try:
            if self.subscription.transactional:
                self._in_one_commit(events, now, alone)
            else:
                self._outside(events, now)
        except ClaimLost:
            raise
        except HandlerFailed as failed:
            return Failure(failed.index, failed.error, failed.transient, is_contention(failed.error))
        except Exception as error:  # the commit failed, for a reason in some event of the batch or in none
            return Failure(None, error, is_transient(error), is_contention(error))
        return None

    def _in_one_commit(self, events: Sequence[StoredEvent], now: Position, alone: bool) -> None:
        tx = Tx(self.database, application_name=backend_name(self.lane, now.generation))
        try:
            done: list[Handled] = []
            tx.pending.last = lambda connection: self._swap(connection, now, events[-1].offset + 1, done[0])
            if alone:
                store.wait_turn(tx.raw, self.lane.group)
            flowing = self._append_to_parked(tx.raw, events)
            with installed(tx):
                done.append(self._handled(flowing, self._call(flowing, tx)))
                tx.flush()
            tx.commit()
            self.database.faults.hit("consume.after_commit")
        finally:
            tx.close()

    def _outside(self, events: Sequence[StoredEvent], now: Position) -> None:
        """Outside of any transaction, for long handlers, one event at a time: at least once."""
        [event] = events
        with self.database.connection() as connection, connection.transaction():
            flowing = self._append_to_parked(connection, events)
            if not flowing:
                self._swap(connection, now, event.offset + 1, NOTHING)
                return
        done = self._handled(flowing, self._call(flowing, None))
        with self.database.connection() as connection, connection.transaction():
            self._swap(connection, now, event.offset + 1, done)

    def _append_to_parked(self, connection: Connection, events: Sequence[StoredEvent]) -> Numbered:
        """Let the events of keys that wait queue behind what they wait for; returns the others, with their index."""
        if not store.some_parked(connection, self.lane):
            return list(enumerate(events))
        lanes = [lane_of(event) for event in events]
        waiting = store.lock_parked(connection, self.lane, sorted(set(lanes)))
        behind = [event for event, lane in zip(events, lanes, strict=True) if lane in waiting]
        if behind:
            store.park_events(connection, self.lane, [parked_row(event) for event in behind])
            self.note(connection, [noted(event, self.lane.group, QUEUED, attempt=0) for event in behind])
        return [(index, event) for index, event in enumerate(events) if lanes[index] not in waiting]

    def _call(self, events: Numbered, tx: Tx | None, attempt: int = 1) -> list[float]:
        """One event after the other; gives when each began. What is raised is the fault of the one whose turn it is."""
        if not events:
            return []
        turn = Turn(*events[0], self.lane.group)
        try:
            with trace.entered(turn.trace):
                if self.subscription.reading.many:
                    self._call_with_list(events, tx, attempt, turn)
                elif self.subscription.is_async:
                    self.run_async(self._await_each(events, tx, attempt, turn))
                else:
                    self._call_each(events, tx, attempt, turn)
        except BaseException as error:  # sys.exit() in a handler ends no thread that works for other handlers
            raise HandlerFailed(turn.index, error, tx) from error
        return turn.begun

    def _handled(self, events: Numbered, begun: Sequence[float]) -> Handled:
        if not events or not self.subscription.timeline:
            return NOTHING
        return handled([event for _, event in events], begun)

    def _call_each(self, events: Numbered, tx: Tx | None, attempt: int, turn: Turn) -> None:
        handler, reading, given = self.subscription.handler, self.subscription.reading, self._given(tx)
        for turn.index, turn.event in events:
            turn.begun.append(monotonic())
            result = handler(reading(turn.event, attempt), **given)
            if isinstance(result, Coroutine):
                self.run_async(result)

    async def _await_each(self, events: Numbered, tx: Tx | None, attempt: int, turn: Turn) -> None:
        handler, reading, given = self.subscription.handler, self.subscription.reading, self._given(tx)
        for turn.index, turn.event in events:
            turn.begun.append(monotonic())
            await handler(reading(turn.event, attempt), **given)

    def _call_with_list(self, events: Numbered, tx: Tx | None, attempt: int, turn: Turn) -> None:
        arguments = []
        for turn.index, turn.event in events:
            arguments.append(self.subscription.reading(turn.event, attempt))
        turn.index, turn.event = None, events[0][1]
        turn.begun = [monotonic()] * len(events)
        result = self.subscription.handler(arguments, **self._given(tx))
        if isinstance(result, Coroutine):
            self.run_async(result)

    def _given(self, tx: Tx | None) -> dict[str, Tx | None]:
        return {self.subscription.tx_name: tx} if self.subscription.tx_name is not None else {}

    def retry(self, event: StoredEvent, attempt: int, tx: Tx | None) -> Note:
        """Handle one parked event, in a transaction that the caller commits if there is one; raises HandlerFailed."""
        with installed(tx):
            [begun] = self._call([(0, event)], tx, attempt)
            if tx is not None:
                tx.flush()
        return noted(event, self.lane.group, DONE, attempt=attempt, took=monotonic() - begun)

    def note(self, connection: Connection, notes: Sequence[Note]) -> None:
        """Keep these for the timeline, if the subscription wants one."""
        if self.subscription.timeline:
            note.write(connection, notes)

    def _swap(self, connection: Connection, now: Position, to: int, done: Handled) -> None:
        self.database.faults.hit("consume.before_commit")
        if not store.swap(connection, self.lane, now, to, done):
            raise ClaimLost(f"{self.lane} was handed to another consumer, or its offset was reset")
        self.database.faults.hit("consume.swapped")


def lane_of(event: StoredEvent) -> str:
    """The key by which events wait for each other; an event without one waits alone."""
    if event.key is None:
        return f"offset:{event.partition}:{event.offset}"
    text = escaped(event.key.decode(errors="backslashreplace"))
    if len(text.encode()) > LONGEST_LANE:
        return f"hash:{hashlib.sha256(event.key).hexdigest()}:{text[:50]}"
    return "key:" + text


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
