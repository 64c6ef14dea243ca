"""Routes that show one job, follow it, cancel it, and run it again."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response

from trilho.app import Trilho
from trilho.db.text import is_storable
from trilho.errors import JobStateError, UnknownJob
from trilho.http.accepted import accepted
from trilho.http.hub import Hub, Watched
from trilho.http.links import timeline_link
from trilho.http.problems import documented
from trilho.http.schemas import Accepted, TaskOut
from trilho.http.stream import EventStream, stream_to
from trilho.jobs.job import REVOKED, Job

MAX_ID = 255

TaskId = Annotated[str, Path(description="The `task_id` that the request for the job answered with.")]
LastEventId = Annotated[str | None, Header(description="The `id` of the last event that the client has seen.")]

_DOCUMENT = {
    "type": "string",
    "contentMediaType": "application/json",
    "contentSchema": {"$ref": "#/components/schemas/TaskOut"},
}
_EVENT = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {"event": {"const": "task"}, "id": {"type": "string"}, "data": _DOCUMENT},
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "The events.", "content": {"text/event-stream": {"schema": _EVENT}}},
    204: {"description": "`Last-Event-ID` is the end of the job: nothing will follow, do not come back."},
}


def jobs_router(app: Trilho) -> APIRouter:
    """`/tasks/{task_id}`: the jobs of this application."""
    hub = Hub(app)
    router = APIRouter(prefix="/tasks", tags=["tasks"], lifespan=hub.lifespan)

    @router.get("/{task_id}", summary="Show a job", responses=documented(404, 503))
    def show(task_id: TaskId, request: Request, response: Response) -> TaskOut:
        """State, progress, and result or error. An id that nobody was given is 404, never `PENDING`."""
        job = app.jobs.get(possible(task_id))
        timeline_link(request, response, job.id)
        return TaskOut.of(job)

    async def watched(task_id: TaskId) -> AsyncIterator[Watched]:
        async with hub.watching(possible(task_id)) as job:
            yield job

    @router.get(
        "/{task_id}/stream",
        summary="Follow a job",
        response_class=EventStream,
        responses=documented(404, 503) | _STREAM,
    )
    async def stream(job: Annotated[Watched, Depends(watched)], last_event_id: LastEventId = None) -> Response:
        """Server-sent events named `task`, each with the document of `GET /tasks/{task_id}`, until the job is finished.

        A client that comes back with `Last-Event-ID` is sent what has changed since.
        """
        return stream_to(job, last_event_id)

    @router.delete("/{task_id}", summary="Cancel a job", responses=documented(404, 409, 503))
    def cancel(task_id: TaskId) -> TaskOut:
        """A waiting job is `REVOKED` at once; a running one is asked to stop and is `REVOKED` within seconds.

        A second cancel answers as the first did; one of a job that ended otherwise is 409.
        """
        return TaskOut.of(cancelled(app, possible(task_id)))

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
    if not is_storable(task_id, MAX_ID):
        raise UnknownJob(task_id[:MAX_ID])
    return task_id


def cancelled(app: Trilho, task_id: str) -> Job:
    """Cancel a job, which may be REVOKED already: DELETE is idempotent, for its answer may get lost."""
    try:
        return app.jobs.cancel(task_id)
    except JobStateError as error:
        if error.state != REVOKED:
            raise
        return app.jobs.get(task_id)
