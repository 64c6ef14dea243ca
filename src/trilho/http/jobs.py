"""Routes that show one job, cancel it, and run it again."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from trilho.app import Trilho
from trilho.errors import UnknownJob
from trilho.http.accepted import accepted
from trilho.http.problems import documented
from trilho.http.schemas import Accepted, TaskOut

MAX_ID = 255

TaskId = Annotated[str, Path(description="The `task_id` that the request for the job answered with.")]


def jobs_router(app: Trilho) -> APIRouter:
    """`/tasks/{task_id}`: the jobs of this application."""
    router = APIRouter(prefix="/tasks", tags=["tasks"])

    @router.get("/{task_id}", summary="Show a job", responses=documented(404, 503))
    def show(task_id: TaskId) -> TaskOut:
        """State, progress, and result or error. An id that nobody was given is 404, never `PENDING`."""
        return TaskOut.of(app.jobs.get(possible(task_id)))

    @router.delete("/{task_id}", summary="Cancel a job", responses=documented(404, 409, 503))
    def cancel(task_id: TaskId) -> TaskOut:
        """A waiting job is `REVOKED` at once; a running one is asked to stop and is `REVOKED` within seconds."""
        return TaskOut.of(app.jobs.cancel(possible(task_id)))

    @router.post(
        "/{task_id}/retry", status_code=202, summary="Run a job again", responses=documented(202, 404, 409, 503)
    )
    def retry(task_id: TaskId, request: Request, response: Response) -> Accepted:
        """A job that is `FAILURE` or `REVOKED` waits again, under the same id and with all its retries."""
        job = app.jobs.retry(possible(task_id))
        return accepted(request, response, Accepted, job.id, status=job.state)

    return router


def possible(task_id: str) -> str:
    """The id itself; raises UnknownJob for what no job can be called, so that the database is not asked for it."""
    if "\x00" in task_id or len(task_id) > MAX_ID:
        raise UnknownJob(task_id[:MAX_ID])
    return task_id
