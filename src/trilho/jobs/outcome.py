"""What becomes of an attempt. Pure: decided from what is known, without I/O; `store` writes it."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from trilho.jobs.job import FAILURE, PENDING, RETRY, Claimed, NewJob


@dataclass(frozen=True, slots=True)
class Finish:
    """STARTED | PROCESSING -> SUCCESS | FAILURE | REVOKED."""

    id: str
    token: UUID
    state: str
    result: str | None = None
    error: str | None = None
    traceback: str | None = None
    children: str | None = None
    crash: bool = False
    presumed: bool = False
    progress: str | None = None  # the last report, if the throttle still held it back


@dataclass(frozen=True, slots=True)
class Reschedule:
    """STARTED | PROCESSING -> RETRY | PENDING, to run again after `delay` seconds or at `run_at`.

    `outcome` is what the attempt is remembered as; `job`, where given, replaces what the next attempt runs. An attempt
    that was not `begun` is not remembered at all. A `suspect` is claimed alone next time.
    """

    id: str
    token: UUID
    outcome: str
    state: str = PENDING
    delay: float = 0.0
    run_at: datetime | None = None
    crash: bool = False
    presumed: bool = False
    result: str | None = None
    error: str | None = None
    traceback: str | None = None
    job: NewJob | None = None
    begun: bool = True
    suspect: bool = False


Outcome = Finish | Reschedule

LOST = "LOST"
RELEASED = "RELEASED"


def retried(token: UUID, job: NewJob, shown: Finish | None) -> Reschedule:
    """The attempt asked for another one (`self.retry`); `shown` is what people see meanwhile."""
    told = shown or Finish(job.id, token, RETRY)
    return Reschedule(
        job.id,
        token,
        RETRY,
        state=RETRY,
        run_at=job.run_at,
        result=told.result,
        error=told.error,
        traceback=told.traceback,
        job=job,
    )


def rejected(job_id: str, token: UUID, reason: object, requeue: bool) -> Outcome:
    """The body raised Reject: FAILURE, or again after a second if it asked for that."""
    if requeue:
        return released(job_id, token, f"rejected with requeue: {reason}", delay=1.0)
    return Finish(job_id, token, FAILURE, error=f"Rejected: {reason}")


def replaced(token: UUID, job: NewJob) -> Reschedule:
    """The attempt put another task under its own id (`self.replace`)."""
    return Reschedule(job.id, token, RELEASED, run_at=job.run_at, job=job)


def released(job_id: str, token: UUID, reason: str, delay: float = 0.0) -> Reschedule:
    """Nobody's attempt: the job waits again, nothing is counted."""
    return Reschedule(job_id, token, RELEASED, delay=delay, error=reason)


def unstarted(job_id: str, token: UUID, delay: float = 0.0) -> Reschedule:
    """Claimed together with others, and its turn never came: as if nobody had claimed it."""
    return Reschedule(job_id, token, RELEASED, delay=delay, begun=False)


@dataclass(frozen=True, slots=True)
class Death:
    """How a process came to its end under its jobs; `presumed` when only its lease tells."""

    reason: str
    presumed: bool = False


def crashed(job: Claimed, death: Death, limit: int) -> Outcome:
    """The process died under this body: again after a growing pause, or FAILURE past the limit."""
    count = job.crash_count + 1
    allowed = limit if job.max_crashes is None else job.max_crashes
    if count > allowed:
        error = f"WorkerLostError: {death.reason}; the job has ended its process {count} times (limit {allowed})"
        return Finish(job.id, job.claim_token, FAILURE, error=error, crash=True, presumed=death.presumed)
    return Reschedule(
        job.id,
        job.claim_token,
        LOST,
        delay=crash_pause(count),
        crash=True,
        presumed=death.presumed,
        error=f"worker lost: {death.reason}",
    )


def interrupted(job_id: str, token: UUID, reason: str) -> Reschedule:
    """The process died, but not under this body."""
    return Reschedule(job_id, token, LOST, error=f"worker lost: {reason}")


def suspected(job: Claimed, death: Death) -> Reschedule:
    """The process died under one of several bodies, and nobody saw under which: it runs alone next time."""
    return replace(interrupted(job.id, job.claim_token, death.reason), suspect=True)


def crash_pause(count: int) -> float:
    """Seconds to wait after the n-th crash: none after the first, then doubling up to a minute."""
    return 0.0 if count <= 1 else min(60.0, 2.0 ** (count - 2))
