"""What people do to a run: cancel, retry, skip. Each is one transaction on the run's row."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.errors import LockNotAvailable

from trilho.db.pool import Connection
from trilho.errors import SagaStateError, UnknownSaga
from trilho.jobs.job import NewJob
from trilho.sagas import store
from trilho.sagas.record import COMPENSATED, LIVE, STUCK

if TYPE_CHECKING:
    from trilho.app import Trilho


def cancel(app: "Trilho", saga_id: str) -> None:
    """Ask for the end of a run."""

    def verb(connection: Connection) -> list[NewJob]:
        with connection.transaction():
            run = _locked(connection, saga_id, LIVE | {STUCK}, "cancel")
            if run.state == STUCK and run.verdict is not None:
                raise SagaStateError(saga_id, f"{STUCK} while it is undone: {run.stuck}", "cancel")
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
    """Settle an entry by hand; a run that was STUCK because of it goes on."""

    def verb(connection: Connection) -> list[NewJob]:
        with connection.transaction():
            run = _locked(connection, saga_id, LIVE | {STUCK}, f"skip step {path} of")
            settled = run.stretch is None and store.changed(
                connection, "settle_entry", id=saga_id, path=path, result=result
            )
            if not settled:
                reason = f"{run.state}, and step {path} has ended, has not begun, or runs just now"
                raise SagaStateError(saga_id, reason, f"skip step {path} of")
            store.changed(connection, "resume", id=saga_id)
            return _woken(connection, saga_id)

    app.enqueuer.jobs.committed(app.database.run(verb))


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
        raise SagaStateError(saga_id, "locked: a transaction that signalled it is open, maybe yours", action) from error
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
