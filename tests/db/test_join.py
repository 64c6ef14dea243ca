"""`app.join()`: jobs with the commit of a session or connection that the project opened itself."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.jobs.shop import Query, Wakeups
from trilho import DuplicateJob, Result, Task, Trilho
from trilho.db.pool import sqlalchemy_url
from trilho.testing import Harness

Noop = Task[[int], None]


@pytest.fixture
def noop(app: Trilho) -> Noop:
    @app.task
    def noop(number: int) -> None: ...

    return noop


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """The project's own."""
    engine = create_engine(sqlalchemy_url(database))
    yield engine
    engine.dispose()


def test_job_appears_with_the_commit_of_the_session(app: Trilho, noop: Noop, engine: Engine, wakeups: Wakeups) -> None:
    with Session(engine) as session:
        result = app.join(session).delay(noop, 1)
        session.execute(text("SELECT 1"))
        assert (result.exists(), wakeups) == (False, [])
        session.commit()
    assert result.exists()
    assert [job.id for job in wakeups] == [result.id]


@pytest.mark.parametrize("end", ["rollback", "close"])
def test_session_that_does_not_commit_drops_the_job(app: Trilho, noop: Noop, engine: Engine, end: str) -> None:
    with Session(engine) as session:
        result = app.join(session).delay(noop, 1)
        getattr(session, end)()
        session.execute(text("SELECT 1"))
        session.commit()
    assert not result.exists()


def test_session_is_joined_for_each_of_its_transactions(app: Trilho, noop: Noop, engine: Engine) -> None:
    with Session(engine) as session:
        first = app.join(session).delay(noop, 1)
        session.commit()
        second = app.join(session).delay(noop, 2)
        session.rollback()
        third = app.join(session).delay(noop, 3)
        session.commit()
    assert [result.exists() for result in (first, second, third)] == [True, False, True]


def test_savepoint_of_the_session_takes_only_its_own_jobs(app: Trilho, noop: Noop, engine: Engine) -> None:
    with Session(engine) as session:
        joined = app.join(session)
        before = joined.delay(noop, 1)
        with suppress(KeyError), session.begin_nested():
            inside = joined.delay(noop, 2)
            raise KeyError
        session.commit()
    assert [result.exists() for result in (before, inside)] == [True, False]


def test_duplicate_undoes_the_commit_of_the_session(app: Trilho, noop: Noop, engine: Engine, query: Query) -> None:
    query("CREATE TABLE people (name text)")
    noop.apply_async((1,), task_id="one")
    with Session(engine) as session:
        session.execute(text("INSERT INTO people VALUES ('ana')"))
        app.join(session).apply_async(noop, (2,), task_id="one")
        with pytest.raises(DuplicateJob):
            session.commit()
    assert query("SELECT count(*) FROM people") == [(0,)]


def test_options_and_keywords_are_those_of_the_task(app: Trilho, noop: Noop, engine: Engine) -> None:
    with Session(engine) as session:
        keyword = app.join(session).delay(noop, number=1)
        option = app.join(session).apply_async(noop, (2,), queue="low", priority=3)
        session.commit()
    assert app.jobs.get(keyword.id).kwargs == {"number": 1}
    job = app.jobs.get(option.id)
    assert (job.queue, job.priority) == ("low", 3)


def test_job_appears_with_the_commit_of_an_async_session(app: Trilho, noop: Noop, database: str) -> None:
    async def main() -> list[Result[None]]:
        engine = create_async_engine(sqlalchemy_url(database))
        async with AsyncSession(engine) as session:
            kept = app.join(session).delay(noop, 1)
            await session.commit()
            dropped = app.join(session).delay(noop, 2)
            await session.rollback()
        await engine.dispose()
        return [kept, dropped]

    assert [result.exists() for result in asyncio.run(main())] == [True, False]


def test_job_appears_with_the_commit_of_a_psycopg_connection(app: Trilho, noop: Noop, database: str) -> None:
    with psycopg.connect(database) as connection:
        kept = app.join(connection).delay(noop, 1)
        assert not kept.exists()
        connection.commit()
        dropped = app.join(connection).delay(noop, 2)
        connection.rollback()
        with suppress(KeyError), connection.transaction():
            undone = app.join(connection).delay(noop, 3)
            raise KeyError
    assert [result.exists() for result in (kept, dropped, undone)] == [True, False, False]


def test_dispatcher_finds_the_job_of_a_psycopg_connection_at_its_next_look(
    app: Trilho, noop: Noop, database: str, query: Query
) -> None:
    """Nobody tells us of that commit, so no wake-up leaves: the row must not pretend that one did."""
    with psycopg.connect(database) as connection:
        app.join(connection).delay(noop, 1)
    assert query("SELECT sent_at, sends FROM trilho.jobs") == [(None, 0)]


def test_other_things_cannot_be_joined(app: Trilho) -> None:
    with pytest.raises(TypeError, match="not a int"):
        app.join(1)


def test_chain_joins_as_a_whole(app: Trilho, trilho: Harness, engine: Engine) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    with Session(engine) as session:
        result = app.join(session).apply_async(add, (1, 1), link=add.s(1).set(task_id="linked"))
        assert not app.AsyncResult("linked").exists()
        session.commit()
    assert app.AsyncResult("linked").exists()
    trilho.run_until_idle()
    assert (result.get(timeout=1), app.AsyncResult("linked").get(timeout=1)) == (2, 3)
