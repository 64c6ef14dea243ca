"""The shop as people run it: an API process, worker processes, and the servers that both use."""

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.lab import database as databases
from tests.lab import processes
from tests.lab.poll import eventually
from tests.lab.servers import ROOT
from tests.lab.worker import Worker, WorkerOptions

FINISHED = {"SUCCESS", "FAILURE", "REVOKED"}
START = 40.0

Json = dict[str, Any]


@dataclass(frozen=True)
class Shop:
    """One shop with an API; workers are started by whoever needs them."""

    folder: Path
    environment: Mapping[str, str]
    client: httpx.Client

    @property
    def files(self) -> Path:
        """The folder of sales files."""
        return self.folder / "files"

    def worker(self, name: str = "worker", **environment: str) -> Worker:
        """A worker process, not started yet."""
        return Worker(WorkerOptions(name, "tests.loja.worker", {**self.environment, **environment}), self.folder)

    def upload(self, name: str, content: bytes) -> None:
        """Put a file where uploads lie."""
        (self.files / "uploads").mkdir(parents=True, exist_ok=True)
        (self.files / "uploads" / name).write_bytes(content)

    def start(self, path: str, **params: object) -> str:
        """POST; the id of the job."""
        answer = self.client.post(path, params={name: str(value) for name, value in params.items()})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["task_id"])

    def task(self, task_id: str) -> Json:
        """GET /tasks/{task_id}."""
        answer = self.client.get(f"/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        shown: Json = answer.json()
        return shown

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the shop's database."""
        with databases.connect(self.environment["TRILHO_DATABASE_URL"]) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def finished(self, task_id: str, *, timeout: float = 30.0) -> Json:
        """The job once it is finished."""
        return eventually(lambda: self.task(task_id), lambda task: task["status"] in FINISHED, timeout=timeout)

    def result(self, task_id: str, *, timeout: float = 30.0) -> Json:
        """The result of the job once it is SUCCESS."""
        task = self.finished(task_id, timeout=timeout)
        assert task["status"] == "SUCCESS", task["error"]
        result: Json = task["result"]
        return result


@contextmanager
def opened(folder: Path, database: str, broker: str, **settings: str) -> Iterator[Shop]:
    """A migrated shop with its API running."""
    urls = {"TRILHO_DATABASE_URL": database, "TRILHO_BROKER_URL": broker, "TRILHO_DATA": str(folder)}
    environment = {**urls, "TRILHO_LEASE": "2", "TRILHO_TICK": "0.1", "LOJA_FAILURE_RATE": "0", **settings}
    migrate = [sys.executable, "-c", "from loja.app import app; app.migrate()"]
    subprocess.run(migrate, cwd=ROOT, env=_inherited() | environment, check=True, timeout=START)
    with api(folder, environment) as client:
        yield Shop(folder, environment, client)


@contextmanager
def api(folder: Path, environment: dict[str, str]) -> Iterator[httpx.Client]:
    """`loja.web:api` in a process of its own."""
    mark = f"api-{uuid.uuid4()}"
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / f"{mark}.log").open("wb") as log:
        command = [sys.executable, "-m", "uvicorn", "loja.web:api", "--fd", str(listener.fileno())]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_inherited() | environment | {processes.MARK: mark},
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=START) as client:
                assert client.get("/healthz").status_code == 200  # waits in the backlog until the server is up
                yield client
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(START)
            finally:
                processes.end(mark)


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("TRILHO_", "LOJA_"))}
