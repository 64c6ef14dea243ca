"""One database for each test, copied from a template that was migrated once."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from trilho.db.migrate import migrate
from trilho.db.pool import Database
from trilho.settings import Settings

Connection = psycopg.Connection[TupleRow]


def with_database(url: str, name: str) -> str:
    """The URL of another database of the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def with_port(url: str, port: int) -> str:
    """The URL with another port, for a proxy in between."""
    parts = urlsplit(url)
    account = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return urlunsplit(parts._replace(netloc=f"{account}{parts.hostname}:{port}"))


def port_of(url: str) -> int:
    """The port of a URL."""
    port = urlsplit(url).port
    assert port is not None
    return port


@contextmanager
def connect(url: str) -> Iterator[Connection]:
    """An autocommit connection for the test itself."""
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        yield connection


def create(server: str, *, template: str | None = None, prefix: str = "lab") -> str:
    """Create a database with a name of its own; its URL."""
    name = f"{prefix}_{uuid.uuid4().hex[:12]}"
    with connect(server) as connection:
        connection.execute(_create(name, template))
    return with_database(server, name)


def bring_up_to_date(url: str) -> None:
    """Give a database Trilho's schema."""
    database = Database(Settings(database_url=url))
    try:
        migrate(database)
    finally:
        database.engine.dispose()
        database.close()


def create_template(server: str, name: str) -> None:
    """Create a database `name` with Trilho's schema, to be copied; does nothing if it is there already."""
    with connect(server) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            return
        connection.execute(_create(f"{name}_draft", None))
        bring_up_to_date(with_database(server, f"{name}_draft"))
        rename = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(f"{name}_draft"), sql.Identifier(name))
        connection.execute(rename)


def drop(url: str) -> None:
    """Drop a database, also from under connections that are still open."""
    name = urlsplit(url).path.lstrip("/")
    with connect(with_database(url, "postgres")) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _create(name: str, template: str | None) -> sql.Composed:
    source = sql.Identifier(template or "template1")
    # WAL_LOG copies pages through shared buffers: no checkpoint, which matters with many small databases.
    return sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY WAL_LOG").format(sql.Identifier(name), source)
