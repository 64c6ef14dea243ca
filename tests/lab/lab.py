"""One test's own world: its database, broker and ledger, the application in this process, and workers to be hurt."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.faults.apps.application import build
from tests.faults.apps.bodies import LEDGER_URL
from tests.lab import database
from tests.lab.ledger import Ledger, effects
from tests.lab.poll import eventually
from tests.lab.worker import Worker, WorkerOptions
from trilho import Job, Trilho

WORKER_APP = "tests.faults.apps.worker"
LEASE = 2.0
SETTINGS = {
    "TRILHO_LEASE": str(LEASE),
    "TRILHO_TICK": "0.1",
    "TRILHO_RESEND_GRACE": "1",
    "TRILHO_SHUTDOWN_GRACE": "2",
}
RECOVERY = 2 * LEASE + 6.0
"""Seconds within which a lost job must run again: a lease, the dispatcher's look, and a loaded machine."""
WITHOUT_SUCCESS = (
    "SELECT id, task, state, attempt, error FROM trilho.jobs WHERE state IN ('FAILURE', 'REVOKED') LIMIT 5"
)


@dataclass
class Lab:
    """Everything a fault test needs; what it starts ends with the test."""

    folder: Path
    database_url: str
    broker_url: str
    ledger: Ledger
    settings: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))
    logs: list[Path] = field(default_factory=list)
    workers: dict[str, Worker] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _app: Trilho | None = None

    @property
    def app(self) -> Trilho:
        """The application as a web process has it: it enqueues and looks, and runs nothing."""
        if self._app is None:
            self._app = build(broker=self.broker_url, database=self.database_url)
        return self._app

    def environment(self, **settings: object) -> dict[str, str]:
        """The environment of a process of this lab; `settings` are `TRILHO_` variables in lower case."""
        urls = {"TRILHO_DATABASE_URL": self.database_url, "TRILHO_BROKER_URL": self.broker_url}
        files = {"TRILHO_DATA": str(self.folder / "data"), LEDGER_URL: self.ledger.url}
        own = {f"TRILHO_{name.upper()}": str(value) for name, value in settings.items()}
        return urls | files | self.settings | own

    def worker(
        self,
        name: str = "w1",
        *,
        concurrency: int = 2,
        queues: str = "celery",
        arguments: tuple[str, ...] = (),
        wait: bool = True,
        app: str = WORKER_APP,
        **settings: object,
    ) -> Worker:
        """A started worker."""
        environment = self.environment(**settings)
        options = WorkerOptions(name, app, environment, concurrency, queues, arguments)
        worker = self._stack.enter_context(Worker(options, self.folder).start(wait=False))
        self.logs.append(worker.log)
        self.workers[name] = worker
        return worker.wait_ready() if wait else worker

    def stopped(self, name: str) -> bool:
        """Whether a process of this worker has stopped itself at a fault point."""
        return any(process.status() == psutil.STATUS_STOPPED for process in self.workers[name].descendants())

    def send(self, task: str, *args: Any, **options: Any) -> str:
        """Enqueue `lab.<task>`; the id of the job."""
        return str(self.app.tasks[f"lab.{task}"].apply_async(args=args, **options).id)

    def send_many(self, task: str, keys: list[str], *args: Any, **options: Any) -> list[str]:
        """Enqueue one job for each key; their ids."""
        results = self.app.enqueue_many(self.app.tasks[f"lab.{task}"], [(key, *args) for key in keys], **options)
        return [str(result.id) for result in results]

    def job(self, job_id: str) -> Job:
        """The job as everybody sees it."""
        return self.app.jobs.get(job_id)

    def states(self) -> Counter[str]:
        """How many jobs are in each state."""
        with database.connect(self.database_url) as connection:
            return Counter(dict(connection.execute("SELECT state, count(*)::int FROM trilho.jobs GROUP BY state")))

    def effects(self) -> Counter[str]:
        """How often each key's transactional effect exists."""
        return effects(self.database_url)

    def began(self, key: str, times: int = 1, *, timeout: float = 15.0) -> None:
        """Wait until bodies of this key have begun so many times."""
        eventually(lambda: len(self.ledger.entries(key, "began")), lambda n: n >= times, timeout=timeout)

    def all_succeed(self, count: int, *, timeout: float = 30.0) -> None:
        """Wait until there are exactly so many jobs and all are SUCCESS; a failure ends the wait."""

        def done(states: Counter[str]) -> bool:
            failed = self.query(WITHOUT_SUCCESS) if states["FAILURE"] + states["REVOKED"] else []
            assert not failed, f"{states}: {failed}"
            return states == {"SUCCESS": count}

        eventually(self.states, done, timeout=timeout, every=0.2)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the application's database."""
        with database.connect(self.database_url) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """End every worker, then the application of this process."""
        self._stack.close()
        if self._app is not None:
            self._app.close()
