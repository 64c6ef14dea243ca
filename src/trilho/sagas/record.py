"""What is recorded of a run: the run itself, its entries, its mail."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

RUNNING = "RUNNING"  # a stretch of it waits for a worker or runs
WAITING = "WAITING"  # suspended: for a task, a signal, an event, a timer
COMPENSATING = "COMPENSATING"  # its undos run
COMPLETED = "COMPLETED"
COMPENSATED = "COMPENSATED"
STUCK = "STUCK"  # a person decides

LIVE = frozenset({RUNNING, WAITING, COMPENSATING})
FINISHED = frozenset({COMPLETED, COMPENSATED})
STATES = LIVE | FINISHED | {STUCK}

FAILED_RUN = "failed"
CANCELLED_RUN = "cancelled"
TIMED_OUT_RUN = "timed out"
CALLED_OFF = "called off"

OPEN = "WAITING"
RETRY = "RETRY"
DONE = "DONE"
FAILED = "FAILED"
SKIPPED = "SKIPPED"
CANCELLED = "CANCELLED"
ENDED_WELL = frozenset({DONE, SKIPPED})

STEP, UNDO, CALL = "step", "undo", "call"
SLEEP, EVENT, SIGNAL = "sleep", "event", "signal"
NOW, UUID, PATCH = "now", "uuid", "patch"

UNDO_SUFFIX = ":undo"
MAX_ID = 200
"""Characters of the id of a run."""
LONGEST_NAME = 255
"""Characters of the name of a signal or a change, and of a signal's message id."""
LONGEST_KEY = 2000
"""Bytes of the key of an event that is waited for: more does not fit into an index of PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Run:
    """A row of `sagas`, as a stretch needs it; `args` by parameter, as JSON."""

    id: str
    name: str
    version: int
    state: str
    args: str
    verdict: str | None
    error: str | None
    wakes: int
    deadline: datetime | None
    cancel_requested_at: datetime | None
    listens_from: datetime
    correlation_id: str
    called: bool
    recorded: bool
    has_mail: bool
    now: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of `saga_steps`; `args`, `result` and `failure` are JSON texts."""

    path: str
    kind: str
    name: str
    state: str
    attempt: int = 1
    job_id: str | None = None
    child_id: str | None = None
    atomic: bool = True
    args: str = "[]"
    undo: str | None = None
    result: str | None = None
    error: str | None = None
    failure: str | None = None
    key: bytes | None = None
    mail: int | None = None
    due_at: datetime | None = None
    timed_out: bool = False
    started_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing about it changes any more."""
        return self.state not in (OPEN, RETRY)


@dataclass(frozen=True, slots=True)
class Mail:
    """A signal or an event that is kept for a run; `data` is JSON."""

    number: int
    name: str
    data: str
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The job of a stretch and the token that it runs under."""

    job_id: str
    token: Any


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as it is recorded."""

    error: str
    encoded: Mapping[str, Any]
