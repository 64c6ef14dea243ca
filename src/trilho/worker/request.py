"""A Celery request whose truth is a row: events and inspection as usual, no results written by the parent."""

import signal
from time import monotonic, time
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import signals, states
from celery.exceptions import Retry
from celery.utils.serialization import get_pickled_exception
from celery.worker import state
from celery.worker.request import Request
from kombu.utils.encoding import safe_repr

from trilho.jobs import codec
from trilho.jobs.enqueue import ALONE
from trilho.jobs.job import FAILURE, REVOKED, SUCCESS, Claimed
from trilho.jobs.outcome import Finish, Outcome
from trilho.jobs.runner import Ran
from trilho.jobs.writer import FENCED
from trilho.log import get_logger

log = get_logger("trilho.worker")

EXPIRED = "expired"

LEAST = 1.0
"""Seconds: jobs with shorter time limits run alone."""


class JobRequest(Request):  # type: ignore[misc]
    """What the parent knows of a job that it has been told of."""

    direct: bool
    """Whether the dispatcher handed it over; otherwise the broker brought it."""
    limits: tuple[float | None, float | None]
    """Its soft and hard time limit in seconds, as far as it or its task has one."""
    sociable: bool
    """Whether it may share a slice: the clock of a limit runs from the begin of the slice, a few ms too early."""
    came_again = False
    """Whether another wake-up has come since the slice with this one was ordered."""
    _already_revoked = False

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        headers, (hard, soft) = self._request_dict, self.time_limits or (None, None)
        self.direct = bool(headers.get("trilho_direct"))
        self.limits = soft, hard = soft or self.task.soft_time_limit, hard or self.task.time_limit
        self.sociable = not headers.get(ALONE) and (soft is None or soft >= LEAST) and (hard is None or hard >= LEAST)

    @property
    def expires(self) -> None:
        """The row knows; the message says "long ago", so that no plain Celery worker runs it."""

    def revoked(self) -> bool:
        """The row decides, at the claim: Celery remembers revoked ids for hours, also those that are to run again."""
        return False

    def info(self, safe: bool = False) -> dict[str, Any]:
        """What `inspect` shows; the arguments are in the row, their reprs in the wake-up."""
        known: dict[str, Any] = super().info(safe)
        return known | {"args": self._argsrepr, "kwargs": self._kwargsrepr}

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """A pool process took the slice; the message is acknowledged by the batcher."""
        self.worker_pid = pid
        self.time_start = time() - (monotonic() - time_accepted)
        state.task_accepted(self)
        self.send_event("task-started")

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The pool gave the sign for a time limit; the batcher settles the hard one."""

    # ---- the end, as the row has it

    def on_ran(self, ran: Ran) -> None:
        """A pool process has written what became of the attempt; Celery's memory of successes is left empty, for a row
        that is claimed has none."""
        state.task_ready(self)
        if ran.state == REVOKED:
            self.announce_revoked(expired=EXPIRED in str(ran.value))
        elif ran.state != FENCED:
            kind, told = event_of(ran)
            self.send_event(kind, **told)

    def on_settled(self, job: Claimed, outcome: Outcome) -> None:
        """This worker has written what became of an attempt whose process is gone."""
        if not isinstance(outcome, Finish):
            self.send_event("task-retried", exception=outcome.error, traceback="")
        elif outcome.state == REVOKED:
            self.announce_revoked(terminated=True)
        else:
            self.send_event("task-failed", exception=outcome.error, traceback="")
            self._tell_of_failure(job, outcome)

    def announce_revoked(self, terminated: bool = False, expired: bool = False) -> None:
        """The row is REVOKED: Celery's event and signal, once."""
        if self._already_revoked:
            return
        self._already_revoked = True
        told = {"terminated": terminated, "signum": signal.SIGKILL if terminated else None, "expired": expired}
        self.send_event("task-revoked", **told)
        signals.task_revoked.send(sender=self.task, request=self._context, **told)

    def _tell_of_failure(self, job: Claimed, outcome: Finish) -> None:
        """Celery's signal and hooks, which no pool process is left to call."""
        kind, _, reason = (outcome.error or "").partition(": ")
        error = (TimeLimitExceeded if kind == TimeLimitExceeded.__name__ else WorkerLostError)(reason)
        args, kwargs = codec.loads(job.args), codec.loads(job.kwargs)
        try:
            self.task.on_failure(error, job.id, args, kwargs, None)
            self.task.after_return(states.FAILURE, error, job.id, args, kwargs, None)
        except Exception:  # as in a pool process: a hook that raises must not end the worker
            log.exception("hook.failed", job=job.id)
        signals.task_failure.send(
            sender=self.task, task_id=job.id, exception=error, args=args, kwargs=kwargs, traceback=None, einfo=None
        )


def event_of(ran: Ran) -> tuple[str, dict[str, Any]]:
    """Celery's event for the end of an attempt that was written; pure."""
    if ran.state == SUCCESS:
        return "task-succeeded", {"result": "None" if ran.failed else ran.value, "runtime": ran.runtime or 0.0}
    told = {"exception": str(ran.value), "traceback": ""}
    if ran.failed:
        raised = get_pickled_exception(ran.value.exception)
        raised = raised.exc if isinstance(raised, (ExceptionWithTraceback, Retry)) else raised
        told = {"exception": safe_repr(raised), "traceback": str(ran.value.traceback)}
    return "task-failed" if ran.state == FAILURE else "task-retried", told
