"""A real worker, shared by the tests of a module."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import database as databases
from tests.lab.servers import scratch
from tests.lab.worker import Worker, WorkerOptions
from tests.worker.application import build
from trilho import Job, Result, Trilho
from trilho.embedded import Valkey

SETTINGS = {"TRILHO_LEASE": "4", "TRILHO_TICK": "0.1", "TRILHO_RESEND_GRACE": "1", "TRILHO_SHUTDOWN_GRACE": "2"}


@dataclass(frozen=True)
class Stand:
    """An application that enqueues, and the worker that runs its jobs."""

    app: Trilho
    worker: Worker

    def send(self, task: str, *args: object, **options: object) -> Result[object]:
        result: Result[object] = self.app.tasks[f"test.{task}"].apply_async(args, **options)
        return result

    def job(self, result: Result[object]) -> Job:
        return self.app.jobs.get(result.id)


@contextmanager
def standing(url: str, folder: Path, *arguments: str) -> Iterator[Stand]:
    """A worker with these arguments, on a Valkey of its own, so that nobody else's control messages reach it."""
    with scratch() as data, ExitStack() as stack:
        valkey = Valkey(data)
        valkey.start()
        stack.callback(valkey.stop)
        environment = {
            "TRILHO_DATABASE_URL": url,
            "TRILHO_BROKER_URL": valkey.url(),
            "TRILHO_DATA": str(folder),
            **SETTINGS,
        }
        app = build(database=url, broker=valkey.url())
        stack.callback(app.close)
        stack.callback(app.database.close)
        options = WorkerOptions("w1", "tests.worker.application", environment, arguments=arguments)
        worker = stack.enter_context(Worker(options, folder))
        yield Stand(app, worker)


@pytest.fixture(scope="module")
def stand(postgres_server: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """A worker with a pool of two processes."""
    url = databases.create(postgres_server, template=template)
    with standing(url, tmp_path_factory.mktemp("worker")) as stand:
        yield stand
    databases.drop(url)
