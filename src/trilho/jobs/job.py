"""What a job is: its states, the row that is written, and the row that is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from trilho.jobs import display

PENDING = "PENDING"  # waits, maybe for a later time
STARTED = "STARTED"  # a body runs
PROCESSING = "PROCESSING"  # a body runs and has reported progress
RETRY = "RETRY"  # waits after an attempt that asked for another one
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"

WAITING = frozenset({PENDING, RETRY})
RUNNING = frozenset({STARTED, PROCESSING})
FINISHED = frozenset({SUCCESS, FAILURE, REVOKED})
STATES = WAITING | RUNNING | FINISHED


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job as it is written; `args`, `kwargs`, `canvas` and `headers` are JSON texts."""

    id: str
    task: str
    queue: str
    args: str = "[]"
    kwargs: str = "{}"
    canvas: str | None = None
    headers: str = "{}"
    priority: int = 0
    held: bool = False
    send: bool = True  # a wake-up follows the commit; False: the dispatcher sends it when it is due
    run_at: datetime | None = None
    expires_at: datetime | None = None
    retries: int = 0
    max_retries: int | None = None
    max_crashes: int | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    operation: str | None = None  # for the timeline: none where the job begins an operation
    cause: str | None = None
    via: str | None = None
    fresh: bool = False  # the id was made for it: it can be no other job's

    @property
    def is_plain(self) -> bool:
        """Whether it is nothing but a row of its own: no turn to wait for, no place in somebody's operation."""
        return not self.held and self.operation is None


@dataclass(frozen=True, slots=True)
class DueJob:
    """A due job that needs a wake-up."""

    id: str
    task: str
    queue: str
    priority: int
    headers: str
    retries: int
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    run_at: datetime
    alone: bool = False  # it has ended a process, or may have: it is claimed alone


class Claimed(NamedTuple):
    """A job as its worker gets it: the columns of every statement that hands jobs to a worker, in their order."""

    id: str
    task: str
    queue: str
    state: str
    priority: int
    args: str
    kwargs: str
    canvas: str | None
    headers: str
    attempt: int
    retries: int
    crash_count: int
    max_crashes: int | None
    claim_token: Any
    expires_at: datetime | None
    root_id: str | None
    parent_id: str | None
    group_id: str | None
    sent_at: datetime | None
    sends: int
    ending: str | None = None  # why it must not begin: cancelled meanwhile, expired
    suspect: bool = False  # claimed together with others


@dataclass(frozen=True, slots=True)
class Job:
    """A job as people see it; `result` and `args` are JSON values."""

    id: str
    task: str
    queue: str
    state: str
    priority: int
    attempt: int
    max_attempts: int | None
    retries: int
    crash_count: int
    progress: dict[str, Any] | None
    result: Any
    error: str | None
    traceback: str | None
    worker: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_run_at: datetime | None
    expires_at: datetime | None
    args: list[Any]
    kwargs: dict[str, Any]
    root_id: str | None
    parent_id: str | None
    group_id: str | None

    @property
    def finished(self) -> bool:
        """Whether the state is final."""
        return self.state in FINISHED

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Job":
        """The job of one row of the `view` query."""
        loaded = {name: display.loaded(row[name]) for name in ("progress", "result", "args", "kwargs")}
        return cls(**{**row, **loaded})


@dataclass(frozen=True, slots=True)
class Attempt:
    """One finished attempt that was not a plain success."""

    number: int
    state: str
    error: str | None
    traceback: str | None
    worker: str | None
    started_at: datetime | None
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list, newest first; `cursor` is the `next_cursor` of the page before."""

    state: str | None = None
    queue: str | None = None
    task: str | None = None
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of jobs."""

    items: list[Job]
    next_cursor: str | None
