"""What the HTTP side says, as JSON."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from trilho.jobs.display import displayable
from trilho.jobs.job import SUCCESS, Job

_EXAMPLE_ID = "01937d6f-6f0e-7cc1-a5b0-1d5f3f6f2a11"


class FieldError(BaseModel):
    """One parameter that cannot be used."""

    field: str = Field(examples=["num_rows"])
    message: str = Field(examples=["Input should be greater than or equal to 1"])

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """From one of Pydantic's errors."""
        where: Sequence[Any] = item["loc"]
        field = ".".join(str(part) for part in where[1:]) or str(where[0])
        return cls(field=field, message=str(item["msg"]).removeprefix("Value error, "))


class Problem(BaseModel):
    """Why a request was not done (RFC 9457)."""

    type: str = Field(description="Stable name of this kind of problem.", examples=["urn:trilho:problem:unknown-job"])
    title: str = Field(description="The same for all problems of the type.", examples=["No such job"])
    status: int = Field(description="The HTTP status again.", examples=[404])
    detail: str = Field(description="What happened this time, and what to do.")
    errors: list[FieldError] | None = Field(default=None, description="The parameters that cannot be used.")
    state: str | None = Field(default=None, description="The state of the job, where that is the reason.")


class Accepted(BaseModel):
    """A job was stored and will run; ask `status_url` how it goes."""

    task_id: str = Field(examples=[_EXAMPLE_ID])
    status: str = Field(default="PENDING", examples=["PENDING"])
    status_url: str = Field(description="Path of `GET /tasks/{task_id}`.", examples=[f"/tasks/{_EXAMPLE_ID}"])


class Health(BaseModel):
    """The API answers, and so does its database."""

    status: str = Field(default="ok", examples=["ok"])


class Progress(BaseModel):
    """How far the running attempt is; a job may report more than these."""

    model_config = ConfigDict(extra="allow")

    current: int | float | None = Field(default=None, examples=[20000])
    total: int | float | None = Field(default=None, examples=[50000])
    percent: float | None = Field(default=None, description="0 to 100, where the total is known.", examples=[40.0])
    message: str | None = Field(default=None, examples=["read 20,000 of 50,000 rows of vendas.csv, 98 rejected"])


class TaskOut(BaseModel):
    """One job as it is now."""

    task_id: str = Field(examples=[_EXAMPLE_ID])
    name: str = Field(description="The task's registered name.", examples=["loja.sales.tasks.process_csv"])
    status: str = Field(
        description="PENDING, STARTED, PROCESSING (it reports progress), RETRY (waits for its next attempt), "
        "SUCCESS, FAILURE or REVOKED.",
        examples=["PROCESSING"],
    )
    attempt: int = Field(description="Number of the current or last attempt; 0 before the first.", examples=[1])
    max_attempts: int | None = Field(description="Attempts it may have; null is no limit.", examples=[6])
    progress: Progress | None
    result: Any = Field(description="What the task returned; null unless SUCCESS.")
    error: str | None = Field(description="Why it failed, or why the last attempt did.")
    queue: str = Field(examples=["celery"])
    worker: str | None = Field(description="Who runs or ran it.", examples=["worker@host"])
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_run_at: datetime | None = Field(description="When the next attempt begins, where it waits for a time.")

    @classmethod
    def of(cls, job: Job) -> Self:
        """The public side of a job; its arguments and traceback stay inside."""
        return cls(
            task_id=job.id,
            name=job.task,
            status=job.state,
            attempt=job.attempt,
            max_attempts=job.max_attempts,
            progress=progress_of(job),
            result=displayable(job.result) if job.state == SUCCESS else None,  # else Celery's form of the exception
            error=job.error,
            queue=job.queue,
            worker=job.worker,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            next_run_at=job.next_run_at,
        )


def progress_of(job: Job) -> Progress | None:
    """What the job reported last; a task that stores something else as its progress has it shown as a message."""
    if job.progress is None:
        return None
    reported = displayable(job.progress)
    try:
        progress = Progress.model_validate(reported)
    except ValidationError:
        return Progress(message=str(reported))
    # Reports are throttled: the last one that was written may be far from the end that was reached.
    return progress if job.state != SUCCESS or progress.percent in {None, 100} else None


class WorkerOut(BaseModel):
    """One live worker, or one that died lately."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["worker@host"])
    hostname: str
    pid: int
    pool: str | None = Field(examples=["prefork"])
    concurrency: int | None = Field(description="Jobs that it can run at the same time.", examples=[2])
    state: str = Field(description="running, stopping or lost.", examples=["running"])
    running: int = Field(description="Jobs that it runs now.")
    processed: int = Field(description="Jobs that it has finished since it started.")
    last_seen: datetime = Field(description="When its lease was renewed last.")
    last_progress: datetime | None = Field(description="When a job of it last began, reported progress or ended.")


def _rounded(value: float) -> float:
    return round(value, 1)


Rounded = Annotated[float, AfterValidator(_rounded)]


class QueueOut(BaseModel):
    """Depth and speed of one queue."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(examples=["celery"])
    waiting: int = Field(description="Jobs that could run now.")
    scheduled: int = Field(description="Jobs that wait for a later time, retries too.")
    running: int
    oldest_waiting_seconds: Rounded | None = Field(description="Age of the oldest job that could run now.")
    finished_per_minute: Rounded


class QueueStatsOut(BaseModel):
    """Workers, queues and failures; sampled, so a few seconds old."""

    model_config = ConfigDict(from_attributes=True)

    workers: list[WorkerOut]
    queues: list[QueueOut]
    failures: dict[str, int] = Field(
        description="Jobs that ended as FAILURE, counted up to 10,000.", examples=[{"last_hour": 3}]
    )
