"""What hangs on the end of a job that no body brought about: errbacks, the rest of its chain, its chord."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.app.task import Context
from celery.exceptions import Reject, TaskRevokedError

from trilho.db.pool import LOST
from trilho.jobs.attempt import RunningAttempt, entered
from trilho.jobs.job import REVOKED
from trilho.jobs.outcome import Finish
from trilho.jobs.request import request_of
from trilho.log import get_logger

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.jobs")

_KINDS: dict[str, type[BaseException]] = {"TimeLimitExceeded": TimeLimitExceeded, "Rejected": Reject}


def fail(app: "Trilho", attempt: RunningAttempt, request: Any, error: BaseException) -> None:
    """Let Celery's failure path gather what hangs on this job."""
    with entered(attempt):
        app.backend.mark_as_failure(attempt.job.id, error, None, request=request)


def with_consequences(app: "Trilho", attempt: RunningAttempt, outcome: Finish) -> Finish:
    """The outcome with the exception that `get()` raises, after what hangs on it has been gathered in the attempt."""
    try:
        _gather(app, attempt, outcome)
    except LOST:
        raise
    except Exception:  # what hangs on one job must not keep this one, and others beside it, from ending
        log.exception("consequences.failed", job=attempt.job.id)
        attempt.forget_what_follows()
        return outcome
    told = attempt.outcome
    assert isinstance(told, Finish)
    return replace(told, error=outcome.error, crash=outcome.crash, presumed=outcome.presumed)


def _gather(app: "Trilho", attempt: RunningAttempt, outcome: Finish) -> None:
    request = Context(request_of(attempt.job, attempt.worker_name))
    if outcome.state == REVOKED:
        _revoke(app, attempt, request, TaskRevokedError(outcome.error))
    else:
        kind, _, reason = (outcome.error or "").partition(": ")
        fail(app, attempt, request, _KINDS.get(kind, WorkerLostError)(reason))


def _revoke(app: "Trilho", attempt: RunningAttempt, request: Context, error: TaskRevokedError) -> None:
    with entered(attempt), attempt.dispatch():
        app.backend.mark_as_revoked(attempt.job.id, str(error), request=request)
        app.backend._fail_chain(request.chain, error, state=REVOKED)


def stop_here(app: "Trilho", attempt: RunningAttempt) -> None:
    """The body raised Ignore: nothing can follow it, and nobody shall wait for what would have."""
    request = Context(request_of(attempt.job, attempt.worker_name))
    error = TaskRevokedError(f"job {attempt.job.id} raised Ignore")
    with entered(attempt), attempt.dispatch():
        app.backend._fail_chain(request.chain, error, state=REVOKED)
        if request.chord:
            app.backend.on_chord_part_return(request, REVOKED, error)
