"""Connections survive what happens to servers, and never cross a fork."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from psycopg_pool import PoolTimeout
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests.jobs.shop import Query
from tests.lab import database as databases
from tests.lab.poll import eventually
from tests.lab.proxy import FaultProxy
from trilho import ConfigurationError
from trilho.db.pool import Connection, Database, libpq_url, sqlalchemy_url
from trilho.settings import Settings


@pytest.fixture
def pool(database: str) -> Iterator[Database]:
    pool = Database(Settings(database_url=database, pool_size=2, connect_timeout=1))
    yield pool
    pool.close()


def backend(connection: Connection) -> int:
    return connection.info.backend_pid


def end_backends(query: Query) -> None:
    query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


def test_connections_are_in_autocommit_mode_also_after_sqlalchemy_had_them(pool: Database) -> None:
    with pool.engine.begin():
        pass
    with pool.connection() as connection:
        assert connection.autocommit
    pool.engine.dispose()


def test_connection_that_the_server_closed_is_not_handed_out(pool: Database, query: Query) -> None:
    with pool.connection() as connection:
        before = backend(connection)
    end_backends(query)
    with pool.connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert backend(connection) != before


def test_transactions_whose_connections_break_leave_room_for_others(pool: Database, query: Query) -> None:
    for _ in range(3):  # one more than the pool has room for
        with suppress(OperationalError), pool.engine.begin() as connection:
            connection.execute(text("SELECT 1"))
            end_backends(query)
            connection.execute(text("SELECT 1"))
            pytest.fail("the connection did not break")
    with pool.engine.begin() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    pool.engine.dispose()


def test_verb_whose_connection_breaks_is_run_once_more(pool: Database, query: Query) -> None:
    seen: list[int] = []

    def verb(connection: Connection) -> int:
        seen.append(backend(connection))
        if len(seen) == 1:
            end_backends(query)
        connection.execute("SELECT 1")
        return len(seen)

    assert pool.run(verb) == 2
    assert len(set(seen)) == 2


def test_verb_that_is_at_fault_itself_is_not_repeated(pool: Database) -> None:
    calls: list[int] = []

    def verb(connection: Connection) -> None:
        calls.append(1)
        connection.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        pool.run(verb)
    assert len(calls) == 1


def test_waiting_for_a_connection_ends(pool: Database) -> None:
    with pool.connection(), pool.connection(), pytest.raises(psycopg.OperationalError), pool.connection():
        pass


def test_server_that_was_away_is_reached_as_soon_as_it_is_back(database: str) -> None:
    with FaultProxy(databases.port_of(database)) as proxy:
        url = databases.with_port(database, proxy.port)
        pool = Database(Settings(database_url=url, pool_size=2, connect_timeout=1))
        proxy.set("refuse")
        for _ in range(4):  # seconds
            with pytest.raises(PoolTimeout), pool.connection():
                pass
        proxy.set("pass")
        eventually(lambda: pool.run(backend), timeout=2, ignoring=(PoolTimeout,))
        pool.close()


def test_child_of_a_fork_opens_connections_of_its_own(pool: Database) -> None:
    with pool.connection() as connection:
        parent = backend(connection)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # nothing but the look: pytest must not go on in the child
        with pool.connection() as connection:
            os.write(writer, str(backend(connection)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reader, 20)) != parent
    with pool.connection() as connection:
        assert backend(connection) == parent
    os.close(reader)
    os.close(writer)


def test_closed_database_opens_again(pool: Database) -> None:
    pool.run(lambda connection: connection.execute("SELECT 1"))
    pool.close()
    assert pool.run(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)


def test_threads_share_one_pool(pool: Database) -> None:
    pools: list[object] = []
    threads = [threading.Thread(target=lambda: pools.append(pool.pool)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, pools))) == 1


def test_missing_url_is_named() -> None:
    with pytest.raises(ConfigurationError, match="TRILHO_DATABASE_URL"):
        Database(Settings()).open_connection()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg"])
def test_urls_of_any_dialect_are_understood(scheme: str) -> None:
    assert libpq_url(f"{scheme}://u:p@h:1/d").partition("://")[0] in {"postgresql", "postgres"}
    assert sqlalchemy_url(f"{scheme}://u:p@h:1/d") == "postgresql+psycopg://u:p@h:1/d"


def test_prepared_statements_can_be_turned_off(database: str) -> None:
    pool = Database(Settings(database_url=database, prepared_statements=False))
    with pool.connection() as connection:
        for _ in range(5):
            connection.execute("SELECT %s", (1,))
        assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    pool.close()
