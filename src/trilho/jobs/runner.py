"""The side of the pool process: claim a slice, run each body under Celery's tracer, write what became of it."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from celery import current_app
from celery.app.task import Context
from celery.app.trace import TraceInfo
from celery.exceptions import Reject
from celery.states import IGNORED, REJECTED

from trilho import trace
from trilho.db.pool import Connection
from trilho.db.transaction import Tx
from trilho.db.transient import is_transient
from trilho.errors import ClaimLost, Interrupted
from trilho.jobs import ahead, store
from trilho.jobs.aftermath import give_back
from trilho.jobs.attempt import RunningAttempt, entered
from trilho.jobs.body import Body
from trilho.jobs.consequences import fail, stop_here, with_consequences
from trilho.jobs.job import FAILURE, RETRY, REVOKED, SUCCESS, Claimed
from trilho.jobs.outcome import Finish, Outcome, rejected, released, replaced, retried
from trilho.jobs.progress import ProgressWriter
from trilho.jobs.request import request_of, trace_of
from trilho.jobs.settlement import conclude_or_raise, follow_up
from trilho.jobs.tally import Ended, SliceReport, Tally
from trilho.jobs.writer import FENCED, Writer
from trilho.log import get_logger
from trilho.processes.shared import CLAIMED, IDLE, SharedState

if TYPE_CHECKING:
    from trilho.app import Trilho

log = get_logger("trilho.runner")


@dataclass(frozen=True, slots=True)
class SliceOrder:
    """What the parent asks a pool process to work on."""

    ids: tuple[str, ...]
    token: UUID
    worker: UUID
    worker_name: str
    slot: int
    epoch: float = 0.0  # of the lease under which the order was given


class Ran(NamedTuple):
    """What became of one job of a slice, as the parent needs it for Celery's events; `queue` counts throughput."""

    queue: str
    failed: bool
    value: Any
    runtime: float | None
    state: str
    priority: int = 0
    took: float = 0.0  # seconds, with the commit of a transactional body
    first_sent_at: float | None = None  # set if the job was sent once only: what its message tells about the queue


MOST_UNCOUNTED = 8
"""Attempts that a lost connection may end for nothing, where it is not seen to be that of the body's transaction."""

ABSENT = "ABSENT"
"""The state of a report about a job that does not wait: its wake-up has led to nothing."""

UNSTARTED = "UNSTARTED"
"""The state of a report about a job that waits again, as if it had not been claimed."""


def work(order: SliceOrder) -> SliceReport:
    """Entry of a pool call. Ids that are missing in the report were not waiting."""
    report: SliceReport = current_app._get_current_object().runner.work(order)
    return report


class Runner:
    """Runs slices in one thread, the only one of its process unless the pool is one of threads."""

    def __init__(self, app: "Trilho", shared: SharedState) -> None:
        self.app = app
        self.shared = shared
        self.database = app.database
        self._writer, self._writer_behind = Writer(app, shared), Writer(app, shared)
        self.progress = ProgressWriter(app.database, app.settings.progress_interval)
        self._current: tuple[UUID | None, Body] = (None, Body())
        self._tally: Tally | None = None
        self.working = threading.Event()
        self.tell: Callable[[UUID, SliceReport], None] | None = None

    @property
    def body(self) -> Body:
        """The body of the attempt that runs, or of the last one."""
        return self._current[1]

    def interrupt(self, token: UUID, error: type[BaseException]) -> bool:
        """Raise `error` in the body that runs under this claim, from another thread; whether one does."""
        current, body = self._current
        return current == token and body.interrupt(error)

    def work(self, order: SliceOrder) -> SliceReport:
        """Claim, run, write. Raises ClaimLost if the lease ended before it began, Interrupted if a body was ended."""
        self.working.set()
        try:
            return self._work(order)
        finally:
            self.working.clear()
            self._tally = None

    def _work(self, order: SliceOrder) -> SliceReport:
        if not self.shared.may_run() or order.epoch != self.shared.epoch:
            raise ClaimLost("the lease of this worker is over")
        faults = self.database.faults
        faults.hit("claim.before")
        claimed = self._writer.insist(lambda connection: ahead.claim(connection, order.ids, claimant(order)))
        self.shared.mark(order.slot, CLAIMED)
        faults.hit("claim.after")
        self._tell_of_absent(order, claimed)
        tally = self._tally = Tally()
        try:
            left = self._run_in_turn(order, {job.id: job for job in claimed}, tally)
        except BaseException:  # of one body: what the others did before it counts
            tally.settle(self._write_and_tell)
            raise
        faults.hit("finish.before")
        report = tally.settle(self._writer.settle)
        report |= self._give_back(order, left)
        faults.hit("finish.after")
        self.shared.mark(order.slot, IDLE)
        return report

    def _tell_of_absent(self, order: SliceOrder, claimed: Sequence[Claimed]) -> None:
        """At once: another wake-up that comes while the others run must not be taken for this one."""
        if self.tell is not None and 1 < len(order.ids) != len(claimed):
            absent = set(order.ids).difference(job.id for job in claimed)
            self.tell(order.token, {job_id: Ran("", False, None, None, ABSENT) for job_id in absent})

    def _run_in_turn(self, order: SliceOrder, jobs: dict[str, Claimed], tally: Tally) -> list[Claimed]:
        """Run the jobs until the slice is old, or closed by the parent; returns those that are this process's to give
        back. What it has not begun when it closes the slice is the parent's, unless that is all of it.
        """
        for index, job_id in enumerate(order.ids):
            if job_id not in jobs:
                continue
            if self.shared.taken(order.slot) and tally.is_old() and self._close(order.slot):
                return list(jobs.values())
            if not jobs[job_id].ending and not self.shared.take(order.slot, index):
                return [] if self.shared.taken(order.slot) else list(jobs.values())
            job = jobs.pop(job_id)
            self._current = (order.token, Body())
            attempt = RunningAttempt(job, order.token, order.worker_name, self.body, self.progress)
            begun = time.monotonic()
            ran = self._end_unstarted(attempt) if job.ending else self._run(attempt)
            tally.add(attempt, ran._replace(took=time.monotonic() - begun))
            self.shared.mark(order.slot, CLAIMED)
        return []

    def _close(self, slot: int) -> bool:
        try:
            return self.shared.close(slot) is not None
        except BlockingIOError:  # the parent is about to
            return False

    def _give_back(self, order: SliceOrder, left: Sequence[Claimed]) -> SliceReport:
        if not left:
            return {}
        self.database.faults.hit("give_back.before")
        ids = [job.id for job in left]
        waiting = self._writer.insist(lambda connection: give_back(self.app, connection, ids, order.token))
        self.database.faults.hit("give_back.after")
        return {job.id: ran_of(job, UNSTARTED) for job in left if job.id in waiting}

    def write_behind(self) -> None:
        """Write what has ended while a long body runs, and tell it; for another thread than that of `work`."""
        tally = self._tally
        if tally is not None and tally.waits() and tally.is_old():
            tally.settle(self._write_and_tell)

    def _write_and_tell(self, ended: Ended) -> SliceReport:
        self.database.faults.hit("write_behind.before")
        report = self._writer_behind.settle(ended)
        self.database.faults.hit("write_behind.after")
        if self.tell is not None:
            self.tell(ended[0][0].token, report)
        return report

    # ---- one body

    def _end_unstarted(self, attempt: RunningAttempt) -> Ran:
        unstarted = Finish(attempt.job.id, attempt.token, REVOKED, error=attempt.job.ending)
        attempt.outcome = with_consequences(self.app, attempt, unstarted)
        return ran_of(attempt.job, REVOKED, value=attempt.job.ending)

    def _run(self, attempt: RunningAttempt) -> Ran:
        job = attempt.job
        task = self.app._tasks.get(job.task)
        if task is None:
            attempt.outcome = released(job.id, attempt.token, f"this worker does not know the task {job.task}", 5.0)
            return ran_of(job, RETRY)
        request = request_of(job, attempt.worker_name)
        if task.transactional:
            attempt.tx = self._open_transaction(attempt)
        started = time.monotonic()
        try:
            self.database.faults.hit("body.before")
            with entered(attempt), trace.entered(trace_of(job, request)):
                traced = task.__trace__(job.id, request["args"], request["kwargs"], request)
            if traced.info is not None and self.body.was_asked(Interrupted):
                raise Interrupted  # the body made something else of it
            if self._was_interrupted(attempt, traced.info):
                self._release_interrupted(attempt)
            else:
                self._decide(attempt, traced.info)
            self._keep_progress(attempt)
            failed = traced.info is not None
            value = traced.retval if failed else traced.retstr
            return ran_of(job, state_of(attempt), failed, value, traced.runtime)
        except Reject as error:
            self._decide_after_commit_error(attempt, Context(request), error)
            return ran_of(job, state_of(attempt), False, str(error), time.monotonic() - started)
        finally:
            self.progress.end(job.id)
            if attempt.tx is not None:
                with suppress(Exception):  # the connection may be gone, and with it the transaction
                    attempt.tx.close()

    def _open_transaction(self, attempt: RunningAttempt) -> Tx:
        tx = Tx(self.database, application_name=store.transaction_name(attempt.token))

        def finish_last(connection: Connection) -> None:
            self.database.faults.hit("finish.before")
            conclusion = conclude_or_raise(self.app, connection, attempt)
            tx.after.append(lambda: follow_up(self.app, conclusion))

        tx.pending.last = finish_last
        return tx

    def _decide(self, attempt: RunningAttempt, info: TraceInfo | None) -> None:
        """Turn what the tracer said into the outcome, where the backend has not been told it."""
        outcome = outcome_of(attempt, info.state if info is not None else SUCCESS, info and info.retval)
        if isinstance(outcome, Finish) and outcome.state == FAILURE and attempt.outcome is None:
            outcome = with_consequences(self.app, attempt, outcome)
        elif info is not None and info.state == IGNORED and attempt.next_run is None:
            stop_here(self.app, attempt)
        attempt.outcome = outcome

    def _was_interrupted(self, attempt: RunningAttempt, info: TraceInfo | None) -> bool:
        """Whether the body's own transaction failed for a reason that lies in no body."""
        raised = getattr(info, "retval", None)
        raised = getattr(raised, "exc", raised)
        if attempt.tx is None or not isinstance(raised, BaseException):
            return False
        uncounted = attempt.job.attempt - attempt.job.retries
        return is_transient(raised, attempt.tx.was_harmed() or uncounted <= MOST_UNCOUNTED)

    def _release_interrupted(self, attempt: RunningAttempt) -> None:
        attempt.forget_what_follows()
        attempt.next_run = None
        pause = min(30.0, 0.05 * 2 ** min(attempt.job.attempt, 10))
        attempt.outcome = released(attempt.job.id, attempt.token, "nobody's attempt: its transaction was lost", pause)

    def _keep_progress(self, attempt: RunningAttempt) -> None:
        report = self.progress.end(attempt.job.id)
        if report is not None and isinstance(attempt.outcome, Finish):
            attempt.outcome = replace(attempt.outcome, progress=report)

    def _decide_after_commit_error(self, attempt: RunningAttempt, request: Context, error: Reject) -> None:
        cause = attempt.commit_error or error
        job_id, token = attempt.job.id, attempt.token
        if isinstance(cause, ClaimLost):
            attempt.outcome, attempt.fenced = None, True
        elif is_transient(cause):
            if self._committed_after_all(attempt):
                return
            attempt.outcome = released(job_id, token, f"nobody's attempt: {cause}", delay=0.05)
        else:
            attempt.outcome = None
            fail(self.app, attempt, request, cause)

    def _committed_after_all(self, attempt: RunningAttempt) -> bool:
        outcome = attempt.outcome
        if outcome is None:
            return False
        found = self._writer.insist(lambda connection: store.already_settled(connection, [outcome]))
        attempt.committed = attempt.job.id in found
        return attempt.committed


def ran_of(job: Claimed, state: str, failed: bool = False, value: Any = None, runtime: float | None = None) -> Ran:
    """What the parent is told about a job."""
    first = job.sent_at.timestamp() if job.sent_at is not None and job.sends == 1 else None
    return Ran(job.queue, failed, value, runtime, state, job.priority, first_sent_at=first)


def claimant(order: SliceOrder) -> store.Claimant:
    """Who claims a slice."""
    return store.Claimant(order.token, order.worker, order.worker_name)


def outcome_of(attempt: RunningAttempt, state: str, raised: Any) -> Outcome | None:
    """The outcome of an attempt whose body ended in `state`; pure."""
    job_id, token, known = attempt.job.id, attempt.token, attempt.outcome
    if attempt.committed:
        return known
    if attempt.next_run is not None:
        if state == IGNORED:
            return replaced(token, attempt.next_run)
        return retried(token, attempt.next_run, known if isinstance(known, Finish) and known.state == RETRY else None)
    if state == REJECTED:
        return rejected(job_id, token, getattr(raised, "reason", raised), getattr(raised, "requeue", False))
    if known is None:
        ended_well = state in (IGNORED, SUCCESS)
        known = Finish(job_id, token, SUCCESS) if ended_well else Finish(job_id, token, FAILURE, error=repr(raised))
    return known


def state_of(attempt: RunningAttempt) -> str:
    """The state that the attempt leads to."""
    return attempt.outcome.state if attempt.outcome is not None else FENCED
