"""An application without a worker; its jobs run in the test process, by the code that a worker runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import pytest

from tests.lab import database as databases
from trilho import Trilho, Tx
from trilho.jobs.enqueue import Enqueuer
from trilho.jobs.job import NewJob
from trilho.testing import Harness

Query: TypeAlias = Callable[..., list[tuple[Any, ...]]]


class Wakeups(list[NewJob]):
    """Remembers of which jobs workers would be told; where commits are slow, they are told twice."""

    def push(self, jobs: Sequence[NewJob]) -> None:
        self.extend(job for job in jobs if job not in self)


class Shop(Trilho):
    """An application without a broker, and with tasks of its own: many of them live in one test process."""

    def __init__(self, **options: Any) -> None:
        super().__init__("shop", **options)
        self.wakeups = Wakeups()
        self.enqueuer = Enqueuer(self.database, self.wakeups)

    def task(self, *args: Any, **options: Any) -> Any:
        return super().task(*args, **{"shared": False, **options})


class Undo(Exception):
    """Ends a transaction without a commit."""


@contextmanager
def rolled_back(app: Trilho) -> Iterator[Tx]:
    """A transaction that an exception ends."""
    with suppress(Undo), app.transaction() as tx:
        yield tx
        raise Undo


@pytest.fixture
def trilho(database: str) -> Iterator[Harness]:
    """Runs the jobs of `app`."""
    app = Shop(database=database)
    with Harness(app, database) as harness:
        yield harness
    app.close()


@pytest.fixture
def app(trilho: Harness) -> Trilho:
    """The application."""
    return trilho.app


@pytest.fixture
def wakeups(app: Trilho) -> Wakeups:
    """The wake-ups of `app`, in order."""
    wakeups = Wakeups()
    app.enqueuer = Enqueuer(app.database, wakeups)
    return wakeups


@pytest.fixture
def query(database: str) -> Query:
    """Rows of the test's database, on a connection of its own."""

    def run(statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with databases.connect(database) as connection:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def connection(database: str) -> Iterator[databases.Connection]:
    """A connection in autocommit mode, for the verbs of the stores."""
    with databases.connect(database) as connection:
        yield connection
