"""Enqueue with a session or connection that the project has opened itself."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from trilho import trace
from trilho.db.pending import Pending
from trilho.db.sessions import alchemy_executor, follow
from trilho.db.transaction import BaseTx, installed
from trilho.jobs.result import Result
from trilho.jobs.task import Task
from trilho.jobs.unique import UniqueJob

if TYPE_CHECKING:
    from trilho.app import Trilho
    from trilho.events.event import Published
    from trilho.sagas.definition import SagaDefinition
    from trilho.sagas.handle import SagaHandle

P = ParamSpec("P")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class JoinedTx(BaseTx):
    """A transaction that somebody else commits."""

    def __init__(self, app: "Trilho", connection: Any) -> None:
        super().__init__(app.database)
        self._raw = connection if isinstance(connection, psycopg.Connection) else None
        self._is_async = isinstance(connection, AsyncSession)
        self._session = None if self._raw is not None else session_of(connection)
        if self._session is not None:
            self.pending = follow(self._session, Pending(app.database))

    def add(self, sink: Any, row: Any) -> None:
        """Keep the row for the session's commit, or insert it at once on a psycopg connection.

        Nobody tells us when a psycopg connection commits, so the dispatcher finds the job at its next look.
        """
        if self._session is not None:
            if not self._session.in_transaction():
                self._session.begin()  # a rollback before the first statement has to be seen
            if sink.at_once and not self._is_async:
                self.pending.write_alone(alchemy_executor(self._session.connection()), sink, row)
            else:
                super().add(sink, row)
        elif self._raw is not None:
            super().add(sink, unannounced(row))
            self.pending.write_through(self._raw)
            trace.had_effect()


def unannounced(row: Any) -> Any:
    """The row as the dispatcher is to find it."""
    if isinstance(row, UniqueJob):
        return replace(row, job=replace(row.job, send=False))
    return replace(row, send=False) if hasattr(row, "send") else row


class Joined:
    """`app.join(db)`: enqueues with the commit of `db`."""

    def __init__(self, app: "Trilho", connection: Any) -> None:
        self._app = app
        self._tx = JoinedTx(app, connection)

    def delay(self, task: Task[P, R], *args: P.args, **kwargs: P.kwargs) -> Result[R]:
        """As `task.delay`, with the commit of the joined session or connection."""
        return self.apply_async(task, args, kwargs)

    def apply_async(self, task: Task[Any, R], args: Any = None, kwargs: Any = None, **options: Any) -> Result[R]:
        """As `task.apply_async`, with the commit of the joined session or connection."""
        with installed(self._tx):
            return task.apply_async(args, kwargs, **options)

    def start(
        self,
        saga: "SagaDefinition[R, *Ts]",
        *args: *Ts,
        id: str | None = None,  # noqa: A002 - as `start`
    ) -> "SagaHandle[R]":
        """As `saga.start`, with the commit of the joined session or connection."""
        with installed(self._tx):
            return saga.start(*args, id=id)

    def publish(self, topic: str, data: Any, key: Any = None, **options: Any) -> "Published":
        """As `app.bus.publish`, with the commit of the joined session or connection."""
        with installed(self._tx):
            return self._app.bus.publish(topic, data, key, **options)


def session_of(connection: Any) -> Session:
    """The SQLAlchemy session; raises TypeError for what cannot be joined."""
    if isinstance(connection, AsyncSession):
        return connection.sync_session
    if isinstance(connection, Session):
        return connection
    kind = type(connection).__name__
    raise TypeError(f"app.join() takes a SQLAlchemy Session, an AsyncSession or a psycopg Connection, not a {kind}")
