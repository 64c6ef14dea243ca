"""What becomes of jobs whose process is gone: decided for each, written as one commit, with what hangs on the job."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.app.task import Context

from trilho.db.pool import Connection
from trilho.jobs import store
from trilho.jobs.attempt import RunningAttempt, entered
from trilho.jobs.job import FAILURE, REVOKED, Claimed
from trilho.jobs.outcome import Death, Finish, Outcome, crashed, interrupted, released
from trilho.jobs.runner import request_of
from trilho.jobs.settlement import Conclusion, conclude, fail, follow_up

if TYPE_CHECKING:
    from trilho.app import Trilho

Verdict = Callable[[Claimed], Outcome]


def crash(death: Death, limit: int, in_body: Callable[[Claimed], bool]) -> Verdict:
    """Count a crash for the bodies that ran; the others are nobody's attempt."""
    return lambda job: (
        crashed(job, death, limit) if in_body(job) else interrupted(job.id, job.claim_token, death.reason)
    )


def release(reason: str) -> Verdict:
    """Give jobs back without counting anything."""
    return lambda job: released(job.id, job.claim_token, reason)


def revoke(reason: str) -> Verdict:
    """End jobs that somebody cancelled."""
    return lambda job: Finish(job.id, job.claim_token, REVOKED, error=reason)


def time_out(limit: float | None) -> Verdict:
    """End jobs that ran for too long."""
    return lambda job: Finish(job.id, job.claim_token, FAILURE, error=f"TimeLimitExceeded: {limit}")


def settle_claim(app: "Trilho", connection: Connection, ids: Sequence[str], token: UUID, verdict: Verdict) -> int:
    """Settle what a claim still holds; ids that it does not hold get a new wake-up. Returns how many it held."""
    store.end_backends(connection, [token])
    with connection.transaction():
        claimed = store.lock_claimed(connection, ids, token)
        conclusion = _conclude(app, connection, claimed, verdict)
        held = {job.id for job in claimed}
        store.changed(connection, "resend", ids=[job_id for job_id in ids if job_id not in held])
    follow_up(app, conclusion)
    return len(claimed)


def settle_dead(app: "Trilho", connection: Connection, workers: Sequence[UUID], verdict: Verdict, limit: int) -> int:
    """Settle up to `limit` jobs of processes that are gone; returns how many there were."""
    faults = app.database.faults
    tokens = [row[0] for row in connection.execute(_TOKENS, {"workers": list(workers)})]
    store.end_backends(connection, tokens)
    with connection.transaction():
        claimed = store.lock_running(connection, workers, limit)
        faults.hit("recover.selected")
        conclusion = _conclude(app, connection, claimed, verdict)
        faults.hit("recover.before_commit")
    faults.hit("recover.after_commit")
    follow_up(app, conclusion)
    return len(claimed)


_TOKENS = store.SQL["running_tokens"]


def _conclude(app: "Trilho", connection: Connection, claimed: Sequence[Claimed], verdict: Verdict) -> Conclusion:
    attempts = []
    for job in claimed:
        attempt = RunningAttempt(job, job.claim_token, "")
        outcome = verdict(job)
        attempt.outcome = _with_consequences(app, attempt, outcome) if isinstance(outcome, Finish) else outcome
        attempts.append(attempt)
    return conclude(app, connection, attempts)


def _with_consequences(app: "Trilho", attempt: RunningAttempt, outcome: Finish) -> Outcome:
    """Let Celery say what hangs on the end of this job: errbacks, the rest of its chain, its chord, its exception."""
    request = Context(request_of(attempt.job, ""))
    if outcome.state == REVOKED:
        with entered(attempt):
            app.backend.mark_as_revoked(attempt.job.id, outcome.error, request=request)
    else:
        kind, _, reason = (outcome.error or "").partition(": ")
        fail(
            app,
            attempt,
            request,
            (TimeLimitExceeded if kind == TimeLimitExceeded.__name__ else WorkerLostError)(reason),
        )
    told = attempt.outcome
    assert isinstance(told, Finish)
    return replace(told, crash=outcome.crash, presumed=outcome.presumed)
