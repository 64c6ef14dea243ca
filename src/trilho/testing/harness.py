"""An application under test: what it enqueued, and its jobs run here and now by the code that a worker runs."""

import inspect
import math
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, NoReturn, Self
from unittest.mock import patch
from uuid import uuid4

from celery.app import autoretry
from celery.app.trace import build_tracer
from celery.result import denied_join_result
from celery.utils.time import get_exponential_backoff_interval

from trilho.app import Trilho
from trilho.db.pool import Connection
from trilho.db.sql import beside
from trilho.db.transaction import installed
from trilho.events.outbox import OutboxSink
from trilho.jobs import codec
from trilho.jobs.enqueue import Enqueuer
from trilho.jobs.job import Job, JobFilter, NewJob
from trilho.jobs.runner import SliceOrder
from trilho.jobs.task import Task
from trilho.testing.delivery import ToSagas

SQL = beside(__file__, "testing.sql")
WORKER = "testing"


class StillBusy(AssertionError):
    """Jobs went on making new ones: a task enqueues itself, or retries without a pause and without end."""


class Harness:
    """The fixture `trilho`."""

    def __init__(self, app: Trilho, database_url: str) -> None:
        self.app = app
        self.database_url = database_url
        self._failures: dict[str, deque[BaseException]] = defaultdict(deque)
        self._to_sagas = ToSagas(app)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(redirected(self.app, self.database_url))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def assert_enqueued(self, task: Task[..., Any], /, **arguments: Any) -> Job:
        """The newest job of `task` whose arguments, positional ones by their names too, include `arguments`."""
        wanted = _as_stored(arguments)
        jobs = self.app.jobs.list(JobFilter(task=task.name, limit=1000)).items
        calls = [_arguments(self.app.tasks[task.name], job) for job in jobs]
        for job, call in zip(jobs, calls, strict=True):
            if all(name in call and call[name] == value for name, value in wanted.items()):
                return job
        found = "".join(f"\n  {task.name}({_shown(call)})" for call in calls) or f" no {task.name} at all"
        raise AssertionError(f"{task.name}({_shown(wanted)}) was not enqueued; there is:{found}")

    def run_until_idle(self, limit: int = 1000) -> list[Job]:
        """Run what is due until nothing is, with retries that are due, chains and chords; the jobs in order of start.

        What was published reaches the sagas that wait for it, and no other handler. Raises StillBusy after `limit`
        attempts. Bodies that raise make their job FAILURE, as in a worker.
        """
        ran: list[str] = []
        while due := self._woken_or_due():
            for job_id, name in due:
                if len(ran) >= limit:
                    raise StillBusy(f"not idle after {limit} attempts; the last one was {name}")
                ran.append(job_id)
                self._run(job_id, self.app.tasks[name])
        return [self.app.jobs.get(job_id) for job_id in dict.fromkeys(ran)]

    def fail(self, task: Task[..., Any], error: BaseException, times: int = 1) -> None:
        """Let the next runs of `task` raise `error` instead of running its body."""
        self._failures[task.name].extend([error] * times)

    def advance(self, **by: float) -> None:
        """Bring near what waits for a later time or for its expiry; takes the arguments of `timedelta`."""
        for query in ("advance", "advance_sagas", "advance_saga_steps"):
            self.app.database.run(_execute, query, timedelta(**by))

    def replay_sagas(self) -> None:
        """Play every saga anew after each of its steps: what is not deterministic makes it STUCK, with the reason."""
        self.app.sagas.replay_always = True
        self._stack.callback(setattr, self.app.sagas, "replay_always", False)

    def _woken_or_due(self) -> Sequence[tuple[str, str]]:
        self._to_sagas.deliver()
        self.app.database.run(self.app.sagas.wake_due)
        return self._due()

    def _due(self) -> Sequence[tuple[str, str]]:
        values = {"tasks": list(self.app.tasks)}
        return self.app.database.run(lambda connection: connection.execute(SQL["due"], values).fetchall())

    def _run(self, job_id: str, task: Task[..., Any]) -> None:
        order = SliceOrder((job_id,), uuid4(), uuid4(), WORKER, slot=0)
        with installed(None), denied_join_result(), self._failing(task):
            task.__trace__ = build_tracer(task.name, task, self.app.loader, WORKER, app=self.app)
            self.app.runner.work(order)

    def _failing(self, task: Task[..., Any]) -> AbstractContextManager[object]:
        if not self._failures[task.name]:
            return nullcontext()
        error = self._failures[task.name].popleft()

        def body(*_: Any, **__: Any) -> NoReturn:
            raise error

        # Under `autoretry_for`, Celery keeps the body here; what stands around it has to see the error.
        return patch.object(task, "_orig_run" if hasattr(task, "_orig_run") else "run", body)


def _execute(connection: Connection, query: str, by: timedelta) -> None:
    connection.execute(SQL[query], {"by": by})


class _Silence:
    """Where wake-ups go without a broker."""

    def push(self, jobs: Sequence[NewJob]) -> None:
        """Nothing."""


def _nobody() -> None:
    """Who is told of events where no relay runs."""


def _whole_pause(*, full_jitter: bool = False, **back_off: int) -> int:
    """Celery's back-off, never shortened by chance: a retry that may be due at once makes a test a matter of luck."""
    pause: int = get_exponential_backoff_interval(**back_off)
    return pause


_PARTS = (
    *("settings", "database", "pipe", "enqueuer", "waiter", "jobs", "shared", "runner", "coroutines", "streams"),
    "saga_lines",
)
"""Of an application, what holds its database or settings."""


@contextmanager
def redirected(app: Trilho, database_url: str) -> Iterator[None]:
    """Let `app` use another database, send no wake-ups, and be allowed to run bodies in this process."""
    settings = app.settings.model_copy(update={"database_url": database_url, "listen_url": None})
    outbox = app.bus.outbox  # made before: it keeps the application's own database
    kept = {name: app.__dict__.pop(name) for name in _PARTS if name in app.__dict__}
    app.settings = settings
    app.enqueuer = Enqueuer(app.database, _Silence())
    app.bus.outbox = OutboxSink(nudge=_nobody)
    app.shared.deadline = math.inf
    app.set_current()
    try:
        with patch.object(autoretry, "get_exponential_backoff_interval", _whole_pause):
            yield
    finally:
        app.coroutines.close()
        app.database.close()
        for name in _PARTS:
            app.__dict__.pop(name, None)
        app.__dict__.update(kept)
        app.bus.outbox = outbox


def _as_stored(value: Any) -> Any:
    return codec.loads(codec.dumps(value))


def _arguments(task: Task[..., Any], job: Job) -> dict[str, Any]:
    """The arguments of a job by name, defaults too."""
    body = inspect.getattr_static(type(task), "run").__get__(task)  # not what `autoretry_for` puts around it
    signature = inspect.signature(body)
    try:
        bound = signature.bind(*job.args, **job.kwargs)
    except TypeError:  # a chain's later link has its own arguments only
        return dict(job.kwargs)
    bound.apply_defaults()
    extra = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    named: dict[str, Any] = _as_stored({name: value for name, value in bound.arguments.items() if name != extra})
    return named | job.kwargs


def _shown(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
