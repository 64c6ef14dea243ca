"""Waiting for the end of a run, without hammering the database."""

import time

from trilho.db.pool import Database
from trilho.db.wakeups import Listener, polling_pauses, wait_until
from trilho.errors import UnknownSaga
from trilho.sagas import store
from trilho.sagas.record import FINISHED, STUCK
from trilho.sagas.view import SagaRun


class SagaWaiter:
    """Waits for runs of one database."""

    def __init__(self, database: Database, listener: Listener) -> None:
        self._database = database
        self._listener = listener

    def wait(self, saga_id: str, timeout: float | None = None) -> SagaRun:
        """Wait until the run is finished or STUCK; raises UnknownSaga, TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pauses = polling_pauses()
        with self._listener.watching([f"saga:{saga_id}"]) as bell:
            if not self._database.run(store.changed, "await", id=saga_id) and (run := self._ended(saga_id)):
                return run
            while (left := 60.0 if deadline is None else deadline - time.monotonic()) > 0:
                wait_until(bell, self._listener.connected.is_set, pauses, left)
                if run := self._ended(saga_id):
                    return run
            raise TimeoutError(f"saga {saga_id!r} did not end within {timeout} seconds")

    def _ended(self, saga_id: str) -> SagaRun | None:
        run = self._database.run(store.view, saga_id)
        if run is None:
            raise UnknownSaga(saga_id)
        return run if run.state in FINISHED or run.state == STUCK else None
