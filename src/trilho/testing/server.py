"""Databases for tests: one for each test, copied from a template that was migrated once."""

import shutil
import tempfile
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from trilho.app import Trilho
from trilho.db.pool import libpq_url
from trilho.settings import Settings
from trilho.testing.harness import redirected

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class TestSettings(Settings):
    """Where tests make their databases."""

    __test__ = False  # not a class of tests

    test_database_url: str | None = None


class Server:
    """A PostgreSQL server on which databases come and go."""

    def __init__(self, url: str, stop: Callable[[], None]) -> None:
        self._url = libpq_url(url)
        self._stop = stop
        self._templates: dict[Hashable, str] = {}

    @contextmanager
    def database(self, app: Trilho) -> Iterator[str]:
        """URL of a new database with the tables of `app`; dropped at the end of the block."""
        name = self._create(template=self._template(app))
        try:
            yield self._url_of(name)
        finally:
            self._drop(name)

    def close(self) -> None:
        """Drop the templates and stop the server, if it is ours."""
        for name in self._templates.values():
            self._drop(name)
        self._stop()

    def _template(self, app: Trilho) -> str:
        """A database that `app.migrate()` has filled; shared by applications with the same migrations."""
        key = tuple(app._migrations)
        if key not in self._templates:
            name = self._create(template="template0")
            with redirected(app, self._url_of(name)):
                app.migrate()
            self._templates[key] = name
        return self._templates[key]

    def _create(self, template: str) -> str:
        name = f"trilho_test_{uuid4().hex}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        self._execute(statement)
        return name

    def _drop(self, name: str) -> None:
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)

    def _url_of(self, name: str) -> str:
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{name}"))


_SERVER = pytest.StashKey[Server]()


def server_of(config: pytest.Config) -> Server:
    """The server of this test session, begun at its first use."""
    server = config.stash.get(_SERVER, None)
    if server is None:
        url = TestSettings().test_database_url
        server = config.stash[_SERVER] = _embedded() if url is None else Server(url, stop=lambda: None)
        config.add_cleanup(server.close)
    return server


def _embedded() -> Server:
    try:
        from trilho.embedded import Postgres  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        pytest.fail("set TRILHO_TEST_DATABASE_URL, or install trilho[embedded]", pytrace=False)
    folder = Path(tempfile.mkdtemp(prefix="trilho-test-"))
    postgres = Postgres(folder, options=FAST)
    postgres.start()

    def stop() -> None:
        postgres.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)

    return Server(postgres.url(), stop)
