"""`app.transaction()`: a session and everything enqueued inside are one commit."""

import contextvars
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.jobs.shop import Query, Shop, Wakeups, rolled_back
from trilho import DuplicateJob, Task, TransactionError, Trilho, Tx, UnknownJob

Noop = Task[[int], None]


@pytest.fixture
def noop(app: Trilho) -> Noop:
    @app.task
    def noop(number: int) -> None: ...

    return noop


@pytest.fixture
def people(query: Query) -> Callable[[], list[str]]:
    """The names in a table of the application's own."""
    query("CREATE TABLE people (name text PRIMARY KEY)")
    return lambda: [name for (name,) in query("SELECT name FROM people ORDER BY name")]


def add(tx: Tx, name: str) -> None:
    tx.session.execute(text("INSERT INTO people VALUES (:name)"), {"name": name})


def test_row_and_job_appear_with_the_commit(app: Trilho, noop: Noop, people: Callable[[], list[str]]) -> None:
    with app.transaction() as tx:
        add(tx, "ana")
        result = noop.delay(1)
        assert not result.exists()
    assert people() == ["ana"]
    assert result.exists()


def test_neither_row_nor_job_survives_an_exception(app: Trilho, noop: Noop, people: Callable[[], list[str]]) -> None:
    with rolled_back(app) as tx:
        add(tx, "ana")
        result = noop.delay(1)
    assert people() == []
    with pytest.raises(UnknownJob):
        result.get(timeout=1)


def test_jobs_of_a_block_without_statements_are_written_together(app: Trilho, noop: Noop, query: Query) -> None:
    with app.transaction():
        results = [noop.delay(number) for number in range(3)]
        assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]
    assert all(result.exists() for result in results)
    assert query("SELECT count(DISTINCT xmin::text) FROM trilho.jobs") == [(1,)]


def test_empty_block_needs_no_database() -> None:
    with Shop(database="postgresql://localhost:1/none").transaction():
        pass


def test_wakeups_leave_after_the_commit(app: Trilho, noop: Noop, wakeups: Wakeups) -> None:
    with app.transaction() as tx:
        tx.session.execute(text("SELECT 1"))
        result = noop.delay(1)
        assert wakeups == []
    assert [job.id for job in wakeups] == [result.id]


def test_commit_that_fails_enqueues_nothing(app: Trilho, noop: Noop, wakeups: Wakeups, query: Query) -> None:
    query("CREATE TABLE parents (id int PRIMARY KEY)")
    query("CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(IntegrityError), app.transaction() as tx:  # noqa: PT012 - the commit raises
        tx.session.execute(text("INSERT INTO children VALUES (1)"))
        result = noop.delay(1)
    assert not result.exists()
    assert wakeups == []


def test_two_jobs_with_one_id_undo_the_transaction(app: Trilho, noop: Noop, people: Callable[[], list[str]]) -> None:
    with pytest.raises(DuplicateJob, match="one"), app.transaction() as tx:  # noqa: PT012 - the commit raises
        add(tx, "ana")
        noop.apply_async((1,), task_id="one")
        noop.apply_async((2,), task_id="one")
    assert people() == []


def test_id_of_an_older_job_undoes_the_transaction(app: Trilho, noop: Noop, people: Callable[[], list[str]]) -> None:
    noop.apply_async((1,), task_id="one")
    with pytest.raises(DuplicateJob, match="one"), app.transaction() as tx:  # noqa: PT012 - the commit raises
        add(tx, "ana")
        noop.apply_async((2,), task_id="one")
    assert people() == []
    assert app.jobs.get("one").args == [1]


def test_session_commits_at_the_end_of_the_block_only(app: Trilho) -> None:
    with pytest.raises(TransactionError, match=r"session\.commit"), app.transaction() as tx:
        tx.session.commit()


def test_rollback_inside_the_block_drops_what_was_enqueued(app: Trilho, noop: Noop) -> None:
    with app.transaction() as tx:
        tx.session.execute(text("SELECT 1"))
        dropped = noop.delay(1)
        tx.session.rollback()
        kept = noop.delay(2)
    assert (dropped.exists(), kept.exists()) == (False, True)


def test_job_of_another_application_does_not_join(app: Trilho, noop: Noop, database: str) -> None:
    with rolled_back(Shop(database=database)):
        result = noop.delay(1)
    assert result.exists()


# ---- who may use it


def test_use_by_another_thread_raises(app: Trilho, noop: Noop) -> None:
    errors: list[BaseException] = []

    def enqueue() -> None:
        try:
            noop.delay(1)
        except TransactionError as error:
            errors.append(error)

    with app.transaction():
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(enqueue,))
        thread.start()
        thread.join()
    assert "another thread" in str(errors[0])


def test_thread_without_the_context_writes_for_itself(app: Trilho, noop: Noop) -> None:
    results: list[Any] = []
    with rolled_back(app):
        thread = threading.Thread(target=lambda: results.append(noop.delay(1)))
        thread.start()
        thread.join()
    assert results[0].exists()


def test_use_after_the_end_raises(app: Trilho, noop: Noop) -> None:
    with app.transaction() as tx:
        context = contextvars.copy_context()
    with pytest.raises(TransactionError, match="over"):
        context.run(noop.delay, 1)
    with pytest.raises(TransactionError, match="over"):
        _ = tx.session


def test_stray_enqueue_raises_where_a_transaction_is_required(
    database: str, monkeypatch: pytest.MonkeyPatch, query: Query
) -> None:
    monkeypatch.setenv("TRILHO_REQUIRE_TRANSACTION", "1")
    app = Shop(database=database)

    @app.task
    def noop(number: int) -> None: ...

    with pytest.raises(TransactionError, match="TRILHO_REQUIRE_TRANSACTION"):
        noop.delay(1)
    assert query("SELECT count(*) FROM trilho.jobs") == [(0,)]
    with app.transaction():
        result = noop.delay(1)
    assert result.exists()
    app.database.close()


def test_connection_is_the_one_of_the_session(app: Trilho, people: Callable[[], list[str]]) -> None:
    with app.transaction() as tx:
        assert isinstance(tx.connection, psycopg.Connection)
        tx.connection.execute("INSERT INTO people VALUES ('ana')")
        assert tx.session.execute(text("SELECT name FROM people")).scalar() == "ana"
    assert people() == ["ana"]
