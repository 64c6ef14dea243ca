"""Waiting for the end of jobs, without hammering the database."""

import time
from collections.abc import Mapping, Sequence

from trilho.db.pool import Connection, Database
from trilho.db.wakeups import Listener, looked, polling_pauses, wait_until
from trilho.errors import UnknownJob
from trilho.jobs.job import FINISHED
from trilho.jobs.store import AWAIT_ONE, SQL


class Waiter:
    """Waits for jobs of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.listener = Listener(database)

    def wait(self, ids: Sequence[str], timeout: float | None = None) -> set[str]:
        """Wait until one of the jobs at least is finished; returns the finished ones.

        `timeout` is in seconds; PostgreSQL may be away meanwhile. Raises UnknownJob for an id without a row,
        TimeoutError when the time is over.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        pauses = polling_pauses()
        with self.listener.watching(ids) as bell:
            finished = self._database.run(ask, ids)
            while not finished:
                left = 60.0 if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{len(ids)} job(s) did not end within {timeout} seconds, such as {ids[0]!r}")
                wait_until(bell, self.listener.connected.is_set, pauses, left)
                finished = bell.take() or looked(lambda: ended(ids, self._database.run(_states, ids))) or set()
            return finished


def ended(ids: Sequence[str], states: Mapping[str, str]) -> set[str]:
    """The finished ones; raises UnknownJob for an id without a row."""
    for job_id in ids:
        if job_id not in states:
            raise UnknownJob(job_id)
    return {job_id for job_id, state in states.items() if state in FINISHED}


def ask(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Have the ends of jobs announced; those that are finished already. Raises UnknownJob."""
    if len(ids) == 1 and AWAIT_ONE.fetch(connection, {"id": ids[0]}):
        return set()
    rows = connection.execute(SQL["await"], {"ids": list(ids)}).fetchall()
    finished = ended(ids, {job_id: state for job_id, state, _ in rows})
    if finished or all(awaited for _, _, awaited in rows):
        return finished
    return ended(ids, _states(connection, ids))


def _states(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    return dict(connection.execute(SQL["states"], {"ids": list(ids)}).fetchall())
