"""The end of attempts: outcome, links, other results and chord parts of an attempt are one commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery.canvas import maybe_signature
from celery.exceptions import ChordError

from trilho.db.pool import Connection
from trilho.errors import ClaimLost
from trilho.jobs import codec, store
from trilho.jobs.attempt import RunningAttempt, entered
from trilho.jobs.job import NewJob
from trilho.jobs.store import ChordPart

if TYPE_CHECKING:
    from trilho.app import Trilho


@dataclass(frozen=True)
class Conclusion:
    """What was made durable: ids of the attempts that counted, jobs to wake."""

    written: set[str]
    new_jobs: tuple[NewJob, ...]


def conclude(app: "Trilho", connection: Connection, attempts: Sequence[RunningAttempt]) -> Conclusion:
    """Write the ends of attempts on a connection; those whose claim was lost leave no trace."""
    outcomes = [attempt.outcome for attempt in attempts if attempt.outcome is not None]
    written = store.settle(connection, outcomes)
    counted = [attempt for attempt in attempts if attempt.job.id in written]
    for attempt in attempts:
        attempt.fenced = attempt.job.id not in written
    for attempt in counted:
        for part in attempt.parts:
            _return_part(app, connection, attempt, part)
        if attempt.others:
            store.store_others(connection, attempt.others)
        if attempt.new_jobs:
            sink = app.enqueuer.jobs
            returned = connection.execute(sink.statement, sink.parameters(attempt.new_jobs)).fetchall()
            sink.check(attempt.new_jobs, returned)
    new_jobs = tuple(job for attempt in counted for job in attempt.new_jobs)
    return Conclusion(written, new_jobs)


def conclude_or_raise(app: "Trilho", connection: Connection, attempt: RunningAttempt) -> Conclusion:
    """As `conclude`, for one attempt; raises ClaimLost so that its transaction is rolled back."""
    conclusion = conclude(app, connection, [attempt])
    if attempt.fenced:
        raise ClaimLost(f"job {attempt.job.id} was handed to another worker")
    return conclusion


def is_plain(attempt: RunningAttempt) -> bool:
    """Whether the end of this attempt is a single statement."""
    return not (attempt.new_jobs or attempt.others or attempt.parts)


def follow_up(app: "Trilho", conclusion: Conclusion) -> None:
    """After the commit: wake what was enqueued."""
    app.enqueuer.jobs.committed(conclusion.new_jobs)


def _return_part(app: "Trilho", connection: Connection, attempt: RunningAttempt, part: ChordPart) -> None:
    complete, body = store.return_part(connection, part)
    if not complete or body is None:
        return
    parts = store.chord_parts(connection, part.chord)
    callback = maybe_signature(codec.loads(body), app=app)
    failed = next((result for state, result in parts if state != "SUCCESS"), None)
    with entered(attempt), attempt.dispatch():
        if failed is None:
            callback.apply_async(([codec.loads(result) for _, result in parts],))
        else:
            _fail_chord(app, callback, ChordError(f"a member of the chord failed: {failed}"))


def _fail_chord(app: "Trilho", callback: Any, error: ChordError) -> None:
    try:
        raise error  # Celery reads the traceback of the exception being handled
    except ChordError:
        app.backend.chord_error_from_stack(callback, error)
