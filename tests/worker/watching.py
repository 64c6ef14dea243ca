"""A worker of the watched application, the application in this process, and Celery's own command line."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from celery import Celery
from celery.bin.base import CLIContext
from click import Command
from click.testing import CliRunner

from tests.lab import database as databases
from tests.lab.poll import eventually
from tests.lab.servers import scratch
from tests.lab.worker import Worker, WorkerOptions
from tests.worker.conftest import SETTINGS
from tests.worker.watched import LOG, build
from trilho import Job, Result, Trilho
from trilho.embedded import Valkey

APP = "tests.worker.watched"


@dataclass(frozen=True)
class Watch:
    """What the tests of Celery's tools need."""

    app: Trilho
    plain: Celery  # a client that has never heard of Trilho
    worker: Worker
    folder: Path
    environment: dict[str, str]

    @property
    def broker(self) -> str:
        """URL of the broker."""
        return self.environment["TRILHO_BROKER_URL"]

    def send(self, task: str, *args: object, **options: object) -> Result[object]:
        """Enqueue `watched.<task>`."""
        result: Result[object] = self.app.tasks[f"watched.{task}"].apply_async(args, **options)
        return result

    def job(self, result: Result[object]) -> Job:
        """The row."""
        return self.app.jobs.get(result.id)

    def state(self, result: Result[object], state: str, timeout: float = 15.0) -> Job:
        """The row, once it is in this state."""
        return eventually(lambda: self.job(result), lambda job: job.state == state, timeout=timeout)

    def run(self, command: Command, *arguments: str) -> str:
        """What a command of Celery's prints; AssertionError if it fails."""
        context = CLIContext(app=self.app, no_color=True, workdir=None, quiet=False)
        done = CliRunner().invoke(command, list(arguments), obj=context)
        assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
        return done.output

    def other(self, name: str, queue: str, *arguments: str, concurrency: int = 1, **environment: str) -> Worker:
        """Another worker of the same application."""
        options = WorkerOptions(
            name, APP, self.environment | environment, concurrency, queues=queue, arguments=arguments
        )
        return Worker(options, self.folder)

    def noted(self, task: str = "") -> list[str]:
        """Signals and hooks so far, of one task or of none."""
        lines = [line.split(" ", 1)[1] for line in (self.folder / "signals").read_text().splitlines()]
        return [line.replace(f" {task}", "") for line in lines if task in line] if task else lines


@contextmanager
def watching(server: str, template: str, folder: Path) -> Iterator[Watch]:
    """One worker with two pool processes, on a Valkey of its own, so that nobody else's control messages reach it."""
    url = databases.create(server, template=template)
    with scratch() as data, ExitStack() as stack:
        valkey = Valkey(data)
        valkey.start()
        stack.callback(valkey.stop)
        environment = {
            "TRILHO_DATABASE_URL": url,
            "TRILHO_BROKER_URL": valkey.url(),
            "TRILHO_DATA": str(folder),
            LOG: str(folder / "signals"),
            **SETTINGS,
        }
        app = build(database=url, broker=valkey.url())
        stack.callback(app.close)
        stack.callback(app.database.close)
        plain = stack.enter_context(Celery("plain", broker=valkey.url(), set_as_current=False))
        worker = stack.enter_context(Worker(WorkerOptions("w1", APP, environment), folder))
        yield Watch(app, plain, worker, folder, environment)
    databases.drop(url)
