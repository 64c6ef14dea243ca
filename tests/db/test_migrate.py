"""`app.migrate()`."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from tests.jobs.shop import Shop
from tests.lab import database as databases
from trilho.db.pool import Connection


@pytest.fixture
def empty(postgres_server: str) -> Iterator[str]:
    """A database without Trilho's schema."""
    url = databases.create(postgres_server)
    yield url
    databases.drop(url)


@pytest.fixture
def shop(empty: str) -> Iterator[Shop]:
    shop = Shop(database=empty)
    yield shop
    shop.database.close()
    shop.close()


def tables(url: str) -> set[str]:
    with databases.connect(url) as connection:
        rows = connection.execute(
            "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('trilho', 'public')"
        )
        return {name for (name,) in rows}


def test_schema_is_made_once(shop: Shop, empty: str) -> None:
    shop.migrate()
    before = tables(empty)
    shop.migrate()
    assert "trilho.jobs" in before
    assert tables(empty) == before


def test_processes_that_migrate_at_once_take_turns(empty: str) -> None:
    errors: list[BaseException] = []

    def migrate() -> None:
        shop = Shop(database=empty)
        shop.on_migrate(lambda connection: connection.execute("CREATE TABLE IF NOT EXISTS people (name text)"))
        try:
            shop.migrate()
        except BaseException as error:
            errors.append(error)
        finally:
            shop.database.close()

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert {"trilho.jobs", "public.people"} <= tables(empty)


def test_step_of_the_application_runs_in_the_same_transaction(shop: Shop, empty: str) -> None:
    @shop.on_migrate
    def fail(connection: Connection) -> None:
        connection.execute("CREATE TABLE people (name text)")
        connection.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero):
        shop.migrate()
    assert tables(empty) == set()


def test_steps_run_in_order_after_the_schema(shop: Shop, empty: str) -> None:
    order: list[str] = []

    @shop.on_migrate
    def first(connection: Connection) -> None:
        connection.execute("SELECT 1 FROM trilho.jobs")
        order.append("first")

    shop.on_migrate(lambda connection: order.append("second"))
    shop.migrate()
    assert order == ["first", "second"]
