"""Waiting for the end of a run, without hammering the database."""

import time
from collections import deque
from contextlib import suppress

from trilho.db.pool import Database
from trilho.db.wakeups import Bell, Listener, looked, polling_pauses, wait_until
from trilho.errors import UnknownSaga
from trilho.sagas import store
from trilho.sagas.record import FINISHED, STUCK
from trilho.sagas.together import Together
from trilho.sagas.view import SagaRun

HABIT = 1000
"""Announcements that are made unasked, at most, after as many waits."""


class SagaWaiter:
    """Waits for runs of one database."""

    def __init__(self, database: Database, listener: Listener, views: Together[str, SagaRun | None]) -> None:
        self._database = database
        self._views = views
        self._listener = listener
        self._habit: deque[None] = deque(maxlen=HABIT)

    def expecting(self, saga_id: str) -> Bell | None:
        """A bell for a run that is about to begin: whoever waited for the last one will wait for this one, so that its
        end may be announced without being asked for. Each wait allows one; None where none is left."""
        if not self._habit:
            return None
        bell = self._listener.expecting(_key(saga_id))
        if bell is not None:
            with suppress(IndexError):  # another thread was faster
                self._habit.pop()
        return bell

    def wait(self, saga_id: str, timeout: float | None = None, expected: Bell | None = None) -> SagaRun:
        """Wait until the run is finished or STUCK; PostgreSQL may be away meanwhile.

        Raises UnknownSaga, TimeoutError after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pauses = polling_pauses()
        self._habit.append(None)
        with self._listener.watching([_key(saga_id)], expected) as bell:
            if expected is None and not self._announced(saga_id) and (run := self._ended(saga_id)):
                return run
            while (left := 60.0 if deadline is None else deadline - time.monotonic()) > 0:
                wait_until(bell, self._listener.connected.is_set, pauses, left)
                if run := looked(lambda: self._ended(saga_id)):
                    return run
            if run := looked(lambda: self._ended(saga_id)):  # for whoever had no time to wait
                return run
            raise TimeoutError(f"saga {saga_id!r} did not end within {timeout} seconds")

    def _announced(self, saga_id: str) -> bool:
        """Ask for an announcement of the end; whether that had not been done before."""
        return self._database.run(store.changed, "await", id=saga_id)

    def _ended(self, saga_id: str) -> SagaRun | None:
        run = self._views.do(saga_id)
        if run is None:
            raise UnknownSaga(saga_id)
        return run if run.state in FINISHED or run.state == STUCK else None


def _key(saga_id: str) -> str:
    return f"saga:{saga_id}"
