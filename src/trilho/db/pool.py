"""The database of one application: connections that survive restarts of the server and never cross a fork."""

import asyncio
import os
import re
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import psycopg
from psycopg.errors import UndefinedColumn, UndefinedTable
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from trilho.errors import ConfigurationError
from trilho.faults import Faults, parse
from trilho.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

Connection: TypeAlias = psycopg.Connection[TupleRow]

LOST = (psycopg.OperationalError, psycopg.InterfaceError)
"""What psycopg raises when a connection cannot be had or broke."""


class Database:
    """Connections of one process to the database in `settings`; opened at first use, again after a fork."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.faults = Faults(parse(settings.fault))
        self._inherited: list[ConnectionPool[Connection]] = []
        self._held: WeakSet[HeldConnection] = WeakSet()
        self._most = settings.pool_size
        self._begin_process()

    def _begin_process(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pool: ConnectionPool[Connection] | None = None
        self._engine: Engine | None = None
        self._async_engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()

    def _own(self) -> None:
        """Forget what a parent process opened: a connection or a lock that crossed a fork must not be touched."""
        if self._pid != os.getpid():
            if self._pool is not None:
                self._inherited.append(self._pool)
            self._begin_process()

    @property
    def conninfo(self) -> str:
        """The libpq connection string; raises ConfigurationError without a database URL."""
        return libpq_url(self.settings.require_database())

    @property
    def pool(self) -> ConnectionPool[Connection]:
        """The connections of this process, in autocommit mode."""
        self._own()
        if self._pool is None:
            with self._lock:
                self._pool = self._pool or self._open_pool()
        return self._pool

    def _open_pool(self) -> ConnectionPool[Connection]:
        return ConnectionPool(
            self.conninfo,
            kwargs=self.connect_options(),
            min_size=0,
            max_size=self._most,
            timeout=self.settings.connect_timeout,
            max_idle=300,
            reconnect_timeout=self.settings.connect_timeout,  # its pauses double: after an outage, they last as long
            num_workers=1,
            check=refuse_stale,
            close_returns=True,
            open=True,
            name="trilho",
        )

    def connect_options(self) -> dict[str, Any]:
        """Keyword arguments of `psycopg.connect` for every connection of Trilho."""
        return {
            "autocommit": True,
            "prepare_threshold": 1 if self.settings.prepared_statements else None,
            "connect_timeout": max(2, round(self.settings.connect_timeout)),
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A pooled connection in autocommit mode.

        Raises `psycopg.OperationalError` when none can be had, ConfigurationError when the schema is not there.
        """
        pool = self.pool
        connection = pool.getconn()
        try:
            if not connection.autocommit:  # SQLAlchemy had it
                connection.autocommit = True
            with naming_a_missing_schema():
                yield connection
        finally:
            pool.putconn(connection)

    def run(self, verb: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an idempotent verb, once more on a fresh connection if the first one broke under it."""
        with self.connection() as connection:
            try:
                return verb(connection, *args, **kwargs)
            except LOST:
                if not connection.broken:
                    raise
        with self.connection() as connection:
            return verb(connection, *args, **kwargs)

    def held(self, open_: "Callable[[], Connection] | None" = None) -> "HeldConnection":
        """A connection for one thread that comes back to it all the time; opened by `open_connection`, or as told."""
        held = HeldConnection(open_ or self.open_connection)
        self._held.add(held)
        return held

    def open_connection(self) -> Connection:
        """A connection of its own, outside the pool, for threads that must not wait for others."""
        return psycopg.connect(self.conninfo, **self.connect_options())

    def open_patiently(self) -> Connection:
        """As `open_connection`, for callers who would wait as long for one of the pool's while PostgreSQL restarts."""
        deadline, pause = time.monotonic() + self.settings.connect_timeout, 0.05
        while True:
            try:
                return self.open_connection()
            except psycopg.OperationalError:
                if time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
            pause = min(0.5, pause * 2)

    @property
    def engine(self) -> Engine:
        """A SQLAlchemy engine over the same pool."""
        self._own()
        if self._engine is None:
            self._engine = create_engine("postgresql+psycopg://", creator=self._lend, poolclass=NullPool)
            event.listen(self._engine, "close", self._give_back_broken)
        return self._engine

    def _lend(self) -> Connection:
        connection = self.pool.getconn()
        try:
            connection.autocommit = False  # SQLAlchemy leaves BEGIN to the driver
        except psycopg.Error:
            self.pool.putconn(connection)
            raise
        return connection

    def _give_back_broken(self, connection: Connection, _record: object) -> None:
        """`close()` of a connection that broke does not give it back to its pool, for which it stays lent for ever."""
        if connection.closed and connection._pool is not None:
            self.pool.putconn(connection)

    @property
    def async_engine(self) -> AsyncEngine:
        """A SQLAlchemy engine for the running event loop, with connections of its own."""
        self._own()
        loop = asyncio.get_running_loop()
        engine = self._async_engines.get(loop)
        if engine is None:
            url = sqlalchemy_url(self.settings.require_database())
            options = {name: value for name, value in self.connect_options().items() if name != "autocommit"}
            engine = create_async_engine(
                url, pool_size=self.settings.pool_size, pool_pre_ping=True, connect_args=options
            )
            self._async_engines[loop] = engine
        return engine

    async def dispose(self) -> None:
        """Close the connections of the running event loop."""
        engine = self._async_engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()

    def make_room(self, threads: int) -> None:
        """Let so many threads have a connection each, if that is more than the settings give."""
        self._most = max(self._most, threads)
        if self._pool is not None and self._pool.max_size < self._most:
            self._pool.resize(0, self._most)

    def close(self) -> None:
        """Close every connection of this process."""
        self._own()
        for held in self._held:
            held.close()
        if self._pool is not None:
            self._pool.close()
        self._begin_process()


class HeldConnection:
    """One connection of one thread, opened at first use and again when it broke; spares the pool's locks and checks."""

    def __init__(self, open_: Callable[[], Connection]) -> None:
        self._open = open_
        self._connection: Connection | None = None
        self._pid = 0

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """The connection, in autocommit mode; raises as `Database.connection` does."""
        if self._connection is None or self._pid != os.getpid() or _is_stale(self._connection):
            self._connection, self._pid = self._open(), os.getpid()
        connection = self._connection
        try:
            with naming_a_missing_schema():
                yield connection
        finally:
            if connection.closed:
                self._connection = None

    def close(self) -> None:
        """Close the connection, if this process opened it."""
        if self._connection is not None and self._pid == os.getpid():
            self._connection.close()
        self._connection = None


@contextmanager
def brief_transaction(connection: Connection, seconds: float) -> Iterator[None]:
    """A transaction that the server ends when this process stands still in it for so long, so that its locks go."""
    with connection.transaction():
        milliseconds = f"{max(1, round(seconds * 1000))}ms"
        connection.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", (milliseconds,))
        yield


@contextmanager
def naming_a_missing_schema() -> Iterator[None]:
    """Raise ConfigurationError where a table of ours is missing."""
    try:
        yield
    except (UndefinedTable, UndefinedColumn) as error:
        if "trilho." not in str(error):
            raise
        raise ConfigurationError("the database has no `trilho` schema of this version: run `trilho migrate`") from error


def libpq_url(url: str) -> str:
    """The URL without SQLAlchemy's driver part."""
    return re.sub(r"^postgres(ql)?\+\w+://", "postgresql://", url)


def sqlalchemy_url(url: str) -> str:
    """The URL as SQLAlchemy wants it for psycopg 3."""
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql+psycopg://", url)


def _is_stale(connection: Connection) -> bool:
    """Whether the server has closed this idle connection; it is closed here then, too."""
    try:
        refuse_stale(connection)
    except psycopg.OperationalError:
        connection.close()
        return True
    return False


def refuse_stale(connection: Connection) -> None:
    """Raise OperationalError if the server has closed this idle connection: its socket is readable then."""
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    if poller.poll(0):
        connection.execute("")
