"""The end of attempts: outcome, links, other results and chord parts of an attempt are one commit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from celery.app.task import Context
from celery.canvas import group, maybe_signature
from celery.exceptions import ChordError, TaskRevokedError
from kombu.utils.functional import maybe_list

from trilho.db.pool import Connection
from trilho.errors import ClaimLost
from trilho.jobs import codec, store
from trilho.jobs.attempt import RunningAttempt, entered
from trilho.jobs.enqueue import steps_of
from trilho.jobs.job import PENDING, REVOKED, NewJob
from trilho.jobs.outcome import Finish
from trilho.jobs.store import ChordPart
from trilho.log import get_logger

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.jobs")

SAGA = '"trilho_saga"'
"""In the headers of jobs that are stretches or steps of a saga."""


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
    following = [
        job for attempt in counted if _is_an_end(attempt) for job in _write_following(app, connection, attempt)
    ]
    return Conclusion(written, (*following, *_tell_sagas(app, connection, counted)))


def _tell_sagas(app: "Trilho", connection: Connection, counted: Sequence[RunningAttempt]) -> list[NewJob]:
    """What a stretch of a saga writes with its end; then, that jobs of sagas ended. Returns the jobs to be woken."""
    woken = [job for attempt in counted for rider in attempt.riders for job in rider(connection)]
    ended = [a.job.id for a in counted if SAGA in a.job.headers and not a.riders and isinstance(a.outcome, Finish)]
    return [*woken, *app.sagas.jobs_ended(connection, ended)] if ended else woken


def _is_an_end(attempt: RunningAttempt) -> bool:
    """Whether something follows: not on an attempt that runs again, unless it put others before its own id."""
    outcome = attempt.outcome
    return isinstance(outcome, Finish) or (outcome is not None and outcome.job is not None and outcome.state == PENDING)


def _write_following(app: "Trilho", connection: Connection, attempt: RunningAttempt) -> list[NewJob]:
    """Chord parts, results of other jobs, links; each may bring about more. Returns the jobs that were enqueued."""
    enqueued: list[NewJob] = []
    for chord in attempt.grown:
        store.changed(connection, "grow_chord", id=chord)
    now = attempt
    while now.parts or now.others or now.new_jobs:
        then = replace(attempt, parts=[], others=[], new_jobs=[])  # this may be repeated: leave `attempt` as it is
        with entered(then), then.dispatch():
            for part in now.parts:
                _return_part(app, connection, part)
            if now.others:
                store.store_others(connection, now.others)
                enqueued += app.sagas.jobs_ended(connection, [other.id for other in now.others])
            enqueued += _enqueue(app, connection, now.new_jobs)
        now = then
    return enqueued


def _enqueue(app: "Trilho", connection: Connection, jobs: Sequence[NewJob]) -> list[NewJob]:
    """Write links; one whose id is taken, or that was cancelled before its turn, must not undo the end of this job."""
    if not jobs:
        return []
    sink = app.enqueuer.jobs
    known = {row[0] for row in connection.execute(sink.statement, sink.parameters(jobs))}
    for job in jobs:
        if job.id not in known:
            _refuse(app, job)
    return [job for job in jobs if job.id in known]


def _refuse(app: "Trilho", job: NewJob) -> None:
    log.warning("link.refused", job=job.id, task=job.task)
    canvas, error = (
        codec.loads(job.canvas) or {},
        TaskRevokedError("a step before it was cancelled, or its id was taken"),
    )
    app.backend._fail_chain(canvas.get("chain"), error, state=REVOKED)
    if canvas.get("chord"):
        headers = codec.loads(job.headers)
        request = Context(id=job.id, group=job.group_id, group_index=headers.get("group_index"))
        app.backend.on_chord_part_return(request, REVOKED, error)


def conclude_or_raise(app: "Trilho", connection: Connection, attempt: RunningAttempt) -> Conclusion:
    """As `conclude`, for one attempt; raises ClaimLost so that its transaction is rolled back."""
    conclusion = conclude(app, connection, [attempt])
    if attempt.fenced:
        raise ClaimLost(f"job {attempt.job.id} was handed to another worker")
    return conclusion


def is_plain(attempt: RunningAttempt) -> bool:
    """Whether the end of this attempt is a single statement."""
    several = attempt.new_jobs or attempt.others or attempt.parts or attempt.grown or attempt.riders
    return not several and SAGA not in attempt.job.headers


def follow_up(app: "Trilho", conclusion: Conclusion) -> None:
    """After the commit: wake what was enqueued."""
    app.enqueuer.jobs.committed(conclusion.new_jobs)


def _return_part(app: "Trilho", connection: Connection, part: ChordPart) -> None:
    complete, body = store.return_part(connection, part)
    if not complete or body is None:
        return
    parts = store.chord_parts(connection, part.chord)
    callback = maybe_signature(codec.loads(body), app=app)
    failed = next((result for state, result in parts if state != "SUCCESS"), None)
    if failed is not None:
        _fail_chord(app, callback, ChordError(f"a member of the chord failed: {failed}"))
        return
    try:
        callback.apply_async(([codec.loads(result) for _, result in parts],))
    except (TypeError, ValueError) as error:  # the last member must not be undone for it
        _fail_chord(app, callback, ChordError(f"the body of the chord cannot be enqueued: {error}"))


def _fail_chord(app: "Trilho", callback: Any, error: ChordError) -> None:
    """End the body of a chord, and what hangs on it: its error links, the chord around it, the rest of the chain."""
    beginnings = callback.tasks if isinstance(callback, group) else [callback]
    begin = {step.options["task_id"] for task in beginnings for step in islice(steps_of(task), 1)}
    told = list(maybe_list(callback.options.get("link_error")) or [])
    for step in steps_of(callback):
        own = maybe_list(step.options.get("link_error")) or []
        errbacks = [*told, *(own if step is not callback else [])] if step.options["task_id"] in begin else []
        app.backend.mark_as_failure(step.options["task_id"], error, None, request=_request_of_step(step, errbacks))


def _request_of_step(step: Any, errbacks: Sequence[Any]) -> Context:
    options = step.options
    return Context(
        id=options["task_id"],
        task=step.task,
        errbacks=errbacks,
        chord=options.get("chord"),
        group=options.get("group_id"),
        group_index=options.get("group_index"),
        root_id=options.get("root_id"),
        delivery_info={},
    )
