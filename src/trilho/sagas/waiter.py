"""Waiting for the end of a run, without hammering the database."""

import time

from trilho.db.pool import Connection, Database
from trilho.db.wakeups import Listener, polling_pauses, wait_until
from trilho.errors import UnknownSaga
from trilho.sagas.record import FINISHED, STUCK
from trilho.sagas.store import SQL


class SagaWaiter:
    """Waits for runs of one database."""

    def __init__(self, database: Database, listener: Listener) -> None:
        self._database = database
        self._listener = listener

    def wait(self, saga_id: str, timeout: float | None = None) -> None:
        """Wait until the run is finished or STUCK; raises UnknownSaga, TimeoutError after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pauses = polling_pauses()
        with self._listener.watching([f"saga:{saga_id}"]) as bell:
            state = self._database.run(_state, "await", saga_id)
            while state not in FINISHED | {STUCK}:
                left = 60.0 if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"saga {saga_id!r} is {state} after {timeout} seconds")
                wait_until(bell, self._listener.connected.is_set, pauses, left)
                state = self._database.run(_state, "states", saga_id)


def _state(connection: Connection, query: str, saga_id: str) -> str:
    row = connection.execute(SQL[query], {"id": saga_id}).fetchone()
    if row is None:
        raise UnknownSaga(saga_id)
    return str(row[1])
