"""The attempt that runs now: what its body and Celery's tracer say is gathered here and written as one commit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID

from trilho.db.pool import Connection
from trilho.db.transaction import Tx
from trilho.jobs.body import Body
from trilho.jobs.job import Claimed, NewJob
from trilho.jobs.outcome import Outcome
from trilho.jobs.progress import ProgressWriter
from trilho.jobs.store import ChordPart, OtherResult

Rider = Callable[[Connection], list[NewJob]]
"""Writes something in the commit of an attempt's end, and returns the jobs that it enqueued; may be called again."""


@dataclass
class RunningAttempt:
    """One attempt of one job, and everything that has to be durable together with its end."""

    job: Claimed
    token: UUID
    worker_name: str
    body: Body | None = None
    progress: ProgressWriter | None = None
    tx: Tx | None = None
    outcome: Outcome | None = None
    next_run: NewJob | None = None  # what self.retry or self.replace put under the running id
    new_jobs: list[NewJob] = field(default_factory=list)
    others: list[OtherResult] = field(default_factory=list)
    parts: list[ChordPart] = field(default_factory=list)
    grown: list[str] = field(default_factory=list)  # chords that the body added a member to
    riders: list[Rider] = field(default_factory=list)  # what is written together with the end, whatever that is
    dispatching: int = 0
    committed: bool = False
    fenced: bool = False
    commit_error: BaseException | None = None

    @contextmanager
    def dispatch(self) -> Iterator[None]:
        """What is sent in this block belongs to the finish: links, the next step of a chain, a chord's body."""
        self.dispatching += 1
        try:
            yield
        finally:
            self.dispatching -= 1

    def forget_what_follows(self) -> None:
        """The end that these belonged to did not come about."""
        self.new_jobs, self.others, self.parts, self.grown = [], [], [], []


_running: ContextVar[RunningAttempt | None] = ContextVar("trilho_attempt", default=None)


def running() -> RunningAttempt | None:
    """The attempt around the caller, if one runs."""
    return _running.get()


@contextmanager
def entered(attempt: RunningAttempt) -> Iterator[RunningAttempt]:
    """Make `attempt` the running one."""
    token = _running.set(attempt)
    try:
        yield attempt
    finally:
        _running.reset(token)
