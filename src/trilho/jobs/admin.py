"""What people ask about jobs and do to them: `app.jobs`."""

from typing import TYPE_CHECKING

from celery.canvas import maybe_signature

from trilho.db.pool import Connection
from trilho.errors import JobStateError, KeyHeld, UnknownJob
from trilho.jobs import codec, stats, store
from trilho.jobs.aftermath import cancel_waiting
from trilho.jobs.enqueue import steps_of
from trilho.jobs.job import Attempt, Job, JobFilter, JobPage
from trilho.jobs.stats import QueueStats
from trilho.jobs.unique import take_key_again

if TYPE_CHECKING:
    from trilho.app import Trilho


class Jobs:
    """Looks at jobs and steers them."""

    def __init__(self, app: "Trilho") -> None:
        self._app = app

    def get(self, job_id: str) -> Job:
        """One job; raises UnknownJob."""
        job = self._app.database.run(store.view, job_id)
        if job is None:
            raise UnknownJob(job_id)
        return job

    def attempts(self, job_id: str) -> list[Attempt]:
        """The attempts of a job that were not a plain success, in order; raises UnknownJob."""
        self.get(job_id)
        return self._app.database.run(store.attempts, job_id)

    def list(self, wanted: JobFilter | None = None) -> JobPage:
        """One page of jobs, newest first."""
        return self._app.database.run(store.page, wanted or JobFilter())

    def retry(self, job_id: str) -> Job:
        """Run a FAILURE or REVOKED job again, with a fresh budget of retries.

        Raises UnknownJob, JobStateError, and of that KeyHeld where another job has its unique key.
        """
        if not self._app.database.run(_run_again, self._app, job_id):
            raise JobStateError(job_id, self.get(job_id).state, "retry")
        return self.get(job_id)

    def cancel(self, job_id: str) -> Job:
        """Revoke a waiting job at once, ask a running one to stop; raises UnknownJob, JobStateError if it ended."""
        run = self._app.database.run
        while not (self.cancel_if_waiting(job_id) or run(store.changed, "cancel_running", id=job_id)):
            job = self.get(job_id)
            if job.finished:  # otherwise it has moved between the two looks
                raise JobStateError(job_id, job.state, "cancel")
        return self.get(job_id)

    def cancel_if_waiting(self, job_id: str) -> bool:
        """Revoke a job that has not begun, with the rest of its chain; whether it waited."""
        return self._app.database.run(_cancel_waiting, self._app, job_id)

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Wait until a job is finished; `timeout` in seconds. Raises UnknownJob, TimeoutError."""
        self._app.waiter.wait([job_id], timeout)
        return self.get(job_id)

    def stats(self) -> QueueStats:
        """Workers, depths and failures, from samples: milliseconds, however deep the queues are."""
        return self._app.database.run(stats.read)


def _cancel_waiting(connection: Connection, app: "Trilho", job_id: str) -> bool:
    return cancel_waiting(app, connection, job_id)


def _run_again(connection: Connection, app: "Trilho", job_id: str) -> bool:
    with connection.transaction():
        found, canvas = store.run_again(connection, job_id)
        holder = take_key_again(connection, job_id) if found else None
        if holder is not None:
            raise KeyHeld(job_id, "finished", holder)
        chain = (codec.loads(canvas) or {}).get("chain") or ()
        ids = [step.options["task_id"] for data in chain for step in steps_of(maybe_signature(data, app=app))]
        if ids:
            store.changed(connection, "hold_again", ids=ids)
    return found
