"""The servers that both stacks share: PostgreSQL as in production (fsync on) and Valkey with its append-only file."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis

from bench.apps import Place, Stack
from trilho.db.migrate import migrate
from trilho.db.pool import Connection, Database
from trilho.embedded import Postgres, Valkey
from trilho.settings import Settings

CELERY_BROKER, CELERY_RESULTS, TRILHO_BROKER = 0, 1, 2
ORDERS = "CREATE TABLE orders (id bigserial PRIMARY KEY, name text NOT NULL)"
JOB_TABLES = "trilho.jobs, trilho.job_attempts, trilho.samples, trilho.queue_marks"


@dataclass(frozen=True)
class Stand:
    """Both servers, running."""

    postgres: Postgres
    valkey: Valkey

    def place(self, stack: Stack, database: str = "bench") -> Place:
        """Where a stack keeps its things."""
        broker = CELERY_BROKER if stack == "celery" else TRILHO_BROKER
        return Place(
            stack, self.postgres.url(database), self.valkey.url(broker), results_url=self.valkey.url(CELERY_RESULTS)
        )

    def create_database(self, name: str) -> str:
        """A new database with Trilho's schema and the callers' table; its URL."""
        with psycopg.connect(self.postgres.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        url = self.postgres.url(name)
        database = Database(Settings(database_url=url))
        migrate(database, [_create_orders])
        database.engine.dispose()
        database.close()
        return url


@contextmanager
def stand() -> Iterator[Stand]:
    """Start both servers in a temporary folder, with an empty database `bench`."""
    with tempfile.TemporaryDirectory(prefix="trilho-bench-") as folder:
        postgres = Postgres(Path(folder) / "postgres")
        valkey = Valkey(Path(folder) / "valkey", append_only=True)
        try:
            postgres.start()
            valkey.start()
            ours = Stand(postgres, valkey)
            ours.create_database("bench")
            yield ours
        finally:
            valkey.stop()
            postgres.stop("immediate")


def _create_orders(connection: Connection) -> None:
    connection.execute(ORDERS)


def clear(place: Place) -> None:
    """Forget every message, result and job of a stack; nothing of it may run."""
    for url in {place.broker_url, place.results_url}:
        with redis.Redis.from_url(url) as client:
            client.flushdb()
    with psycopg.connect(place.database_url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE orders, {JOB_TABLES}")
