"""An application whose sagas run in this process, on a real PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import pytest

from tests.lab import database as databases
from trilho import PermanentError, Retry, SagaHandle, Trilho, Tx
from trilho.testing import Harness

QUICK = Retry(attempts=3, delay=0)


@dataclass
class Shop:
    """The application, its harness, and an independent list of what was done."""

    app: Trilho
    harness: Harness
    url: str

    def settle(self, handle: SagaHandle[Any]) -> str:
        """Run everything that can run; the state of the run then."""
        self.harness.run_until_idle()
        return handle.state

    def at_points(self, call: Callable[[str], None]) -> AbstractContextManager[object]:
        """A block in which each fault point that is passed calls this with its name."""
        return patch.object(self.app.database.faults, "hit", call)

    def effects(self) -> list[str]:
        """What was committed, in order."""
        with databases.connect(self.url) as connection:
            return [row[0] for row in connection.execute("SELECT what FROM effects ORDER BY number")]

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        with databases.connect(self.url) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


def write(tx: Tx, what: str) -> None:
    """An effect in a step's own transaction."""
    tx.session.connection().exec_driver_sql("INSERT INTO effects (what) VALUES (%s)", (what,))


def do(what: str, tx: Tx) -> str:
    """A step that says what it did."""
    write(tx, what)
    return f"{what} done"


def undo(what: str, result: str | None, tx: Tx) -> None:
    """The undo of `do`."""
    write(tx, f"undo {what} {result}")


def refuse(reason: str) -> None:
    """A step that no other attempt would help."""
    raise PermanentError(reason)


TABLES = "sagas, saga_steps, saga_mail, jobs, job_attempts, outbox, offsets, log, log_partitions, topics"


@pytest.fixture(scope="module")
def shared_database(postgres_server: str, template: str) -> Iterator[str]:
    """One database for all tests of a module, for most of their time went into making one each."""
    url = databases.create(postgres_server, template=template)
    with databases.connect(url) as connection:
        connection.execute("CREATE TABLE effects (number bigint GENERATED ALWAYS AS IDENTITY, what text)")
    yield url
    databases.drop(url)


@pytest.fixture
def shop(shared_database: str) -> Iterator[Shop]:
    database = shared_database
    app = Trilho("sagas", database=database, broker="memory://")
    with databases.connect(database) as connection:
        tables = ", ".join(f"trilho.{table.strip()}" for table in TABLES.split(","))
        connection.execute(f"TRUNCATE effects, {tables} RESTART IDENTITY".encode())

    @app.task(shared=False, name="work")
    def work(what: str) -> str:
        with app.transaction() as tx:
            write(tx, what)
        return f"{what} done"

    @app.task(shared=False, name="unwork")
    def unwork(what: str, result: str | None = None) -> None:
        with app.transaction() as tx:
            write(tx, f"undo {what} {result}")

    @app.task(shared=False, name="atomic", transactional=True)
    def atomic(what: str, tx: Tx) -> str:
        write(tx, what)
        if what.startswith("bad"):
            raise PermanentError(what)
        return what

    @app.task(shared=False, name="broken")
    def broken(what: str) -> str:
        raise PermanentError(f"{what} is broken")

    with Harness(app, database) as harness:
        yield Shop(app, harness, database)
