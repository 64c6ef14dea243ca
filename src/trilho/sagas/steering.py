"""What people do to a run: cancel, retry, skip. Each is one transaction on the run's row."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.errors import LockNotAvailable

from trilho.db.pool import Connection
from trilho.errors import SagaStateError, UnknownSaga
from trilho.jobs.aftermath import cancel_waiting
from trilho.jobs.job import WAITING, NewJob
from trilho.sagas import store
from trilho.sagas.record import COMPENSATED, LIVE, OPEN, RETRY, STUCK

if TYPE_CHECKING:
    from trilho.app import Trilho


def cancel(app: "Trilho", saga_id: str) -> None:
    """Ask for the end of a run."""

    def verb(connection: Connection) -> list[NewJob]:
        with connection.transaction():
            run = _locked(connection, saga_id, LIVE | {STUCK}, "cancel")
            if run.state == STUCK and run.verdict is not None:
                raise SagaStateError(saga_id, STUCK, "cancel", f" while it is undone: {run.stuck}")
            store.changed(connection, "request_cancel", id=saga_id)
            store.changed(connection, "resume", id=saga_id)
            app.database.faults.hit("saga.cancel_before_commit")
            return _woken(connection, saga_id)

    app.enqueuer.jobs.committed(app.database.run(verb))


def retry(app: "Trilho", saga_id: str) -> None:
    """Let a STUCK run go on."""

    def verb(connection: Connection) -> list[NewJob]:
        with connection.transaction():
            _locked(connection, saga_id, {STUCK}, "retry")
            store.changed(connection, "try_again", id=saga_id)
            store.changed(connection, "resume", id=saga_id)
            return _woken(connection, saga_id)

    app.enqueuer.jobs.committed(app.database.run(verb))


def skip(app: "Trilho", saga_id: str, path: str, result: str) -> None:
    """Settle an entry by hand; a run that was STUCK because of it goes on, and a job that waits is revoked."""

    def verb(connection: Connection) -> list[NewJob]:
        woken: list[NewJob] = []

        def settle(revoked: str | None = None) -> None:
            woken.extend(_settled(connection, saga_id, path, result, revoked))

        entry = _standing(connection, saga_id, path)
        job = None if entry is None or entry.job_state not in WAITING else entry.job_id
        if job is None or not cancel_waiting(app, connection, job, "skipped by hand", lambda: settle(job)):
            with connection.transaction():
                settle()
        return woken

    app.enqueuer.jobs.committed(app.database.run(verb))


def _settled(connection: Connection, saga_id: str, path: str, result: str, revoked: str | None) -> list[NewJob]:
    action = f"skip step {path} of"
    run = _locked(connection, saga_id, LIVE | {STUCK}, action)
    values = {"id": saga_id, "path": path, "result": result, "revoked": revoked}
    if run.stretch is not None or not store.changed(connection, "settle_entry", **values):
        because = not_settled_because(path, _standing(connection, saga_id, path, revoked))
        raise SagaStateError(saga_id, run.state, action, f", and {because}")
    store.changed(connection, "resume", id=saga_id)
    return _woken(connection, saga_id)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an entry stands, and its job if that has not ended."""

    state: str
    job_id: str | None = None
    job_state: str | None = None


def _standing(connection: Connection, saga_id: str, path: str, revoked: str | None = None) -> Standing | None:
    row = connection.execute(store.SQL["standing"], {"id": saga_id, "path": path, "revoked": revoked}).fetchone()
    return None if row is None else Standing(*row)


def not_settled_because(path: str, entry: Standing | None) -> str:
    """Why a person cannot settle an entry, and what to do."""
    if entry is None:
        return f"step {path} has not begun: history() has the numbers of the steps that have"
    if entry.state not in (OPEN, RETRY):
        return f"step {path} has ended: it is {entry.state}"
    if entry.job_state is not None and entry.job_state not in WAITING:
        return f"step {path} runs just now: wait for the end of job {entry.job_id}, or cancel() the run"
    return "a worker goes on with it just now, or will in a moment: try again then"


@dataclass(frozen=True, slots=True)
class Locked:
    """What decides about a person's wish."""

    state: str
    verdict: str | None
    stretch: str | None
    stuck: str | None


def _look(connection: Connection, saga_id: str) -> Locked | None:
    row = connection.execute(store.SQL["lock"], {"id": saga_id}).fetchone()
    return None if row is None else Locked(*row)


def _locked(connection: Connection, saga_id: str, allowed: Collection[str], action: str) -> Locked:
    store.changed(connection, "wait_briefly")
    try:
        run = _look(connection, saga_id)
    except LockNotAvailable as error:
        more = ": a transaction that signalled it is open, maybe yours"
        raise SagaStateError(saga_id, "locked", action, more) from error
    if run is None:
        raise UnknownSaga(saga_id)
    if run.state not in allowed:
        raise SagaStateError(saga_id, run.state, action)
    return run


def _woken(connection: Connection, saga_id: str) -> list[NewJob]:
    return store.jobs(connection, "wake", ids=[saga_id])


def call_off(connection: Connection, saga_id: str) -> list[NewJob]:
    """Have a run undone whose caller is undone: one that completed, too."""
    run = _look(connection, saga_id)
    if run is None or run.state == COMPENSATED or run.verdict is not None:
        return []
    if not store.changed(connection, "call_off", id=saga_id):
        store.changed(connection, "request_cancel", id=saga_id)
    return _woken(connection, saga_id)
