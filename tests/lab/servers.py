"""Servers that a whole test session shares, started by whichever test process needs them first."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.lab.kafka import KafkaServer
from tests.lab.poll import eventually
from tests.lab.rabbitmq import RabbitMQ

Kind = Literal["postgres", "valkey", "rabbitmq", "kafka"]
ROOT = Path(__file__).parents[2]
START_TIMEOUT = 90.0


@dataclass(frozen=True)
class Session:
    """One test session: the folder that its parallel processes share, the process that ends last, and our number."""

    folder: Path
    owner: int
    number: int

    @classmethod
    def of(cls, factory: pytest.TempPathFactory) -> "Session":
        """The session that this test process belongs to."""
        worker = os.environ.get("PYTEST_XDIST_WORKER")
        base = factory.getbasetemp()
        if worker is None:
            return cls(base, os.getpid(), 0)
        return cls(base.parent, os.getppid(), int(worker.removeprefix("gw")))

    def url(self, kind: Kind) -> str:
        """URL of the shared server; skips (or fails, under TRILHO_TEST_REQUIRE=all) where it cannot be had."""
        if kind == "rabbitmq" and not RabbitMQ.installed():
            missing("RabbitMQ", "apt-get install rabbitmq-server")
        if kind == "kafka" and (lack := KafkaServer.lack()):
            missing("Kafka", lack)
        with self.locked(kind) as answer:
            if not answer.exists():
                self._start(kind, answer)
            facts = json.loads(answer.read_text())
        if "error" in facts:
            raise RuntimeError(f"{kind} did not start: {facts['error']}")
        return str(facts["url"])

    @contextmanager
    def locked(self, name: str) -> Iterator[Path]:
        """A file of the session, for one process at a time."""
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.folder / f"{name}.json"

    def _start(self, kind: Kind, answer: Path) -> None:
        command = [sys.executable, "-m", "tests.lab.keeper", kind, str(answer), str(self.owner)]
        with (self.folder / f"{kind}.log").open("wb") as log:
            subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
        eventually(answer.exists, timeout=START_TIMEOUT)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the data of one server; not below pytest's own, which other users may not enter."""
    folder = Path(tempfile.mkdtemp(prefix="trilho-lab-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def missing(server: str, remedy: str) -> None:
    """Skip with one line; a failure where everything is required."""
    message = f"{server} is not installed, its tests are left out ({remedy})"
    if os.environ.get("TRILHO_TEST_REQUIRE") == "all":
        pytest.fail(message)
    pytest.skip(message)
