"""What becomes of jobs whose process is gone: decided for each, written as one commit, with what hangs on the job."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from trilho.db.pool import Connection, brief_transaction
from trilho.jobs import store
from trilho.jobs.attempt import RunningAttempt
from trilho.jobs.consequences import with_consequences
from trilho.jobs.job import FAILURE, REVOKED, Claimed
from trilho.jobs.outcome import Death, Finish, Outcome, crashed, interrupted, released
from trilho.jobs.settlement import Conclusion, conclude, follow_up

if TYPE_CHECKING:
    from trilho.app import Trilho

Verdict = Callable[[Claimed], Outcome]


def crash(death: Death, limit: int, in_body: Callable[[Claimed], bool]) -> Verdict:
    """Count a crash for the bodies that ran; the others are nobody's attempt."""
    return lambda job: (
        crashed(job, death, limit) if in_body(job) else interrupted(job.id, job.claim_token, death.reason)
    )


def release(reason: str, delay: float = 0.0) -> Verdict:
    """Give jobs back without counting anything, to run again after `delay` seconds."""
    return lambda job: released(job.id, job.claim_token, reason, delay)


def revoke(reason: str) -> Verdict:
    """End jobs that somebody cancelled."""
    return lambda job: Finish(job.id, job.claim_token, REVOKED, error=reason)


def time_out(limit: float | None) -> Verdict:
    """End jobs that ran for too long."""
    return lambda job: Finish(job.id, job.claim_token, FAILURE, error=f"TimeLimitExceeded: {limit}")


def settle_claim(app: "Trilho", connection: Connection, ids: Sequence[str], token: UUID, verdict: Verdict) -> int:
    """Settle what a claim still holds; ids that it does not hold get a new wake-up. Returns how many it held."""
    store.end_backends(connection, [token])
    with brief_transaction(connection, app.settings.lease):
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
    with brief_transaction(connection, app.settings.lease):
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
        attempt.outcome = with_consequences(app, attempt, outcome) if isinstance(outcome, Finish) else outcome
        attempts.append(attempt)
    return conclude(app, connection, attempts)


def cancel_waiting(app: "Trilho", connection: Connection, job_id: str) -> bool:
    """End a job that waits; whether it did."""
    with brief_transaction(connection, app.settings.lease):
        job = store.seize(connection, job_id, uuid4())
        if job is None:
            return False
        conclusion = _conclude(app, connection, [job], revoke("cancelled"))
    follow_up(app, conclusion)
    return True
