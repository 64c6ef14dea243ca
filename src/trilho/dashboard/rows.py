"""Rows of the database that a page about an operation is made of."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class NoteRow:
    """One row of the timeline."""

    operation: str
    number: int
    kind: str
    id: str
    cause: str | None
    via: str | None
    name: str
    key: str | None
    at: datetime
    ended_at: datetime | None
    outcome: str | None
    attempt: int | None
    error: str | None
    partition: int | None
    offset: int | None


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job of the operation; `scheduled` is whether it waits for a time."""

    id: str
    task: str
    queue: str
    state: str
    held: bool
    attempt: int
    max_attempts: int | None
    error: str | None
    worker: str | None
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    parent_id: str | None
    result: str | None
    progress: str | None
    scheduled: bool


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """An attempt of a job that was not a plain success."""

    job_id: str
    number: int
    outcome: str
    error: str | None
    worker: str | None
    started_at: datetime | None
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class ReaderRow:
    """How far a group is in a partition."""

    topic: str
    partition: int
    group: str
    next_offset: int


@dataclass(frozen=True, slots=True)
class LoggedRow:
    """An event as the PostgreSQL log has it."""

    id: str
    time: datetime
    type: str
    data: str


@dataclass(frozen=True, slots=True)
class SagaRow:
    """A run of a saga."""

    id: str
    name: str
    version: int
    state: str
    verdict: str | None
    error: str | None
    stuck: str | None
    parent_id: str | None
    parent_path: str | None
    created_at: datetime
    finished_at: datetime | None
    result: str | None


@dataclass(frozen=True, slots=True)
class StepRow:
    """A recorded step, undo, wait or timer of a run."""

    saga_id: str
    path: str
    kind: str
    name: str
    state: str
    attempt: int
    job_id: str | None
    error: str | None
    timed_out: bool
    due_at: datetime | None
    started_at: datetime
    ended_at: datetime | None
    result: str | None
