"""Parking: a failing event and the later ones of its key wait, everything else flows; in the end a dead letter."""

from dataclasses import dataclass
from typing import Any

from trilho.db.pool import Connection, brief_transaction
from trilho.db.text import escaped
from trilho.db.transaction import Tx
from trilho.db.transient import is_transient
from trilho.errors import ClaimLost
from trilho.events import store
from trilho.events.event import StoredEvent
from trilho.events.handling import HandlerFailed, Handling, backend_name, lane_of, parked_row
from trilho.events.noting import DEAD_LETTER, PARKED, RETRY, noted
from trilho.events.reading import DoesNotFit
from trilho.events.store import ParkedEvent, Position
from trilho.log import get_logger

log = get_logger("trilho.parking")

MOST_KEYS = 1_000
"""Parked keys of one partition, past which it rather pauses."""
LOCKS_FOR = 10.0


@dataclass(frozen=True)
class Parking:
    """What becomes of failing events of one lane."""

    handling: Handling

    def park(self, event: StoredEvent, error: BaseException, now: Position) -> bool:
        """Move the offset past a failing event that waits from now on, or is given up; False if too many keys wait."""
        database, lane = self.handling.database, self.handling.lane
        with database.connection() as connection, brief_transaction(connection, LOCKS_FOR):
            if store.count_parked(connection, lane, MOST_KEYS) >= MOST_KEYS:
                return False
            self._settle_first_failure(connection, event, error)
            if not store.swap(connection, lane, now, event.offset + 1):
                raise ClaimLost(f"{lane} was handed to another consumer")
        return True

    def _settle_first_failure(self, connection: Connection, event: StoredEvent, error: BaseException) -> None:
        pause = self._pause(1, error)
        told = told_of(error)
        if self._gives_up(pause):
            self._bury(connection, event, 1, told)
            return
        log.warning("event.parked", **_named(self, event), error=told, retry_in=pause)
        store.park_key(connection, self.handling.lane, lane_of(event), told, pause)
        store.park_events(connection, self.handling.lane, [parked_row(event)])
        self._note(connection, event, RETRY if pause is not None else PARKED, 1, told)

    def retry_one(self, generation: int) -> bool:
        """Try the parked key that is due the longest; whether there was one. Raises ClaimLost."""
        if self.handling.subscription.transactional:
            return self._retry_in_one_commit(generation)
        return self._retry_outside(generation)

    def _retry_outside(self, generation: int) -> bool:
        """At least once, as the first attempt was."""
        handling = self.handling
        with handling.database.connection() as connection, brief_transaction(connection, LOCKS_FOR):
            due = self._due(connection, generation)
        if due is None:
            return False
        try:
            done = handling.retry(due.event, due.attempts + 1, None)
        except HandlerFailed as failed:
            if failed.transient:
                raise
            self._failed_again(due, failed.error, generation)
            return True
        with handling.database.connection() as connection, brief_transaction(connection, LOCKS_FOR):
            if self._still(connection, due, generation):
                store.settle_parked(connection, handling.lane, due)
                handling.note(connection, [done])
        return True

    def _due(self, connection: Connection, generation: int) -> ParkedEvent | None:
        due = store.due_parked(connection, self.handling.lane)
        if due is not None and not store.hold(connection, self.handling.lane, generation):
            raise ClaimLost(f"{self.handling.lane} was handed to another consumer")
        return due

    def _still(self, connection: Connection, due: ParkedEvent, generation: int) -> bool:
        lane = self.handling.lane
        still = store.due_parked(connection, lane, due.lane)
        return still is not None and still.sequence == due.sequence and store.hold(connection, lane, generation)

    def _retry_in_one_commit(self, generation: int) -> bool:
        handling, failed = self.handling, None
        tx = Tx(handling.database, application_name=backend_name(handling.lane, generation))
        try:
            due = self._due(tx.raw, generation)
            if due is None:
                return False
            done = handling.retry(due.event, due.attempts + 1, tx)
            handling.note(tx.raw, [done])
            store.settle_parked(tx.raw, handling.lane, due)
            tx.commit()
        except ClaimLost:
            raise
        except Exception as error:
            if due is None or (error.transient if isinstance(error, HandlerFailed) else is_transient(error)):
                raise
            failed = error.error if isinstance(error, HandlerFailed) else error
        finally:
            tx.close()
        if failed is not None:
            self._failed_again(due, failed, generation)
        return True

    def _failed_again(self, due: ParkedEvent, error: BaseException, generation: int) -> None:
        database, lane = self.handling.database, self.handling.lane
        attempts = due.attempts + 1
        pause, told = self._pause(attempts, error), told_of(error)
        with database.connection() as connection, brief_transaction(connection, LOCKS_FOR):
            if not self._still(connection, due, generation):
                return
            if self._gives_up(pause):
                self._bury(connection, due.event, attempts, told)
                store.settle_parked(connection, lane, due)
            else:
                log.warning("event.failed", **_named(self, due.event), attempts=attempts, error=told, retry_in=pause)
                store.postpone_parked(connection, lane, due.lane, told, pause)
                self._note(connection, due.event, RETRY if pause is not None else PARKED, attempts, told)

    def _gives_up(self, pause: float | None) -> bool:
        return pause is None and self.handling.subscription.on_failure == "dead_letter"

    def _bury(self, connection: Connection, event: StoredEvent, attempts: int, error: str) -> None:
        log.error("event.given_up", **_named(self, event), attempts=attempts, error=error)
        store.bury(connection, self.handling.lane, event, attempts, error)
        self._note(connection, event, DEAD_LETTER, attempts, error)

    def _note(self, connection: Connection, event: StoredEvent, outcome: str, attempt: int, error: str) -> None:
        self.handling.note(connection, [noted(event, self.handling.lane.group, outcome, attempt=attempt, error=error)])

    def _pause(self, attempts: int, error: BaseException) -> float | None:
        if isinstance(error, DoesNotFit):
            return None
        return self.handling.subscription.retry.pause(attempts, error)


def told_of(error: BaseException) -> str:
    """An exception as people read it."""
    return escaped(f"{type(error).__name__}: {error}"[:10_000])


def _named(parking: Parking, event: StoredEvent) -> dict[str, Any]:
    lane = parking.handling.lane
    return {
        "group": lane.group,
        "topic": event.topic,
        "partition": event.partition,
        "offset": event.offset,
        "id": event.id,
    }
