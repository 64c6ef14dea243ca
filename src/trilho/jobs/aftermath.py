"""What becomes of jobs whose process is gone: decided for each, written as one commit, with what hangs on the job."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from trilho.db.pool import Connection, brief_transaction
from trilho.jobs import store
from trilho.jobs.attempt import RunningAttempt
from trilho.jobs.consequences import with_consequences
from trilho.jobs.job import FAILURE, REVOKED, Claimed
from trilho.jobs.outcome import Death, Finish, Outcome, crashed, interrupted, released, suspected, unstarted
from trilho.jobs.settlement import Conclusion, conclude, follow_up

if TYPE_CHECKING:
    from trilho.app import Trilho

Verdict = Callable[[Claimed], Outcome]


def crash(death: Death, limit: int, in_body: Callable[[Claimed], bool]) -> Verdict:
    """Count a crash for the bodies that ran; the others are nobody's attempt. Who is suspect runs alone first."""

    def verdict(job: Claimed) -> Outcome:
        if not in_body(job):
            return interrupted(job.id, job.claim_token, death.reason)
        return suspected(job, death) if death.presumed and job.suspect else crashed(job, death, limit)

    return verdict


def release(reason: str, delay: float = 0.0) -> Verdict:
    """Give jobs back without counting anything, to run again after `delay` seconds."""
    return lambda job: released(job.id, job.claim_token, reason, delay)


def forget(delay: float = 0.0) -> Verdict:
    """Give back jobs whose turn had not come, as if nobody had claimed them."""
    return lambda job: unstarted(job.id, job.claim_token, delay)


def suspect(death: Death, delay: float = 0.0) -> Verdict:
    """Give jobs back to run alone: what went wrong lies in one of them, or in none."""
    return lambda job: replace(suspected(job, death), delay=delay)


CANCELLED = "cancelled while it ran"


def revoke(reason: str) -> Verdict:
    """End jobs that somebody cancelled."""
    return lambda job: Finish(job.id, job.claim_token, REVOKED, error=reason)


def time_out(limit: float | None) -> Verdict:
    """End jobs that ran for too long."""
    return lambda job: Finish(job.id, job.claim_token, FAILURE, error=f"TimeLimitExceeded: {limit}")


def decided(job: Claimed, verdict: Verdict) -> Outcome:
    """What becomes of a job: whatever came between, one that somebody cancelled is REVOKED."""
    return verdict(job) if job.ending is None else revoke(job.ending)(job)


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
        outcome = decided(job, verdict)
        attempt.outcome = with_consequences(app, attempt, outcome) if isinstance(outcome, Finish) else outcome
        attempts.append(attempt)
    return conclude(app, connection, attempts)


def settle_cancelled(app: "Trilho", connection: Connection, ids: Sequence[str], token: UUID) -> bool:
    """End those of these jobs that this claim still holds and somebody wants to end; whether there were any."""
    with brief_transaction(connection, app.settings.lease):
        claimed = [job for job in store.lock_claimed(connection, ids, token) if job.ending is not None]
        conclusion = _conclude(app, connection, claimed, revoke(CANCELLED))
    follow_up(app, conclusion)
    return bool(conclusion.written)


def give_back(app: "Trilho", connection: Connection, ids: Sequence[str], token: UUID) -> set[str]:
    """Let go of jobs of a claim that have not begun; returns those that wait again. The cancelled ones are ended."""
    waiting = store.unclaim(connection, ids, token)
    if others := [job_id for job_id in ids if job_id not in waiting]:
        settle_cancelled(app, connection, others, token)
        store.changed(connection, "resend", ids=others)  # the answer to an earlier try may have got lost
    return waiting


def cancel_waiting(
    app: "Trilho",
    connection: Connection,
    job_id: str,
    reason: str = "cancelled",
    before: Callable[[], None] = lambda: None,
) -> bool:
    """End a job that waits; whether it did. `before` is called in the same transaction, once nobody can claim the job,
    and may raise."""
    with brief_transaction(connection, app.settings.lease):
        job = store.seize(connection, job_id, uuid4())
        if job is None:
            return False
        before()
        conclusion = _conclude(app, connection, [job], revoke(reason))
    follow_up(app, conclusion)
    return True


def end_duplicate(app: "Trilho", connection: Connection, job_id: str, holder: str) -> None:
    """End a held job whose unique key another one has."""
    cancel_waiting(app, connection, job_id, f"duplicate of {holder}")


def end_expired(app: "Trilho", connection: Connection, limit: int) -> int:
    """End waiting jobs whose time to live is over; returns how many there were."""
    with brief_transaction(connection, app.settings.lease):
        expired = store.seize_expired(connection, uuid4(), limit)
        conclusion = _conclude(app, connection, expired, revoke(EXPIRED))
    follow_up(app, conclusion)
    return len(expired)


EXPIRED = "expired before it was started"
