"""A Celery request whose truth is a row: events and inspection as usual, no results written by the parent."""

from time import monotonic, time
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.serialization import get_pickled_exception
from celery.worker import state
from celery.worker.request import Request
from kombu.utils.encoding import safe_repr
from kombu.utils.objects import cached_property


class JobRequest(Request):  # type: ignore[misc]
    """What the parent knows of a job that it has been told of."""

    @cached_property  # type: ignore[untyped-decorator]
    def direct(self) -> bool:
        """Whether the dispatcher handed it over; otherwise the broker brought it."""
        return bool(self._request_dict.get("trilho_direct"))

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

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """The body raised; the row says so already."""
        state.task_ready(self)
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, Retry):
            self.on_retry(exc_info)
        elif send_failed_event and not isinstance(error, (Ignore, Reject)):
            exception = safe_repr(get_pickled_exception(exc_info.exception))
            self.send_event("task-failed", exception=exception, traceback=exc_info.traceback)

    def on_retry(self, exc_info: Any) -> None:
        """The body asked for another attempt."""
        self.send_event("task-retried", exception=safe_repr(exc_info.exception.exc), traceback=str(exc_info.traceback))

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """The pool gave the sign for a time limit; the batcher settles the hard one."""
